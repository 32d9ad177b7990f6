//! Images of others, and ours for others.
//!
//! | file | what lives there |
//! |---|---|
//! | `document.rs` | manifests, indices and configurations, read and written |
//! | `source.rs` | where manifests and layers are read: a repository of a registry, a layout |
//! | `resolve.rs`, `notes.rs` | from a reference to an image; what is remembered of it |
//! | `verified.rs` | a layer whose last bytes come only when all are right |
//! | `compose.rs` | from images that were built to what is written |
//! | `push.rs`, `layout.rs`, `archive.rs` | to a registry, to an OCI layout, to an archive |

mod archive;
mod compose;
mod document;
mod layout;
mod notes;
mod push;
mod resolve;
mod source;
mod verified;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_store::{
    BuiltImage, ImageError, ImagePlatform, ImageReference, ImageTarget, Images, LayerSource,
    LocalStore, PublishedImage, ResolvedImage, Watch,
};

use crate::artifact::Access;
use crate::depot::registry::{HUB, Registry};
use crate::image::Tally;
use compose::Composed;
use source::Source;

/// How images are got and left.
#[derive(Clone, Debug, Default)]
pub struct ImageOptions {
    /// How registries are reached, and who we are to them.
    pub access: Access,
    /// Whether what a tag named last is taken, with a warning, when its registry does not answer.
    pub offline: bool,
    /// What remembers manifests and tags. Without it every image is asked for each time.
    pub store: Option<Arc<LocalStore>>,
}

/// Registries, OCI layouts and archives.
pub struct ImagePlaces {
    options: ImageOptions,
    registries: Mutex<HashMap<(String, String), Arc<Registry>>>,
}

impl ImagePlaces {
    /// Nothing is contacted yet.
    #[must_use]
    pub fn new(options: ImageOptions) -> Self {
        Self { options, registries: Mutex::default() }
    }

    /// A repository of a registry: one value for each, so that tokens are fetched once.
    fn registry(&self, host: &str, repository: &str) -> Result<Arc<Registry>, ImageError> {
        // What everybody knows by the short name keeps names of one part in a folder.
        let repository = match repository.contains('/') {
            false if host == HUB.0 => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        let mut all = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), repository);
        if let Some(known) = all.get(&key) {
            return Ok(Arc::clone(known));
        }
        let url = format!("oci://{}/{}", key.0, key.1);
        let access = &self.options.access;
        let registry = Registry::open(&url, &access.options(), &access.credentials, None)?;
        let registry = Arc::new(registry);
        all.insert(key, Arc::clone(&registry));
        Ok(registry)
    }

    fn source(&self, reference: &ImageReference) -> Result<Source, ImageError> {
        match reference {
            ImageReference::Registry { host, repository, .. } => {
                Ok(Source::Registry(self.registry(host, repository)?))
            }
            ImageReference::Layout { folder, .. } => Ok(Source::Layout(folder.clone())),
        }
    }
}

impl std::fmt::Debug for ImagePlaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImagePlaces")
    }
}

impl Images for ImagePlaces {
    fn resolve(
        &self,
        reference: &ImageReference,
        platform: &ImagePlatform,
        watch: &Watch<'_>,
    ) -> Result<ResolvedImage, ImageError> {
        let source = self.source(reference)?;
        resolve::resolve(&self.options, &source, reference, platform, watch)
    }

    fn open_layer<'a>(
        &self,
        image: &ResolvedImage,
        layer: usize,
        watch: &Watch<'a>,
    ) -> Result<Box<dyn Read + Send + 'a>, ImageError> {
        let what = || format!("layer {} of {}", layer + 1, image.shown());
        let lost = || ImageError::Lost { what: what() };
        let layer = image.layers.get(layer).ok_or_else(lost)?;
        let source = self.source(&image.reference)?;
        let reader = source.open_watched(&layer.digest, watch)?.ok_or_else(lost)?;
        Ok(Box::new(verified::Verified::new(reader, layer.digest, what(), *watch)))
    }

    fn publish(
        &self,
        target: &ImageTarget,
        images: &[BuiltImage],
        layers: &Arc<dyn LayerSource>,
        watch: &Watch<'_>,
    ) -> Result<PublishedImage, ImageError> {
        let composed = Composed::new(self, images, layers)?;
        let tally = Tally::default();
        let moved = |more| {
            tally.add(more);
            (watch.moved)(more);
        };
        let told = Watch { moved: &moved, ..*watch };
        let reference = match target {
            ImageTarget::Registry { host, repository, tag } => {
                let registry = self.registry(host, repository)?;
                push::push(&registry, host, tag, &composed, &told)?;
                let hex = composed.top.digest().hex();
                format!("{host}/{repository}:{tag}@sha256:{hex}")
            }
            ImageTarget::Layout { folder, tag } => {
                layout::write(folder, tag.as_deref(), &composed, &told)?;
                let reference = ImageReference::Layout {
                    folder: folder.clone(),
                    tag: tag.clone(),
                    digest: None,
                };
                reference.pinned(&composed.top.digest()).to_string()
            }
            ImageTarget::Archive { file, name } => {
                archive::write(file, name.as_deref(), &composed, &told)?;
                target.to_string()
            }
        };
        Ok(PublishedImage { digest: composed.top.digest(), reference, moved: tally.sum() })
    }
}
