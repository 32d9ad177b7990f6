//! What refers to a manifest. A registry that says `OCI-Subject` keeps the list itself; for others
//! we keep it as an index under a tag, as the distribution specification has it.
//!
//! Such an index can only be read, changed and written again, and two who do that at once may
//! lose what one of them wrote. So whoever wrote looks again, at once and after a while in which
//! everybody who read before that has written, and writes again what is not there any more.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
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

impl Registry {
    /// See [`crate::depot::Depot::referrers`].
    pub(super) fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError> {
        if self.listing.load(Ordering::Relaxed) != WE
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
                        self.listing.store(WE, Ordering::Relaxed);
                    }
                    return Ok(None);
                }
                _ => {}
            }
            let answer = self.expect_success(answer)?;
            if serde_json::from_slice::<Index>(&answer.body).is_err() {
                // Some answer every address with a page.
                return Ok(None);
            }
            self.listing.store(REGISTRY, Ordering::Relaxed);
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
            self.listing.store(REGISTRY, Ordering::Relaxed);
            return Ok(());
        }
        if self.listing.load(Ordering::Relaxed) == UNKNOWN {
            self.listing.store(WE, Ordering::Relaxed);
        }
        let tag = Reference::Tag(tag::referrers_tag(&subject.hash));
        let ours = tag::describe(manifest);
        let _turn = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        for round in 0..ROUNDS {
            let began = Instant::now();
            if !self.add(&tag, &ours)? && round == 0 {
                return Ok(());
            }
            let took = began.elapsed();
            if !self.holds(&tag, &ours)? {
                pause(took, round);
                continue;
            }
            // Whoever read the list before we wrote it has written by then.
            pause(took, 1);
            if self.holds(&tag, &ours)? {
                return Ok(());
            }
        }
        Err(RemoteError::Wrong {
            place: self.place.clone(),
            what: format!("the list of what refers to {}", subject.short()),
            why: "others overwrite it without end; try again later".to_owned(),
        })
    }

    /// Puts something onto a list. `false` when it was there.
    fn add(&self, tag: &Reference, ours: &Descriptor) -> Result<bool, RemoteError> {
        let old = self.read_manifest(tag)?;
        let mut list = old.map(|list| descriptors(&list.bytes)).unwrap_or_default();
        if list.iter().any(|one| one.digest == ours.digest) {
            return Ok(false);
        }
        list.push(ours.clone());
        let bytes = Index::of(list).encode();
        self.write_one(&Manifest { media_type: LIST.to_owned(), bytes }, tag)?;
        Ok(true)
    }

    fn holds(&self, tag: &Reference, ours: &Descriptor) -> Result<bool, RemoteError> {
        let list = self.read_manifest(tag)?;
        Ok(list.is_some_and(|list| {
            descriptors(&list.bytes).iter().any(|one| one.digest == ours.digest)
        }))
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
