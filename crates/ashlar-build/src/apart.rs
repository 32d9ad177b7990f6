//! A store that lacks just those contents of results which shall be written elsewhere.
//!
//! Whoever brings a result gives it these and nothing else. What else comes (trees, tables of
//! contents) goes into the real store; the results themselves are not kept, because their contents
//! are not there. Without any such content it is a look at what a result is made of: only its tree
//! comes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ashlar_object::{ActionResult, Digest, Hasher, StepKey, Tree};
use ashlar_store::{Capture, Found, Store, StoreError};

/// Contents up to this size are held in memory until their digest is known.
const HELD: u64 = 4 << 20;

/// Writes a content where it belongs; the reader fails instead of ending when it is another.
pub type Land<'a> = &'a (dyn Fn(&Digest, &mut dyn Read) -> Result<(), StoreError> + Sync);

/// A store that lacks what shall be written elsewhere.
pub struct Apart<'a> {
    store: &'a dyn Store,
    results: HashMap<Digest, ActionResult>,
    left: Mutex<HashSet<Digest>>,
    land: Land<'a>,
    /// A folder for contents that are too large for memory.
    spool: PathBuf,
    next: AtomicU64,
}

impl<'a> Apart<'a> {
    /// A store that lacks no content: of results only the trees come.
    #[must_use]
    pub fn trees(store: &'a dyn Store, found: &[Found]) -> Self {
        Self::new(store, found, HashSet::new(), &|_, _| Ok(()), Path::new(""))
    }

    /// A store that lacks these contents of some results, and hands them to `land`. What does not
    /// fit into memory is written into the folder `spool` until its digest is known.
    #[must_use]
    pub fn new(
        store: &'a dyn Store,
        found: &[Found],
        wanted: HashSet<Digest>,
        land: Land<'a>,
        spool: &Path,
    ) -> Self {
        let results = found.iter().map(|found| (found.action, found.result.clone())).collect();
        let (left, next) = (Mutex::new(wanted), AtomicU64::new(0));
        Self { store, results, left, land, spool: spool.to_path_buf(), next }
    }

    /// Some content that has not come.
    #[must_use]
    pub fn lacks(&self) -> Option<Digest> {
        self.left().iter().next().copied()
    }

    fn left(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a content that is larger than what is held in memory, of which `head` was read.
    fn put_large(&self, head: &[u8], rest: &mut dyn Read) -> Result<Digest, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.spool.join(format!("large.{number}"));
        let failed = |doing| {
            let path = path.clone();
            move |source| failed_at(doing, path, source)
        };
        let options = || File::options().read(true).write(true).create_new(true).open(&path);
        let mut file = options().map_err(failed("make"))?;
        // Without its name it goes with its last descriptor.
        std::fs::remove_file(&path).map_err(failed("remove"))?;
        let mut hasher = Hasher::new();
        hasher.update(head);
        file.write_all(head).map_err(failed("write"))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    file.write_all(&buffer[..count]).map_err(failed("write"))?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed("read")(e)),
            }
        }
        let digest = hasher.finish();
        file.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
        self.put_checked(&digest, false, &mut file)
    }
}

/// An error of a file; a full disk is one of its own.
#[must_use]
pub fn failed_at(doing: &'static str, path: PathBuf, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::Io { doing, path, source },
    }
}

impl Store for Apart<'_> {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let is_tree = |digest: &&Digest| self.results.values().any(|r| r.outputs == **digest);
        let trees: Vec<Digest> = digests.iter().filter(is_tree).copied().collect();
        let lacks: HashSet<Digest> = self.store.missing(&trees)?.into_iter().collect();
        let left = self.left();
        let lacks = |digest: &&Digest| lacks.contains(digest) || left.contains(digest);
        Ok(digests.iter().filter(lacks).copied().collect())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.store.open(digest)
    }

    fn open_unchecked(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.store.open_unchecked(digest)
    }

    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        if self.left().is_empty() {
            return self.store.put(bytes);
        }
        let mut head = Vec::new();
        (&mut *bytes)
            .take(HELD + 1)
            .read_to_end(&mut head)
            .map_err(|source| failed_at("read", self.spool.clone(), source))?;
        if head.len() as u64 > HELD {
            return self.put_large(&head, bytes);
        }
        let digest = Digest::of(&head);
        self.put_checked(&digest, false, &mut &head[..])
    }

    fn put_checked(
        &self,
        digest: &Digest,
        executable: bool,
        bytes: &mut dyn Read,
    ) -> Result<Digest, StoreError> {
        if !self.left().remove(digest) {
            return self.store.put_checked(digest, executable, bytes);
        }
        if let Err(error) = (self.land)(digest, bytes) {
            // Whoever brings it may try once more.
            self.left().insert(*digest);
            return Err(error);
        }
        Ok(*digest)
    }

    fn keep_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError> {
        self.store.keep_folder(folder, how)
    }

    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        match self.results.get(action) {
            Some(result) => Ok(Some(result.clone())),
            None => self.store.result(action),
        }
    }

    /// A result whose contents are elsewhere is none of this store.
    fn put_result(&self, _: &Digest, _: &ActionResult) -> Result<(), StoreError> {
        Ok(())
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        self.store.steps(keys)
    }

    fn put_step(&self, _: &StepKey, _: &Digest) -> Result<(), StoreError> {
        Ok(())
    }

    fn scratch(&self) -> Option<PathBuf> {
        self.store.scratch()
    }
}
