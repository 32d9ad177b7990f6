//! To a repository of a registry: blobs first, then manifests, then the tag.

use ashlar_store::{ImageError, Moved, RemoteError, Watch};

use super::compose::{Blob, Composed, From};
use crate::depot::registry::{Named, Registry};
use crate::depot::{Depot as _, Manifest, Reference};
use crate::image::in_parallel;

/// How many blobs are sent or asked for at once.
const AT_ONCE: usize = 4;

/// Leaves images there. `host` is what the registry was called.
pub(super) fn push(
    registry: &Registry,
    host: &str,
    tag: &str,
    composed: &Composed,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let whole = Moved { already: composed.size(), ..Moved::default() };
    // A tag that names it already: a registry has all that a manifest needs before it takes one.
    if has(registry, &Reference::Tag(tag.to_owned()), &composed.top)? {
        (watch.moved)(whole);
        return Ok(());
    }
    if has(registry, &Reference::Hash(composed.top.digest().hash), &composed.top)? {
        (watch.moved)(whole);
    } else {
        in_parallel(&composed.blobs, AT_ONCE, |blob| leave(registry, host, blob, watch))?;
        if composed.images.len() > 1 {
            for manifest in &composed.images {
                registry.put_manifest(manifest, &[])?;
            }
        }
    }
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    registry.put_manifest(&composed.top, &[tag.to_owned()])?;
    Ok(())
}

/// Whether this manifest is there under a name.
fn has(
    registry: &Registry,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<bool, ImageError> {
    let hash = manifest.digest().hash;
    Ok(match registry.named(reference)? {
        Named::As(found) => found == hash,
        Named::Missing => false,
        Named::Unsaid => {
            registry.unchecked_manifest(reference)?.is_some_and(|it| it.digest().hash == hash)
        }
    })
}

/// Leaves one blob, if it is not there.
fn leave(
    registry: &Registry,
    host: &str,
    blob: &Blob,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    let already = Moved { already: blob.digest.size, ..Moved::default() };
    if registry.has_blob(&blob.digest)? {
        (watch.moved)(already);
        return Ok(());
    }
    if let From::Layer(layer) = &blob.from
        && let Some(repository) = layer.repository(host)
        && registry.mount_blob(&blob.digest, repository)?
    {
        (watch.moved)(already);
        return Ok(());
    }
    if let Err(error) = registry.put_blob(&blob.digest, &blob.body(), watch) {
        // What could not be read here is no fault of the registry: it shows when it is read again.
        if !matches!(error, RemoteError::Stopped | RemoteError::Refused { .. }) {
            readable(blob, watch)?;
        }
        return Err(error.into());
    }
    Ok(())
}

/// Reads a blob to its end, for the error that this gives.
fn readable(blob: &Blob, watch: &Watch<'_>) -> Result<(), ImageError> {
    let silent = Watch { moved: &|_| {}, ..*watch };
    let mut reader = blob.open(&silent)?;
    std::io::copy(&mut reader, &mut std::io::sink())
        .map_err(|error| ImageError::of_reading(error, &blob.what))?;
    Ok(())
}
