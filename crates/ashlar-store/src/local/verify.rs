//! Reading and comparing everything.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::{ActionResult, Digest, Tree};
use rustix::fs::{Mode, OFlags};

use super::VerifyReport;
use super::blobs::{Blobs, hash};
use super::collect::{for_shards, list};
use super::keys::{BlobName, Form, from_bytes, list_from_bytes, to_bytes};
use super::parallel::in_parallel;
use super::stage::{discard, is_sound};
use crate::StoreError;
use crate::facts::{FIXED, Facts};
use crate::failed::failing;
use crate::index::Index;
use crate::pour::Buffer;

/// See [`crate::LocalStore::verify`].
pub(super) fn verify(
    blobs: &Arc<Blobs>,
    index: &Index,
    repair: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<VerifyReport, StoreError> {
    let repair = repair && !blobs.read_only;
    let mut report = VerifyReport::default();
    let lost = check_blobs(blobs, repair, progress, &mut report)?;
    check_trees(blobs, repair, &mut report)?;
    check_results(blobs, index, repair, &lost, &mut report)?;
    Ok(report)
}

/// The blobs of which no file is good: one with a whole twin still has its content.
fn check_blobs(
    blobs: &Blobs,
    repair: bool,
    progress: &(dyn Fn(u64, u64) + Sync),
    report: &mut VerifyReport,
) -> Result<HashSet<[u8; 32]>, StoreError> {
    let mut files = Vec::new();
    for_shards(blobs, |shard| {
        for (name, facts) in list(shard)? {
            if let Some((hash, form)) = BlobName::parse(&name) {
                files.push((hash, form, facts.size));
            }
        }
        Ok(())
    })?;
    let total = files.iter().map(|(_, _, size)| size).sum();
    files.sort_by_key(|(_, _, size)| std::cmp::Reverse(*size));
    let done = AtomicU64::new(0);
    let damaged = Mutex::new(Vec::new());
    let whole = Mutex::new(HashSet::new());
    in_parallel(&files, Buffer::new, |buffer, (expected, form, size)| {
        let name = BlobName::new(expected, *form);
        if !file_is_good(blobs, &name, expected, *form, repair, buffer)? {
            let digest = Digest { hash: *expected, size: *size };
            damaged.lock().unwrap_or_else(PoisonError::into_inner).push(digest);
            if repair {
                blobs.quarantine(&name, "its content is another")?;
            }
        } else {
            whole.lock().unwrap_or_else(PoisonError::into_inner).insert(*expected);
        }
        progress(done.fetch_add(*size, Ordering::Relaxed) + size, total);
        Ok::<_, StoreError>(())
    })?;
    report.blobs = files.len() as u64;
    report.bytes = total;
    report.damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.damaged.sort_unstable();
    let whole = whole.into_inner().unwrap_or_else(PoisonError::into_inner);
    let damaged = report.damaged.iter().map(|digest| digest.hash);
    Ok(damaged.filter(|hash| !whole.contains(hash)).collect())
}

/// Whether a file has the content its name says. When repairing, one that has gets back the mode
/// and time of a blob. What cannot be read is as good as damaged; what is gone is neither.
fn file_is_good(
    blobs: &Blobs,
    name: &BlobName,
    expected: &[u8; 32],
    form: Form,
    repair: bool,
    buffer: &mut Buffer,
) -> Result<bool, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::openat(&blobs.dir, name.path(), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(true),
        Err(_) => return Ok(false),
    };
    if !hash(&fd, buffer).is_ok_and(|found| found.hash == *expected) {
        return Ok(false);
    }
    if repair {
        let path = blobs.path.join("blobs");
        let facts = Facts::of(&fd).map_err(failing("look at", &*path))?;
        if facts.mtime != FIXED || facts.mode != form.mode() || blobs.is_suspect(&facts) {
            blobs.settle(&fd, form).map_err(failing("put right", path))?;
        }
    }
    Ok(true)
}

fn check_trees(
    blobs: &Arc<Blobs>,
    repair: bool,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let path = blobs.path.join("trees");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let trees = rustix::fs::openat(&blobs.home, "trees", flags, Mode::empty())
        .map_err(failing("open", &*path))?;
    for (name, _) in list(&trees).map_err(failing("list", &*path))? {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let tree = match BlobName::parse(&name) {
            Some((hash, Form::Plain)) => tree_of(blobs, &hash)?,
            _ => None,
        };
        let sound = match (&tree, rustix::fs::openat(&trees, name.as_slice(), flags, Mode::empty()))
        {
            (Some(tree), Ok(folder)) => is_sound(blobs, tree, folder.as_fd(), &path.join(&shown))?,
            (_, Err(rustix::io::Errno::NOENT)) => continue,
            _ => false,
        };
        if !sound {
            if repair {
                discard(blobs, &format!("trees/{shown}"))
                    .map_err(failing("move aside", path.join(&shown)))?;
            }
            report.damaged_trees.push(shown);
        }
    }
    Ok(())
}

/// The tree of which only the hash is known, as the name of its folder.
fn tree_of(blobs: &Arc<Blobs>, hash: &[u8; 32]) -> Result<Option<Tree>, StoreError> {
    let mut digest = Digest { hash: *hash, size: 0 };
    if digest.hash != Digest::EMPTY.hash {
        let name = BlobName::new(hash, Form::Plain);
        let facts = Facts::if_any(blobs.dir.as_fd(), name.path())
            .map_err(failing("look at", blobs.path.join("blobs")))?;
        let Some(facts) = facts else { return Ok(None) };
        digest.size = facts.size;
    }
    let bytes = blobs.read(&digest)?;
    Ok(bytes.and_then(|bytes| Tree::decode(&bytes).ok()))
}

fn check_results(
    blobs: &Blobs,
    index: &Index,
    repair: bool,
    lost: &HashSet<[u8; 32]>,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    type Row = (Vec<u8>, Option<Digest>, Option<Vec<Digest>>);
    let rows: Vec<Row> = index.with("read the results in", |connection| {
        let mut statement = connection.prepare("SELECT action, result, needs FROM results")?;
        let rows = statement.query_map([], |row| {
            let readable = ActionResult::decode(row.get_ref(1)?.as_blob()?).is_some();
            let needs = list_from_bytes(row.get_ref(2)?.as_blob()?).map(Iterator::collect);
            let action = row.get_ref(0)?.as_blob()?;
            Ok((action.to_vec(), from_bytes(action), needs.filter(|_| readable)))
        })?;
        rows.collect()
    })?;
    let mut gone = Vec::new();
    for (key, action, needs) in rows {
        let mut complete = needs.is_some();
        for digest in needs.iter().flatten() {
            // What is damaged was moved away above only when repairing.
            complete &= !lost.contains(&digest.hash) && blobs.has(digest)?;
        }
        if !complete {
            report.incomplete.extend(action);
            gone.push(action.map_or(key, |action| to_bytes(&action).to_vec()));
        }
    }
    if repair && !gone.is_empty() {
        index.write("remove results from", |connection| {
            let mut statement =
                connection.prepare_cached("DELETE FROM results WHERE action = ?1")?;
            for key in &gone {
                statement.execute([key])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
