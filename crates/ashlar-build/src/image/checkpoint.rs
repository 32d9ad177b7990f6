//! What commands that were stopped leave for the very same command to go on with.
//!
//! Each time a command with a checkpoint ends before its time, what is in that folder is kept as a
//! result of an action of its own, which nobody carries out: the action of the command, the folder,
//! and a number that counts the times. No step leads to it, so it is never a hit; remotes take it as
//! any other result, so another machine goes on from it. The one with the highest number counts.

use ashlar_execute::{Checkpoint, Finished, Kept, Leak, Mounted, Outcome, Request, View};
use ashlar_object::{ActionResult, CanonicalHasher, Digest, Tree};
use ashlar_store::{Found, put};

use crate::engine::{Engine, since};
use crate::event::{Event, Failure};
use crate::origin::Trust;
use crate::remotes::IN_A_ROW;

/// What a command began from.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    folders: Vec<Folder>,
    /// On whose word that stands.
    pub trust: Trust,
}

#[derive(Debug)]
struct Folder {
    at: String,
    /// Which number the next one has.
    next: u32,
    /// The tree that was in it.
    began: Option<Digest>,
}

/// What a command left that was stopped.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub found: Found,
    /// The tree that it began from.
    pub began: Option<Digest>,
}

impl Engine<'_> {
    /// Lets a command begin with what the same command left when it was stopped, here or, where it
    /// is `shared`, on another machine. `again` lets it begin anew.
    pub(crate) fn begin_from(
        &self,
        action: &Digest,
        request: &mut Request,
        again: bool,
        shared: bool,
    ) -> Result<Begun, Failure> {
        let mut begun = Begun::default();
        let View::Image(view) = &mut request.view else { return Ok(begun) };
        for mount in &mut view.mounts {
            let Mounted::Checkpoint { seed, .. } = &mut mount.what else { continue };
            let (next, latest) = self.latest(action, &mount.at, shared)?;
            let mut began = None;
            if let Some(found) = latest.filter(|_| !again) {
                let digest = found.result.outputs;
                // What was collected since is begun anew, and so is what failed: see below.
                let tree = ashlar_store::read_tree(self.store, &digest)?;
                if let Some(tree) = tree.filter(|tree| *tree != Tree::default()) {
                    begun.trust.add(self.origins.of_action(&found.action, &found.result)?);
                    began = Some(digest);
                    *seed = Some(Kept { digest, tree });
                }
            }
            begun.folders.push(Folder { at: mount.at.clone(), next, began });
        }
        Ok(begun)
    }

    /// The number after the last, and the last if there is one that can be used.
    fn latest(
        &self,
        action: &Digest,
        at: &str,
        shared: bool,
    ) -> Result<(u32, Option<Found>), Failure> {
        let row = |number| name(action, at, number);
        let (mut next, mut latest) = (0, None);
        let mut number = 0;
        // Those before the last are used no more, and are collected before it.
        while number < next + IN_A_ROW {
            if let Some(result) = self.origins.result(self.store, &row(number))? {
                latest = Some(Found { action: row(number), result });
                next = number + 1;
            }
            number += 1;
        }
        if shared && self.remotes.any_readable() {
            let ears = self.ears();
            let far = self.remotes.last_of(&row, next, self.store, &self.origins, ears)?;
            if let Some((number, found)) = far {
                (next, latest) = (number + 1, Some(found));
            }
        }
        Ok((next, latest))
    }

    /// Keeps what a command left that ended before its time, for the same command to go on with.
    pub(crate) fn keep_checkpoints(
        &self,
        action: &Digest,
        begun: &Begun,
        finished: &Finished,
    ) -> Result<Vec<Left>, Failure> {
        let mut all = Vec::new();
        for (at, Leak { secret, path }) in &finished.leaks {
            (self.tell)(Event::Warning(format!(
                "the secret `{secret}` is in {at}/{path}: this checkpoint is not kept, and the \
                 command begins where it began this time"
            )));
        }
        for Folder { at, next, began } in &begun.folders {
            let Some(Checkpoint { kept, .. }) = finished.checkpoints.iter().find(|c| c.at == *at)
            else {
                continue;
            };
            // A command that fails after it went on may do so because of what it found: a file that
            // was half written when it was stopped. It begins anew the next time.
            let poisoned = began.is_some() && matches!(finished.outcome, Outcome::Failed(_));
            let nothing = Tree::default();
            let (digest, tree) = match poisoned {
                true => (put(self.store, &nothing.encode())?, &nothing),
                false => (kept.digest, &kept.tree),
            };
            let result = ActionResult {
                outputs: digest,
                root: tree.root_digest(),
                log: finished.log,
                started: finished.started,
                took: since(finished.started),
            };
            let found = Found { action: name(action, at, *next), result };
            self.store.put_result(&found.action, &found.result)?;
            self.origins.made(&found.action, &found.result, &begun.trust)?;
            all.push(Left { found, began: *began });
        }
        Ok(all)
    }
}

/// The digest of the action that stands for what a command left the given time.
fn name(action: &Digest, at: &str, number: u32) -> Digest {
    let mut hasher = CanonicalHasher::new("ashlar checkpoint");
    hasher.bytes(&action.hash).number(action.size).text(at).number(u64::from(number));
    Digest { hash: hasher.finish(), size: action.size }
}
