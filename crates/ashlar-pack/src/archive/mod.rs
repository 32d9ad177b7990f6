//! Archives as Konflux' trusted artifacts are: a gzip'd tar of `.`.
//!
//! What is written has *stored* deflate blocks in concatenated gzip members: it costs hardly more
//! than copying, is the same for the same tree, and plain `tar -zxpf` reads it. What is read may be
//! any gzip'd tar archive.

mod read;
mod write;

pub use read::{Entry, Kind, read};
pub use write::write;
