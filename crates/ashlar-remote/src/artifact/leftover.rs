//! Folders that one who was killed has left: which of them are ours and to be obeyed.
//!
//! A folder of that name may also come out of an archive or from another user of the machine. So
//! it has to belong to us, to be closed to others, and to have a mark that only whoever made this
//! very folder on this machine could write: its inode and the moment when it was made.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::destination::{DestinationError, failing};

/// The file with the mark.
const MARK: &str = "mark";
/// No plan of ours is larger.
const MOST: u64 = 1 << 30;

/// A folder that was left and is ours.
pub(super) struct Leftover {
    pub path: PathBuf,
    pub dir: OwnedFd,
    /// What was being done, if anything was.
    pub plan: Option<Vec<u8>>,
}

/// Writes the mark of a folder that was just made.
pub(super) fn mark(path: &Path) -> io::Result<()> {
    let dir = open(path)?;
    let text = text(dir.as_fd())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, MARK, flags, Mode::RUSR | Mode::WUSR)?;
    io::Write::write_all(&mut File::from(file), text.as_bytes())
}

fn text(dir: BorrowedFd<'_>) -> io::Result<String> {
    let found = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    let (born, ino) = (found.stx_btime, found.stx_ino);
    Ok(format!("ashlar-use {ino} {} {}\n", born.tv_sec, born.tv_nsec))
}

pub(super) fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Looks at a folder with the name of one that waits. `None` when nothing is there any more, or
/// only an empty folder.
pub(super) fn look(folder: &Path, name: &OsStr) -> Result<Option<Leftover>, DestinationError> {
    let path = folder.join(name);
    let foreign = |why| DestinationError::Leftover { path: path.clone(), why };
    let dir = match open(&path) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(foreign("is no folder")),
        Err(Errno::ACCESS) => return Err(foreign("belongs to somebody else")),
        Err(e) => return Err(failing("open", path)(e)),
    };
    let stat = rustix::fs::fstat(&dir).map_err(failing("look at", &*path))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(foreign("belongs to somebody else"));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(foreign("is open to others"));
    }
    let expected = text(dir.as_fd()).map_err(failing("look at", &*path))?;
    match own_file(dir.as_fd(), MARK, 256) {
        Ok(Some(mark)) if mark == expected.as_bytes() => {}
        Ok(Some(_)) => return Err(foreign("has the mark of another folder")),
        // One who was killed before the mark was written has put nothing in; a folder with
        // anything in it stays.
        Ok(None) if rustix::fs::rmdir(&path).is_ok() => return Ok(None),
        Ok(None) => return Err(foreign("has no mark")),
        Err(e) => return Err(failing("read", path.join(MARK))(e)),
    }
    let plan = own_file(dir.as_fd(), "plan", MOST).map_err(failing("read", path.join("plan")))?;
    Ok(Some(Leftover { path, dir, plan }))
}

/// The bytes of a plain file that is ours alone. `None` where nothing is.
fn own_file(dir: BorrowedFd<'_>, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let meta = file.metadata()?;
    let ours = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    if !meta.is_file() || !ours || meta.len() > most {
        let why = "it is no plain file that only we can read and write";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
