//! Paths in trees, followed through symbolic links as a kernel would, and never out of the tree.

use ashlar_object::{Name, Node, RelPath, Tree};

/// How many links one path may go through, as Linux has it.
const MOST_LINKS: usize = 40;

/// What a link means that points to an absolute path, or above the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// The tree is a folder of somebody's machine: such a link leads out of it and is refused.
    Folder,
    /// The tree is a root file system: absolute paths begin at its root, and nothing is above it.
    Root,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Without links in it. What does not exist of it is as written.
    pub path: RelPath,
    /// The links that were gone through.
    pub links: Vec<RelPath>,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Through this link out of the tree.
    Out(RelPath),
    /// Through this link and others in a circle, or too many of them.
    Circle(RelPath),
    /// There is a file where a folder is needed.
    File(RelPath),
}

enum Part {
    Down(Name),
    Up,
}

/// Follows a path. Whether `last` a link at its end is followed too. What does not exist is taken as
/// if it were a folder.
pub(super) fn follow(tree: &Tree, path: &RelPath, last: bool, bounds: Bounds) -> Result<Way, Lost> {
    let mut way = Way { path: RelPath::root(), links: Vec::new() };
    let mut todo: Vec<Part> = path.names().iter().rev().cloned().map(Part::Down).collect();
    while let Some(part) = todo.pop() {
        let name = match part {
            Part::Down(name) => name,
            Part::Up => {
                // Only links have such parts, so there is one.
                if way.path.pop().is_none()
                    && bounds == Bounds::Folder
                    && let Some(link) = way.links.last()
                {
                    return Err(Lost::Out(link.clone()));
                }
                continue;
            }
        };
        let next = way.path.join(&name);
        match tree.get(&next) {
            Some(Node::Symlink(link)) if last || !todo.is_empty() => {
                if way.links.len() == MOST_LINKS {
                    return Err(Lost::Circle(next));
                }
                if link.target.first() == Some(&b'/') {
                    if bounds == Bounds::Folder {
                        return Err(Lost::Out(next));
                    }
                    way.path = RelPath::root();
                }
                for part in link.target.split(|byte| *byte == b'/').rev() {
                    match part {
                        b"" | b"." => {}
                        b".." => todo.push(Part::Up),
                        part => match Name::new(part) {
                            Ok(name) => todo.push(Part::Down(name)),
                            // Such a name nothing can have, here or elsewhere.
                            Err(_) => return Err(Lost::Out(next)),
                        },
                    }
                }
                way.links.push(next);
            }
            Some(Node::File(_) | Node::Fifo(_)) if !todo.is_empty() => {
                return Err(Lost::File(next));
            }
            _ => way.path = next,
        }
    }
    Ok(way)
}

/// What is at a path; the root is a folder like others.
pub(super) fn at(tree: &Tree, path: &RelPath) -> Option<Node> {
    if path.is_root() {
        return Some(Node::Dir(tree.root().clone()));
    }
    tree.get(path).filter(|node| !matches!(node, Node::Whiteout)).cloned()
}

/// An absolute or relative path that is clean.
pub(super) fn parse(path: &str) -> Result<RelPath, ashlar_object::PathError> {
    RelPath::parse(path.trim_start_matches('/').as_bytes())
}

/// As a person reads it: absolute.
pub(super) fn shown(path: &RelPath) -> String {
    format!("/{path}")
}
