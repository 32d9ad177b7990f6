//! Which files belong to a layer: what its globs name, without what git tracks and git's own.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::{Dir, Node, Tree};
use ashlar_recipe::CacheLayer;
use ashlar_source::{Globs, SourceError, tracked};

use super::CacheError;

/// What the globs of a layer mean.
#[derive(Debug)]
pub(super) struct Paths {
    pub globs: Globs,
    /// Each glob that adds, alone, with its text.
    each: Vec<(String, Globs)>,
    /// Whether some glob takes back.
    takes_back: bool,
}

impl Paths {
    pub fn of(layer: &CacheLayer) -> Result<Self, CacheError> {
        let globs = Globs::new(&layer.paths).map_err(SourceError::from)?;
        let mut each = Vec::new();
        for text in layer.paths.iter().filter(|text| !text.starts_with('!')) {
            let alone = Globs::new(&[text]).map_err(SourceError::from)?;
            each.push((text.clone(), alone));
        }
        let takes_back = each.len() < layer.paths.len();
        Ok(Self { globs, each, takes_back })
    }

    /// How many globs add something.
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// The part of a tree that belongs to the layer.
    pub fn part(&self, tree: &Tree) -> Tree {
        Tree::from(part(tree.root(), Path::new(""), &self.globs, self.takes_back))
    }

    /// The globs that match nothing of a tree.
    pub fn unmatched(&self, tree: &Tree) -> Vec<String> {
        let nothing =
            |globs: &Globs| part(tree.root(), Path::new(""), globs, false).entries().is_empty();
        let unmatched = self.each.iter().filter(|(_, globs)| nothing(globs));
        unmatched.map(|(text, _)| text.clone()).collect()
    }

    /// The globs that match nothing that is there.
    pub fn unmatched_there(&self, root: &Path) -> Vec<String> {
        let missing = |globs: &Globs| !is_there(root, Path::new(""), globs);
        let unmatched = self.each.iter().filter(|(_, globs)| missing(globs));
        unmatched.map(|(text, _)| text.clone()).collect()
    }
}

/// The entries that globs name, and the folders that lead to them. Where nothing is taken back
/// a folder that is named is shared with the whole.
fn part(dir: &Arc<Dir>, at: &Path, globs: &Globs, takes_back: bool) -> Dir {
    let mut entries = BTreeMap::new();
    for (name, node) in dir.entries() {
        let path = at.join(name.as_os_str());
        let named = globs.is_match(&path);
        match node {
            Node::Dir(child) if named && !takes_back => {
                entries.insert(name.clone(), Node::Dir(Arc::clone(child)));
            }
            Node::Dir(child) if named || globs.lead_into(&path) => {
                let child = part(child, &path, globs, takes_back);
                if named || !child.entries().is_empty() {
                    entries.insert(name.clone(), Node::Dir(Arc::new(child)));
                }
            }
            node if named => {
                entries.insert(name.clone(), node.clone());
            }
            _ => {}
        }
    }
    Dir::new(entries, dir.meta().clone(), false)
}

/// Whether something that globs name is in a folder.
fn is_there(root: &Path, at: &Path, globs: &Globs) -> bool {
    // What cannot be listed has nothing that can be kept.
    let Ok(entries) = std::fs::read_dir(root.join(at)) else { return false };
    entries.flatten().any(|entry| {
        let path = at.join(entry.file_name());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        globs.is_match(&path) || is_dir && globs.lead_into(&path) && is_there(root, &path, globs)
    })
}

/// What is never kept, touched or removed: files that git tracks, repositories, and hidden folders
/// of a restore that goes on.
#[derive(Debug, Default)]
pub(super) struct Spared {
    /// Files that git tracks and some layer names.
    pub tracked: HashSet<PathBuf>,
}

impl Spared {
    /// Looks into git's index for what these globs name.
    pub fn find(root: &Path, globs: &[&Globs]) -> Self {
        let mut starts: Vec<PathBuf> = globs.iter().flat_map(|globs| globs.starts()).collect();
        starts.sort();
        starts.dedup();
        let mut tracked = tracked(root, &starts);
        tracked.retain(|path| globs.iter().any(|globs| globs.is_match(path)));
        Self { tracked: tracked.into_iter().collect() }
    }

    pub fn has(&self, path: &Path) -> bool {
        path.file_name() == Some(OsStr::new(".git"))
            || path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".ashlar-place."))
            || !self.tracked.is_empty() && self.tracked.contains(path)
    }

    /// Those that globs name, sorted.
    pub fn named(&self, globs: &Globs) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.tracked.iter().filter(|path| globs.is_match(path)).cloned().collect();
        all.sort();
        all
    }
}
