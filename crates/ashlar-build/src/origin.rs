//! On whose word the results in the local store stand: what a remote said is noted before it is
//! kept, and what was built on it inherits the note. Nothing is noted of what was built here from
//! what was built here.
//!
//! Two claims make a result: that a step key leads to an action, and that the action has this
//! result. Each is noted by a hash of all that it says, so a later run that comes to another result
//! stands on its own, and one that comes to the same confirms it.

use std::collections::BTreeSet;

use ashlar_object::{ActionResult, CanonicalHasher, Digest, StepKey};
use ashlar_store::{Found, Journal, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::engine::Results;

/// Public keys by their fingerprints. None of them: anything is taken.
pub type Keys = BTreeSet<String>;

/// On whose word results stand, and whose word a project takes.
pub struct Origins<'a> {
    journal: &'a Journal,
    accepted: Vec<Keys>,
}

/// Everybody on whose word a result stands; nobody when it was built here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trust(BTreeSet<Word>);

/// A remote, and the keys one of which signed what it said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Word {
    remote: String,
    keys: Keys,
}

impl Trust {
    /// Whether all of it was checked with no other keys than these.
    fn is_within(&self, keys: &Keys) -> bool {
        self.0.iter().all(|word| !word.keys.is_empty() && word.keys.is_subset(keys))
    }

    /// Why it must not be handed on to a remote that vouches with these keys; `None` when it may.
    pub fn objection(&self, keys: &Keys) -> Option<String> {
        let of = |word: &&Word| word.keys.is_empty() || !word.keys.is_subset(keys);
        let word = self.0.iter().find(of)?;
        let lacks = match word.keys.is_empty() {
            true => "requires no signature",
            false => "takes signatures by other keys",
        };
        Some(format!("it comes from remote {}, or from what does, which {lacks}", word.remote))
    }

    /// Stands on the word of others as well.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The name of a remote that it came from.
    pub fn remote(&self) -> Option<&str> {
        self.0.first().map(|word| word.remote.as_str())
    }
}

impl<'a> Origins<'a> {
    /// What the journal says of results. Where `accepted` has sets of keys, a result in the local
    /// store that none of them covers is a miss.
    #[must_use]
    pub fn new(journal: &'a Journal, accepted: Vec<Keys>) -> Self {
        Self { journal, accepted }
    }

    /// As [`Store::steps`], without what the project does not take.
    ///
    /// # Errors
    /// When the store or its journal cannot be read.
    pub fn steps(
        &self,
        store: &dyn Store,
        keys: &[StepKey],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.only_accepted(keys, store.steps(keys)?)
    }

    /// As [`Origins::steps`], by [`Store::steps_unchecked`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn steps_unchecked(
        &self,
        store: &dyn Store,
        keys: &[StepKey],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        self.only_accepted(keys, store.steps_unchecked(keys)?)
    }

    fn only_accepted(
        &self,
        keys: &[StepKey],
        mut all: Vec<Option<Found>>,
    ) -> Result<Vec<Option<Found>>, StoreError> {
        if !self.accepted.is_empty() {
            for (key, found) in keys.iter().zip(&mut all) {
                if let Some(of) = found
                    && !self.accepts(&self.of(key, of)?)
                {
                    *found = None;
                }
            }
        }
        Ok(all)
    }

    /// Why the project does not take the result that the store has for a key; `None` when it does,
    /// or there is none.
    pub(crate) fn refusal(
        &self,
        store: &dyn Store,
        key: &StepKey,
    ) -> Result<Option<String>, StoreError> {
        let (Some(found), Some(keys)) =
            (store.steps(&[*key])?.pop().flatten(), self.accepted.first())
        else {
            return Ok(None);
        };
        let trust = self.of(key, &found)?;
        Ok(if self.accepts(&trust) { None } else { trust.objection(keys) })
    }

    /// As [`Store::result`], without what the project does not take.
    pub(crate) fn result(
        &self,
        store: &dyn Store,
        action: &Digest,
    ) -> Result<Option<ActionResult>, StoreError> {
        let Some(result) = store.result(action)? else { return Ok(None) };
        let accepted = self.accepted.is_empty() || self.accepts(&self.of_action(action, &result)?);
        Ok(accepted.then_some(result))
    }

    fn accepts(&self, trust: &Trust) -> bool {
        self.accepted.is_empty() || self.accepted.iter().any(|keys| trust.is_within(keys))
    }

    /// On whose word a result stands that a step key led to.
    pub(crate) fn of(&self, key: &StepKey, found: &Found) -> Result<Trust, StoreError> {
        let mut trust = self.noted(&leads(key, &found.action))?;
        trust.0.extend(self.of_action(&found.action, &found.result)?.0);
        Ok(trust)
    }

    /// On whose word the result of an action stands.
    pub(crate) fn of_action(
        &self,
        action: &Digest,
        result: &ActionResult,
    ) -> Result<Trust, StoreError> {
        self.noted(&has(action, result))
    }

    /// On whose word the inputs of a step stand.
    pub(crate) fn of_inputs(
        &self,
        key: impl Fn(usize) -> StepKey,
        inputs: &Results,
    ) -> Result<Trust, StoreError> {
        let mut trust = Trust::default();
        for (step, found) in inputs {
            trust.0.extend(self.of(&key(*step), found)?.0);
        }
        Ok(trust)
    }

    /// A remote said this, and one of these keys signed it, if any had to.
    pub(crate) fn came(
        &self,
        remote: &str,
        keys: &Keys,
        key: Option<&StepKey>,
        found: &Found,
        into: &dyn Store,
    ) -> Result<(), StoreError> {
        let word = Word { remote: remote.to_owned(), keys: keys.clone() };
        let trust = Trust([word].into());
        if let Some(key) = key {
            self.note(&leads(key, &found.action), &found.action, &trust)?;
        }
        // What is here already in just this form stands on the word that it stood on.
        if into.result(&found.action)?.as_ref() != Some(&found.result) {
            self.note(&has(&found.action, &found.result), &found.action, &trust)?;
        }
        Ok(())
    }

    /// The key of a step leads to an action because its inputs do.
    pub(crate) fn led(
        &self,
        key: &StepKey,
        action: &Digest,
        inputs: &Trust,
    ) -> Result<(), StoreError> {
        self.note_if_other(&leads(key, action), action, inputs)
    }

    /// An action was carried out here, with this result. `begun` is on whose word that stands
    /// which the command went on from; nobody's as a rule.
    pub(crate) fn made(
        &self,
        action: &Digest,
        result: &ActionResult,
        begun: &Trust,
    ) -> Result<(), StoreError> {
        self.note_if_other(&has(action, result), action, begun)
    }

    fn note_if_other(&self, claim: &str, action: &Digest, trust: &Trust) -> Result<(), StoreError> {
        if self.noted(claim)? == *trust { Ok(()) } else { self.note(claim, action, trust) }
    }

    /// Notes go when the result of the action does.
    fn note(&self, claim: &str, action: &Digest, trust: &Trust) -> Result<(), StoreError> {
        // There is nothing in it that JSON cannot say; and nothing is read as anybody's word.
        self.journal.note(claim, action, &serde_json::to_vec(trust).unwrap_or_default())
    }

    fn noted(&self, claim: &str) -> Result<Trust, StoreError> {
        let Some(bytes) = self.journal.noted(claim)? else { return Ok(Trust::default()) };
        Ok(serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Trust([Word { remote: "?".to_owned(), keys: Keys::new() }].into())))
    }
}

/// That a key leads to an action.
fn leads(key: &StepKey, action: &Digest) -> String {
    let mut hasher = CanonicalHasher::new("ashlar origin of a step");
    hasher.bytes(&key.0).bytes(&action.hash).number(action.size);
    format!("origin:{}", StepKey(hasher.finish()))
}

/// That an action has a result.
fn has(action: &Digest, result: &ActionResult) -> String {
    let mut hasher = CanonicalHasher::new("ashlar origin of an action");
    hasher.bytes(&action.hash).number(action.size).bytes(&result.encode());
    format!("origin:{}", StepKey(hasher.finish()))
}
