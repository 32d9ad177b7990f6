//! Leaving a result: blobs, then the tree image, the result, what is said about it, and the tags.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use ashlar_object::{Digest, Hasher, StepKey};
use ashlar_pack::Contents;
use ashlar_store::{Publication, RemoteError, Store, StoreError, read_tree};

use super::lookup::Known;
use super::manifest::{ResultImage, action_tag, describe, describe_log, step_tag};
use super::provenance;
use super::pull::manifest_if_any;
use super::push::{Revision, note_lineage, push_tree, put_bytes};
use super::sign::{Signer, sign_manifest};
use super::spool::{Spool, Stop};
use super::transfer::Transfer;
use crate::depot::{Body, Descriptor, Manifest, Reference};

/// Contents out of a store.
pub(crate) struct Stored<'a>(pub &'a dyn Store);

impl Contents for Stored<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.0.open(digest) {
            Ok(Some(reader)) => Ok(reader),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the store")),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Leaves one result. How many bytes of its contents did not have to move.
pub(super) fn publish(
    transfer: &Transfer<'_>,
    known: &Known,
    from: &dyn Store,
    signer: Option<&Signer>,
    publication: &Publication,
) -> Result<u64, RemoteError> {
    let depot = transfer.depot;
    let outputs = publication.result.outputs;
    let tree = read_tree(from, &outputs)?.ok_or(StoreError::Missing(outputs))?;
    let there = present(transfer, publication)?;
    let revision = Revision {
        tree: &tree,
        digest: &outputs,
        lineage: Some(&publication.lineage),
        earlier: &publication.earlier,
        anew: known.is_distrusted(&outputs),
    };
    let pushed = push_tree(transfer, &revision, &Stored(from))?;
    let log = put_log(transfer, from, &publication.result.log)?;
    // Keys that led to this very result go on doing so.
    let mut steps: BTreeSet<StepKey> = publication.keys.iter().copied().collect();
    steps.extend(there.iter().flat_map(|(image, _)| image.steps.iter().copied()));
    let image = ResultImage {
        action: publication.action,
        result: publication.result.clone(),
        steps: steps.into_iter().collect(),
        image: pushed.image.digest(),
        log,
    };
    let (manifest, config) = image.encode();
    let mut tags = vec![action_tag(&image.action)];
    tags.extend(image.steps.iter().map(step_tag));
    let unchanged = there.is_some_and(|(_, before)| before == manifest)
        && lead_to(transfer, &tags[1..], &manifest)?;
    if !unchanged {
        put_bytes(transfer, &config)?;
    }
    let digest = manifest.digest();
    let described = describe(&manifest.media_type, &digest);
    if signer.is_some() || publication.provenance.is_some() {
        if !unchanged {
            depot.put_manifest(&manifest, &[])?;
        }
        // Before the tags: who finds the result finds it signed.
        if let Some(signer) = signer {
            sign_manifest(depot, &pushed.descriptor(), signer, &transfer.watch)?;
            sign_manifest(depot, &described, signer, &transfer.watch)?;
        }
        if let Some(predicate) = &publication.provenance
            && !(unchanged && provenance::read(depot, &digest, &[])?.is_some())
        {
            let about = (&image.image, &digest);
            provenance::attach(depot, &described, about, predicate, signer, &transfer.watch)?;
        }
    }
    transfer.go_on()?;
    if unchanged {
        tags.iter().for_each(|tag| depot.touch(tag));
    } else {
        depot.put_manifest(&manifest, &tags)?;
    }
    if pushed.fresh {
        note_lineage(transfer, &publication.lineage, &pushed.image)?;
        known.trust_again(&outputs);
    }
    Ok(pushed.moved.already)
}

/// The very same result, if it is there.
fn present(
    transfer: &Transfer<'_>,
    publication: &Publication,
) -> Result<Option<(ResultImage, Manifest)>, RemoteError> {
    let tag = Reference::Tag(action_tag(&publication.action));
    let Some(manifest) = manifest_if_any(transfer, &tag)? else { return Ok(None) };
    // What cannot be read is replaced, as is another result of this action.
    let Ok(image) = ResultImage::decode(&manifest) else { return Ok(None) };
    let same = image.action == publication.action && image.result == publication.result;
    Ok(same.then_some((image, manifest)))
}

/// Whether all of these tags lead to a manifest.
fn lead_to(
    transfer: &Transfer<'_>,
    tags: &[String],
    manifest: &Manifest,
) -> Result<bool, RemoteError> {
    for tag in tags {
        let there = manifest_if_any(transfer, &Reference::Tag(tag.clone()))?;
        if there.as_ref() != Some(manifest) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compresses a log and leaves it.
fn put_log(
    transfer: &Transfer<'_>,
    from: &dyn Store,
    log: &Digest,
) -> Result<Descriptor, RemoteError> {
    let mut reader = from.open(log)?.ok_or(StoreError::Missing(*log))?;
    let folder = transfer.spool();
    let failed = |source: io::Error| {
        RemoteError::from(StoreError::Io {
            doing: "compress a log in",
            path: folder.clone(),
            source,
        })
    };
    let mut spool = Spool::new(&folder, transfer.watch.go_on);
    let mut hashed = Hashed { inner: &mut spool, hasher: Hasher::new() };
    let mut compress = || -> io::Result<()> {
        let mut encoder = zstd::stream::write::Encoder::new(&mut hashed, 3)?;
        io::copy(&mut reader, &mut encoder)?;
        encoder.finish().map(drop)
    };
    let compressed = compress();
    let digest = hashed.hasher.finish();
    match spool.failed.take() {
        Some(Stop::Told) => return Err(RemoteError::Stopped),
        Some(Stop::Io(error)) => return Err(failed(error)),
        None => compressed.map_err(|error| StoreError::Read(*log, error))?,
    }
    let body = spool.finish().map_err(failed)?;
    if !transfer.depot.has_blob(&digest)? {
        transfer.depot.put_blob(&digest, &body, &transfer.watch)?;
    }
    let small = match &body {
        Body::Bytes(bytes) => Some(&bytes[..]),
        Body::File(_) | Body::Made(_) => None,
    };
    Ok(describe_log(&digest, small))
}

/// Digests what is written.
struct Hashed<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
