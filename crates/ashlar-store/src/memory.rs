//! A store in memory, stricter than the one on disk.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashlar_object::{ActionResult, Digest, StepKey, Tree};

use crate::capture::{self, Content, Kind};
use crate::facts::Owners;
use crate::failed::failing;
use crate::xattrs::Xattrs;
use crate::{Capture, Found, Store, StoreError};

/// A store that is gone with its last user, for tests.
///
/// Stricter than [`crate::LocalStore`]: a step key must point to a result that is complete.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Arc<[u8]>>,
    results: HashMap<Digest, ActionResult>,
    steps: HashMap<StepKey, Digest>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets a blob, as damage or garbage collection would. Whether it was there.
    pub fn forget(&self, digest: &Digest) -> bool {
        self.state().blobs.remove(digest).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion, so what a panic left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, digest: &Digest) -> bool {
        *digest == Digest::EMPTY || self.blobs.contains_key(digest)
    }

    fn bytes(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        if *digest == Digest::EMPTY {
            return Some(Arc::default());
        }
        self.blobs.get(digest).cloned()
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.entry(digest).or_insert_with(|| bytes.into());
        digest
    }

    /// The first blob of a result that is not there.
    fn lacks(&self, result: &ActionResult) -> Result<Option<Digest>, StoreError> {
        let Some(bytes) = self.bytes(&result.outputs) else { return Ok(Some(result.outputs)) };
        let tree = Tree::decode(&bytes).map_err(|e| StoreError::Tree(result.outputs, e))?;
        if tree.root_digest() != result.root {
            return Ok(Some(result.root));
        }
        let mut needed = tree.blobs();
        needed.push(result.log);
        Ok(needed.into_iter().find(|d| !self.has(d)))
    }

    fn result(&self, action: &Digest) -> Option<ActionResult> {
        let result = self.results.get(action)?;
        matches!(self.lacks(result), Ok(None)).then(|| result.clone())
    }
}

impl Store for MemoryStore {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let state = self.state();
        Ok(digests.iter().filter(|d| !state.has(d)).copied().collect())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let bytes = self.state().bytes(digest);
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>))
    }

    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        let mut all = Vec::new();
        bytes.read_to_end(&mut all).map_err(failing("read", "what is to be kept"))?;
        Ok(self.state().keep(all))
    }

    fn keep_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError> {
        let owners = Owners::new(0);
        let root = capture::open_folder(folder)?;
        let scan = capture::scan(root.as_fd(), folder, how)?;
        let mut contents = vec![Content::default(); scan.items.len()];
        for (item, content) in scan.items.iter().zip(&mut contents) {
            if !matches!(item.kind, Kind::File) {
                continue;
            }
            let at = capture::shown(folder, &item.path);
            let fd = capture::open_file(root.as_fd(), &item.path, true)
                .map_err(failing("open", &*at))?;
            if how.keeps_owners() {
                let xattrs = Xattrs::of(&fd).map_err(failing("read the attributes of", &*at))?;
                content.xattrs = xattrs.kept(&owners);
            }
            let mut bytes = Vec::new();
            std::fs::File::from(fd).read_to_end(&mut bytes).map_err(failing("read", at))?;
            content.digest = Some(self.state().keep(bytes));
        }
        let tree = capture::tree(&scan, how, &owners, &contents);
        let digest = self.state().keep(tree.encode());
        crate::removal::empty(root.as_fd()).map_err(failing("empty", folder))?;
        std::fs::remove_dir(folder).map_err(failing("remove", folder))?;
        Ok((digest, tree))
    }

    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        Ok(self.state().result(action))
    }

    fn put_result(&self, action: &Digest, result: &ActionResult) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some(missing) = state.lacks(result)? {
            return Err(StoreError::Missing(missing));
        }
        state.results.insert(*action, result.clone());
        Ok(())
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        let state = self.state();
        let find = |key| {
            let action = *state.steps.get(key)?;
            state.result(&action).map(|result| Found { action, result })
        };
        Ok(keys.iter().map(find).collect())
    }

    fn put_step(&self, key: &StepKey, action: &Digest) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.result(action).is_none() {
            return Err(StoreError::Missing(*action));
        }
        state.steps.insert(*key, *action);
        Ok(())
    }
}
