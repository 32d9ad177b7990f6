//! The key of a layer: everything that decides what is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ashlar_object::{CanonicalHasher, Name, Node, StepKey, Time};
use ashlar_recipe::CacheLayer;
use ashlar_source::{Globs, SourceError, inputs};
use ashlar_store::StatCache;

use super::{CacheError, Workspace};

/// Changes with everything that this version does to a key or to a kept tree.
const FORMAT: u64 = 1;

/// Whether a layer was saved by a job that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// It was: all that the key stands for is there.
    Complete,
    /// It was not: something is missing, and whoever restores it goes on from there.
    Partial,
}

impl Mark {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
}

/// The files that decide what is in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// A hash of their names, contents and modes, and of where links lead.
    hash: [u8; 32],
    /// The newest of their times.
    pub newest: Option<Time>,
    /// How many there are.
    pub count: usize,
    /// Globs that match nothing.
    pub unmatched: Vec<String>,
    /// Their paths below the root.
    pub paths: Vec<PathBuf>,
}

impl KeyFiles {
    /// Whether they give the same key: times do not count.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

/// Looks at the files of a layer's key. Files that some layer keeps are none of them, or no job
/// would find what another has made.
pub(super) fn key_files(
    root: &Path,
    layer: &CacheLayer,
    kept: &dyn Fn(&Path) -> bool,
    stat: &StatCache,
) -> Result<KeyFiles, CacheError> {
    let globs = Globs::new(&layer.key).map_err(SourceError::from)?;
    let newest: Mutex<Option<Time>> = Mutex::new(None);
    let digest = |path: &Path, meta: &std::fs::Metadata| {
        let time = crate::place::modified(meta);
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max(Some(time));
        drop(newest);
        stat.digest_file(path, meta)
    };
    let found = inputs(root, &globs, kept, &digest)?;
    let mut hasher = CanonicalHasher::new("ashlar cache key files");
    let tree = found.tree.digest();
    hasher.bytes(&tree.hash).number(tree.size).number(found.behind.len() as u64);
    for (path, digest) in &found.behind {
        hasher.bytes(path.as_os_str().as_encoded_bytes()).bytes(&digest.hash).number(digest.size);
    }
    let mut paths = Vec::with_capacity(found.count);
    found.tree.walk(|entry| {
        if !matches!(entry.node, Node::Dir(_)) {
            paths.push(entry.path.names().iter().map(Name::as_os_str).collect());
        }
    });
    Ok(KeyFiles {
        hash: hasher.finish(),
        newest: newest.into_inner().unwrap_or_else(PoisonError::into_inner),
        count: found.count,
        unmatched: found.unmatched,
        paths,
    })
}

impl Workspace<'_> {
    /// The key of a layer in a scope.
    #[must_use]
    pub fn key(&self, layer: &CacheLayer, files: &KeyFiles, scope: &str, mark: Mark) -> StepKey {
        let mut hasher = CanonicalHasher::new("ashlar cache layer");
        hasher.number(FORMAT).text(&self.config.version).text(&layer.name).text(scope);
        hasher.number(u64::from(mark == Mark::Partial)).bytes(&files.hash);
        // What takes back depends on the order; and who changes it changes what is kept.
        hasher.number(layer.paths.len() as u64);
        for path in &layer.paths {
            hasher.text(path);
        }
        let env: BTreeSet<&String> = layer.env.iter().collect();
        hasher.number(env.len() as u64);
        for name in env {
            hasher.text(name);
            match (self.env)(name) {
                Some(value) => hasher.number(1).bytes(value.as_encoded_bytes()),
                None => hasher.number(0),
            };
        }
        hasher.text(std::env::consts::OS).text(std::env::consts::ARCH);
        StepKey(hasher.finish())
    }
}
