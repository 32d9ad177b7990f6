//! The contract of places that keep container images: where base images come from, and where those
//! that were built go.
//!
//! It is no [`crate::Remote`]: images have names that people give them, and are made by others and
//! for others. Who builds sees only this trait. [`MemoryImages`] keeps it for tests.
//!
//! | file | what lives there |
//! |---|---|
//! | `reference.rs` | [`ImageReference`], [`ImageTarget`], [`ImagePlatform`]: what people write |
//! | `memory.rs` | [`MemoryImages`] |

mod memory;
mod reference;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ashlar_object::Digest;

use crate::{Moved, RemoteError, Store, StoreError, Watch};

pub use memory::MemoryImages;
pub use reference::{ImagePlatform, ImageReference, ImageTarget};

/// Places that keep images: registries, OCI layouts, archives. All calls block, may be made from
/// several threads at once, and end within the bounds that it was opened with.
pub trait Images: Send + Sync {
    /// Finds the image that a reference names: its manifest's digest, its configuration, its
    /// layers. An index is walked to the platform. No layer is fetched.
    ///
    /// A tag is asked for each time, with one request that has no body when what it names is known.
    /// What a digest names is known for ever: it is answered without contact the second time.
    ///
    /// # Errors
    /// [`ImageError::Missing`], [`ImageError::Platform`], [`ImageError::Digest`],
    /// [`ImageError::Unsupported`], [`ImageError::Malformed`]; [`ImageError::Remote`] when the
    /// place cannot be asked.
    fn resolve(
        &self,
        reference: &ImageReference,
        platform: &ImagePlatform,
        watch: &Watch<'_>,
    ) -> Result<ResolvedImage, ImageError>;

    /// Opens a layer, as it is kept there: compressed. The reader goes on by itself where it was
    /// cut. It fails instead of ending, and keeps the last bytes, when they have not the digest or
    /// not the size. Its errors carry an [`ImageError`]: see [`ImageError::of_reading`].
    ///
    /// # Errors
    /// [`ImageError::Lost`] when it is not there; [`ImageError::Remote`].
    fn open_layer<'a>(
        &self,
        image: &ResolvedImage,
        layer: usize,
        watch: &Watch<'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, ImageError>;

    /// Writes the bytes of a layer, as [`Images::open_layer`] reads them. What was written counts
    /// only when this succeeds.
    ///
    /// # Errors
    /// As [`Images::open_layer`]; [`ImageError::Io`] when it cannot be written.
    fn layer(
        &self,
        image: &ResolvedImage,
        layer: usize,
        into: &mut dyn Write,
        watch: &Watch<'_>,
    ) -> Result<(), ImageError> {
        let mut reader = self.open_layer(image, layer, watch)?;
        let mut piece = vec![0; 256 << 10];
        loop {
            let count = match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ImageError::of_reading(error, &image.shown())),
            };
            into.write_all(&piece[..count]).map_err(|source| ImageError::Io {
                doing: "write",
                what: "a layer that was fetched".to_owned(),
                source,
            })?;
        }
    }

    /// Leaves images at a place: one as itself, several as one index of their platforms. Layers
    /// first, then manifests, then the name. What is there is not moved again. The same images give
    /// the same digests everywhere.
    ///
    /// # Errors
    /// [`ImageError::Inconsistent`] when an image is not whole; [`ImageError::Lost`] when a layer is
    /// nowhere; [`ImageError::Remote`], [`ImageError::Io`] when the place cannot be written to.
    fn publish(
        &self,
        target: &ImageTarget,
        images: &[BuiltImage],
        layers: &Arc<dyn LayerSource>,
        watch: &Watch<'_>,
    ) -> Result<PublishedImage, ImageError>;
}

/// An image that somebody made, for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// What it was asked for by.
    pub reference: ImageReference,
    /// What the reference named: the manifest, or the index that led to it. To pin it by.
    pub named: Digest,
    /// The manifest.
    pub manifest: Digest,
    /// The platform that its configuration says it is for.
    pub platform: ImagePlatform,
    /// The configuration: JSON, as it is kept there.
    pub configuration: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
}

impl ResolvedImage {
    /// For people: the reference, pinned.
    #[must_use]
    pub fn shown(&self) -> String {
        self.reference.clone().pinned(&self.named).to_string()
    }
}

/// A layer as it is kept at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// Of its bytes as they are there, mostly compressed.
    pub digest: Digest,
    /// As its descriptor says: which compressor it went through.
    pub media_type: String,
    /// The SHA-256 of the tar archive.
    pub diff_id: [u8; 32],
    /// What else its descriptor says.
    pub annotations: BTreeMap<String, String>,
}

/// An image that was built, for one platform.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// What it is for.
    pub platform: ImagePlatform,
    /// The configuration: JSON of the OCI image specification, written as it is. Its
    /// `rootfs.diff_ids` are those of the layers.
    pub configuration: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<BuiltLayer>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A layer of an image that was built.
#[derive(Clone, Debug)]
pub struct BuiltLayer {
    /// What its descriptor says. Media types of Docker are written as those of OCI.
    pub layer: ImageLayer,
    /// Where its bytes are.
    pub origin: LayerOrigin,
}

/// Where the bytes of a layer are.
#[derive(Clone, Debug)]
pub enum LayerOrigin {
    /// In the [`LayerSource`].
    Local,
    /// They are those of a layer of a base image. It is mounted from there where that can be done,
    /// else taken from the [`LayerSource`] if that has it, else copied through.
    Base {
        /// The base image.
        image: Arc<ResolvedImage>,
        /// Which layer of it.
        layer: usize,
    },
}

/// Where layers are taken from when they are left elsewhere. Every store is one.
pub trait LayerSource: Send + Sync {
    /// Opens a layer. It may be opened several times, and gives the same bytes each time. `None`
    /// when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open_layer(&self, layer: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError>;
}

impl<S: Store + ?Sized> LayerSource for S {
    fn open_layer(&self, layer: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.open(layer)
    }
}

/// What was left at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedImage {
    /// The digest of the manifest, or of the index when there are several images.
    pub digest: Digest,
    /// Its name there, with the digest where that can be part of it.
    pub reference: String,
    /// What was moved, and what was there.
    pub moved: Moved,
}

/// What can go wrong with images. No text in here has a credential in it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A text that names no image.
    #[error("`{text}` names no image: {why}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
    /// Nothing has this name.
    #[error("there is no image {reference}: {why}")]
    Missing {
        /// What was asked for.
        reference: String,
        /// What is there, or what to look at.
        why: String,
    },
    /// The image is not for this platform.
    #[error(
        "{reference} is not for {wanted}; it is for {}",
        if there.is_empty() { "no platform at all".to_owned() } else { there.join(", ") }
    )]
    Platform {
        /// What was asked for.
        reference: String,
        /// The platform that was asked for.
        wanted: String,
        /// Those there are.
        there: Vec<String>,
    },
    /// Something has another digest than it was asked for by.
    #[error("{what} has the digest {found} and not {expected}")]
    Digest {
        /// What, and where.
        what: String,
        /// The digest it should have: `sha256:…`, and the size where only that differs.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// It is of a kind that is not understood.
    #[error("{reference} cannot be used: {why}")]
    Unsupported {
        /// What was asked for.
        reference: String,
        /// What it is, and what to do.
        why: String,
    },
    /// It makes no sense.
    #[error("{what} makes no sense: {why}")]
    Malformed {
        /// What, and where.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something that an image refers to is not there.
    #[error("{what} is not there any more")]
    Lost {
        /// What, and where it should be.
        what: String,
    },
    /// An image that was to be published is not whole.
    #[error("the image cannot be published: {0}")]
    Inconsistent(String),
    /// The place cannot be asked or written to.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store on this side failed.
    #[error("the local store failed")]
    Store(#[from] StoreError),
    /// A file cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried: a verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Bytes cannot be read or written.
    #[error("cannot {doing} {what}")]
    Io {
        /// What was tried: a verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ImageError {
    /// What an error of a reader of [`Images::open_layer`] stands for; `what` was read.
    #[must_use]
    pub fn of_reading(error: io::Error, what: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(carried) => carried,
            Err(source) => Self::Io { doing: "read", what: what.to_owned(), source },
        }
    }
}
