//! From the image of a tree to the tree, and to contents out of its layers.

use std::collections::HashSet;
use std::io::{self, Read};

use ashlar_object::{Digest, Dir, Meta, Node, Tree};
use ashlar_pack::{PackError, Stack};
use ashlar_store::{RemoteError, Store};

use super::manifest::{TreeImage, diff_ids};
use super::tables::tables;
use super::transfer::{Tap, Transfer, fetch, in_parallel};
use crate::depot::{Manifest, Reference};

/// Requests for contents under way at once.
const AT_ONCE: usize = 6;
/// The longest range asked for at once, except where one content is longer.
const RANGE: u64 = 8 << 20;

/// Why an image cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// It is not all there, or not what it should be: a miss. A fragment that fits "… cannot be
    /// used: ".
    #[error("{0}")]
    Wrong(String),
    /// The far side cannot be used.
    #[error(transparent)]
    Remote(RemoteError),
    /// Whoever takes the contents failed.
    #[error("failed to keep what came")]
    Sink(#[source] io::Error),
}

impl From<RemoteError> for Flaw {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Wrong { what, why, .. } => Self::Wrong(format!("{what}: {why}")),
            other => Self::Remote(other),
        }
    }
}

/// Reads a manifest; what makes no sense is nothing, and said.
pub(super) fn manifest_if_any(
    transfer: &Transfer<'_>,
    reference: &Reference,
) -> Result<Option<Manifest>, RemoteError> {
    match transfer.depot.manifest(reference) {
        Err(RemoteError::Wrong { what, why, .. }) => {
            (transfer.watch.warn)(format!("{}: {what}: {why}", transfer.depot.place()));
            Ok(None)
        }
        other => other,
    }
}

/// The image of a tree by its tag; what is no such image is nothing, and said.
pub(super) fn image_if_any(
    transfer: &Transfer<'_>,
    tag: &str,
) -> Result<Option<TreeImage>, RemoteError> {
    let Some(manifest) = manifest_if_any(transfer, &Reference::Tag(tag.to_owned()))? else {
        return Ok(None);
    };
    match TreeImage::decode(manifest) {
        Ok(image) => Ok(Some(image)),
        Err(why) => {
            (transfer.watch.warn)(format!("{}: the tag {tag}: {why}", transfer.depot.place()));
            Ok(None)
        }
    }
}

/// Reads a part of a blob that has a digest of its own, out of the cache if it is there.
pub(super) fn cached(
    transfer: &Transfer<'_>,
    blob: &Digest,
    range: std::ops::Range<u64>,
    part: &Digest,
) -> Result<Vec<u8>, Flaw> {
    if let Some(cache) = transfer.cache
        && let Some(bytes) = ashlar_store::read(cache, part).map_err(RemoteError::from)?
    {
        return Ok(bytes);
    }
    let bytes = fetch(transfer, blob, range, part)?
        .ok_or_else(|| Flaw::Wrong(format!("the blob sha256:{} is not there", blob.hex())))?;
    keep(transfer, &bytes);
    Ok(bytes)
}

/// Keeps something for the next time.
pub(super) fn keep(transfer: &Transfer<'_>, mut bytes: &[u8]) {
    if let Some(cache) = transfer.cache {
        // A store that cannot be written to costs some requests the next time, nothing else.
        let _ = cache.put(&mut bytes);
    }
}

/// The layers of an image with their tables of contents. Whether they make the tree that the image
/// says is for the caller to find out: see [`tree_of`]. The diff ids are zeros unless asked for.
///
/// # Errors
/// [`Flaw::Wrong`] when something of it is missing or damaged.
pub(crate) fn open_tree(
    transfer: &Transfer<'_>,
    image: &TreeImage,
    with_diff_ids: bool,
) -> Result<Stack, Flaw> {
    let wrong = |why: &str| Flaw::Wrong(why.to_owned());
    let ids = if with_diff_ids {
        let config = super::manifest::blob_of(&image.document.config)
            .ok_or_else(|| wrong("its config has no digest"))?;
        let bytes = cached(transfer, &config, 0..config.size, &config)?;
        let ids = diff_ids(&bytes).filter(|ids| ids.len() == image.document.layers.len());
        Some(ids.ok_or_else(|| wrong("its config does not fit its layers"))?)
    } else {
        None
    };
    let layers = image.layers(ids.as_deref());
    let tables = tables(transfer, &layers)?;
    Ok(Stack::new(layers.into_iter().zip(tables).collect(), image.whiteouts))
}

/// The tree that the layers make, which must have this digest, and its bytes.
///
/// # Errors
/// [`Flaw::Wrong`] when they make another one, or none.
pub(crate) fn tree_of(stack: &Stack, digest: &Digest) -> Result<(Tree, Vec<u8>), Flaw> {
    let tree = stack.tree().map_err(|error| Flaw::Wrong(error.to_string()))?;
    let bytes = tree.encode();
    if Digest::of(&bytes) != *digest {
        return Err(Flaw::Wrong("its layers make another tree than it says".to_owned()));
    }
    Ok((tree, bytes))
}

/// Fetches contents out of layers, several at once, and hands each to `sink`, which must read to
/// the end: the reader fails instead of ending when the content is not what its digest says. The
/// empty content is never fetched.
///
/// # Errors
/// [`Flaw::Wrong`] when some content is missing or damaged; those handed over before are right.
pub(crate) fn pull_contents(
    transfer: &Transfer<'_>,
    stack: &Stack,
    wanted: &HashSet<Digest>,
    sink: &(dyn Fn(&Digest, &mut dyn Read) -> io::Result<()> + Sync),
) -> Result<(), Flaw> {
    let fetches = stack.fetches(wanted, RANGE);
    let held: HashSet<Digest> = fetches.iter().flat_map(ashlar_pack::Fetch::contents).collect();
    let lost = wanted.iter().find(|digest| **digest != Digest::EMPTY && !held.contains(digest));
    if let Some(digest) = lost {
        return Err(Flaw::Wrong(format!("no layer of it holds the content {digest}")));
    }
    in_parallel(&fetches, AT_ONCE, |fetch| -> Result<(), Flaw> {
        transfer.go_on()?;
        let (layer, _) = (stack.layers().get(fetch.layer))
            .ok_or_else(|| Flaw::Wrong("a layer is not there".to_owned()))?;
        let name = || format!("the layer sha256:{}", layer.digest.hex());
        let reader = (transfer.depot.open_blob(&layer.digest, fetch.range.clone())?)
            .ok_or_else(|| Flaw::Wrong(format!("{} is not there", name())))?;
        let mut tap = Tap::new(reader, transfer.watch);
        let mut noted = false;
        let read = fetch.read(&mut tap, &mut |digest, content| {
            let mut content = Noting { inner: content, failed: false };
            let kept = sink(digest, &mut content);
            noted |= content.failed;
            kept
        });
        if let Some(error) = tap.failed {
            return Err(crate::http::remote_error(error, transfer.depot.place()).into());
        }
        match read {
            Ok(()) => {}
            Err(PackError::Keep(error)) if !noted => return Err(Flaw::Sink(error)),
            Err(error) => return Err(Flaw::Wrong(format!("{}: {}", name(), chain(&error)))),
        }
        (transfer.watch.moved)(ashlar_store::Moved { blobs: 1, ..Default::default() });
        Ok(())
    })?;
    Ok(())
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A reader that remembers that it failed, so that this is told from a failure of who reads.
struct Noting<'a> {
    inner: &'a mut dyn Read,
    failed: bool,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.failed |= read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        read
    }
}

/// The contents that a tree has as programs only.
fn programs(tree: &Tree) -> HashSet<Digest> {
    fn sort(dir: &Dir, programs: &mut HashSet<Digest>, others: &mut HashSet<Digest>) {
        for node in dir.entries().values() {
            match node {
                Node::Dir(child) => sort(child, programs, others),
                Node::File(file) if file.meta == Meta::EXECUTABLE => {
                    programs.insert(file.digest);
                }
                Node::File(file) => {
                    others.insert(file.digest);
                }
                Node::Symlink(_) | Node::Fifo(_) | Node::Whiteout => {}
            }
        }
    }
    let (mut programs, mut others) = (HashSet::new(), HashSet::new());
    sort(tree.root(), &mut programs, &mut others);
    programs.retain(|digest| !others.contains(digest));
    programs
}

/// Fetches contents of a tree into a store.
pub(super) fn pull_into(
    transfer: &Transfer<'_>,
    store: &dyn Store,
    stack: &Stack,
    tree: &Tree,
    wanted: &HashSet<Digest>,
) -> Result<(), Flaw> {
    let failed = std::sync::Mutex::new(None);
    let programs = programs(tree);
    let pulled = pull_contents(transfer, stack, wanted, &|digest, content| {
        // The reader compares what it reads with the digest.
        let (other, why) = match store.put_checked(digest, programs.contains(digest), content) {
            Ok(kept) if kept == *digest => return Ok(()),
            Ok(_) => (None, "it is another content".to_owned()),
            Err(error) => {
                let why = chain(&error);
                (Some(error), why)
            }
        };
        if let Some(error) = other {
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
        }
        Err(io::Error::other(why))
    });
    match (pulled, failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)) {
        (Err(Flaw::Sink(_)), Some(error)) => Err(Flaw::Remote(error.into())),
        (pulled, _) => pulled,
    }
}
