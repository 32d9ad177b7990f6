//! A depot in memory for tests, stricter than any other: nothing may be pointed to that is not all
//! there. It records what is done, fails when told to, and gives wrong bytes when told to.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use ashlar_object::Digest;
use ashlar_store::{Moved, RemoteError, Watch};
use serde_json::Value;

use super::objects::{hash_of, hashes};
use super::{Body, Depot, Descriptor, Manifest, Reference};

type Happens = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
pub(crate) struct MemoryDepot(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// How many calls still succeed, plus one; 0: all.
    left: AtomicI64,
    /// What happens right before the next call that begins like that.
    before: Mutex<Option<(&'static str, Happens)>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub blobs: HashMap<[u8; 32], Arc<[u8]>>,
    pub manifests: HashMap<[u8; 32], Manifest>,
    pub tags: BTreeMap<String, [u8; 32]>,
    /// What was done: `put blob …`, `get tag …`, ….
    pub log: Vec<String>,
    /// How many calls failed because they were to.
    pub failed: usize,
    /// Whether it removes nothing by age, as a registry.
    pub keeps: bool,
}

impl MemoryDepot {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Lets this many calls succeed and all after them fail, until [`MemoryDepot::mend`].
    pub fn fail_after(&self, calls: i64) {
        self.0.left.store(calls + 1, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.0.left.store(0, Ordering::SeqCst);
    }

    /// Lets something happen right before the next call whose line in the log begins like that.
    pub fn before(&self, call: &'static str, happens: impl FnOnce() + Send + 'static) {
        *self.0.before.lock().unwrap() = Some((call, Box::new(happens)));
    }

    /// Forgets and returns what was done.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    fn call(&self, what: String) -> Result<MutexGuard<'_, State>, RemoteError> {
        let happens = self.0.before.lock().unwrap().take_if(|(call, _)| what.starts_with(*call));
        if let Some((_, happens)) = happens {
            happens();
        }
        let left = self.0.left.load(Ordering::SeqCst);
        if left > 0 && self.0.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
            self.0.left.store(1, Ordering::SeqCst);
            self.state().failed += 1;
            return Err(RemoteError::Unreachable {
                place: self.place().to_owned(),
                source: what.into(),
            });
        }
        let mut state = self.state();
        state.log.push(what);
        Ok(state)
    }
}

/// What a manifest needs that is not there.
fn lacks(state: &State, manifest: &Manifest) -> Option<String> {
    let parsed: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let mut blobs = vec![&parsed["config"]];
    blobs.extend(parsed["layers"].as_array().into_iter().flatten());
    for blob in blobs {
        let hash = hash_of(blob["digest"].as_str()?).unwrap();
        match state.blobs.get(&hash) {
            Some(bytes) if bytes.len() as u64 == blob["size"].as_u64().unwrap() => {}
            _ => return Some(blob.to_string()),
        }
    }
    let mut named = Vec::new();
    // A registry knows nothing of what is in a config.
    if !state.keeps && parsed["artifactType"] == "application/vnd.ashlar.result.v1+json" {
        let config = hash_of(parsed["config"]["digest"].as_str()?).unwrap();
        let config: Value = serde_json::from_slice(&state.blobs[&config]).unwrap();
        hashes(&config, &mut named);
        assert_eq!(named.len(), 1, "a result names its tree image and nothing else: {config}");
    }
    named.iter().find_map(|hash| match state.manifests.get(hash) {
        Some(image) => lacks(state, image),
        None => Some("the image of a tree".to_owned()),
    })
}

impl Depot for MemoryDepot {
    fn place(&self) -> &str {
        "memory"
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError> {
        let state = self.call(format!("has blob {}", digest.short()))?;
        Ok(state.blobs.get(&digest.hash).is_some_and(|bytes| bytes.len() as u64 == digest.size))
    }

    fn blob_size(&self, hash: &[u8; 32]) -> Result<Option<u64>, RemoteError> {
        let state = self.call("size of blob".to_owned())?;
        Ok(state.blobs.get(hash).map(|bytes| bytes.len() as u64))
    }

    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        let state = self.call(format!("get blob {}", digest.short()))?;
        let Some(bytes) = state.blobs.get(&digest.hash) else { return Ok(None) };
        let end = usize::try_from(range.end).unwrap().min(bytes.len());
        let start = usize::try_from(range.start).unwrap().min(end);
        Ok(Some(Box::new(std::io::Cursor::new(bytes[start..end].to_vec()))))
    }

    fn put_blob(&self, digest: &Digest, body: &Body, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let mut bytes = vec![0; usize::try_from(digest.size).unwrap() + 1];
        let mut filled = 0;
        loop {
            match body.read_at(&mut bytes[filled..], filled as u64).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        assert_eq!(Digest::of(&bytes), *digest);
        let mut state = self.call(format!("put blob {}", digest.short()))?;
        state.blobs.insert(digest.hash, bytes.into());
        (watch.moved)(Moved { bytes: digest.size, blobs: 1, already: 0 });
        Ok(())
    }

    fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>, RemoteError> {
        let state = self.call(match reference {
            Reference::Tag(tag) => format!("get tag {tag}"),
            Reference::Hash(_) => "get manifest".to_owned(),
        })?;
        let hash = match reference {
            Reference::Tag(tag) => state.tags.get(tag).copied(),
            Reference::Hash(hash) => Some(*hash),
        };
        let Some(manifest) = hash.and_then(|hash| state.manifests.get(&hash)) else {
            return Ok(None);
        };
        if matches!(reference, Reference::Hash(hash) if manifest.digest().hash != *hash) {
            return Err(RemoteError::Wrong {
                place: "memory".to_owned(),
                what: "a manifest".to_owned(),
                why: "its bytes have another digest".to_owned(),
            });
        }
        Ok(Some(manifest.clone()))
    }

    fn put_manifest(&self, manifest: &Manifest, tags: &[String]) -> Result<(), RemoteError> {
        let mut state = self.call("put manifest".to_owned())?;
        assert_eq!(lacks(&state, manifest), None, "pointed to before it was there");
        let hash = manifest.digest().hash;
        state.manifests.insert(hash, manifest.clone());
        drop(state);
        for tag in tags {
            let mut state = self.call(format!("put tag {tag}"))?;
            state.tags.insert(tag.clone(), hash);
        }
        Ok(())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        let state = self.call("referrers".to_owned())?;
        let of = format!("sha256:{}", subject.hex());
        let all = state.manifests.values().filter_map(|manifest| {
            let parsed: Value = serde_json::from_slice(&manifest.bytes).ok()?;
            (parsed["subject"]["digest"] == of.as_str()).then(|| Descriptor {
                media_type: manifest.media_type.clone(),
                digest: format!("sha256:{}", manifest.digest().hex()),
                size: manifest.bytes.len() as u64,
                artifact_type: parsed["artifactType"].as_str().map(str::to_owned),
                data: None,
                annotations: BTreeMap::new(),
                platform: None,
            })
        });
        Ok(all.collect())
    }

    fn tags(&self) -> Result<Vec<(String, Option<SystemTime>)>, RemoteError> {
        Ok(self.state().tags.keys().map(|tag| (tag.clone(), None)).collect())
    }

    fn remove_tag(&self, tag: &str, _: Option<SystemTime>) -> Result<bool, RemoteError> {
        Ok(self.state().tags.remove(tag).is_some())
    }

    fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, RemoteError> {
        let state = self.state();
        let all = state.blobs.iter().map(|(hash, bytes)| {
            (Digest { hash: *hash, size: bytes.len() as u64 }, SystemTime::UNIX_EPOCH)
        });
        Ok(all.collect())
    }

    fn remove_blob(&self, digest: &Digest, _: SystemTime) -> Result<bool, RemoteError> {
        Ok(self.state().blobs.remove(&digest.hash).is_some())
    }

    fn forgets(&self) -> bool {
        !self.state().keeps
    }

    fn remove_manifest(&self, hash: &[u8; 32]) -> Result<bool, RemoteError> {
        let mut state = self.call("remove manifest".to_owned())?;
        state.tags.retain(|_, to| to != hash);
        Ok(state.manifests.remove(hash).is_some())
    }

    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        Ok(Ok(()))
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        Ok(Vec::new())
    }
}
