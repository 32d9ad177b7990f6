//! Equal files of different layers, kept apart.
//!
//! The staged trees of a store have links to its blobs, and overlays show inodes as they are below.
//! So two files that happen to be equal and come from different layers would be one file to whoever
//! asks: `cp` refuses to copy one over the other, and `cp -a` and `tar` make hard links of them, where
//! an edit of one changes both. Which files of a layer are links is the store's affair, and in no key.
//! Therefore all but the lowest of such files are laid over themselves, as files of their own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, File, Meta, Name, Node, Tree};

use crate::Kept;
use crate::image::MOST_ID;

/// The folders of layers that are one folder, each with the number of its layer, the highest first.
type Folders<'a> = Vec<(usize, &'a Arc<Dir>)>;

/// What a file is a link to: mode and owner belong to the inode.
type Inode = (Digest, u32);

/// The files that have to be files of their own, as a layer above all others; `None` when there are
/// none. The layers are given from the lowest to the highest.
pub(crate) fn apart(trees: &[Kept]) -> Option<Tree> {
    if trees.len() < 2 {
        return None;
    }
    let top = folders(trees);
    let mut lowest = HashMap::new();
    let mut twice = HashSet::new();
    count(&top, &mut lowest, &mut twice);
    if twice.is_empty() {
        return None;
    }
    let mut number = NonZeroU32::MIN;
    let own = Own { lowest: &lowest, twice: &twice };
    own.copies(&top, &mut number).map(Tree::from)
}

/// The first entry that commands would see with another owner, because its ids are beyond those that
/// they have; with its path and owner.
pub(crate) fn beyond(trees: &[Kept]) -> Option<(String, (u32, u32))> {
    fn first(folders: &Folders<'_>, path: &mut Vec<String>) -> Option<(u32, u32)> {
        let over = |meta: &Meta| {
            let (uid, gid) = meta.owner();
            (uid > MOST_ID || gid > MOST_ID).then_some((uid, gid))
        };
        if let Some(owner) = folders.first().and_then(|(_, dir)| over(dir.meta())) {
            return Some(owner);
        }
        for (name, (_, node)) in merged(folders) {
            path.push(name.to_string());
            let found = match node {
                Node::Dir(_) => first(&below(folders, name), path),
                Node::File(file) => over(&file.meta),
                Node::Symlink(link) => over(&link.meta),
                Node::Fifo(meta) => over(meta),
                Node::Whiteout => None,
            };
            if found.is_some() {
                return found;
            }
            path.pop();
        }
        None
    }
    let mut path = Vec::new();
    let owner = first(&folders(trees), &mut path)?;
    Some((format!("/{}", path.join("/")), owner))
}

fn folders(trees: &[Kept]) -> Folders<'_> {
    trees.iter().enumerate().rev().map(|(number, kept)| (number, kept.tree.root())).collect()
}

/// The folders that together make the folder `name` of this one.
fn below<'a>(folders: &Folders<'a>, name: &Name) -> Folders<'a> {
    let mut found = Vec::new();
    for (number, dir) in folders {
        match dir.entries().get(name) {
            Some(Node::Dir(child)) => {
                found.push((*number, child));
                if child.is_opaque() {
                    break;
                }
            }
            Some(_) => break,
            None => {}
        }
    }
    found
}

/// What is to be seen in a folder, each with the number of the layer that it is of.
fn merged<'a>(folders: &Folders<'a>) -> Vec<(&'a Name, (usize, &'a Node))> {
    let of = |(number, dir): &(usize, &'a Arc<Dir>)| {
        let number = *number;
        dir.entries().iter().map(move |(name, node)| (name, (number, node)))
    };
    // Nearly all folders are of one layer only.
    if let [one] = &folders[..] {
        return of(one).collect();
    }
    let mut all = BTreeMap::new();
    for (name, entry) in folders.iter().flat_map(of) {
        all.entry(name).or_insert(entry);
    }
    all.into_iter().collect()
}

/// The inode that a file may share with others that are equal. See the staged trees of the store: a
/// file with several names in its tree is one of its own.
fn shared(file: &File) -> Option<Inode> {
    let plain = file.meta == Meta::FILE || file.meta == Meta::EXECUTABLE;
    let may = plain && file.link.is_none() && file.digest != Digest::EMPTY;
    may.then_some((file.digest, file.meta.mode))
}

/// Notes for each inode the lowest layer that shows it, and which are shown by several.
fn count(folders: &Folders<'_>, lowest: &mut HashMap<Inode, usize>, twice: &mut HashSet<Inode>) {
    for (name, (layer, node)) in merged(folders) {
        match node {
            Node::Dir(_) => count(&below(folders, name), lowest, twice),
            Node::File(file) => {
                let Some(inode) = shared(file) else { continue };
                let at = lowest.entry(inode).or_insert(layer);
                if *at != layer {
                    *at = layer.min(*at);
                    twice.insert(inode);
                }
            }
            Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
        }
    }
}

struct Own<'a> {
    lowest: &'a HashMap<Inode, usize>,
    twice: &'a HashSet<Inode>,
}

impl Own<'_> {
    /// The folder with those files alone, and what it shows of its own.
    fn copies(&self, folders: &Folders<'_>, number: &mut NonZeroU32) -> Option<Arc<Dir>> {
        let mut entries = BTreeMap::new();
        for (name, (layer, node)) in merged(folders) {
            let node = match node {
                Node::Dir(_) => self.copies(&below(folders, name), number).map(Node::Dir),
                Node::File(file) => {
                    let inode = shared(file).filter(|inode| self.twice.contains(inode));
                    inode.filter(|inode| self.lowest.get(inode) != Some(&layer)).map(|_| {
                        let link = Some(*number);
                        *number = number.saturating_add(1);
                        Node::File(File { link, ..file.clone() })
                    })
                }
                Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => None,
            };
            if let Some(node) = node {
                entries.insert(name.clone(), node);
            }
        }
        let (_, top) = folders.first()?;
        (!entries.is_empty()).then(|| Arc::new(Dir::new(entries, top.meta().clone(), false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_object::{Extra, RelPath};

    fn path(text: &str) -> RelPath {
        text.parse().unwrap()
    }

    fn file(content: &str) -> Node {
        Node::File(File::new(Digest::of(content.as_bytes()), Meta::FILE))
    }

    fn layers<const N: usize>(trees: [&[(&str, Node)]; N]) -> Vec<Kept> {
        let layer = |entries: &[(&str, Node)]| {
            let mut tree = Tree::default();
            entries.iter().for_each(|(at, node)| tree.put(&path(at), node.clone()));
            Kept { digest: tree.digest(), tree }
        };
        trees.map(layer).into()
    }

    /// The paths of the files that are laid over themselves.
    fn own(layers: &[Kept]) -> Vec<String> {
        let mut all = Vec::new();
        let tree = apart(layers).unwrap_or_default();
        let mut links = HashSet::new();
        tree.walk(|entry| {
            if let Node::File(file) = entry.node {
                assert!(links.insert(file.link.expect("it is no link to its blob")));
                all.push(entry.path.to_string());
            }
        });
        all
    }

    #[test]
    fn all_but_the_lowest_of_equal_files_are_their_own() {
        let all = layers([
            &[("a/one", file("x")), ("other", file("o"))],
            &[("a/two", file("x")), ("b/three", file("x"))],
            &[("a/four", file("x")), ("five", file("y"))],
        ]);
        assert_eq!(own(&all), ["a/four", "a/two", "b/three"]);
        assert!(apart(&all[..1]).is_none());
        assert!(apart(&layers([&[("a", file("x")), ("b", file("x"))], &[]])).is_none());
    }

    #[test]
    fn what_is_not_to_be_seen_stays_unseen() {
        let opaque = Node::Dir(Arc::new(Dir::new(BTreeMap::new(), Meta::EXECUTABLE, true)));
        let all = layers([
            &[("one", file("x")), ("hidden/low", file("y"))],
            &[
                ("a/gone", file("x")),
                ("b/gone", file("x")),
                ("c/gone", file("x")),
                ("d", file("x")),
            ],
            &[("a/gone", Node::Whiteout), ("b", opaque), ("c", Node::Whiteout), ("d", file("z"))],
            &[("hidden", Node::Whiteout)],
            &[("again/low", file("y"))],
        ]);
        assert!(own(&all).is_empty(), "{:?}", own(&all));
    }

    #[test]
    fn folders_are_as_the_highest_layer_has_them() {
        let folder = |mode, entry| {
            let entries = BTreeMap::from([(Name::new(b"in".to_vec()).unwrap(), entry)]);
            Node::Dir(Arc::new(Dir::new(entries, Meta::new(mode, Extra::default()), false)))
        };
        let all = layers([
            &[("one", file("x"))],
            &[("a", folder(0o700, file("x")))],
            &[("a", folder(0o711, file("x")))],
        ]);
        let tree = apart(&all).unwrap();
        let Some(Node::Dir(dir)) = tree.get(&path("a")) else { panic!("no folder") };
        assert_eq!(dir.meta().mode, 0o711);
        assert!(!dir.is_opaque());
    }

    #[test]
    fn ids_that_no_command_has_are_found_where_they_are_seen() {
        let of = |uid, gid| {
            let meta = Meta::new(0o644, Extra { uid, gid, ..Extra::default() });
            Node::File(File::new(Digest::of(b"x"), meta))
        };
        let all = layers([
            &[("a/b", of(0, MOST_ID)), ("c", of(MOST_ID + 1, 0))],
            &[("a/d", of(1, 300_000))],
        ]);
        assert_eq!(beyond(&all), Some(("/a/d".to_owned(), (1, 300_000))));
        assert_eq!(beyond(&all[..1]), Some(("/c".to_owned(), (MOST_ID + 1, 0))));
        assert_eq!(beyond(&layers([&[("c", of(MOST_ID + 1, 0))], &[("c", of(5, 6))]])), None);
    }
}
