//! What differs between two trees, file by file.

use crate::{Dir, Node, RelPath, Tree};

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second tree has it.
    Added,
    /// Only the first tree has it.
    Removed,
    /// Both have a file, with different content.
    Content,
    /// Both have the same content with another mode, owner, time, attribute or hard link.
    Meta,
    /// Both have a link, with different targets.
    Target,
    /// One has a file, link or directory where the other has something else.
    Kind,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// How.
    pub kind: ChangeKind,
    /// What the first tree has there.
    pub was: Option<Node>,
    /// What the second tree has there.
    pub now: Option<Node>,
}

/// All differences in byte order of their paths; equal directories are passed over whole.
/// Directories that only one side has are listed with everything in them.
#[must_use]
pub fn diff(was: &Tree, now: &Tree) -> Vec<Change> {
    let mut changes = Vec::new();
    if was.root().meta() != now.root().meta() {
        changes.push(Change {
            path: RelPath::root(),
            kind: ChangeKind::Meta,
            was: Some(Node::Dir(was.root().clone())),
            now: Some(Node::Dir(now.root().clone())),
        });
    }
    dirs(was.root(), now.root(), &mut RelPath::root(), &mut changes);
    changes
}

fn dirs(was: &Dir, now: &Dir, at: &mut RelPath, changes: &mut Vec<Change>) {
    if was.digest() == now.digest() {
        return;
    }
    let names: std::collections::BTreeSet<_> =
        was.entries().keys().chain(now.entries().keys()).collect();
    for name in names {
        at.push(name.clone());
        nodes(was.entries().get(name), now.entries().get(name), at, changes);
        at.pop();
    }
}

fn nodes(was: Option<&Node>, now: Option<&Node>, at: &mut RelPath, changes: &mut Vec<Change>) {
    let kind = match (was, now) {
        (None, None) => return,
        (Some(a), Some(b)) if a == b => return,
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(Node::File(a)), Some(Node::File(b))) if a.digest == b.digest => ChangeKind::Meta,
        (Some(Node::File(_)), Some(Node::File(_))) => ChangeKind::Content,
        (Some(Node::Symlink(a)), Some(Node::Symlink(b))) if a.target == b.target => {
            ChangeKind::Meta
        }
        (Some(Node::Symlink(_)), Some(Node::Symlink(_))) => ChangeKind::Target,
        (Some(Node::Dir(a)), Some(Node::Dir(b))) => {
            if a.meta() != b.meta() || a.is_opaque() != b.is_opaque() {
                changes.push(Change {
                    path: at.clone(),
                    kind: ChangeKind::Meta,
                    was: was.cloned(),
                    now: now.cloned(),
                });
            }
            return dirs(a, b, at, changes);
        }
        (Some(_), Some(_)) => ChangeKind::Kind,
    };
    changes.push(Change { path: at.clone(), kind, was: was.cloned(), now: now.cloned() });
    let empty = Dir::default();
    match (was, now) {
        (Some(Node::Dir(a)), other) if !matches!(other, Some(Node::Dir(_))) => {
            dirs(a, &empty, at, changes);
        }
        (other, Some(Node::Dir(b))) if !matches!(other, Some(Node::Dir(_))) => {
            dirs(&empty, b, at, changes);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, File, Meta, Symlink};

    fn file(content: &str, meta: Meta) -> Node {
        Node::File(File::new(Digest::of(content.as_bytes()), meta))
    }

    fn link(target: &str) -> Node {
        Node::Symlink(Symlink {
            target: target.as_bytes().into(),
            meta: Meta { mode: 0o777, extra: None },
        })
    }

    #[test]
    fn names_every_kind_of_change() {
        let tree = |entries: &[(&str, Node)]| {
            entries.iter().fold(Tree::default(), |t, (p, n)| t.with(&p.parse().unwrap(), n.clone()))
        };
        let was = tree(&[
            ("content", file("1", Meta::FILE)),
            ("gone/file", file("g", Meta::FILE)),
            ("kind", file("k", Meta::FILE)),
            ("link", link("a")),
            ("mode", file("m", Meta::FILE)),
            ("same", file("s", Meta::FILE)),
        ]);
        let now = tree(&[
            ("content", file("2", Meta::FILE)),
            ("kind", link("k")),
            ("link", link("b")),
            ("mode", file("m", Meta::EXECUTABLE)),
            ("new", file("n", Meta::FILE)),
            ("same", file("s", Meta::FILE)),
        ]);
        let found: Vec<_> = diff(&was, &now).iter().map(|c| (c.path.to_string(), c.kind)).collect();
        let expected = [
            ("content", ChangeKind::Content),
            ("gone", ChangeKind::Removed),
            ("gone/file", ChangeKind::Removed),
            ("kind", ChangeKind::Kind),
            ("link", ChangeKind::Target),
            ("mode", ChangeKind::Meta),
            ("new", ChangeKind::Added),
        ];
        assert_eq!(found, expected.map(|(p, k)| (p.to_owned(), k)));
        assert_eq!(diff(&now, &now), []);
    }
}
