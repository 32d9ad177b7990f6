//! One layer as a manifest describes it, where contents come from, and how large things may get.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ashlar_object::Digest;

/// Where contents come from.
///
/// What it hands out is digested while it is packed, so it need not be trusted.
pub trait Contents: Sync {
    /// Opens a content.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Is told of a content that turned out to be another. Whoever packs compares each content
    /// with its digest, so the readers need not. Not everybody can do something about it.
    fn is_wrong(&self, _digest: &Digest) {}
}

impl<F> Contents for F
where
    F: Fn(&Digest) -> io::Result<Box<dyn Read + Send>> + Sync,
{
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        self(digest)
    }
}

/// How trees are cut into layers, and when revisions are packed anew.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A layer has at least this many bytes of content before another is begun, so that small
    /// trees are one layer; of a large tree each layer has at least a 24th.
    pub layer: u64,
    /// With more layers than this a revision is packed anew.
    pub layers: usize,
    /// With more than this part of all bytes being of no use any more, a revision is packed anew.
    pub dead: f64,
    /// The level of zstd, 1 to 19.
    pub level: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer: 32 << 20, layers: 48, dead: 1.0 / 3.0, level: 3 }
    }
}

/// One layer as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob: the compressed tar archive with its table of contents.
    pub digest: Digest,
    /// The SHA-256 of the tar archive before compression, as `rootfs.diff_ids` of an image's
    /// configuration has it.
    pub diff_id: [u8; 32],
    /// What goes into the `annotations` of the layer's descriptor.
    pub annotations: BTreeMap<String, String>,
}
