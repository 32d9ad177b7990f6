//! The layer that `WORKDIR` makes.

use ashlar_object::{Extra, Meta, Node, Tree};

use super::copy::{CopyError, lost_below};
use super::layer::Root;
use super::paths::{Bounds, at, follow, shown};
use super::select::path_of;

/// The layer that makes the folder `path` (absolute) and those above it in `below`: empty when it is
/// there, also through symbolic links. New folders have this owner, and mode 0755.
///
/// # Errors
/// When a file is in the way.
pub fn workdir(path: &str, (uid, gid): (u32, u32), below: &Tree) -> Result<Tree, CopyError> {
    let way = follow(below, &path_of(path)?, true, Bounds::Root)
        .map_err(|lost| lost_below(path, lost))?;
    if let Some(Node::File(_) | Node::Fifo(_)) = at(below, &way.path) {
        return Err(CopyError::NotFolder(shown(&way.path)));
    }
    let mut root = Root::new(below);
    let extra = Extra { uid, gid, ..Extra::default() };
    root.folder(&way.path, &Meta::new(0o755, extra), false)?;
    root.finish()
}
