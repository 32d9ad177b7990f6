//! Big objects in parts: a part that fails is sent again alone, and what was left half-done is
//! aborted, at once or, when the writer died, by whoever collects.

use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use ashlar_store::{Moved, RemoteError, StoreError, Watch};
use object_store::PutPayload;
use object_store::path::Path;

use super::{Bucket, clock};
use crate::depot::Body;
use crate::depot::objects::Objects as _;

/// The size of a part, and the largest object that is sent in one: the least that S3 takes.
pub(super) const PART: u64 = 5 << 20;
/// S3 takes no more parts of one object.
const MOST: u64 = 10_000;
/// How many parts are in memory at once, over all transfers.
const AT_ONCE: usize = 4;
/// Where uploads are noted while they are under way: the interface that is used here has no way to
/// list them.
const UPLOADS: &str = "uploads";

/// How many parts there is room for.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

/// A place in the room.
pub(super) struct Entered<'a>(&'a Room);

impl Room {
    /// Waits for a place.
    pub fn enter(&self) -> Entered<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= AT_ONCE {
            taken = self.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Entered(self)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// Reads a part of a body into memory.
pub(super) fn read(body: &Body, range: Range<u64>, place: &str) -> Result<Vec<u8>, RemoteError> {
    let failed = |source| {
        RemoteError::Store(StoreError::Io {
            doing: "read what is to be sent from",
            path: "the store".into(),
            source,
        })
    };
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match body.read_at(&mut bytes[done..], range.start + done as u64) {
            Ok(0) => {
                return Err(RemoteError::Wrong {
                    place: place.to_owned(),
                    what: "to be written".to_owned(),
                    why: format!(
                        "only {} bytes are there of {} to be sent",
                        range.start + done as u64,
                        range.end
                    ),
                });
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(bytes)
}

impl Bucket {
    /// Puts an object in parts.
    pub(super) fn put_parts(
        &self,
        path: &Path,
        body: &Body,
        size: u64,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        let what = "to be written";
        let id = self.done(what, Some(watch), || self.multipart.create_multipart(path))?;
        let note = format!("{UPLOADS}/{}", clock::unique());
        let sent = self
            .write(&note, format!("{path}\n{id}").as_bytes())
            .and_then(|()| self.send_parts(path, &id, body, size, watch));
        if sent.is_err() {
            // The first error is the one to tell. What cannot be aborted now stays noted, and is
            // aborted by whoever collects.
            let aborted = self.attempts(what, None, || self.multipart.abort_multipart(path, &id));
            if aborted.is_ok() {
                let _ = self.remove(&note);
            }
            return sent;
        }
        self.remove(&note)?;
        Ok(())
    }

    fn send_parts(
        &self,
        path: &Path,
        id: &String,
        body: &Body,
        size: u64,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        let what = "to be written";
        let length = PART.max(size.div_ceil(MOST));
        let mut parts = Vec::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + length);
            let _room = self.parts.enter();
            let payload = PutPayload::from(read(body, at..end, &self.place)?);
            let number = parts.len();
            let part = self.done(what, Some(watch), || {
                self.multipart.put_part(path, id, number, payload.clone())
            })?;
            parts.push(part);
            (watch.moved)(Moved { bytes: end - at, ..Moved::default() });
            at = end;
        }
        let completed = self.attempts(what, Some(watch), || {
            self.multipart.complete_multipart(path, id, parts.clone())
        })?;
        // An attempt before may have completed it although its answer was lost.
        if completed.is_none() && self.store_size(path)? != Some(size) {
            return Err(RemoteError::Wrong {
                place: self.place.clone(),
                what: what.to_owned(),
                why: "the upload was gone before it was complete; push again".to_owned(),
            });
        }
        Ok(())
    }

    fn store_size(&self, path: &Path) -> Result<Option<u64>, RemoteError> {
        use object_store::ObjectStoreExt as _;
        Ok(self.attempts("to be looked at", None, || self.store.head(path))?.map(|meta| meta.size))
    }

    /// Aborts uploads whose writers died.
    pub(super) fn abort_old_uploads(&self, before: SystemTime) -> Result<u64, RemoteError> {
        let mut aborted = 0;
        for (name, seen) in self.list(UPLOADS)? {
            if seen.modified >= before {
                continue;
            }
            let note = format!("{UPLOADS}/{name}");
            let read = self.read(&note, 1 << 16)?;
            let text = read.and_then(|(bytes, _)| String::from_utf8(bytes).ok());
            if let Some((path, id)) = text.as_deref().and_then(|text| text.split_once('\n'))
                && let Ok(path) = Path::parse(path)
            {
                let id = id.to_owned();
                self.attempts("to be written", None, || {
                    self.multipart.abort_multipart(&path, &id)
                })?;
            }
            self.remove(&note)?;
            aborted += 1;
        }
        Ok(aborted)
    }
}
