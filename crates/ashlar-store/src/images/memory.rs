//! Images in memory, for tests of who builds: what is there is said beforehand, and what was asked
//! for and published is seen afterwards.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashlar_object::{Digest, Hasher};

use super::{
    BuiltImage, ImageError, ImageLayer, ImagePlatform, ImageReference, ImageTarget, Images,
    LayerOrigin, LayerSource, PublishedImage, ResolvedImage,
};
use crate::{Moved, RemoteError, Watch};

/// Images that are there because a test put them there.
#[derive(Debug, Default)]
pub struct MemoryImages {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    named: BTreeMap<String, Vec<ResolvedImage>>,
    blobs: HashMap<[u8; 32], Arc<[u8]>>,
    published: Vec<(ImageTarget, Vec<BuiltImage>)>,
    resolved: Vec<String>,
    opened: Vec<Digest>,
    down: bool,
}

impl MemoryImages {
    /// Nothing is there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an image there, in place of the one for the same platform: its configuration, and for
    /// each layer the bytes, the media type and the SHA-256 of the archive in it. Gives the digest
    /// of what may be called its manifest.
    pub fn put(
        &self,
        reference: &ImageReference,
        platform: &ImagePlatform,
        configuration: &[u8],
        layers: &[(&[u8], &str, [u8; 32])],
    ) -> Digest {
        let mut state = self.state();
        let mut manifest = Hasher::new();
        manifest.update(configuration);
        let described = layers.iter().map(|(bytes, media_type, diff_id)| {
            let digest = Digest::of(bytes);
            manifest.update(&digest.hash);
            state.blobs.insert(digest.hash, Arc::from(*bytes));
            ImageLayer {
                digest,
                media_type: (*media_type).to_owned(),
                diff_id: *diff_id,
                annotations: BTreeMap::new(),
            }
        });
        let layers = described.collect();
        let manifest = manifest.finish();
        let images = state.named.entry(name(reference)).or_default();
        images.retain(|image| image.platform != *platform);
        images.push(ResolvedImage {
            reference: reference.clone(),
            named: manifest,
            manifest,
            platform: platform.clone(),
            configuration: configuration.to_vec(),
            layers,
        });
        manifest
    }

    /// From now on nothing answers, or everything does again.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// The references that were asked for, in order.
    #[must_use]
    pub fn resolved(&self) -> Vec<String> {
        self.state().resolved.clone()
    }

    /// The layers that were opened, in order.
    #[must_use]
    pub fn opened(&self) -> Vec<Digest> {
        self.state().opened.clone()
    }

    /// What was published, in order.
    #[must_use]
    pub fn published(&self) -> Vec<(ImageTarget, Vec<BuiltImage>)> {
        self.state().published.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What images are filed under: pinned or not, it is the same image.
fn name(reference: &ImageReference) -> String {
    let text = reference.to_string();
    text.split_once('@').map_or(text.clone(), |(name, _)| name.to_owned())
}

fn is_up(state: &State) -> Result<(), ImageError> {
    if state.down {
        let source = "it is down".into();
        return Err(RemoteError::Unreachable { place: "memory".to_owned(), source }.into());
    }
    Ok(())
}

impl Images for MemoryImages {
    fn resolve(
        &self,
        reference: &ImageReference,
        platform: &ImagePlatform,
        _watch: &Watch<'_>,
    ) -> Result<ResolvedImage, ImageError> {
        let mut state = self.state();
        state.resolved.push(reference.to_string());
        is_up(&state)?;
        let shown = reference.to_string();
        let Some(images) = state.named.get(&name(reference)) else {
            return Err(ImageError::Missing { reference: shown, why: "nobody put it".to_owned() });
        };
        let Some(image) = images.iter().find(|image| image.platform == *platform) else {
            return Err(ImageError::Platform {
                reference: shown,
                wanted: platform.to_string(),
                there: images.iter().map(|image| image.platform.to_string()).collect(),
            });
        };
        match reference.digest() {
            Some(hash) if *hash != image.named.hash => Err(ImageError::Digest {
                what: name(reference),
                expected: format!("sha256:{}", Digest { hash: *hash, size: 0 }.hex()),
                found: format!("sha256:{}", image.named.hex()),
            }),
            _ => Ok(ResolvedImage { reference: reference.clone(), ..image.clone() }),
        }
    }

    fn open_layer<'a>(
        &self,
        image: &ResolvedImage,
        layer: usize,
        _watch: &Watch<'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, ImageError> {
        let mut state = self.state();
        is_up(&state)?;
        let lost = || ImageError::Lost { what: format!("layer {layer} of {}", image.shown()) };
        let digest = image.layers.get(layer).ok_or_else(lost)?.digest;
        let bytes = state.blobs.get(&digest.hash).cloned().ok_or_else(lost)?;
        state.opened.push(digest);
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn publish(
        &self,
        target: &ImageTarget,
        images: &[BuiltImage],
        layers: &Arc<dyn LayerSource>,
        _watch: &Watch<'_>,
    ) -> Result<PublishedImage, ImageError> {
        let mut moved = Moved::default();
        let mut digest = Hasher::new();
        for built in images {
            digest.update(&built.configuration);
            for layer in &built.layers {
                let size = layer.layer.digest.size;
                digest.update(&layer.layer.digest.hash);
                match layer.origin {
                    LayerOrigin::Base { .. } => moved.already += size,
                    LayerOrigin::Local => {
                        let what = || format!("the layer sha256:{}", layer.layer.digest.hex());
                        let opened = layers.open_layer(&layer.layer.digest)?;
                        let mut reader = opened.ok_or_else(|| ImageError::Lost { what: what() })?;
                        std::io::copy(&mut reader, &mut std::io::sink())
                            .map_err(|error| ImageError::of_reading(error, &what()))?;
                        moved += Moved { bytes: size, blobs: 1, already: 0 };
                    }
                }
            }
        }
        let mut state = self.state();
        is_up(&state)?;
        state.published.push((target.clone(), images.to_vec()));
        let digest = digest.finish();
        let reference = format!("{target}@sha256:{}", digest.hex());
        Ok(PublishedImage { digest, reference, moved })
    }
}
