//! Trees as layers of OCI images: tar archives in zstd with a table of contents (zstd:chunked), so
//! that ordinary tools read them and single files can be fetched by range. Pure: contents come
//! from, and bytes go to, what the caller passes in.
//!
//! | file | what |
//! |---|---|
//! | `layer.rs` | a layer as a manifest describes it; where contents come from; limits |
//! | `plan.rs` | which layers of an earlier revision stay, and what is in the new ones |
//! | `write.rs` | one layer, from `entry.rs`, `tar.rs`, `frame.rs` and `split.rs` |
//! | `toc.rs` | the table of contents of one layer |
//! | `stack.rs` | all layers of one image: where each content lies, and (`fold.rs`) their tree |
//! | `fetch.rs` | reading contents out of a range of a layer |
//! | `check.rs` | whether archive and table of contents of a layer say the same |
//! | `image/` | layers of ordinary images: others' read into trees, trees written as such |
//! | `archive/` | gzip'd tar archives as Konflux' trusted artifacts are |
//!
//! # A layer
//!
//! | bytes of the blob | what |
//! |---|---|
//! | frames of zstd | the tar archive: each content is a frame of its own, and so are the headers between two contents |
//! | a skippable frame | the table of contents: JSON, compressed |
//! | a skippable frame | the tar-split, compressed, unless an entry cannot be said in it |
//! | a skippable frame | the footer: 64 bytes that end in `GNUlInUx` |
//!
//! Every entry of the tree is one of the archive, with its directories before it. Of a file with
//! several names a layer has the content with the first, and hard links for the others. A revision adds what is new or changed, and `.wh.NAME` for what is gone. What an
//! overlay file system's own layer deletes is another thing and part of the tree: a character
//! device 0:0, and `trusted.overlay.opaque` on directories.
//!
//! The tree is made again from tables of contents alone, exactly. What `zstd:chunked` has no field
//! for is in the field `ashlar` of an entry, which others pass over: `name` and `link` (raw bytes,
//! base64), `time` (seconds and nanoseconds, where an entry has a time of its own), `group` (the number of a file with
//! several names in the tree, which may lie in several layers), `opaque`.

mod check;
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
pub mod image;

pub use check::check;
pub use error::PackError;
pub use fetch::Fetch;
pub use layer::{Contents, Layer, Limits};
pub use plan::{LayerPlan, Packing, plan};
pub use stack::Stack;
pub use tar::{tar_end, tar_header, tar_padding};
pub use toc::{Toc, TocPlace};
