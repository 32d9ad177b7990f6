//! From images that were built to the documents and blobs that are written. The same images give
//! the same bytes wherever they go.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::Digest;
use ashlar_store::{
    BuiltImage, BuiltLayer, ImageError, ImageLayer, ImageReference, LayerOrigin, LayerSource, Watch,
};

use super::ImagePlaces;
use super::document::{Configuration, layer_type};
use super::source::Source;
use super::verified::Verified;
use crate::depot::objects::tag::{INDEX, Index};
use crate::depot::{Body, Descriptor, Made, Manifest, Platform};
use crate::image::{Document, IMAGE_CONFIG, describe};

/// Everything that is to be at a place.
pub(super) struct Composed {
    /// The manifests of the images.
    pub images: Vec<Manifest>,
    /// What gets the name: the manifest, or the index of several.
    pub top: Manifest,
    /// The configurations and layers of all, each once; the configurations first.
    pub blobs: Vec<Blob>,
    /// For each image the configuration's digest, and its layers with the names that OCI has for
    /// their media types.
    pub parts: Vec<(Digest, Vec<ImageLayer>)>,
}

/// One blob.
pub(super) struct Blob {
    pub digest: Digest,
    /// For messages.
    pub what: String,
    pub from: From,
}

/// Where the bytes of a blob are.
pub(super) enum From {
    /// Here.
    Bytes(Arc<[u8]>),
    /// Behind this.
    Layer(Layer),
}

/// A layer that can be opened.
#[derive(Clone)]
pub(super) struct Layer {
    local: Arc<dyn LayerSource>,
    /// The base image that it is of as well.
    base: Option<(Source, ImageReference)>,
}

impl Composed {
    /// # Errors
    /// [`ImageError::Inconsistent`].
    pub fn new(
        places: &ImagePlaces,
        images: &[BuiltImage],
        layers: &Arc<dyn LayerSource>,
    ) -> Result<Self, ImageError> {
        let mut seen = HashSet::new();
        let (mut configurations, mut blobs, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut manifests, mut listed) = (Vec::new(), Vec::<Descriptor>::new());
        for image in images {
            let described = check(image)?;
            let configuration = Digest::of(&image.configuration);
            if seen.insert(configuration) {
                configurations.push(Blob {
                    digest: configuration,
                    what: "the configuration".to_owned(),
                    from: From::Bytes(Arc::from(image.configuration.as_slice())),
                });
            }
            for (number, layer) in image.layers.iter().enumerate() {
                let digest = layer.layer.digest;
                if seen.insert(digest) {
                    let what = format!("layer {} (sha256:{})", number + 1, digest.hex());
                    let from = From::Layer(Layer::of(places, layer, layers)?);
                    blobs.push(Blob { digest, what, from });
                }
            }
            let descriptor = |layer: &ImageLayer| Descriptor {
                annotations: layer.annotations.clone(),
                ..describe(&layer.media_type, &layer.digest)
            };
            let mut document = Document::new(
                describe(IMAGE_CONFIG, &configuration),
                described.iter().map(descriptor).collect(),
            );
            document.annotations = image.annotations.clone();
            let manifest = document.encode();
            let platform = Platform {
                architecture: image.platform.architecture.clone(),
                os: image.platform.os.clone(),
                variant: image.platform.variant.clone(),
            };
            if listed.iter().any(|one| one.platform.as_ref() == Some(&platform)) {
                let why = format!("two images are for {}", image.platform);
                return Err(ImageError::Inconsistent(why));
            }
            listed.push(Descriptor {
                platform: Some(platform),
                ..describe(&manifest.media_type, &manifest.digest())
            });
            manifests.push(manifest);
            parts.push((configuration, described));
        }
        let top = match manifests.as_slice() {
            [] => return Err(ImageError::Inconsistent("there is none".to_owned())),
            [one] => one.clone(),
            _ => Manifest { media_type: INDEX.to_owned(), bytes: Index::of(listed).encode() },
        };
        configurations.append(&mut blobs);
        Ok(Self { images: manifests, top, blobs: configurations, parts })
    }

    /// The bytes of all blobs.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.digest.size).sum()
    }
}

/// Whether configuration and layers of an image belong together; the layers as they are described.
fn check(image: &BuiltImage) -> Result<Vec<ImageLayer>, ImageError> {
    let wrong = |why: String| ImageError::Inconsistent(why);
    let configuration = Configuration::decode(&image.configuration).map_err(wrong)?;
    let diff_ids = configuration.diff_ids().map_err(wrong)?;
    if !diff_ids.iter().eq(image.layers.iter().map(|layer| &layer.layer.diff_id)) {
        return Err(wrong(format!(
            "its configuration has {} diff_ids, and they are not those of its {} layers",
            diff_ids.len(),
            image.layers.len()
        )));
    }
    match configuration.platform() {
        Some(said) if said != image.platform => {
            return Err(wrong(format!(
                "its configuration is for {said}, and it is said to be for {}",
                image.platform
            )));
        }
        Some(_) => {}
        None => return Err(wrong("its configuration names no platform".to_owned())),
    }
    let described = image.layers.iter().map(|BuiltLayer { layer, .. }| {
        let media_type = layer_type(&layer.media_type).ok_or_else(|| {
            wrong(format!("no layer of an image has the media type {}", layer.media_type))
        })?;
        Ok(ImageLayer { media_type: media_type.to_owned(), ..layer.clone() })
    });
    described.collect()
}

impl Layer {
    fn of(
        places: &ImagePlaces,
        layer: &BuiltLayer,
        local: &Arc<dyn LayerSource>,
    ) -> Result<Self, ImageError> {
        let base = match &layer.origin {
            LayerOrigin::Local => None,
            LayerOrigin::Base { image, layer: number } => {
                let theirs = image.layers.get(*number).map(|theirs| theirs.digest);
                if theirs != Some(layer.layer.digest) {
                    return Err(ImageError::Inconsistent(format!(
                        "layer {} of {} is another one than sha256:{}",
                        number + 1,
                        image.shown(),
                        layer.layer.digest.hex()
                    )));
                }
                Some((places.source(&image.reference)?, image.reference.clone()))
            }
        };
        Ok(Self { local: Arc::clone(local), base })
    }

    /// The repository of a registry that has it already.
    pub fn repository(&self, of: &str) -> Option<&str> {
        match &self.base {
            Some((_, ImageReference::Registry { host, repository, .. })) if host == of => {
                Some(repository)
            }
            _ => None,
        }
    }

    fn open_watched<'a>(
        &self,
        digest: &Digest,
        watch: &Watch<'a>,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, ImageError> {
        if let Some(reader) = self.local.open_layer(digest)? {
            return Ok(Some(reader));
        }
        self.base.as_ref().map_or(Ok(None), |(source, _)| source.open_watched(digest, watch))
    }
}

impl Blob {
    /// Opens it, compared with its digest as it is read.
    pub fn open<'a>(&self, watch: &Watch<'a>) -> Result<Verified<'a>, ImageError> {
        let reader: Box<dyn Read + Send + 'a> = match &self.from {
            From::Bytes(bytes) => Box::new(io::Cursor::new(Arc::clone(bytes))),
            From::Layer(layer) => layer
                .open_watched(&self.digest, watch)?
                .ok_or_else(|| ImageError::Lost { what: self.what.clone() })?,
        };
        Ok(Verified::new(reader, self.digest, self.what.clone(), *watch))
    }

    /// As a body that can be sent.
    pub fn body(&self) -> Body {
        match &self.from {
            From::Bytes(bytes) => Body::Bytes(Arc::clone(bytes)),
            From::Layer(layer) => Body::Made(Arc::new(Sent {
                layer: layer.clone(),
                digest: self.digest,
                what: self.what.clone(),
                at: Mutex::default(),
            })),
        }
    }
}

/// A layer that is read while it is sent, from its beginning again when it is to be sent again.
struct Sent {
    layer: Layer,
    digest: Digest,
    what: String,
    at: Mutex<Option<(u64, Verified<'static>)>>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl Made for Sent {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if at >= self.digest.size {
            return Ok(0);
        }
        let mut place = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, mut reader) = match place.take() {
            Some(known) if known.0 == at => known,
            _ => {
                let opened = self.layer.open_watched(&self.digest, &Watch::NOBODY);
                let opened = opened.map_err(io::Error::other)?;
                let lost = || io::Error::other(ImageError::Lost { what: self.what.clone() });
                let inner = opened.ok_or_else(lost)?;
                let what = self.what.clone();
                let mut reader = Verified::new(inner, self.digest, what, Watch::NOBODY);
                io::copy(&mut (&mut reader).take(at), &mut io::sink())?;
                (at, reader)
            }
        };
        let count = reader.read(buffer)?;
        *place = Some((offset + count as u64, reader));
        Ok(count)
    }
}
