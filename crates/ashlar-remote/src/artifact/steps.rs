//! Steps done in a destination and taken back. No path is followed through a link or out of the
//! folder it belongs to, and nothing is taken back that is not what the step had put there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ashlar_object::{Hasher, Name, RelPath};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::destination::{DestinationError, failing};
use super::merge::Step;

/// The two folders between which things move.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub staging: BorrowedFd<'a>,
    pub place: BorrowedFd<'a>,
    /// The destination, for messages.
    pub shown: &'a Path,
}

/// What could not be taken back.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// What was taken away and cannot go back: something else is there now. It is in `old`.
    pub stuck: Vec<RelPath>,
    /// What stays as somebody has changed it since.
    pub left: Vec<RelPath>,
}

/// A name in a folder that is held.
struct Spot {
    dir: OwnedFd,
    name: Name,
}

impl Spot {
    fn find(top: BorrowedFd<'_>, path: &RelPath) -> rustix::io::Result<Self> {
        let (name, above) = path.names().split_last().ok_or(Errno::INVAL)?;
        Ok(Self { dir: folder(top, above)?, name: name.clone() })
    }

    /// What is there; links are not followed.
    fn stat(&self) -> rustix::io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.dir, self.name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            |more| rustix::fs::openat(&self.dir, self.name.as_bytes(), flags | more, Mode::empty());
        match open(OFlags::RDONLY) {
            Ok(fd) => Ok(rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))?),
            // Closed to us: by the descriptor's own name, which leads to just this folder.
            Err(Errno::ACCESS) => {
                let fd = open(OFlags::PATH)?;
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// Opens a folder below another, through folders only.
fn folder(top: BorrowedFd<'_>, names: &[Name]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let names: Vec<&[u8]> = names.iter().map(Name::as_bytes).collect();
    if names.is_empty() {
        return rustix::fs::openat(top, ".", flags, Mode::empty());
    }
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(top, names.join(&b'/'), flags, Mode::empty(), how) {
        // An old kernel, a container that forbids it, or a very long path: name by name.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN | Errno::NAMETOOLONG) => {}
        other => return other,
    }
    let mut at = rustix::fs::openat(top, ".", flags, Mode::empty())?;
    for name in names {
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

fn new(path: &RelPath) -> RelPath {
    let mut all: RelPath = "new".parse().unwrap_or_default();
    path.names().iter().for_each(|name| all.push(name.clone()));
    all
}

fn old(index: usize) -> RelPath {
    format!("old/{index}").parse().unwrap_or_default()
}

/// Does one step.
pub(super) fn act(ground: Ground<'_>, index: usize, step: &Step) -> Result<(), DestinationError> {
    let shown = step.path().under(ground.shown);
    let doing = match step {
        Step::Put { .. } | Step::Swap { .. } => "put files at",
        Step::Remove { .. } => "remove",
        Step::Mode { .. } => "set the mode of",
    };
    let act = || -> io::Result<()> {
        let there = Spot::find(ground.place, step.path())?;
        match step {
            Step::Mode { now, .. } => return there.set_mode(*now),
            Step::Swap { .. } | Step::Remove { .. } => {
                shift(&there, &Spot::find(ground.staging, &old(index))?)?;
            }
            Step::Put { .. } => {}
        }
        match step {
            Step::Put { path, .. } | Step::Swap { path, .. } => {
                shift(&Spot::find(ground.staging, &new(path))?, &there)
            }
            Step::Remove { .. } | Step::Mode { .. } => Ok(()),
        }
    };
    act().map_err(failing(doing, shown))
}

/// Takes back what was done of some steps, the last first. What somebody has changed meanwhile
/// stays as it is, and nothing that was taken away is lost.
pub(super) fn undo(ground: Ground<'_>, steps: &[Step]) -> Undone {
    let mut undone = Undone::default();
    for (index, step) in steps.iter().enumerate().rev() {
        let there = Spot::find(ground.place, step.path());
        let done = match (&there, step) {
            // Where not even the folder is, nothing is left of what was put into it.
            (Err(_), _) | (_, Step::Remove { .. }) => Ok(true),
            (Ok(there), Step::Put { path, mark } | Step::Swap { path, mark }) => {
                take_back(ground, there, path, mark)
            }
            (Ok(there), Step::Mode { was, now, .. }) => restore_mode(there, *was, *now),
        };
        if !matches!(done, Ok(true)) {
            undone.left.push(step.path().clone());
        }
        if matches!(step, Step::Swap { .. } | Step::Remove { .. })
            && !matches!(put_back(ground, index, there), Ok(()))
        {
            undone.stuck.push(step.path().clone());
        }
    }
    undone
}

/// Moves what a step had put somewhere to where it waited. `false`: it is not that any more.
fn take_back(ground: Ground<'_>, there: &Spot, path: &RelPath, mark: &str) -> io::Result<bool> {
    let waiting = Spot::find(ground.staging, &new(path))?;
    // Still waiting: the step was not done. Not there: somebody removed it.
    if waiting.stat()?.is_some() || there.stat()?.is_none() {
        return Ok(true);
    }
    if fingerprint(there.dir.as_fd(), &there.name)? != mark {
        return Ok(false);
    }
    shift(there, &waiting)?;
    Ok(true)
}

fn restore_mode(there: &Spot, was: u32, now: u32) -> io::Result<bool> {
    match there.stat()? {
        None => Ok(true),
        Some(stat) if stat.st_mode & 0o7777 == now => there.set_mode(was).map(|()| true),
        Some(stat) => Ok(stat.st_mode & 0o7777 == was),
    }
}

fn put_back(ground: Ground<'_>, index: usize, there: rustix::io::Result<Spot>) -> io::Result<()> {
    let old = Spot::find(ground.staging, &old(index))?;
    if old.stat()?.is_none() {
        return Ok(());
    }
    shift(&old, &there?)
}

/// Renames, never over something. A folder that may not be written to cannot be moved by an
/// ordinary user, because its `..` changes; so it may for a moment.
fn shift(from: &Spot, to: &Spot) -> io::Result<()> {
    let (from_name, to_name) = (from.name.as_bytes(), to.name.as_bytes());
    let moved = || {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&from.dir, from_name, &to.dir, to_name, flags) {
            // A file system that knows no flags.
            Err(Errno::INVAL | Errno::NOSYS) => match to.stat()? {
                Some(_) => Err(Errno::EXIST),
                None => rustix::fs::renameat(&from.dir, from_name, &to.dir, to_name),
            },
            other => other,
        }
    };
    match moved() {
        Err(Errno::ACCESS) => {
            let stat = from.stat()?.ok_or(Errno::NOENT)?;
            let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
            if !is_dir || stat.st_mode & 0o200 != 0 {
                return Err(Errno::ACCESS.into());
            }
            from.set_mode(stat.st_mode | 0o700)?;
            let done = moved();
            if done.is_ok() { to } else { from }.set_mode(stat.st_mode)?;
            Ok(done?)
        }
        other => Ok(other?),
    }
}

/// How deep it is looked for changes: each level holds a descriptor.
const DEEPEST: usize = 256;

/// What tells whether something is still the same: inodes, times and sizes of it and of all that
/// is in it. Renaming changes none of them.
pub(super) fn fingerprint(dir: BorrowedFd<'_>, name: &Name) -> io::Result<String> {
    let mut hasher = Hasher::new();
    look(dir, name.as_bytes(), 0, &mut hasher)?;
    Ok(hasher.finish().hex())
}

fn look(dir: BorrowedFd<'_>, name: &[u8], depth: usize, to: &mut Hasher) -> io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let size = if kind.is_dir() { 0 } else { stat.st_size };
    let (seconds, nanos) = (stat.st_mtime, stat.st_mtime_nsec);
    to.update(
        format!("{kind:?} {} {seconds} {nanos} {size} {} ", stat.st_ino, name.len()).as_bytes(),
    );
    to.update(name);
    if !kind.is_dir() || depth == DEEPEST {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let child = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        // Closed to us, and so to whoever else works as us.
        Err(Errno::ACCESS) => return Ok(()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&child)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    names.sort_unstable();
    names.iter().try_for_each(|name| look(child.as_fd(), name, depth + 1, to))
}
