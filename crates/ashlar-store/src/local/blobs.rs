//! Blobs as loose files.
//!
//! Each blob has up to two files, a plain one and an executable one. All have the same time, so
//! that a look at the stat data tells a file that somebody has edited from one that nobody has:
//! what looks odd is read and compared with its digest before it is used, and quarantined when
//! it is something else.

use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ashlar_object::{Digest, Hasher, Time};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::keys::{BlobName, Form};
use super::locks::{Gate, serial};
use super::temporary::Temporary;
use super::workspace::Workspace;
use crate::StoreError;
use crate::facts::{FIXED, Facts, Owners, times};
use crate::failed::{failed, failing};
use crate::pour::{Buffer, CHUNK, Poured, Unpoured, pour};

/// The folder of blobs and what is needed to judge and to change it.
#[derive(Debug)]
pub(super) struct Blobs {
    /// The folder of the store.
    pub path: PathBuf,
    /// The same, open.
    pub home: OwnedFd,
    /// `blobs/`, open.
    pub dir: OwnedFd,
    pub owners: Owners,
    pub read_only: bool,
    /// Spans in which a machine may have gone down before what was written had reached its disk.
    pub suspect: Vec<(Time, Time)>,
    /// Since when this process holds a lease: what is younger is not collected.
    pub since: Time,
    pub gate: Gate,
    /// Whether anything was found or kept through this value.
    pub used: AtomicBool,
    pub warnings: Mutex<Vec<String>>,
    pub scratch: OnceLock<Workspace>,
    /// Held while the scratch folder is made.
    pub making: Mutex<()>,
}

impl Blobs {
    /// The path of a file of a blob, for messages.
    fn shown(&self, name: &BlobName) -> PathBuf {
        self.path.join("blobs").join(&name.file_name()[..2]).join(name.file_name())
    }

    pub fn warn(&self, warning: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Whether a file was last changed at a time of which the disk may know only half.
    pub fn is_suspect(&self, facts: &Facts) -> bool {
        self.suspect.iter().any(|(from, until)| (*from..*until).contains(&facts.ctime))
    }

    /// The file of a blob in one form, if it is there and what it should be.
    pub fn probe(&self, digest: &Digest, form: Form) -> Result<Option<Facts>, StoreError> {
        let name = BlobName::new(&digest.hash, form);
        let facts = Facts::if_any(self.dir.as_fd(), name.path())
            .map_err(|e| failed("look at", &self.shown(&name), e.into()))?;
        let Some(facts) = facts else { return Ok(None) };
        match self.is_good(&facts, digest, form) {
            true => Ok(Some(facts)),
            false => self.examine(digest, form),
        }
    }

    /// Whether a file looks as the file of this blob does.
    fn is_good(&self, facts: &Facts, digest: &Digest, form: Form) -> bool {
        facts.is_file()
            && facts.size == digest.size
            && facts.mtime == FIXED
            && facts.mode == form.mode()
            && self.owners.matches(facts, (0, 0))
            && !self.is_suspect(facts)
    }

    /// Whether a blob is there in any form, and what it should be.
    pub fn find(&self, digest: &Digest) -> Result<Option<(Form, Facts)>, StoreError> {
        for form in [Form::Plain, Form::Executable] {
            if let Some(facts) = self.probe(digest, form)? {
                return Ok(Some((form, facts)));
            }
        }
        Ok(None)
    }

    pub fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(*digest == Digest::EMPTY || self.find(digest)?.is_some())
    }

    /// As [`Blobs::has`], and what is there is safe from collection from now on. To be called
    /// inside the gate.
    pub fn has_for_long(&self, digest: &Digest) -> Result<bool, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(true);
        }
        let Some((form, facts)) = self.find(digest)? else { return Ok(false) };
        if facts.ctime < self.since && !self.read_only {
            self.make_young(&BlobName::new(&digest.hash, form))?;
        }
        Ok(true)
    }

    fn make_young(&self, name: &BlobName) -> Result<(), StoreError> {
        rustix::fs::utimensat(&self.dir, name.path(), &times(FIXED), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("touch", &self.shown(name), e.into()))
    }

    /// Reads a file that looks odd. One with the right content is put right.
    fn examine(&self, digest: &Digest, form: Form) -> Result<Option<Facts>, StoreError> {
        let name = BlobName::new(&digest.hash, form);
        let shown = self.shown(&name);
        let fd = match self.open_name(&name) {
            Ok(Some(fd)) => fd,
            Ok(None) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => {
                self.quarantine(&name, "it is no file")?;
                return Ok(None);
            }
            Err(e) => return Err(failed("open", &shown, e.into())),
        };
        let facts = Facts::of(&fd).map_err(failing("look at", &*shown))?;
        if !facts.is_file() || facts.size != digest.size {
            let why = format!("it has {} bytes instead of {}", facts.size, digest.size);
            self.quarantine(&name, &why)?;
            return Ok(None);
        }
        match hash(&fd, &mut Buffer::new()) {
            Ok(found) if found == *digest => {}
            Ok(_) => {
                self.quarantine(&name, "its content is another")?;
                return Ok(None);
            }
            Err(e) => {
                self.quarantine(&name, &format!("it cannot be read: {e}"))?;
                return Ok(None);
            }
        }
        if !self.read_only {
            self.settle(&fd, form).map_err(failing("put right", &*shown))?;
        }
        Facts::of(&fd).map(Some).map_err(failing("look at", shown))
    }

    fn open_name(&self, name: &BlobName) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.dir, name.path(), flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives a file the owner, mode and time of a blob.
    pub fn settle(&self, fd: impl AsFd, form: Form) -> rustix::io::Result<()> {
        let facts = Facts::of(&fd)?;
        if !self.owners.matches(&facts, (0, 0))
            && let Some((uid, gid)) = self.owners.outside((0, 0))
        {
            rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
        }
        if facts.mode != form.mode() {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(form.mode()))?;
        }
        rustix::fs::futimens(&fd, &times(FIXED))
    }

    /// Takes a file out of use, with a note of why.
    pub fn quarantine(&self, name: &BlobName, why: &str) -> Result<(), StoreError> {
        let shown = self.shown(name);
        self.warn(format!("{} is damaged ({why}) and is not used any more", shown.display()));
        if self.read_only {
            return Ok(());
        }
        let inode = Facts::if_any(self.dir.as_fd(), name.path())
            .map_err(failing("look at", &*shown))?
            .map(|facts| (facts.dev, facts.ino, facts.links));
        let aside = format!("quarantine/{}.{}", name.file_name(), serial());
        match rustix::fs::renameat(&self.dir, name.path(), &self.home, aside.as_str()) {
            Ok(()) => {}
            // Another thread was quicker.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(failed("quarantine", &shown, e.into())),
        }
        let note = self.path.join(format!("{aside}.txt"));
        // The note is for people; that the blob is out of use is what counts.
        let _ = std::fs::write(note, format!("{}: {why}\n", shown.display()));
        if let Some((dev, ino, links)) = inode
            && links > 1
        {
            super::stage::drop_trees_with(self, dev, ino)?;
        }
        Ok(())
    }

    /// Opens a blob; the reader compares with the digest.
    pub fn open(self: &Arc<Self>, digest: &Digest) -> Result<Option<Verified>, StoreError> {
        let Some((file, name)) = self.open_found(digest)? else { return Ok(None) };
        let (blobs, hasher) = (Arc::clone(self), Some(Hasher::new()));
        Ok(Some(Verified { blobs, file, hasher, digest: *digest, left: digest.size, name }))
    }

    /// Opens the file of a blob, if it is there and what it should be.
    fn open_found(&self, digest: &Digest) -> Result<Option<(std::fs::File, BlobName)>, StoreError> {
        // Most often it is there and as it should be: then looking at what is open spares one walk
        // along its path.
        let name = BlobName::new(&digest.hash, Form::Plain);
        if let Ok(Some(fd)) = self.open_name(&name)
            && Facts::of(&fd).is_ok_and(|facts| self.is_good(&facts, digest, Form::Plain))
        {
            return Ok(Some((fd.into(), name)));
        }
        let Some((form, _)) = self.find(digest)? else { return Ok(None) };
        let name = BlobName::new(&digest.hash, form);
        let fd = self.open_name(&name).map_err(failing("open", self.shown(&name)))?;
        Ok(fd.map(|fd| (fd.into(), name)))
    }

    /// Opens a blob for whoever compares it with its digest.
    pub fn open_file(&self, digest: &Digest) -> Result<Option<std::fs::File>, StoreError> {
        Ok(self.open_found(digest)?.map(|(file, _)| file))
    }

    /// A blob as bytes, `None` when it is not there or damaged.
    pub fn read(self: &Arc<Self>, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(Some(Vec::new()));
        }
        let Some(mut reader) = self.open(digest)? else { return Ok(None) };
        let size = usize::try_from(digest.size).unwrap_or(usize::MAX).min(64 << 20);
        let mut bytes = Vec::with_capacity(size);
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(e) => Err(StoreError::Read(*digest, e)),
        }
    }

    /// Keeps bytes that are in memory.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        self.used.store(true, Ordering::Relaxed);
        {
            let _inside = self.gate.enter()?;
            if self.has_for_long(&digest)? {
                return Ok(digest);
            }
        }
        let mut temporary = self.temporary()?;
        temporary.write(bytes)?;
        self.enter(temporary, &digest, Form::Plain)?;
        Ok(digest)
    }

    /// Keeps everything that can be read.
    pub fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        with_buffer(|buffer| {
            let mut filled = buffer.fill(bytes).map_err(unread)?;
            if filled < CHUNK {
                return self.put_bytes(&buffer.bytes()[..filled]);
            }
            let temporary = self.temporary()?;
            let mut hasher = Hasher::new();
            let mut poured = Poured::new(&temporary.file, CHUNK as u64);
            while filled > 0 {
                hasher.update(&buffer.bytes()[..filled]);
                let written = poured.write(buffer, filled);
                written.map_err(|e| failed("write", &temporary.path(), e))?;
                if filled < CHUNK {
                    break;
                }
                filled = buffer.fill(bytes).map_err(unread)?;
            }
            poured.end().map_err(|e| failed("write", &temporary.path(), e))?;
            let digest = hasher.finish();
            self.used.store(true, Ordering::Relaxed);
            self.enter(temporary, &digest, Form::Plain)?;
            Ok(digest)
        })
    }

    /// Keeps what can be read of a reader that fails instead of ending when it is not what the
    /// digest says.
    pub fn put_checked(
        &self,
        digest: &Digest,
        form: Form,
        bytes: &mut dyn Read,
    ) -> Result<Digest, StoreError> {
        self.used.store(true, Ordering::Relaxed);
        with_buffer(|buffer| {
            // Read first: what is wrong from the beginning makes no file.
            let mut filled = buffer.fill(bytes).map_err(unread)?;
            let temporary = self.temporary_with(form.mode())?;
            let full = |e| failed("write", &temporary.path(), e);
            let mut poured = Poured::new(&temporary.file, digest.size);
            while filled > 0 {
                poured.write(buffer, filled).map_err(full)?;
                if filled < CHUNK {
                    break;
                }
                filled = buffer.fill(bytes).map_err(unread)?;
            }
            let size = poured.end().map_err(full)?;
            if size != digest.size {
                let why = format!("{size} bytes came instead of {}", digest.size);
                return Err(unread(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            self.enter(temporary, digest, form)?;
            Ok(*digest)
        })
    }

    /// Makes a written file the file of a blob, unless there is one.
    pub fn enter(
        &self,
        mut temporary: Temporary<'_>,
        digest: &Digest,
        form: Form,
    ) -> Result<(), StoreError> {
        let name = BlobName::new(&digest.hash, form);
        let shown = self.shown(&name);
        self.settle(&temporary.file, form).map_err(failing("set the mode of", &*shown))?;
        let _inside = self.gate.enter()?;
        let from = temporary.name.as_str();
        for _ in 0..3 {
            let moved = rustix::fs::renameat_with(
                temporary.scratch.dir(),
                from,
                &self.dir,
                name.path(),
                RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => {
                    temporary.moved = true;
                    return Ok(());
                }
                Err(Errno::EXIST) => {
                    if self.probe(digest, form)?.is_some() {
                        return self.make_young(&name);
                    }
                }
                // A file system that cannot refuse to replace. Same name is same content.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    rustix::fs::renameat(temporary.scratch.dir(), from, &self.dir, name.path())
                        .map_err(failing("name", &*shown))?;
                    temporary.moved = true;
                    return Ok(());
                }
                Err(e) => return Err(failed("name", &shown, e.into())),
            }
        }
        Err(failed("name", &shown, Errno::EXIST.into()))
    }

    /// Makes sure that a blob has a file in a form. Whether it has.
    pub fn ensure(&self, digest: &Digest, form: Form) -> Result<bool, StoreError> {
        if self.probe(digest, form)?.is_some() {
            return Ok(true);
        }
        if *digest != Digest::EMPTY && self.probe(digest, form.other())?.is_none() {
            return Ok(false);
        }
        let temporary = self.temporary()?;
        if *digest != Digest::EMPTY && !self.copy_to(digest, &temporary)? {
            return Ok(false);
        }
        self.enter(temporary, digest, form)?;
        Ok(true)
    }

    fn copy_to(&self, digest: &Digest, to: &Temporary<'_>) -> Result<bool, StoreError> {
        let path = to.path();
        self.copy_out(digest, &to.file, &path, &mut Buffer::new())
    }

    /// Writes the content of a blob into a file, comparing as it goes. `false` when it is not
    /// there or damaged; what was written then is worth nothing.
    pub fn copy_out(
        &self,
        digest: &Digest,
        to: &std::fs::File,
        to_path: &Path,
        buffer: &mut Buffer,
    ) -> Result<bool, StoreError> {
        if *digest == Digest::EMPTY {
            return Ok(true);
        }
        let Some((form, _)) = self.find(digest)? else { return Ok(false) };
        let name = BlobName::new(&digest.hash, form);
        let shown = self.shown(&name);
        let Some(from) = self.open_name(&name).map_err(failing("open", &*shown))? else {
            return Ok(false);
        };
        let mut from = Hashed { file: from.into(), hasher: Hasher::new() };
        match pour(&mut from, to, digest.size, buffer) {
            Ok(_) => {}
            Err(Unpoured::Write(e)) => return Err(failed("write", to_path, e)),
            Err(Unpoured::Read(e)) => {
                self.quarantine(&name, &format!("it cannot be read: {e}"))?;
                return Ok(false);
            }
        }
        if from.hasher.finish() != *digest {
            self.quarantine(&name, "its content is another")?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Links the file of a blob to a new name. `false` when the blob is not there. An `EXDEV` is
    /// left to the caller.
    pub fn link(
        &self,
        digest: &Digest,
        form: Form,
        dir: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<rustix::io::Result<bool>, StoreError> {
        if !self.ensure(digest, form)? {
            return Ok(Ok(false));
        }
        let name = BlobName::new(&digest.hash, form);
        for _ in 0..3 {
            match rustix::fs::linkat(&self.dir, name.path(), dir, path, AtFlags::empty()) {
                Ok(()) => return Ok(Ok(true)),
                // 65,000 names on ext4, and the empty file has that many: the blob gets a new
                // file, and those that have the old one keep it.
                Err(Errno::MLINK) => self.renew(digest, form)?,
                Err(Errno::NOENT) if self.probe(digest, form)?.is_none() => return Ok(Ok(false)),
                Err(e) => return Ok(Err(e)),
            }
        }
        Ok(Err(Errno::MLINK))
    }

    /// Puts a copy in place of the file of a blob.
    fn renew(&self, digest: &Digest, form: Form) -> Result<(), StoreError> {
        let mut temporary = self.temporary()?;
        if !self.copy_to(digest, &temporary)? {
            return Err(StoreError::Missing(*digest));
        }
        let name = BlobName::new(&digest.hash, form);
        self.settle(&temporary.file, form)
            .map_err(failing("set the mode of", self.shown(&name)))?;
        let _inside = self.gate.enter()?;
        rustix::fs::renameat(
            temporary.scratch.dir(),
            temporary.name.as_str(),
            &self.dir,
            name.path(),
        )
        .map_err(failing("name", self.shown(&name)))?;
        temporary.moved = true;
        Ok(())
    }
}

/// A blob that is being read and compared.
pub(super) struct Verified {
    blobs: Arc<Blobs>,
    file: std::fs::File,
    /// Taken when the end was reached and all was well.
    hasher: Option<Hasher>,
    digest: Digest,
    /// Bytes that are still to come.
    left: u64,
    name: BlobName,
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // What was read to its end need not be asked whether there is more.
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        let count = self.file.read(buffer)?;
        hasher.update(&buffer[..count]);
        self.left = self.left.saturating_sub(count as u64);
        if (count == 0 || self.left == 0)
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.digest
        {
            let why = "its content is another";
            self.blobs.quarantine(&self.name, why).map_err(io::Error::other)?;
            let why = format!("the blob {:?} is damaged", self.digest);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(count)
    }
}

/// What is read, and the digest of it.
struct Hashed {
    file: std::fs::File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Lends a buffer that each thread has once: to make and to clear one costs more than to keep a
/// small file.
fn with_buffer<T>(use_it: impl FnOnce(&mut Buffer) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Option<Buffer>> = const { Cell::new(None) };
    }
    // Taken out, so that whoever is lent one while another is in use has one of its own.
    let mut buffer = BUFFER.take().unwrap_or_default();
    let result = use_it(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

fn unread(error: io::Error) -> StoreError {
    failed("read", Path::new("what is to be kept"), error)
}

/// The digest of what is left to read of a file.
pub(super) fn hash(fd: impl AsFd, buffer: &mut Buffer) -> io::Result<Digest> {
    let (mut hasher, bytes) = (Hasher::new(), buffer.bytes());
    loop {
        match rustix::io::read(&fd, &mut *bytes) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&bytes[..count]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
