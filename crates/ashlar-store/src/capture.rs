//! A folder seen as a tree: what is in it, and what of it is kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Extra, File, Meta, Name, Node, Symlink, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::facts::{Facts, Owners};
use crate::failed::failing;
use crate::xattrs::Xattrs;
use crate::{Capture, StoreError};

/// How deep folders may be nested: a little less than a tree can be read back with.
const DEEPEST: usize = 500;

/// What an item is.
#[derive(Debug)]
pub(crate) enum Kind {
    Dir { opaque: bool },
    File,
    Symlink(Box<[u8]>),
    Fifo,
    Whiteout,
}

/// Something in a folder.
#[derive(Debug)]
pub(crate) struct Item {
    /// Relative to the folder, names joined by `/`; empty for the folder itself.
    pub path: Vec<u8>,
    /// The index of the directory it is in.
    pub parent: usize,
    pub name: Option<Name>,
    pub kind: Kind,
    pub facts: Facts,
    /// Of directories only; files are opened later anyway.
    pub xattrs: Xattrs,
    /// Which group of the scan a file with several names belongs to, where that is kept.
    pub group: Option<usize>,
}

/// Everything in a folder.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The folder itself first, directories before what is in them.
    pub items: Vec<Item>,
    /// Paths of what is there and is not kept.
    pub dropped: Vec<Vec<u8>>,
    /// Whether all of it is on one file system.
    pub one_device: bool,
    /// The indices of the items that are names of one file, two or more in each group.
    pub groups: Vec<Vec<usize>>,
}

impl Scan {
    /// How many names in the folder the file of an item has.
    pub fn names(&self, item: &Item) -> u64 {
        let group = item.group.and_then(|group| self.groups.get(group));
        group.map_or(1, |group| group.len() as u64)
    }

    /// Whether the item is a file that no item before it is.
    pub fn is_first_name(&self, index: usize) -> bool {
        let item = &self.items[index];
        let group = item.group.and_then(|group| self.groups.get(group));
        matches!(item.kind, Kind::File) && group.is_none_or(|group| group.first() == Some(&index))
    }

    /// Finds the files that have several names in the folder.
    fn group(&mut self) {
        let mut found: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
        for (index, item) in self.items.iter().enumerate() {
            if matches!(item.kind, Kind::File) && item.facts.links > 1 {
                found.entry((item.facts.dev, item.facts.ino)).or_default().push(index);
            }
        }
        for group in found.into_values().filter(|group| group.len() > 1) {
            for index in &group {
                self.items[*index].group = Some(self.groups.len());
            }
            self.groups.push(group);
        }
    }
}

/// What is known of a file once it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub digest: Option<Digest>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Opens a folder to work in it.
pub(crate) fn open_folder(folder: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).map_err(failing("open", folder))
}

/// The path of an item for people.
pub(crate) fn shown(folder: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { folder.to_path_buf() } else { folder.join(OsStr::from_bytes(path)) }
}

/// Lists a folder. Nothing is read but names, stat data, links and attributes of directories.
pub(crate) fn scan(root: BorrowedFd<'_>, folder: &Path, how: Capture) -> Result<Scan, StoreError> {
    scan_without(root, folder, how, &|_| false)
}

/// As [`scan`]; what `without` says yes to is passed over with everything in it.
pub(crate) fn scan_without(
    root: BorrowedFd<'_>,
    folder: &Path,
    how: Capture,
    without: &dyn Fn(&[u8]) -> bool,
) -> Result<Scan, StoreError> {
    let mut scan =
        Scan { items: Vec::new(), dropped: Vec::new(), one_device: true, groups: Vec::new() };
    let facts = Facts::of(root).map_err(failing("look at", folder))?;
    let xattrs = Xattrs::of(root).map_err(failing("read the attributes of", folder))?;
    let opaque = how.is_layer() && xattrs.is_opaque();
    let kind = Kind::Dir { opaque };
    let group = None;
    scan.items.push(Item { path: Vec::new(), parent: 0, name: None, kind, facts, xattrs, group });
    let top = open_dir(root, b".").map_err(failing("open", folder))?;
    Scanner { folder, how, without, dev: facts.dev, scan: &mut scan }.below(&top, 0, 0)?;
    if matches!(how, Capture::ImageLayer | Capture::Checkpoint) {
        scan.group();
    }
    Ok(scan)
}

struct Scanner<'a> {
    folder: &'a Path,
    how: Capture,
    without: &'a dyn Fn(&[u8]) -> bool,
    dev: u64,
    scan: &'a mut Scan,
}

impl Scanner<'_> {
    fn below(&mut self, dir: &OwnedFd, index: usize, depth: usize) -> Result<(), StoreError> {
        let folder = self.folder;
        let mut names = Vec::new();
        let at = |path: &[u8]| shown(folder, path);
        let here = self.scan.items[index].path.clone();
        let read = rustix::fs::Dir::read_from(dir).map_err(failing("list", at(&here)))?;
        for entry in read {
            let entry = entry.map_err(failing("list", at(&here)))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for name in names {
            let mut path = here.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if (self.without)(&path) {
                continue;
            }
            let facts = Facts::at(dir.as_fd(), &name).map_err(failing("look at", at(&path)))?;
            self.scan.one_device &= facts.dev == self.dev;
            if self.how == Capture::Root && here == b"dev" {
                self.scan.dropped.push(path);
                continue;
            }
            let Some(kind) = self.kind(dir, &name, &path, &facts)? else {
                self.scan.dropped.push(path);
                continue;
            };
            // A name that came out of a folder can be a name; only its length is bounded by the
            // file system and not by us.
            let Ok(name) = Name::new(name) else {
                return Err(StoreError::Unkeepable { path: at(&path), what: "a name too long" });
            };
            let mut item = Item {
                path,
                parent: index,
                name: Some(name),
                kind,
                facts,
                xattrs: Xattrs::default(),
                group: None,
            };
            if !matches!(item.kind, Kind::Dir { .. }) {
                self.scan.items.push(item);
                continue;
            }
            if depth >= DEEPEST {
                let what = "in folders nested too deeply";
                return Err(StoreError::Unkeepable { path: at(&item.path), what });
            }
            let name = item.name.as_ref().map_or(&b"."[..], Name::as_bytes);
            let child = open_dir(dir.as_fd(), name).map_err(failing("open", at(&item.path)))?;
            item.xattrs =
                Xattrs::of(&child).map_err(failing("read the attributes of", at(&item.path)))?;
            if self.how.is_layer() {
                if item.xattrs.redirects() {
                    let what = "a folder that an overlay has moved";
                    return Err(StoreError::Unkeepable { path: at(&item.path), what });
                }
                item.kind = Kind::Dir { opaque: item.xattrs.is_opaque() };
            }
            let next = self.scan.items.len();
            self.scan.items.push(item);
            self.below(&child, next, depth + 1)?;
        }
        Ok(())
    }

    /// What an entry is; `None` for what is left out.
    fn kind(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        facts: &Facts,
    ) -> Result<Option<Kind>, StoreError> {
        let refused = |what| Err(StoreError::Unkeepable { path: shown(self.folder, path), what });
        match facts.kind {
            FileType::Directory => Ok(Some(Kind::Dir { opaque: false })),
            FileType::RegularFile => Ok(Some(Kind::File)),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(failing("read the link", shown(self.folder, path)))?;
                Ok(Some(Kind::Symlink(target.into_bytes().into())))
            }
            FileType::CharacterDevice if self.how.is_layer() && facts.rdev == 0 => {
                Ok(Some(Kind::Whiteout))
            }
            FileType::Socket if self.how == Capture::Outputs => refused("a socket"),
            FileType::Socket => Ok(None),
            // Somebody may wait for one to be there.
            FileType::Fifo => match self.how {
                Capture::ImageLayer | Capture::Checkpoint => Ok(Some(Kind::Fifo)),
                Capture::Outputs => refused("a FIFO"),
                Capture::Layer | Capture::Root | Capture::Snapshot => Ok(None),
            },
            _ => refused("a device"),
        }
    }
}

/// Opens a folder; one of our own that is closed to us is opened up, which its item remembers.
fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a file to read it; one of our own that is closed to us is opened up if it may be.
pub(crate) fn open_file(
    root: BorrowedFd<'_>,
    path: &[u8],
    may_change: bool,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) if may_change => {
            rustix::fs::chmodat(root, path, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
            rustix::fs::openat(root, path, flags, Mode::empty())
        }
        other => other,
    }
}

/// Mode, owner and the rest of an item as a tree holds them.
pub(crate) fn meta(
    item: &Item,
    how: Capture,
    owners: &Owners,
    xattrs: &BTreeMap<String, Vec<u8>>,
) -> Meta {
    let facts = &item.facts;
    let mut extra = Extra::default();
    match how {
        Capture::Outputs => {}
        Capture::Layer | Capture::ImageLayer | Capture::Root => {
            (extra.uid, extra.gid) = owners.inside(facts.uid, facts.gid);
            extra.xattrs = xattrs.clone();
        }
        Capture::Snapshot => extra.mtime = Some(facts.mtime),
        Capture::Checkpoint => {
            (extra.uid, extra.gid) = owners.inside(facts.uid, facts.gid);
            extra.xattrs = xattrs.clone();
            extra.mtime = Some(facts.mtime);
        }
    }
    match item.kind {
        Kind::Symlink(_) => Meta::new(0o777, extra),
        // The folder itself was made by whoever ran the command, and says nothing.
        _ if item.path.is_empty() && matches!(how, Capture::Outputs | Capture::Snapshot) => {
            Meta::EXECUTABLE
        }
        _ => Meta::new(facts.mode, extra),
    }
}

/// A number that tells the groups of one scan apart.
fn link(group: Option<usize>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(group?).ok()?.checked_add(1)?)
}

/// The tree of a scan. `contents` has one entry for each item; what is not a file needs none.
pub(crate) fn tree(scan: &Scan, how: Capture, owners: &Owners, contents: &[Content]) -> Tree {
    let mut entries: Vec<BTreeMap<Name, Node>> = Vec::new();
    entries.resize_with(scan.items.len(), BTreeMap::new);
    // Children come after their parents, so backwards every directory is complete when met.
    for (index, item) in scan.items.iter().enumerate().rev() {
        let kept = match item.kind {
            Kind::Dir { .. } if how.keeps_owners() => item.xattrs.kept(owners),
            _ => contents[index].xattrs.clone(),
        };
        let meta = meta(item, how, owners, &kept);
        let node = match &item.kind {
            Kind::Dir { opaque } => {
                let dir = Dir::new(std::mem::take(&mut entries[index]), meta, *opaque);
                Node::Dir(Arc::new(dir))
            }
            Kind::File => match contents[index].digest {
                Some(digest) => Node::File(File { digest, meta, link: link(item.group) }),
                None => continue,
            },
            Kind::Symlink(target) => Node::Symlink(Symlink { target: target.clone(), meta }),
            Kind::Fifo => Node::Fifo(meta),
            Kind::Whiteout => Node::Whiteout,
        };
        match (&item.name, node) {
            (None, Node::Dir(root)) => return Tree::from(root).with_canonical_links(),
            (Some(name), node) => {
                entries[item.parent].insert(name.clone(), node);
            }
            (None, _) => {}
        }
    }
    Tree::default()
}
