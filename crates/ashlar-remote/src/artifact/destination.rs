//! A folder that something is put into: which one is meant, that nobody else works in it, and
//! that it may be filled.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use ashlar_object::{RelPath, Tree};
use ashlar_store::Watch;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::mounts::mount_below;

/// What to do with files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse a folder that has any.
    #[default]
    Refuse,
    /// Put the new ones among them; a new file takes the place of an old one.
    Merge,
    /// Remove them.
    Replace,
}

/// Why a folder cannot be filled. Nothing in it has changed.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The root of the file system is meant, under whatever name.
    #[error("{} is the root of this machine's files", .0.display())]
    Root(PathBuf),
    /// The path cannot be a folder's.
    #[error("{} {why}", path.display())]
    Path {
        /// As it was given.
        path: PathBuf,
        /// What it is: words that follow the path.
        why: &'static str,
    },
    /// There are files in it, and nothing says what to do with them.
    #[error("{} is not empty: it has {first}{}", path.display(), more(*.count))]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// The first of them.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// Files and folders of one name, which cannot be merged.
    #[error("{} cannot be merged with what is there: {first}{}", path.display(), more(*.count))]
    Conflict {
        /// The folder.
        path: PathBuf,
        /// The first place and what is wrong there.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// A name that only folders have in which files wait.
    #[error("{} has a name that Ashlar keeps for folders in which files wait: it is refused", .0.display())]
    Reserved(PathBuf),
    /// A folder that looks like one in which files wait, and which is not obeyed.
    #[error("{} looks like what an ashlar that was killed has left, but {why}; nothing was touched: look at it, then move or remove it", path.display())]
    Leftover {
        /// The folder.
        path: PathBuf,
        /// Why it is not trusted.
        why: &'static str,
    },
    /// What was taken away cannot go back, because something else is there now.
    #[error("{} cannot go back to {}{}, where something else is now; it is kept in {}: move what is there aside and try again, or remove that folder", first.display(), path.display(), more(*.count), kept.display())]
    Stuck {
        /// The destination.
        path: PathBuf,
        /// The first path of it, relative.
        first: PathBuf,
        /// How many there are.
        count: usize,
        /// The folder that has them.
        kept: PathBuf,
    },
    /// Another file system is mounted below a folder whose files are to be replaced.
    #[error("{} is mounted below {}: its files would be removed; unmount it, or choose another folder", mount.display(), path.display())]
    Mounted {
        /// The destination.
        path: PathBuf,
        /// Where the other is mounted.
        mount: PathBuf,
    },
    /// Something failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// A verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Waiting was ended from outside.
    #[error("stopped while waiting for {}, which another ashlar uses", .0.display())]
    Stopped(PathBuf),
}

fn more(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}

/// For use with `map_err`.
pub(super) fn failing<E: Into<io::Error>>(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> DestinationError {
    let path = path.into();
    move |source| DestinationError::Io { doing, path, source: source.into() }
}

/// How the hidden folders are called in which new files wait until all are there.
const WAITING: &str = ".ashlar-use-";

/// Whether a name is that of a folder with files that wait, for whatever folder.
pub(super) fn is_waiting(name: &OsStr) -> bool {
    let (name, waiting) = (name.as_bytes(), WAITING.as_bytes());
    name.starts_with(b".") && name.windows(waiting.len()).any(|part| part == waiting)
}

/// Whether a name is that of a folder with files that wait for the folder it is in.
pub(super) fn waits_inside(name: &OsStr) -> bool {
    name.as_bytes().starts_with(WAITING.as_bytes())
}

/// Refuses a path that has such a name.
pub(super) fn allowed(path: &RelPath) -> Result<(), DestinationError> {
    if path.names().iter().any(|name| is_waiting(name.as_os_str())) {
        return Err(DestinationError::Reserved(path.under(Path::new(""))));
    }
    Ok(())
}

/// Refuses a tree in which any path has such a name.
pub(super) fn all_allowed(tree: &Tree) -> Result<(), DestinationError> {
    let mut names = Ok(());
    tree.walk(|entry| {
        if names.is_ok() {
            names = allowed(entry.path);
        }
    });
    names
}

/// Whether a name beside the folder `of` is that of a folder in which files wait for it.
pub(super) fn waits_for(name: &OsStr, of: &OsStr) -> bool {
    name.as_bytes().strip_prefix(beside(of).as_bytes()).is_some_and(|rest| !rest.contains(&b'.'))
}

/// How the names begin of folders beside `of` in which files wait for it.
pub(super) fn beside(of: &OsStr) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from(".");
    name.push(of);
    name.push(WAITING);
    name
}

/// A prefix for folders inside the destination.
pub(super) fn inside() -> &'static str {
    WAITING
}

/// A folder that is there, and that nobody else fills or reads as long as this lives.
#[derive(Debug)]
pub(crate) struct Destination {
    /// Without links, `.` and `..`.
    pub path: PathBuf,
    /// The folder, locked.
    pub dir: File,
    /// Whether it is surely locked; some network file systems cannot.
    pub locked: bool,
    /// The folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl Destination {
    /// Makes the folder if it must be, and waits until it is free.
    pub fn open(path: &Path, watch: &Watch<'_>) -> Result<Self, DestinationError> {
        let mut made = Vec::new();
        let place = place(path)?;
        match Self::make_and_lock(path, &place, &mut made, watch) {
            Ok((dir, locked)) => Ok(Self { path: place, dir, locked, made }),
            Err(error) => {
                unmake(&made);
                Err(error)
            }
        }
    }

    fn make_and_lock(
        given: &Path,
        place: &Path,
        made: &mut Vec<PathBuf>,
        watch: &Watch<'_>,
    ) -> Result<(File, bool), DestinationError> {
        loop {
            make(place, made)?;
            let (dir, locked) = lock(place, FlockOperation::NonBlockingLockExclusive, watch)?;
            let meta = dir.metadata().map_err(failing("look at", place))?;
            let root = std::fs::metadata("/").map_err(failing("look at", "/"))?;
            if (meta.dev(), meta.ino()) == (root.dev(), root.ino()) {
                return Err(DestinationError::Root(given.to_path_buf()));
            }
            // While we waited another may have put a filled folder in place of this one.
            match std::fs::symlink_metadata(place) {
                Ok(now) if (now.dev(), now.ino()) == (meta.dev(), meta.ino()) => {
                    return Ok((dir, locked));
                }
                Ok(now) if !now.is_dir() => {
                    let why = "is no folder any more";
                    return Err(DestinationError::Path { path: given.to_path_buf(), why });
                }
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failing("look at", place)(e));
                }
                _ => {}
            }
        }
    }

    /// Whether the folder itself was made just now.
    pub fn is_new(&self) -> bool {
        self.made.last() == Some(&self.path)
    }

    /// What is in it but for a folder of our own.
    pub fn names(&self, but: Option<&OsStr>) -> Result<Vec<std::ffi::OsString>, DestinationError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failing("list", &*self.path))? {
            let name = entry.map_err(failing("list", &*self.path))?.file_name();
            if but != Some(&*name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Refuses when there are files and nothing says what to do with them.
    pub fn check(&self, existing: Existing, but: Option<&OsStr>) -> Result<(), DestinationError> {
        match existing {
            Existing::Refuse => {}
            Existing::Merge => return Ok(()),
            Existing::Replace => {
                let mount = mount_below(&self.path).map_err(failing("look below", &*self.path))?;
                let path = self.path.clone();
                return match mount {
                    None => Ok(()),
                    Some(mount) => Err(DestinationError::Mounted { path, mount }),
                };
            }
        }
        let names = self.names(but)?;
        match names.first() {
            None => Ok(()),
            Some(first) => Err(DestinationError::Occupied {
                path: self.path.clone(),
                first: first.to_string_lossy().into_owned(),
                count: names.len(),
            }),
        }
    }

    /// Removes what was made for it, when nothing came of it.
    pub fn give_up(self) {
        unmake(&self.made);
    }

    /// Gives the lock back and leaves what was made.
    pub fn keep(self) {}
}

/// Only what is empty goes: somebody may have put something there meanwhile.
fn unmake(made: &[PathBuf]) {
    for path in made.iter().rev() {
        if std::fs::remove_dir(path).is_err() {
            return;
        }
    }
}

/// Makes a folder and those above it, noting which.
fn make(place: &Path, made: &mut Vec<PathBuf>) -> Result<(), DestinationError> {
    match std::fs::create_dir(place) {
        Ok(()) => made.push(place.to_path_buf()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = place.parent() {
                make(parent, made)?;
            }
            match std::fs::create_dir(place) {
                Ok(()) => made.push(place.to_path_buf()),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failing("make", place)(e)),
            }
        }
        // A folder that is there on a file system that is not to be written to.
        Err(_) if place.is_dir() => {}
        Err(e) => return Err(failing("make", place)(e)),
    }
    Ok(())
}

/// The folder that a path means: links followed, also those of folders above one that is not
/// there yet.
pub(super) fn place(path: &Path) -> Result<PathBuf, DestinationError> {
    let refused = |why| DestinationError::Path { path: path.to_path_buf(), why };
    if path.as_os_str().is_empty() {
        return Err(refused("an empty path is no folder"));
    }
    let absolute = std::env::current_dir().map_err(failing("find", "."))?.join(path);
    // Of what is not there nothing can be followed, so it must be plain names.
    let mut there = absolute.as_path();
    let mut rest = Vec::new();
    let found = loop {
        match std::fs::canonicalize(there) {
            Ok(found) => break found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(refused("goes through something that is no folder"));
            }
            Err(e) => return Err(failing("find", path)(e)),
        }
        if std::fs::symlink_metadata(there).is_ok() {
            return Err(refused("is, or goes through, a link to nowhere"));
        }
        match there.components().next_back() {
            Some(Component::Normal(name)) => rest.push(name),
            _ => return Err(refused("goes up from a folder that is not there")),
        }
        there = there.parent().unwrap_or(Path::new("/"));
    };
    if !found.is_dir() {
        return Err(refused(if rest.is_empty() {
            "is no folder"
        } else {
            "goes through something that is no folder"
        }));
    }
    if rest.is_empty() && found == Path::new("/") {
        return Err(DestinationError::Root(path.to_path_buf()));
    }
    let mut place = found;
    place.extend(rest.iter().rev());
    Ok(place)
}

/// Opens a folder and waits until it can be locked. `false` where folders cannot be locked at
/// all, as on some network file systems.
pub(super) fn lock(
    place: &Path,
    how: FlockOperation,
    watch: &Watch<'_>,
) -> Result<(File, bool), DestinationError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(place, flags, Mode::empty()).map_err(failing("open", place))?;
    let dir = File::from(dir);
    let mut said = false;
    loop {
        match rustix::fs::flock(dir.as_fd(), how) {
            Ok(()) => return Ok((dir, true)),
            Err(Errno::WOULDBLOCK) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::NOLCK | Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return Ok((dir, false));
            }
            Err(e) => return Err(failing("lock", place)(e)),
        }
        if !std::mem::replace(&mut said, true) {
            (watch.warn)(format!("waiting for another ashlar that uses {}", place.display()));
        }
        if !(watch.go_on)() {
            return Err(DestinationError::Stopped(place.to_path_buf()));
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
