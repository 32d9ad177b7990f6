//! Keeping layers that are not kept yet.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ashlar_object::{ActionResult, CanonicalHasher, Digest, StepKey, Tree};
use ashlar_store::{Capture, Publication, StepLock};

use super::kept::{Paths, Spared};
use super::{CacheError, KeyFiles, Mark, Workspace};

/// How layers are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saving {
    /// The job did not succeed: what is there is kept under a mark of its own.
    pub partial: bool,
    /// Globs may match nothing.
    pub allow_missing: bool,
    /// Files that git tracks may be among what is named; they are left out.
    pub allow_tracked: bool,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is kept already, here or at the remote of this name.
    Exists(String),
    /// It was kept.
    Kept {
        /// Files and links in it.
        files: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// There is nothing of it yet: of a partial one only.
    Nothing,
}

/// A layer that was to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedLayer {
    /// Its name.
    pub layer: String,
    /// Its key.
    pub key: StepKey,
    /// Whether the job succeeded.
    pub mark: Mark,
    /// What became of it.
    pub saved: Saved,
    /// At how many remotes it is now.
    pub sent: usize,
}

/// Who waits, and whether to go on: told once when another job saves the same.
pub type Waiting<'a> = &'a mut dyn FnMut() -> bool;

impl Workspace<'_> {
    /// Saves every layer that does not exist yet, after looking whether it does. What exists is not
    /// read. `files` are those of [`Workspace::key_files`]; that they are the same afterwards is
    /// looked after.
    ///
    /// # Errors
    /// When globs match nothing, files are tracked by git, or a key has changed; nothing is kept
    /// then. When the store cannot be written.
    pub fn save(
        &self,
        files: &[KeyFiles],
        how: Saving,
        waiting: Waiting<'_>,
    ) -> Result<Vec<SavedLayer>, CacheError> {
        let scope = self.write_scope()?;
        let mark = if how.partial { Mark::Partial } else { Mark::Complete };
        let layers = self.config.layers.iter().zip(files);
        let complete: Vec<StepKey> =
            layers.clone().map(|(of, files)| self.key(of, files, &scope, Mark::Complete)).collect();
        let keys: Vec<StepKey> =
            layers.map(|(of, files)| self.key(of, files, &scope, mark)).collect();
        let mut all = vec![None; keys.len()];
        let mut locks: Vec<StepLock> = Vec::new();
        // Once without locks: nothing is written where all of it exists. Then again with them, for
        // whatever another job has saved meanwhile.
        for locked in [false, true] {
            let mut left: Vec<usize> = (0..keys.len()).filter(|n| all[*n].is_none()).collect();
            if locked {
                left.sort_by_key(|number| keys[*number]);
                for number in &left {
                    let lock = self.local.lock_step(&keys[*number], waiting)?;
                    locks.push(lock.ok_or(CacheError::Stopped)?);
                }
                left.sort_unstable();
            }
            let asked: Vec<StepKey> = left.iter().map(|number| complete[*number]).collect();
            let found = match locked {
                false => self.direct.find(&asked)?,
                // The others have been asked a moment ago.
                true => {
                    let here = self.direct.origins.steps(self.direct.store, &asked)?;
                    let hit = |found| ashlar_build::Hit { found, remote: None };
                    here.into_iter().map(|found| found.map(hit)).collect()
                }
            };
            for (number, hit) in left.into_iter().zip(found) {
                let Some(hit) = hit else { continue };
                let (place, key) = (self.direct.place(&hit), complete[number]);
                // One that is here may be lacking elsewhere: a remote that was down at that time.
                let sent = if hit.remote.is_none() && !how.partial {
                    let (action, result) = (hit.found.action, hit.found.result.clone());
                    let publication = self.publication(number, key, action, result, Vec::new());
                    self.direct.send_if_lacking(&publication, &mut || self.unclean(&files[number]))
                } else {
                    usize::from(hit.remote.is_some())
                };
                let layer = self.config.layers[number].name.clone();
                let saved = Saved::Exists(place);
                all[number] = Some(SavedLayer { layer, key, mark: Mark::Complete, saved, sent });
            }
            if all.iter().all(Option::is_some) {
                break;
            }
        }
        let left: Vec<usize> = (0..keys.len()).filter(|number| all[*number].is_none()).collect();
        if !left.is_empty() {
            let kept = self.keep(&left, &keys, files, how)?;
            for (number, (saved, sent)) in left.into_iter().zip(kept) {
                let (layer, key) = (self.config.layers[number].name.clone(), keys[number]);
                all[number] = Some(SavedLayer { layer, key, mark, saved, sent });
            }
        }
        drop(locks);
        Ok(all.into_iter().flatten().collect())
    }

    /// Where results are kept.
    fn write_scope(&self) -> Result<String, CacheError> {
        let write = &self.config.scope.write;
        let (name, base) = (self.branch.name.as_deref(), self.branch.base.as_deref());
        write
            .of(name, base)
            .ok_or_else(|| CacheError::NoBranch { scope: write.written(), from: self.branch.from })
    }

    /// Keeps some layers, with one look at all of their files.
    fn keep(
        &self,
        left: &[usize],
        keys: &[StepKey],
        files: &[KeyFiles],
        how: Saving,
    ) -> Result<Vec<(Saved, usize)>, CacheError> {
        let began = (crate::place::present(), Instant::now());
        let mut paths = Vec::with_capacity(left.len());
        for number in left {
            paths.push(Paths::of(&self.config.layers[*number])?);
        }
        let globs: Vec<_> = paths.iter().map(|paths| &paths.globs).collect();
        let spared = Spared::find(self.root, &globs);
        let without = |path: &[u8]| {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            if spared.has(path) {
                return true;
            }
            if globs.iter().any(|globs| globs.is_match(path)) {
                return false;
            }
            // On the way to something that is named, if it is a folder.
            let leads = globs.iter().any(|globs| globs.lead_into(path));
            !(leads && self.root.join(path).symlink_metadata().is_ok_and(|meta| meta.is_dir()))
        };
        if !how.allow_tracked && !spared.tracked.is_empty() {
            let mut tracked: Vec<PathBuf> = spared.tracked.iter().cloned().collect();
            tracked.sort();
            return Err(CacheError::Tracked { paths: tracked });
        }
        if !how.allow_missing && !how.partial {
            // Before anything is read: what is missing may be all there is.
            for (number, paths) in left.iter().zip(&paths) {
                self.all_match(*number, paths.unmatched_there(self.root))?;
            }
        }
        let (_, whole) =
            self.local.import_parts(self.root, Capture::Snapshot, self.stat, &without)?;
        let parts: Vec<Tree> = paths.iter().map(|paths| paths.part(&whole)).collect();
        for ((number, paths), part) in left.iter().zip(&paths).zip(&parts) {
            if !how.allow_missing && !how.partial {
                self.all_match(*number, paths.unmatched(part))?;
            }
        }
        let now = self.key_files()?;
        for number in left {
            if !now[*number].is_same(&files[*number]) {
                let layer = self.config.layers[*number].name.clone();
                return Err(CacheError::Changed { layer });
            }
        }
        let mut kept = Vec::with_capacity(left.len());
        let mut earlier: Vec<Digest> = Vec::new();
        for (number, part) in left.iter().zip(&parts) {
            if how.partial && part.is_empty() {
                kept.push((Saved::Nothing, 0));
                continue;
            }
            let key = keys[*number];
            let outputs = ashlar_store::put(self.direct.store, &part.encode())?;
            let result = ActionResult {
                outputs,
                root: part.root_digest(),
                log: Digest::EMPTY,
                started: began.0,
                took: began.1.elapsed(),
            };
            let action = action(&key, &outputs);
            self.direct.keep(&key, &action, &result)?;
            let publication = self.publication(*number, key, action, result, earlier.clone());
            let sent = self.direct.send(&publication, &mut || self.unclean(&files[*number]));
            earlier.insert(0, outputs);
            let (files, bytes) = counted(part);
            kept.push((Saved::Kept { files, bytes }, sent));
        }
        Ok(kept)
    }

    fn all_match(&self, layer: usize, unmatched: Vec<String>) -> Result<(), CacheError> {
        if unmatched.is_empty() {
            return Ok(());
        }
        let layer = self.config.layers[layer].name.clone();
        Err(CacheError::Unmatched { layer, what: "paths", globs: unmatched })
    }

    fn publication(
        &self,
        layer: usize,
        key: StepKey,
        action: Digest,
        result: ActionResult,
        earlier: Vec<Digest>,
    ) -> Publication {
        let lineage = format!("cache/{}", self.config.layers[layer].name);
        Publication { keys: vec![key], action, result, lineage, earlier, provenance: None }
    }

    /// Why files of a key are not in the last commit as they are.
    fn unclean(&self, files: &KeyFiles) -> Option<String> {
        ashlar_build::uncommitted(self.root, files.paths.iter().map(PathBuf::as_path))
    }
}

/// Who saves another tree under the same key (of a partial layer) has done something else.
fn action(key: &StepKey, outputs: &Digest) -> Digest {
    let mut hasher = CanonicalHasher::new("ashlar cache save");
    hasher.bytes(&key.0).bytes(&outputs.hash).number(outputs.size);
    Digest::of(&hasher.finish())
}

fn counted(tree: &Tree) -> (u64, u64) {
    let mut files = 0;
    tree.walk(|entry| files += u64::from(!matches!(entry.node, ashlar_object::Node::Dir(_))));
    (files, tree.content_size())
}
