//! Where a layer is kept: the first that hits, complete ones before partial ones.

use std::collections::HashSet;

use ashlar_build::Hit;
use ashlar_object::StepKey;

use super::{CacheError, KeyFiles, Mark, Workspace};

/// A place where a layer may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The number of the layer.
    pub layer: usize,
    /// The scope.
    pub scope: String,
    /// Whether a job that succeeded saved it.
    pub mark: Mark,
    /// Its key.
    pub key: StepKey,
}

/// How closely is looked at what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// All of it is there.
    Whole,
    /// Who uses it finds out.
    Brief,
}

impl Workspace<'_> {
    /// The scopes that are read, in order, each once. What needs a branch that is not known is left
    /// out.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        for name in &self.config.scope.read {
            let name = name.of(self.branch.name.as_deref(), self.branch.base.as_deref());
            scopes.extend(name.filter(|name| !scopes.contains(name)));
        }
        scopes
    }

    /// Everything that may hit, the best first: by layer, then by scope; all complete ones before
    /// the partial ones.
    pub(super) fn candidates(&self, files: &[KeyFiles], marks: &[Mark]) -> Vec<Candidate> {
        let scopes = self.scopes();
        let mut all = Vec::new();
        for mark in marks {
            for (layer, (of, files)) in self.config.layers.iter().zip(files).enumerate() {
                all.extend(scopes.iter().map(|scope| Candidate {
                    layer,
                    scope: scope.clone(),
                    mark: *mark,
                    key: self.key(of, files, scope, *mark),
                }));
            }
        }
        all
    }

    /// The first candidate that some place has. Remotes are asked only for what is better than
    /// what is here, and not for what is in `not`.
    pub(super) fn first(
        &self,
        candidates: &[Candidate],
        not: &HashSet<(usize, Option<usize>)>,
    ) -> Result<Option<(usize, Hit)>, CacheError> {
        self.first_of(candidates, not, Look::Whole)
    }

    /// As [`Workspace::first`]; whether all of what is here is there need not have been looked at.
    pub(super) fn first_of(
        &self,
        candidates: &[Candidate],
        not: &HashSet<(usize, Option<usize>)>,
        look: Look,
    ) -> Result<Option<(usize, Hit)>, CacheError> {
        let (store, origins) = (self.direct.store, self.direct.origins);
        let keys: Vec<StepKey> = candidates.iter().map(|candidate| candidate.key).collect();
        let wanted = |number: &usize, remote| !not.contains(&(*number, remote));
        let mut local = None;
        // One by one: to look whether all of a result is here takes as long as it is large.
        for (number, key) in keys.iter().enumerate().filter(|(number, _)| wanted(number, None)) {
            let found = match look {
                Look::Whole => origins.steps(store, &[*key])?,
                Look::Brief => origins.steps_unchecked(store, &[*key])?,
            };
            if let Some(found) = found.into_iter().next().flatten() {
                local = Some((number, Hit { found, remote: None }));
                break;
            }
        }
        let before = local.as_ref().map_or(keys.len(), |(number, _)| *number);
        let far = self.direct.find(&keys[..before])?.into_iter().enumerate();
        let far = far
            .filter_map(|(number, hit)| Some((number, hit?)))
            .find(|(number, hit)| wanted(number, hit.remote));
        Ok(far.or(local))
    }
}
