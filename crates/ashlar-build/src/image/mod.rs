//! Images: the instructions of Dockerfiles as steps, and what becomes of their layers.
//!
//! | file | what |
//! |---|---|
//! | `facts.rs` | what has to be known before an image can be planned: bases, files of the context |
//! | `context.rs` | the files of the build context as a tree, and their contents into the store |
//! | `select.rs` | what of a tree an instruction reads |
//! | `copy.rs` | `COPY` and `ADD`: the layer they make |
//! | `workdir.rs` | `WORKDIR`: the layer it makes |
//! | `paths.rs` | paths in trees, through symbolic links |
//! | `attributes.rs` | `--chown` and `--chmod` |
//! | `archive.rs` | archives that `ADD` unpacks |
//! | `layer.rs` | changing a root, and the layer that makes the change |
//! | `named.rs` | the modules and bases of a project that an image names |
//! | `modules.rs` | modules of a project that are images |
//! | `action.rs` | the action of a step |
//! | `ahead.rs` | contents of the context go into the store, while bases are fetched |
//! | `steps.rs` | what a step of an image sees and makes |
//! | `pins.rs` | commands whose downloads are recorded or replayed |
//! | `pinning.rs` | the file that is written as they are recorded |
//! | `secret_text.rs` | secrets in what is written down or said of downloads |
//! | `alike.rs` | what an edited instruction is expected to take |
//! | `cache_mount.rs` | folders that outlive builds |
//! | `checkpoint.rs` | what stopped commands leave for the same command to go on with |
//! | `document.rs`, `export.rs` | from layers and configuration to an image that others take |
//! | `rootfs.rs` | the files of an image as a folder |
//!
//! Where BuildKit and buildah differ in what is copied, this does as buildah: see `tests/cases.rs`.

mod action;
mod ahead;
mod alike;
mod archive;
mod attributes;
mod cache_mount;
pub(crate) mod checkpoint;
pub(crate) mod context;
pub(crate) mod copy;
mod document;
mod export;
mod facts;
mod layer;
mod modules;
mod named;
mod paths;
mod pinning;
mod pins;
mod rootfs;
mod secret_text;
pub(crate) mod select;
mod steps;
pub(crate) mod workdir;

pub use ahead::Keeping;
pub use alike::{Alike, alike};
pub(crate) use cache_mount::Cache;
pub use cache_mount::collect_caches;
pub use context::ContextError;
pub use copy::CopyError;
pub use document::native_platform;
pub use export::{ExportError, Exported, Exporting, export};
pub use facts::{Around, ImageFailure, Ingredients, Place, gather, parse_file};
pub use modules::{
    Elsewhere, ImageModule, bases_of, gather_modules, image_configuration, number, numbered,
};
pub use named::{NamedHere, named_configuration};
pub use pinning::Pinning;
pub(crate) use pins::{Pinned, Ran, hide_proxy};
pub use rootfs::write_rootfs;
pub(crate) use steps::leaked;
pub use steps::{BuildContext, Building};

use ashlar_store::{ImageError, RemoteError};

use crate::event::{ErrorKind, Failure};
use crate::failure::chain;

/// Why a base image cannot be had.
pub(crate) fn failure(error: &ImageError) -> Failure {
    let kind = match error {
        ImageError::Remote(RemoteError::Stopped) => return Failure::Stopped,
        ImageError::Remote(_) | ImageError::Lost { .. } => ErrorKind::Remote,
        ImageError::Store(_) => ErrorKind::Store,
        _ => ErrorKind::Project,
    };
    Failure::Error { message: chain(error), advice: None, kind }
}

#[cfg(test)]
mod tests;
