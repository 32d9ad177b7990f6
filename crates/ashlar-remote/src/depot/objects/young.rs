//! Staying there: what is relied on is made young, since collection spares what is young.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use serde_json::Value;

use super::layout::ObjectDepot;
use super::tag;
use super::{LEASES, Objects, Touched, blob_key};
use crate::depot::{Body, Depot as _, Manifest};

/// What was written or touched within this time is young enough to be relied on without being
/// touched again. It must be far below the time that collection spares things for (an hour).
pub(crate) const FRESH: Duration = Duration::from_secs(10 * 60);
/// For how long something is known to be young after it was written, touched or looked at:
/// together with [`FRESH`] half of what collection spares.
const TRUSTED: Duration = Duration::from_secs(20 * 60);
/// How many requests are under way at once when many things are looked at.
pub(crate) const AT_ONCE: usize = 8;

/// What this process knows of how young things are.
#[derive(Debug, Default)]
pub(crate) struct Young {
    blobs: Mutex<HashMap<[u8; 32], Instant>>,
    tags: Mutex<HashMap<String, SystemTime>>,
    /// Whether the place refused a lease: whoever may not write need not try again.
    refused: AtomicBool,
}

impl Young {
    /// A blob is young now.
    pub fn note_blob(&self, hash: [u8; 32]) {
        self.blobs().insert(hash, Instant::now());
    }

    /// A blob was removed.
    pub fn forget_blob(&self, hash: &[u8; 32]) {
        self.blobs().remove(hash);
    }

    fn knows_blob(&self, hash: &[u8; 32]) -> bool {
        self.blobs().get(hash).is_some_and(|seen| seen.elapsed() < TRUSTED)
    }

    fn blobs(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tags(&self) -> std::sync::MutexGuard<'_, HashMap<String, SystemTime>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tag was read, and written at that time.
    pub fn note_tag(&self, tag: &str, modified: SystemTime) {
        self.tags().insert(tag.to_owned(), modified);
    }

    /// When a tag that was read was written.
    pub fn tag(&self, tag: &str) -> Option<SystemTime> {
        self.tags().get(tag).copied()
    }

    /// A tag is young now: nothing needs to be done about it for the rest of this process.
    pub fn forget_tag(&self, tag: &str) {
        self.tags().remove(tag);
    }
}

impl<O: Objects> ObjectDepot<O> {
    /// Makes an object that is there young, if it is older than that. `false` when it is gone.
    pub(super) fn make_young(
        &self,
        key: &str,
        blob: Option<[u8; 32]>,
        modified: SystemTime,
        old_enough: Duration,
    ) -> Result<bool, RemoteError> {
        let young = self.objects.now()?.duration_since(modified).is_ok_and(|age| age < old_enough);
        if !young && !self.young.refused.load(Ordering::Relaxed) {
            match self.objects.touch(key)? {
                Touched::Done => {}
                Touched::Absent => return Ok(false),
                Touched::Cannot => {
                    let empty = Body::Bytes(Vec::new().into());
                    let lease = format!("{LEASES}/{key}");
                    match self.objects.put(&lease, &empty, 0, &Watch::NOBODY) {
                        // It may have been removed before the lease was there.
                        Ok(()) if self.objects.head(key)?.is_none() => return Ok(false),
                        Ok(()) => {}
                        // Who may not write will not point to it either.
                        Err(RemoteError::Refused { .. }) => {
                            self.young.refused.store(true, Ordering::Relaxed);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if let Some(hash) = blob {
            self.young.note_blob(hash);
        }
        Ok(true)
    }

    /// Sees to it that everything a manifest needs is there and stays for a while. What this
    /// process put or looked at lately costs nothing.
    pub(super) fn ensure(&self, manifest: &Manifest) -> Result<(), RemoteError> {
        let mut round = needs(manifest);
        // A result needs an image, which needs layers; an index may stand before that.
        for _ in 0..4 {
            let mut next = Vec::new();
            for (need, held) in in_parallel(&round, |need| self.hold(need)) {
                match held? {
                    Some(more) => next.extend(more),
                    None => {
                        return Err(self.wrong(
                            "a manifest",
                            format!(
                                "the blob sha256:{} that it refers to is not there (any more); \
                                 push again",
                                Digest { hash: need.hash, size: 0 }.hex()
                            ),
                        ));
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            round = next;
        }
        Ok(())
    }

    /// Makes one needed thing young. `None` when it is not there, else what it needs itself.
    fn hold(&self, need: &Need) -> Result<Option<Vec<Need>>, RemoteError> {
        if self.young.knows_blob(&need.hash) {
            return Ok(Some(Vec::new()));
        }
        let there = match need.size {
            Some(size) => self.has_blob(&Digest { hash: need.hash, size })?,
            None => {
                let key = blob_key(&need.hash);
                match self.objects.head(&key)? {
                    Some(seen) => self.make_young(&key, Some(need.hash), seen.modified, FRESH)?,
                    None => false,
                }
            }
        };
        if !there {
            return Ok(None);
        }
        if !need.manifest {
            return Ok(Some(Vec::new()));
        }
        Ok(self.stored(&need.hash)?.map(|manifest| needs(&manifest)))
    }
}

/// Something that a manifest needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    hash: [u8; 32],
    size: Option<u64>,
    manifest: bool,
}

/// What a manifest cannot be without: its config, its layers, its manifests, and the image that the
/// config of a result names.
fn needs(manifest: &Manifest) -> Vec<Need> {
    let parsed: Value = serde_json::from_slice(&manifest.bytes).unwrap_or(Value::Null);
    let mut needs = Vec::new();
    let mut add = |descriptor: &Value, manifest: bool| {
        if let Some(hash) = descriptor["digest"].as_str().and_then(tag::hash_of) {
            needs.push(Need { hash, size: descriptor["size"].as_u64(), manifest });
        }
    };
    add(&parsed["config"], false);
    for (list, manifest) in [("layers", false), ("blobs", false), ("manifests", true)] {
        for descriptor in parsed[list].as_array().into_iter().flatten() {
            add(descriptor, manifest);
        }
    }
    for hash in named_in_config(&parsed) {
        needs.push(Need { hash, size: None, manifest: true });
    }
    needs
}

/// The media type of results.
pub(crate) const RESULT: &str = "application/vnd.ashlar.result.v1+json";

/// Every manifest that the config of a result names, if the config is in the manifest.
fn named_in_config(manifest: &Value) -> Vec<[u8; 32]> {
    use base64::Engine as _;
    if manifest["artifactType"] != RESULT {
        return Vec::new();
    }
    let config = manifest["config"]["data"]
        .as_str()
        .and_then(|data| base64::engine::general_purpose::STANDARD.decode(data).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let mut named = Vec::new();
    if let Some(config) = config {
        hashes(&config, &mut named);
    }
    named
}

/// Every `sha256:<hex>` in a document.
pub(crate) fn hashes(value: &Value, found: &mut Vec<[u8; 32]>) {
    match value {
        Value::String(text) => found.extend(tag::hash_of(text)),
        Value::Array(values) => values.iter().for_each(|value| hashes(value, found)),
        Value::Object(map) => map.values().for_each(|value| hashes(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Does something for each of many things, some at once, in any order.
pub(crate) fn in_parallel<'a, T: Sync, R: Send>(
    things: &'a [T],
    work: impl Fn(&'a T) -> R + Sync,
) -> Vec<(&'a T, R)> {
    use std::sync::atomic::AtomicUsize;
    if things.len() <= 1 {
        return things.iter().map(|thing| (thing, work(thing))).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(things.len()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(things.len()) {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(thing);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((thing, result));
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
