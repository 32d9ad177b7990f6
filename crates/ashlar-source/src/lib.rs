//! Get, verify, unpack and patch sources; resolve Debian names.
//!
//! [`Fetcher`] brings files into the store by SHA-256 and makes immutable trees of them. [`Apt`]
//! asks the machine's own package manager, with private state, what a Debian name stands for.
//! [`path_tree`] reads sources that lie in the project. [`Recorder`] and [`Replayer`] stand between a
//! command and the network. Nothing here builds anything.

mod apt;
mod deb822;
mod dsc;
mod error;
mod fetcher;
mod git;
mod patch;
mod pin;
mod program;
mod project;
mod unpack;
mod url;

pub use apt::{Apt, AptError, ToolRequest, control_fields, local_repository};
pub use dsc::DscError;
pub use error::SourceError;
pub use fetcher::{Fetcher, Recall, Remember};
pub use git::GitError;
pub use patch::{Patch, PatchError};
pub use pin::{Answers, PinError, Proxies, Recorder, Replayer, percent_decoded, serve};
pub use project::{
    DigestFile, Globs, Inputs, ProjectError, digest_file, files_matching, find_patches, inputs,
    keep_path, path_tree, tracked,
};
pub use unpack::{Keep, UnpackError, unpack, unpack_bytes, with_tar};
pub use url::UrlError;
