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
    can_give: bool,
}

impl Owners {
    pub fn new(base: u32) -> Self {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Root of a user namespace that has no other ids can give nothing away.
        let maps = |file: &str| {
            std::fs::read_to_string(file).is_ok_and(|text| covers(&text, base, Self::RANGE))
        };
        let can_give = own.0 == 0 && maps("/proc/self/uid_map") && maps("/proc/self/gid_map");
        Self { base, own, can_give }
    }

    /// Whether this process may give files away.
    pub fn can_give(&self) -> bool {
        self.can_give
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

/// Whether the lines of an id map (`user_namespaces(7)`: first id inside, first id outside, how
/// many) hold a whole range of ids.
fn covers(map: &str, base: u32, count: u32) -> bool {
    let last = u64::from(base) + u64::from(count);
    let mut next = u64::from(base);
    let mut lines: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            match (numbers.next()?, numbers.next()?, numbers.next()?) {
                (Ok(inside), Ok(_), Ok(count)) => Some((inside, inside.saturating_add(count))),
                _ => None,
            }
        })
        .collect();
    lines.sort_unstable();
    for (from, until) in lines {
        if from <= next {
            next = next.max(until);
        }
    }
    next >= last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_understood() {
        let whole = "         0          0 4294967295\n";
        assert!(covers(whole, 0, 65536) && covers(whole, 524_288, 65536));
        let of_a_user = "0 1000 1\n1 100000 65536\n";
        assert!(covers(of_a_user, 0, 65536));
        assert!(!covers(of_a_user, 524_288, 65536));
        assert!(!covers("0 1000 1\n", 0, 65536));
        assert!(!covers("", 0, 65536));
    }

    #[test]
    fn owners_are_shifted_into_trees_and_back() {
        let owners = Owners { base: 524_288, own: (0, 0), can_give: true };
        assert_eq!(owners.inside(524_288, 524_330), (0, 42));
        // What root unpacked without a shift, and what belongs to nobody we know.
        assert_eq!(owners.inside(0, 42), (0, 42));
        assert_eq!(owners.inside(4_000_000, 70_000), (65534, 65534));
        let outside = owners.outside((33, 42)).unwrap();
        assert_eq!((outside.0.as_raw(), outside.1.as_raw()), (524_321, 524_330));
        let alone = Owners { base: 0, own: (1000, 100), can_give: false };
        assert_eq!(alone.inside(1000, 100), (0, 0));
        assert!(alone.outside((0, 0)).is_none());
    }
}
