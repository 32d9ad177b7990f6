//! Laying the entries of layers over one another, as tools that unpack images do.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ashlar_object::{Dir, Meta, Name, Node, Tree};

use crate::entry::{Item, WHITEOUT, What};
use crate::{Layer, PackError, Toc};

/// What layers make.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    pub tree: Tree,
    /// How many bytes the contents of the tree have in the blobs of the layers.
    pub live: u64,
}

/// Why layers do not make a tree.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    layer: usize,
    path: String,
    reason: &'static str,
}

impl From<Misfit> for PackError {
    fn from(misfit: Misfit) -> Self {
        let Misfit { layer, path, reason } = misfit;
        Self::Fold { layer, path, reason }
    }
}

/// A directory that layers are being laid over.
struct Folder {
    children: BTreeMap<Name, Slot>,
    meta: Meta,
    opaque: bool,
    /// The layer that had it last.
    layer: usize,
}

/// What a name stands for so far.
enum Slot {
    Folder(Box<Folder>),
    Leaf { node: Node, layer: usize, bytes: u64 },
}

impl Slot {
    fn layer(&self) -> usize {
        match self {
            Self::Folder(folder) => folder.layer,
            Self::Leaf { layer, .. } => *layer,
        }
    }
}

/// Not the number of any layer.
const NONE: usize = usize::MAX;

/// Deletions of a layer concern what is below it only, wherever in the layer they stand.
pub(crate) fn fold(layers: &[(Layer, Toc)], whiteouts: bool) -> Result<Folded, Misfit> {
    let mut root =
        Folder { children: BTreeMap::new(), meta: Meta::EXECUTABLE, opaque: false, layer: NONE };
    for (number, (layer, toc)) in layers.iter().enumerate() {
        let misfit = |item: &Item, reason| Misfit {
            layer: number,
            path: String::from_utf8_lossy(&item.path).into_owned(),
            reason,
        };
        let deletes = |item: &Item| whiteouts && name(item).starts_with(WHITEOUT);
        for item in toc.items.iter().filter(|item| deletes(item)) {
            delete(&mut root, item).map_err(|reason| misfit(item, reason))?;
        }
        for item in toc.items.iter().filter(|item| !deletes(item)) {
            if item.place().is_some_and(|place| place.end > layer.digest.size) {
                return Err(misfit(item, "lies beyond the end of the layer"));
            }
            put(&mut root, item, number).map_err(|reason| misfit(item, reason))?;
        }
    }
    let mut live = 0;
    let tree = Tree::from(freeze(root, &mut live));
    Ok(Folded { tree, live })
}

fn name(item: &Item) -> &[u8] {
    item.path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// The directory that an entry is in, and its name there.
fn above<'f, 'i>(root: &'f mut Folder, item: &'i Item) -> Option<(&'f mut Folder, &'i [u8])> {
    let mut names = item.path.split(|b| *b == b'/');
    let last = names.next_back()?;
    let mut folder = root;
    for name in names {
        match folder.children.get_mut(name)? {
            Slot::Folder(child) => folder = child,
            Slot::Leaf { .. } => return None,
        }
    }
    Some((folder, last))
}

fn delete(root: &mut Folder, item: &Item) -> Result<(), &'static str> {
    let gone = name(item).strip_prefix(WHITEOUT).unwrap_or_default();
    if gone.is_empty() || gone == b"." || gone == b".." {
        return Err("deletes nothing that has a name");
    }
    if gone.starts_with(WHITEOUT) {
        return Err("is a mark that this version cannot read");
    }
    // Deleting what is not there changes nothing.
    if let Some((folder, _)) = above(root, item) {
        folder.children.remove(gone);
    }
    Ok(())
}

fn put(root: &mut Folder, item: &Item, layer: usize) -> Result<(), &'static str> {
    const TWICE: &str = "is in the layer twice";
    if item.path.is_empty() {
        let What::Dir { meta, opaque } = &item.what else { return Err("is not a directory") };
        if root.layer == layer {
            return Err(TWICE);
        }
        (root.meta, root.opaque, root.layer) = (meta.clone(), *opaque, layer);
        return Ok(());
    }
    let (folder, last) = above(root, item).ok_or("is in a directory that is not there")?;
    let last = Name::new(last).map_err(|_| "has a name that cannot be used")?;
    let leaf = |node, bytes| Slot::Leaf { node, layer, bytes };
    let slot = match &item.what {
        What::Dir { meta, opaque } => Slot::Folder(Box::new(Folder {
            children: BTreeMap::new(),
            meta: meta.clone(),
            opaque: *opaque,
            layer,
        })),
        What::File { file, place } => leaf(Node::File(file.clone()), place.end - place.start),
        What::Link { file, .. } => leaf(Node::File(file.clone()), 0),
        What::Symlink(link) => leaf(Node::Symlink(link.clone()), 0),
        What::Fifo(meta) => leaf(Node::Fifo(meta.clone()), 0),
        What::Whiteout => leaf(Node::Whiteout, 0),
    };
    match folder.children.entry(last) {
        Entry::Vacant(vacant) => {
            vacant.insert(slot);
        }
        Entry::Occupied(taken) if taken.get().layer() == layer => return Err(TWICE),
        Entry::Occupied(mut taken) => match (taken.get_mut(), slot) {
            // A directory over a directory changes what it is, and not what is in it.
            (Slot::Folder(old), Slot::Folder(new)) => {
                (old.meta, old.opaque, old.layer) = (new.meta, new.opaque, layer);
            }
            (old, slot) => *old = slot,
        },
    }
    Ok(())
}

fn freeze(folder: Folder, live: &mut u64) -> Arc<Dir> {
    let children = folder.children.into_iter().map(|(name, slot)| {
        let node = match slot {
            Slot::Folder(child) => Node::Dir(freeze(*child, live)),
            Slot::Leaf { node, bytes, .. } => {
                *live += bytes;
                node
            }
        };
        (name, node)
    });
    let children = children.collect();
    Arc::new(Dir::new(children, folder.meta, folder.opaque))
}
