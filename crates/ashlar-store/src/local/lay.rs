//! A tree laid out as files in an empty folder.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Dir, File, Meta, Node, Symlink, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::blobs::Blobs;
use super::keys::Form;
use super::parallel::in_parallel;
use crate::StoreError;
use crate::capture::shown;
use crate::facts::{FIXED, Owners, times};
use crate::failed::{failed, failing};
use crate::pour::Buffer;
use crate::xattrs;

/// How files come to be where they are laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// For builds: links to blobs, copies for odd modes and owners, whiteouts as overlays want
    /// them. One blob is linked once in a tree: two names of one inode would be "the same file"
    /// to `cp`, and hard links to `tar`, where the tree has two files that happen to be equal.
    /// What is one file with several names in the tree is a file of its own with those names.
    Staged,
    /// For people: links to blobs where the file system and the mode allow it.
    Linked,
    /// For people: files of their own.
    Copied,
}

pub(super) struct Lay<'a> {
    pub blobs: &'a Blobs,
    pub dest: BorrowedFd<'a>,
    /// Where that is, for messages.
    pub path: &'a Path,
    pub how: How,
}

enum Leaf<'a> {
    /// A file, and whether it may be a link to its blob.
    File(&'a File, bool),
    Symlink(&'a Symlink),
    Fifo(&'a Meta),
    Whiteout,
}

/// Another name of a file that is laid out at the path `first`.
struct Link<'a> {
    path: Vec<u8>,
    first: Vec<u8>,
    file: &'a File,
}

impl Lay<'_> {
    /// Lays out a whole tree. A blob that is not there or damaged is [`StoreError::Missing`].
    pub fn tree(&self, tree: &Tree) -> Result<(), StoreError> {
        let mut dirs: Vec<(Vec<u8>, &Dir)> = Vec::new();
        let mut leaves: Vec<(Vec<u8>, Leaf<'_>)> = Vec::new();
        list(tree.root(), &[], &mut dirs, &mut leaves);
        let links = if tree.has_links() { take_links(&mut leaves) } else { Vec::new() };
        let mut linked = HashSet::new();
        for (_, leaf) in &mut leaves {
            if let Leaf::File(file, link) = leaf
                && file.link.is_none()
            {
                let form = Form::of(&file.meta).filter(|_| may_be_linked(&file.digest));
                *link = form.is_some_and(|form| linked.insert((file.digest, form)));
            }
        }
        for (path, _) in dirs.iter().filter(|(path, _)| !path.is_empty()) {
            rustix::fs::mkdirat(self.dest, path.as_slice(), Mode::RWXU)
                .map_err(failing("make", self.shown(path)))?;
        }
        in_parallel(&apart(&leaves), Buffer::new, |buffer, leaves| {
            leaves.iter().try_for_each(|(path, leaf)| match leaf {
                Leaf::File(file, link) => self.file(path, file, *link, buffer),
                Leaf::Symlink(link) => self.symlink(path, link),
                Leaf::Fifo(meta) => self.fifo(path, meta),
                Leaf::Whiteout => self.whiteout(path),
            })
        })?;
        let mut buffer = Buffer::new();
        for link in &links {
            self.link(link, &mut buffer)?;
        }
        // Children before parents, so that a folder is closed and dated after it was filled.
        for (path, dir) in dirs.iter().rev() {
            self.dir(path, dir)?;
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        shown(self.path, path)
    }

    fn file(
        &self,
        path: &[u8],
        file: &File,
        link: bool,
        buffer: &mut Buffer,
    ) -> Result<(), StoreError> {
        if self.how != How::Copied
            && link
            && let Some(form) = Form::of(&file.meta)
        {
            match self.blobs.link(&file.digest, form, self.dest, path)? {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(StoreError::Missing(file.digest)),
                // Another file system, or one without links: a copy does as well.
                Err(Errno::XDEV | Errno::PERM | Errno::MLINK) => {}
                Err(e) => return Err(failed("link", &self.shown(path), e.into())),
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.dest, path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failing("make", self.shown(path)))?;
        let fd = std::fs::File::from(fd);
        if !self.blobs.copy_out(&file.digest, &fd, &self.shown(path), buffer)? {
            return Err(StoreError::Missing(file.digest));
        }
        self.finish(&fd, &file.meta).map_err(failing("set the mode of", self.shown(path)))
    }

    /// One more name of a file that is there.
    fn link(&self, link: &Link<'_>, buffer: &mut Buffer) -> Result<(), StoreError> {
        let Link { path, first, file } = link;
        match rustix::fs::linkat(
            self.dest,
            first.as_slice(),
            self.dest,
            path.as_slice(),
            AtFlags::empty(),
        ) {
            // A file system without links, or one of which a file has as many names as it can.
            Err(Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) => {
                self.file(path, file, false, buffer)
            }
            other => other.map_err(failing("link", self.shown(path))),
        }
    }

    /// Gives an open file or folder the owner, attributes, mode and time it has in the tree.
    fn finish(&self, fd: impl AsFd, meta: &Meta) -> rustix::io::Result<()> {
        let mut mode = meta.mode;
        if self.how == How::Staged {
            if let Some((uid, gid)) = self.blobs.owners.outside(meta.owner()) {
                rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
            }
            set_xattrs(&fd, meta, self.blobs)?;
        } else if meta.owner() != (0, 0) {
            // Set-uid for somebody else than was meant helps nobody.
            mode &= 0o1777;
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        rustix::fs::futimens(&fd, &times(time(meta)))
    }

    fn symlink(&self, path: &[u8], link: &Symlink) -> Result<(), StoreError> {
        let made = || {
            rustix::fs::symlinkat(&*link.target, self.dest, path)?;
            if self.how == How::Staged
                && let Some((uid, gid)) = self.blobs.owners.outside(link.meta.owner())
            {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(self.dest, path, Some(uid), Some(gid), flags)?;
            }
            let time = times(time(&link.meta));
            rustix::fs::utimensat(self.dest, path, &time, AtFlags::SYMLINK_NOFOLLOW)
        };
        made().map_err(failing("make the link", self.shown(path)))
    }

    fn fifo(&self, path: &[u8], meta: &Meta) -> Result<(), StoreError> {
        let owners = (self.how == How::Staged).then_some(&self.blobs.owners);
        make_fifo(self.dest, path, meta, owners).map_err(failing("make the FIFO", self.shown(path)))
    }

    fn whiteout(&self, path: &[u8]) -> Result<(), StoreError> {
        if self.how != How::Staged {
            return Ok(());
        }
        rustix::fs::mknodat(self.dest, path, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(failing("make the whiteout", self.shown(path)))
    }

    fn dir(&self, path: &[u8], dir: &Dir) -> Result<(), StoreError> {
        let done = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let at = if path.is_empty() { &b"."[..] } else { path };
            let fd = rustix::fs::openat(self.dest, at, flags, Mode::empty())?;
            if self.how == How::Staged && dir.is_opaque() {
                xattrs::set_opaque(&fd)?;
            }
            self.finish(&fd, dir.meta())
        };
        done().map_err(failing("set the mode of", self.shown(path)))
    }
}

/// Makes a FIFO that has the mode and time that a tree says, and the owner where that is to be.
pub(super) fn make_fifo(
    at: BorrowedFd<'_>,
    path: &[u8],
    meta: &Meta,
    owners: Option<&Owners>,
) -> rustix::io::Result<()> {
    rustix::fs::mknodat(at, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    if let Some((uid, gid)) = owners.and_then(|owners| owners.outside(meta.owner())) {
        rustix::fs::chownat(at, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // Opening it would wait for somebody at its other end.
    let own = owners.is_some() || meta.owner() == (0, 0);
    let mode = if own { meta.mode } else { meta.mode & 0o1777 };
    rustix::fs::chmodat(at, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
    rustix::fs::utimensat(at, path, &times(time(meta)), AtFlags::SYMLINK_NOFOLLOW)
}

/// Runs of leaves, with neighbours far from one another: the kernel makes one entry of a folder at a
/// time, so two threads should not work in the same one.
fn apart<T>(leaves: &[T]) -> Vec<&[T]> {
    let runs: Vec<&[T]> = leaves.chunks(64).collect();
    let (first, second) = runs.split_at(runs.len().div_ceil(2));
    let mut all = Vec::with_capacity(runs.len());
    for (number, run) in first.iter().enumerate() {
        all.push(*run);
        all.extend(second.get(number).copied());
    }
    all
}

/// Takes out the leaves that are further names of files before them.
fn take_links<'a>(leaves: &mut Vec<(Vec<u8>, Leaf<'a>)>) -> Vec<Link<'a>> {
    let mut firsts: HashMap<&File, Vec<u8>> = HashMap::new();
    let mut links = Vec::new();
    leaves.retain(|(path, leaf)| {
        let Leaf::File(file, _) = leaf else { return true };
        if file.link.is_none() {
            return true;
        }
        match firsts.get(file) {
            Some(first) => {
                links.push(Link { path: path.clone(), first: first.clone(), file });
                false
            }
            None => {
                firsts.insert(file, path.clone());
                true
            }
        }
    });
    links
}

/// Whether a file of a tree may be a link to its blob at all. The empty file is in nearly every
/// tree: as a link it would be one file across all layers of a root.
pub(super) fn may_be_linked(digest: &Digest) -> bool {
    *digest != Digest::EMPTY
}

/// The time of an entry.
pub(super) fn time(meta: &Meta) -> ashlar_object::Time {
    meta.extra.as_ref().and_then(|extra| extra.mtime).unwrap_or(FIXED)
}

fn set_xattrs(fd: impl AsFd, meta: &Meta, blobs: &Blobs) -> rustix::io::Result<()> {
    static NONE: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let all = meta.extra.as_ref().map_or(&NONE, |extra| &extra.xattrs);
    xattrs::set(fd, all, &blobs.owners)
}

fn list<'a>(
    dir: &'a Dir,
    at: &[u8],
    dirs: &mut Vec<(Vec<u8>, &'a Dir)>,
    leaves: &mut Vec<(Vec<u8>, Leaf<'a>)>,
) {
    dirs.push((at.to_vec(), dir));
    for (name, node) in dir.entries() {
        let mut path = Vec::with_capacity(at.len() + 1 + name.as_bytes().len());
        path.extend_from_slice(at);
        if !at.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        match node {
            Node::Dir(child) => list(child, &path, dirs, leaves),
            Node::File(file) => leaves.push((path, Leaf::File(file, false))),
            Node::Symlink(link) => leaves.push((path, Leaf::Symlink(link))),
            Node::Fifo(meta) => leaves.push((path, Leaf::Fifo(meta))),
            Node::Whiteout => leaves.push((path, Leaf::Whiteout)),
        }
    }
}
