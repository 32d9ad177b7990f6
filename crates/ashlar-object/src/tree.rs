//! Trees: the REAPI `Directory` Merkle tree, held in memory and written as one `Tree` message.
//!
//! A [`Tree`] is known by two digests. [`Tree::root_digest`] is that of its root `Directory`, the
//! input root of an action. [`Tree::encode`] gives one blob that holds every directory, the root
//! first and parents before children; the digest of that blob is what results and stores name.
//! Both are functions of the content alone.
//!
//! Sub-trees are shared: laying one tree over another copies only the directories on the way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use prost::Message as _;

use crate::nodes::{Mark, decode_dir, properties, to_text};
use crate::{Digest, Name, PathError, RelPath, wire};

/// How deep directories may be nested. `PATH_MAX` ends at some 2,000 anyway; the bound keeps a
/// hostile blob from exhausting the stack.
pub(crate) const DEEPEST: usize = 512;

/// A moment: seconds and nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What most entries do not have: an owner that is not root, a time of its own, extended
/// attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extra {
    /// User id inside the tree; 0 is root.
    pub uid: u32,
    /// Group id inside the tree.
    pub gid: u32,
    /// The time of the entry where it matters; otherwise it is [`crate::MOMENT`].
    pub mtime: Option<Time>,
    /// Extended attributes by their full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Mode, owner, time and extended attributes of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The permission bits, including set-uid, set-gid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Absent for entries of root at the fixed moment.
    pub extra: Option<Box<Extra>>,
}

impl Meta {
    /// A plain file: `0o644` of root.
    pub const FILE: Self = Self { mode: 0o644, extra: None };
    /// An executable file or a folder: `0o755` of root.
    pub const EXECUTABLE: Self = Self { mode: 0o755, extra: None };

    /// Mode and the rest; an `extra` that says nothing is dropped, so that equal entries are
    /// equal bytes.
    #[must_use]
    pub fn new(mode: u32, extra: Extra) -> Self {
        let extra = (extra != Extra::default()).then(|| Box::new(extra));
        Self { mode: mode & 0o7777, extra }
    }

    /// User id and group id.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        self.extra.as_ref().map_or((0, 0), |e| (e.uid, e.gid))
    }
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// The digest of the content.
    pub digest: Digest,
    /// Mode, owner and the rest.
    pub meta: Meta,
    /// Set where the file has several names in the tree: all files that are equal in every field
    /// are one. See [`Tree::with_canonical_links`] for the number.
    pub link: Option<NonZeroU32>,
}

impl File {
    /// A file that has one name.
    #[must_use]
    pub fn new(digest: Digest, meta: Meta) -> Self {
        Self { digest, meta, link: None }
    }
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symlink {
    /// Where it points, as written in the link.
    pub target: Box<[u8]>,
    /// Owner and time; the mode is always `0o777`.
    pub meta: Meta,
}

/// What a name in a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir(Arc<Dir>),
    /// A regular file.
    File(File),
    /// A symbolic link.
    Symlink(Symlink),
    /// A FIFO. Its extended attributes are none: no file system takes any.
    Fifo(Meta),
    /// In a layer: the name is deleted from what lies below.
    Whiteout,
}

/// A directory and everything in it.
#[derive(Debug)]
pub struct Dir {
    entries: BTreeMap<Name, Node>,
    meta: Meta,
    opaque: bool,
    digest: OnceLock<Digest>,
    links: OnceLock<bool>,
}

impl Default for Dir {
    fn default() -> Self {
        Self::new(BTreeMap::new(), Meta::EXECUTABLE, false)
    }
}

impl Clone for Dir {
    fn clone(&self) -> Self {
        Self::new(self.entries.clone(), self.meta.clone(), self.opaque)
    }
}

impl PartialEq for Dir {
    fn eq(&self, other: &Self) -> bool {
        self.meta == other.meta && self.opaque == other.opaque && self.entries == other.entries
    }
}

impl Eq for Dir {}

impl Dir {
    /// A directory. `opaque` marks, in a layer, that nothing of what lies below shows through.
    #[must_use]
    pub fn new(entries: BTreeMap<Name, Node>, meta: Meta, opaque: bool) -> Self {
        Self { entries, meta, opaque, digest: OnceLock::new(), links: OnceLock::new() }
    }

    /// The entries in the order of their bytes.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Name, Node> {
        &self.entries
    }

    /// The entries, to change them. What was known of the digest is forgotten.
    pub fn entries_mut(&mut self) -> &mut BTreeMap<Name, Node> {
        self.digest = OnceLock::new();
        self.links = OnceLock::new();
        &mut self.entries
    }

    /// Mode, owner and the rest of the directory itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether, in a layer, nothing below shows through.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The digest of the `Directory` message, computed once.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| Digest::of(&self.encode()))
    }

    /// Whether a file in it, at whatever depth, has a `link`; found out once.
    #[must_use]
    pub fn has_links(&self) -> bool {
        *self.links.get_or_init(|| {
            self.entries.values().any(|node| match node {
                Node::Dir(child) => child.has_links(),
                Node::File(file) => file.link.is_some(),
                Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => false,
            })
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut message = wire::Directory {
            node_properties: properties(&self.meta, 0o755, self.opaque.then_some(Mark::Opaque)),
            ..wire::Directory::default()
        };
        for (name, node) in &self.entries {
            let name = to_text(name.as_bytes());
            match node {
                Node::Dir(dir) => message
                    .directories
                    .push(wire::DirectoryNode { name, digest: Some(dir.digest().into()) }),
                Node::File(file) => message.files.push(wire::FileNode {
                    name,
                    digest: Some(file.digest.into()),
                    is_executable: file.meta.mode == 0o755,
                    node_properties: properties(
                        &file.meta,
                        if file.meta.mode == 0o755 { 0o755 } else { 0o644 },
                        file.link.map(Mark::Link),
                    ),
                }),
                Node::Symlink(link) => message.symlinks.push(wire::SymlinkNode {
                    name,
                    target: to_text(&link.target),
                    node_properties: properties(&link.meta, 0o777, None),
                }),
                Node::Fifo(meta) => message.files.push(wire::FileNode {
                    name,
                    digest: Some(Digest::EMPTY.into()),
                    is_executable: false,
                    node_properties: properties(meta, 0o644, Some(Mark::Fifo)),
                }),
                Node::Whiteout => message.files.push(wire::FileNode {
                    name,
                    digest: Some(Digest::EMPTY.into()),
                    is_executable: false,
                    node_properties: properties(&Meta::FILE, 0o644, Some(Mark::Whiteout)),
                }),
            }
        }
        // The map is sorted by raw bytes; encoded names may sort elsewhere, and REAPI wants
        // the encoded ones sorted.
        message.files.sort_by(|a, b| a.name.cmp(&b.name));
        message.directories.sort_by(|a, b| a.name.cmp(&b.name));
        message.symlinks.sort_by(|a, b| a.name.cmp(&b.name));
        message.encode_to_vec()
    }
}

/// An entry met on a walk.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its path below the root.
    pub path: &'a RelPath,
    /// What it is.
    pub node: &'a Node,
}

/// A directory tree; cloning shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(Arc<Dir>);

impl From<Dir> for Tree {
    fn from(dir: Dir) -> Self {
        Self(Arc::new(dir))
    }
}

impl From<Arc<Dir>> for Tree {
    fn from(dir: Arc<Dir>) -> Self {
        Self(dir)
    }
}

impl Tree {
    /// The top directory.
    #[must_use]
    pub fn root(&self) -> &Arc<Dir> {
        &self.0
    }

    /// The digest of the root `Directory` message: REAPI's input root.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        self.0.digest()
    }

    /// The digest of [`Tree::encode`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// One REAPI `Tree` message with every distinct directory once: the root, then the others in
    /// the order in which a walk by levels meets them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = wire::Tree { root: self.0.encode(), children: Vec::new() };
        let mut level: Vec<&Arc<Dir>> = vec![&self.0];
        let mut seen = HashSet::new();
        while !level.is_empty() {
            let mut next = Vec::new();
            for dir in level {
                for node in dir.entries.values() {
                    if let Node::Dir(child) = node
                        && seen.insert(child.digest())
                    {
                        message.children.push(child.encode());
                        next.push(child);
                    }
                }
            }
            level = next;
        }
        message.encode_to_vec()
    }

    /// Reads a `Tree` message.
    ///
    /// # Errors
    /// When the bytes are no `Tree`, name something that cannot be a file, or lack a directory.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let message = wire::Tree::decode(bytes)?;
        let mut raw = HashMap::new();
        for child in &message.children {
            raw.insert(Digest::of(child), child.as_slice());
        }
        let mut made = HashMap::new();
        Ok(Self(decode_dir(&message.root, &raw, &mut made, 0)?))
    }

    /// The REAPI `Directory` messages of the tree with their digests, the root first, each once:
    /// what an execution service wants uploaded.
    #[must_use]
    pub fn directories(&self) -> Vec<(Digest, Vec<u8>)> {
        let mut out = vec![(self.0.digest(), self.0.encode())];
        let mut seen: HashSet<Digest> = HashSet::from([self.0.digest()]);
        let mut todo = vec![&self.0];
        while let Some(dir) = todo.pop() {
            for node in dir.entries.values() {
                if let Node::Dir(child) = node
                    && seen.insert(child.digest())
                {
                    out.push((child.digest(), child.encode()));
                    todo.push(child);
                }
            }
        }
        out
    }

    /// What is at a path, not following links.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Node> {
        let (last, above) = path.names().split_last()?;
        let mut dir = &self.0;
        for name in above {
            match dir.entries.get(name)? {
                Node::Dir(child) => dir = child,
                _ => return None,
            }
        }
        dir.entries.get(last)
    }

    /// Calls `visit` for every entry below the root, parents before children, in byte order.
    pub fn walk(&self, mut visit: impl FnMut(Entry<'_>)) {
        fn below(dir: &Dir, path: &mut RelPath, visit: &mut impl FnMut(Entry<'_>)) {
            for (name, node) in &dir.entries {
                path.push(name.clone());
                visit(Entry { path, node });
                if let Node::Dir(child) = node {
                    below(child, path, visit);
                }
                path.pop();
            }
        }
        below(&self.0, &mut RelPath::root(), &mut visit);
    }

    /// The digests of all file contents, each once, in no order.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        let mut seen = HashSet::new();
        self.walk(|entry| {
            if let Node::File(file) = entry.node {
                seen.insert(file.digest);
            }
        });
        seen.into_iter().collect()
    }

    /// How many bytes all files hold together, as `du --apparent-size` would count them.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        let mut size = 0;
        self.walk(|entry| {
            if let Node::File(file) = entry.node {
                size += file.digest.size;
            }
        });
        size
    }

    /// How many entries there are below the root.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut count = 0;
        self.walk(|_| count += 1);
        count
    }

    /// Whether there is nothing below the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// This tree as the content of the folder `path` of an otherwise empty tree.
    #[must_use]
    pub fn below(&self, path: &RelPath) -> Self {
        let mut dir = Arc::clone(&self.0);
        for name in path.names().iter().rev() {
            dir = Arc::new(Dir::new(
                BTreeMap::from([(name.clone(), Node::Dir(dir))]),
                Meta::EXECUTABLE,
                false,
            ));
        }
        Self(dir)
    }

    /// Puts a node at a path, making the directories above it; what was there is replaced, and
    /// so is a file where a directory is needed.
    #[must_use]
    pub fn with(&self, path: &RelPath, node: Node) -> Self {
        let mut tree = self.clone();
        tree.put(path, node);
        tree
    }

    /// Puts a node at a path, in place of what is there; directories that are missing on the way
    /// are made. Only directories that other trees share are copied.
    pub fn put(&mut self, path: &RelPath, node: Node) {
        let Some((last, parents)) = path.names().split_last() else {
            if let Node::Dir(dir) = node {
                self.0 = dir;
            }
            return;
        };
        let mut dir = &mut self.0;
        for name in parents {
            let there = Arc::make_mut(dir).entries_mut().entry(name.clone());
            let there = there.or_insert_with(|| Node::Dir(Arc::default()));
            if !matches!(there, Node::Dir(_)) {
                *there = Node::Dir(Arc::default());
            }
            let Node::Dir(child) = there else { return };
            dir = child;
        }
        Arc::make_mut(dir).entries_mut().insert(last.clone(), node);
    }
}

/// Bytes that are no tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Not protobuf, or not this message.
    #[error("not a tree: {0}")]
    Wire(#[from] prost::DecodeError),
    /// A name that cannot be a file.
    #[error("a name in the tree cannot be used: {0}")]
    Path(#[from] PathError),
    /// One name twice in one directory.
    #[error("`{0}` is in the same directory twice")]
    Twice(String),
    /// A node without a digest.
    #[error("`{0}` has no valid digest")]
    NoDigest(String),
    /// A directory that the blob names and does not contain.
    #[error("the directory `{0}` ({1}) is not in the tree")]
    NoDirectory(String, Digest),
    /// A node property with a value that cannot be understood, or one that is unknown.
    #[error("the property `{0}` has the value `{1}`, which this version cannot read")]
    Property(String, String),
    /// A raw name that is not hexadecimal.
    #[error("`{0}` is not a name")]
    Raw(String),
    /// Directories nested beyond all use.
    #[error("directories are nested more than {DEEPEST} deep")]
    TooDeep,
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
