//! One writer at a time, for servers that ignore conditions: who wants to write announces it by an
//! object, then lists who else did. At most one can find itself alone.

use std::time::{Duration, Instant, SystemTime};

use ashlar_store::RemoteError;

use super::{Bucket, LOCKS, clock};
use crate::depot::objects::Objects as _;

/// A claim as old as this was left by somebody who died: its holder sends two small requests.
const ABANDONED: Duration = Duration::from_secs(60);

impl Bucket {
    /// Does something while nobody else does it for the same key.
    pub(super) fn claimed<T>(
        &self,
        key: &str,
        work: impl FnOnce() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let folder = format!("{LOCKS}/{}", key.replace('/', "."));
        let own = clock::unique();
        let claim = format!("{folder}/{own}");
        let begun = Instant::now();
        for round in 0.. {
            self.write(&claim, b"-")?;
            let alone = self.is_alone(&folder, &own);
            if let Ok(true) = alone {
                let done = work();
                self.remove(&claim)?;
                return done;
            }
            self.remove(&claim)?;
            alone?;
            if begun.elapsed() > ABANDONED * 3 {
                break;
            }
            clock::back_off(round);
        }
        Err(RemoteError::Refused {
            place: self.place.clone(),
            what: format!("to have {key} changed"),
            why: format!("others have claimed it ({folder}/) for too long"),
        })
    }

    fn is_alone(&self, folder: &str, own: &str) -> Result<bool, RemoteError> {
        let now = self.now()?;
        let mut alone = true;
        for (name, seen) in self.list(folder)? {
            if name == own {
                continue;
            }
            if now.duration_since(seen.modified).unwrap_or_default() > ABANDONED {
                self.remove(&format!("{folder}/{name}"))?;
            } else {
                alone = false;
            }
        }
        Ok(alone)
    }

    /// Removes what those left who found out whether the server heeds conditions, and died.
    pub(super) fn remove_old_claims(&self, before: SystemTime) -> Result<u64, RemoteError> {
        let mut removed = 0;
        for (name, seen) in self.list(LOCKS)? {
            if seen.modified < before && self.remove(&format!("{LOCKS}/{name}"))? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}
