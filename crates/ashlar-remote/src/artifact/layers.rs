//! Layers of a depot: written from contents, read back as a tree, fetched from by range.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::Digest;
use ashlar_pack::{Contents, Layer, LayerPlan, Limits, Stack, Toc};
use ashlar_store::{Moved, Watch};

use super::ArtifactError;
use super::manifest::{ImageManifest, diff_ids, digest_of};
use super::native::ANY;
use crate::depot::{Body, Depot, Manifest};
use crate::image::{Flaw, Transfer, tables};

/// How many transfers go on at once.
const AT_ONCE: usize = 4;
/// How long one range is at most, where it is not one content: so many requests that all
/// transfers are busy until the end, so few that asking costs nothing.
const RANGE: u64 = 8 << 20;
/// A configuration larger than this is not read.
const CONFIG: u64 = 4 << 20;
/// Nor are images that have more layers: ours have not.
const LAYERS: usize = 512;

/// Does work for each item with several threads; results are in the order of the items. The first
/// error ends it.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    each: impl Fn(&T) -> Result<R, ArtifactError> + Sync,
) -> Result<Vec<R>, ArtifactError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<R, ArtifactError>)>> = Mutex::new(Vec::new());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = each(item);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Writes layers and leaves them at a depot, each through a file of its own that is never named.
/// Those that are there are not sent.
pub(super) fn push(
    depot: &dyn Depot,
    plans: &[LayerPlan],
    contents: &dyn Contents,
    watch: &Watch<'_>,
) -> Result<Vec<(Layer, Toc)>, ArtifactError> {
    // Two at once: one is sent while the other is compressed.
    in_parallel(plans, 2, |plan| {
        let file = tempfile::tempfile().map_err(ArtifactError::Scratch)?;
        let mut out = Stoppable { out: BufWriter::with_capacity(1 << 20, &file), watch };
        let written = plan.write(contents, &mut out);
        if !(watch.go_on)() {
            return Err(ashlar_store::RemoteError::Stopped.into());
        }
        let (layer, toc) = written?;
        out.out.flush().map_err(ArtifactError::Scratch)?;
        drop(out);
        put(depot, &layer.digest, &Body::File(Arc::new(file)), watch)?;
        Ok((layer, toc))
    })
}

/// Leaves a blob at a depot if it is not there.
pub(super) fn put(
    depot: &dyn Depot,
    digest: &Digest,
    body: &Body,
    watch: &Watch<'_>,
) -> Result<(), ArtifactError> {
    if depot.has_blob(digest)? {
        (watch.moved)(Moved { already: digest.size, ..Moved::default() });
        return Ok(());
    }
    Ok(depot.put_blob(digest, body, watch)?)
}

/// Fails when it is to stop.
struct Stoppable<'a> {
    out: BufWriter<&'a File>,
    watch: &'a Watch<'a>,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !(self.watch.go_on)() {
            return Err(io::Error::other("stopped"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A blob that is small enough for memory, verified.
pub(super) fn small(
    depot: &dyn Depot,
    digest: &Digest,
    watch: &Watch<'_>,
) -> Result<Vec<u8>, ArtifactError> {
    let damaged = || ArtifactError::Damaged {
        place: depot.place().to_owned(),
        what: format!("blob sha256:{}", digest.hex()),
    };
    if digest.size > CONFIG {
        return Err(damaged());
    }
    let Some(reader) = depot.open_blob(digest, 0..digest.size)? else {
        return Err(lost(depot, digest));
    };
    let mut bytes = Vec::new();
    reader
        .take(digest.size + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(depot, digest, source))?;
    (watch.moved)(Moved { bytes: bytes.len() as u64, blobs: 1, already: 0 });
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(damaged()) }
}

fn lost(depot: &dyn Depot, blob: &Digest) -> ArtifactError {
    ArtifactError::Lost {
        place: depot.place().to_owned(),
        what: format!("blob sha256:{}", blob.hex()),
    }
}

fn unreadable(depot: &dyn Depot, blob: &Digest, source: io::Error) -> ArtifactError {
    ArtifactError::Transfer {
        place: depot.place().to_owned(),
        what: format!("blob sha256:{}", blob.hex()),
        source,
    }
}

fn too_large(depot: &dyn Depot, manifest: &Manifest) -> ArtifactError {
    ArtifactError::TooLarge {
        place: depot.place().to_owned(),
        what: format!("image sha256:{}", manifest.digest().hex()),
    }
}

/// The layers of a tree image with their tables of contents. `None` when it is an image that
/// somebody else made.
pub(super) fn stack(
    depot: &dyn Depot,
    manifest: &Manifest,
    watch: &Watch<'_>,
) -> Result<Option<(Digest, Stack)>, ArtifactError> {
    let Some(image) = ImageManifest::decode(manifest) else { return Ok(None) };
    let (Some(tree), Some(config)) = (image.tree(), digest_of(&image.config)) else {
        return Ok(None);
    };
    if image.layers.len() > LAYERS {
        return Err(too_large(depot, manifest));
    }
    let config = small(depot, &config, watch)?;
    let Some(ids) = diff_ids(&config).filter(|ids| ids.len() == image.layers.len()) else {
        return Ok(None);
    };
    let mut layers = Vec::new();
    for (descriptor, diff_id) in image.layers.iter().zip(ids) {
        let (Some(digest), Some(_)) = (digest_of(descriptor), Toc::place(&descriptor.annotations))
        else {
            return Ok(None);
        };
        layers.push(Layer { digest, diff_id, annotations: descriptor.annotations.clone() });
    }
    let transfer = Transfer {
        depot,
        cache: None,
        folder: None,
        limits: &Limits::default(),
        architecture: ANY,
        watch: *watch,
    };
    let tables = tables(&transfer, &layers).map_err(|flaw| match flaw {
        Flaw::Remote(error) => ArtifactError::from(error),
        flaw => ArtifactError::Unusable {
            place: depot.place().to_owned(),
            what: format!("image sha256:{}", manifest.digest().hex()),
            why: flaw.to_string(),
        },
    })?;
    let layers = layers.into_iter().zip(tables).collect();
    Ok(Some((tree, Stack::new(layers, image.whiteouts()))))
}

/// Who takes a content; it has to be read to its end.
pub(super) type Sink<'a> = dyn Fn(&Digest, &mut dyn Read) -> io::Result<()> + Sync + 'a;

/// Fetches contents by ranges of layers, several at once. Those that no layer has are left out.
pub(super) fn fetch(
    depot: &dyn Depot,
    stack: &Stack,
    wanted: &HashSet<Digest>,
    sink: &Sink<'_>,
    watch: &Watch<'_>,
) -> Result<(), ArtifactError> {
    let fetches = stack.fetches(wanted, RANGE);
    in_parallel(&fetches, AT_ONCE, |fetch| {
        let stopped = || ArtifactError::from(ashlar_store::RemoteError::Stopped);
        if !(watch.go_on)() {
            return Err(stopped());
        }
        let Some((layer, _)) = stack.layers().get(fetch.layer) else { return Ok(()) };
        let Some(reader) = depot.open_blob(&layer.digest, fetch.range.clone())? else {
            return Err(lost(depot, &layer.digest));
        };
        let mut reader = Watched { inner: reader, watch };
        let read = fetch.read(&mut reader, &mut |digest, content| sink(digest, content));
        if !(watch.go_on)() {
            return Err(stopped());
        }
        read?;
        (watch.moved)(Moved { blobs: 1, ..Moved::default() });
        Ok(())
    })?;
    Ok(())
}

/// Tells what passes, and fails when it is to stop.
pub(super) struct Watched<'a, R> {
    pub inner: R,
    pub watch: &'a Watch<'a>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.watch.go_on)() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.inner.read(buffer)?;
        if count > 0 {
            (self.watch.moved)(Moved { bytes: count as u64, ..Moved::default() });
        }
        Ok(count)
    }
}
