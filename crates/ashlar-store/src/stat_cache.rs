//! Digests of files that have not changed since they were last read.
//!
//! A file is known by the hash of its absolute path and its stat data. What was written within
//! the resolution of the clock at which it was read could have been written again without a
//! trace; such an entry is kept but not trusted, as git does with its racily clean entries, and
//! the file is read once more when it is asked for later.
//!
//! The file of a cache is a magic word, a count, the entries sorted by path hash, and the SHA-256
//! of all that: a cache that was cut short or rotted is an empty one, never a wrong one.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ashlar_object::{Digest, Hasher, Time};

use crate::facts::Facts;

/// With the number of the format in it: another one is not read.
const MAGIC: &[u8; 16] = b"ashlar-stats-01\n";
const HEAD: usize = 24;
const TAIL: usize = 32;
/// Bytes of one entry: path hash, digest and eight numbers.
const WIDTH: usize = 16 + 32 + 8 * 8;

/// The step of the kernel's file clock is at most 10 ms; twice that is safe.
const TICK: i64 = 20_000_000;
/// File systems that count in seconds or in two.
const COARSE_TICK: i64 = 2_500_000_000;
/// How long an entry stays that nobody asked for.
const UNUSED_FOR: i64 = 30 * 24 * 3600 * 1_000_000_000;

/// The stat data that must be the same for content to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    pub size: u64,
    mode: u64,
    mtime: i64,
    ctime: i64,
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

impl From<&Facts> for Stamp {
    fn from(facts: &Facts) -> Self {
        let time = |t: Time| nanos(t.seconds, i64::from(t.nanos));
        Self {
            dev: facts.dev,
            ino: facts.ino,
            size: facts.size,
            mode: facts.mode.into(),
            mtime: time(facts.mtime),
            ctime: time(facts.ctime),
        }
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mode: (meta.mode() & 0o7777).into(),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    stamp: Stamp,
    /// When reading began.
    recorded: i64,
    /// When it was last asked for.
    used: i64,
    hash: [u8; 32],
}

impl Entry {
    /// Whether a change after the file was read must have left a trace.
    fn is_trusted(&self) -> bool {
        let latest = self.stamp.mtime.max(self.stamp.ctime);
        let coarse = latest % 1_000_000_000 == 0;
        latest < self.recorded.saturating_sub(if coarse { COARSE_TICK } else { TICK })
    }

    fn encode(&self, key: &[u8; 16], to: &mut Vec<u8>) {
        let Stamp { dev, ino, size, mode, mtime, ctime } = self.stamp;
        to.extend_from_slice(key);
        to.extend_from_slice(&self.hash);
        let signed = [mtime, ctime, self.recorded, self.used].map(i64::cast_unsigned);
        for number in [dev, ino, size, mode].into_iter().chain(signed) {
            to.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (hash, numbers) = bytes.get(16..)?.split_first_chunk::<32>()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |index: usize| numbers.get(index).map(|n| u64::from_le_bytes(*n));
        Some(Self {
            hash: *hash,
            stamp: Stamp {
                dev: number(0)?,
                ino: number(1)?,
                size: number(2)?,
                mode: number(3)?,
                mtime: number(4)?.cast_signed(),
                ctime: number(5)?.cast_signed(),
            },
            recorded: number(6)?.cast_signed(),
            used: number(7)?.cast_signed(),
        })
    }
}

/// Digests of files by path and stat data, shared by threads.
#[derive(Debug)]
pub struct StatCache {
    file: Option<PathBuf>,
    /// The file as it was read; entries are looked up in it as they lie.
    loaded: Vec<u8>,
    /// What is newer.
    fresh: Mutex<HashMap<[u8; 16], Entry>>,
    /// One bit for each loaded entry that was asked for.
    used: Vec<AtomicU64>,
}

impl StatCache {
    /// Reads a cache from its file; one that is missing or damaged is empty.
    #[must_use]
    pub fn load(file: PathBuf) -> Self {
        let loaded = std::fs::read(&file).ok().filter(|bytes| is_whole(bytes)).unwrap_or_default();
        let words = (loaded.len() / WIDTH).div_ceil(64);
        let used = std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect();
        Self { file: Some(file), loaded, fresh: Mutex::default(), used }
    }

    /// A cache that is forgotten when dropped.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { file: None, loaded: Vec::new(), fresh: Mutex::default(), used: Vec::new() }
    }

    /// The digest of a regular file whose metadata (`lstat`) the caller has just read; the path
    /// should be absolute.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest_file(&self, path: &Path, meta: &Metadata) -> io::Result<Digest> {
        let stamp = Stamp::from(meta);
        if let Some(digest) = self.find(path, &stamp) {
            return Ok(digest);
        }
        let begun = Self::now();
        let mut file = File::open(path)?;
        let before = Stamp::from(&file.metadata()?);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; (128 << 10).min(before.size as usize + 1)];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let digest = hasher.finish();
        let after = Stamp::from(&file.metadata()?);
        if before == stamp && after == stamp && digest.size == stamp.size {
            self.note(path, &stamp, &digest, begun);
        }
        Ok(digest)
    }

    /// The digest of a file whose metadata (`lstat`) the caller has just read, if it is known
    /// without reading the file.
    #[must_use]
    pub fn known(&self, path: &Path, meta: &Metadata) -> Option<Digest> {
        self.find(path, &Stamp::from(meta))
    }

    /// Remembers the digest of a file that the caller wrote where nobody else could reach it, and
    /// that could be reached since `visible`. Whoever wrote to it afterwards left another time of
    /// modification, if the time it has is older than that by more than a step of the clock: then
    /// the entry is trusted, although the file was renamed a moment ago.
    pub fn wrote(&self, path: &Path, meta: &Metadata, digest: &Digest, visible: Time) {
        let stamp = Stamp::from(meta);
        if digest.size != stamp.size {
            return;
        }
        let visible = nanos(visible.seconds, i64::from(visible.nanos));
        let coarse = stamp.mtime % 1_000_000_000 == 0;
        let sealed = stamp.mtime < visible.saturating_sub(if coarse { COARSE_TICK } else { TICK });
        let latest = stamp.mtime.max(stamp.ctime);
        let recorded = if sealed { latest.saturating_add(COARSE_TICK + 1) } else { visible };
        self.note(path, &stamp, digest, recorded);
    }

    /// Writes the cache to its file if something changed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(file), false) = (&self.file, fresh.is_empty()) else { return Ok(()) };
        let now = Self::now();
        let mut entries: Vec<([u8; 16], Entry)> = fresh.iter().map(|(k, e)| (*k, *e)).collect();
        for (index, bytes) in self.entries().iter().enumerate() {
            let (Some(key), Some(mut entry)) = (bytes.first_chunk::<16>(), Entry::decode(bytes))
            else {
                continue;
            };
            if self.used[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 1 {
                entry.used = now;
            }
            if !fresh.contains_key(key) && now.saturating_sub(entry.used) < UNUSED_FOR {
                entries.push((*key, entry));
            }
        }
        drop(fresh);
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut bytes = Vec::with_capacity(HEAD + entries.len() * WIDTH + TAIL);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        for (key, entry) in &entries {
            entry.encode(key, &mut bytes);
        }
        let sum = Digest::of(&bytes).hash;
        bytes.extend_from_slice(&sum);
        write_whole(file, &bytes)
    }

    /// The present time, in nanoseconds since the Unix epoch.
    pub(crate) fn now() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The digest of a file that has not changed.
    pub(crate) fn find(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        let key = key(path);
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let entry = fresh.or_else(|| self.find_loaded(&key));
        let entry = entry.filter(|e| e.stamp == *stamp && e.is_trusted())?;
        Some(Digest { hash: entry.hash, size: stamp.size })
    }

    fn find_loaded(&self, key: &[u8; 16]) -> Option<Entry> {
        let entries = self.entries();
        let index = entries.binary_search_by(|bytes| bytes[..16].cmp(key)).ok()?;
        self.used[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
        Entry::decode(&entries[index])
    }

    /// Remembers a digest; `begun` is when reading began.
    pub(crate) fn note(&self, path: &Path, stamp: &Stamp, digest: &Digest, begun: i64) {
        let used = begun.min(Self::now());
        let entry = Entry { stamp: *stamp, recorded: begun, used, hash: digest.hash };
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(key(path), entry);
    }

    fn entries(&self) -> &[[u8; WIDTH]] {
        let end = self.loaded.len().saturating_sub(TAIL);
        self.loaded.get(HEAD..end).unwrap_or_default().as_chunks::<WIDTH>().0
    }
}

fn key(path: &Path) -> [u8; 16] {
    let hash = Digest::of(path.as_os_str().as_bytes()).hash;
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((body, sum)) = bytes.split_last_chunk::<TAIL>() else { return false };
    body.len() >= HEAD
        && body.starts_with(MAGIC)
        && (body.len() - HEAD).is_multiple_of(WIDTH)
        && body[16..24] == (((body.len() - HEAD) / WIDTH) as u64).to_le_bytes()
        && Digest::of(body).hash == *sum
}

fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}", crate::local::serial()));
    let written = File::create(&temporary)
        .and_then(|mut to| to.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        // What could not be written is worth nothing, whether it can be removed or not.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
#[path = "stat_cache_tests.rs"]
mod tests;
