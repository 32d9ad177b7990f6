//! What can go wrong with sources, and what to do about it.

use std::path::{Path, PathBuf};

use ashlar_store::StoreError;

use crate::{AptError, DscError, GitError, PatchError, ProjectError, UnpackError, UrlError};

/// What can go wrong with sources. Each part of this crate has its own variants.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The machine lacks a program.
    #[error("the program `{program}` is not installed")]
    Lacks {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program that is there does not start.
    #[error("cannot run `{program}`")]
    Start {
        /// The program.
        program: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Something would have to be fetched, and this run is offline.
    #[error("this run is offline, and the store does not have {}", .what.join(", "))]
    Offline {
        /// Every file that is missing.
        what: Vec<String>,
    },
    /// A file of a folder that this crate works in cannot be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried: a verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Whoever wants it was stopped meanwhile.
    #[error("the transfer was stopped")]
    Stopped,
    /// A file at an address cannot be had.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A commit cannot be had.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A Debian name cannot be resolved, or a file of an archive cannot be had.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A Debian source package is not what it should be.
    #[error(transparent)]
    Dsc(#[from] DscError),
    /// An archive cannot be unpacked. The first field names the archive.
    #[error("cannot unpack {0}")]
    Unpack(String, #[source] UnpackError),
    /// A patch cannot be applied.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// A file of the project cannot be a source.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SourceError {
    /// What a person can do about it, where there is something to say.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Lacks { package, .. } => Some(format!("install it: `apt-get install {package}`")),
            Self::Offline { .. } => Some("run once without `--offline`".to_owned()),
            Self::Url(e) => e.advice(),
            Self::Git(e) => e.advice(),
            Self::Apt(e) => e.advice(),
            Self::Dsc(e) => e.advice(),
            Self::Unpack(_, e) => e.advice(),
            Self::Patch(e) => e.advice(),
            Self::Project(e) => e.advice(),
            Self::Start { .. } | Self::Io { .. } | Self::Store(_) | Self::Stopped => None,
        }
    }

    /// For `map_err`: an input/output error with what was done to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
