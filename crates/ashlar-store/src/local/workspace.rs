//! Private folders on the file system of the store.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::locks::{lock, serial, try_lock};
use crate::StoreError;
use crate::failed::failing;
use crate::removal;

/// A private folder on the file system of the store, removed when dropped.
///
/// It is locked as long as it is in use, so that what a killed process left behind is told from
/// what another one works in.
#[derive(Debug)]
pub struct Workspace {
    work: OwnedFd,
    name: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Workspace {
    /// The folder, as an absolute path if that of the store is one.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    pub(super) fn create(work: &OwnedFd, path: &Path, label: &str) -> Result<Self, StoreError> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let label: String = label.chars().map(plain).take(80).collect();
        // Whoever sweeps holds this lock alone, so that it does not meet a folder before it is
        // locked itself.
        let own = reopen(work).map_err(failing("open", path))?;
        lock(&own, FlockOperation::LockShared).map_err(failing("lock", path))?;
        let (name, path) = loop {
            let name = format!("{label}.{}", serial());
            match rustix::fs::mkdirat(work, name.as_str(), Mode::from_raw_mode(0o755)) {
                // A process of the same number in another container.
                Err(Errno::EXIST) => {}
                other => {
                    let path = path.join(&name);
                    other.map_err(failing("make", &*path))?;
                    break (name, path);
                }
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(work, name.as_str(), flags, Mode::empty())
            .map_err(failing("open", &*path))?;
        lock(&dir, FlockOperation::LockExclusive).map_err(failing("lock", &*path))?;
        let work = rustix::io::fcntl_dupfd_cloexec(work, 0).map_err(failing("open", &*path))?;
        Ok(Self { work, name, path, dir })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now (something is still mounted in it) is swept later.
        let _ = removal::remove(self.work.as_fd(), self.name.as_bytes());
    }
}

/// A descriptor with a lock of its own.
pub(super) fn reopen(dir: impl AsFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::empty())
}

/// Removes what dead processes left. What cannot be removed is left for the next time.
pub(super) fn sweep(work: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(work)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut dead = Vec::new();
    {
        let own = reopen(work)?;
        if !try_lock(&own, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(());
        }
        for name in names {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            match rustix::fs::openat(work, &name, flags, Mode::empty()) {
                Ok(fd) => {
                    if try_lock(&fd, FlockOperation::NonBlockingLockExclusive)? {
                        dead.push((name, Some(fd)));
                    }
                }
                Err(Errno::NOENT) => {}
                // A link, or a folder closed to us: nothing that a live process would leave.
                Err(_) => dead.push((name, None)),
            }
        }
    }
    for (name, held) in dead {
        // Something may still be mounted there; the next sweep tries again.
        let _ = removal::remove(work.as_fd(), name.to_bytes());
        drop(held);
    }
    Ok(())
}
