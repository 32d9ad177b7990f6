//! Layers of a workspace under scopes: what would hit, restoring, saving.
//!
//! A layer is a set of paths that is kept under a key: the version of the file, its name, the
//! scope, the content, modes and names of the files that its `key` globs name, its paths, the values
//! of its variables, and the kind of machine. A kept layer is an ordinary result of the store, so
//! every kind of remote takes it: a tree with the paths below the root as they are, times kept.
//!
//! Files that git tracks are never kept, touched or removed, whatever the globs say.

mod branch;
mod find;
mod kept;
mod key;
mod plan;
mod restore;
mod save;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ashlar_build::Direct;
use ashlar_recipe::{Cache, nearest};
use ashlar_source::{Globs, SourceError};
use ashlar_store::{LocalStore, StatCache, StoreError};

use crate::place::PlaceError;

pub use branch::{Branch, Variable};
pub use find::Candidate;
pub use key::{KeyFiles, Mark};
pub use plan::{Planned, PlannedHit};
pub use restore::Restored;
pub use save::{Saved, SavedLayer, Saving};

/// A workspace with what it keeps where.
#[derive(Clone, Copy)]
pub struct Workspace<'a> {
    /// Its folder, an absolute path.
    pub root: &'a Path,
    /// What is kept of it.
    pub config: &'a Cache,
    /// On which branch it is.
    pub branch: &'a Branch,
    /// Variables of the environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The store and the remotes.
    pub direct: Direct<'a>,
    /// The same store.
    pub local: &'a LocalStore,
    /// What is known of the files of the workspace. Saving it is the caller's.
    pub stat: &'a StatCache,
    /// Whether what is restored from a remote is kept in the store too.
    pub keep: bool,
}

/// Why layers could not be restored or saved.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Globs of a layer match nothing.
    #[error("nothing matches {} in `{what}` of layer {layer}", quoted(globs))]
    Unmatched {
        /// The layer.
        layer: String,
        /// `key` or `paths`.
        what: &'static str,
        /// The globs.
        globs: Vec<String>,
    },
    /// Files that git tracks are among what would be kept.
    #[error("git tracks {} of what would be kept: {}", paths.len(), shown(paths))]
    Tracked {
        /// Their paths below the root, sorted.
        paths: Vec<PathBuf>,
    },
    /// The files of a key are not what they were.
    #[error("files in the key of layer {layer} changed meanwhile: nothing was kept")]
    Changed {
        /// The layer.
        layer: String,
    },
    /// The scope to write to needs a branch that is not known.
    #[error("`{scope}` needs a branch, and {from} names none")]
    NoBranch {
        /// The scope as it was written.
        scope: String,
        /// Who was asked.
        from: &'static str,
    },
    /// There is no such layer.
    #[error("there is no layer `{name}`")]
    NoLayer {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// It was stopped while it waited for another job.
    #[error("stopped while another job saves the same layer")]
    Stopped,
    /// Files of the workspace cannot be read.
    #[error(transparent)]
    Files(#[from] SourceError),
    /// Files could not be put in place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CacheError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Unmatched { what: "key", .. } => Some(
                "correct the glob: a key that lacks files hits when it must not; \
                 --allow-missing takes it as it is"
                    .to_owned(),
            ),
            Self::Unmatched { .. } => Some(
                "correct the glob, or build what is missing; --allow-missing keeps the rest"
                    .to_owned(),
            ),
            Self::Tracked { .. } => Some(
                "name the folders of what is built only; --allow-tracked leaves these files out"
                    .to_owned(),
            ),
            Self::Changed { .. } => {
                Some("what a job writes must not be in its key: see `ashlar cache plan`".to_owned())
            }
            Self::NoBranch { .. } => Some("say it: --branch NAME".to_owned()),
            Self::NoLayer { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::Files(error) => error.advice(),
            _ => None,
        }
    }
}

/// `` `a`, `b` ``.
fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("`{text}`")).collect();
    quoted.join(", ")
}

/// The first few of some paths.
fn shown(paths: &[PathBuf]) -> String {
    let first: Vec<String> = paths.iter().take(5).map(|path| path.display().to_string()).collect();
    let more = if paths.len() > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

impl Workspace<'_> {
    /// Looks at the files that decide what is in each layer.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn key_files(&self) -> Result<Vec<KeyFiles>, CacheError> {
        let mut kept = Vec::with_capacity(self.config.layers.len());
        for layer in &self.config.layers {
            kept.push(Globs::new(&layer.paths).map_err(SourceError::from)?);
        }
        let all: Vec<&Globs> = kept.iter().collect();
        // What git tracks is never kept, so it counts.
        let spared = kept::Spared::find(self.root, &all);
        let is_kept = |path: &Path| {
            !spared.tracked.contains(path) && all.iter().any(|globs| globs.is_match(path))
        };
        let layers = self.config.layers.iter();
        layers.map(|layer| key::key_files(self.root, layer, &is_kept, self.stat)).collect()
    }

    /// That every glob of every key matches something: a key that lacks files hits when it must
    /// not.
    ///
    /// # Errors
    /// [`CacheError::Unmatched`] for the first layer of which one does not.
    pub fn keys_match(&self, files: &[KeyFiles]) -> Result<(), CacheError> {
        for (layer, files) in self.config.layers.iter().zip(files) {
            if !files.unmatched.is_empty() {
                let (layer, globs) = (layer.name.clone(), files.unmatched.clone());
                return Err(CacheError::Unmatched { layer, what: "key", globs });
            }
        }
        Ok(())
    }

    /// The number of a layer.
    fn number(&self, name: &str) -> Result<usize, CacheError> {
        let names = || self.config.layers.iter().map(|layer| layer.name.as_str());
        names().position(|known| known == name).ok_or_else(|| CacheError::NoLayer {
            name: name.to_owned(),
            nearest: nearest(name, names()).map(ToOwned::to_owned),
        })
    }
}
