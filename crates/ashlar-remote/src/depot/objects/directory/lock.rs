//! The lock of a directory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// For how long somebody else's work is waited for. Whoever has the lock reads and writes a few
/// small files.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lock that is held until it is dropped, or its process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock that a file is. `None` where this user may not even make the file: then there
    /// is nothing this user could change either.
    pub fn take(
        path: &Path,
        exclusive: bool,
        mode: impl Fn() -> io::Result<u32>,
    ) -> io::Result<Option<Self>> {
        let Some(file) = super::open_shared(path, mode)? else { return Ok(None) };
        let operation = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(Errno::WOULDBLOCK) => {
                    let said = format!(
                        "somebody else has had {} locked for {} s; look with `fuser` who does",
                        path.display(),
                        PATIENCE.as_secs()
                    );
                    return Err(io::Error::new(io::ErrorKind::TimedOut, said));
                }
                // Over NFS an exclusive lock needs a file opened for writing: without one nothing
                // can be changed anyway. Some file systems have no locks at all.
                Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
