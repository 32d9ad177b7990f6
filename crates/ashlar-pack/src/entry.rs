//! One entry of a layer: what a plan holds, a tar header says and a table of contents lists.

use std::collections::HashMap;
use std::ops::Range;

use ashlar_object::{Digest, Dir, File, Meta, Node, Symlink};

/// With this a name in a layer says that the rest of the name is deleted from the layers below.
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// How deep directories may be nested; trees cannot be read with more.
pub(crate) const DEEPEST: usize = 512;

/// A path below the root, with `/` between its names and none around them, and what is there.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub path: Box<[u8]>,
    pub what: What,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Dir {
        meta: Meta,
        opaque: bool,
    },
    /// A regular file; where its content lies in the blob is known once it is written.
    File {
        file: File,
        place: Range<u64>,
    },
    /// Another name of a file that the layer has before.
    Link {
        file: File,
        target: Box<[u8]>,
    },
    Symlink(Symlink),
    Fifo(Meta),
    /// A deletion that is part of the tree, in the form that overlay file systems have for it.
    Whiteout,
}

impl Item {
    /// A node of a tree without what is below it.
    pub fn of(path: &[u8], node: &Node) -> Self {
        let what = match node {
            Node::Dir(dir) => return Self::dir(path, dir),
            Node::File(file) => What::File { file: file.clone(), place: 0..0 },
            Node::Symlink(link) => What::Symlink(link.clone()),
            Node::Fifo(meta) => What::Fifo(meta.clone()),
            Node::Whiteout => What::Whiteout,
        };
        Self { path: path.into(), what }
    }

    /// A directory without what is in it.
    pub fn dir(path: &[u8], dir: &Dir) -> Self {
        let what = What::Dir { meta: dir.meta().clone(), opaque: dir.is_opaque() };
        Self { path: path.into(), what }
    }

    /// The deletion of what lower layers have at `path`.
    pub fn gone(path: &[u8]) -> Self {
        let name = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let (above, name) = path.split_at(name);
        let file = File::new(Digest::EMPTY, Meta::FILE);
        Self {
            path: [above, WHITEOUT, name].concat().into(),
            what: What::File { file, place: 0..0 },
        }
    }

    /// How many bytes of content the entry has.
    pub fn size(&self) -> u64 {
        match &self.what {
            What::File { file, .. } => file.digest.size,
            What::Dir { .. }
            | What::Link { .. }
            | What::Symlink(_)
            | What::Fifo(_)
            | What::Whiteout => 0,
        }
    }

    /// Where the content lies in the blob, if there is any.
    pub fn place(&self) -> Option<&Range<u64>> {
        match &self.what {
            What::File { place, .. } if !place.is_empty() => Some(place),
            What::File { .. }
            | What::Dir { .. }
            | What::Link { .. }
            | What::Symlink(_)
            | What::Fifo(_)
            | What::Whiteout => None,
        }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.what, What::Dir { .. })
    }

    /// Whether this is a directory that `path` is in, at whatever depth.
    pub fn is_above(&self, path: &[u8]) -> bool {
        self.is_dir()
            && path
                .strip_prefix(&*self.path)
                .is_some_and(|rest| self.path.is_empty() || rest.first() == Some(&b'/'))
    }
}

impl What {
    /// Mode, owner and the rest.
    pub fn meta(&self) -> &Meta {
        const WHITEOUT: &Meta = &Meta { mode: 0, extra: None };
        match self {
            Self::Dir { meta, .. } | Self::Fifo(meta) => meta,
            Self::File { file, .. } | Self::Link { file, .. } => &file.meta,
            Self::Symlink(link) => &link.meta,
            Self::Whiteout => WHITEOUT,
        }
    }

    /// Where it leads, if it is a link of either kind.
    pub fn target(&self) -> &[u8] {
        match self {
            Self::Symlink(link) => &link.target,
            Self::Link { target, .. } => target,
            Self::Dir { .. } | Self::File { .. } | Self::Fifo(_) | Self::Whiteout => b"",
        }
    }
}

/// The first names that files with several names have in one layer.
#[derive(Default)]
pub(crate) struct FirstNames(HashMap<File, Box<[u8]>>);

impl FirstNames {
    /// Makes the entry of a file that the layer has already a link to its first name there.
    pub fn link(&mut self, item: &mut Item) {
        let What::File { file, .. } = &item.what else { return };
        if file.link.is_none() {
            return;
        }
        match self.0.get(file) {
            Some(first) => {
                item.what = What::Link { file: file.clone(), target: first.clone() };
            }
            None => {
                self.0.insert(file.clone(), item.path.clone());
            }
        }
    }
}
