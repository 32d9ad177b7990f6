//! One tree as a tree image: the layers of the nearest earlier revision and what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use ashlar_object::{Digest, Tree};
use ashlar_pack::{Contents, Layer, Limits, Stack, Toc, plan};
use ashlar_store::{Moved, Watch};

use super::ArtifactError;
use super::layers::{in_parallel, push, put, stack};
use super::manifest::{ImageManifest, MANIFEST, descriptor, digest_of, image};
use crate::depot::{Body, Depot, Manifest, Reference};
use crate::image::{Signer, sign_manifest, verified};

/// The architecture of an image that is for all of them.
pub(super) const ANY: &str = "unknown";

/// How layers are made and what is said of them.
#[derive(Clone, Debug)]
pub(super) struct How<'a> {
    pub limits: Limits,
    pub expires_after: Option<&'a str>,
    /// Whether nothing that is there is built upon.
    pub anew: bool,
    /// With whom images are signed: then only what this key has signed is built upon.
    pub signer: Option<&'a Signer>,
}

impl How<'_> {
    /// Whether an image may be used again: without signing every one, else only those of ours.
    pub fn vouches(&self, depot: &dyn Depot, image: &Manifest) -> Result<bool, ArtifactError> {
        let Some(signer) = self.signer else { return Ok(true) };
        let keys = std::slice::from_ref(signer.public());
        Ok(verified(depot, &image.digest(), keys)?.is_ok())
    }

    /// Leaves an image; tags lead there only when it is signed.
    pub fn put(
        &self,
        depot: &dyn Depot,
        image: &Manifest,
        tags: &[String],
        watch: &Watch<'_>,
    ) -> Result<(), ArtifactError> {
        if let Some(signer) = self.signer {
            depot.put_manifest(image, &[])?;
            sign_manifest(depot, &descriptor(MANIFEST, &image.digest()), signer, watch)?;
        }
        Ok(depot.put_manifest(image, tags)?)
    }
}

/// The tag of the newest tree of a lineage. It only says where to look.
pub(super) fn near(lineage: &str) -> String {
    format!("near-{}", &Digest::of(lineage.as_bytes()).hex()[..32])
}

/// The tag that keeps an artifact alive.
pub(super) fn own(manifest: &Manifest) -> String {
    format!("artifact-{}", manifest.digest().hex())
}

/// Leaves a tree at a depot and gives the digest of its manifest. A tree that is there is not
/// sent again, whoever left it.
pub(super) fn leave(
    depot: &dyn Depot,
    lineage: &str,
    tree: &Tree,
    contents: &dyn Contents,
    how: &How<'_>,
    watch: &Watch<'_>,
) -> Result<Digest, ArtifactError> {
    let digest = tree.digest();
    let tag = format!("tree-{}", digest.hex());
    let near = near(lineage);
    if how.expires_after.is_none()
        && !how.anew
        && let Some(there) = depot.manifest(&Reference::Tag(tag.clone()))?
        && let Some(image) = ImageManifest::decode(&there)
        && image.tree() == Some(digest)
        && is_whole(depot, &image)?
        && how.vouches(depot, &there)?
    {
        (watch.moved)(Moved { already: tree.content_size(), ..Moved::default() });
        // Alive by its own tag, from now on.
        depot.put_manifest(&there, &[own(&there)])?;
        return Ok(there.digest());
    }
    let earlier = earlier(depot, &near, how, watch)?;
    let earlier = earlier.map(|(_, stack)| stack);
    let packing = plan(tree, earlier.as_ref(), &how.limits)?;
    let mut layers = kept(earlier.as_ref(), packing.keep);
    layers.extend(push(depot, &packing.layers, contents, watch)?);
    let layers: Vec<Layer> = layers.into_iter().map(|(layer, _)| layer).collect();
    let image = Image { tree: digest, layers, whiteouts: packing.whiteouts, architecture: ANY };
    let manifest = image.leave(depot, how, watch)?;
    // What goes after a while is no place to find the tree for good.
    let own = own(&manifest);
    match how.expires_after {
        None => {
            how.put(depot, &manifest, &[own, tag], watch)?;
            depot.put_manifest(&manifest, &[near])?;
        }
        Some(_) => how.put(depot, &manifest, &[own], watch)?,
    }
    Ok(manifest.digest())
}

/// An image whose layers are at a depot.
pub(super) struct Image<'a> {
    pub tree: Digest,
    pub layers: Vec<Layer>,
    pub whiteouts: bool,
    pub architecture: &'a str,
}

impl Image<'_> {
    /// Leaves the configuration at the depot and gives the manifest that is to be left.
    pub fn leave(
        &self,
        depot: &dyn Depot,
        how: &How<'_>,
        watch: &Watch<'_>,
    ) -> Result<Manifest, ArtifactError> {
        let (config, manifest) =
            image(&self.tree, &self.layers, self.whiteouts, self.architecture, how.expires_after);
        put(depot, &Digest::of(&config), &Body::Bytes(Arc::from(config)), watch)?;
        Ok(manifest)
    }
}

/// The first layers of a stack, to stay.
pub(super) fn kept(stack: Option<&Stack>, keep: usize) -> Vec<(Layer, Toc)> {
    stack.map_or_else(Vec::new, |stack| stack.layers().iter().take(keep).cloned().collect())
}

/// The image that a tag leads to, if it is there, whole, and ours, and may be built upon. What cannot be used is said
/// and gone without: it is only a help.
pub(super) fn earlier(
    depot: &dyn Depot,
    tag: &str,
    how: &How<'_>,
    watch: &Watch<'_>,
) -> Result<Option<(Manifest, Stack)>, ArtifactError> {
    if how.anew {
        return Ok(None);
    }
    let Some(manifest) = depot.manifest(&Reference::Tag(tag.to_owned()))? else {
        return Ok(None);
    };
    let Some(image) = ImageManifest::decode(&manifest) else { return Ok(None) };
    if !is_whole(depot, &image)? || !how.vouches(depot, &manifest)? {
        return Ok(None);
    }
    match stack(depot, &manifest, watch) {
        Ok(Some((tree, stack))) => match stack.tree() {
            Ok(found) if found.digest() == tree => Ok(Some((manifest, stack))),
            _ => Ok(None),
        },
        Ok(None) => Ok(None),
        Err(ArtifactError::Remote(error)) => Err(error.into()),
        Err(error) => {
            (watch.warn)(format!("an earlier revision cannot be built upon: {error}"));
            Ok(None)
        }
    }
}

/// Whether everything that an image consists of is there, and stays.
pub(super) fn is_whole(depot: &dyn Depot, image: &ImageManifest) -> Result<bool, ArtifactError> {
    // Each once: a layer may be in it twice.
    let mut blobs = BTreeMap::new();
    for descriptor in image.layers.iter().chain([&image.config]) {
        let Some(digest) = digest_of(descriptor) else { return Ok(false) };
        blobs.insert(digest, ());
    }
    let blobs: Vec<Digest> = blobs.into_keys().collect();
    let there = in_parallel(&blobs, 4, |digest| Ok(depot.has_blob(digest)?))?;
    Ok(there.into_iter().all(|there| there))
}
