//! What a restore and a save would do, without doing it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ashlar_object::{StepKey, Tree};

use super::kept::{Paths, Spared};
use super::{CacheError, Candidate, KeyFiles, Mark, Workspace};
use crate::place::{Placed, Put, Times};

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub layer: String,
    /// How many files decide what is in it.
    pub key_files: usize,
    /// Globs of the key that match nothing.
    pub key_unmatched: Vec<String>,
    /// Globs of the paths that match nothing that is there now.
    pub paths_unmatched: Vec<String>,
    /// Whether none of them matches anything: nothing was built yet.
    pub nothing_there: bool,
    /// Files that git tracks and the paths name.
    pub tracked: Vec<PathBuf>,
    /// The best place that has it.
    pub hit: Option<PlannedHit>,
}

impl Planned {
    /// Whether some of the paths are there and others are not: a save would refuse that.
    #[must_use]
    pub fn lacks_some(&self) -> bool {
        !self.nothing_there && !self.paths_unmatched.is_empty()
    }
}

/// A layer that some place has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHit {
    /// The scope.
    pub scope: String,
    /// Whether a job that succeeded saved it.
    pub mark: Mark,
    /// Where it is: `local`, or the name of a remote.
    pub place: String,
    /// Its key.
    pub key: StepKey,
    /// What restoring it would change; `None` when its tree turns out not to be there.
    pub change: Option<Placed>,
    /// Whether it is the one that a restore would take.
    pub chosen: bool,
}

impl Workspace<'_> {
    /// What is known of each layer. Nothing is changed, and no contents are brought.
    ///
    /// # Errors
    /// When the store, or the workspace, cannot be read.
    pub fn plan(&self, files: &[KeyFiles]) -> Result<Vec<Planned>, CacheError> {
        let candidates = self.candidates(files, &[Mark::Complete, Mark::Partial]);
        let chosen = self.first(&candidates, &HashSet::new())?;
        let mut all = Vec::with_capacity(files.len());
        for (number, (layer, files)) in self.config.layers.iter().zip(files).enumerate() {
            let paths = Paths::of(layer)?;
            let spared = Spared::find(self.root, &[&paths.globs]);
            let own: Vec<Candidate> =
                candidates.iter().filter(|one| one.layer == number).cloned().collect();
            let hit = match self.first(&own, &HashSet::new())? {
                None => None,
                Some((at, hit)) => {
                    let Candidate { scope, mark, key, .. } = own[at].clone();
                    // Of what is far only the tree is brought: it says what would move.
                    let tree = self.direct.trees(std::slice::from_ref(&hit))?.pop().flatten();
                    let change = match tree {
                        Some(tree) => Some(self.change(&paths, &spared, &tree)?),
                        None => None,
                    };
                    let is = chosen.as_ref().is_some_and(|(of, _)| candidates[*of].key == key);
                    let place = self.direct.place(&hit);
                    Some(PlannedHit { scope, mark, place, key, change, chosen: is })
                }
            };
            let paths_unmatched = paths.unmatched_there(self.root);
            all.push(Planned {
                layer: layer.name.clone(),
                key_files: files.count,
                key_unmatched: files.unmatched.clone(),
                nothing_there: paths_unmatched.len() == paths.count(),
                paths_unmatched,
                tracked: spared.named(&paths.globs),
                hit,
            });
        }
        Ok(all)
    }

    fn change(&self, paths: &Paths, spared: &Spared, tree: &Tree) -> Result<Placed, CacheError> {
        let starts = paths.globs.starts();
        let put = Put {
            store: self.local,
            root: self.root,
            stat: self.stat,
            times: Times::Fresh,
            starts: &starts,
            last: &[],
        };
        let owned = |path: &Path| paths.globs.is_match(path);
        Ok(put.preview(tree, &owned, &|path: &Path| spared.has(path))?)
    }

    /// The complete result of a layer, wherever it is: with it, nothing has to be prepared.
    ///
    /// # Errors
    /// When the store cannot be read, or there is no such layer.
    pub fn full_hit(
        &self,
        layer: &str,
        files: &[KeyFiles],
    ) -> Result<Option<(Candidate, String)>, CacheError> {
        let number = self.number(layer)?;
        let mut candidates = self.candidates(files, &[Mark::Complete]);
        candidates.retain(|candidate| candidate.layer == number);
        let found = self.first(&candidates, &HashSet::new())?;
        Ok(found.map(|(at, hit)| (candidates.swap_remove(at), self.direct.place(&hit))))
    }
}
