//! What transfers have in common: where from and to, what is counted, many things at once.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ashlar_object::Digest;
use ashlar_pack::Limits;
use ashlar_store::{Moved, RemoteError, Store, Watch};

use crate::depot::Depot;

/// Requests under way at once for small things.
pub(super) const SMALL: usize = 16;

/// What a push or a pull of trees works with.
#[derive(Clone, Copy)]
pub(crate) struct Transfer<'a> {
    /// The far side.
    pub depot: &'a dyn Depot,
    /// Where tables of contents are kept for the next time, under their own digests.
    pub cache: Option<&'a dyn Store>,
    /// The folder for files of moments that are too large for memory; without one, that of the
    /// cache, or what the system says.
    pub folder: Option<&'a std::path::Path>,
    /// How trees are cut into layers.
    pub limits: &'a Limits,
    /// The architecture that images are said to be for, as Go names it.
    pub architecture: &'a str,
    /// Who watches.
    pub watch: Watch<'a>,
}

impl Transfer<'_> {
    /// Fails when it is to stop.
    pub(super) fn go_on(&self) -> Result<(), RemoteError> {
        if (self.watch.go_on)() { Ok(()) } else { Err(RemoteError::Stopped) }
    }

    /// Where files of moments are written.
    pub(super) fn spool(&self) -> PathBuf {
        (self.folder.map(std::path::Path::to_path_buf))
            .or_else(|| self.cache.and_then(Store::scratch))
            .unwrap_or_else(std::env::temp_dir)
    }

    /// An answer that makes no sense.
    pub(super) fn wrong(&self, what: impl Into<String>, why: impl Into<String>) -> RemoteError {
        let place = self.depot.place().to_owned();
        RemoteError::Wrong { place, what: what.into(), why: why.into() }
    }
}

/// This machine's architecture, as Go names it.
pub(super) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Adds up what a watcher is told.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: AtomicU64,
    blobs: AtomicU64,
    already: AtomicU64,
}

impl Tally {
    pub fn add(&self, moved: Moved) {
        self.bytes.fetch_add(moved.bytes, Ordering::Relaxed);
        self.blobs.fetch_add(moved.blobs, Ordering::Relaxed);
        self.already.fetch_add(moved.already, Ordering::Relaxed);
    }

    pub fn sum(&self) -> Moved {
        Moved {
            bytes: self.bytes.load(Ordering::Relaxed),
            blobs: self.blobs.load(Ordering::Relaxed),
            already: self.already.load(Ordering::Relaxed),
        }
    }
}

/// Runs something with a transfer whose watcher's sums are returned with the result.
pub(super) fn counted<T>(
    transfer: &Transfer<'_>,
    run: impl FnOnce(&Transfer<'_>) -> T,
) -> (T, Moved) {
    let tally = Tally::default();
    let moved = |moved: Moved| {
        tally.add(moved);
        (transfer.watch.moved)(moved);
    };
    let watch = Watch { moved: &moved, ..transfer.watch };
    let result = run(&Transfer { watch, ..*transfer });
    (result, tally.sum())
}

/// Does something for each of many things, up to `at_once` at a time; results in the same order.
/// After the first error nothing more is begun.
pub(crate) fn in_parallel<T: Sync, R: Send, E: Send>(
    things: &[T],
    at_once: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if things.len() <= 1 || at_once <= 1 {
        return things.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::with_capacity(things.len()));
    let run = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(number) else { break };
            let result = work(thing);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once.min(things.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A reader of a depot that counts for the watcher, ends when it is to stop, and remembers why it
/// failed: what comes after it only sees that it did.
pub(super) struct Tap<'a> {
    inner: Box<dyn Read + Send>,
    watch: Watch<'a>,
    pub failed: Option<io::Error>,
}

impl<'a> Tap<'a> {
    pub fn new(inner: Box<dyn Read + Send>, watch: Watch<'a>) -> Self {
        Self { inner, watch, failed: None }
    }
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.watch.go_on)() {
            self.failed = Some(io::Error::other(RemoteError::Stopped));
            return Err(io::ErrorKind::TimedOut.into());
        }
        match self.inner.read(buffer) {
            Ok(count) => {
                (self.watch.moved)(Moved { bytes: count as u64, ..Moved::default() });
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let seen = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(seen)
            }
        }
    }
}

/// Reads a whole blob, or a part of it, that has a digest of its own; `Ok(None)` when it is not
/// there, `Wrong` when it is something else.
pub(super) fn fetch(
    transfer: &Transfer<'_>,
    blob: &Digest,
    range: std::ops::Range<u64>,
    part: &Digest,
) -> Result<Option<Vec<u8>>, RemoteError> {
    /// Nothing that is read whole is larger.
    const MOST: u64 = 256 << 20;
    let what = || format!("bytes {} to {} of {}", range.start, range.end, blob.hex());
    if part.size > MOST || range.end.checked_sub(range.start) != Some(part.size) {
        return Err(transfer.wrong(what(), format!("it would have {} bytes", part.size)));
    }
    let Some(reader) = transfer.depot.open_blob(blob, range.clone())? else { return Ok(None) };
    let mut tap = Tap::new(reader, transfer.watch);
    let mut bytes = Vec::with_capacity(usize::try_from(part.size).unwrap_or_default());
    let read = (&mut tap).take(part.size + 1).read_to_end(&mut bytes);
    if let Some(error) = tap.failed {
        return Err(crate::http::remote_error(error, transfer.depot.place()));
    }
    if read.is_err() || Digest::of(&bytes) != *part {
        return Err(transfer.wrong(what(), "its bytes have another digest"));
    }
    (transfer.watch.moved)(Moved { blobs: 1, ..Moved::default() });
    Ok(Some(bytes))
}
