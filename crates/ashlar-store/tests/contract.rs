//! Both stores keep the contract.

use ashlar_object::{ActionResult, Digest, StepKey, Time};
use ashlar_store::{LocalStore, MemoryStore, OpenOptions, Store, StoreError};
use std::io::Read;
use std::path::Path;

/// A store with the folder it is in.
struct InFolder {
    store: LocalStore,
    _folder: tempfile::TempDir,
}

impl InFolder {
    fn new(owner_base: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { owner_base, read_only: false };
        let store = LocalStore::open(&folder.path().join("store"), options).unwrap();
        Self { store, _folder: folder }
    }
}

impl Store for InFolder {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        self.store.missing(digests)
    }
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Store::open(&self.store, digest)
    }
    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        self.store.put(bytes)
    }
    fn keep_folder(
        &self,
        folder: &Path,
        how: ashlar_store::Capture,
    ) -> Result<(Digest, ashlar_object::Tree), StoreError> {
        self.store.keep_folder(folder, how)
    }
    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        self.store.result(action)
    }
    fn put_result(&self, action: &Digest, result: &ActionResult) -> Result<(), StoreError> {
        self.store.put_result(action, result)
    }
    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<ashlar_store::Found>>, StoreError> {
        self.store.steps(keys)
    }
    fn put_step(&self, key: &StepKey, action: &Digest) -> Result<(), StoreError> {
        self.store.put_step(key, action)
    }
}

#[test]
fn the_memory_store_keeps_the_contract() {
    ashlar_store::suite::all(MemoryStore::new);
}

#[test]
fn the_local_store_keeps_the_contract() {
    ashlar_store::suite::all(|| InFolder::new(0));
}

#[test]
fn the_local_store_keeps_the_contract_with_shifted_owners() {
    if rustix::process::geteuid().is_root() {
        ashlar_store::suite::all(|| InFolder::new(524_288));
    } else {
        eprintln!("left out: only the superuser can give files away");
    }
}

#[test]
fn the_memory_store_wants_results_before_steps() {
    let store = MemoryStore::new();
    let result = ActionResult {
        outputs: Digest::EMPTY,
        root: Digest::of(b"another root"),
        log: Digest::EMPTY,
        started: Time { seconds: 0, nanos: 0 },
        took: std::time::Duration::ZERO,
    };
    let action = Digest::of(b"action");
    assert!(matches!(store.put_result(&action, &result), Err(StoreError::Missing(_))));
    let key = StepKey([0; 32]);
    assert!(matches!(store.put_step(&key, &action), Err(StoreError::Missing(_))));
    let result = ActionResult { root: ashlar_object::Tree::default().root_digest(), ..result };
    store.put_result(&action, &result).unwrap();
    store.put_step(&key, &action).unwrap();
    assert!(store.steps(&[key]).unwrap()[0].is_some());
    assert!(!store.forget(&Digest::of(b"x")));
}
