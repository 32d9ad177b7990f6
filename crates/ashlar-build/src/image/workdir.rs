//! The layer that `WORKDIR` makes.

use ashlar_object::{Meta, Node, Tree};

use super::copy::{CopyError, lost_below};
use super::layer::Root;
use super::paths::{Bounds, at, follow, shown};
use super::select::path_of;

/// The layer that makes the folder `path` (absolute) and those above it in `below`: empty when it is
/// there, also through symbolic links. New folders belong to root and have mode 0755.
///
/// # Errors
/// When a file is in the way.
pub fn workdir(path: &str, below: &Tree) -> Result<Tree, CopyError> {
    let way = follow(below, &path_of(path)?, true, Bounds::Root)
        .map_err(|lost| lost_below(path, lost))?;
    if let Some(Node::File(_)) = at(below, &way.path) {
        return Err(CopyError::NotFolder(shown(&way.path)));
    }
    let mut root = Root::new(below);
    root.folder(&way.path, &Meta::EXECUTABLE, false)?;
    root.finish()
}
