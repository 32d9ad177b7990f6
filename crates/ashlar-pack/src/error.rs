//! What can be wrong with a layer, a table of contents or an archive.

use std::io;

use ashlar_object::Digest;

/// Why packing or unpacking stopped.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A content that a tree needs cannot be read where it comes from.
    #[error("failed to read the content of `{path}` ({digest})")]
    Content {
        /// The file in the tree.
        path: String,
        /// The content it should have.
        digest: Digest,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// What came from where contents come from is something else.
    #[error("the content of `{path}` is not {digest}, which the tree says it is")]
    WrongContent {
        /// The file in the tree.
        path: String,
        /// The content it should have.
        digest: Digest,
    },
    /// The bytes made cannot be written.
    #[error("failed to write a layer or an archive")]
    Write(#[source] io::Error),
    /// The bytes to unpack cannot be read.
    #[error("failed to read a layer or an archive")]
    Read(#[source] io::Error),
    /// What was unpacked could not be taken by the caller.
    #[error("failed to keep what was unpacked")]
    Keep(#[source] io::Error),
    /// A range of a layer does not hold the content that its table of contents says.
    #[error("the layer does not hold {digest} where its table of contents says: {reason}")]
    Damaged {
        /// The content that should be there.
        digest: Digest,
        /// What was found.
        reason: String,
    },
    /// A blob that is not what its digest says.
    #[error("the bytes of a layer are not {0}")]
    WrongBlob(Digest),
    /// A layer that is what its digest says, and says two things.
    #[error("{0}")]
    Contradiction(String),
    /// A table of contents that cannot be used.
    #[error("the table of contents of a layer cannot be used: {0}")]
    Toc(String),
    /// Layers that do not make a tree.
    #[error("layer {layer} cannot be laid over those below it: `{path}` {reason}")]
    Fold {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// Where.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A layer cannot say what the tree has there.
    #[error("`{path}` {reason}; give it another name")]
    Unsayable {
        /// Where.
        path: String,
        /// What cannot be said.
        reason: &'static str,
    },
    /// The compressor refused.
    #[error("failed to compress: {0}")]
    Compress(&'static str),
    /// An archive that cannot be used.
    #[error("the archive cannot be used: `{path}` {reason}")]
    Archive {
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}
