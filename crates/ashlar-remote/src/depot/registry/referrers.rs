//! What refers to a manifest. A registry that says `OCI-Subject` keeps the list itself; for others
//! we keep it as an index under a tag, as the distribution specification has it.
//!
//! Such an index can only be read, changed and written again, and two who do that at once may
//! lose what one of them wrote. So whoever wrote looks again: at once, and at the end of the batch
//! ([`crate::depot::Depot::flush`]), by when everybody who read before that has written. What is
//! not there any more is written again.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::Value;

use ashlar_object::Digest;
use ashlar_store::RemoteError;

use super::Registry;
use super::manifests::next;
use crate::depot::objects::tag::{self, INDEX as LIST, Index};
use crate::depot::{Descriptor, Manifest, Reference};

/// The header by which a registry says that it has put a manifest onto the list of its subject.
pub(super) const SUBJECT: &str = "oci-subject";
/// How often a list is written until everything that was written stays in it.
const ROUNDS: u32 = 12;
/// Who keeps the lists: it is not known, the registry, we.
const UNKNOWN: u8 = 0;
const REGISTRY: u8 = 1;
const WE: u8 = 2;
/// For so long at least a list may still be overwritten by somebody who read it before.
const SETTLED: Duration = Duration::from_millis(100);
/// How many look again at once at the end of a batch.
const THREADS: usize = 8;

/// What is known of the lists of a registry.
#[derive(Default)]
pub(super) struct Lists {
    keeper: AtomicU8,
    /// Held while a list is changed, by the first digit of its name: our own threads at least take
    /// turns.
    turns: [Mutex<()>; 16],
    /// What was written, and is still to be looked at again.
    written: Mutex<Vec<Written>>,
    /// How long the slowest change took, in milliseconds.
    slowest: AtomicU64,
}

#[derive(Clone)]
struct Written {
    subject: [u8; 32],
    ours: Descriptor,
    at: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// See [`crate::depot::Depot::referrers`].
    pub(super) fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        if self.lists.keeper.load(Ordering::Relaxed) != WE
            && let Some(found) = self.listed(subject)?
        {
            return Ok(found);
        }
        let tag = Reference::Tag(tag::referrers_tag(&subject.hash));
        Ok(self.read_manifest(&tag)?.map(|list| descriptors(&list.bytes)).unwrap_or_default())
    }

    /// Whether the registry keeps lists of referrers itself.
    pub(super) fn keeps_lists(&self) -> Result<bool, RemoteError> {
        Ok(self.listed(&Digest::EMPTY)?.is_some())
    }

    /// The list that the registry keeps, if it does.
    fn listed(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>, RemoteError> {
        let rest = format!("referrers/sha256:{}", subject.hex());
        let mut request = self.reads(Method::GET, &rest)?.header(ACCEPT, LIST);
        let mut found = Vec::new();
        // More pages than this are a circle.
        for _ in 0..1000 {
            let answer = self.client.send(&request, None)?;
            match answer.status.as_u16() {
                400 | 404 | 405 | 406 | 410 | 501 => {
                    // A repository that is not there yet says nothing about the registry.
                    if !answer.said().contains("NAME_UNKNOWN") {
                        self.lists.keeper.store(WE, Ordering::Relaxed);
                    }
                    return Ok(None);
                }
                _ => {}
            }
            let answer = self.expect_success(answer)?;
            let parsed = serde_json::from_slice::<Value>(&answer.body).unwrap_or(Value::Null);
            if !parsed["manifests"].is_array() {
                // Some answer every address with a page.
                return Ok(None);
            }
            self.lists.keeper.store(REGISTRY, Ordering::Relaxed);
            found.extend(descriptors(&answer.body));
            let Some(link) = next(&answer) else { return Ok(Some(found)) };
            let url = request.url.join(&link).ok();
            let url = url.filter(|url| url.origin() == request.url.origin());
            request.url = url.ok_or_else(|| answer.wrong("its next page is elsewhere"))?;
        }
        Ok(Some(found))
    }

    /// After a manifest with a subject was put: `listed` when the registry says that it is on the
    /// list.
    pub(super) fn refer(
        &self,
        subject: &Digest,
        manifest: &Manifest,
        listed: bool,
    ) -> Result<(), RemoteError> {
        if listed {
            self.lists.keeper.store(REGISTRY, Ordering::Relaxed);
            return Ok(());
        }
        if self.lists.keeper.load(Ordering::Relaxed) == UNKNOWN {
            self.lists.keeper.store(WE, Ordering::Relaxed);
        }
        let ours = tag::describe(manifest);
        for round in 0..ROUNDS {
            let began = Instant::now();
            if !self.add(&subject.hash, &ours)? {
                if round == 0 {
                    return Ok(());
                }
                let written = Written { subject: subject.hash, ours, at: Instant::now() };
                locked(&self.lists.written).push(written);
                return Ok(());
            }
            if round > 0 {
                pause(began.elapsed(), round);
            }
        }
        Err(self.contended(&subject.hash))
    }

    /// At the end of a batch: looks again at everything that was written.
    pub(super) fn settle(&self) -> Result<(), RemoteError> {
        let mut left = std::mem::take(&mut *locked(&self.lists.written));
        for _ in 0..ROUNDS {
            let Some(newest) = left.iter().map(|one| one.at).max() else { return Ok(()) };
            let slowest = Duration::from_millis(self.lists.slowest.load(Ordering::Relaxed));
            let settled = SETTLED.max(slowest.min(Duration::from_secs(1)) * 3);
            std::thread::sleep(settled.saturating_sub(newest.elapsed()));
            left = self.repair(&left)?;
        }
        match left.first() {
            Some(one) => Err(self.contended(&one.subject)),
            None => Ok(()),
        }
    }

    /// Writes what is not there any more. What had to be written is to be looked at once more.
    fn repair(&self, written: &[Written]) -> Result<Vec<Written>, RemoteError> {
        let repair = |part: &[Written]| -> Result<Vec<Written>, RemoteError> {
            let mut again = Vec::new();
            for one in part {
                if self.add(&one.subject, &one.ours)? {
                    again.push(Written { at: Instant::now(), ..one.clone() });
                }
            }
            Ok(again)
        };
        let size = written.len().div_ceil(THREADS).max(1);
        let repaired: Vec<_> = std::thread::scope(|scope| {
            let parts: Vec<_> =
                written.chunks(size).map(|part| scope.spawn(move || repair(part))).collect();
            let joined = parts.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.collect()
        });
        let mut again = Vec::new();
        for part in repaired {
            match part {
                Ok(part) => again.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(again)
    }

    fn contended(&self, subject: &[u8; 32]) -> RemoteError {
        RemoteError::Wrong {
            place: self.place.clone(),
            what: format!("the list of what refers to {}", tag::referrers_tag(subject)),
            why: "others overwrite it without end; try again later".to_owned(),
        }
    }

    /// Puts something onto a list. `false` when it was there.
    fn add(&self, subject: &[u8; 32], ours: &Descriptor) -> Result<bool, RemoteError> {
        let tag = Reference::Tag(tag::referrers_tag(subject));
        let _turn = locked(&self.lists.turns[usize::from(subject[0] >> 4)]);
        let began = Instant::now();
        let mut old = self.read_manifest(&tag)?;
        if old.is_none() {
            // `docker-registry` empties the file of a tag before it writes it: what is just being
            // written looks as if it were not there, and would be lost.
            std::thread::sleep(Duration::from_millis(5));
            old = self.read_manifest(&tag)?;
        }
        let mut list = old.map(|list| descriptors(&list.bytes)).unwrap_or_default();
        if list.iter().any(|one| one.digest == ours.digest) {
            return Ok(false);
        }
        list.push(ours.clone());
        if let Err(error) = self.write_list(&list, &tag) {
            // Registries take no list of what is not there: somebody collects meanwhile.
            let listed = list.len();
            list = self.still_there(list)?;
            let gone = !list.iter().any(|one| one.digest == ours.digest);
            if gone {
                return Ok(false);
            }
            if list.len() == listed {
                return Err(error);
            }
            self.write_list(&list, &tag)?;
        }
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lists.slowest.fetch_max(took, Ordering::Relaxed);
        Ok(true)
    }
}

impl Registry {
    fn write_list(&self, list: &[Descriptor], tag: &Reference) -> Result<(), RemoteError> {
        let bytes = Index::of(list.to_vec()).encode();
        self.write_one(&Manifest { media_type: LIST.to_owned(), bytes }, tag).map(drop)
    }

    /// What of a list is there.
    fn still_there(&self, list: Vec<Descriptor>) -> Result<Vec<Descriptor>, RemoteError> {
        let mut there = Vec::new();
        for one in list {
            if let Some(hash) = tag::hash_of(&one.digest)
                && self.read_manifest(&Reference::Hash(hash))?.is_some()
            {
                there.push(one);
            }
        }
        Ok(there)
    }
}

/// Twice as long as a change takes, and at random longer with each round.
fn pause(took: Duration, round: u32) {
    use std::hash::{BuildHasher, Hasher};
    let dice = std::hash::RandomState::new().build_hasher().finish() % 1024;
    let factor = 1.5 + f64::from(round) * (dice as f64 / 1024.0);
    std::thread::sleep(took.mul_f64(factor).min(Duration::from_secs(1)));
}

/// The descriptors of an index: those that make sense.
fn descriptors(bytes: &[u8]) -> Vec<Descriptor> {
    let parsed: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let all = parsed["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
}
