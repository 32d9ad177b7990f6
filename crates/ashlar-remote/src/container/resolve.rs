//! From a reference to the image that it names for a platform.

use std::io::Read as _;
use std::path::Path;

use ashlar_object::Digest;
use ashlar_store::{ImageError, ImagePlatform, ImageReference, RemoteError, ResolvedImage, Watch};

use super::ImageOptions;
use super::document::{Configuration, Kind, choose, configuration_of, kind, layers};
use super::layout;
use super::notes::Notes;
use super::source::Source;
use super::verified::Verified;
use crate::depot::objects::tag::Index;
use crate::depot::registry::{Named, Registry};
use crate::depot::{Manifest, Reference};
use crate::image::{Document, blob_of};

/// Indices within indices are followed so far.
const DEPTH: usize = 4;

/// What is looked for where.
struct Search<'a> {
    source: &'a Source,
    notes: Notes<'a>,
    reference: &'a ImageReference,
    shown: String,
    wanted: &'a ImagePlatform,
    watch: &'a Watch<'a>,
}

/// See [`ashlar_store::Images::resolve`].
pub(super) fn resolve(
    options: &ImageOptions,
    source: &Source,
    reference: &ImageReference,
    wanted: &ImagePlatform,
    watch: &Watch<'_>,
) -> Result<ResolvedImage, ImageError> {
    let search = Search {
        source,
        notes: Notes::on(options.store.as_deref(), reference),
        reference,
        shown: reference.to_string(),
        wanted,
        watch,
    };
    let (named, found) = match (source, reference.digest()) {
        (_, Some(hash)) => {
            let manifest = search.manifest(hash)?;
            (manifest.digest(), kind(&manifest, &search.shown)?)
        }
        (Source::Registry(registry), None) => {
            let manifest = search.tagged(registry, options.offline)?;
            (manifest.digest(), kind(&manifest, &search.shown)?)
        }
        (Source::Layout(folder), None) => search.listed(folder)?,
    };
    search.image(named, found)
}

impl Search<'_> {
    fn missing(&self, why: impl Into<String>) -> ImageError {
        ImageError::Missing { reference: self.shown.clone(), why: why.into() }
    }

    /// What has this hash, from the notes or from there.
    fn manifest(&self, hash: &[u8; 32]) -> Result<Manifest, ImageError> {
        if let Some(noted) = self.notes.manifest(hash)? {
            return Ok(noted);
        }
        if !(self.watch.go_on)() {
            return Err(RemoteError::Stopped.into());
        }
        let hex = Digest { hash: *hash, size: 0 }.hex();
        let Some(manifest) = self.source.manifest(hash)? else {
            return Err(self.missing(format!(
                "it has no manifest sha256:{hex}; look whether it was removed there, or pin another"
            )));
        };
        let found = manifest.digest();
        if found.hash != *hash {
            return Err(ImageError::Digest {
                what: format!("the manifest that {} gives", self.shown),
                expected: format!("sha256:{hex}"),
                found: format!("sha256:{}", found.hex()),
            });
        }
        self.notes.keep_manifest(&manifest)?;
        Ok(manifest)
    }

    /// What a tag of a registry names now.
    fn tagged(&self, registry: &Registry, offline: bool) -> Result<Manifest, ImageError> {
        let tag = self.reference.tag().unwrap_or_default();
        let by_tag = Reference::Tag(tag.to_owned());
        let gone = || self.missing("its registry has no such repository or tag; look at its name");
        let hash = match registry.named(&by_tag) {
            Ok(Named::As(hash)) => hash,
            Ok(Named::Missing) => return Err(gone()),
            Ok(Named::Unsaid) => {
                let manifest = registry.unchecked_manifest(&by_tag)?.ok_or_else(gone)?;
                self.notes.keep_manifest(&manifest)?;
                self.notes.keep_tag(tag, &manifest.digest().hash)?;
                return Ok(manifest);
            }
            Err(error @ RemoteError::Unreachable { .. }) if offline => {
                let Some(hash) = self.notes.tag(tag)? else { return Err(error.into()) };
                (self.watch.warn)(format!(
                    "{error}; {} is taken to be sha256:{} still, as it was the last time",
                    self.shown,
                    Digest { hash, size: 0 }.hex()
                ));
                return self.manifest(&hash);
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = self.manifest(&hash)?;
        self.notes.keep_tag(tag, &hash)?;
        Ok(manifest)
    }

    /// What the index of a layout names.
    fn listed(&self, folder: &Path) -> Result<(Digest, Kind), ImageError> {
        let Some((bytes, index)) = layout::index(folder)? else {
            return Err(self.missing("the folder is no OCI layout: it has no index.json"));
        };
        let name = layout::name;
        let names = || {
            let names = index.manifests.iter().filter_map(name).map(|it| format!("`{it}`"));
            let names: Vec<String> = names.collect();
            if names.is_empty() { "none has a name".to_owned() } else { names.join(", ") }
        };
        let chosen = match self.reference.tag() {
            Some(tag) => {
                // The last one counts where a name is there twice.
                let found = index.manifests.iter().rev().find(|one| name(one) == Some(tag));
                Some(found.ok_or_else(|| self.missing(format!("its index has {}", names())))?)
            }
            None => match index.manifests.as_slice() {
                [] => return Err(self.missing("its index is empty")),
                [one] => Some(one),
                // Written without a name, one for each platform.
                several if several.iter().all(|one| one.platform.is_some()) => None,
                _ => {
                    let why = format!("several are there; write which: {}", names());
                    return Err(self.missing(why));
                }
            },
        };
        let Some(chosen) = chosen else { return Ok((Digest::of(&bytes), Kind::Index(index))) };
        let digest = blob_of(chosen).ok_or_else(|| ImageError::Malformed {
            what: format!("index.json of {}", folder.display()),
            why: format!("`{}` is no SHA-256 digest", chosen.digest),
        })?;
        let manifest = self.manifest(&digest.hash)?;
        Ok((manifest.digest(), kind(&manifest, &self.shown)?))
    }

    /// Down to the image of the platform.
    fn image(&self, named: Digest, mut found: Kind) -> Result<ResolvedImage, ImageError> {
        let mut manifest = named;
        let mut said = None;
        for _ in 0..DEPTH {
            match found {
                Kind::Image(image) => return self.resolved(named, manifest, &image, said),
                Kind::Index(index) => {
                    let next = self.chosen(&index)?;
                    said = said.or_else(|| next.1.then(|| self.wanted.clone()));
                    manifest = next.0.digest();
                    found = kind(&next.0, &self.shown)?;
                }
            }
        }
        Err(ImageError::Malformed {
            what: format!("the index of {}", self.shown),
            why: format!("there are indices in indices, more than {DEPTH} deep"),
        })
    }

    /// The manifest for the platform, and whether the index says that it is.
    fn chosen(&self, index: &Index) -> Result<(Manifest, bool), ImageError> {
        let chosen = choose(index, self.wanted).map_err(|there| ImageError::Platform {
            reference: self.shown.clone(),
            wanted: self.wanted.to_string(),
            there,
        })?;
        let digest = blob_of(chosen).ok_or_else(|| ImageError::Malformed {
            what: format!("the index of {}", self.shown),
            why: format!("`{}` is no SHA-256 digest", chosen.digest),
        })?;
        Ok((self.manifest(&digest.hash)?, chosen.platform.is_some()))
    }

    fn resolved(
        &self,
        named: Digest,
        manifest: Digest,
        image: &Document,
        said: Option<ImagePlatform>,
    ) -> Result<ResolvedImage, ImageError> {
        let digest = configuration_of(image, &self.shown)?;
        let bytes = self.configuration(&digest)?;
        let configuration = Configuration::decode(&bytes).map_err(|why| ImageError::Malformed {
            what: format!("the configuration of {}", self.shown),
            why,
        })?;
        let platform = said.or_else(|| configuration.platform());
        let platform = platform.unwrap_or_else(|| self.wanted.clone());
        if platform != *self.wanted {
            return Err(ImageError::Platform {
                reference: self.shown.clone(),
                wanted: self.wanted.to_string(),
                there: vec![platform.to_string()],
            });
        }
        let layers = layers(image, &configuration, &self.shown)?;
        let reference = self.reference.clone();
        Ok(ResolvedImage { reference, named, manifest, platform, configuration: bytes, layers })
    }

    fn configuration(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        if let Some(noted) = self.notes.configuration(digest)? {
            return Ok(noted);
        }
        let what = format!("the configuration of {}", self.shown);
        let Some(reader) = self.source.open(digest)? else {
            return Err(ImageError::Lost { what });
        };
        let mut bytes = Vec::new();
        let mut reader = Verified::new(reader, *digest, what.clone(), *self.watch);
        reader.read_to_end(&mut bytes).map_err(|error| ImageError::of_reading(error, &what))?;
        self.notes.keep_configuration(&bytes)?;
        Ok(bytes)
    }
}
