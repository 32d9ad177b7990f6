//! Stat data in one shape for all architectures, and what user ids mean inside and outside.

use std::os::fd::{AsFd, BorrowedFd};

use ashlar_object::{MOMENT, Time};
use rustix::fs::{AtFlags, FileType, Gid, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

/// What `stat` says of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub kind: FileType,
    /// The permission bits, at most `0o7777`.
    pub mode: u32,
    pub dev: u64,
    pub ino: u64,
    pub rdev: u64,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
    /// Bytes of disk, which is not the size.
    pub disk: u64,
}

impl Facts {
    #[expect(
        clippy::unnecessary_cast,
        reason = "the types of the fields differ between architectures"
    )]
    fn new(stat: &Stat) -> Self {
        let time = |seconds, nanos: u64| Time { seconds, nanos: nanos as u32 };
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            rdev: stat.st_rdev as u64,
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            disk: stat.st_blocks as u64 * 512,
        }
    }

    /// Of an open file.
    pub fn of(fd: impl AsFd) -> rustix::io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstat(fd)?))
    }

    /// Of what is at a path, not following a link at its end.
    pub fn at(dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<Self> {
        Ok(Self::new(&rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// As [`Facts::at`], where nothing there is no error.
    pub fn if_any(dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<Option<Self>> {
        match Self::at(dir, path) {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// [`MOMENT`] as a time.
pub(crate) const FIXED: Time = Time { seconds: MOMENT, nanos: 0 };

/// The argument that sets a modification time and leaves the access time.
pub(crate) fn times(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) },
    }
}

/// Which user ids of this machine stand for which user ids inside trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owners {
    base: u32,
    /// The effective ids of this process.
    own: (u32, u32),
}

impl Owners {
    pub fn new(base: u32) -> Self {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { base, own }
    }

    /// Whether this process may give files away.
    pub fn can_give(&self) -> bool {
        self.own.0 == 0
    }

    /// How many ids a tree can hold, as in a user namespace with one range.
    const RANGE: u32 = 65536;

    /// The ids inside for ids outside. What lies outside the range is taken as it stands, so
    /// that a root that somebody unpacked as root keeps its owners; a file of our own is root's.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let map = |id: u32, own: u32| {
            if self.base > 0 && (self.base..self.base.saturating_add(Self::RANGE)).contains(&id) {
                id - self.base
            } else if id == own && !self.can_give() {
                0
            } else if id < Self::RANGE {
                id
            } else {
                65534
            }
        };
        (map(uid, self.own.0), map(gid, self.own.1))
    }

    /// The ids outside for ids inside, `None` when files cannot be given away.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> Option<(Uid, Gid)> {
        let map = |id: u32| self.base.saturating_add(id.min(Self::RANGE - 1));
        self.can_give().then(|| (Uid::from_raw(map(uid)), Gid::from_raw(map(gid))))
    }

    /// Whether a file has the owner that ids inside stand for.
    pub fn matches(&self, facts: &Facts, inside: (u32, u32)) -> bool {
        self.outside(inside).is_none_or(|(u, g)| (facts.uid, facts.gid) == (u.as_raw(), g.as_raw()))
    }

    /// The id outside of root inside.
    pub fn base(&self) -> u32 {
        self.base
    }
}
