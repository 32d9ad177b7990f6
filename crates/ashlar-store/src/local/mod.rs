//! The store on disk.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_object::{ActionResult, Digest, StepKey, Tree};

use crate::{Capture, Found, Journal, StatCache, Store, StoreError};

/// How a store is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The user id outside that is user 0 inside a tree: 0 in a user namespace of our own,
    /// 524288 for the machine's root.
    pub owner_base: u32,
    /// Whether nothing may be written.
    pub read_only: bool,
}

/// How a tree is checked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkout {
    /// Files of their own.
    Copy,
    /// Hard links to the files of the store: quick, and not to be edited.
    Link,
}

/// Something that [`LocalStore::collect`] leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// One blob.
    Blob(Digest),
    /// A tree with every blob in it.
    Tree(Digest),
}

/// What a store may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk.
    pub max_size: Option<u64>,
    /// Since a result was last used.
    pub max_age: Option<Duration>,
}

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Results removed.
    pub results: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Staged trees removed.
    pub trees: u64,
    /// Bytes of disk freed.
    pub freed: u64,
    /// Bytes of disk still used.
    pub left: u64,
}

/// What a check of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Blobs that are not what they should be.
    pub damaged: Vec<Digest>,
    /// Staged trees that are not what they should be.
    pub damaged_trees: Vec<String>,
    /// Actions whose results lack a blob.
    pub incomplete: Vec<Digest>,
}

/// How much is in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStat {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of disk that blobs and copies in staged trees use.
    pub bytes: u64,
    /// Staged trees.
    pub trees: u64,
    /// Results.
    pub results: u64,
    /// Step keys.
    pub steps: u64,
    /// Things in quarantine.
    pub quarantined: u64,
}

/// A private folder on the file system of the store, removed when dropped.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
}

impl Workspace {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A tree as a folder, which stays as long as this value lives.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
}

impl Staged {
    /// The folder: not to be written to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The right to build a step, given back when dropped.
#[derive(Debug)]
pub struct StepLock {}

/// The store on disk, shared by all processes of a user.
#[derive(Debug)]
pub struct LocalStore {}

impl LocalStore {
    /// Opens a store, making it where there is none.
    pub fn open(_path: &Path, _options: OpenOptions) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// Whether nothing can be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        unimplemented!()
    }

    /// What people should know of, each once.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        unimplemented!()
    }

    /// A private folder.
    pub fn workspace(&self, _label: &str) -> Result<Workspace, StoreError> {
        unimplemented!()
    }

    /// A tree as a folder.
    pub fn stage(&self, _digest: &Digest, _tree: &Tree) -> Result<Staged, StoreError> {
        unimplemented!()
    }

    /// A tree as plain files.
    pub fn check_out(
        &self,
        _tree: &Tree,
        _dest: &Path,
        _how: Checkout,
        _force: bool,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Copies a folder into the store.
    pub fn import_folder(
        &self,
        _folder: &Path,
        _how: Capture,
    ) -> Result<(Digest, Tree), StoreError> {
        unimplemented!()
    }

    /// Locks a step; `None` when `waiting` said so.
    pub fn lock_step(
        &self,
        _key: &StepKey,
        _waiting: &mut dyn FnMut() -> bool,
    ) -> Result<Option<StepLock>, StoreError> {
        unimplemented!()
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        unimplemented!()
    }

    /// The stat cache of a project.
    #[must_use]
    pub fn stat_cache(&self, _project: &Path) -> StatCache {
        unimplemented!()
    }

    /// Keeps things from being collected, in place of what this name kept before.
    pub fn pin(&self, _name: &str, _pins: &[Pin]) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Reads and checks everything.
    pub fn verify(
        &self,
        _repair: bool,
        _progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<VerifyReport, StoreError> {
        unimplemented!()
    }

    /// Removes what was used least recently.
    pub fn collect(&self, _limits: Limits) -> Result<CollectReport, StoreError> {
        unimplemented!()
    }

    /// Counts everything.
    pub fn stat(&self) -> Result<StoreStat, StoreError> {
        unimplemented!()
    }

    /// Makes everything put so far survive a power cut.
    pub fn sync(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
}

impl Store for LocalStore {
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
