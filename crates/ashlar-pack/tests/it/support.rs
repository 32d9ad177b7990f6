//! Contents in memory, images in memory, and trees read back from a disk.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use ashlar_object::{
    Digest, Dir, Extra, File, MOMENT, Meta, Name, Node, RelPath, Symlink, Time, Tree,
};
use ashlar_pack::{Contents, Limits, Packing, Stack, Toc, plan};

/// Contents by their digest.
#[derive(Clone, Debug, Default)]
pub struct Pool(HashMap<Digest, Vec<u8>>);

impl Pool {
    pub fn put(&mut self, content: impl Into<Vec<u8>>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        self.0.insert(digest, content);
        digest
    }

    pub fn file(&mut self, content: impl Into<Vec<u8>>) -> Node {
        Node::File(File::new(self.put(content), Meta::FILE))
    }

    pub fn get(&self, digest: &Digest) -> &[u8] {
        &self.0[digest]
    }

    /// Lets a content be another one than its digest says.
    pub fn spoil(&mut self, digest: &Digest, content: &[u8]) {
        self.0.insert(*digest, content.to_vec());
    }
}

impl Contents for Pool {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.0.get(digest) {
            Some(content) => Ok(Box::new(content.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

pub fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

pub fn link(target: &[u8]) -> Node {
    Node::Symlink(Symlink { target: target.into(), meta: Meta { mode: 0o777, extra: None } })
}

pub fn tree(entries: &[(&str, Node)]) -> Tree {
    entries.iter().fold(Tree::default(), |tree, (at, node)| tree.with(&path(at), node.clone()))
}

/// Bytes that do not shrink, different for every seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An image as a depot would hold it.
#[derive(Clone)]
pub struct Image {
    pub stack: Stack,
    pub blobs: Vec<Vec<u8>>,
    pub packing: Packing,
}

/// Packs a tree and reads the tables of contents back from the blobs.
pub fn pack(tree: &Tree, earlier: Option<&Image>, pool: &Pool, limits: &Limits) -> Image {
    let packing = plan(tree, earlier.map(|image| &image.stack), limits).unwrap();
    let mut layers = Vec::new();
    let mut blobs = Vec::new();
    if let Some(earlier) = earlier {
        layers.extend_from_slice(&earlier.stack.layers()[..packing.keep]);
        blobs.extend_from_slice(&earlier.blobs[..packing.keep]);
    }
    for plan in &packing.layers {
        let mut blob = Vec::new();
        let (layer, made) = plan.write(pool, &mut blob).unwrap();
        assert_eq!(layer.digest, Digest::of(&blob));
        let place = Toc::place(&layer.annotations).unwrap();
        let range = place.range.start as usize..place.range.end as usize;
        let read = place.decode(&blob[range]).unwrap();
        assert_eq!(format!("{read:?}"), format!("{made:?}"));
        layers.push((layer, read));
        blobs.push(blob);
    }
    Image { stack: Stack::new(layers, packing.whiteouts), blobs, packing }
}

/// Fails with the paths that differ, rather than with both trees.
#[track_caller]
pub fn assert_same(expected: &Tree, found: &Tree) {
    let changes = ashlar_object::diff(expected, found);
    let told = |node: &Option<Node>| match node {
        Some(Node::Dir(dir)) => format!("{:?}", dir.meta()),
        other => format!("{other:?}"),
    };
    let lines: Vec<_> = changes
        .iter()
        .map(|c| format!("{} {:?}\n  {}\n  {}", c.path, c.kind, told(&c.was), told(&c.now)))
        .collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert_eq!(expected.digest(), found.digest());
}

/// The tree that a folder of this machine is: contents digested, the fixed moment as no time,
/// several names of one file as such.
pub fn scan(folder: &Path) -> Tree {
    Tree::from(scan_dir(folder)).with_canonical_links()
}

/// The same files, each with one name.
pub fn unlinked(tree: &Tree) -> Tree {
    let mut all = tree.clone();
    tree.walk(|entry| {
        if let Node::File(file) = entry.node {
            all.put(entry.path, Node::File(File { link: None, ..file.clone() }));
        }
    });
    all
}

fn scan_dir(folder: &Path) -> Dir {
    let mut entries = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let meta = path.symlink_metadata().unwrap();
        let node = if meta.is_dir() {
            Node::Dir(Arc::new(scan_dir(&path)))
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            Node::Symlink(Symlink {
                target: target.as_os_str().as_bytes().into(),
                meta: scan_meta(&path).0,
            })
        } else if meta.file_type().is_char_device() {
            assert_eq!(meta.rdev(), 0, "{}", path.display());
            Node::Whiteout
        } else if meta.file_type().is_fifo() {
            Node::Fifo(scan_meta(&path).0)
        } else {
            assert!(meta.is_file(), "{}", path.display());
            let digest = Digest::of(&std::fs::read(&path).unwrap());
            // For as long as nobody has that many files, this is a number for each inode.
            let link = (meta.nlink() > 1).then(|| NonZeroU32::new(meta.ino() as u32)).flatten();
            Node::File(File { link, ..File::new(digest, scan_meta(&path).0) })
        };
        entries.insert(Name::new(entry.file_name().as_bytes()).unwrap(), node);
    }
    let (meta, opaque) = scan_meta(folder);
    Dir::new(entries, meta, opaque)
}

fn scan_meta(path: &Path) -> (Meta, bool) {
    let meta = path.symlink_metadata().unwrap();
    let time = Time { seconds: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
    let mut xattrs = xattrs(path);
    let opaque = xattrs.remove("trusted.overlay.opaque").is_some();
    let extra = Extra {
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (time != Time { seconds: MOMENT, nanos: 0 }).then_some(time),
        xattrs,
    };
    (Meta::new(meta.permissions().mode(), extra), opaque)
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut all = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).unwrap();
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(length);
        all.insert(name.to_owned(), value);
    }
    all
}
