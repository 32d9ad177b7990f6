//! Manifests, indices and configurations as images have them: those of OCI, and those of Docker,
//! which differ in their names only.

use std::collections::BTreeMap;

use ashlar_store::{ImageError, ImageLayer, ImagePlatform};
use serde::Deserialize;

use crate::depot::objects::tag::{INDEX, Index, SCHEMA_1};
use crate::depot::{Descriptor, Manifest};
use crate::image::{Document, IMAGE_CONFIG, MANIFEST, blob_of, hash_of_text};

/// What Docker calls an index.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What Docker calls a manifest.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What Docker calls a configuration.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// What signed manifests of the first kind are called.
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// A layer that is a tar archive as it is.
pub(super) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer in gzip.
pub(super) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer in zstd.
pub(super) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The names that Docker has for them.
const DOCKER_LAYERS: [(&str, &str); 3] = [
    ("application/vnd.docker.image.rootfs.diff.tar", TAR),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", GZIP),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", ZSTD),
];

/// No image has more layers; programs that run them stop at 127.
const LAYERS: usize = 1024;
/// Nor is a configuration larger.
const CONFIGURATION: u64 = 8 << 20;

/// The name that OCI has for the media type of a layer; none when it is not understood.
pub(super) fn layer_type(media_type: &str) -> Option<&'static str> {
    [TAR, GZIP, ZSTD].into_iter().find(|known| *known == media_type).or_else(|| {
        DOCKER_LAYERS.iter().find(|(docker, _)| *docker == media_type).map(|(_, known)| *known)
    })
}

/// What a reference may lead to.
#[derive(Debug)]
pub(super) enum Kind {
    /// One for each platform.
    Index(Index),
    /// One image.
    Image(Box<Document>),
}

/// Reads what a reference leads to; `reference` for messages.
pub(super) fn kind(manifest: &Manifest, reference: &str) -> Result<Kind, ImageError> {
    let unsupported =
        |why: String| ImageError::Unsupported { reference: reference.to_owned(), why };
    let malformed =
        |why: String| ImageError::Malformed { what: format!("the manifest of {reference}"), why };
    match manifest.media_type.as_str() {
        INDEX | DOCKER_LIST => {
            let index = Index::decode(&manifest.bytes);
            Ok(Kind::Index(index.map_err(|error| malformed(format!("it is no index: {error}")))?))
        }
        MANIFEST | DOCKER_MANIFEST => {
            let image = Document::decode(manifest).map_err(malformed)?;
            // A manifest that is another thing in the name of an image.
            if !matches!(image.config.media_type.as_str(), IMAGE_CONFIG | DOCKER_CONFIG) {
                let kind = image.artifact_type.as_deref();
                let kind = kind.unwrap_or(&image.config.media_type);
                return Err(unsupported(format!("it is no image but an artifact of type {kind}")));
            }
            Ok(Kind::Image(Box::new(image)))
        }
        old @ (SCHEMA_1 | SCHEMA_1_SIGNED) => Err(unsupported(format!(
            "its manifest is of the first version ({old}), which has no configuration; push the \
             image again with a program of today"
        ))),
        other => Err(unsupported(format!("its manifest is of the media type {other}"))),
    }
}

/// An image's configuration, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Configuration {
    /// Reads one; the error says why it is none, as "it …".
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("it is no configuration of an image: {error}"))
    }

    /// What it is for; none when it does not say.
    pub fn platform(&self) -> Option<ImagePlatform> {
        let said = !self.os.is_empty() && !self.architecture.is_empty();
        said.then(|| ImagePlatform::new(&self.os, &self.architecture, self.variant.as_deref()))
    }

    /// The hashes of the archives that the layers are; the error says which is none.
    pub fn diff_ids(&self) -> Result<Vec<[u8; 32]>, String> {
        let read = |text: &String| {
            hash_of_text(text).ok_or_else(|| format!("`{text}` is no SHA-256 digest of a layer"))
        };
        self.rootfs.diff_ids.iter().map(read).collect()
    }
}

/// The layers of an image, from its manifest and its configuration.
pub(super) fn layers(
    image: &Document,
    configuration: &Configuration,
    reference: &str,
) -> Result<Vec<ImageLayer>, ImageError> {
    let malformed =
        |why: String| ImageError::Malformed { what: format!("the manifest of {reference}"), why };
    let diff_ids = configuration.diff_ids().map_err(malformed)?;
    if diff_ids.len() != image.layers.len() {
        return Err(malformed(format!(
            "it has {} layers, and its configuration knows {}",
            image.layers.len(),
            diff_ids.len()
        )));
    }
    if image.layers.len() > LAYERS {
        let count = image.layers.len();
        return Err(malformed(format!("it has {count} layers; more than {LAYERS} are not read")));
    }
    let layer = |(descriptor, diff_id): (&Descriptor, [u8; 32])| {
        if layer_type(&descriptor.media_type).is_none() {
            return Err(ImageError::Unsupported {
                reference: reference.to_owned(),
                why: format!(
                    "it has a layer of the media type {}; tar archives as they are, in gzip and in \
                     zstd are understood",
                    descriptor.media_type
                ),
            });
        }
        let digest = blob_of(descriptor)
            .ok_or_else(|| malformed(format!("`{}` is no SHA-256 digest", descriptor.digest)))?;
        Ok(ImageLayer {
            digest,
            media_type: descriptor.media_type.clone(),
            diff_id,
            annotations: descriptor.annotations.clone(),
        })
    };
    image.layers.iter().zip(diff_ids).map(layer).collect()
}

/// The digest of the configuration, when it is small enough to be one.
pub(super) fn configuration_of(
    image: &Document,
    reference: &str,
) -> Result<ashlar_object::Digest, ImageError> {
    let malformed =
        |why: String| ImageError::Malformed { what: format!("the manifest of {reference}"), why };
    let digest = blob_of(&image.config)
        .ok_or_else(|| malformed(format!("`{}` is no SHA-256 digest", image.config.digest)))?;
    if digest.size > CONFIGURATION {
        return Err(malformed(format!("its configuration would have {} bytes", digest.size)));
    }
    Ok(digest)
}

/// What of an index is for a platform: itself, else for `arm` the newest older variant. Entries that
/// say something about others (attestations, signatures) are no images.
pub(super) fn choose<'a>(
    index: &'a Index,
    wanted: &ImagePlatform,
) -> Result<&'a Descriptor, Vec<String>> {
    let mut there: BTreeMap<ImagePlatform, &Descriptor> = BTreeMap::new();
    let mut unsaid = Vec::new();
    for descriptor in &index.manifests {
        match &descriptor.platform {
            Some(platform) if platform.os == "unknown" || platform.architecture == "unknown" => {}
            Some(platform) => {
                let (os, architecture) = (&platform.os, &platform.architecture);
                let platform = ImagePlatform::new(os, architecture, platform.variant.as_deref());
                // The first one counts, as for other programs.
                there.entry(platform).or_insert(descriptor);
            }
            None => unsaid.push(descriptor),
        }
    }
    if let Some(found) = there.get(wanted) {
        return Ok(found);
    }
    let older = |platform: &ImagePlatform| {
        platform.os == wanted.os
            && platform.architecture == "arm"
            && wanted.architecture == "arm"
            && platform.variant < wanted.variant
    };
    if let Some((_, found)) = there.iter().rev().find(|(platform, _)| older(platform)) {
        return Ok(found);
    }
    // What the only one is for is in its configuration.
    if let ([found], true) = (unsaid.as_slice(), there.is_empty()) {
        return Ok(found);
    }
    Err(there.keys().map(ToString::to_string).collect())
}
