//! Leaving a tree: as a revision of the nearest earlier one that is there. Layers are packed while
//! others are sent.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use ashlar_object::{Digest, Tree};
use ashlar_pack::{Contents, Layer, LayerPlan, Limits, PackError, Packing, Stack, Toc, plan};
use ashlar_store::{Moved, RemoteError, StoreError};

use super::manifest::{TreeImage, blob_of, near_tag, tree_tag};
use super::pull::{Flaw, chain, image_if_any, keep, open_tree};
use super::sign::{Trust, Word, sign_manifest};
use super::spool::{Spool, Stop};
use super::transfer::{SMALL, Transfer, counted, in_parallel};
use crate::depot::{Body, Descriptor};

/// Layers packed at once.
const PACKERS: usize = 2;
/// Layers sent at once.
const SENDERS: usize = 4;
/// How many earlier revisions are asked for.
const ASKED: usize = 4;

/// A tree that is to be left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revision<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The digest of its bytes.
    pub digest: &'a Digest,
    /// What it is a revision of.
    pub lineage: Option<&'a str>,
    /// The trees of earlier revisions, the nearest first.
    pub earlier: &'a [Digest],
    /// Whether what is there is not to be trusted: everything is packed anew, into other layers.
    pub anew: bool,
    /// Who signs the image. What stands there is then reused only as far as this very key has
    /// signed it, or one whose results are taken from there anyway: the table of contents of a
    /// layer may be right while its archive is another, so that nobody but who packed a layer can
    /// vouch for it. Without a signer, images are taken for what they say they are, and whoever may
    /// write there is trusted.
    pub trust: &'a Trust,
}

/// A tree that is there.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    /// Its image.
    pub image: TreeImage,
    /// What moved.
    pub moved: Moved,
    /// Whether the image was not there before.
    pub fresh: bool,
}

/// Leaves a tree: layers, config, the image, its signature, and the tag of the tree. Nothing is
/// sent when it is there already.
///
/// # Errors
/// When the far side cannot be used, or a content is missing on this side.
pub(crate) fn push_tree(
    transfer: &Transfer<'_>,
    revision: &Revision<'_>,
    contents: &dyn Contents,
) -> Result<Pushed, RemoteError> {
    let (pushed, mut moved) = counted(transfer, |transfer| push(transfer, revision, contents));
    let (image, packed) = pushed?;
    moved.already = revision.tree.content_size().saturating_sub(packed.unwrap_or(0));
    (transfer.watch.moved)(Moved { already: moved.already, ..Moved::default() });
    Ok(Pushed { image, moved, fresh: packed.is_some() })
}

/// Lets the next revision find this one. Only after all that points to it is there.
///
/// # Errors
/// When the far side cannot be used.
pub(crate) fn note_lineage(
    transfer: &Transfer<'_>,
    lineage: &str,
    image: &TreeImage,
) -> Result<(), RemoteError> {
    transfer.depot.put_manifest(&image.manifest, &[near_tag(lineage)])
}

/// The image and, unless it was there, how many bytes of content had to be packed.
fn push(
    transfer: &Transfer<'_>,
    revision: &Revision<'_>,
    contents: &dyn Contents,
) -> Result<(TreeImage, Option<u64>), RemoteError> {
    let tag = tree_tag(revision.digest);
    let mut limits = transfer.limits.clone();
    let mut earlier = None;
    if revision.anew {
        // Other bytes, so that none of the old layers is taken for one of the new ones.
        limits.level += 1;
    } else {
        if let Some(image) = image_if_any(transfer, &tag)?
            && image.tree == *revision.digest
            && let word = revision.trust.word(transfer.depot, &image.digest())?
            && word != Word::Nobodys
            && are_there(transfer, image.document.layers.iter().chain([&image.document.config]))?
        {
            if !transfer.depot.forgets() {
                // It may be about to be removed, because nothing led to it: it is small.
                transfer.depot.put_manifest(&image.manifest, std::slice::from_ref(&tag))?;
            }
            if let (Word::Accepted, Some(signer)) = (word, &revision.trust.signer) {
                sign_manifest(transfer.depot, &image.descriptor(), signer, &transfer.watch)?;
            }
            transfer.depot.touch(&tag);
            return Ok((image, None));
        }
        earlier = nearest(transfer, revision)?;
    }
    let packing = pack(transfer, revision.tree, earlier.as_ref(), &limits)?;
    let new: u64 = packing.layers.iter().map(LayerPlan::content_size).sum();
    let mut layers: Vec<Layer> = (earlier.iter().flat_map(Stack::layers).take(packing.keep))
        .map(|(layer, _)| layer.clone())
        .collect();
    layers.extend(send_layers(transfer, &packing.layers, contents)?);
    let (image, config) =
        TreeImage::new(revision.digest, &layers, packing.whiteouts, transfer.architecture);
    put_bytes(transfer, &config)?;
    keep(transfer, &config);
    transfer.go_on()?;
    if let Some(signer) = &revision.trust.signer {
        // Before the tag: who finds the image finds it signed.
        transfer.depot.put_manifest(&image.manifest, &[])?;
        sign_manifest(transfer.depot, &image.descriptor(), signer, &transfer.watch)?;
    }
    transfer.depot.put_manifest(&image.manifest, &[tag])?;
    Ok((image, Some(new)))
}

/// Puts a small blob unless it is there.
pub(super) fn put_bytes(transfer: &Transfer<'_>, bytes: &[u8]) -> Result<Digest, RemoteError> {
    transfer.go_on()?;
    let digest = Digest::of(bytes);
    if !transfer.depot.has_blob(&digest)? {
        transfer.depot.put_blob(&digest, &Body::Bytes(bytes.into()), &transfer.watch)?;
    }
    Ok(digest)
}

/// Whether all of these are there; whoever asks relies on them from then on.
fn are_there<'a>(
    transfer: &Transfer<'_>,
    descriptors: impl Iterator<Item = &'a Descriptor>,
) -> Result<bool, RemoteError> {
    let Some(blobs) = descriptors.map(blob_of).collect::<Option<Vec<_>>>() else {
        return Ok(false);
    };
    let there = in_parallel(&blobs, SMALL, |blob| transfer.depot.has_blob(blob))?;
    Ok(there.into_iter().all(|there| there))
}

/// The layers of the nearest earlier revision that is there and all right.
fn nearest(transfer: &Transfer<'_>, revision: &Revision<'_>) -> Result<Option<Stack>, RemoteError> {
    let mut tags = Vec::new();
    let asked = revision.earlier.iter().filter(|tree| *tree != revision.digest).map(tree_tag);
    for tag in asked.take(ASKED).chain(revision.lineage.map(near_tag)) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let images = in_parallel(&tags, SMALL, |tag| image_if_any(transfer, tag))?;
    let mut tried = HashSet::new();
    for image in images.into_iter().flatten() {
        let digest = image.digest();
        if !tried.insert(digest) || revision.trust.word(transfer.depot, &digest)? == Word::Nobodys {
            continue;
        }
        match open_tree(transfer, &image, true) {
            Ok(stack) => return Ok(Some(stack)),
            Err(Flaw::Wrong(why)) => (transfer.watch.warn)(format!(
                "{}: an earlier revision ({}) cannot be built upon: {why}",
                transfer.depot.place(),
                image.descriptor().digest,
            )),
            Err(Flaw::Remote(error)) => return Err(error),
            Err(Flaw::Sink(error)) => return Err(failed_io(transfer, error)),
        }
    }
    Ok(None)
}

/// How to pack; an earlier revision counts only when the layers that would stay are still there.
fn pack(
    transfer: &Transfer<'_>,
    tree: &Tree,
    earlier: Option<&Stack>,
    limits: &Limits,
) -> Result<Packing, RemoteError> {
    let anew = || plan(tree, None, limits).map_err(|error| failed_pack(transfer, error));
    let Some(stack) = earlier else { return anew() };
    let packing = match plan(tree, Some(stack), limits) {
        Ok(packing) => packing,
        Err(error) => {
            let place = transfer.depot.place();
            (transfer.watch.warn)(format!("{place}: an earlier revision: {}", chain(&error)));
            return anew();
        }
    };
    let kept: Vec<Digest> =
        stack.layers().iter().take(packing.keep).map(|(layer, _)| layer.digest).collect();
    let there = in_parallel(&kept, SMALL, |blob| transfer.depot.has_blob(blob))?;
    if there.into_iter().all(|there| there) { Ok(packing) } else { anew() }
}

/// What goes on between those who pack and those who send.
struct Line<'a> {
    transfer: &'a Transfer<'a>,
    plans: &'a [LayerPlan],
    contents: &'a dyn Contents,
    next: AtomicUsize,
    stop: AtomicBool,
    made: Mutex<Vec<(usize, Layer)>>,
    error: Mutex<Option<RemoteError>>,
}

/// Packs layers and sends them, several at once. Those that are packed and wait lie in files, so
/// their number is bounded.
fn send_layers(
    transfer: &Transfer<'_>,
    plans: &[LayerPlan],
    contents: &dyn Contents,
) -> Result<Vec<Layer>, RemoteError> {
    let line = Line {
        transfer,
        plans,
        contents,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        made: Mutex::new(Vec::new()),
        error: Mutex::new(None),
    };
    if let [only] = plans {
        let (layer, body) = line.write(only)?;
        send(transfer, &layer.digest, &body)?;
        return Ok(vec![layer]);
    }
    let (ready, waiting) = sync_channel(PACKERS);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS.min(plans.len()) {
            scope.spawn(|| line.send(&waiting));
        }
        for _ in 0..PACKERS.min(plans.len()) {
            let ready = ready.clone();
            scope.spawn(|| line.pack(ready));
        }
        drop(ready);
    });
    if let Some(error) = line.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut made = line.made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, layer)| layer).collect())
}

impl Line<'_> {
    fn fail(&self, error: RemoteError) {
        self.stop.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn pack(&self, ready: SyncSender<(Digest, Body)>) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = self.plans.get(number) else { break };
            match self.write(plan) {
                Ok((layer, body)) => {
                    let digest = layer.digest;
                    self.made.lock().unwrap_or_else(PoisonError::into_inner).push((number, layer));
                    if ready.send((digest, body)).is_err() {
                        break;
                    }
                }
                Err(error) => self.fail(error),
            }
        }
        drop(ready);
    }

    fn send(&self, waiting: &Mutex<Receiver<(Digest, Body)>>) {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((digest, body)) = next else { break };
            // After an error what waits is still taken, so that nobody waits for ever.
            if self.stop.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = send(self.transfer, &digest, &body) {
                self.fail(error);
            }
        }
    }

    fn write(&self, plan: &LayerPlan) -> Result<(Layer, Body), RemoteError> {
        let transfer = self.transfer;
        transfer.go_on()?;
        let folder = transfer.spool();
        let go_on = || (transfer.watch.go_on)() && !self.stop.load(Ordering::Relaxed);
        let mut spool = Spool::new(&folder, &go_on);
        let written = plan.write(self.contents, &mut spool);
        match spool.failed.take() {
            Some(Stop::Told) => return Err(RemoteError::Stopped),
            Some(Stop::Io(error)) => return Err(failed_io(transfer, error)),
            None => {}
        }
        let (layer, _) = written.map_err(|error| failed_pack(transfer, error))?;
        let body = spool.finish().map_err(|error| failed_io(transfer, error))?;
        if transfer.cache.is_some()
            && let Some(place) = Toc::place(&layer.annotations)
        {
            let table = part(&body, place.range).map_err(|error| failed_io(transfer, error))?;
            keep(transfer, &table);
        }
        Ok((layer, body))
    }
}

fn send(transfer: &Transfer<'_>, digest: &Digest, body: &Body) -> Result<(), RemoteError> {
    transfer.go_on()?;
    if transfer.depot.has_blob(digest)? {
        return Ok(());
    }
    transfer.depot.put_blob(digest, body, &transfer.watch)
}

/// A part of a body in memory.
fn part(body: &Body, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    let mut filled = 0;
    while filled < bytes.len() {
        match body.read_at(&mut bytes[filled..], range.start + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn failed_io(transfer: &Transfer<'_>, source: io::Error) -> RemoteError {
    let path = transfer.spool();
    match source.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { path }.into(),
        _ => StoreError::Io { doing: "write a layer in", path, source }.into(),
    }
}

fn failed_pack(transfer: &Transfer<'_>, error: PackError) -> RemoteError {
    match error {
        PackError::Content { digest, source, .. } => StoreError::Read(digest, source).into(),
        PackError::WrongContent { digest, .. } => StoreError::Missing(digest).into(),
        PackError::Write(source) => failed_io(transfer, source),
        other => failed_io(transfer, io::Error::other(chain(&other))),
    }
}
