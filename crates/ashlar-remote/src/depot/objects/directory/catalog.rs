//! The `index.json` of a directory: what ordinary tools find tags in. It is derived from the tags
//! and never asked by us.
//!
//! Whoever changes tags has a locked mark beside the files that are written, from before the first
//! change until the index has them all. A mark that nobody holds any more says that somebody died in
//! between: the next one who writes the index makes all of it anew. New and vanished tags would be
//! seen without, by their names; one that was moved would not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ashlar_store::RemoteError;
use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

use super::super::tag::{self, Index};
use crate::depot::Descriptor;

/// Its name.
pub(super) const FILE: &str = "index.json";
/// What the names of marks begin with.
pub(super) const MARK: &str = "tags-";
/// How long a look at the file system's clock is good for.
const CLOCK: Duration = Duration::from_secs(60);

/// What changed since it was written last, and the clock of the file system.
#[derive(Debug, Default)]
pub(super) struct Changes {
    noted: Mutex<Noted>,
    clock: Mutex<Option<(Instant, SystemTime)>>,
}

#[derive(Debug, Default)]
struct Noted {
    tags: BTreeSet<String>,
    all: bool,
    /// There from before the first change.
    mark: Option<Mark>,
    /// How many tags are being changed right now.
    changing: usize,
}

/// The mark of this writer, locked while it is open. Dropping it leaves the file, as dying does.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    _file: File,
}

impl Mark {
    fn new(made: NamedTempFile) -> io::Result<Option<Self>> {
        // Where there are no locks, there is no telling the dead from the living.
        if flock(made.as_file(), FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let (file, path) = made.keep().map_err(|error| error.error)?;
        Ok(Some(Self { path, _file: file }))
    }
}

impl Changes {
    /// Writes or removes a tag. `temporary` makes a file whose name begins with [`MARK`].
    pub fn change<T>(
        &self,
        tag: &str,
        temporary: impl FnOnce() -> io::Result<NamedTempFile>,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut noted = self.noted();
        if noted.mark.is_none() {
            noted.mark = Mark::new(temporary()?)?;
        }
        noted.changing += 1;
        drop(noted);
        let changed = change();
        let mut noted = self.noted();
        noted.changing -= 1;
        noted.tags.insert(tag.to_owned());
        changed
    }

    /// The marks of those who died, in the folder of what is being written. They are to be removed
    /// once the index is written.
    pub fn orphaned(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let own = self.noted().mark.as_ref().map(|mark| mark.path.clone());
        let mut orphaned = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_mark = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(MARK.as_bytes()));
            if !is_mark || Some(&path) == own.as_ref() {
                continue;
            }
            // One that vanishes has been seen to; one that cannot be opened is somebody else's.
            let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else {
                continue;
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                orphaned.push(path);
            }
        }
        if !orphaned.is_empty() {
            self.rebuild();
        }
        Ok(orphaned)
    }

    /// Everything is to be looked at again.
    pub fn rebuild(&self) {
        self.noted().all = true;
    }

    /// Whether nothing changed.
    pub fn is_current(&self) -> bool {
        let noted = self.noted();
        noted.tags.is_empty() && !noted.all
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the index with what changed. Only the tags that changed are read, and those that it
    /// should have and has not, or the other way round: who died before writing it left them. All
    /// are read when there is no index that can be: a shared cache has tens of thousands of tags.
    pub fn apply(
        &self,
        old: Option<&[u8]>,
        all: impl Fn() -> Result<BTreeSet<String>, RemoteError>,
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, RemoteError>,
        write: impl FnOnce(&[u8]) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        // What changes from here on is for the next time, and what is being changed may be seen as
        // it was: that stays marked.
        let mut now = self.noted();
        let mark = if now.changing == 0 { now.mark.take() } else { None };
        let noted = Noted {
            tags: std::mem::take(&mut now.tags),
            all: std::mem::take(&mut now.all),
            mark,
            changing: 0,
        };
        drop(now);
        let applied = self
            .applied(&noted, old, all, read)
            .and_then(|new| if old == Some(&new[..]) { Ok(()) } else { write(&new) });
        if applied.is_err() {
            let mut now = self.noted();
            now.tags.extend(noted.tags);
            now.all |= noted.all;
            // Two marks are as good as one: the one that is let go is an orphan.
            now.mark = now.mark.take().or(noted.mark);
        } else if let Some(mark) = noted.mark {
            let _ = fs::remove_file(mark.path); // One that stays costs a look at all tags.
        }
        applied
    }

    fn applied(
        &self,
        noted: &Noted,
        old: Option<&[u8]>,
        all: impl Fn() -> Result<BTreeSet<String>, RemoteError>,
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, RemoteError>,
    ) -> Result<Vec<u8>, RemoteError> {
        let known = old.filter(|_| !noted.all).and_then(|bytes| Index::decode(bytes).ok());
        let there = all()?;
        let (mut lines, changed) = match known {
            Some(index) => {
                let lines = by_tag(index);
                let mut changed = noted.tags.clone();
                changed.extend(there.iter().filter(|tag| !lines.contains_key(*tag)).cloned());
                changed.extend(lines.keys().filter(|tag| !there.contains(*tag)).cloned());
                (lines, changed)
            }
            None => (BTreeMap::new(), there),
        };
        for tag in changed {
            // A tag that cannot be read helps no tool.
            let line = match is_listed(&tag) {
                true => read(&tag)?.and_then(|bytes| tag::pointed(&bytes).ok()),
                false => None,
            };
            match line {
                Some(descriptor) => lines.insert(tag.clone(), tag::listed(&tag, descriptor)),
                None => lines.remove(&tag),
            };
        }
        Ok(Index::of(lines.into_values().collect()).encode())
    }

    /// What time it is, going by the clock that `look` reads now and then.
    pub fn clock(&self, look: impl Fn() -> Option<SystemTime>) -> SystemTime {
        let mut known = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, time) = match *known {
            Some((seen, time)) if seen.elapsed() < CLOCK => (seen, time),
            _ => (Instant::now(), look().unwrap_or_else(SystemTime::now)),
        };
        *known = Some((seen, time));
        time + seen.elapsed()
    }
}

/// Whether a tag is to be in the index: lists of referrers are no images.
pub(super) fn is_listed(tag: &str) -> bool {
    tag::is_tag(tag) && tag::referrers_of(tag).is_none()
}

fn by_tag(index: Index) -> BTreeMap<String, Descriptor> {
    let lines = index.manifests.into_iter();
    lines.filter_map(|line| Some((tag::listed_tag(&line)?.to_owned(), line))).collect()
}
