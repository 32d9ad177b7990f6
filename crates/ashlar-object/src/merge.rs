//! Laying trees over one another, as an overlay file system would show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Dir, Name, Node, RelPath, Tree};

impl Tree {
    /// This tree with a layer over it: what the layer has replaces, directories merge, whiteouts
    /// and opaque directories delete. The result has neither.
    ///
    /// Hard links stay within a layer: names of the layer join no group of this tree, and a group
    /// of which one name is left is none any more.
    #[must_use]
    pub fn overlaid(&self, layer: &Self) -> Self {
        let layer = layer.apart_from(self);
        Self::from(over(Some(self.root()), layer.root())).with_canonical_links()
    }
}

fn over(below: Option<&Arc<Dir>>, layer: &Arc<Dir>) -> Arc<Dir> {
    let below = below.filter(|_| !layer.is_opaque());
    let mut entries = below.map_or_else(BTreeMap::new, |dir| dir.entries().clone());
    for (name, node) in layer.entries() {
        match node {
            Node::Whiteout => {
                entries.remove(name);
            }
            Node::Dir(child) => {
                let under = match entries.get(name) {
                    Some(Node::Dir(dir)) => Some(Arc::clone(dir)),
                    _ => None,
                };
                entries.insert(name.clone(), Node::Dir(over(under.as_ref(), child)));
            }
            other => {
                entries.insert(name.clone(), other.clone());
            }
        }
    }
    // Without this a tree laid over nothing would get new directories, and lose its digests.
    let same = below.is_none_or(|dir| *dir.meta() == *layer.meta());
    if same && !layer.is_opaque() && entries == *layer.entries() {
        return Arc::clone(layer);
    }
    Arc::new(Dir::new(entries, layer.meta().clone(), false))
}

/// Rewrites an output so that it can be laid over `base`: where the output has a directory and
/// the base a symbolic link of that name to a directory (`/lib` → `usr/lib` on a merged-usr
/// Debian), what the directory holds goes where the link leads, so that nothing of the base
/// disappears behind it.
///
/// Links are followed inside the base only, absolute ones from its root.
#[must_use]
pub fn through_links(base: &Tree, output: &Tree) -> Tree {
    let mut result = Tree::from(Dir::new(BTreeMap::new(), output.root().meta().clone(), false));
    rewrite(base, output.root(), &RelPath::root(), &mut result);
    // What moved is met elsewhere on a walk.
    result.with_canonical_links()
}

fn rewrite(base: &Tree, dir: &Dir, at: &RelPath, result: &mut Tree) {
    for (name, node) in dir.entries() {
        let path = at.join(name);
        match node {
            Node::Dir(child) => {
                let place = match base.get(&path) {
                    Some(Node::Symlink(_)) => resolve(base, &path).unwrap_or(path),
                    _ => path,
                };
                let new = result.get(&place).is_none();
                if new && base.get(&place).is_none() {
                    // The base has nothing below it either that something could go through.
                    result.put(&place, node.clone());
                    continue;
                }
                // The directory itself, unless the place already stands in the result.
                if new {
                    let meta = match base.get(&place) {
                        Some(Node::Dir(there)) => there.meta().clone(),
                        _ => child.meta().clone(),
                    };
                    let empty = Dir::new(BTreeMap::new(), meta, child.is_opaque());
                    result.put(&place, Node::Dir(Arc::new(empty)));
                }
                rewrite(base, child, &place, result);
            }
            other => result.put(&path, other.clone()),
        }
    }
}

/// Where a path of the base leads, if that is a directory.
fn resolve(base: &Tree, path: &RelPath) -> Option<RelPath> {
    let mut at = RelPath::root();
    let mut names = path.names().to_vec();
    names.reverse();
    let mut hops = 0;
    while let Some(name) = names.pop() {
        let next = at.join(&name);
        match base.get(&next)? {
            Node::Dir(_) => at = next,
            Node::Symlink(link) => {
                hops += 1;
                if hops > 40 {
                    return None;
                }
                if link.target.first() == Some(&b'/') {
                    at = RelPath::root();
                }
                for part in link.target.split(|b| *b == b'/').rev() {
                    // A `..` is no name: links that go up are left alone.
                    if !matches!(part, b"" | b".") {
                        names.push(Name::new(part).ok()?);
                    }
                }
            }
            _ => return None,
        }
    }
    Some(at)
}

/// Two trees that have different things at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
}

/// The paths at which two trees disagree: a file in both with different content, mode or link
/// target, or a file in one where the other has a directory. Equal files do not disagree, and
/// directories merge.
#[must_use]
pub fn conflicts(one: &Tree, other: &Tree) -> Vec<Conflict> {
    let mut found = Vec::new();
    compare(one.root(), other.root(), &mut RelPath::root(), &mut found);
    found
}

fn compare(one: &Dir, other: &Dir, at: &mut RelPath, found: &mut Vec<Conflict>) {
    let (small, large) =
        if one.entries().len() <= other.entries().len() { (one, other) } else { (other, one) };
    for (name, node) in small.entries() {
        let Some(there) = large.entries().get(name) else { continue };
        at.push(name.clone());
        match (node, there) {
            (Node::Dir(a), Node::Dir(b)) => compare(a, b, at, found),
            (a, b) if a == b => {}
            _ => found.push(Conflict { path: at.clone() }),
        }
        at.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, File, Meta, Symlink};

    fn file(content: &str) -> Node {
        Node::File(File::new(Digest::of(content.as_bytes()), Meta::FILE))
    }

    fn link(target: &str) -> Node {
        Node::Symlink(Symlink {
            target: target.as_bytes().into(),
            meta: Meta { mode: 0o777, extra: None },
        })
    }

    fn tree(entries: &[(&str, Node)]) -> Tree {
        entries.iter().fold(Tree::default(), |tree, (path, node)| {
            tree.with(&path.parse().unwrap(), node.clone())
        })
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let mut paths = Vec::new();
        tree.walk(|e| paths.push(e.path.to_string()));
        paths
    }

    #[test]
    fn layers_replace_merge_and_delete() {
        let base = tree(&[("a/one", file("1")), ("a/two", file("2")), ("b", file("b"))]);
        let opaque = Dir::new(BTreeMap::new(), Meta::EXECUTABLE, true);
        let layer = tree(&[("a/two", Node::Whiteout), ("a/three", file("3")), ("b", file("B"))]);
        let result = base.overlaid(&layer);
        assert_eq!(result, tree(&[("a/one", file("1")), ("a/three", file("3")), ("b", file("B"))]));
        let emptied = base.overlaid(&tree(&[("a", Node::Dir(Arc::new(opaque)))]));
        assert_eq!(paths(&emptied), ["a", "b"]);
    }

    #[test]
    fn over_nothing_is_itself() {
        let tree = tree(&[("a/one", file("1"))]);
        assert_eq!(Tree::default().overlaid(&tree).root_digest(), tree.root_digest());
        assert_eq!(tree.overlaid(&Tree::default()).root_digest(), tree.root_digest());
    }

    #[test]
    fn outputs_follow_links_of_the_base() {
        let base = tree(&[
            ("usr/lib/libc.so", file("c")),
            ("lib", link("usr/lib")),
            ("lib64", link("/lib")),
            ("loop", link("loop")),
        ]);
        let output =
            tree(&[("lib/a.so", file("a")), ("lib64/b.so", file("b")), ("loop/x", file("x"))]);
        let result = through_links(&base, &output);
        assert_eq!(
            paths(&result),
            ["loop", "loop/x", "usr", "usr/lib", "usr/lib/a.so", "usr/lib/b.so"]
        );
        let merged = base.overlaid(&result);
        assert!(merged.get(&"usr/lib/libc.so".parse().unwrap()).is_some());
        assert!(matches!(merged.get(&"lib".parse().unwrap()), Some(Node::Symlink(_))));
    }

    #[test]
    fn conflicts_are_differences_at_one_path() {
        let one = tree(&[("usr/same", file("s")), ("usr/x", file("1")), ("only", file("o"))]);
        let two = tree(&[("usr/same", file("s")), ("usr/x", file("2"))]);
        let found: Vec<String> = conflicts(&one, &two).iter().map(|c| c.path.to_string()).collect();
        assert_eq!(found, ["usr/x"]);
        assert_eq!(conflicts(&one, &one), []);
    }
}
