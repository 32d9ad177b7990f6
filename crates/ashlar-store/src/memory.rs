//! A store in memory, stricter than the one on disk.

use std::io::Read;
use std::path::Path;

use ashlar_object::{ActionResult, Digest, StepKey, Tree};

use crate::{Capture, Found, Store, StoreError};

/// A store that is gone with its last user, for tests.
#[derive(Debug, Default)]
pub struct MemoryStore {}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn missing(&self, _: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        unimplemented!()
    }
    fn open(&self, _: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        unimplemented!()
    }
    fn put(&self, _: &mut dyn Read) -> Result<Digest, StoreError> {
        unimplemented!()
    }
    fn keep_folder(&self, _: &Path, _: Capture) -> Result<(Digest, Tree), StoreError> {
        unimplemented!()
    }
    fn result(&self, _: &Digest) -> Result<Option<ActionResult>, StoreError> {
        unimplemented!()
    }
    fn put_result(&self, _: &Digest, _: &ActionResult) -> Result<(), StoreError> {
        unimplemented!()
    }
    fn steps(&self, _: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        unimplemented!()
    }
    fn put_step(&self, _: &StepKey, _: &Digest) -> Result<(), StoreError> {
        unimplemented!()
    }
}
