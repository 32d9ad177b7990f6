//! Hard links: several names of one file within a tree.
//!
//! A [`File`] with a `link` is one name of a group: all files of the tree that are equal in every
//! field are names of the same file. All names of a file have one content, mode, owner and so on,
//! so the number only tells groups apart that are equal in all of that, and is nearly always 1:
//! directories keep their digests wherever the rest of a group lies.
//!
//! Numbers are canonical when each group has two names or more and equal groups are counted from 1
//! in the order in which a walk meets their first names. Groups count within one layer: laid over
//! another tree, a name of the layer never joins a group below, even one that is equal.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::{Digest, Dir, File, Meta, Node, RelPath, Tree};

impl Tree {
    /// Whether any file of the tree has a `link`.
    #[must_use]
    pub fn has_links(&self) -> bool {
        self.root().has_links()
    }

    /// The files that have several names, in the order of their first names, each with all of its
    /// names in the order of a walk.
    #[must_use]
    pub fn links(&self) -> Vec<Vec<RelPath>> {
        let mut groups: Vec<Vec<RelPath>> = Vec::new();
        let mut numbers = HashMap::new();
        names(self.root(), &mut RelPath::root(), &mut |path, file| {
            let number = *numbers.entry(file.clone()).or_insert(groups.len());
            match groups.get_mut(number) {
                Some(group) => group.push(path.clone()),
                None => groups.push(vec![path.clone()]),
            }
        });
        groups
    }

    /// The same tree with canonical numbers in the links of its files; a group of one name is none.
    /// Whoever gives files a `link` calls this before a digest is taken.
    #[must_use]
    pub fn with_canonical_links(&self) -> Self {
        if !self.has_links() {
            return self.clone();
        }
        let mut order: Vec<File> = Vec::new();
        let mut counts: HashMap<File, u64> = HashMap::new();
        names(self.root(), &mut RelPath::root(), &mut |_, file| match counts.entry(file.clone()) {
            Entry::Vacant(new) => {
                order.push(file.clone());
                new.insert(1);
            }
            Entry::Occupied(mut known) => *known.get_mut() += 1,
        });
        let mut given: HashMap<(Digest, Meta), NonZeroU32> = HashMap::new();
        let mut renamed = HashMap::new();
        for file in order {
            let several = counts.get(&file).is_some_and(|count| *count > 1);
            let link = several.then(|| match given.entry((file.digest, file.meta.clone())) {
                Entry::Vacant(new) => *new.insert(NonZeroU32::MIN),
                Entry::Occupied(mut last) => {
                    *last.get_mut() = last.get().saturating_add(1);
                    *last.get()
                }
            });
            if file.link != link {
                renamed.insert(file, link);
            }
        }
        if renamed.is_empty() { self.clone() } else { Self::from(relinked(self.root(), &renamed)) }
    }

    /// This tree as a layer over `below`, with numbers that no group there has.
    pub(crate) fn apart_from(&self, below: &Self) -> Self {
        if !self.has_links() || !below.has_links() {
            return self.clone();
        }
        let mut taken: HashSet<File> = HashSet::new();
        let mut last: HashMap<(Digest, Meta), NonZeroU32> = HashMap::new();
        let mut note = |file: &File| {
            if let Some(link) = file.link {
                let last = last.entry((file.digest, file.meta.clone())).or_insert(link);
                *last = (*last).max(link);
            }
        };
        names(below.root(), &mut RelPath::root(), &mut |_, file| {
            note(file);
            taken.insert(file.clone());
        });
        let mut own = Vec::new();
        names(self.root(), &mut RelPath::root(), &mut |_, file| {
            note(file);
            own.push(file.clone());
        });
        let mut renamed = HashMap::new();
        for file in own.into_iter().filter(|file| taken.contains(file)) {
            if let Some(last) = last.get_mut(&(file.digest, file.meta.clone())) {
                renamed.entry(file).or_insert_with(|| {
                    *last = last.saturating_add(1);
                    Some(*last)
                });
            }
        }
        if renamed.is_empty() { self.clone() } else { Self::from(relinked(self.root(), &renamed)) }
    }
}

/// Calls `visit` for each file with a link, in the order of a walk.
fn names(dir: &Dir, path: &mut RelPath, visit: &mut impl FnMut(&RelPath, &File)) {
    if !dir.has_links() {
        return;
    }
    for (name, node) in dir.entries() {
        match node {
            Node::File(file) if file.link.is_some() => {
                path.push(name.clone());
                visit(path, file);
                path.pop();
            }
            Node::Dir(child) => {
                path.push(name.clone());
                names(child, path, visit);
                path.pop();
            }
            Node::File(_) | Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
        }
    }
}

fn relinked(dir: &Arc<Dir>, renamed: &HashMap<File, Option<NonZeroU32>>) -> Arc<Dir> {
    if !dir.has_links() {
        return Arc::clone(dir);
    }
    let entries = dir.entries().iter().map(|(name, node)| {
        let node = match node {
            Node::File(file) => match renamed.get(file) {
                Some(link) => Node::File(File { link: *link, ..file.clone() }),
                None => node.clone(),
            },
            Node::Dir(child) => Node::Dir(relinked(child, renamed)),
            Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => node.clone(),
        };
        (name.clone(), node)
    });
    let entries: BTreeMap<_, _> = entries.collect();
    Arc::new(Dir::new(entries, dir.meta().clone(), dir.is_opaque()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TreeError;

    fn file(content: &str, link: u32) -> Node {
        let link = NonZeroU32::new(link);
        Node::File(File { link, ..File::new(Digest::of(content.as_bytes()), Meta::FILE) })
    }

    fn tree(entries: &[(&str, Node)]) -> Tree {
        entries.iter().fold(Tree::default(), |tree, (path, node)| {
            tree.with(&path.parse().unwrap(), node.clone())
        })
    }

    fn groups(tree: &Tree) -> Vec<Vec<String>> {
        let text = |group: Vec<RelPath>| group.iter().map(ToString::to_string).collect();
        tree.links().into_iter().map(text).collect()
    }

    #[test]
    fn numbers_follow_from_the_groups_alone() {
        let one = tree(&[
            ("a", file("x", 7)),
            ("b/c", file("x", 3)),
            ("b/d", file("x", 7)),
            ("e", file("x", 3)),
            ("f", file("y", 7)),
            ("g", file("y", 7)),
            ("h", file("z", 1)),
            ("i", file("x", 0)),
        ]);
        let expected = tree(&[
            ("a", file("x", 1)),
            ("b/c", file("x", 2)),
            ("b/d", file("x", 1)),
            ("e", file("x", 2)),
            ("f", file("y", 1)),
            ("g", file("y", 1)),
            ("h", file("z", 0)),
            ("i", file("x", 0)),
        ]);
        assert_eq!(one.with_canonical_links(), expected);
        assert_eq!(expected.with_canonical_links(), expected);
        assert_eq!(groups(&expected), [vec!["a", "b/d"], vec!["b/c", "e"], vec!["f", "g"]]);
        let moved = expected.below(&"usr".parse().unwrap());
        assert_eq!(moved.with_canonical_links(), moved);
    }

    #[test]
    fn links_are_part_of_what_is_written() {
        let two = tree(&[("a", file("x", 1)), ("b/c", file("x", 1))]);
        assert_eq!(Tree::decode(&two.encode()).unwrap(), two);
        let other = two.with(&"a".parse().unwrap(), file("x", 2));
        assert_ne!(other.digest(), two.digest());
        let none = tree(&[("a", file("x", 0)), ("b/c", file("x", 0))]);
        assert_ne!(none.digest(), two.digest());
        assert!(two.has_links() && !none.has_links());
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for bad in ["0", "01", "+1", "", "x", "4294967296"] {
            let property =
                crate::wire::NodeProperty { name: "ashlar.link".into(), value: bad.into() };
            let properties = crate::wire::NodeProperties {
                properties: vec![property],
                ..crate::wire::NodeProperties::default()
            };
            let file = crate::wire::FileNode {
                name: "a".into(),
                digest: Some(Digest::EMPTY.into()),
                is_executable: false,
                node_properties: Some(properties.clone()),
            };
            let refused = |dir: &crate::wire::Directory| {
                let root = prost::Message::encode_to_vec(dir);
                let tree = crate::wire::Tree { root, children: vec![] };
                Tree::decode(&prost::Message::encode_to_vec(&tree))
            };
            let dir = crate::wire::Directory { files: vec![file], ..Default::default() };
            assert!(matches!(refused(&dir), Err(TreeError::Property(..))), "{bad:?}");
        }
        // Nor can anything but a file have one.
        let property = crate::wire::NodeProperty { name: "ashlar.link".into(), value: "1".into() };
        let dir = crate::wire::Directory {
            node_properties: Some(crate::wire::NodeProperties {
                properties: vec![property],
                ..Default::default()
            }),
            ..Default::default()
        };
        let tree =
            crate::wire::Tree { root: prost::Message::encode_to_vec(&dir), children: vec![] };
        let read = Tree::decode(&prost::Message::encode_to_vec(&tree));
        assert!(matches!(read, Err(TreeError::Property(..))));
    }

    #[test]
    fn groups_count_within_one_layer() {
        let below = tree(&[("a", file("x", 1)), ("b", file("x", 1)), ("c", file("x", 1))]);
        let layer = tree(&[("c", file("x", 1)), ("d", file("x", 1))]);
        let over = below.overlaid(&layer);
        assert_eq!(groups(&over), [["a", "b"], ["c", "d"]]);
        assert_eq!(over, over.with_canonical_links());
        // What is left alone has one name.
        let over = over.overlaid(&tree(&[("a", Node::Whiteout), ("d", file("new", 0))]));
        assert_eq!(over, tree(&[("b", file("x", 0)), ("c", file("x", 0)), ("d", file("new", 0))]));
    }
}
