//! The index: one SQLite database with results, step keys, pins and the journal.
//!
//! Connections are kept in a pool, one for each thread that is inside at a time. An index that
//! turns out to be damaged is moved aside and begun anew: what it knew is built again, and the
//! blobs it led to are found again when that happens.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::StoreError;

/// The tables. Digests are 32 bytes of hash and 8 of size, little-endian; times are seconds
/// since the Unix epoch.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS results (
    action    BLOB PRIMARY KEY,
    result    BLOB NOT NULL,
    needs     BLOB NOT NULL,
    last_used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    key    BLOB PRIMARY KEY,
    action BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (
    name   TEXT NOT NULL,
    digest BLOB NOT NULL,
    tree   INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    PRIMARY KEY (name, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (
    id            INTEGER PRIMARY KEY,
    project       TEXT NOT NULL,
    module        TEXT NOT NULL,
    step          TEXT NOT NULL,
    key           BLOB NOT NULL,
    action        BLOB,
    outcome       TEXT NOT NULL,
    origin        TEXT,
    started       INTEGER NOT NULL,
    started_nanos INTEGER NOT NULL,
    took          INTEGER NOT NULL,
    log           BLOB,
    inputs        BLOB,
    message       TEXT
);
CREATE INDEX IF NOT EXISTS journal_step ON journal (module, step, project, id);
CREATE INDEX IF NOT EXISTS journal_key ON journal (key, id);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspects (since INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS named (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS notes (
    name   TEXT PRIMARY KEY,
    action BLOB NOT NULL,
    bytes  BLOB NOT NULL,
    noted  INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 2;
";

/// The number of [`SCHEMA`]. The format file of the store says whether it can be read at all.
const SCHEMA_VERSION: i64 = 2;

/// From how many bytes on the log is written back when its owner closes it. Up to then it stays for
/// the next: a program that runs for some milliseconds must not wait for the disk at its end.
const LONG: u64 = 1 << 20;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Index {
    place: Place,
    idle: Mutex<Vec<Pooled>>,
    /// The only connection, where the disk has no room for what connections share.
    alone: Mutex<Option<Connection>>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug)]
enum Place {
    /// A file, and where it is moved when it is damaged.
    File { path: PathBuf, aside: PathBuf, read_only: bool },
    /// One connection, whose database is gone with it.
    Memory(Mutex<Connection>),
    /// A read-only store that has no index.
    Nowhere(Mutex<Connection>),
}

#[derive(Debug)]
struct Pooled {
    connection: Connection,
    /// Which file it has open: another process may have begun a new one.
    inode: u64,
}

impl Index {
    pub fn open(path: PathBuf, aside: PathBuf, read_only: bool) -> Result<Self, StoreError> {
        let place = if read_only && !path.exists() {
            Place::Nowhere(Mutex::new(in_memory()?))
        } else {
            Place::File { path, aside, read_only }
        };
        let index = Self::at(place);
        index.with("open", |_| Ok(()))?;
        Ok(index)
    }

    pub fn in_memory() -> Result<Self, StoreError> {
        let place = Place::Memory(Mutex::new(in_memory()?));
        Ok(Self::at(place))
    }

    fn at(place: Place) -> Self {
        let (idle, alone, warnings) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { place, idle, alone, warnings }
    }

    /// Whether writes go nowhere.
    pub fn is_read_only(&self) -> bool {
        match self.place {
            Place::File { read_only, .. } => read_only,
            Place::Memory(_) => false,
            Place::Nowhere(_) => true,
        }
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs something with a connection of its own; `doing` is a verb for "cannot … the index".
    pub fn with<T>(
        &self,
        doing: &'static str,
        mut run: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let (path, aside, read_only) = match &self.place {
            Place::Memory(connection) | Place::Nowhere(connection) => {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                return run(&mut connection).map_err(|e| self.failed(doing, e));
            }
            Place::File { path, aside, read_only } => (path, aside, *read_only),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            if let Some(connection) =
                &mut *self.alone.lock().unwrap_or_else(PoisonError::into_inner)
            {
                return run(connection).map_err(|e| self.failed(doing, e));
            }
            let done = self.pooled(path, read_only).and_then(|mut pooled| {
                let done = run(&mut pooled.connection);
                if done.is_ok() {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(pooled);
                }
                done
            });
            match done {
                Err(e) if is_damage(&e) && attempts < 3 && !read_only => {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    self.begin_anew(path, aside, &e)?;
                }
                Err(e) if lacks_room_to_share(&e) && attempts < 3 && !read_only => {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
                    if alone.is_none() {
                        // Somebody else may have it open; then it stays at the first error.
                        *alone = Some(open_alone(path).map_err(|_| self.failed(doing, e))?);
                    }
                }
                done => return done.map_err(|e| self.failed(doing, e)),
            }
        }
    }

    /// As [`Index::with`], in one transaction that is there whole or not at all.
    pub fn write<T>(
        &self,
        doing: &'static str,
        mut run: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.with(doing, |connection| {
            // Taking the lock at once keeps two writers from meeting halfway.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = run(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Writes the log back into the file, so that this is all there is. Where somebody reads at the
    /// same time, it is done later.
    pub fn write_back(&self) -> Result<(), StoreError> {
        self.with("write back the log of", |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }

    fn pooled(&self, path: &Path, read_only: bool) -> rusqlite::Result<Pooled> {
        let inode = std::fs::metadata(path).map(|m| m.ino()).unwrap_or_default();
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(pooled) = idle.pop() {
                if pooled.inode == inode {
                    return Ok(pooled);
                }
            }
        }
        let connection = if read_only { open_read_only(path)? } else { open_file(path)? };
        let inode = std::fs::metadata(path).map(|m| m.ino()).unwrap_or_default();
        Ok(Pooled { connection, inode })
    }

    /// Moves a damaged index aside, unless somebody has done so already.
    fn begin_anew(
        &self,
        path: &Path,
        aside: &Path,
        why: &rusqlite::Error,
    ) -> Result<(), StoreError> {
        use crate::failed::failing;
        let lock_path = path.with_extension("lock");
        let lock = std::fs::File::create(&lock_path).map_err(failing("make", &*lock_path))?;
        lock.lock().map_err(failing("lock", &*lock_path))?;
        if open_file(path).is_ok_and(|c| is_whole(&c)) {
            return Ok(());
        }
        let stamp = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis());
        for suffix in ["", "-wal", "-shm"] {
            let mut from = path.as_os_str().to_owned();
            from.push(suffix);
            let to = aside.join(format!("index-{stamp}.sqlite{suffix}"));
            match std::fs::rename(&from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(failing("move aside", &from)(e)),
            }
        }
        let warning = format!(
            "the index of the store was damaged ({why}); it was moved to {} and begun anew: \
             results it knew are built again, what they consist of is still there",
            aside.join(format!("index-{stamp}.sqlite")).display()
        );
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> StoreError {
        let path = match &self.place {
            Place::File { path, .. } => path.clone(),
            Place::Memory(_) | Place::Nowhere(_) => PathBuf::new(),
        };
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            _ if lacks_room_to_share(&source) => StoreError::Full { path },
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
            _ => StoreError::Index { doing, source },
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let Place::File { path, read_only: false, .. } = &self.place else { return };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|log| log.len() > LONG)
            && let Some(pooled) = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner).last()
        {
            // Whoever has it open now does it later, and nothing is lost where nobody can.
            let _ = pooled.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}

fn in_memory() -> Result<Connection, StoreError> {
    let connection = Connection::open_in_memory().and_then(|connection| {
        connection.execute_batch(SCHEMA)?;
        Ok(connection)
    });
    connection.map_err(|source| StoreError::Index { doing: "make", source })
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    set_up(connection)
}

/// Opens the file for this process alone: then nothing is shared through a file beside it, for
/// which a full disk has no room. What is there can be read, and removed.
fn open_alone(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE / 10)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
    set_up(connection)
}

fn set_up(connection: Connection) -> rusqlite::Result<Connection> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A power cut may take the last transactions, never the order of what is left; results that
    // are lost so are built again. Waiting for the disk at each would cost more.
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;")
        .and_then(|()| keep_log(&connection))?;
    if version(&connection)? < SCHEMA_VERSION {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    }
    // Reads the root pages of the tables: a file that is cut short is found out here.
    connection.query_row("SELECT count(*) FROM counters", [], |_| Ok(()))?;
    Ok(connection)
}

/// Lets readers and a writer work side by side. Where several open a new file at once, one of them
/// changes it and the others are told at once that it is busy, however long they would wait.
fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL;") {
            Err(e)
                if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}

fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |name: &str, flags| {
        let connection = Connection::open_with_flags(name, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.query_row("SELECT count(*) FROM counters", [], |_| Ok(()))?;
        Ok(connection)
    };
    let plain = path.to_string_lossy();
    open(&plain, flags).or_else(|_: rusqlite::Error| {
        // Without the files beside it that a log needs, and where none can be made, nobody else
        // writes either. The name is a URI, in which these three characters mean something.
        let name = plain.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        open(&format!("file:{name}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)
    })
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn is_whole(connection: &Connection) -> bool {
    connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        .is_ok_and(|answer| answer == "ok")
}

/// Whether there was no room for the file that connections to one index share.
fn lacks_room_to_share(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(e, _)
        if e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        // A value of another type than the schema says, or a table that is gone.
        Some(ErrorCode::Unknown) => error.to_string().contains("no such table"),
        Some(_) => false,
        None => matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_begin_the_same_index_at_once() {
        for _ in 0..40 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("index.sqlite");
            let gate = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        gate.wait();
                        Index::open(path.clone(), folder.path().to_owned(), false).unwrap();
                    });
                }
            });
        }
    }
}
