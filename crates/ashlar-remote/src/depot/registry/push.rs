//! Blobs on their way to a registry: small ones whole, big ones in parts, each of which is a point
//! to go on from. What the registry has of a part that was cut is asked for; a registry that
//! cannot go on gets this blob, and only this one, from its beginning.

use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use url::Url;

use ashlar_object::Digest;
use ashlar_store::{Moved, RemoteError, Watch};

use super::Registry;
use crate::depot::{Body, Depot as _};
use crate::http::retry::{Failure, Patience};
use crate::http::{Answer, Payload, Request};

/// How much is sent at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Blobs up to this many bytes go in one piece: being cut costs less than asking twice.
    pub whole: u64,
    /// Bigger ones go in pieces of so many bytes, unless the registry wants more.
    pub part: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { whole: 8 << 20, part: 32 << 20 }
    }
}

/// An upload that the registry has begun.
struct Session {
    /// Where the next part goes.
    to: Url,
    /// The registry has all bytes before this one.
    at: u64,
    /// How many bytes a part must have at least.
    least: u64,
}

/// How an upload went on after something went wrong.
enum Again {
    /// With the bytes that the registry has.
    From(Session),
    /// With a new upload: this one is gone.
    Anew,
    /// Not at all: all of it is there.
    Done,
}

impl Registry {
    /// Sends a blob.
    pub(super) fn push(
        &self,
        digest: &Digest,
        body: &Body,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        let mut patience = Patience::new(self.client.policy(), &self.place);
        let mut session: Option<Session> = None;
        // How far it ever came: only what lies beyond is progress, and is told to the watcher.
        let mut furthest = 0;
        let mut told = 0;
        loop {
            if !(watch.go_on)() {
                return Err(RemoteError::Stopped);
            }
            let now = match session.take() {
                Some(now) => now,
                None => self.begin(watch)?,
            };
            patience.set_policy(self.client.policy());
            let before = now.at;
            let part = if digest.size <= self.sizes.whole {
                digest.size
            } else {
                self.sizes.part.max(now.least)
            };
            let end = digest.size.min(before.saturating_add(part));
            // The last part goes with the request that ends the upload only when it is the first:
            // some registries want that one empty after others.
            let last = before == 0 && end == digest.size || before == digest.size;
            let to = now.to.clone();
            let sent = if last {
                self.end(now, digest, body, watch, &mut told).map(|()| None)
            } else {
                self.part(now, body, before..end, watch, &mut told).map(Some)
            };
            match sent {
                Ok(None) => {
                    let untold = digest.size.saturating_sub(told);
                    (watch.moved)(Moved { bytes: untold, blobs: 1, already: 0 });
                    return Ok(());
                }
                Ok(Some(next)) => {
                    if next.at > furthest {
                        furthest = next.at;
                        patience.progress();
                    } else {
                        patience.alive();
                    }
                    session = Some(next);
                }
                Err(Failure::Lasting(RemoteError::Wrong { place, what, why })) => {
                    // A registry that restarted, or that lost count, knows nothing of this upload.
                    let gone = matches!(why.get(..3), Some("404" | "416" | "400"));
                    let error = RemoteError::Wrong { place, what, why };
                    if !gone || before == 0 {
                        return Err(error);
                    }
                    patience.after(Failure::transient(error), Some(watch))?;
                }
                Err(failure) => {
                    patience.after(failure, Some(watch))?;
                    match self.ask(&to, before, digest, last, watch)? {
                        Again::From(next) => session = Some(next),
                        Again::Anew => {}
                        Again::Done => {
                            let untold = digest.size.saturating_sub(told);
                            (watch.moved)(Moved { bytes: untold, blobs: 1, already: 0 });
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Begins an upload.
    fn begin(&self, watch: &Watch<'_>) -> Result<Session, RemoteError> {
        let request = self.writes(Method::POST, "blobs/uploads/")?;
        let answer = self.expect_success(self.client.send(&request, Some(watch))?)?;
        self.session(&answer, &request.url, 0)
    }

    /// The upload as an answer describes it.
    fn session(&self, answer: &Answer, asked: &Url, at: u64) -> Result<Session, RemoteError> {
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok());
        Ok(Session { to: self.location(answer, asked)?, at, least: least.unwrap_or(0) })
    }

    /// Sends a part that is not the last thing.
    fn part(
        &self,
        session: Session,
        body: &Body,
        range: std::ops::Range<u64>,
        watch: &Watch<'_>,
        told: &mut u64,
    ) -> Result<Session, Failure> {
        let with = self.writer_of(&session.to);
        let request = Request::new(Method::PATCH, session.to)
            .authorize(with)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{}-{}", range.start, range.end - 1))
            .payload(Payload::Part(body.clone(), range.clone()));
        let answer = self.told(&request, range.start, watch, told)?;
        if !answer.status.is_success() {
            return Err(self.error(&answer).into());
        }
        let next = self.session(&answer, &request.url, range.end)?;
        // It counts itself: what it says it has is where it goes on.
        match received(&answer) {
            Some(has) if has != range.end => Err(Failure::Lasting(
                answer.wrong(format!("it has {has} bytes after {} were sent", range.end)),
            )),
            _ => Ok(Session { least: session.least.max(next.least), ..next }),
        }
    }

    /// Ends an upload: with all of a blob, or with nothing after all its parts.
    fn end(
        &self,
        session: Session,
        digest: &Digest,
        body: &Body,
        watch: &Watch<'_>,
        told: &mut u64,
    ) -> Result<(), Failure> {
        let mut to = session.to;
        to.query_pairs_mut().append_pair("digest", &format!("sha256:{}", digest.hex()));
        let with = self.writer_of(&to);
        let mut request = Request::put(to, Payload::Empty)
            .authorize(with)
            .header(CONTENT_TYPE, "application/octet-stream");
        if session.at == 0 && digest.size > 0 {
            request = request.payload(Payload::Part(body.clone(), 0..digest.size));
        }
        let answer = self.told(&request, session.at, watch, told)?;
        if answer.status.is_success() { Ok(()) } else { Err(self.error(&answer).into()) }
    }

    /// One attempt at a request whose payload begins at `at` in the blob: the watcher is told of
    /// each byte once, however often it is sent.
    fn told(
        &self,
        request: &Request,
        at: u64,
        watch: &Watch<'_>,
        told: &mut u64,
    ) -> Result<Answer, Failure> {
        let mut here = told.saturating_sub(at);
        let answer = self.client.attempt(request, Some(watch), &mut here);
        *told = (*told).max(at + here);
        answer
    }

    /// Finds out where to go on after an attempt that failed: `at` is what the registry had before.
    fn ask(
        &self,
        to: &Url,
        at: u64,
        digest: &Digest,
        last: bool,
        watch: &Watch<'_>,
    ) -> Result<Again, RemoteError> {
        // The answer may have got lost, and not the request.
        if last && self.has_blob(digest)? {
            return Ok(Again::Done);
        }
        if digest.size <= self.sizes.whole {
            return Ok(Again::Anew);
        }
        let request = Request::get(to.clone()).authorize(self.writer_of(to));
        let answer = self.client.send(&request, Some(watch))?;
        if !answer.status.is_success() {
            return Ok(Again::Anew);
        }
        // `0-0` is what registries say that do not count before an upload goes on.
        let has = received(&answer).filter(|has| *has > 1).unwrap_or(at);
        if has < at || has > digest.size {
            return Ok(Again::Anew);
        }
        let next = match self.session(&answer, &request.url, has) {
            Ok(next) => next,
            Err(_) => Session { to: to.clone(), at: has, least: 0 },
        };
        Ok(Again::From(next))
    }

    /// Lets a blob of another repository be here too.
    pub(super) fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RemoteError> {
        if !super::address::is_repository(from) {
            return Ok(false);
        }
        let mut request = self.writes(Method::POST, "blobs/uploads/")?;
        request.authorize = Some(self.access.grant("pull,push", Some(from)));
        request
            .url
            .query_pairs_mut()
            .append_pair("mount", &format!("sha256:{}", digest.hex()))
            .append_pair("from", from);
        let answer = self.client.send(&request, None)?;
        match answer.status.as_u16() {
            201 => Ok(true),
            202 => {
                // It began an upload instead.
                self.cancel(&answer, &request.url);
                Ok(false)
            }
            // The other repository may not be ours to read: that is no reason to fail.
            401 | 403 | 404 | 405 => Ok(false),
            _ => Err(self.error(&answer)),
        }
    }

    /// Begins an upload and gives it up again.
    pub(super) fn try_writing(&self) -> Result<Result<(), String>, RemoteError> {
        let request = self.writes(Method::POST, "blobs/uploads/")?;
        let answer = match self.client.send(&request, None) {
            Err(RemoteError::Refused { why, .. }) => return Ok(Err(why)),
            answer => answer?,
        };
        if answer.status.is_success() {
            self.cancel(&answer, &request.url);
            return Ok(Ok(()));
        }
        match self.error(&answer) {
            RemoteError::Refused { why, .. } | RemoteError::Wrong { why, .. } => Ok(Err(why)),
            RemoteError::Unsupported { .. } => Ok(Err(answer.said())),
            other => Err(other),
        }
    }

    /// Gives an upload up. Registries forget those that nobody ends, so failing is no harm.
    fn cancel(&self, answer: &Answer, asked: &Url) {
        if let Ok(to) = self.location(answer, asked) {
            let with = self.writer_of(&to);
            let request = Request::new(Method::DELETE, to).authorize(with);
            let _ = self.client.attempt(&request, None, &mut 0);
        }
    }
}

/// How many bytes the registry says it has: `Range: 0-LAST`, perhaps with `bytes=` before.
fn received(answer: &Answer) -> Option<u64> {
    let text = answer.header(RANGE)?.trim();
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then_some(last.checked_add(1)?)
}
