//! Collecting a registry: a place that tells no times, lists no blobs, and frees their bytes at a
//! collection of its own. What goes is decided by what results say of themselves: when they were
//! made. Manifests are removed, first those of results, then those of trees and referrers that
//! nothing needs any more; sizes are those that manifests give.
//!
//! | manifest | when it goes |
//! |---|---|
//! | a result | over the limits, the eldest first; never within the grace period of its own time |
//! | a tree, a lineage, what is said about either or about a result | when nothing that stays needs it |
//! | an artifact, what people tagged, what cannot be told | never |
//!
//! Safe beside writers, although nobody can tell how old a tree is to which no result leads yet:
//! whoever points to a tree looks afterwards whether it is still there, and puts it again
//! otherwise; and who removes trees looks afterwards whether a result leads to one of them by now,
//! and puts it back. Whichever of both is later sees the other. Tags that came up during the
//! collection are young, and what they lead to stays.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use ashlar_store::{Collected, Limits, RemoteError, Watch};
use serde_json::Value;

use super::reach::{Hash, Reach};
use super::{Kind, Tag, about, choose, go_on, kind, read_tags};
use crate::depot::objects::{in_parallel, tag};
use crate::depot::{Depot, Manifest, Reference};

/// What a manifest says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It is a result, made at that time.
    Made(SystemTime),
    /// It is the image of a tree, which bears no time.
    Tree,
    /// It is something else.
    Other,
}

/// How a manifest is read.
pub(crate) type Reading<'a> = dyn Fn(&Manifest) -> Says + Sync + 'a;

/// After so many manifests were removed, tags are looked at again.
const CHUNK: usize = 64;
/// So many bytes of removed manifests are held until it is sure that nothing needs them.
const HELD: usize = 16 << 20;

/// Collects: results over the limits, and whatever nothing needs then.
pub(crate) fn collect(
    depot: &dyn Depot,
    limits: Limits,
    grace: Duration,
    reading: &Reading<'_>,
    watch: &Watch<'_>,
) -> Result<Collected, RemoteError> {
    // Before anything is changed: what cannot be finished is not begun.
    depot.may_remove()?;
    let now = depot.now()?;
    let before = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
    let when = |kind, _: Option<SystemTime>, manifest: Option<&Manifest>| match kind {
        Kind::Result => match manifest.map(reading) {
            Some(Says::Made(at)) => at,
            // Of an artifact, or what cannot be read, nothing tells that it is old.
            _ => now,
        },
        Kind::Derived | Kind::Referrers(_) | Kind::Attached(_) | Kind::Made => {
            SystemTime::UNIX_EPOCH
        }
    };
    let (tags, manifests) = read_tags(depot, &depot.tags()?, &when, watch)?;
    let mut reach = Reach::learning(depot, about(&tags), manifests);
    let (_, drop) = choose(&tags, &mut reach, limits, now, before)?;
    let drop: Vec<Hash> =
        drop.iter().filter_map(|found| tags[*found.tags.first()?].manifest).collect();
    let mut collection = Collection {
        depot,
        reading,
        before,
        watch,
        seen: tags.iter().map(|tag| tag.name.clone()).collect(),
        reach,
        needless: HashSet::new(),
    };
    for result in &drop {
        collection.give_up(*result)?;
    }
    let results = collection.remove_results(&drop)?;
    collection.judge(&tags)?;
    collection.remove_needless(&drop, &tags)?;
    depot.flush()?;

    let Collection { reach, needless, .. } = collection;
    let freed = needless.iter().filter(|hash| !reach.has(hash)).map(|hash| reach.size(hash));
    let (mut blobs, mut bytes) = (0, 0);
    for size in freed.filter(|size| *size > 0) {
        blobs += 1;
        bytes += size;
    }
    Ok(Collected { results, blobs, bytes, left: Some(reach.bytes()), later: true })
}

struct Collection<'a> {
    depot: &'a dyn Depot,
    reading: &'a Reading<'a>,
    before: SystemTime,
    watch: &'a Watch<'a>,
    /// The tags that were there before.
    seen: HashSet<String>,
    /// What stays.
    reach: Reach<'a>,
    /// What goes, unless it turns out that something that stays needs it: manifests and blobs.
    needless: HashSet<Hash>,
}

/// A manifest that was removed, and the tags by which it was found.
struct Removed {
    manifest: Manifest,
    hash: Hash,
    tags: Vec<String>,
    /// Of a list of referrers: of what.
    list_of: Option<Hash>,
}

impl Collection<'_> {
    /// Something and all that only it needs goes.
    fn give_up(&mut self, manifest: Hash) -> Result<(), RemoteError> {
        let more = self.reach.closure(manifest)?;
        self.needless.extend(more);
        Ok(())
    }

    /// Looks at the tags again: what came up meanwhile is young, and what people tagged may be
    /// tagged otherwise. With `results`, what the tags of results lead to now stays as well.
    fn look_again(&mut self, results: bool, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let mut listed = self.depot.tags()?;
        listed.retain(|(name, _)| {
            let what = kind(name);
            !self.seen.contains(name) || what == Kind::Made || results && what == Kind::Result
        });
        let (tags, manifests) =
            read_tags(self.depot, &listed, &|_, _, _| SystemTime::UNIX_EPOCH, watch)?;
        self.reach.learn(manifests);
        self.reach.learn_about(about(&tags));
        for tag in tags {
            match kind(&tag.name) {
                Kind::Referrers(subject) => {
                    self.reach.add(subject)?;
                    self.reach.add_referrers(&subject)?;
                }
                Kind::Attached(subject) => self.reach.add(subject)?,
                Kind::Result | Kind::Derived | Kind::Made => {}
            }
            if let Some(manifest) = tag.manifest {
                self.reach.add(manifest)?;
            }
            self.seen.insert(tag.name);
        }
        Ok(())
    }

    /// Removes results. How many.
    fn remove_results(&mut self, drop: &[Hash]) -> Result<u64, RemoteError> {
        let mut gone = 0;
        for chunk in drop.chunks(CHUNK) {
            self.look_again(false, self.watch)?;
            let chunk: Vec<Hash> =
                chunk.iter().filter(|hash| !self.reach.has(hash)).copied().collect();
            for (_, removed) in in_parallel(&chunk, |hash| {
                go_on(self.watch)?;
                self.depot.remove_manifest(hash)
            }) {
                gone += u64::from(removed?);
            }
        }
        Ok(gone)
    }

    /// Which trees and referrers go.
    fn judge(&mut self, tags: &[Tag]) -> Result<(), RemoteError> {
        self.look_again(false, self.watch)?;
        for tag in tags {
            go_on(self.watch)?;
            match (kind(&tag.name), tag.manifest) {
                (Kind::Derived, Some(hash)) if !self.reach.has(&hash) => self.give_up(hash)?,
                (Kind::Referrers(subject) | Kind::Attached(subject), referrer) => {
                    self.judge_about(subject, referrer)?;
                }
                _ => {}
            }
        }
        // Where the registry keeps the lists itself, no tag tells of them.
        let manifests: Vec<Hash> = (self.needless.iter().copied())
            .filter(|hash| self.reach.is_manifest(hash) && !self.reach.has(hash))
            .collect();
        let mut referrers = Vec::new();
        for (_, listed) in in_parallel(&manifests, |hash| {
            go_on(self.watch)?;
            self.reach.referrers(hash)
        }) {
            referrers.extend(listed?);
        }
        referrers.into_iter().try_for_each(|referrer| self.give_up(referrer))
    }

    /// Whether what is said about something goes. What belongs to others stays: people push images
    /// without tags, and sign them.
    fn judge_about(&mut self, subject: Hash, referrer: Option<Hash>) -> Result<(), RemoteError> {
        if self.reach.has(&subject) {
            return Ok(());
        }
        if !self.needless.contains(&subject) {
            let read = match self.depot.manifest(&Reference::Hash(subject)) {
                Ok(manifest) => manifest.map(|manifest| (self.reading)(&manifest)),
                Err(RemoteError::Wrong { .. }) => None,
                Err(error) => return Err(error),
            };
            match read {
                Some(Says::Made(at)) if at >= self.before => return self.reach.add(subject),
                Some(Says::Other) => return self.reach.add(subject),
                Some(Says::Made(_) | Says::Tree) | None => self.give_up(subject)?,
            }
        }
        referrer.map_or(Ok(()), |referrer| self.give_up(referrer))
    }

    /// Removes what nothing needs, and puts back what something needs by then.
    fn remove_needless(&mut self, results: &[Hash], tags: &[Tag]) -> Result<(), RemoteError> {
        let mut names: HashMap<Hash, Vec<String>> = HashMap::new();
        let mut lists = BTreeSet::new();
        for tag in tags {
            match (kind(&tag.name), tag.manifest) {
                (Kind::Referrers(subject), _) => {
                    lists.insert((tag.name.clone(), subject));
                }
                // A lineage is only a hint, and may lead elsewhere by now.
                (_, Some(hash)) if !tag.name.starts_with("near-") => {
                    names.entry(hash).or_default().push(tag.name.clone());
                }
                _ => {}
            }
        }
        let results: HashSet<&Hash> = results.iter().collect();
        let mut left: Vec<Hash> = (self.needless.iter().copied())
            .filter(|hash| self.reach.is_manifest(hash) && !results.contains(hash))
            .collect();
        left.sort_unstable();
        let mut lists: Vec<(String, Hash)> = lists.into_iter().collect();
        while !left.is_empty() || !lists.is_empty() {
            let mut held = Vec::new();
            let removed = self.remove_some(&mut left, &mut lists, &names, &mut held);
            // Also after an error, and when told to stop: nobody else would do it.
            let settled = self.put_back(held);
            removed?;
            settled?;
        }
        Ok(())
    }

    fn remove_some(
        &mut self,
        left: &mut Vec<Hash>,
        lists: &mut Vec<(String, Hash)>,
        names: &HashMap<Hash, Vec<String>>,
        held: &mut Vec<Removed>,
    ) -> Result<(), RemoteError> {
        let size =
            |held: &[Removed]| -> usize { held.iter().map(|one| one.manifest.bytes.len()).sum() };
        while size(held) < HELD {
            self.look_again(false, self.watch)?;
            let chunk = left.split_off(left.len().saturating_sub(CHUNK));
            let wanted: Vec<(Reference, Option<Hash>)> = if chunk.is_empty() {
                let chunk = lists.split_off(lists.len().saturating_sub(CHUNK));
                chunk
                    .into_iter()
                    .filter(|(_, subject)| {
                        self.needless.contains(subject) && !self.reach.has(subject)
                    })
                    .map(|(tag, subject)| (Reference::Tag(tag), Some(subject)))
                    .collect()
            } else {
                let stay = |hash: &Hash| !self.reach.has(hash);
                chunk.into_iter().filter(stay).map(|hash| (Reference::Hash(hash), None)).collect()
            };
            let mut failed = Ok(());
            for (_, removed) in in_parallel(&wanted, |(reference, list_of)| {
                go_on(self.watch)?;
                self.remove(reference, *list_of, names)
            }) {
                match removed {
                    Ok(removed) => held.extend(removed),
                    Err(error) => failed = Err(error),
                }
            }
            failed?;
            if left.is_empty() && lists.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn remove(
        &self,
        reference: &Reference,
        list_of: Option<Hash>,
        names: &HashMap<Hash, Vec<String>>,
    ) -> Result<Option<Removed>, RemoteError> {
        let Some(manifest) = self.depot.manifest(reference)? else { return Ok(None) };
        let hash = manifest.digest().hash;
        self.depot.remove_manifest(&hash)?;
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Hash(_) => names.get(&hash).cloned().unwrap_or_default(),
        };
        Ok(Some(Removed { manifest, hash, tags, list_of }))
    }

    /// Puts back what somebody relied on meanwhile.
    fn put_back(&mut self, mut removed: Vec<Removed>) -> Result<(), RemoteError> {
        if removed.is_empty() {
            return Ok(());
        }
        self.look_again(true, &Watch { go_on: &|| true, ..*self.watch })?;
        // Lists after what they list.
        removed.sort_by_key(|one| one.list_of.is_some());
        for one in removed {
            let about = one.list_of.or_else(|| Some(tag::subject(&one.manifest)?.hash));
            if !self.reach.has(&one.hash) && !about.is_some_and(|of| self.reach.has(&of)) {
                continue;
            }
            if one.list_of.is_some() {
                self.list_again(&one.manifest)?;
                continue;
            }
            let mut tags = Vec::new();
            for tag in one.tags {
                if self.depot.manifest(&Reference::Tag(tag.clone()))?.is_none() {
                    tags.push(tag);
                }
            }
            self.depot.put_manifest(&one.manifest, &tags)?;
        }
        Ok(())
    }

    /// Puts what a list had onto it again, as far as it is there: who puts a list as it was may
    /// take off what others put there.
    fn list_again(&self, list: &Manifest) -> Result<(), RemoteError> {
        let list: Value = serde_json::from_slice(&list.bytes).unwrap_or_default();
        for one in list["manifests"].as_array().into_iter().flatten() {
            if let Some(hash) = one["digest"].as_str().and_then(tag::hash_of)
                && let Some(manifest) = self.depot.manifest(&Reference::Hash(hash))?
            {
                self.depot.put_manifest(&manifest, &[])?;
            }
        }
        Ok(())
    }
}
