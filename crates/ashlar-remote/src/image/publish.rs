//! Leaving a result: blobs, then the tree image, the result, what is said about it, and the tags.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use ashlar_object::{Digest, Hasher, StepKey};
use ashlar_pack::Contents;
use ashlar_store::{Moved, Publication, RemoteError, Store, StoreError, read_tree};

use super::lookup::Known;
use super::manifest::{
    ResultImage, TreeImage, action_tag, blob_of, describe, describe_log, step_tag, tree_tag,
};
use super::provenance;
use super::pull::manifest_if_any;
use super::push::{Revision, note_lineage, push_tree, put_bytes};
use super::sign::{Signer, Trust, Word, sign_manifest};
use super::spool::{Spool, Stop};
use super::transfer::{SMALL, Transfer, in_parallel};
use crate::depot::{Body, Descriptor, Manifest, Reference};

/// How often it is looked whether what was left stays.
const LOOKS: u32 = 4;

/// Contents out of a store.
pub(crate) struct Stored<'a>(pub &'a dyn Store);

impl Contents for Stored<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.0.open_unchecked(digest) {
            Ok(Some(reader)) => Ok(reader),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the store")),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn is_wrong(&self, digest: &Digest) {
        // A store compares what it reads, and takes out of use what is damaged. That it is
        // damaged is what the caller says; nothing more can be done here.
        if let Ok(Some(mut reader)) = self.0.open(digest) {
            let _ = io::copy(&mut reader, &mut io::sink());
        }
    }
}

/// Leaves one result. How many bytes of its contents did not have to move.
pub(super) fn publish(
    transfer: &Transfer<'_>,
    known: &Known,
    from: &dyn Store,
    trust: &Trust,
    publication: &Publication,
) -> Result<u64, RemoteError> {
    let depot = transfer.depot;
    let outputs = publication.result.outputs;
    let tree = read_tree(from, &outputs)?.ok_or(StoreError::Missing(outputs))?;
    let there = present(transfer, publication, trust)?;
    let revision = Revision {
        tree: &tree,
        digest: &outputs,
        lineage: Some(&publication.lineage),
        earlier: &publication.earlier,
        anew: known.is_distrusted(&outputs),
        trust,
    };
    if !revision.anew
        && let Some(there) = &there
        && stands(transfer, publication, there, trust)?
    {
        let already = tree.content_size();
        (transfer.watch.moved)(Moved { already, ..Moved::default() });
        return Ok(already);
    }
    let pushed = push_tree(transfer, &revision, &Stored(from))?;
    let log = put_log(transfer, from, &publication.result.log)?;
    // Keys that led to this very result go on doing so.
    let mut steps: BTreeSet<StepKey> = publication.keys.iter().copied().collect();
    let before = there.iter().filter(|there| there.word != Word::Nobodys);
    steps.extend(before.flat_map(|there| there.image.steps.iter().copied()));
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
    let same = there.as_ref().filter(|there| there.manifest == manifest);
    let unchanged = same.is_some() && lead_to(transfer, &tags[1..], &manifest)?;
    if !unchanged {
        put_bytes(transfer, &config)?;
    }
    let digest = manifest.digest();
    let described = describe(&manifest.media_type, &digest);
    let signer = trust.signer.as_ref();
    if signer.is_some() || publication.provenance.is_some() {
        if !unchanged {
            depot.put_manifest(&manifest, &[])?;
        }
        // Before the tags: who finds the result finds it signed.
        if let Some(signer) = signer
            && same.is_none_or(|there| there.word != Word::Own)
        {
            sign_manifest(depot, &described, signer, &transfer.watch)?;
        }
        if let Some(predicate) = &publication.provenance
            && !(unchanged && has_provenance(transfer, &digest, signer)?)
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
    if !depot.forgets() {
        let left = Left { tags: &tags, manifest: &manifest, image: &pushed.image };
        stays(transfer, &left, publication, trust)?;
    }
    if pushed.fresh {
        note_lineage(transfer, &publication.lineage, &pushed.image)?;
        known.trust_again(&outputs);
    }
    Ok(pushed.moved.already)
}

/// What stands where a result is to be left, and is that very result.
struct Standing {
    image: ResultImage,
    manifest: Manifest,
    /// Whether what else it says may be said again: which steps lead to it. Whoever signs says it
    /// in the own name; where nobody signs, nothing is believed that is not believed anyway.
    word: Word,
}

/// The very same result, if it is there.
fn present(
    transfer: &Transfer<'_>,
    publication: &Publication,
    trust: &Trust,
) -> Result<Option<Standing>, RemoteError> {
    let tag = Reference::Tag(action_tag(&publication.action));
    let Some(manifest) = manifest_if_any(transfer, &tag)? else { return Ok(None) };
    // What cannot be read is replaced, as is another result of this action.
    let Ok(image) = ResultImage::decode(&manifest) else { return Ok(None) };
    if image.action != publication.action || image.result != publication.result {
        return Ok(None);
    }
    let word = trust.word(transfer.depot, &manifest.digest())?;
    Ok(Some(Standing { image, manifest, word }))
}

fn has_provenance(
    transfer: &Transfer<'_>,
    result: &Digest,
    signer: Option<&Signer>,
) -> Result<bool, RemoteError> {
    let key = signer.map(Signer::public).map(std::slice::from_ref).unwrap_or_default();
    Ok(provenance::read(transfer.depot, result, key, &|_| {})?.is_some())
}

/// Whether a result is left already, all of it, where nothing is removed by age: then what a
/// result points to is there as long as it is, and nothing has to be made young.
fn stands(
    transfer: &Transfer<'_>,
    publication: &Publication,
    there: &Standing,
    trust: &Trust,
) -> Result<bool, RemoteError> {
    enum Ask<'a> {
        Step(&'a StepKey),
        Tree,
        Signature,
        Provenance,
    }
    let steps = &there.image.steps;
    if transfer.depot.forgets()
        || there.word != Word::Own
        || !publication.keys.iter().all(|key| steps.contains(key))
    {
        return Ok(false);
    }
    let mut asked: Vec<Ask<'_>> = publication.keys.iter().map(Ask::Step).collect();
    asked.push(Ask::Tree);
    let signer = trust.signer.as_ref();
    asked.extend(signer.map(|_| Ask::Signature));
    asked.extend(publication.provenance.as_ref().map(|_| Ask::Provenance));
    let image = &there.image.image;
    let answers = in_parallel(&asked, SMALL, |ask| match ask {
        Ask::Step(key) => leads_to(transfer, step_tag(key), &there.manifest.digest()),
        Ask::Tree => leads_to(transfer, tree_tag(&publication.result.outputs), image),
        Ask::Signature => Ok(trust.word(transfer.depot, image)? == Word::Own),
        Ask::Provenance => has_provenance(transfer, &there.manifest.digest(), signer),
    })?;
    Ok(answers.into_iter().all(|good| good))
}

/// What was left.
struct Left<'a> {
    tags: &'a [String],
    manifest: &'a Manifest,
    image: &'a TreeImage,
}

/// Makes sure that a result that was left is still all there, where a collection cannot tell what
/// is young: it may have removed what nothing led to yet. Who collects looks afterwards in the same
/// way, so that one of both sees it.
fn stays(
    transfer: &Transfer<'_>,
    left: &Left<'_>,
    publication: &Publication,
    trust: &Trust,
) -> Result<(), RemoteError> {
    enum Look<'a> {
        Tag(&'a String),
        Tree,
        Signature(Descriptor),
        Provenance,
    }
    let (depot, signer) = (transfer.depot, trust.signer.as_ref());
    let (digest, image) = (left.manifest.digest(), left.image.digest());
    let described = describe(&left.manifest.media_type, &digest);
    let mut looks = vec![Look::Tree];
    if signer.is_some() {
        looks.extend([left.image.descriptor(), described.clone()].map(Look::Signature));
    }
    looks.extend(publication.provenance.as_ref().map(|_| Look::Provenance));
    // The tags last, as ever.
    looks.extend(left.tags.iter().map(Look::Tag));
    for _ in 0..LOOKS {
        // A tag that leads elsewhere is somebody else's result of the same step.
        let there = in_parallel(&looks, SMALL, |look| match look {
            Look::Tag(tag) => Ok(depot.manifest(&Reference::Tag((*tag).clone()))?.is_some()),
            Look::Tree => Ok(depot.manifest(&Reference::Hash(image.hash))?.is_some()),
            Look::Signature(of) => {
                blob_of(of).map_or(Ok(true), |of| Ok(trust.word(depot, &of)? == Word::Own))
            }
            Look::Provenance => has_provenance(transfer, &digest, signer),
        })?;
        let tags = &there[looks.len() - left.tags.len()..];
        // Without any tag it was collected as a whole, because it is old: that is no gap.
        if there.iter().all(|there| *there) || !tags.contains(&true) {
            return Ok(());
        }
        transfer.go_on()?;
        for (look, _) in looks.iter().zip(&there).filter(|(_, there)| !**there) {
            match (look, signer, &publication.provenance) {
                (Look::Tag(tag), _, _) => {
                    depot.put_manifest(left.manifest, std::slice::from_ref(*tag))?;
                }
                (Look::Tree, _, _) => {
                    let tag = tree_tag(&publication.result.outputs);
                    depot.put_manifest(&left.image.manifest, &[tag])?;
                }
                (Look::Signature(of), Some(signer), _) => {
                    sign_manifest(depot, of, signer, &transfer.watch)?;
                }
                (Look::Provenance, _, Some(predicate)) => {
                    let about = (&image, &digest);
                    provenance::attach(
                        depot,
                        &described,
                        about,
                        predicate,
                        signer,
                        &transfer.watch,
                    )?;
                }
                (Look::Signature(_), None, _) | (Look::Provenance, _, None) => {}
            }
        }
    }
    Err(transfer.wrong("a result that was left", "others remove parts of it without end"))
}

/// Whether a tag leads to a manifest.
fn leads_to(transfer: &Transfer<'_>, tag: String, manifest: &Digest) -> Result<bool, RemoteError> {
    let there = manifest_if_any(transfer, &Reference::Tag(tag))?;
    Ok(there.is_some_and(|there| there.digest() == *manifest))
}

/// Whether all of these tags lead to a manifest.
fn lead_to(
    transfer: &Transfer<'_>,
    tags: &[String],
    manifest: &Manifest,
) -> Result<bool, RemoteError> {
    let digest = manifest.digest();
    let there = in_parallel(tags, SMALL, |tag| leads_to(transfer, tag.clone(), &digest))?;
    Ok(there.into_iter().all(|there| there))
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
