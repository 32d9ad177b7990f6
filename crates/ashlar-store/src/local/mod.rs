//! The store on disk.

mod blobs;
mod check_out;
mod collect;
mod keep;
pub(crate) mod keys;
mod lay;
mod locks;
mod open;
pub(crate) mod parallel;
pub(crate) mod results;
mod stage;
mod temporary;
mod verify;
mod workspace;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ashlar_object::{ActionResult, Digest, StepKey, Tree};
use rusqlite::params;

use blobs::Blobs;
use locks::Lease;
use stage::Sound;

use crate::index::Index;
use crate::{Capture, Found, Journal, StatCache, Store, StoreError};

pub use locks::StepLock;
pub(crate) use locks::serial;
pub use stage::Staged;
pub use workspace::Workspace;

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
    /// Files of their own, owned by the caller.
    Copy,
    /// Hard links to the files of the store: quick, and not to be edited. Copies where a link is
    /// not possible.
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
    /// Files of blobs removed.
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
    /// Files of blobs read.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Blobs with another content than they should have; the size is that of the file found.
    pub damaged: Vec<Digest>,
    /// Staged trees, by their hash, that are not what they should be or whose tree is gone.
    pub damaged_trees: Vec<String>,
    /// Actions whose results lack a blob.
    pub incomplete: Vec<Digest>,
}

impl VerifyReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.damaged_trees.is_empty() && self.incomplete.is_empty()
    }
}

/// How much is in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStat {
    /// Distinct blobs.
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

/// The store on disk, shared by all processes of a user. The crate documentation has the map of
/// its folder and its promises.
#[derive(Debug)]
pub struct LocalStore {
    blobs: Arc<Blobs>,
    index: Arc<Index>,
    journal: Journal,
    /// Absent when the store is read-only.
    lease: Option<Lease>,
    locks: Option<OwnedFd>,
    sound: Sound,
    /// Trees that were just kept: their results are put next.
    recent: Mutex<Vec<(Digest, Tree)>>,
    background: Mutex<Vec<JoinHandle<()>>>,
}

impl LocalStore {
    /// Opens a store, making it where there is none. One that may not be written to is opened
    /// read-only, with a warning.
    ///
    /// # Errors
    /// When the folder cannot be used, or the store was made by a newer version.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        open::open(path, options)
    }

    /// Its folder, an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.blobs.path
    }

    /// Whether nothing can be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.blobs.read_only
    }

    /// What people should know of, each sentence once.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        let mut warnings = self.index.take_warnings();
        let own = &mut *self.blobs.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.append(own);
        warnings
    }

    /// A private folder on the file system of the store.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn workspace(&self, label: &str) -> Result<Workspace, StoreError> {
        self.blobs.workspace(label)
    }

    /// A tree as a folder, made once and shared by all who need it. One that was made before is
    /// looked at once by each process, and made anew when something in it was changed.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when a blob is not there or damaged: what led here is a miss then.
    pub fn stage(&self, digest: &Digest, tree: &Tree) -> Result<Staged, StoreError> {
        stage::stage(&self.blobs, &self.sound, digest, tree)
    }

    /// A tree as plain files, whole or not at all: made beside the destination and renamed.
    /// Whiteouts are left out.
    ///
    /// # Errors
    /// [`StoreError::Occupied`] when the destination is there and not empty, unless `force`;
    /// [`StoreError::Missing`] when a blob is not there or damaged.
    pub fn check_out(
        &self,
        tree: &Tree,
        dest: &Path,
        how: Checkout,
        force: bool,
    ) -> Result<(), StoreError> {
        check_out::check_out(&self.blobs, tree, dest, how, force)
    }

    /// Copies a folder into the store and leaves it alone. Files that have not changed since the
    /// last time are not read again.
    ///
    /// # Errors
    /// When something cannot be read or kept.
    pub fn import_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError> {
        let folder = std::path::absolute(folder).map_err(|source| StoreError::Io {
            doing: "use",
            path: folder.to_path_buf(),
            source,
        })?;
        let cache = self.stat_cache(&folder);
        let kept = keep::import_folder(&self.blobs, &cache, &folder, how)?;
        if let Err(e) = cache.save() {
            self.blobs.warn(format!("cannot write a stat cache: {e}"));
        }
        self.remember_tree(&kept);
        Ok(kept)
    }

    /// As [`LocalStore::import_folder`], without what `without` says yes to, and what lies in it:
    /// it is asked with paths below the folder, of folders before what is in them. The stat cache is
    /// the caller's to save.
    ///
    /// # Errors
    /// As [`LocalStore::import_folder`].
    pub fn import_parts(
        &self,
        folder: &Path,
        how: Capture,
        cache: &StatCache,
        without: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(Digest, Tree), StoreError> {
        let kept = keep::import_parts(&self.blobs, cache, folder, how, without)?;
        self.remember_tree(&kept);
        Ok(kept)
    }

    /// Locks a step, so that no other process or thread builds it at the same time. `waiting` is
    /// called as long as somebody else has it; `None` when it says to give up.
    ///
    /// # Errors
    /// When the lock file cannot be made; [`StoreError::ReadOnly`] for a read-only store.
    pub fn lock_step(
        &self,
        key: &StepKey,
        waiting: &mut dyn FnMut() -> bool,
    ) -> Result<Option<StepLock>, StoreError> {
        let locks = self.locks.as_ref().ok_or_else(|| self.read_only())?;
        locks::lock_step(locks.as_fd(), &self.path().join("locks"), key, waiting)
    }

    /// What was built when, and how it ended.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The stat cache of a project or of any other folder. Nothing is written until
    /// [`StatCache::save`], and nothing at all with a read-only store.
    #[must_use]
    pub fn stat_cache(&self, project: &Path) -> StatCache {
        if self.is_read_only() {
            return StatCache::in_memory();
        }
        use std::os::unix::ffi::OsStrExt;
        let name = Digest::of(project.as_os_str().as_bytes()).short();
        StatCache::load(self.path().join("stat").join(name))
    }

    /// Keeps things from being collected, in place of what this name kept before. A pin that is
    /// not renewed goes when it is older than the age that results may have.
    ///
    /// # Errors
    /// When the index cannot be written. With a read-only store nothing happens.
    pub fn pin(&self, name: &str, pins: &[Pin]) -> Result<(), StoreError> {
        if self.is_read_only() {
            return Ok(());
        }
        let now = results::now();
        self.index.write("write a pin to", |connection| {
            connection.execute("DELETE FROM pins WHERE name = ?1", [name])?;
            let mut statement = connection.prepare_cached(
                "INSERT OR REPLACE INTO pins (name, digest, tree, pinned) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for pin in pins {
                let (digest, tree) = match pin {
                    Pin::Blob(digest) => (digest, false),
                    Pin::Tree(digest) => (digest, true),
                };
                statement.execute(params![name, &keys::to_bytes(digest)[..], tree, now])?;
            }
            Ok(())
        })
    }

    /// Reads and compares everything. With `repair`, what is damaged is quarantined and results
    /// that need it are forgotten; without, nothing is changed. `progress` gets bytes read and
    /// bytes there are.
    ///
    /// # Errors
    /// When the folders of the store cannot be read.
    pub fn verify(
        &self,
        repair: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<VerifyReport, StoreError> {
        let report = verify::verify(&self.blobs, &self.index, repair, progress)?;
        if repair && !self.is_read_only() {
            open::forget_suspects(&self.index)?;
        }
        Ok(report)
    }

    /// Removes results that were used least recently until what is left fits, then everything
    /// that nothing refers to. Safe beside running builds: what they have found or put stays.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn collect(&self, limits: Limits) -> Result<CollectReport, StoreError> {
        let (Some(lease), Some(locks)) = (&self.lease, &self.locks) else {
            return Err(self.read_only());
        };
        self.finish_background();
        collect::collect(&self.blobs, &self.index, lease, locks, limits)
    }

    /// Counts everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn stat(&self) -> Result<StoreStat, StoreError> {
        collect::stat(&self.blobs, &self.index)
    }

    /// Makes everything put so far survive a power cut. Without, it survives everything else,
    /// and after a power cut it is compared with its digests before it is used.
    ///
    /// # Errors
    /// When the disk reports an error.
    pub fn sync(&self) -> Result<(), StoreError> {
        match &self.lease {
            Some(lease) => open::sync(&self.blobs, &self.index, lease),
            None => Ok(()),
        }
    }

    fn read_only(&self) -> StoreError {
        StoreError::ReadOnly { path: self.path().to_path_buf() }
    }

    fn remember_tree(&self, (digest, tree): &(Digest, Tree)) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= 16 {
            recent.remove(0);
        }
        recent.push((*digest, tree.clone()));
    }

    /// Writes times of use beside what the caller does next.
    fn touch(&self, actions: Vec<Digest>) {
        if actions.is_empty() {
            return;
        }
        let (index, blobs) = (Arc::clone(&self.index), Arc::clone(&self.blobs));
        let thread = std::thread::spawn(move || {
            if let Err(e) = results::touch(&index, &actions) {
                blobs.warn(format!("cannot note the use of results: {e}"));
            }
        });
        self.background.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    fn finish_background(&self) {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        let threads: Vec<_> = background.drain(..).collect();
        drop(background);
        for thread in threads {
            // A panic there has been reported by its thread, and lost a time of use.
            let _ = thread.join();
        }
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.finish_background();
    }
}

impl Store for LocalStore {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        // Who hears that something is there counts on it.
        self.blobs.missing(digests)
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(Some(Box::new(std::io::empty())));
        }
        let reader = self.blobs.open(digest)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read + Send>))
    }

    fn open_unchecked(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(Some(Box::new(std::io::empty())));
        }
        let file = self.blobs.open_file(digest)?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }

    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        self.blobs.put(bytes)
    }

    fn put_checked(
        &self,
        digest: &Digest,
        executable: bool,
        bytes: &mut dyn Read,
    ) -> Result<Digest, StoreError> {
        let form = if executable { keys::Form::Executable } else { keys::Form::Plain };
        self.blobs.put_checked(digest, form, bytes)
    }

    fn keep_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError> {
        let kept = keep::keep_folder(&self.blobs, &self.sound, folder, how)?;
        self.remember_tree(&kept);
        Ok(kept)
    }

    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        let (result, stale) = results::result(&self.blobs, &self.index, action)?;
        self.touch(stale);
        Ok(result)
    }

    fn put_result(&self, action: &Digest, result: &ActionResult) -> Result<(), StoreError> {
        let recent = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            let tree = recent.iter().find(|(digest, _)| *digest == result.outputs);
            tree.map(|(_, tree)| tree.clone())
        };
        results::put_result(&self.blobs, &self.index, recent.as_ref(), action, result)
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        let (found, stale) = results::steps(&self.blobs, &self.index, keys, true)?;
        self.touch(stale);
        Ok(found)
    }

    fn steps_unchecked(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        let (found, stale) = results::steps(&self.blobs, &self.index, keys, false)?;
        self.touch(stale);
        Ok(found)
    }

    fn put_step(&self, key: &StepKey, action: &Digest) -> Result<(), StoreError> {
        results::put_step(&self.blobs, &self.index, key, action)
    }

    fn scratch(&self) -> Option<PathBuf> {
        self.blobs.scratch().ok().map(|scratch| scratch.path().to_owned())
    }
}

#[cfg(test)]
#[path = "../local_tests.rs"]
mod tests;
