//! Trees as plain files for people, whole or not at all.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ashlar_object::Tree;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Checkout;
use super::blobs::Blobs;
use super::lay::{How, Lay};
use super::locks::serial;
use crate::StoreError;
use crate::failed::failing;

/// See [`crate::LocalStore::check_out`].
pub(super) fn check_out(
    blobs: &Blobs,
    tree: &Tree,
    dest: &Path,
    how: Checkout,
    force: bool,
) -> Result<(), StoreError> {
    let dest = place(dest).map_err(failing("use", dest))?;
    let taken = is_taken(&dest)?;
    if taken && !force {
        return Err(StoreError::Occupied { path: dest });
    }
    // The root of a file system, or a mount point, has nothing beside it on the same one; the
    // renaming below says so then.
    let parent = dest.parent().unwrap_or(&dest);
    std::fs::create_dir_all(parent).map_err(failing("make", parent))?;
    let beside = Beside::make(parent, &dest)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&beside.path, flags, Mode::empty())
        .map_err(failing("open", &*beside.path))?;
    let how = match how {
        Checkout::Copy => How::Copied,
        Checkout::Link => How::Linked,
    };
    Lay { blobs, dest: fd.as_fd(), path: &beside.path, how }.tree(tree)?;
    drop(fd);
    if !taken {
        // Over nothing or an empty folder.
        rustix::fs::rename(&beside.path, &dest).map_err(failing("name", dest))?;
        return Ok(());
    }
    match rustix::fs::renameat_with(CWD, &beside.path, CWD, &dest, RenameFlags::EXCHANGE) {
        // What was there has the other name now, and goes with it.
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) => {
            let old = Beside::make(parent, &dest)?;
            rustix::fs::rename(&dest, old.path.join("old")).map_err(failing("replace", &*dest))?;
            rustix::fs::rename(&beside.path, &dest).map_err(failing("name", dest))
        }
        Err(e) => Err(failing("replace", dest)(e)),
    }
}

/// The absolute place that is meant: links on the way are followed, as `cp` would.
fn place(dest: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(dest) {
        Ok(dest) => Ok(dest),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::path::absolute(dest),
        Err(e) => Err(e),
    }
}

fn is_taken(dest: &Path) -> Result<bool, StoreError> {
    match std::fs::symlink_metadata(dest) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failing("look at", dest)(e)),
        Ok(meta) if !meta.is_dir() => Ok(true),
        Ok(_) => {
            let mut entries = std::fs::read_dir(dest).map_err(failing("list", dest))?;
            Ok(entries.next().is_some())
        }
    }
}

/// A folder beside the destination, which goes unless it was renamed.
struct Beside {
    path: PathBuf,
}

impl Beside {
    fn make(parent: &Path, dest: &Path) -> Result<Self, StoreError> {
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(40).collect();
        let path = parent.join(format!(".{name}.ashlar-{}", serial()));
        rustix::fs::mkdir(&path, Mode::RWXU).map_err(failing("make", &*path))?;
        Ok(Self { path })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        use std::os::unix::ffi::OsStrExt;
        // It has a name that says what it is; nothing more can be done here.
        let _ = crate::removal::remove(CWD, self.path.as_os_str().as_bytes());
    }
}
