//! A directory that several users, processes and machines share.
//!
//! An object is written beside its place (`tmp/`, on the same file system) and renamed, so that it
//! is there whole or not at all, whoever dies. Its bytes are brought to the disk before it gets its
//! name: after a power cut a file system may otherwise know the name and the length but not the
//! bytes, and everybody would find the blob there, send nothing, and never get what was in it. The
//! names of blobs are brought to the disk before the first tag that needs them is written.
//!
//! What must not happen at once is kept apart by `flock` on the file `lock`, which the kernel also
//! does over NFS: making a blob young and removing it when it is old; changing `index.json` and
//! lists of referrers. Reading needs no lock.

mod catalog;
mod lock;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use ashlar_store::{Moved, RemoteError, Watch};
use rustix::fs::{AtFlags, CWD, Timestamps, UTIME_NOW, utimensat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::{BLOBS, Change, LEASES, MANIFEST_LIMIT, Objects, Seen, TAGS, Touched};
use crate::depot::Body;
use lock::Lock;

/// Where objects are while they are written.
const TEMPORARY: &str = "tmp";
/// What their names begin with then.
const OBJECT: &str = "new-";
/// How many bytes are written before the watcher is told and asked.
const CHUNK: usize = 1 << 20;

/// Objects as files below a directory.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    place: String,
    catalog: catalog::Changes,
    prepared: Mutex<bool>,
}

impl Directory {
    /// The directory at a path. It need not be there: the first who writes makes it.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            place: format!("dir:{}", root.display()),
            catalog: catalog::Changes::default(),
            prepared: Mutex::new(false),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// An error of the file system, as an error of this place.
    fn failed(&self, what: &str, error: &io::Error) -> RemoteError {
        let place = self.place.clone();
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                RemoteError::Refused { place, what: what.to_owned(), why: self.advice(error) }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RemoteError::Refused {
                place,
                what: what.to_owned(),
                why: format!("{error}; remove what is not needed with `ashlar remote gc`"),
            },
            _ => RemoteError::Unreachable { place, source: format!("{what}: {error}").into() },
        }
    }

    fn advice(&self, error: &io::Error) -> String {
        if error.kind() == ErrorKind::ReadOnlyFilesystem {
            return "the file system is mounted read-only; set `write = false` for this remote"
                .to_owned();
        }
        let uid = rustix::process::geteuid().as_raw();
        match fs::metadata(&self.root) {
            Ok(meta) => format!(
                "{error}: the directory belongs to user {} and group {}, has mode {:04o}, and this \
                 is user {uid}; let a common group write with `chgrp -R GROUP` and `chmod -R \
                 g+rwX,g+s`, or set `write = false` for this remote",
                meta.uid(),
                meta.gid(),
                meta.mode() & 0o7777
            ),
            Err(_) => format!(
                "{error} (user {uid}); make the directory, or set `write = false` for this remote"
            ),
        }
    }

    /// The names of all tags that the index is to have; much cheaper than listing them with times.
    fn tag_names(&self) -> io::Result<BTreeSet<String>> {
        let folder = match fs::read_dir(self.path(TAGS)) {
            Err(error) if is_absent(&error) => return Ok(BTreeSet::new()),
            folder => folder?,
        };
        let names = folder.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names: io::Result<Vec<Option<String>>> = names.collect();
        Ok(names?.into_iter().flatten().filter(|name| catalog::is_listed(name)).collect())
    }

    /// Makes the folders. Files and folders get the rights that the directory itself has, whatever
    /// the umask of whoever comes first: who may write to it may write to all of it.
    fn prepare(&self) -> io::Result<()> {
        let mut prepared = self.prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *prepared {
            return Ok(());
        }
        match fs::create_dir(&self.root) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mode = fs::metadata(&self.root)?.mode() & 0o2777 | 0o700;
        let leased = [format!("{LEASES}/{BLOBS}"), format!("{LEASES}/{TAGS}")];
        for folder in [TEMPORARY, BLOBS, TAGS, &leased[0], &leased[1]] {
            let mut path = self.root.clone();
            for part in Path::new(folder) {
                path.push(part);
                match fs::create_dir(&path) {
                    Ok(()) => fs::set_permissions(&path, fs::Permissions::from_mode(mode))?,
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
        }
        *prepared = true;
        Ok(())
    }

    fn file_mode(&self) -> io::Result<u32> {
        Ok(fs::metadata(&self.root)?.mode() & 0o666 | 0o600)
    }

    /// A new file beside the place of an object, with the rights that it shall have.
    fn temporary(&self, prefix: &str) -> io::Result<NamedTempFile> {
        self.prepare()?;
        let made = tempfile::Builder::new().prefix(prefix).tempfile_in(self.path(TEMPORARY))?;
        made.as_file().set_permissions(fs::Permissions::from_mode(self.file_mode()?))?;
        Ok(made)
    }

    /// Gives a written file its name.
    fn name(&self, file: NamedTempFile, key: &str) -> io::Result<()> {
        file.as_file().sync_data()?;
        self.change(key, || file.persist(self.path(key)).map(drop).map_err(|error| error.error))
    }

    /// Changes an object; the index has to follow what happens to tags.
    fn change<T>(&self, key: &str, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match key.strip_prefix(TAGS).and_then(|rest| rest.strip_prefix('/')) {
            Some(tag) => self.catalog.change(tag, || self.temporary(catalog::MARK), change),
            None => change(),
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.temporary(OBJECT)?;
        file.write_all(bytes)?;
        self.name(file, key)
    }

    fn lock(&self, exclusive: bool) -> Result<Option<Lock>, RemoteError> {
        Lock::take(&self.path("lock"), exclusive, || self.file_mode())
            .map_err(|error| self.failed("its lock", &error))
    }

    fn seen(&self, key: &str) -> Result<Option<Seen>, RemoteError> {
        match fs::metadata(self.path(key)) {
            Ok(meta) if meta.is_file() => {
                let modified = meta.modified().map_err(|error| self.failed(key, &error))?;
                Ok(Some(Seen { size: meta.len(), modified }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    fn read_whole(&self, key: &str) -> Result<Option<Vec<u8>>, RemoteError> {
        match fs::read(self.path(key)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    fn copy(
        &self,
        body: &Body,
        size: u64,
        into: &mut File,
        watch: &Watch<'_>,
    ) -> io::Result<Option<u64>> {
        let mut written = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = body.read_at(&mut buffer, written)?;
            let part = &buffer[..read];
            if part.is_empty() || written > size {
                return Ok(Some(written));
            }
            if !(watch.go_on)() {
                return Ok(None);
            }
            into.write_all(part)?;
            written += part.len() as u64;
            (watch.moved)(Moved { bytes: part.len() as u64, ..Moved::default() });
        }
    }
}

impl Objects for Directory {
    fn place(&self) -> &str {
        &self.place
    }

    fn head(&self, key: &str) -> Result<Option<Seen>, RemoteError> {
        self.seen(key)
    }

    fn read(&self, key: &str, most: u64) -> Result<Option<(Vec<u8>, Seen)>, RemoteError> {
        let Some(seen) = self.seen(key)? else { return Ok(None) };
        if seen.size > most {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: key.to_owned(),
                why: format!("it has {} bytes, more than the {most} that are taken", seen.size),
            });
        }
        Ok(self.read_whole(key)?.map(|bytes| (bytes, seen)))
    }

    fn open(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        let mut file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.failed(key, &error)),
        };
        let length = file.metadata().map_err(|error| self.failed(key, &error))?.len();
        if length < range.end {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: key.to_owned(),
                why: format!("it has {length} bytes instead of at least {}", range.end),
            });
        }
        file.seek(SeekFrom::Start(range.start)).map_err(|error| self.failed(key, &error))?;
        Ok(Some(Box::new(file.take(range.end - range.start))))
    }

    fn put(&self, key: &str, body: &Body, size: u64, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let failed = |error: io::Error| self.failed("to be written", &error);
        let mut file = self.temporary(OBJECT).map_err(failed)?;
        let Some(written) = self.copy(body, size, file.as_file_mut(), watch).map_err(failed)?
        else {
            return Err(RemoteError::Stopped);
        };
        if written != size {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: key.to_owned(),
                why: format!("{written} bytes were to be written that should be {size}"),
            });
        }
        self.name(file, key).map_err(failed)?;
        (watch.moved)(Moved { blobs: 1, ..Moved::default() });
        Ok(())
    }

    fn update(&self, key: &str, change: &Change<'_>) -> Result<(), RemoteError> {
        let failed = |error: io::Error| self.failed("to be written", &error);
        self.prepare().map_err(failed)?;
        let _lock = self.lock(true)?;
        let old = self.read_whole(key)?;
        match change(old.as_deref())? {
            Some(new) => self.write(key, &new).map_err(failed),
            None => Ok(()),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<(String, Seen)>, RemoteError> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(folder, &error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(folder, &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What vanishes meanwhile is not there.
            if let Some(seen) = self.seen(&format!("{folder}/{name}"))? {
                all.push((name, seen));
            }
        }
        Ok(all)
    }

    fn remove(&self, key: &str) -> Result<bool, RemoteError> {
        match self.change(key, || fs::remove_file(self.path(key))) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(self.failed("to have something removed", &error)),
        }
    }

    fn remove_old(&self, key: &str, lease: &str, before: SystemTime) -> Result<bool, RemoteError> {
        let _lock = self.lock(true)?;
        let old = |seen: Seen| seen.modified < before;
        if !self.seen(key)?.is_some_and(old) || !self.seen(lease)?.is_none_or(old) {
            return Ok(false);
        }
        let removed = self.remove(key)?;
        self.remove(lease)?;
        Ok(removed)
    }

    fn touch(&self, key: &str) -> Result<Touched, RemoteError> {
        let _lock = self.lock(false)?;
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match utimensat(CWD, self.path(key), &times, AtFlags::empty()) {
            Ok(()) => Ok(Touched::Done),
            Err(Errno::NOENT) => Ok(Touched::Absent),
            Err(Errno::PERM | Errno::ACCESS | Errno::ROFS) => Ok(Touched::Cannot),
            Err(error) => Err(self.failed(key, &error.into())),
        }
    }

    fn settle(&self) -> Result<(), RemoteError> {
        let synced = File::open(self.path(BLOBS)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.failed("to be written", &error))
    }

    /// The clock of the file system, which over NFS is another machine's; this machine's where
    /// nothing can be written.
    fn now(&self) -> Result<SystemTime, RemoteError> {
        // Only a network file system has a clock of its own, and a file for each look would cost
        // much more than the look: once in a while is enough.
        Ok(self.catalog.clock(|| {
            let file = self.temporary(OBJECT).ok()?;
            file.as_file().metadata().ok()?.modified().ok()
        }))
    }

    fn tidy(&self, before: SystemTime) -> Result<u64, RemoteError> {
        let mut removed = 0;
        // Whoever still writes to one makes it young with each write. Marks are seen to by whoever
        // writes the index next.
        for (name, seen) in self.list(TEMPORARY)? {
            if !name.starts_with(catalog::MARK)
                && seen.modified < before
                && self.remove(&format!("{TEMPORARY}/{name}"))?
            {
                removed += 1;
            }
        }
        self.catalog.rebuild();
        Ok(removed)
    }

    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        match self.temporary(OBJECT) {
            Ok(_) => Ok(Ok(())),
            Err(error) => match self.failed("to be written", &error) {
                RemoteError::Refused { why, .. } => Ok(Err(why)),
                RemoteError::Unreachable { source, .. } => Ok(Err(source.to_string())),
                other => Err(other),
            },
        }
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        let at = if self.root.exists() { "there" } else { "not there yet" };
        let mut facts = vec![("directory".to_owned(), at.to_owned())];
        if let Ok(space) = rustix::fs::statvfs(&self.root) {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            facts.push(("free".to_owned(), format!("{} MiB", free >> 20)));
        }
        Ok(facts)
    }

    fn flush(&self) -> Result<(), RemoteError> {
        if self.catalog.is_current() {
            return Ok(());
        }
        let failed = |error: io::Error| self.failed("to be written", &error);
        self.prepare().map_err(failed)?;
        let _lock = self.lock(true)?;
        let orphaned = self.catalog.orphaned(&self.path(TEMPORARY)).map_err(failed)?;
        let old = self.read_whole(catalog::FILE)?;
        self.catalog.apply(
            old.as_deref(),
            || self.tag_names().map_err(failed),
            |tag| Ok(self.read(&format!("{TAGS}/{tag}"), MANIFEST_LIMIT)?.map(|(bytes, _)| bytes)),
            |new| self.write(catalog::FILE, new).map_err(failed),
        )?;
        for mark in orphaned {
            let _ = fs::remove_file(mark); // One that stays costs a look at all tags.
        }
        Ok(())
    }
}

/// Whether something is not there, also because what would be its folder is none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Opens a file for locking with the rights it shall have, as far as they can be had.
fn open_shared(path: &Path, mode: impl Fn() -> io::Result<u32>) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            return Ok(File::open(path).ok());
        }
        Err(error) => return Err(error),
    }
    let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    match made {
        Ok(file) => {
            file.set_permissions(fs::Permissions::from_mode(mode()?))?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(path).map(Some)
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
