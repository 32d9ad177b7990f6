//! What of a tree an instruction reads.

use ashlar_object::{Node, Tree};

use super::copy::CopyError;

/// What of a tree the paths among the sources of a `COPY` or `ADD` read: the matched entries with
/// everything in them, at their own paths, and the symbolic links on the way to them. Folders above
/// them are there without modes and owners of their own, unless `--parents` copies them. Its digest
/// says everything that the instruction can see of `from`: [`super::copy::copy`] makes the same of
/// it as of `from`.
///
/// # Errors
/// When a source matches nothing or leads out of the tree.
pub fn select(copy: &ashlar_dockerfile::Copy, from: &Tree) -> Result<Tree, CopyError> {
    let _ = from;
    Err(CopyError::Missing { path: copy.destination.clone(), near: Vec::new() })
}

/// The folder or file `source` (relative; empty or `.` is all of it) of a tree, for a mount. Symbolic
/// links are followed, absolute ones from the root of the tree.
///
/// # Errors
/// When there is nothing, or a link leads above the root of the tree.
pub fn part(from: &Tree, source: &str) -> Result<Node, CopyError> {
    let _ = from;
    Err(CopyError::Missing { path: source.to_owned(), near: Vec::new() })
}
