//! Opening a store: its folders, its format, and what a crash of the machine may have left.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use ashlar_object::{Digest, Time};
use rusqlite::{Connection, OptionalExtension, params};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::blobs::Blobs;
use super::locks::{Gate, Lease, serial};
use super::stage::Sound;
use super::{LocalStore, OpenOptions, workspace};
use crate::facts::Owners;
use crate::failed::{failed, failing};
use crate::index::Index;
use crate::{Journal, StoreError};

/// The layout of the folder. A store of a newer one is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Format(u32);

const FORMAT: Format = Format(1);

const FOLDERS: [&str; 6] = ["blobs", "trees", "work", "locks", "quarantine", "stat"];

/// How many spans of doubt are told apart.
const SPANS: usize = 16;

pub(super) fn open(path: &Path, options: OpenOptions) -> Result<LocalStore, StoreError> {
    let path = std::path::absolute(path).map_err(failing("use", path))?;
    if !options.read_only {
        match std::fs::create_dir_all(&path) {
            Ok(()) => {}
            Err(e) if is_refusal(&e) && path.is_dir() => {}
            Err(e) => return Err(failed("make", &path, e)),
        }
    }
    let home = open_dir(rustix::fs::CWD, &path).map_err(failing("open", &*path))?;
    let mut warnings = Vec::new();
    let format = read_format(&path)?;
    let (lease, locks) = if options.read_only {
        (None, None)
    } else {
        match prepare(&home, &path, format.is_none()) {
            Ok((lease, locks)) => (Some(lease), Some(locks)),
            Err(e) if is_refusal(&e) => {
                warnings.push(format!(
                    "the store {} cannot be written to ({e}): what is in it is used, and nothing \
                     is kept",
                    path.display()
                ));
                (None, None)
            }
            Err(e) => return Err(failed("prepare", &path, e)),
        }
    };
    let read_only = lease.is_none();
    if read_only && format.is_none() {
        return Err(StoreError::ReadOnly { path });
    }
    let index =
        Index::open(path.join("index.sqlite"), path.join("quarantine"), read_only).map(Arc::new)?;
    let since = lease.as_ref().map_or_else(wall_clock, |lease| lease.since);
    let blobs = Blobs {
        dir: open_dir(&home, Path::new("blobs")).map_err(failing("open", path.join("blobs")))?,
        owners: Owners::new(options.owner_base),
        read_only,
        suspect: suspects(&index, since, format.is_none(), read_only)?,
        since,
        gate: Gate::new(locks.as_ref(), &path.join("locks"))?,
        used: AtomicBool::new(false),
        warnings: Mutex::new(warnings),
        scratch: OnceLock::new(),
        making: Mutex::new(()),
        home,
        path,
    };
    Ok(LocalStore {
        blobs: Arc::new(blobs),
        journal: Journal::new(Arc::clone(&index)),
        index,
        lease,
        locks,
        sound: Sound::default(),
        recent: Mutex::default(),
        background: Mutex::default(),
    })
}

/// Whether a store is there and may not be written to.
fn is_refusal(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
}

fn open_dir(at: impl std::os::fd::AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

fn read_format(path: &Path) -> Result<Option<Format>, StoreError> {
    let file = path.join("format");
    let text = match std::fs::read_to_string(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failing("read", file))?,
    };
    // An empty file is what a power cut leaves of one that was just made.
    let Ok(found) = text.trim().parse().map(Format) else { return Ok(None) };
    if found > FORMAT {
        let path = path.to_path_buf();
        return Err(StoreError::Newer { path, found: found.0, known: FORMAT.0 });
    }
    Ok(Some(found))
}

fn prepare(home: &OwnedFd, path: &Path, new: bool) -> std::io::Result<(Lease, OwnedFd)> {
    if new {
        make_folders(home)?;
        let early = path.join(format!("format.{}", serial()));
        std::fs::write(&early, format!("{}\n", FORMAT.0))?;
        std::fs::File::open(&early)?.sync_all()?;
        std::fs::rename(early, path.join("format"))?;
    }
    let locks = match open_dir(home, Path::new("locks")) {
        // Somebody has tidied up.
        Err(Errno::NOENT) => {
            make_folders(home)?;
            open_dir(home, Path::new("locks"))?
        }
        other => other?,
    };
    let lease = Lease::take(&locks)?;
    // Only to have what killed processes left go.
    lease.oldest_other()?;
    workspace::sweep(&open_dir(home, Path::new("work"))?)?;
    Ok((lease, locks))
}

fn make_folders(home: &OwnedFd) -> rustix::io::Result<()> {
    // Staged trees hold set-uid files of whoever is root inside, who owns the files of the store:
    // nobody else may get at them, not even by a name they know. Sandboxes see them through
    // overlays that the owner of the store mounts.
    let closed = 0o700;
    let make =
        |name: &str, mode: u32| match rustix::fs::mkdirat(home, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e),
        };
    for folder in FOLDERS {
        make(folder, if matches!(folder, "trees" | "work") { closed } else { 0o755 })?;
    }
    (0..=u8::MAX).try_for_each(|shard| make(&format!("blobs/{shard:02x}"), 0o755))
}

fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}

fn to_nanos(time: Time) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}

fn from_nanos(nanos: i64) -> Time {
    let part = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
    Time { seconds: nanos.div_euclid(1_000_000_000), nanos: part }
}

/// A number for the time since the machine was started; another one after each start.
fn boot() -> i64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hash = Digest::of(&id).hash;
    i64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// The spans of time of whose changes the disk may know only half, because the machine was
/// started anew since: from the last time all was written out until the first use afterwards.
/// What was changed in them is compared with its digest before it is used.
fn suspects(
    index: &Index,
    since: Time,
    new: bool,
    read_only: bool,
) -> Result<Vec<(Time, Time)>, StoreError> {
    let boot = boot();
    let (last_boot, synced, mut spans) = index.with("read", read_spans)?;
    if last_boot != Some(boot) {
        // An index that was begun anew knows nothing of the blobs that are there.
        let from = if last_boot.is_some() { synced.unwrap_or_default() } else { 0 };
        if !new {
            spans.push((from, to_nanos(since)));
        }
        if !read_only {
            index.write("write to", |connection| {
                let (again, _, mut spans) = read_spans_in(connection)?;
                if again == Some(boot) {
                    return Ok(());
                }
                if !new {
                    spans.push((from, to_nanos(since)));
                }
                while spans.len() > SPANS {
                    let (_, until) = spans.remove(1);
                    spans[0].1 = spans[0].1.max(until);
                }
                connection.execute("DELETE FROM suspects", [])?;
                for (from, until) in &spans {
                    connection.execute("INSERT INTO suspects VALUES (?1, ?2)", [from, until])?;
                }
                set_counter(connection, "boot", boot)
            })?;
        }
    }
    Ok(spans.into_iter().map(|(from, until)| (from_nanos(from), from_nanos(until))).collect())
}

type Spans = (Option<i64>, Option<i64>, Vec<(i64, i64)>);

fn read_spans(connection: &mut Connection) -> rusqlite::Result<Spans> {
    read_spans_in(connection)
}

fn read_spans_in(connection: &Connection) -> rusqlite::Result<Spans> {
    let counter = |name: &str| {
        connection
            .query_row("SELECT value FROM counters WHERE name = ?1", [name], |row| row.get(0))
            .optional()
    };
    let mut statement = connection.prepare("SELECT since, until FROM suspects ORDER BY since")?;
    let spans = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((counter("boot")?, counter("synced")?, spans.collect::<Result<_, _>>()?))
}

fn set_counter(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO counters (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

/// See [`LocalStore::sync`].
pub(super) fn sync(blobs: &Blobs, index: &Index, lease: &Lease) -> Result<(), StoreError> {
    let path: PathBuf = blobs.path.clone();
    let begun = lease.now().map_err(failing("look at the clock of", &*path))?;
    index.write_back()?;
    rustix::fs::syncfs(&blobs.home).map_err(failing("write out", path))?;
    index.write("write to", |connection| set_counter(connection, "synced", to_nanos(begun)))
}

/// Forgets all doubt, after everything was compared.
pub(super) fn forget_suspects(index: &Index) -> Result<(), StoreError> {
    index.write("write to", |connection| connection.execute("DELETE FROM suspects", []).map(drop))
}
