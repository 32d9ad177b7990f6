//! Trees as layers of OCI images: tar archives in zstd with a table of contents (zstd:chunked), so
//! that ordinary tools read them and single files can be fetched by range. Pure: contents come
//! from, and bytes go to, what the caller passes in.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs` | which layers of an earlier revision stay, and what is in the new ones |
//! | `write.rs` | one layer: frames, table of contents, footer |
//! | `toc.rs` | the table of contents of one layer |
//! | `stack.rs` | all layers of one image: the tree they make, and where each content lies |
//! | `fetch.rs` | reading contents out of a range of a layer |
//! | `archive.rs` | gzip'd tar archives as Konflux' trusted artifacts are |

mod entry;
mod error;
mod fetch;
mod fold;
mod frame;
mod layer;
mod plan;
mod split;
mod stack;
mod tar;
mod toc;
mod write;

pub mod archive;

pub use error::PackError;
pub use fetch::Fetch;
pub use layer::{Contents, Layer, Limits};
pub use plan::{LayerPlan, Packing, plan};
pub use stack::Stack;
pub use toc::{Toc, TocPlace};
