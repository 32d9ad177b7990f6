//! Changing a root, and the layer that makes the change.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_object::{Dir, File, Meta, Node, RelPath, Tree};

use super::copy::CopyError;
use super::paths::shown;

/// Names that begin so cannot be files of an image: in a layer they delete others.
const WHITEOUT: &[u8] = b".wh.";

/// The first number for hard links of what is new, so that they are told from those of the root.
const FIRST: u32 = 1 << 30;

/// A root that is being changed.
pub(super) struct Root<'a> {
    below: &'a Tree,
    /// What it has become.
    pub now: Tree,
    /// The next number for a group of hard links.
    pub next: u32,
}

impl<'a> Root<'a> {
    pub fn new(below: &'a Tree) -> Self {
        Self { below, now: below.clone(), next: FIRST }
    }

    /// Makes a folder and those above it where they are missing, with `meta`. With `force` also where
    /// something else is.
    pub fn folder(&mut self, path: &RelPath, meta: &Meta, force: bool) -> Result<(), CopyError> {
        let mut folder = RelPath::root();
        for name in path.names() {
            folder.push(name.clone());
            match self.now.get(&folder) {
                Some(Node::Dir(_)) => {}
                Some(Node::File(_) | Node::Symlink(_) | Node::Fifo(_)) if !force => {
                    return Err(CopyError::NotFolder(shown(&folder)));
                }
                _ => {
                    let empty = Dir::new(BTreeMap::new(), meta.clone(), false);
                    self.now.put(&folder, Node::Dir(Arc::new(empty)));
                }
            }
        }
        Ok(())
    }

    /// Puts an entry at a path whose folder is there. A folder over a folder adds what is in it, and
    /// takes its mode and owner; everything else takes the place of what is there.
    pub fn put(&mut self, path: &RelPath, node: &Node) {
        match (node, self.now.get(path)) {
            (Node::Dir(new), Some(Node::Dir(there))) => {
                let merged = merged(there, new);
                self.now.put(path, Node::Dir(merged));
            }
            _ => self.now.put(path, node.clone()),
        }
    }

    /// Adds what is in a folder to one that is there.
    pub fn fill(&mut self, path: &RelPath, dir: &Dir) {
        for (name, node) in dir.entries() {
            self.put(&path.join(name), node);
        }
    }

    /// Gives a folder that is there another mode and owner.
    pub fn dress(&mut self, path: &RelPath, meta: &Meta) {
        let there = super::paths::at(&self.now, path);
        if let Some(Node::Dir(dir)) = there
            && dir.meta() != meta
        {
            let dressed = Dir::new(dir.entries().clone(), meta.clone(), false);
            self.now.put(path, Node::Dir(Arc::new(dressed)));
        }
    }

    /// The layer that makes the root what it has become: only what changes is in it.
    pub fn finish(mut self) -> Result<Tree, CopyError> {
        self.settle_links();
        let layer = difference(self.below.root(), self.now.root(), &mut RelPath::root())?;
        Ok(Tree::from(layer).with_canonical_links())
    }

    /// Groups of hard links that the root has in the same way already are no change.
    fn settle_links(&mut self) {
        if self.next == FIRST {
            return;
        }
        let mut new: BTreeMap<NonZeroU32, Vec<(RelPath, File)>> = BTreeMap::new();
        each_link(self.now.root(), &mut RelPath::root(), &mut |path, file, link| {
            if link.get() >= FIRST {
                new.entry(link).or_default().push((path.clone(), file.clone()));
            }
        });
        let mut sizes: Option<HashMap<File, usize>> = None;
        for names in new.into_values() {
            let old = |path: &RelPath, file: &File| match self.below.get(path) {
                Some(Node::File(old)) if old.digest == file.digest && old.meta == file.meta => {
                    Some(old.link)
                }
                _ => None,
            };
            let [(path, file), rest @ ..] = &names[..] else { continue };
            let link = match rest {
                [] => Some(None),
                _ => old(path, file).filter(|link| {
                    let Some(number) = link else { return false };
                    let sizes = sizes.get_or_insert_with(|| sizes_of(self.below));
                    let group = File { link: Some(*number), ..file.clone() };
                    rest.iter().all(|(path, file)| old(path, file) == Some(*link))
                        && sizes.get(&group) == Some(&names.len())
                }),
            };
            if let Some(link) = link {
                for (path, file) in names {
                    self.now.put(&path, Node::File(File { link, ..file }));
                }
            }
        }
    }
}

/// How many names each group of hard links has.
fn sizes_of(tree: &Tree) -> HashMap<File, usize> {
    let mut sizes = HashMap::new();
    each_link(tree.root(), &mut RelPath::root(), &mut |_, file, _| {
        *sizes.entry(file.clone()).or_insert(0) += 1;
    });
    sizes
}

fn each_link(dir: &Dir, path: &mut RelPath, visit: &mut impl FnMut(&RelPath, &File, NonZeroU32)) {
    if !dir.has_links() {
        return;
    }
    for (name, node) in dir.entries() {
        path.push(name.clone());
        match node {
            Node::Dir(child) => each_link(child, path, visit),
            Node::File(file) => {
                if let Some(link) = file.link {
                    visit(path, file, link);
                }
            }
            Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
        }
        path.pop();
    }
}

fn merged(there: &Arc<Dir>, new: &Arc<Dir>) -> Arc<Dir> {
    let mut entries = there.entries().clone();
    for (name, node) in new.entries() {
        let node = match (entries.get(name), node) {
            (Some(Node::Dir(there)), Node::Dir(new)) => Node::Dir(merged(there, new)),
            _ => node.clone(),
        };
        entries.insert(name.clone(), node);
    }
    Arc::new(Dir::new(entries, new.meta().clone(), false))
}

/// What has to be laid over `below` to get `now`.
fn difference(below: &Arc<Dir>, now: &Arc<Dir>, path: &mut RelPath) -> Result<Arc<Dir>, CopyError> {
    let mut changed = BTreeMap::new();
    if !Arc::ptr_eq(below, now) {
        for (name, node) in now.entries() {
            path.push(name.clone());
            let node = match (below.entries().get(name), node) {
                (Some(Node::Dir(was)), Node::Dir(is)) => {
                    let same = Arc::ptr_eq(was, is) || was.digest() == is.digest();
                    if same { None } else { Some(Node::Dir(difference(was, is, path)?)) }
                }
                (Some(was), is) if was == is => None,
                (_, is) => {
                    check_names(is, path)?;
                    Some(is.clone())
                }
            };
            path.pop();
            changed.extend(node.map(|node| (name.clone(), node)));
        }
        for name in below.entries().keys().filter(|name| !now.entries().contains_key(*name)) {
            changed.insert(name.clone(), Node::Whiteout);
        }
    }
    Ok(Arc::new(Dir::new(changed, now.meta().clone(), false)))
}

/// Refuses what would delete something as part of a layer.
fn check_names(node: &Node, path: &mut RelPath) -> Result<(), CopyError> {
    if path.names().last().is_some_and(|name| name.as_bytes().starts_with(WHITEOUT)) {
        return Err(CopyError::Whiteout(shown(path)));
    }
    if let Node::Dir(dir) = node {
        for (name, node) in dir.entries() {
            path.push(name.clone());
            check_names(node, path)?;
            path.pop();
        }
    }
    Ok(())
}
