//! Files and folders that are made beside their place and get it when they are whole.
//!
//! Who is killed meanwhile leaves them. Each is locked by who makes it, so the next one to write to
//! the same folder knows those that nobody makes any more, and removes them.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tempfile::{NamedTempFile, TempDir};

use crate::removal::remove_all;

/// A folder that is not whole yet. It is removed when it is dropped.
#[derive(Debug)]
pub struct FolderBeside {
    folder: TempDir,
    _lock: File,
}

impl FolderBeside {
    /// Makes one in `parent`, whose name begins with `prefix`: a word that nothing else there
    /// begins with, because whatever does and is not locked is removed. `mode` is changed by the
    /// caller's mask.
    ///
    /// # Errors
    /// When nothing can be made there.
    pub fn new(parent: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        sweep(parent, prefix);
        loop {
            let folder = tempfile::Builder::new()
                .prefix(prefix)
                .permissions(Permissions::from_mode(mode))
                .tempdir_in(parent)?;
            let lock = File::open(folder.path())?;
            if is_locked_and_there(&lock, folder.path())? {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// It is at its place by another name: there is nothing left to be removed.
    pub fn placed(self) {
        let _ = self.folder.keep();
    }
}

/// Makes a file beside its place, as [`FolderBeside::new`] makes a folder. It is locked as long as it
/// is open.
///
/// # Errors
/// When nothing can be made there.
pub fn file_beside(parent: &Path, prefix: &str, mode: u32) -> io::Result<NamedTempFile> {
    sweep(parent, prefix);
    loop {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(parent)?;
        if is_locked_and_there(file.as_file(), file.path())? {
            return Ok(file);
        }
    }
}

/// Locks what was just made. `false` when somebody took it for a left-over before, and it is gone.
fn is_locked_and_there(file: &File, path: &Path) -> io::Result<bool> {
    // Where there are no locks nobody removes anything either.
    let locked = flock(file, FlockOperation::NonBlockingLockExclusive);
    if matches!(locked, Err(rustix::io::Errno::WOULDBLOCK)) {
        return Ok(false);
    }
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what dead writers left. What cannot be removed is left to others, and is no reason not to
/// write: it may be theirs, or a mount may be in it.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(prefix);
        let kind = entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_file());
        if !named || !kind {
            continue;
        }
        let path = entry.path();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(&path, flags, Mode::empty()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_all(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_goes_and_what_is_being_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path();
        let names = || {
            let all = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name());
            let mut all: Vec<String> = all.map(|name| name.into_string().unwrap()).collect();
            all.sort();
            all
        };
        // As after a kill: nobody holds them.
        fs::create_dir_all(parent.join(".made.one/deep")).unwrap();
        fs::write(parent.join(".made.one/deep/file"), "1").unwrap();
        fs::write(parent.join(".made.two"), "2").unwrap();
        fs::write(parent.join("made.by.others"), "3").unwrap();
        let folder = FolderBeside::new(parent, ".made.", 0o777).unwrap();
        fs::write(folder.path().join("file"), "half").unwrap();
        let file = file_beside(parent, ".made.", 0o666).unwrap();
        let other = FolderBeside::new(parent, ".made.", 0o777).unwrap();
        assert_eq!(names().len(), 4, "{:?}", names());
        assert!(folder.path().join("file").exists() && file.path().exists());
        fs::rename(folder.path(), parent.join("whole")).unwrap();
        folder.placed();
        file.persist(parent.join("whole.tar")).unwrap();
        drop(other);
        assert_eq!(names(), ["made.by.others", "whole", "whole.tar"]);
    }
}
