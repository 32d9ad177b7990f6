//! The files of the build context.

use std::io;
use std::path::{Path, PathBuf};

use ashlar_dockerfile::Ignore;
use ashlar_object::{Name, PathError, Tree};
use ashlar_source::DigestFile;
use ashlar_store::{Store, StoreError};

/// Why the files of a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is no folder.
    #[error("the build context {} is no folder: give the folder that COPY and ADD read from", .0.display())]
    NoFolder(PathBuf),
    /// Something in it cannot be read.
    #[error("cannot read {}: make it readable, or leave it out with .dockerignore", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a file, folder or symbolic link.
    #[error("{} is {what}, which no image can have: leave it out with .dockerignore", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Changed between hashing and keeping.
    #[error("{} changed while it was being read: build again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// Folders within folders without end.
    #[error("{} is nested too deep: leave it out with .dockerignore", .0.display())]
    TooDeep(PathBuf),
    /// A name that no tree can have.
    #[error("a file of the build context cannot be in an image")]
    Name(#[from] PathError),
    /// The store cannot take a content.
    #[error("cannot keep {}", path.display())]
    Keep {
        /// Of which file.
        path: PathBuf,
        /// Why not.
        source: Box<StoreError>,
    },
}

/// The files of the context: everything below `folder` but what `ignore` leaves out, owned by
/// 0:0, with the modes they have and no times. Contents are not put into the store: see
/// [`keep_contents`]. The digest of a file comes from `digest`.
///
/// # Errors
/// When something cannot be read, or is neither file nor folder nor symbolic link.
pub(crate) fn context(
    folder: &Path,
    ignore: &Ignore,
    digest: DigestFile<'_>,
) -> Result<Tree, ContextError> {
    let _ = (ignore, digest, Name::new(*b"x")?);
    Err(ContextError::NoFolder(folder.to_owned()))
}

/// Puts the contents that a part of the context has (its paths are those below `folder`) into the
/// store.
///
/// # Errors
/// When a file cannot be read, or has another content than in `part`: it changed since.
pub(crate) fn keep_contents(
    folder: &Path,
    part: &Tree,
    store: &dyn Store,
) -> Result<(), ContextError> {
    let _ = (part, store);
    Err(ContextError::NoFolder(folder.to_owned()))
}
