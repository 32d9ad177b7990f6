//! Results by key, without a plan: for whoever has one command or one workspace and no graph.
//!
//! Trust is as in a build: what a remote said is noted before it is kept, and where the project
//! takes signed results only, a result on nobody's word is a miss.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ashlar_object::{ActionResult, Digest, StepKey, Tree};
use ashlar_recipe::Write;
use ashlar_store::{Found, Publication, RemoteError, Store, StoreError, Watch, read_tree};

use crate::apart::Apart;
use crate::event::{Event, Way};
use crate::origin::{Origins, Trust};
use crate::remotes::{Ears, Remotes};

/// The store and the remotes of a run.
#[derive(Clone, Copy)]
pub struct Direct<'a> {
    /// Where results are kept.
    pub store: &'a dyn Store,
    /// On whose word they stand.
    pub origins: &'a Origins<'a>,
    /// Where else they may be.
    pub remotes: &'a Remotes<'a>,
    /// Whom to tell, and what stops it.
    pub ears: Ears<'a>,
}

/// A result that some place has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The result.
    pub found: Found,
    /// Which remote has it; `None` when it is here.
    pub remote: Option<usize>,
}

impl Direct<'_> {
    /// Who has the result of each key: this store, else the nearest remote that says so. Nothing
    /// is brought.
    ///
    /// # Errors
    /// When the store fails. A remote that fails has nothing.
    pub fn find(&self, keys: &[StepKey]) -> Result<Vec<Option<Hit>>, StoreError> {
        let here = self.origins.steps(self.store, keys)?;
        let mut all: Vec<Option<Hit>> =
            here.into_iter().map(|found| Some(Hit { found: found?, remote: None })).collect();
        let left: Vec<(usize, StepKey)> = (keys.iter().copied().enumerate())
            .filter(|(number, _)| all[*number].is_none())
            .collect();
        if !left.is_empty() && self.remotes.any_readable() {
            let far: HashMap<usize, (usize, Found)> =
                self.remotes.steps(&left, &HashSet::new(), self.ears)?;
            for (number, (remote, found)) in far {
                all[number] = Some(Hit { found, remote: Some(remote) });
            }
        }
        Ok(all)
    }

    /// The name of the place that has it.
    #[must_use]
    pub fn place(&self, hit: &Hit) -> String {
        hit.remote.map_or_else(|| "local".to_owned(), |remote| self.remotes.name(remote))
    }

    /// Brings a result here, if it is elsewhere. Whether it is here now: what turns out not to be
    /// all there is a miss.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bring(&self, key: &StepKey, hit: &Hit) -> Result<bool, StoreError> {
        let Some(remote) = hit.remote else { return Ok(true) };
        let wanted = [(Some(*key), hit.found.clone())];
        let here = self.remotes.pull(remote, &wanted, self.store, self.origins, self.ears)?;
        Ok(self.all_there(hit, here.first().copied().unwrap_or(false)))
    }

    /// Brings the contents of a result that is elsewhere into something that takes blobs and keeps
    /// no results; whether all came that it said it lacks.
    ///
    /// # Errors
    /// When either fails.
    pub fn bring_apart(&self, into: &dyn Store, hit: &Hit) -> Result<bool, StoreError> {
        let Some(remote) = hit.remote else { return Ok(true) };
        let wanted = [(None, hit.found.clone())];
        let here = self.remotes.pull(remote, &wanted, into, self.origins, self.ears)?;
        Ok(self.all_there(hit, here.first().copied().unwrap_or(false)))
    }

    /// The trees of results, in their order: of those that are elsewhere nothing else is brought, and
    /// nothing is kept but the tree. `None` for a tree that cannot be had.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trees(&self, hits: &[Hit]) -> Result<Vec<Option<Tree>>, StoreError> {
        let mut far: BTreeMap<usize, Vec<Found>> = BTreeMap::new();
        for hit in hits {
            if let Some(remote) = hit.remote {
                far.entry(remote).or_default().push(hit.found.clone());
            }
        }
        for (remote, found) in far {
            let into = Apart::trees(self.store, &found);
            let wanted: Vec<_> = found.iter().map(|found| (None, found.clone())).collect();
            // What does not come is not there to be read below.
            self.remotes.bring(remote, &wanted, &into, self.origins, self.ears)?;
        }
        hits.iter().map(|hit| read_tree(self.store, &hit.found.result.outputs)).collect()
    }

    /// Notes that a remote does not have what it said it has.
    fn all_there(&self, hit: &Hit, is: bool) -> bool {
        if !is {
            self.remotes.broken(&format!("the result of action {}", hit.found.action.short()));
        }
        is
    }

    /// Keeps a result that was made here. Its blobs are in the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn keep(
        &self,
        key: &StepKey,
        action: &Digest,
        result: &ActionResult,
    ) -> Result<(), StoreError> {
        self.store.put_result(action, result)?;
        self.origins.made(action, result, &Trust::default())?;
        self.store.put_step(key, action)?;
        self.origins.led(key, action, &Trust::default())
    }

    /// As [`Direct::send`], after asking each remote whether the keys lead to this result there
    /// already: for what was kept earlier and may have been sent then.
    pub fn send_if_lacking(
        &self,
        publication: &Publication,
        unclean: &mut dyn FnMut() -> Option<String>,
    ) -> usize {
        let has = |index: usize| {
            let remote = self.remotes.shared(index).remote;
            // Who does not say is sent it, and says then what is wrong.
            self.remotes.is_writable(index)
                && remote.steps(&publication.keys).is_ok_and(|found| {
                    let all = found.iter().all(|found| {
                        found.as_ref().is_some_and(|found| found.action == publication.action)
                    });
                    all && !found.is_empty()
                })
        };
        let lacks: Vec<bool> = (0..self.remotes.count()).map(|index| !has(index)).collect();
        let there = lacks.iter().filter(|lacks| !**lacks).count();
        there + self.send_where(publication, unclean, &|index| lacks[index])
    }

    /// Leaves a result at every remote that is written to; how many have it now. `unclean` says,
    /// for remotes that take only what is committed, why this is not, and is asked at most once.
    /// What fails is said and counted, and fails nothing.
    pub fn send(
        &self,
        publication: &Publication,
        unclean: &mut dyn FnMut() -> Option<String>,
    ) -> usize {
        self.send_where(publication, unclean, &|_| true)
    }

    fn send_where(
        &self,
        publication: &Publication,
        unclean: &mut dyn FnMut() -> Option<String>,
        wanted: &dyn Fn(usize) -> bool,
    ) -> usize {
        let mut reason: Option<Option<String>> = None;
        let mut have = 0;
        for index in (0..self.remotes.count()).filter(|index| wanted(*index)) {
            let shared = self.remotes.shared(index);
            if shared.write == Write::No {
                continue;
            }
            let name: Arc<str> = self.remotes.name(index).into();
            if shared.write == Write::Clean
                && let Some(why) = reason.get_or_insert_with(&mut *unclean)
            {
                self.remotes.tally(index).unclean += 1;
                self.remotes.say(self.ears, format!("not sent to remote {name}: {why}"));
                continue;
            }
            if !self.remotes.is_writable(index) {
                self.remotes.tally(index).failed += 1;
                continue;
            }
            if let Some(why) = self.objection(index, publication) {
                self.remotes.tally(index).untrusted += 1;
                self.remotes.say(self.ears, format!("not sent to remote {name}: {why}"));
                continue;
            }
            let go_on = || !self.ears.cancel.is_cancelled();
            let moved = |moved| {
                let remote = Arc::clone(&name);
                (self.ears.tell)(Event::Moving { remote, way: Way::Push, moved });
            };
            let warn = |text: String| self.remotes.say(self.ears, format!("remote {name}: {text}"));
            let watch = Watch { go_on: &go_on, moved: &moved, warn: &warn };
            let sent = shared.remote.push(self.store, std::slice::from_ref(publication), &watch);
            for sent in sent {
                match sent {
                    Ok(moved) => {
                        have += 1;
                        let mut tally = self.remotes.tally(index);
                        tally.pushed += 1;
                        tally.pushed_bytes += moved;
                    }
                    Err(RemoteError::Stopped) => self.remotes.tally(index).unsent += 1,
                    Err(error) => {
                        self.remotes.failed(index, Way::Push, &error, self.ears);
                        self.remotes.tally(index).failed += 1;
                    }
                }
            }
        }
        have
    }

    /// Why a remote that vouches for what it holds must not be handed this.
    fn objection(&self, index: usize, publication: &Publication) -> Option<String> {
        let to = self.remotes.shared(index);
        if !to.signs && to.keys.is_empty() {
            return None;
        }
        let found = Found { action: publication.action, result: publication.result.clone() };
        publication.keys.iter().find_map(|key| match self.origins.of(key, &found) {
            Ok(trust) => trust.objection(to.keys),
            Err(error) => {
                Some(format!("the journal cannot be read: {}", crate::failure::chain(&error)))
            }
        })
    }
}
