//! A part of a blob as a body, in pieces, with what was sent of it.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;

use crate::depot::Body;

/// How much is read and handed on at a time. Two of them are in memory for each upload. So much
/// must also go within the time of a stall, which is the least rate of uploads.
const PIECE: u64 = 256 * 1024;

/// What moves, and when something last did: shared between the one who sends and the one who waits.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    last: AtomicU64,
    sent: AtomicU64,
    failed: Mutex<Option<io::Error>>,
}

impl Activity {
    /// From now on.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failed: Mutex::new(None),
        })
    }

    /// For how long nothing moved.
    pub fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    /// How many bytes of the body have been handed on.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why the body could not be read, when that is what ended it.
    pub fn failure(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn moved(&self, bytes: u64) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The body of a request. Its length is for the caller to put into the header.
pub(super) fn stream(body: &Body, range: Range<u64>, activity: &Arc<Activity>) -> reqwest::Body {
    let state = (body.clone(), range, Arc::clone(activity));
    reqwest::Body::wrap_stream(stream::try_unfold(state, async |(body, range, activity)| {
        if range.is_empty() {
            return Ok::<_, io::Error>(None);
        }
        let length = (range.end - range.start).min(PIECE);
        match piece(&body, range.start, length).await {
            Ok(bytes) => {
                activity.moved(length);
                Ok(Some((bytes, (body, range.start + length..range.end, activity))))
            }
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                *activity.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(again)
            }
        }
    }))
}

/// Some bytes of a body. Files are read on a thread where blocking harms nobody.
async fn piece(body: &Body, at: u64, length: u64) -> io::Result<Bytes> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was");
    match body {
        Body::Bytes(all) => {
            let all = Bytes::from_owner(Arc::clone(all));
            let begin = usize::try_from(at).map_err(|_| short())?;
            let end = usize::try_from(at + length).map_err(|_| short())?;
            if end > all.len() { Err(short()) } else { Ok(all.slice(begin..end)) }
        }
        Body::File(_) | Body::Made(_) => {
            let body = body.clone();
            let length = usize::try_from(length).map_err(|_| short())?;
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length];
                let mut done = 0;
                while done < length {
                    match body.read_at(&mut bytes[done..], at + done as u64) {
                        Ok(0) => {
                            return Err(io::Error::new(
                                io::ErrorKind::UnexpectedEof,
                                "it is shorter than it was",
                            ));
                        }
                        Ok(count) => done += count,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(e),
                    }
                }
                Ok(Bytes::from(bytes))
            });
            read.await.map_err(io::Error::other)?
        }
    }
}
