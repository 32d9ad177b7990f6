//! The `index.json` of a directory: what ordinary tools find tags in. It is derived from the tags
//! and never asked by us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ashlar_store::RemoteError;

use super::super::tag::{self, Index};
use crate::depot::Descriptor;

/// Its name.
pub(super) const FILE: &str = "index.json";
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
}

impl Changes {
    /// A tag was written or removed.
    pub fn note(&self, tag: &str) {
        self.noted().tags.insert(tag.to_owned());
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

    /// The index with what changed. Only the tags that changed are read, and those that it should
    /// have and has not, or the other way round: who died before writing it left them. All are read
    /// when there is no index that can be: a shared cache has tens of thousands of tags.
    pub fn apply(
        &self,
        old: Option<&[u8]>,
        all: impl Fn() -> Result<BTreeSet<String>, RemoteError>,
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, RemoteError>,
    ) -> Result<Vec<u8>, RemoteError> {
        // What changes from here on is for the next time.
        let noted = std::mem::take(&mut *self.noted());
        let applied = self.applied(&noted, old, all, read);
        if applied.is_err() {
            let mut now = self.noted();
            now.tags.extend(noted.tags);
            now.all |= noted.all;
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
