//! The journal: what was built when, how long it took and how it ended.
//!
//! It shares the index with the results. Hits in the store itself are counted and not listed: a
//! build of a thousand modules of which nothing changed leaves one addition behind. What came from
//! a remote is listed, as if it had been built here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ashlar_object::{Digest, StepKey, Time};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::StoreError;
use crate::index::Index;
use crate::local::keys::{from_bytes, to_bytes};
use crate::local::results::now;

/// How a step of a build ended, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedOutcome {
    /// The step key was known. Only counted, unless it came from a remote.
    Hit,
    /// The action was known: a dependency was built anew to the same bytes.
    Cutoff,
    /// It was run and succeeded.
    Built,
    /// It was run and failed.
    Failed,
    /// It was run and took longer than allowed.
    TimedOut,
}

impl RecordedOutcome {
    const ALL: [Self; 5] = [Self::Hit, Self::Cutoff, Self::Built, Self::Failed, Self::TimedOut];

    /// The word for it, in the index and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Cutoff => "cutoff",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
        }
    }
}

/// One step of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// The name of the project.
    pub project: String,
    /// The name of the module.
    pub module: String,
    /// The name of the step.
    pub step: String,
    /// Its key.
    pub key: StepKey,
    /// The action, where one was made.
    pub action: Option<Digest>,
    /// How it ended.
    pub outcome: RecordedOutcome,
    /// Where a hit came from: `local` or the name of a remote.
    pub from: Option<String>,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub took: Duration,
    /// The blob with its output.
    pub log: Option<Digest>,
    /// The blob with the inputs of the key.
    pub inputs: Option<Digest>,
    /// Why it failed.
    pub message: Option<String>,
}

/// How long a step takes, as far as its history tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The median of its last five builds: what a forecast counts with.
    pub median: Duration,
    /// What nine of ten of its last twenty builds did not exceed; never less than the median.
    pub ninety: Duration,
    /// How many builds that is from.
    pub builds: usize,
}

impl Timing {
    /// From the times of builds in nanoseconds, the latest first.
    fn of(took: &[i64]) -> Option<Self> {
        let sorted = |some: &[i64]| {
            let mut some = some.to_vec();
            some.sort_unstable();
            some
        };
        let duration = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
        let last = sorted(took.get(..MEDIAN_OF).unwrap_or(took));
        let median = duration(*last.get(last.len() / 2)?);
        let all = sorted(took);
        // The nearest rank: of ten builds the ninth.
        let ninety = duration(*all.get((all.len() * 9).div_ceil(10).checked_sub(1)?)?);
        Some(Self { median, ninety: ninety.max(median), builds: all.len() })
    }
}

/// How many of the last builds the median is of.
const MEDIAN_OF: usize = 5;
/// How many of the last builds the percentile is of.
const PERCENTILE_OF: usize = 20;

/// What the store was good for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Steps that did not have to be built.
    pub hits: u64,
    /// Steps that had to be.
    pub misses: u64,
    /// How long the hits would have taken.
    pub saved: Duration,
    /// How long the misses took.
    pub spent: Duration,
}

/// The history of steps, and small things that front ends remember.
///
/// With a read-only store all writes are ignored.
#[derive(Debug)]
pub struct Journal {
    index: Arc<Index>,
}

const COLUMNS: &str = "project, module, step, key, action, outcome, origin, started, \
    started_nanos, took, log, inputs, message";

impl Journal {
    pub(crate) fn new(index: Arc<Index>) -> Self {
        Self { index }
    }

    /// A journal that is gone when dropped, for tests beside a [`crate::MemoryStore`].
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::new(Arc::new(Index::in_memory()?)))
    }

    /// Adds one record.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn record(&self, record: &StepRecord) -> Result<(), StoreError> {
        self.record_all(std::slice::from_ref(record))
    }

    /// Adds records, all or none, and counts them in [`Journal::totals`]. A hit is counted with
    /// its `took` as the time it saved, and listed only when it came from elsewhere.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn record_all(&self, records: &[StepRecord]) -> Result<(), StoreError> {
        if records.is_empty() || self.index.is_read_only() {
            return Ok(());
        }
        self.index.write("write a record to", |connection| {
            for record in records {
                let counters = match record.outcome {
                    RecordedOutcome::Hit | RecordedOutcome::Cutoff => ("hits", "saved_ns"),
                    RecordedOutcome::Built
                    | RecordedOutcome::Failed
                    | RecordedOutcome::TimedOut => ("misses", "spent_ns"),
                };
                count(connection, counters.0, 1)?;
                count(connection, counters.1, nanos(record.took))?;
                let elsewhere = record.from.as_deref().is_some_and(|from| from != "local");
                if record.outcome != RecordedOutcome::Hit || elsewhere {
                    insert(connection, record)?;
                }
            }
            Ok(())
        })
    }

    /// The latest record of a step, a failure or not.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn last(
        &self,
        project: &str,
        module: &str,
        step: &str,
    ) -> Result<Option<StepRecord>, StoreError> {
        Ok(self.history(project, module, step, 1)?.pop())
    }

    /// The latest records of a step, newest first: builds, cut-offs, failures, and what came from
    /// remotes.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn history(
        &self,
        project: &str,
        module: &str,
        step: &str,
        limit: usize,
    ) -> Result<Vec<StepRecord>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.index.with("read the records in", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM journal \
                 WHERE module = ?1 AND step = ?2 AND project = ?3 ORDER BY id DESC LIMIT ?4"
            ))?;
            statement.query_map(params![module, step, project, limit], record)?.collect()
        })
    }

    /// The latest record of a key that was built, cut off or brought, in whatever project.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn by_key(&self, key: &StepKey) -> Result<Option<StepRecord>, StoreError> {
        self.index.with("read the records in", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM journal \
                 WHERE key = ?1 AND outcome IN ('built', 'cutoff', 'hit') ORDER BY id DESC LIMIT 1"
            ))?;
            statement.query_row([&key.0[..]], record).optional()
        })
    }

    /// The latest records of all steps of a module whose names begin like this, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn history_of(
        &self,
        project: &str,
        module: &str,
        beginning: &str,
        limit: usize,
    ) -> Result<Vec<StepRecord>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.index.with("read the records in", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM journal \
                 WHERE module = ?1 AND step >= ?2 AND substr(step, 1, length(?2)) = ?2 \
                 AND project = ?3 ORDER BY id DESC LIMIT ?4"
            ))?;
            statement.query_map(params![module, beginning, project, limit], record)?.collect()
        })
    }

    /// How long steps, given as module and step, take: the median of their last five builds, in
    /// all projects together, here or where a remote got them from. Steps that were never built
    /// are left out.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn durations(
        &self,
        steps: &[(&str, &str)],
    ) -> Result<HashMap<(String, String), Duration>, StoreError> {
        let timings = self.timings_of(steps, MEDIAN_OF)?;
        Ok(timings.into_iter().map(|(step, timing)| (step, timing.median)).collect())
    }

    /// As [`Journal::durations`], with the 90th percentile.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn timings(
        &self,
        steps: &[(&str, &str)],
    ) -> Result<HashMap<(String, String), Timing>, StoreError> {
        self.timings_of(steps, PERCENTILE_OF)
    }

    fn timings_of(
        &self,
        steps: &[(&str, &str)],
        last: usize,
    ) -> Result<HashMap<(String, String), Timing>, StoreError> {
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        self.index.with("read the records in", |connection| {
            let transaction = connection.transaction()?;
            let mut statement = transaction.prepare_cached(
                "SELECT took FROM journal \
                 WHERE module = ?1 AND step = ?2 AND outcome IN ('built', 'hit') \
                 ORDER BY id DESC LIMIT ?3",
            )?;
            let mut all = HashMap::with_capacity(steps.len());
            for (module, step) in steps {
                let took = statement
                    .query_map(params![module, step, last], |row| row.get::<_, i64>(0))?
                    .collect::<Result<Vec<_>, _>>()?;
                if let Some(timing) = Timing::of(&took) {
                    all.insert(((*module).to_owned(), (*step).to_owned()), timing);
                }
            }
            Ok(all)
        })
    }

    /// How often a key failed or took too long since it was last built or brought, in all projects.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn failures(&self, key: &StepKey) -> Result<u32, StoreError> {
        self.index.with("read the records in", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT count(*) FROM journal WHERE key = ?1 AND outcome IN ('failed', 'timed-out') \
                 AND id > (SELECT coalesce(max(id), 0) FROM journal \
                           WHERE key = ?1 AND outcome IN ('built', 'hit'))",
            )?;
            statement.query_row([&key.0[..]], |row| row.get(0))
        })
    }

    /// All hits and misses so far.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.index.with("read the totals in", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT value FROM counters WHERE name = ?1")?;
            let mut get = |name: &str| -> rusqlite::Result<u64> {
                let value = statement.query_row([name], |row| row.get::<_, i64>(0)).optional()?;
                Ok(value.and_then(|v| u64::try_from(v).ok()).unwrap_or_default())
            };
            Ok(Totals {
                hits: get("hits")?,
                misses: get("misses")?,
                saved: Duration::from_nanos(get("saved_ns")?),
                spent: Duration::from_nanos(get("spent_ns")?),
            })
        })
    }

    /// Counts hits, and the time they saved.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn note_hits(&self, hits: u64, saved: Duration) -> Result<(), StoreError> {
        if hits == 0 || self.index.is_read_only() {
            return Ok(());
        }
        self.index.write("count hits in", |connection| {
            count(connection, "hits", i64::try_from(hits).unwrap_or(i64::MAX))?;
            count(connection, "saved_ns", nanos(saved))
        })
    }

    /// Keeps a few bytes under a name, in place of what was there.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn remember(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self.index.is_read_only() {
            return Ok(());
        }
        self.index.write("write to", |connection| put_named(connection, name, bytes))
    }

    /// As [`Journal::remember`] and, for one hit, [`Journal::note_hits`] at once.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn remember_hit(
        &self,
        name: &str,
        bytes: &[u8],
        saved: Duration,
    ) -> Result<(), StoreError> {
        if self.index.is_read_only() {
            return Ok(());
        }
        self.index.write("write to", |connection| {
            count(connection, "hits", 1)?;
            count(connection, "saved_ns", nanos(saved))?;
            put_named(connection, name, bytes)
        })
    }

    /// As [`Journal::remember`], for as long as the result of an action is there: collection
    /// removes the note some time after it. The result may be kept after the note.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn note(&self, name: &str, action: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if self.index.is_read_only() {
            return Ok(());
        }
        self.index.write("write to", |connection| {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO notes (name, action, bytes, noted) \
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![name, to_bytes(action), bytes, now()])?;
            Ok(())
        })
    }

    /// The bytes noted under a name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn noted(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.index.with("read", |connection| {
            connection
                .prepare_cached("SELECT bytes FROM notes WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }

    /// Everything kept under names that begin like this, sorted by name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn recall_all(&self, beginning: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.index.with("read", |connection| {
            connection
                .prepare_cached(
                    "SELECT name, bytes FROM named WHERE substr(name, 1, length(?1)) = ?1 \
                     AND name >= ?1 ORDER BY name",
                )?
                .query_map([beginning], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// The bytes kept under a name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn recall(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.index.with("read", |connection| {
            connection
                .prepare_cached("SELECT bytes FROM named WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })
    }
}

fn put_named(connection: &Connection, name: &str, bytes: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO named (name, bytes) VALUES (?1, ?2)")?
        .execute(params![name, bytes])?;
    Ok(())
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn count(connection: &Connection, name: &str, by: i64) -> rusqlite::Result<()> {
    // Bounded well below what an i64 holds, so that the sum stays an integer for SQLite.
    connection
        .prepare_cached(
            "INSERT INTO counters (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = min(value + ?2, 1 << 62)",
        )?
        .execute(params![name, by.min(1 << 61)])?;
    Ok(())
}

fn insert(connection: &Connection, record: &StepRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO journal ({COLUMNS}) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        ))?
        .execute(params![
            record.project,
            record.module,
            record.step,
            &record.key.0[..],
            record.action.as_ref().map(to_bytes),
            record.outcome.word(),
            record.from,
            record.started.seconds,
            record.started.nanos,
            nanos(record.took),
            record.log.as_ref().map(to_bytes),
            record.inputs.as_ref().map(to_bytes),
            record.message,
        ])?;
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<StepRecord> {
    let bad = |column, kind| {
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(FromSqlError::InvalidType))
    };
    let digest = |column| -> rusqlite::Result<Option<Digest>> {
        match row.get_ref(column)?.as_blob_or_null()? {
            None => Ok(None),
            Some(bytes) => from_bytes(bytes).map(Some).ok_or_else(|| bad(column, Type::Blob)),
        }
    };
    let word = row.get_ref(5)?.as_str()?;
    let outcome = RecordedOutcome::ALL.into_iter().find(|o| o.word() == word);
    let took: i64 = row.get(9)?;
    Ok(StepRecord {
        project: row.get(0)?,
        module: row.get(1)?,
        step: row.get(2)?,
        key: StepKey(row.get_ref(3)?.as_blob()?.try_into().map_err(|_| bad(3, Type::Blob))?),
        action: digest(4)?,
        outcome: outcome.ok_or_else(|| bad(5, Type::Text))?,
        from: row.get(6)?,
        started: Time { seconds: row.get(7)?, nanos: row.get(8)? },
        took: Duration::from_nanos(u64::try_from(took).map_err(|_| bad(9, Type::Integer))?),
        log: digest(10)?,
        inputs: digest(11)?,
        message: row.get(12)?,
    })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
