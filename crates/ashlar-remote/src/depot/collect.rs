//! Collecting a depot: results and artifacts that were used least recently go until the rest fits, then
//! everything that nothing needs.
//!
//! | tag | what it is here |
//! |---|---|
//! | `step-<hex>`, `action-<hex>` | leads to a result, which stays by when it was last used |
//! | `artifact-<hex>` | leads to an artifact, which stays as a result does, and for good once people tag it |
//! | `tree-<hex>`, `near-<hex>` | goes when no result that stays needs what it points to |
//! | `sha256-<hex>`, with `.sig`, `.att` or `.sbom` too | referrers: they stay as long as what they refer to |
//! | anything else | made by people: it stays, with all that it needs |
//!
//! Safe beside readers and writers, because nothing goes that was written, used or relied on within
//! the grace period, tags go before what they point to, and whether something is still old is looked
//! at again right before it goes. Who reads a result that goes finds a miss.
//!
//! Registries tell no times and list no blobs: for them there is [`dated`].

pub(crate) mod dated;
mod reach;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{Collected, Limits, RemoteError, RemoteStat, Watch};

use super::objects::in_parallel;
use super::{Depot, Manifest, Reference};
use reach::{Hash, Links, Reach};

/// What is younger than this is not collected, unless told otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(60 * 60);

/// A tag, when it was used, and the manifest that it points to.
#[derive(Debug)]
struct Tag {
    name: String,
    used: SystemTime,
    manifest: Option<Hash>,
}

/// What a tag means for collecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A result, or an artifact, which is one to those who share it.
    Result,
    Derived,
    /// A list of what refers to something.
    Referrers(Hash),
    /// Something that itself says something about something else, as cosign tags it.
    Attached(Hash),
    Made,
}

/// A result: all tags that point to one manifest.
#[derive(Debug, Default)]
struct Found {
    tags: Vec<usize>,
    used: Option<SystemTime>,
}

/// How many results are pointed to, and how much there is.
pub(crate) fn stat(depot: &dyn Depot) -> Result<RemoteStat, RemoteError> {
    let tags = depot.tags()?;
    // Each result has one tag for its action, and any number for step keys.
    let results = tags.iter().filter(|(name, _)| is_hex_after(name, "action-", 64)).count();
    let (blobs, bytes) = match depot.blobs() {
        Ok(all) => (Some(all.len() as u64), Some(all.iter().map(|(digest, _)| digest.size).sum())),
        Err(RemoteError::Unsupported { .. }) => (None, None),
        Err(error) => return Err(error),
    };
    Ok(RemoteStat { results: results as u64, blobs, bytes })
}

/// Collects: results over the limits, and whatever nothing needs; never what is younger than the
/// grace period.
pub(crate) fn collect(
    depot: &dyn Depot,
    limits: Limits,
    grace: Duration,
    watch: &Watch<'_>,
) -> Result<Collected, RemoteError> {
    let now = depot.now()?;
    let before = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
    // Where the time is not known, nothing is known to be old.
    let (tags, manifests) =
        read_tags(depot, &depot.tags()?, &|_, used, _| used.unwrap_or(before), watch)?;
    go_on(watch)?;
    // Blobs are listed after the tags: what a tag needs was there before the tag.
    let blobs = depot.blobs()?;
    let sizes = blobs.iter().map(|(digest, _)| (digest.hash, digest.size)).collect();
    let mut reach = Reach::new(depot, sizes, about(&tags), manifests);

    let (keep, drop) = choose(&tags, &mut reach, limits, now, before)?;
    let results = remove_results(depot, &tags, &drop, &keep, before, &mut reach, watch)?;
    remove_derived(depot, &tags, before, &mut reach, watch)?;
    go_on(watch)?;
    let swept = sweep(depot, &blobs, &reach, before, watch)?;
    depot.tidy(before)?;
    depot.flush()?;
    Ok(Collected { results, ..swept })
}

fn go_on(watch: &Watch<'_>) -> Result<(), RemoteError> {
    if (watch.go_on)() { Ok(()) } else { Err(RemoteError::Stopped) }
}

/// What has a list of referrers, with what is tagged as being about it.
fn about(tags: &[Tag]) -> HashMap<Hash, Vec<Hash>> {
    let mut about: HashMap<Hash, Vec<Hash>> = HashMap::new();
    for tag in tags {
        if let Kind::Referrers(subject) | Kind::Attached(subject) = kind(&tag.name) {
            about.entry(subject).or_default().extend(tag.manifest);
        }
    }
    about
}

fn kind(tag: &str) -> Kind {
    if ["step-", "action-", "artifact-"].iter().any(|prefix| is_hex_after(tag, prefix, 64)) {
        Kind::Result
    } else if is_hex_after(tag, "tree-", 64) || is_hex_after(tag, "near-", 32) {
        Kind::Derived
    } else if let Some(hash) = super::objects::referrers_of(tag) {
        Kind::Referrers(hash)
    } else if let Some(hash) = attached_to(tag) {
        Kind::Attached(hash)
    } else {
        Kind::Made
    }
}

/// What a signature, an attestation or a bill of materials is about that cosign tagged.
fn attached_to(tag: &str) -> Option<Hash> {
    let (about, kind) = tag.split_once('.')?;
    matches!(kind, "sig" | "att" | "sbom").then(|| super::objects::referrers_of(about)).flatten()
}

fn is_hex_after(tag: &str, prefix: &str, digits: usize) -> bool {
    tag.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == digits && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// From what a tag is, what the place says of its time, and the manifest, to when it was used.
type Used<'a> = dyn Fn(Kind, Option<SystemTime>, Option<&Manifest>) -> SystemTime + Sync + 'a;

/// Tags with what they point to. One that points to nothing sensible stands for itself only:
/// it goes when it is old, unless people made it.
fn read_tags(
    depot: &dyn Depot,
    listed: &[(String, Option<SystemTime>)],
    when: &Used<'_>,
    watch: &Watch<'_>,
) -> Result<(Vec<Tag>, HashMap<Hash, Links>), RemoteError> {
    let mut tags = Vec::with_capacity(listed.len());
    let mut manifests = HashMap::new();
    for ((name, _), read) in in_parallel(listed, |(name, used)| {
        go_on(watch)?;
        let what = kind(name);
        if let Kind::Referrers(_) = what {
            return Ok((when(what, *used, None), None));
        }
        match depot.manifest(&Reference::Tag(name.clone())) {
            Ok(manifest) => {
                let links = |of: &Manifest| (of.digest().hash, Links::of(&of.bytes));
                Ok((when(what, *used, manifest.as_ref()), manifest.as_ref().map(links)))
            }
            Err(RemoteError::Wrong { why, .. }) => {
                (watch.warn)(format!("{}: the tag {name}: {why}", depot.place()));
                Ok((when(what, *used, None), None))
            }
            Err(error) => Err(error),
        }
    }) {
        let (used, read) = read?;
        tags.push(Tag { name: name.clone(), used, manifest: read.as_ref().map(|(hash, _)| *hash) });
        manifests.extend(read);
    }
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((tags, manifests))
}

/// Which results stay and which go, by index into the tags; what stays is in `reach` afterwards.
fn choose(
    tags: &[Tag],
    reach: &mut Reach<'_>,
    limits: Limits,
    now: SystemTime,
    before: SystemTime,
) -> Result<(HashSet<Hash>, Vec<Found>), RemoteError> {
    let mut results: HashMap<Hash, Found> = HashMap::new();
    let mut drop = Vec::new();
    // What people tagged stays with its other tags: to find it by those costs nothing.
    let mut made = HashSet::new();
    for (number, tag) in tags.iter().enumerate() {
        match (kind(&tag.name), tag.manifest) {
            (Kind::Made, Some(hash)) => {
                made.insert(hash);
                reach.add(hash)?;
            }
            // Somebody may be about to rely on it.
            (Kind::Derived, Some(hash)) if tag.used >= before => reach.add(hash)?,
            (Kind::Result, Some(hash)) => {
                let found = results.entry(hash).or_default();
                found.tags.push(number);
                found.used = found.used.max(Some(tag.used));
            }
            (Kind::Result, None) => drop.push(Found { tags: vec![number], used: Some(tag.used) }),
            _ => {}
        }
    }
    let mut order: Vec<(Hash, Found)> = results.into_iter().collect();
    // The most recently used first; equal ones in an order that does not change.
    order.sort_by(|a, b| b.1.used.cmp(&a.1.used).then(a.0.cmp(&b.0)));
    let eldest = limits.max_age.and_then(|age| now.checked_sub(age));
    let mut keep = HashSet::new();
    let mut full = false;
    for (hash, found) in order {
        let used = found.used.unwrap_or(SystemTime::UNIX_EPOCH);
        let young = used >= before;
        let aged = eldest.is_some_and(|eldest| used < eldest);
        let stays = young
            || made.contains(&hash)
            || !(aged || full) && {
                let most = limits.max_size.unwrap_or(u64::MAX);
                let fits = reach.with(hash)?.saturating_add(reach.bytes()) <= most;
                // What is older than the first that does not fit goes as well: least recently used
                // first, not what happens to fit.
                full = !fits;
                fits
            };
        if stays {
            reach.add(hash)?;
            keep.insert(hash);
        } else {
            drop.push(found);
        }
    }
    Ok((keep, drop))
}

/// Removes the tags of results that go. How many results are gone.
fn remove_results(
    depot: &dyn Depot,
    tags: &[Tag],
    drop: &[Found],
    keep: &HashSet<Hash>,
    before: SystemTime,
    reach: &mut Reach<'_>,
    watch: &Watch<'_>,
) -> Result<u64, RemoteError> {
    let mut gone = 0;
    for (found, removed) in in_parallel(drop, |found| {
        let mut removed = 0;
        for number in &found.tags {
            go_on(watch)?;
            removed += usize::from(depot.remove_tag(&tags[*number].name, Some(before))?);
        }
        Ok::<_, RemoteError>(removed)
    }) {
        if removed? == found.tags.len() {
            gone += 1;
            continue;
        }
        // Somebody used or wrote it meanwhile: what it points to now, and did, stays.
        for number in &found.tags {
            let tag = &tags[*number];
            if let Some(hash) = tag.manifest.filter(|hash| !keep.contains(hash)) {
                reach.add(hash)?;
            }
            reach.add_tag(&tag.name)?;
        }
    }
    Ok(gone)
}

/// Removes tags of trees and lineages that no result needs, and lists of referrers of what is gone.
fn remove_derived(
    depot: &dyn Depot,
    tags: &[Tag],
    before: SystemTime,
    reach: &mut Reach<'_>,
    watch: &Watch<'_>,
) -> Result<(), RemoteError> {
    let useless = |tag: &&Tag| match kind(&tag.name) {
        Kind::Derived => tag.manifest.is_none_or(|hash| !reach.has(&hash)),
        Kind::Referrers(subject) | Kind::Attached(subject) => !reach.has(&subject),
        Kind::Result | Kind::Made => false,
    };
    let useless: Vec<&Tag> = tags.iter().filter(useless).collect();
    let mut spared = Vec::new();
    for (tag, removed) in in_parallel(&useless, |tag| {
        go_on(watch)?;
        depot.remove_tag(&tag.name, Some(before))
    }) {
        if !removed? {
            spared.push(*tag);
        }
    }
    for tag in spared {
        match (kind(&tag.name), tag.manifest) {
            (Kind::Referrers(subject), _) => reach.add_referrers(&subject)?,
            (_, Some(hash)) => reach.add(hash)?,
            (_, None) => {}
        }
        reach.add_tag(&tag.name)?;
    }
    Ok(())
}

/// Removes all blobs that are not reached and old.
fn sweep(
    depot: &dyn Depot,
    blobs: &[(Digest, SystemTime)],
    reach: &Reach<'_>,
    before: SystemTime,
    watch: &Watch<'_>,
) -> Result<Collected, RemoteError> {
    let dead: Vec<Digest> = (blobs.iter())
        .filter(|(digest, used)| *used < before && !reach.has(&digest.hash))
        .map(|(digest, _)| *digest)
        .collect();
    let (count, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    for (_, swept) in in_parallel(&dead, |digest| {
        go_on(watch)?;
        if depot.remove_blob(digest, before)? {
            count.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(digest.size, Ordering::Relaxed);
        }
        Ok::<_, RemoteError>(())
    }) {
        swept?;
    }
    let (blobs_removed, bytes) = (count.into_inner(), bytes.into_inner());
    let all: u64 = blobs.iter().map(|(digest, _)| digest.size).sum();
    let left = Some(all.saturating_sub(bytes));
    Ok(Collected { results: 0, blobs: blobs_removed, bytes, left, later: false })
}
