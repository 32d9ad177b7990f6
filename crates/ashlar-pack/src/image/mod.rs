//! Layers of ordinary images: those of others are read into trees, and layer trees are written as
//! layers that every tool takes.
//!
//! A layer tree holds what one layer changes: new and changed files, [`Node::Whiteout`] for names
//! that go, opaque directories for those of which nothing below shows through. The layers of an
//! image laid over one another, lowest first, with [`Tree::overlaid`] are its root file system.
//!
//! | file | what |
//! |---|---|
//! | `read.rs` | one layer or archive read to its end: digests, bounds, entries |
//! | `packed.rs` | what a blob is compressed with |
//! | `grown.rs` | a tree as entries of an archive make it |
//! | `write.rs` | a layer tree as an archive, compressed |
//! | `gzip.rs` | gzip on several threads, with bytes that do not depend on how many |
//!
//! [`Node::Whiteout`]: ashlar_object::Node::Whiteout
//! [`Tree::overlaid`]: ashlar_object::Tree::overlaid

mod ahead;
mod grown;
mod gzip;
mod packed;
mod read;
mod write;

pub use packed::Compression;
pub use read::{Bounds, Keep, ReadLayer, Rules, read_files, read_layer, read_tar};
pub use write::{Writing, write_layer};
