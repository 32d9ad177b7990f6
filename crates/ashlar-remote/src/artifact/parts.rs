//! Parts of a composite artifact: which folders belong to which, the tree of each, and what
//! several of them share. Pure but for looking at folders.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Dir, Name, Node, RelPath, Tree, conflicts};

/// A part of a composite artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What every consumer gets.
    Common,
    /// What one architecture needs, by the name that Go and OCI have for it.
    Arch(String),
    /// What only a build of sources needs.
    Source,
}

impl Part {
    /// An architecture by any of its names: `x86_64` is `amd64`, `linux/aarch64` is `arm64`.
    ///
    /// # Errors
    /// When the text cannot be the name of one.
    pub fn arch(text: &str) -> Result<Self, PartError> {
        // Of a platform as pipelines name it (`linux/arm64/v8`, `linux-large/s390x`) the second
        // part.
        let name = text.split('/').nth(1).unwrap_or(text);
        let name = match name {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        };
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 32 || !name.chars().all(word) {
            return Err(PartError::Arch(text.to_owned()));
        }
        if matches!(name, "common" | "source") {
            return Err(PartError::Arch(text.to_owned()));
        }
        Ok(Self::Arch(name.to_owned()))
    }

    /// As the annotation `org.ashlar.part` has it.
    ///
    /// # Errors
    /// When the text is no part.
    pub(super) fn from_annotation(text: &str) -> Result<Self, PartError> {
        match text {
            "common" => Ok(Self::Common),
            "source" => Ok(Self::Source),
            arch => Self::arch(arch),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common => f.write_str("common"),
            Self::Arch(name) => f.write_str(name),
            Self::Source => f.write_str("source"),
        }
    }
}

/// Why parts do not make an artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// No name of an architecture.
    #[error("`{0}` is no architecture: amd64, arm64, ppc64le, s390x, …")]
    Arch(String),
    /// The common part is given more than once.
    #[error("there are two common parts: {} and {}", .0.display(), .1.display())]
    TwoCommon(PathBuf, PathBuf),
    /// One folder is given for two parts.
    #[error("{} is given twice", .0.display())]
    Twice(PathBuf),
    /// Some folders of a part are inside the common folder and some are not.
    #[error(
        "the folders of the part {part} are partly inside the common folder ({}) and partly not \
         ({}): where its files belong is not clear",
        inside.display(), outside.display()
    )]
    Mixed {
        /// The part.
        part: Part,
        /// One inside.
        inside: PathBuf,
        /// One that is not.
        outside: PathBuf,
    },
    /// Two folders have different things at one path.
    #[error("{one} and {other} both have `{path}`, and it is not the same")]
    Conflict {
        /// A part.
        one: Part,
        /// Another, or the same if it has two folders.
        other: Part,
        /// Where.
        path: RelPath,
    },
}

/// A folder of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub part: Part,
    /// Without links.
    pub path: PathBuf,
    /// Where its content belongs: its own place inside the common folder, else the top.
    pub at: RelPath,
    /// What of it belongs to other parts, relative to it.
    pub without: Vec<RelPath>,
}

/// How the parts lie when all of them are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Together, as they were: all parts were folders inside the common one.
    Together,
    /// Each in a folder with its name, because nothing says how they lie together.
    Apart,
}

/// Decides what belongs where. Paths must be without links.
pub(super) fn arrange(given: &[(Part, PathBuf)]) -> Result<(Vec<Folder>, Layout), PartError> {
    let mut common: Option<&Path> = None;
    let mut seen = BTreeSet::new();
    for (part, path) in given {
        if !seen.insert(path) {
            return Err(PartError::Twice(path.clone()));
        }
        if *part == Part::Common
            && let Some(other) = common.replace(path)
        {
            return Err(PartError::TwoCommon(other.to_path_buf(), path.clone()));
        }
    }
    let below = |path: &Path, folder: &Path| {
        let rest = path.strip_prefix(folder).ok()?;
        let rest = RelPath::parse(rest.as_os_str().as_encoded_bytes()).ok()?;
        (!rest.is_root()).then_some(rest)
    };
    let mut folders = Vec::new();
    let mut first: BTreeMap<&Part, (bool, &PathBuf)> = BTreeMap::new();
    let mut layout = Layout::Together;
    for (part, path) in given {
        let at = common.and_then(|common| below(path, common));
        if *part != Part::Common {
            let inside = at.is_some();
            if !inside {
                layout = Layout::Apart;
            }
            let (other, other_path) = *first.entry(part).or_insert((inside, path));
            if other != inside {
                let (inside, outside) =
                    if inside { (path, other_path) } else { (other_path, path) };
                return Err(PartError::Mixed {
                    part: part.clone(),
                    inside: inside.clone(),
                    outside: outside.clone(),
                });
            }
        }
        let others = given.iter().filter_map(|(_, other)| below(other, path));
        folders.push(Folder {
            part: part.clone(),
            path: path.clone(),
            at: at.unwrap_or_default(),
            without: others.collect(),
        });
    }
    Ok((folders, layout))
}

/// The tree that each part's consumers get: the common one with the part's own files in it. The
/// common one comes first, also if it is empty and nobody gave it.
pub(super) fn compose(folders: Vec<(Folder, Tree)>) -> Result<Vec<(Part, Tree)>, PartError> {
    let mut common = Tree::default();
    let mut others: BTreeMap<Part, Vec<(RelPath, Tree)>> = BTreeMap::new();
    for (folder, tree) in folders {
        match folder.part {
            Part::Common => common = tree,
            part => others.entry(part).or_default().push((folder.at, tree)),
        }
    }
    let mut all = vec![(Part::Common, common.clone())];
    for (part, trees) in others {
        let mut whole = common.clone();
        for (at, tree) in trees {
            // Over what is there the folder on the way stay as they are.
            let placed = placed(&whole, &at, &tree);
            if let Some(conflict) = conflicts(&common, &placed).first() {
                let path = conflict.path.clone();
                return Err(PartError::Conflict { one: Part::Common, other: part, path });
            }
            if let Some(conflict) = conflicts(&whole, &placed).first() {
                let path = conflict.path.clone();
                return Err(PartError::Conflict { one: part.clone(), other: part, path });
            }
            whole = whole.overlaid(&placed);
        }
        all.push((part, whole));
    }
    Ok(all)
}

/// A tree at a place, with the folders above it as another tree has them.
fn placed(like: &Tree, at: &RelPath, tree: &Tree) -> Tree {
    fn within(like: Option<&Arc<Dir>>, names: &[Name], tree: &Tree) -> Arc<Dir> {
        let Some((name, rest)) = names.split_first() else {
            // Where the other tree has the folder itself, it knows its mode.
            return match like {
                Some(like) if like.meta() != tree.root().meta() => {
                    let entries = tree.root().entries().clone();
                    Arc::new(Dir::new(entries, like.meta().clone(), false))
                }
                _ => Arc::clone(tree.root()),
            };
        };
        let below = match like.and_then(|like| like.entries().get(name)) {
            Some(Node::Dir(below)) => Some(below),
            _ => None,
        };
        let child = within(below, rest, tree);
        let entries = BTreeMap::from([(name.clone(), Node::Dir(child))]);
        let meta = like.map_or_else(|| Dir::default().meta().clone(), |like| like.meta().clone());
        Arc::new(Dir::new(entries, meta, false))
    }
    Tree::from(within(Some(like.root()), at.names(), tree))
}

/// What several parts have alike and the common one does not, for each set of parts (indices into
/// `parts`) that has any: largest sets first.
pub(super) fn shared(common: &Tree, parts: &[&Tree]) -> Vec<(Vec<usize>, Tree)> {
    // For each path the parts that have it alike; of different things there are several groups.
    let mut groups: HashMap<Vec<u8>, Vec<(Node, Vec<usize>)>> = HashMap::new();
    for (index, tree) in parts.iter().enumerate() {
        tree.walk(|entry| {
            if matches!(entry.node, Node::Dir(_)) || common.get(entry.path) == Some(entry.node) {
                return;
            }
            let groups = groups.entry(entry.path.to_bytes()).or_default();
            match groups.iter_mut().find(|(node, _)| node == entry.node) {
                Some((_, members)) => members.push(index),
                None => groups.push((entry.node.clone(), vec![index])),
            }
        });
    }
    let mut sets: BTreeMap<Vec<usize>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (path, groups) in groups {
        for (_, members) in groups {
            if members.len() > 1 {
                sets.entry(members).or_default().insert(path.clone());
            }
        }
    }
    let mut found: Vec<(Vec<usize>, Tree)> = sets
        .into_iter()
        .map(|(members, paths)| {
            let first = parts.get(members[0]).map(|tree| tree.root());
            let dir = first.and_then(|root| only(root, &mut Vec::new(), &paths));
            (members, Tree::from(dir.unwrap_or_default()))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    found
}

/// Of a folder only what is at some paths, with the folders above.
fn only(dir: &Dir, at: &mut Vec<u8>, paths: &BTreeSet<Vec<u8>>) -> Option<Dir> {
    let mut entries = BTreeMap::new();
    let length = at.len();
    for (name, node) in dir.entries() {
        if length > 0 {
            at.push(b'/');
        }
        at.extend_from_slice(name.as_bytes());
        match node {
            Node::Dir(child) => {
                if let Some(child) = only(child, at, paths) {
                    entries.insert(name.clone(), Node::Dir(Arc::new(child)));
                }
            }
            other if paths.contains(at) => {
                entries.insert(name.clone(), other.clone());
            }
            _ => {}
        }
        at.truncate(length);
    }
    (!entries.is_empty()).then(|| Dir::new(entries, dir.meta().clone(), false))
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
