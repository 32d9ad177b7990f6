//! Bringing a layer back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ashlar_build::Hit;
use ashlar_object::{StepKey, Time, Tree};
use ashlar_recipe::CacheLayer;
use ashlar_source::Globs;
use ashlar_store::{Store, read_tree};

use super::find::Look;
use super::kept::{Paths, Spared};
use super::{CacheError, Candidate, KeyFiles, Mark, Workspace};
use crate::place::{PlaceError, Placed, Put, Times};

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The layer.
    pub layer: String,
    /// Its scope; `None` when a reference named the result.
    pub scope: Option<String>,
    /// Whether a job that succeeded saved it; `None` when a reference named the result.
    pub mark: Option<Mark>,
    /// Where it was: `local`, or the name of a remote.
    pub place: String,
    /// Its key.
    pub key: StepKey,
    /// What that changed.
    pub placed: Placed,
}

impl Workspace<'_> {
    /// Restores the first layer that hits; `None` when none does. What turns out not to be all
    /// there is a miss, and the next one is tried. `files` are those of [`Workspace::key_files`].
    /// With `clean`, what other layers name goes as well, as if the checkout were a fresh one.
    ///
    /// # Errors
    /// When the store, or the workspace, cannot be read or written.
    pub fn restore(
        &self,
        files: &[KeyFiles],
        clean: bool,
        warn: &dyn Fn(String),
    ) -> Result<Option<Restored>, CacheError> {
        let candidates = self.candidates(files, &[Mark::Complete, Mark::Partial]);
        let mut not: HashSet<(usize, Option<usize>)> = HashSet::new();
        while let Some((number, hit)) = self.first_of(&candidates, &not, Look::Brief)? {
            let Candidate { layer, scope, mark, key } = &candidates[number];
            let place = self.direct.place(&hit);
            not.insert((number, hit.remote));
            let name = &self.config.layers[*layer].name;
            if !self.bring(key, &hit)? {
                continue;
            }
            match self.put(*layer, &hit, files[*layer].newest, clean)? {
                Some(placed) => {
                    let (layer, scope) = (name.clone(), Some(scope.clone()));
                    let mark = Some(*mark);
                    return Ok(Some(Restored { layer, scope, mark, place, key: *key, placed }));
                }
                None => warn(format!(
                    "layer {name} ({scope}, {place}) is damaged or not all there: not used"
                )),
            }
        }
        if clean {
            self.over(None, &Tree::default(), &self.config.layers, None)?;
        }
        Ok(None)
    }

    /// Restores the very result that a reference names; `None` when no place has it.
    ///
    /// # Errors
    /// As [`Workspace::restore`], and when there is no such layer.
    pub fn restore_exactly(
        &self,
        layer: &str,
        key: &StepKey,
    ) -> Result<Option<Restored>, CacheError> {
        let number = self.number(layer)?;
        let Some(hit) = self.direct.find(&[*key])?.pop().flatten() else { return Ok(None) };
        let place = self.direct.place(&hit);
        if !self.bring(key, &hit)? {
            return Ok(None);
        }
        let placed = self.put(number, &hit, None, false)?;
        Ok(placed.map(|placed| Restored {
            layer: layer.to_owned(),
            scope: None,
            mark: None,
            place,
            key: *key,
            placed,
        }))
    }

    /// Brings as much of a result here as has to be before it can be put in place: all of it, or its
    /// tree, when contents come right into their places.
    fn bring(&self, key: &StepKey, hit: &Hit) -> Result<bool, CacheError> {
        Ok(match self.keep {
            true => self.direct.bring(key, hit)?,
            false if hit.remote.is_none() => true,
            false => self.direct.trees(std::slice::from_ref(hit))?.iter().all(Option::is_some),
        })
    }

    /// Puts a tree over the workspace; `None` when some of it is gone or damaged.
    fn put(
        &self,
        layer: usize,
        hit: &Hit,
        sources: Option<Time>,
        clean: bool,
    ) -> Result<Option<Placed>, CacheError> {
        let outputs = &hit.found.result.outputs;
        let Some(tree) = read_tree(self.local, outputs)? else { return Ok(None) };
        let all = &self.config.layers;
        let layers = if clean { &all[..] } else { std::slice::from_ref(&all[layer]) };
        let far = (hit.remote.is_some() && !self.keep).then_some(hit);
        self.over(far, &tree, layers, sources)
    }

    /// Puts a tree in place of all that some layers name; contents that are not in the store come
    /// from far, if a result there is given.
    fn over(
        &self,
        far: Option<&Hit>,
        tree: &Tree,
        layers: &[CacheLayer],
        sources: Option<Time>,
    ) -> Result<Option<Placed>, CacheError> {
        let paths: Vec<Paths> = layers.iter().map(Paths::of).collect::<Result<_, _>>()?;
        let globs: Vec<&Globs> = paths.iter().map(|paths| &paths.globs).collect();
        let spared = Spared::find(self.root, &globs);
        let starts: Vec<PathBuf> = globs.iter().flat_map(|globs| globs.starts()).collect();
        let put = Put {
            store: self.local,
            root: self.root,
            stat: self.stat,
            times: Times::Ordered { sources },
            starts: &starts,
            last: &[],
        };
        let owned = |path: &Path| globs.iter().any(|globs| globs.is_match(path));
        let spare = |path: &Path| spared.has(path);
        let placed = match far {
            None => put.place(tree, &owned, &spare),
            Some(hit) => {
                let bring = |into: &dyn Store| self.direct.bring_apart(into, hit);
                put.place_from_far(&hit.found, &bring, tree, &owned, &spare)
            }
        };
        match placed {
            Ok(placed) => Ok(Some(placed)),
            Err(PlaceError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
