//! What was built when, and how it ended.

use std::collections::HashMap;
use std::time::Duration;

use ashlar_object::{Digest, StepKey, Time};

use crate::StoreError;

/// How a step of a build ended, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedOutcome {
    /// The step key was known.
    Hit,
    /// The action was known.
    Cutoff,
    /// It was run and succeeded.
    Built,
    /// It was run and failed.
    Failed,
    /// It was run and took too long.
    TimedOut,
}

/// One step of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// The name of the project.
    pub project: String,
    /// The name of the module.
    pub module: String,
    /// The name of the step.
    pub step: String,
    /// Its key.
    pub key: StepKey,
    /// The action, where one was made.
    pub action: Option<Digest>,
    /// How it ended.
    pub outcome: RecordedOutcome,
    /// Where a hit came from: `local` or the name of a remote.
    pub from: Option<String>,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub took: Duration,
    /// The blob with its output.
    pub log: Option<Digest>,
    /// The blob with the inputs of the key.
    pub inputs: Option<Digest>,
    /// Why it failed.
    pub message: Option<String>,
}

/// What the store was good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Steps that did not have to be built.
    pub hits: u64,
    /// Steps that had to be.
    pub misses: u64,
    /// How long the hits would have taken.
    pub saved: Duration,
    /// How long the misses took.
    pub spent: Duration,
}

/// The history of steps.
#[derive(Debug)]
pub struct Journal {}

impl Journal {
    /// A journal that is gone with its last user, for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Adds one record.
    pub fn record(&self, record: &StepRecord) -> Result<(), StoreError> {
        self.record_all(std::slice::from_ref(record))
    }

    /// Adds records, all or none.
    pub fn record_all(&self, _records: &[StepRecord]) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// The latest record of a step that was built or failed.
    pub fn last(
        &self,
        _project: &str,
        _module: &str,
        _step: &str,
    ) -> Result<Option<StepRecord>, StoreError> {
        unimplemented!()
    }

    /// The latest records of a step, newest first: builds, cut-offs and failures.
    pub fn history(
        &self,
        _project: &str,
        _module: &str,
        _step: &str,
        _limit: usize,
    ) -> Result<Vec<StepRecord>, StoreError> {
        unimplemented!()
    }

    /// The latest record of a key that was built or cut off, in whatever project.
    pub fn by_key(&self, _key: &StepKey) -> Result<Option<StepRecord>, StoreError> {
        unimplemented!()
    }

    /// How long steps (module, step) take: the median of their last five builds, in all projects.
    pub fn durations(
        &self,
        _steps: &[(&str, &str)],
    ) -> Result<HashMap<(String, String), Duration>, StoreError> {
        unimplemented!()
    }

    /// How often a key failed.
    pub fn failures(&self, _key: &StepKey) -> Result<u32, StoreError> {
        unimplemented!()
    }

    /// All hits and misses so far.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        unimplemented!()
    }

    /// Counts hits, and the time they saved.
    pub fn note_hits(&self, _hits: u64, _saved: Duration) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Keeps a few bytes under a name, in place of what was there.
    pub fn remember(&self, _name: &str, _bytes: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// The bytes kept under a name.
    pub fn recall(&self, _name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        unimplemented!()
    }
}
