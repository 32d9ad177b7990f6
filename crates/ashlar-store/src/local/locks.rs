//! Locks between processes: all of them `flock`, which the kernel takes away with their holder.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ashlar_object::{StepKey, Time};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::facts::Facts;
use crate::failed::failing;

/// Something that no other folder or file of this process is named by, and most likely none of
/// another: numbers of processes repeat between containers that share a store.
pub(crate) fn serial() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static BORN: LazyLock<u32> = LazyLock::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos())
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}.{:x}.{number}", std::process::id(), *BORN)
}

fn open_lock(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))
}

/// Whether the lock was free.
pub(super) fn try_lock(fd: impl AsFd, operation: FlockOperation) -> rustix::io::Result<bool> {
    match rustix::fs::flock(fd, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Locks, waiting for whoever has it.
pub(super) fn lock(fd: impl AsFd, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(&fd, operation) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The right to build a step. Given back when dropped, or when the process ends however.
#[derive(Debug)]
pub struct StepLock {
    locks: OwnedFd,
    name: String,
    _held: OwnedFd,
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // While it is held, so that nobody else has the same file locked; a file that stays is
        // only untidy.
        let _ = rustix::fs::unlinkat(&self.locks, self.name.as_str(), AtFlags::empty());
    }
}

/// Locks a step; see [`crate::LocalStore::lock_step`].
pub(super) fn lock_step(
    locks: BorrowedFd<'_>,
    path: &Path,
    key: &StepKey,
    waiting: &mut dyn FnMut() -> bool,
) -> Result<Option<StepLock>, StoreError> {
    let name = format!("step-{key}");
    let shown = path.join(&name);
    let mut pause = Duration::from_millis(2);
    loop {
        let fd = open_lock(locks, &name).map_err(failing("open the lock", &*shown))?;
        if try_lock(&fd, FlockOperation::NonBlockingLockExclusive)
            .map_err(failing("lock", &*shown))?
        {
            // The last holder may have removed the file between our opening and locking it.
            let held = Facts::of(&fd).map_err(failing("look at", &*shown))?;
            let there =
                Facts::if_any(locks, name.as_bytes()).map_err(failing("look at", &*shown))?;
            if there.is_some_and(|there| there.ino == held.ino) {
                let locks = locks.try_clone_to_owned().map_err(failing("open", path))?;
                return Ok(Some(StepLock { locks, name, _held: fd }));
            }
            continue;
        }
        drop(fd);
        if !waiting() {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Says that a process has the store open, and since when.
#[derive(Debug)]
pub(super) struct Lease {
    locks: OwnedFd,
    name: String,
    held: OwnedFd,
    pub since: Time,
}

impl Lease {
    pub fn take(locks: &OwnedFd) -> rustix::io::Result<Self> {
        // Under another name until it is locked: a lease that is not locked is a dead one.
        let name = format!("lease-{}", serial());
        let early = format!("new-{name}");
        let held = open_lock(locks.as_fd(), &early)?;
        lock(&held, FlockOperation::LockExclusive)?;
        rustix::fs::renameat(locks, early.as_str(), locks, name.as_str())?;
        let since = Facts::of(&held)?.mtime;
        let locks = rustix::io::fcntl_dupfd_cloexec(locks, 0)?;
        Ok(Self { locks, name, held, since })
    }

    /// The present time by the clock of the file system.
    pub fn now(&self) -> rustix::io::Result<Time> {
        rustix::fs::fchmod(&self.held, Mode::from_raw_mode(0o644))?;
        Ok(Facts::of(&self.held)?.ctime)
    }

    /// When the oldest lease of others began, `None` if there are none. Dead ones are removed.
    pub fn oldest_other(&self) -> rustix::io::Result<Option<Time>> {
        let mut oldest = None;
        for entry in rustix::fs::Dir::read_from(&self.locks)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_bytes().starts_with(b"lease-") || name.to_bytes() == self.name.as_bytes() {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = match rustix::fs::openat(&self.locks, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            if try_lock(&fd, FlockOperation::NonBlockingLockExclusive)? {
                match rustix::fs::unlinkat(&self.locks, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(e),
                }
            } else {
                let since = Facts::of(&fd)?.mtime;
                oldest = Some(oldest.map_or(since, |o: Time| o.min(since)));
            }
        }
        Ok(oldest)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A lease that stays is dead once its lock is gone, and removed by whoever looks next.
        let _ = rustix::fs::unlinkat(&self.locks, self.name.as_str(), AtFlags::empty());
    }
}

/// Keeps collection from removing a blob between the moment somebody finds it and the moment
/// they have made it young. Held for moments; shared by all threads of a process.
pub(super) struct Gate {
    path: PathBuf,
    file: Option<OwnedFd>,
    inside: Mutex<usize>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("path", &self.path).finish_non_exhaustive()
    }
}

const GATE: &str = "gate";

impl Gate {
    /// The gate of a store; `None` for a read-only one, which nobody collects through this.
    pub fn new(locks: Option<&OwnedFd>, path: &Path) -> Result<Self, StoreError> {
        let path = path.join(GATE);
        let file = locks.map(|locks| open_lock(locks.as_fd(), GATE)).transpose();
        let file = file.map_err(failing("open the lock", &*path))?;
        Ok(Self { path, file, inside: Mutex::new(0) })
    }

    /// Waits until nobody collects, and keeps it so.
    pub fn enter(&self) -> Result<Inside<'_>, StoreError> {
        if let Some(file) = &self.file {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            if *inside == 0 {
                lock(file, FlockOperation::LockShared).map_err(failing("lock", &*self.path))?;
            }
            *inside += 1;
        }
        Ok(Inside(self))
    }

    /// Waits until nobody is inside, this process included, and keeps it so until the returned
    /// descriptor is closed.
    pub fn close(&self, locks: &OwnedFd) -> Result<OwnedFd, StoreError> {
        let own = open_lock(locks.as_fd(), GATE).map_err(failing("open the lock", &*self.path))?;
        lock(&own, FlockOperation::LockExclusive).map_err(failing("lock", &*self.path))?;
        Ok(own)
    }
}

/// Proof that nobody collects.
pub(super) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.0.file {
            let mut inside = self.0.inside.lock().unwrap_or_else(PoisonError::into_inner);
            *inside = inside.saturating_sub(1);
            if *inside == 0 {
                // Unlocking what is locked does not fail, and the end of the process would do it.
                let _ = rustix::fs::flock(file, FlockOperation::Unlock);
            }
        }
    }
}
