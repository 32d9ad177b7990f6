//! Garbage collection, beside running builds.
//!
//! What a result, a pin or the journal refers to is kept; results go least recently used first.
//! Whoever has the store open holds a lease, and nothing goes that is younger than the oldest
//! lease: blobs that were found or put since have their change time moved, results theirs of use.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ashlar_object::{Digest, Time, Tree};
use rusqlite::params;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::blobs::Blobs;
use super::keys::{BlobName, from_bytes, list_from_bytes, to_bytes};
use super::locks::{Lease, try_lock};
use super::results::{USE_STEP, now};
use super::{CollectReport, Limits, StoreStat};
use crate::StoreError;
use crate::facts::Facts;
use crate::failed::failing;
use crate::index::Index;

/// Clocks of file systems lag a little behind those of processes.
const SLACK: i64 = 60;
/// Records of one step that are kept.
const RECORDS: i64 = 50;

type Hash = [u8; 32];

/// A result as far as collection is concerned.
struct Candidate {
    action: Digest,
    last_used: i64,
    needs: Vec<Digest>,
    tree: Hash,
}

/// What there is on disk, in bytes of disk.
struct Inventory {
    blobs: HashMap<Hash, u64>,
    blob_files: u64,
    /// What the copies in staged trees take; links to blobs are counted there.
    trees: HashMap<Hash, u64>,
}

/// See [`crate::LocalStore::collect`].
pub(super) fn collect(
    blobs: &Arc<Blobs>,
    index: &Index,
    lease: &Lease,
    locks: &OwnedFd,
    limits: Limits,
) -> Result<CollectReport, StoreError> {
    let io = |e: Errno| failing("look at the leases of", &*blobs.path)(e);
    let begun = lease.now().map_err(io)?;
    let mut oldest = lease.oldest_other().map_err(io)?;
    if blobs.used.load(Ordering::Relaxed) {
        oldest = Some(oldest.map_or(lease.since, |o| o.min(lease.since)));
    }
    let cutoff = match oldest {
        Some(oldest) => Time { seconds: oldest.seconds - SLACK, ..oldest }.min(begun),
        None => begun,
    };
    let protected = oldest.map_or(i64::MAX, |oldest| oldest.seconds - USE_STEP - SLACK);

    match prune_journal(index) {
        // Collecting is what helps then.
        Ok(()) | Err(StoreError::Full { .. }) => {}
        Err(e) => return Err(e),
    }
    let mut candidates = candidates(index)?;
    let pinned = pinned(blobs, index, limits)?;
    let inventory = inventory(blobs)?;

    // Least recently used last, so that they are popped first.
    candidates.sort_by_key(|c| std::cmp::Reverse((c.last_used, c.action)));
    let mut references: HashMap<Hash, usize> = HashMap::new();
    for digest in candidates.iter().flat_map(|c| &c.needs) {
        *references.entry(digest.hash).or_default() += 1;
    }
    let mut trees: HashMap<Hash, usize> = HashMap::new();
    for candidate in &candidates {
        *trees.entry(candidate.tree).or_default() += 1;
    }
    let is_used = |hash: &Hash, references: &HashMap<Hash, usize>| {
        references.get(hash).is_some_and(|n| *n > 0) || pinned.contains(hash)
    };
    let blob_sizes = inventory.blobs.iter().filter(|(h, _)| is_used(h, &references));
    let tree_sizes = inventory.trees.iter().filter(|(h, _)| is_used(h, &trees));
    let mut used: u64 = blob_sizes.chain(tree_sizes).map(|(_, size)| *size).sum();

    let now = now();
    let max_age = limits.max_age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    let mut gone = Vec::new();
    while let Some(candidate) = candidates.pop_if(|c| {
        let too_old = max_age.is_some_and(|age| now.saturating_sub(c.last_used) >= age);
        let too_much = limits.max_size.is_some_and(|max| used > max);
        (too_old || too_much) && c.last_used < protected
    }) {
        let mut freed =
            |hash: &Hash, counts: &mut HashMap<Hash, usize>, sizes: &HashMap<Hash, u64>| {
                if let Some(count) = counts.get_mut(hash) {
                    *count -= 1;
                    if *count == 0 && !pinned.contains(hash) {
                        used -= sizes.get(hash).copied().unwrap_or_default().min(used);
                    }
                }
            };
        for digest in &candidate.needs {
            freed(&digest.hash, &mut references, &inventory.blobs);
        }
        freed(&candidate.tree, &mut trees, &inventory.trees);
        gone.push(candidate);
    }

    let mut report = CollectReport::default();
    report.results = match remove_results(index, &gone) {
        // Even forgetting takes room. A result whose blobs are gone is a miss already.
        Err(StoreError::Full { .. }) => {
            let keep = |hash: &Hash| is_used(hash, &references);
            sweep_blobs(blobs, locks, cutoff, keep, &mut report)?;
            sweep_trees(blobs, &inventory, begun, |_| false, &mut report)?;
            remove_results(index, &gone)?
        }
        done => done?,
    };
    match remove_notes(index, protected) {
        Ok(()) | Err(StoreError::Full { .. }) => {}
        Err(e) => return Err(e),
    }
    // Blobs first: to remove a link to one changes its time, and it would seem young.
    sweep_blobs(blobs, locks, cutoff, |hash| is_used(hash, &references), &mut report)?;
    sweep_trees(blobs, &inventory, cutoff, |hash| is_used(hash, &trees), &mut report)?;
    let before: u64 = inventory.blobs.values().chain(inventory.trees.values()).sum();
    report.left = before.saturating_sub(report.freed);
    Ok(report)
}

fn candidates(index: &Index) -> Result<Vec<Candidate>, StoreError> {
    index.with("read the results in", |connection| {
        let mut statement =
            connection.prepare("SELECT action, result, needs, last_used FROM results")?;
        let rows = statement.query_map([], |row| {
            let action = from_bytes(row.get_ref(0)?.as_blob()?);
            let result = ashlar_object::ActionResult::decode(row.get_ref(1)?.as_blob()?);
            let needs = list_from_bytes(row.get_ref(2)?.as_blob()?).map(Iterator::collect);
            let last_used = row.get(3)?;
            Ok(action.zip(result).zip(needs).map(|((action, result), needs)| Candidate {
                action,
                last_used,
                needs,
                tree: result.outputs.hash,
            }))
        })?;
        // A row that says nothing sensible keeps nothing.
        rows.filter_map(Result::transpose).collect()
    })
}

/// Everything that is kept for other reasons than a result. A pin that nobody has renewed for
/// longer than anything is kept goes.
fn pinned(blobs: &Arc<Blobs>, index: &Index, limits: Limits) -> Result<HashSet<Hash>, StoreError> {
    if let Some(age) = limits.max_age {
        let oldest = now().saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let removed = index.write("remove pins from", |connection| {
            connection.execute("DELETE FROM pins WHERE pinned < ?1", [oldest])
        });
        if !matches!(removed, Err(StoreError::Full { .. })) {
            removed?;
        }
    }
    let rows: Vec<(Option<Digest>, bool)> = index.with("read the pins in", |connection| {
        let mut statement = connection.prepare(
            "SELECT digest, tree FROM pins \
             UNION SELECT log, 0 FROM journal WHERE log IS NOT NULL \
             UNION SELECT inputs, 0 FROM journal WHERE inputs IS NOT NULL",
        )?;
        let rows = statement
            .query_map([], |row| Ok((from_bytes(row.get_ref(0)?.as_blob()?), row.get(1)?)))?;
        rows.collect()
    })?;
    let mut pinned = HashSet::new();
    for (digest, is_tree) in rows {
        let Some(digest) = digest else { continue };
        pinned.insert(digest.hash);
        if is_tree
            && let Some(bytes) = blobs.read(&digest)?
            && let Ok(tree) = Tree::decode(&bytes)
        {
            pinned.extend(tree.blobs().iter().map(|digest| digest.hash));
        }
    }
    Ok(pinned)
}

fn prune_journal(index: &Index) -> Result<(), StoreError> {
    index.write("shorten the journal in", |connection| {
        connection.execute(
            "DELETE FROM journal WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER \
             (PARTITION BY project, module, step ORDER BY id DESC) AS place FROM journal) \
             WHERE place > ?1)",
            [RECORDS],
        )?;
        Ok(())
    })
}

/// Removes results that have not been used since they were read.
fn remove_results(index: &Index, gone: &[Candidate]) -> Result<u64, StoreError> {
    if gone.is_empty() {
        return Ok(0);
    }
    index.write("remove results from", |connection| {
        let mut removed = 0;
        let mut statement = connection
            .prepare_cached("DELETE FROM results WHERE action = ?1 AND last_used = ?2")?;
        for candidate in gone {
            removed += statement
                .execute(params![&to_bytes(&candidate.action)[..], candidate.last_used])?;
        }
        connection
            .execute("DELETE FROM steps WHERE action NOT IN (SELECT action FROM results)", [])?;
        Ok(removed as u64)
    })
}

/// Removes what was noted of results that are gone; what is young may be of one that is about to be
/// kept.
fn remove_notes(index: &Index, protected: i64) -> Result<(), StoreError> {
    index.write("remove notes from", |connection| {
        connection.execute(
            "DELETE FROM notes WHERE noted < ?1 AND action NOT IN (SELECT action FROM results)",
            [protected],
        )?;
        Ok(())
    })
}

fn inventory(blobs: &Blobs) -> Result<Inventory, StoreError> {
    let mut inventory = Inventory { blobs: HashMap::new(), blob_files: 0, trees: HashMap::new() };
    for_shards(blobs, |shard| {
        for (name, facts) in list(shard)? {
            if let Some((hash, _)) = BlobName::parse(&name) {
                *inventory.blobs.entry(hash).or_default() += facts.disk;
                inventory.blob_files += 1;
            }
        }
        Ok(())
    })?;
    let path = blobs.path.join("trees");
    let trees = open_dir(&blobs.home, b"trees").map_err(failing("open", &*path))?;
    for (name, facts) in list(&trees).map_err(failing("list", &*path))? {
        if facts.is_dir()
            && let Some((hash, _)) = BlobName::parse(&name)
        {
            let size = open_dir(&trees, &name).and_then(|tree| copies(&tree));
            let size = size.map_err(failing("look through", &*path))?;
            inventory.trees.insert(hash, size);
        }
    }
    Ok(inventory)
}

/// How much of a staged tree is in no blob.
fn copies(dir: &OwnedFd) -> rustix::io::Result<u64> {
    let mut size = 0;
    for (name, facts) in list(dir)? {
        if facts.is_dir() {
            size += facts.disk;
            size += open_dir(dir, &name).and_then(|child| copies(&child))?;
        } else if facts.links == 1 {
            size += facts.disk;
        }
    }
    Ok(size)
}

fn sweep_trees(
    blobs: &Blobs,
    inventory: &Inventory,
    cutoff: Time,
    keep: impl Fn(&Hash) -> bool,
    report: &mut CollectReport,
) -> Result<(), StoreError> {
    for (hash, size) in inventory.trees.iter().filter(|(hash, _)| !keep(hash)) {
        let name = format!("trees/{}", Digest { hash: *hash, size: 0 }.hex());
        let path = blobs.path.join(&name);
        let fd = match open_dir(&blobs.home, name.as_bytes()) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(failing("open", &*path))?,
        };
        let young = Facts::of(&fd).map_err(failing("look at", &*path))?.ctime >= cutoff;
        if young
            || !try_lock(&fd, FlockOperation::NonBlockingLockExclusive)
                .map_err(failing("lock", &*path))?
        {
            continue;
        }
        let aside = format!("work/collected.{}", super::serial());
        match rustix::fs::renameat(&blobs.home, name.as_str(), &blobs.home, aside.as_str()) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(failing("move aside", &*path))?,
        }
        crate::removal::remove(blobs.home.as_fd(), aside.as_bytes())
            .map_err(failing("remove", &*path))?;
        report.trees += 1;
        report.freed += size;
    }
    Ok(())
}

fn sweep_blobs(
    blobs: &Blobs,
    locks: &OwnedFd,
    cutoff: Time,
    keep: impl Fn(&Hash) -> bool,
    report: &mut CollectReport,
) -> Result<(), StoreError> {
    for_shards(blobs, |shard| {
        let doomed = list(shard)?.into_iter().filter(|(name, facts)| {
            BlobName::parse(name).is_some_and(|(hash, _)| !keep(&hash)) && facts.ctime < cutoff
        });
        let doomed: Vec<_> = doomed.collect();
        if doomed.is_empty() {
            return Ok(());
        }
        // Nobody finds a blob between the second look and its removal.
        let _closed = blobs.gate.close(locks).map_err(std::io::Error::other)?;
        for (name, _) in doomed {
            let Some(facts) = Facts::if_any(shard.as_fd(), &name)? else { continue };
            if facts.ctime >= cutoff {
                continue;
            }
            rustix::fs::unlinkat(shard, name.as_slice(), AtFlags::empty())?;
            report.blobs += 1;
            report.freed += facts.disk;
        }
        Ok(())
    })
}

/// See [`crate::LocalStore::stat`].
pub(super) fn stat(blobs: &Blobs, index: &Index) -> Result<StoreStat, StoreError> {
    let inventory = inventory(blobs)?;
    let (results, steps) = index.with("count the results in", |connection| {
        connection.query_row(
            "SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM steps)",
            [],
            |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
            },
        )
    })?;
    let path = blobs.path.join("quarantine");
    let quarantine = open_dir(&blobs.home, b"quarantine").map_err(failing("open", &*path))?;
    let quarantined = list(&quarantine).map_err(failing("list", &*path))?;
    let quarantined = quarantined.iter().filter(|(name, _)| !name.ends_with(b".txt")).count();
    Ok(StoreStat {
        blobs: inventory.blobs.len() as u64,
        bytes: inventory.blobs.values().chain(inventory.trees.values()).sum(),
        trees: inventory.trees.len() as u64,
        results,
        steps,
        quarantined: quarantined as u64,
    })
}

/// Calls for every folder of blobs.
pub(super) fn for_shards(
    blobs: &Blobs,
    mut each: impl FnMut(&OwnedFd) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    for shard in 0..=u8::MAX {
        let name = format!("{shard:02x}");
        let path = blobs.path.join("blobs").join(&name);
        let dir = match open_dir(&blobs.dir, name.as_bytes()) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(failing("open", &*path))?,
        };
        each(&dir).map_err(failing("sweep", path))?;
    }
    Ok(())
}

fn open_dir(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// What is in a folder, with its stat data.
pub(super) fn list(dir: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, Facts)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if let Some(facts) = Facts::if_any(dir.as_fd(), name)? {
            all.push((name.to_vec(), facts));
        }
    }
    Ok(all)
}
