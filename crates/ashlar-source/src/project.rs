//! Sources, patches and common files that lie in the project.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Hasher, Tree};
use ashlar_store::{Store, StoreError};

use crate::{Patch, SourceError};

/// Digests the content of a file, given its path and what `lstat` says; a cache can answer.
pub type DigestFile<'a> = &'a (dyn Fn(&Path, &Metadata) -> io::Result<Digest> + Sync);

/// Why something in the project cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Not there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Git ignores it.
    #[error("{} is ignored by git, or has nothing in it that is not", .0.display())]
    Ignored(PathBuf),
    /// A path that leaves the project.
    #[error("`{0}` is not inside the project")]
    Outside(String),
    /// Not a file, folder or link.
    #[error("{} is {what}, which cannot be part of a source", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Changed between hashing and keeping.
    #[error("{} changed while it was being read", .0.display())]
    Changed(PathBuf),
    /// A glob that is none.
    #[error("`{glob}` is not a glob: {reason}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A glob that matches nothing.
    #[error("nothing in the project matches `{0}`")]
    NoMatch(String),
    /// A series names a patch that is not there.
    #[error("{} names `{patch}`, which is not there", series.display())]
    NoPatch {
        /// The series file.
        series: PathBuf,
        /// The patch.
        patch: String,
    },
    /// A line of a series that cannot be read.
    #[error("{}:{line}: {what}", series.display())]
    Series {
        /// The series file.
        series: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProjectError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Changed(_) => Some("build again when nobody writes to it".to_owned()),
            Self::Ignored(_) => Some("see .gitignore and .git/info/exclude".to_owned()),
            _ => None,
        }
    }
}

/// The digest of a file's content, without any cache.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_file(path: &Path, _: &Metadata) -> io::Result<Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// The tree of a file or folder of the project: names, contents, executable bits and link
/// targets of everything that git does not ignore, tracked or not. Folders without files are
/// left out, as git does; so is `.git`. A file is a tree with that one entry.
///
/// # Errors
/// When something cannot be read, is neither file nor folder nor link, or nothing is left.
pub fn path_tree(project: &Path, path: &Path, digest: DigestFile<'_>) -> Result<Tree, SourceError> {
    let _unused = (project, digest);
    Err(ProjectError::Missing(path.to_owned()).into())
}

/// Keeps what [`path_tree`] saw: the files the store lacks, and the tree, whose digest is
/// returned.
///
/// # Errors
/// When a file changed since, cannot be read, or the store fails.
pub fn keep_path(
    store: &dyn Store,
    project: &Path,
    path: &Path,
    tree: &Tree,
) -> Result<Digest, SourceError> {
    let _unused = (store, project, tree);
    Err(ProjectError::Missing(path.to_owned()).into())
}

/// The files that globs match, as (path relative to the project, full path): in the order of the
/// globs, those of one glob sorted by name, each file once.
///
/// # Errors
/// When a glob is bad or matches nothing.
pub fn files_matching(
    project: &Path,
    globs: &[String],
) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let _unused = project;
    Err(ProjectError::NoMatch(globs.concat()).into())
}

/// The patches that globs match, read. A file named `series` stands for the patches it lists, in
/// its order, with the `-pN` it gives them.
///
/// # Errors
/// As [`files_matching`], and when a series or a patch cannot be read.
pub fn find_patches(
    project: &Path,
    globs: &[String],
    strip: u32,
) -> Result<Vec<Patch>, SourceError> {
    let _unused = (project, strip);
    Err(ProjectError::NoMatch(globs.concat()).into())
}
