//! Trees as folders, each made once and shared by all who need it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ashlar_object::{Digest, Dir, Node, Tree};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::blobs::{Blobs, hash};
use super::lay::{How, Lay, time};
use super::locks::{lock, serial, try_lock};
use super::parallel::in_parallel;
use super::workspace::Workspace;
use crate::StoreError;
use crate::facts::{Facts, times};
use crate::failed::{failed, failing};
use crate::pour::Buffer;
use crate::removal;

/// A tree as a folder. As long as this value lives, the folder stays.
///
/// It is read-only by convention: the files in it are those of the store.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    digest: Digest,
    _held: OwnedFd,
}

impl Staged {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the tree.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Folders of trees that this process has found to be whole, by digest, with their inodes: one
/// that was made anew since is looked at again.
#[derive(Debug, Default)]
pub(super) struct Sound(Mutex<HashMap<Digest, u64>>);

impl Sound {
    fn knows(&self, digest: &Digest, inode: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest) == Some(&inode)
    }

    pub fn note(&self, digest: &Digest, inode: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest, inode);
    }
}

fn folder_name(digest: &Digest) -> String {
    format!("trees/{}", digest.hex())
}

/// See [`crate::LocalStore::stage`].
pub(super) fn stage(
    blobs: &Blobs,
    sound: &Sound,
    digest: &Digest,
    tree: &Tree,
) -> Result<Staged, StoreError> {
    let name = folder_name(digest);
    let path = blobs.path.join(&name);
    blobs.used.store(true, Ordering::Relaxed);
    for _ in 0..8 {
        if let Some((held, inode)) = hold(blobs, &name).map_err(failing("lock", &*path))? {
            if sound.knows(digest, inode) || is_sound(blobs, tree, held.as_fd(), &path)? {
                sound.note(digest, inode);
                return Ok(Staged { path, digest: *digest, _held: held });
            }
            drop(held);
            if blobs.read_only {
                return Err(StoreError::Missing(*digest));
            }
            blobs.warn(format!("{} was changed and is made anew", path.display()));
            discard(blobs, &name).map_err(failing("move aside", &*path))?;
        } else if let Some(held) = make(blobs, &name, tree)? {
            let inode = Facts::of(&held).map_err(failing("look at", &*path))?.ino;
            sound.note(digest, inode);
            return Ok(Staged { path, digest: *digest, _held: held });
        }
    }
    Err(failed("stage", &path, Errno::BUSY.into()))
}

/// Opens and locks a staged tree; `None` when there is none.
fn hold(blobs: &Blobs, name: &str) -> rustix::io::Result<Option<(OwnedFd, u64)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let fd = match rustix::fs::openat(&blobs.home, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            // What stands there is no folder.
            Err(Errno::NOTDIR | Errno::LOOP) if !blobs.read_only => {
                discard(blobs, name)?;
                continue;
            }
            Err(e) => return Err(e),
        };
        lock(&fd, FlockOperation::LockShared)?;
        // Collection may have moved it away before it was locked.
        let held = Facts::of(&fd)?.ino;
        if Facts::if_any(blobs.home.as_fd(), name.as_bytes())?.is_some_and(|f| f.ino == held) {
            return Ok(Some((fd, held)));
        }
    }
}

/// Makes a staged tree; `None` when somebody else was quicker.
fn make(blobs: &Blobs, name: &str, tree: &Tree) -> Result<Option<OwnedFd>, StoreError> {
    let workspace = blobs.workspace("stage")?;
    let path = workspace.path().join("tree");
    rustix::fs::mkdirat(workspace.dir(), "tree", Mode::RWXU).map_err(failing("make", &*path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dest = rustix::fs::openat(workspace.dir(), "tree", flags, Mode::empty())
        .map_err(failing("open", &*path))?;
    Lay { blobs, dest: dest.as_fd(), path: &path, how: How::Staged }.tree(tree)?;
    // Locked before it has its name, so that it is never there without.
    lock(&dest, FlockOperation::LockShared).map_err(failing("lock", &*path))?;
    match enter(blobs, workspace.dir().as_fd(), b"tree", name) {
        Ok(true) => Ok(Some(dest)),
        Ok(false) => Ok(None),
        Err(e) => Err(failed("name", &path, e.into())),
    }
}

/// Moves a folder to where staged trees are; `false` when there is one already.
fn enter(
    blobs: &Blobs,
    from: BorrowedFd<'_>,
    from_name: &[u8],
    name: &str,
) -> rustix::io::Result<bool> {
    match rustix::fs::renameat_with(from, from_name, &blobs.home, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
        // Without that flag, a folder replaces only an empty one.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::renameat(from, from_name, &blobs.home, name) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
                Err(e) => Err(e),
            }
        }
        Err(e) => Err(e),
    }
}

/// Makes a folder that has the staged form already a staged tree. `false` when there is one, or
/// when the folder cannot be moved.
pub(super) fn adopt(blobs: &Blobs, sound: &Sound, folder: &Path, digest: &Digest) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // A link to a folder would be moved instead of the folder.
    let inode = match std::fs::symlink_metadata(folder) {
        Ok(meta) if meta.is_dir() => std::os::unix::fs::MetadataExt::ino(&meta),
        _ => return false,
    };
    let from = folder.as_os_str().as_bytes();
    let adopted = enter(blobs, rustix::fs::CWD, from, &folder_name(digest)).unwrap_or(false);
    if adopted {
        sound.note(digest, inode);
    }
    adopted
}

/// Moves a staged tree out of the way and removes it as soon as nobody uses it.
pub(super) fn discard(blobs: &Blobs, name: &str) -> rustix::io::Result<()> {
    let aside = format!("work/discarded.{}", serial());
    match rustix::fs::renameat(&blobs.home, name, &blobs.home, aside.as_str()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let unused = match rustix::fs::openat(&blobs.home, aside.as_str(), flags, Mode::empty()) {
        Ok(fd) => try_lock(&fd, FlockOperation::NonBlockingLockExclusive)?,
        // Somebody had put something else in its place.
        Err(Errno::NOTDIR | Errno::LOOP) => true,
        Err(e) => return Err(e),
    };
    if unused {
        removal::remove(blobs.home.as_fd(), aside.as_bytes())?;
    }
    Ok(())
}

/// Whether a staged tree is what it was made to be, by its stat data. A folder from which
/// something was removed, or to which something was added, has another time.
pub(super) fn is_sound(
    blobs: &Blobs,
    tree: &Tree,
    folder: BorrowedFd<'_>,
    path: &Path,
) -> Result<bool, StoreError> {
    let mut dirs = Vec::new();
    list(tree.root(), b".", &mut dirs);
    let sound = AtomicBool::new(true);
    in_parallel(
        &dirs,
        || (),
        |(), (at, dir)| {
            if sound.load(Ordering::Relaxed)
                && !dir_is_sound(blobs, folder, at, dir)
                    .map_err(failing("look through", crate::capture::shown(path, at)))?
            {
                sound.store(false, Ordering::Relaxed);
            }
            Ok::<_, StoreError>(())
        },
    )?;
    Ok(sound.into_inner())
}

fn list<'a>(dir: &'a Dir, at: &[u8], dirs: &mut Vec<(Vec<u8>, &'a Dir)>) {
    dirs.push((at.to_vec(), dir));
    for (name, node) in dir.entries() {
        if let Node::Dir(child) = node {
            list(child, &[at, b"/", name.as_bytes()].concat(), dirs);
        }
    }
}

/// Whether a folder and what is directly in it, but for other folders, is as it should be.
fn dir_is_sound(
    blobs: &Blobs,
    folder: BorrowedFd<'_>,
    at: &[u8],
    dir: &Dir,
) -> std::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(folder, at, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let facts = Facts::of(&fd)?;
    if facts.mode != dir.meta().mode
        || facts.mtime != time(dir.meta())
        || !blobs.owners.matches(&facts, dir.meta().owner())
    {
        return Ok(false);
    }
    for (name, node) in dir.entries() {
        if !matches!(node, Node::Dir(_))
            && !entry_is_sound(blobs, fd.as_fd(), name.as_bytes(), node)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entry_is_sound(
    blobs: &Blobs,
    dir: BorrowedFd<'_>,
    name: &[u8],
    node: &Node,
) -> std::io::Result<bool> {
    let Some(facts) = Facts::if_any(dir, name)? else { return Ok(false) };
    Ok(match node {
        Node::Dir(_) => facts.is_dir(),
        Node::File(file) => {
            facts.is_file()
                && facts.size == file.digest.size
                && facts.mode == file.meta.mode
                && facts.mtime == time(&file.meta)
                && blobs.owners.matches(&facts, file.meta.owner())
                && (!blobs.is_suspect(&facts) || content_is(blobs, dir, name, &file.digest)?)
        }
        Node::Symlink(link) => {
            facts.kind == FileType::Symlink
                && facts.size == link.target.len() as u64
                && facts.mtime == time(&link.meta)
        }
        Node::Fifo(meta) => {
            facts.kind == FileType::Fifo
                && facts.mode == meta.mode
                && facts.mtime == time(meta)
                && blobs.owners.matches(&facts, meta.owner())
        }
        Node::Whiteout => facts.kind == FileType::CharacterDevice && facts.rdev == 0,
    })
}

/// Reads a file that the disk may know only half of. One that is whole is dated anew, so that it
/// is not read again.
fn content_is(
    blobs: &Blobs,
    dir: BorrowedFd<'_>,
    name: &[u8],
    digest: &Digest,
) -> std::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let good = hash(&fd, &mut Buffer::new()).is_ok_and(|found| found == *digest);
    if good && !blobs.read_only {
        rustix::fs::futimens(&fd, &times(Facts::of(&fd)?.mtime))?;
    }
    Ok(good)
}

/// Discards every staged tree that has a file which turned out to be damaged: the same inode is
/// in all of them.
pub(super) fn drop_trees_with(blobs: &Blobs, dev: u64, ino: u64) -> Result<(), StoreError> {
    let path = blobs.path.join("trees");
    let mut damaged = Vec::new();
    let mut look = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(&path)? {
            let entry = entry?;
            if has_inode(&entry.path(), dev, ino)? {
                damaged.push(entry.file_name());
            }
        }
        Ok(())
    };
    look().map_err(failing("look through", &*path))?;
    for name in damaged {
        let shown = path.join(&name);
        blobs.warn(format!("{} has a damaged file and is made anew", shown.display()));
        discard(blobs, &format!("trees/{}", name.to_string_lossy()))
            .map_err(failing("move aside", shown))?;
    }
    Ok(())
}

fn has_inode(folder: &Path, dev: u64, ino: u64) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let mut todo = vec![folder.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            // `DirEntry::ino` is that of the directory entry, which saves looking at most files.
            if std::os::unix::fs::DirEntryExt::ino(&entry) == ino && entry.metadata()?.dev() == dev
            {
                return Ok(true);
            }
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok(false)
}

impl Blobs {
    /// A private folder on the file system of the store.
    pub fn workspace(&self, label: &str) -> Result<Workspace, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly { path: self.path.clone() });
        }
        let path = self.path.join("work");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let work = rustix::fs::openat(&self.home, "work", flags, Mode::empty())
            .map_err(failing("open", &*path))?;
        Workspace::create(&work, &path, label)
    }
}

/// Removes what is at a path below a folder, for callers that hold the folder open.
pub(super) fn remove_at(folder: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, path, AtFlags::empty()) {
        Ok(()) => Ok(()),
        Err(_) => removal::remove(folder, path),
    }
}
