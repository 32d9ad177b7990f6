//! To a repository of a registry: blobs first, then manifests, then the tag.

use std::sync::Arc;

use ashlar_store::{ImageError, Moved, RemoteError, Watch, detached};

use super::compose::{Blob, Composed, From};
use super::source::no_thread;
use crate::depot::registry::{Named, Registry};
use crate::depot::{Depot as _, Manifest, Reference};
use crate::image::in_parallel;

/// How many blobs are sent or asked for at once.
const AT_ONCE: usize = 4;

/// Leaves images there. `host` is what the registry was called.
pub(super) fn push(
    registry: &Arc<Registry>,
    host: &str,
    tag: &str,
    composed: &Composed,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let whole = Moved { already: composed.size(), ..Moved::default() };
    // A tag that names it already: a registry has all that a manifest needs before it takes one.
    if has(registry, Reference::Tag(tag.to_owned()), &composed.top, watch)? {
        (watch.moved)(whole);
        return Ok(());
    }
    if has(registry, Reference::Hash(composed.top.digest().hash), &composed.top, watch)? {
        (watch.moved)(whole);
    } else {
        in_parallel(&composed.blobs, AT_ONCE, |blob| leave(registry, host, blob, watch))?;
        if composed.images.len() > 1 {
            for manifest in &composed.images {
                put(registry, manifest, Vec::new(), watch)?;
            }
        }
    }
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    put(registry, &composed.top, vec![tag.to_owned()], watch)
}

/// Asks the registry for something, for as long as somebody wants to know: one that says nothing
/// holds a thread of its own.
fn asked<T: Send + 'static>(
    registry: &Arc<Registry>,
    watch: &Watch<'_>,
    ask: impl FnOnce(&Registry) -> Result<T, RemoteError> + Send + 'static,
) -> Result<T, ImageError> {
    let registry = Arc::clone(registry);
    let answer = detached(move || ask(&registry), watch.go_on).map_err(no_thread)?;
    Ok(answer.unwrap_or(Err(RemoteError::Stopped))?)
}

fn put(
    registry: &Arc<Registry>,
    manifest: &Manifest,
    tags: Vec<String>,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let manifest = manifest.clone();
    asked(registry, watch, move |registry| registry.put_manifest(&manifest, &tags))
}

/// Whether this manifest is there under a name.
fn has(
    registry: &Arc<Registry>,
    reference: Reference,
    manifest: &Manifest,
    watch: &Watch<'_>,
) -> Result<bool, ImageError> {
    let hash = manifest.digest().hash;
    asked(registry, watch, move |registry| {
        Ok(match registry.named(&reference)? {
            Named::As(found) => found == hash,
            Named::Missing => false,
            Named::Unsaid => {
                let found = registry.unchecked_manifest(&reference)?;
                found.is_some_and(|it| it.digest().hash == hash)
            }
        })
    })
}

/// Leaves one blob, if it is not there.
fn leave(
    registry: &Arc<Registry>,
    host: &str,
    blob: &Blob,
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    let already = Moved { already: blob.digest.size, ..Moved::default() };
    let digest = blob.digest;
    if asked(registry, watch, move |registry| registry.has_blob(&digest))? {
        (watch.moved)(already);
        return Ok(());
    }
    if let From::Layer(layer) = &blob.from
        && let Some(repository) = layer.repository(host).map(str::to_owned)
        && asked(registry, watch, move |registry| registry.mount_blob(&digest, &repository))?
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
