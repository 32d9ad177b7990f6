//! Results by action and actions by step key.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ashlar_object::{ActionResult, Digest, StepKey, Tree};
use rusqlite::{OptionalExtension, params};

use super::blobs::Blobs;
use super::keys::{from_bytes, list_from_bytes, list_to_bytes, to_bytes};
use crate::index::Index;
use crate::{Found, StoreError};

/// How exact the time of last use is, in seconds: a hit within it writes nothing.
pub(super) const USE_STEP: i64 = 600;

/// From how many keys on a second thread is worth its while.
const MANY: usize = 200;

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// See [`crate::Store::put_result`]. What the tree needs is kept beside the result, so that
/// nothing has to be opened to see whether all of it is there.
pub(super) fn put_result(
    blobs: &Arc<Blobs>,
    index: &Index,
    tree: Option<&Tree>,
    action: &Digest,
    result: &ActionResult,
) -> Result<(), StoreError> {
    if blobs.read_only {
        return Err(StoreError::ReadOnly { path: blobs.path.clone() });
    }
    let read;
    let tree = match tree {
        Some(tree) => tree,
        None => {
            let bytes = blobs.read(&result.outputs)?.ok_or(StoreError::Missing(result.outputs))?;
            read = Tree::decode(&bytes).map_err(|e| StoreError::Tree(result.outputs, e))?;
            &read
        }
    };
    let mut needs = tree.blobs();
    needs.push(result.outputs);
    needs.push(result.log);
    if let Some(digest) = blobs.missing(&needs)?.first() {
        return Err(StoreError::Missing(*digest));
    }
    let needs = list_to_bytes(&needs);
    index.write("write a result to", |connection| {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO results (action, result, needs, last_used) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![&to_bytes(action)[..], result.encode(), needs, now()])?;
        Ok(())
    })
}

/// See [`crate::Store::put_step`].
pub(super) fn put_step(
    blobs: &Blobs,
    index: &Index,
    key: &StepKey,
    action: &Digest,
) -> Result<(), StoreError> {
    if blobs.read_only {
        return Err(StoreError::ReadOnly { path: blobs.path.clone() });
    }
    index.write("write a step to", |connection| {
        connection
            .prepare_cached("INSERT OR REPLACE INTO steps (key, action) VALUES (?1, ?2)")?
            .execute(params![&key.0[..], &to_bytes(action)[..]])?;
        Ok(())
    })
}

/// A row of a result that is complete, and whether its time of use is worth writing.
struct Row {
    found: Found,
    stale: bool,
}

/// See [`crate::Store::result`]. Also the actions whose time of use should be written.
pub(super) fn result(
    blobs: &Blobs,
    index: &Index,
    action: &Digest,
) -> Result<(Option<ActionResult>, Vec<Digest>), StoreError> {
    blobs.used.store(true, Ordering::Relaxed);
    let now = now();
    let row = index.with("read", |connection| {
        let mut statement = connection.prepare_cached(
            "SELECT action, result, needs, last_used FROM results WHERE action = ?1",
        )?;
        statement
            .query_row([&to_bytes(action)[..]], |row| judge(blobs, row, now, true))
            .optional()
            .map(|row| row.unwrap_or(Ok(None)))
    })??;
    Ok(match row {
        None => (None, Vec::new()),
        Some(row) => (Some(row.found.result), row.stale.then_some(*action).into_iter().collect()),
    })
}

/// See [`crate::Store::steps`]; unless `complete`, see [`crate::Store::steps_unchecked`]. Also the
/// actions whose time of use should be written.
pub(super) fn steps(
    blobs: &Blobs,
    index: &Index,
    keys: &[StepKey],
    complete: bool,
) -> Result<(Vec<Option<Found>>, Vec<Digest>), StoreError> {
    blobs.used.store(true, Ordering::Relaxed);
    let now = now();
    let part = |keys: &[StepKey]| {
        index.with("read", |connection| {
            let transaction = connection.transaction()?;
            let mut statement = transaction.prepare_cached(
                "SELECT r.action, r.result, r.needs, r.last_used \
                 FROM steps s JOIN results r ON r.action = s.action WHERE s.key = ?1",
            )?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let row = statement
                    .query_row([&key.0[..]], |row| judge(blobs, row, now, complete))
                    .optional()?
                    .unwrap_or(Ok(None));
                match row {
                    Ok(row) => found.push(row),
                    Err(e) => return Ok(Err(e)),
                }
            }
            Ok(Ok(found))
        })?
    };
    let rows =
        if keys.len() < MANY || std::thread::available_parallelism().map_or(1, usize::from) == 1 {
            part(keys)?
        } else {
            let (first, second) = keys.split_at(keys.len() / 2);
            let (first, second) = std::thread::scope(|scope| {
                let other = scope.spawn(|| part(second));
                let first = part(first);
                let second = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (first, second)
            });
            let mut rows = first?;
            rows.extend(second?);
            rows
        };
    let stale = rows.iter().flatten().filter(|r| r.stale).map(|r| r.found.action).collect();
    Ok((rows.into_iter().map(|row| row.map(|row| row.found)).collect(), stale))
}

/// Looks, where it has to be `complete`, whether all that a row needs is there. A row that says
/// nothing sensible is a miss.
fn judge(
    blobs: &Blobs,
    row: &rusqlite::Row<'_>,
    now: i64,
    complete: bool,
) -> rusqlite::Result<Result<Option<Row>, StoreError>> {
    let (Some(action), Some(result), Some(needs)) = (
        from_bytes(row.get_ref(0)?.as_blob()?),
        ActionResult::decode(row.get_ref(1)?.as_blob()?),
        list_from_bytes(row.get_ref(2)?.as_blob()?),
    ) else {
        return Ok(Ok(None));
    };
    let last_used: i64 = row.get(3)?;
    for digest in needs.into_iter().filter(|_| complete) {
        match blobs.has(&digest) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(None)),
            Err(e) => return Ok(Err(e)),
        }
    }
    let stale = !blobs.read_only && now - last_used >= USE_STEP;
    Ok(Ok(Some(Row { found: Found { action, result }, stale })))
}

/// Writes that results were used just now.
pub(super) fn touch(index: &Index, actions: &[Digest]) -> Result<(), StoreError> {
    let now = now();
    index.write("write times of use to", |connection| {
        let mut statement =
            connection.prepare_cached("UPDATE results SET last_used = ?2 WHERE action = ?1")?;
        for action in actions {
            statement.execute(params![&to_bytes(action)[..], now])?;
        }
        Ok(())
    })
}
