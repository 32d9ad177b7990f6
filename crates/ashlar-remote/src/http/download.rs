//! A part of a body as a blocking reader that goes on where it was cut.

use std::io::{self, Read};
use std::ops::Range;

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, IF_MATCH, RANGE};
use reqwest::{Method, Response, StatusCode};

use ashlar_store::RemoteError;

use super::client::{Client, Fault};
use super::pace::Pace;
use super::request::{Answer, Request};
use super::retry::{self, Failure, Patience};
use super::shown::excerpt;

/// So much must have come since the last failure for the attempts to be counted anew: a place that
/// cuts after every few bytes is given up on.
const PROGRESS: u64 = 256 * 1024;

/// A part of what is behind an address, read in order. A cut or stalled connection is followed by
/// another one for the rest. The errors of reading carry a [`RemoteError`]: see [`remote_error`].
#[derive(Debug)]
pub(crate) struct Download {
    client: Client,
    request: Request,
    range: Range<u64>,
    whole: Option<u64>,
    /// The next byte that the caller gets.
    at: u64,
    /// Where the last failure was.
    failed_at: u64,
    flow: Option<Flow>,
    tag: Option<HeaderValue>,
    patience: Patience,
}

/// A body that is coming.
#[derive(Debug)]
struct Flow {
    response: Response,
    pace: Pace,
    chunk: Bytes,
    /// How many bytes come before those that are wanted: from servers that know no ranges.
    skip: u64,
}

impl Client {
    /// Opens a part, `range` in bytes, of what is behind an address; `whole` is how long all of it
    /// must be, when that is known. `None` when it is not there.
    ///
    /// The bytes are those of one state of it where the server names states (strong `ETag`), except
    /// behind redirects, whose targets are named by what is in them.
    ///
    /// # Errors
    /// As [`Client::send`]; when the lengths are others.
    pub fn open(
        &self,
        request: Request,
        range: Range<u64>,
        whole: Option<u64>,
    ) -> Result<Option<Download>, RemoteError> {
        let mut download = Download {
            client: self.clone(),
            at: range.start,
            failed_at: range.start,
            request,
            range,
            whole,
            flow: None,
            tag: None,
            patience: Patience::new(self.policy(), self.place()),
        };
        if download.range.is_empty() {
            let head = Request { method: Method::HEAD, ..download.request.clone() };
            let answer = self.send(&head, None)?;
            if answer.is_missing() {
                return Ok(None);
            }
            answer.expect_success()?;
            return Ok(Some(download));
        }
        loop {
            match download.connect() {
                Ok(true) => return Ok(Some(download)),
                Ok(false) => return Ok(None),
                Err(failure) => download.patience.after(failure, None)?,
            }
        }
    }
}

impl Download {
    /// Asks for what is still to come. `false` when it is not there.
    fn connect(&mut self) -> Result<bool, Failure> {
        let mut request = self.request.clone();
        let all = self.at == 0 && self.whole == Some(self.range.end);
        if !all {
            let range = format!("bytes={}-{}", self.at, self.range.end - 1);
            request = request.header(RANGE, &range);
        }
        if let Some(tag) = &self.tag {
            request.headers.insert(IF_MATCH, tag.clone());
        }
        let response = self.client.exchange(&request, None, &mut 0)?;
        // It did answer: from now on it is worth waiting for.
        self.patience.set_policy(self.client.policy());
        let status = response.status();
        let skip = match status {
            StatusCode::OK => self.at,
            StatusCode::PARTIAL_CONTENT => 0,
            _ if matches!(status.as_u16(), 404 | 410) => return Ok(false),
            StatusCode::PRECONDITION_FAILED if self.tag.is_some() => {
                return Err(self.wrong("it was changed while it was read").into());
            }
            _ => return Err(self.refusal(response)),
        };
        self.check_lengths(&response)?;
        let redirected = response.url().origin() != self.request.url.origin();
        let strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
        if self.tag.is_none() && !redirected {
            self.tag = response.headers().get(ETAG).filter(strong).cloned();
        }
        self.flow = Some(Flow { response, pace: self.client.pace(), chunk: Bytes::new(), skip });
        Ok(true)
    }

    /// Compares what the answer says of lengths with what was asked for.
    fn check_lengths(&self, response: &Response) -> Result<(), RemoteError> {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let other = |whole: u64| match self.whole {
            Some(expected) if expected != whole => {
                Err(self.wrong(&format!("it is {whole} bytes long instead of {expected}")))
            }
            _ if whole < self.range.end => Err(self.wrong(&format!(
                "it is {whole} bytes long, so that bytes {}–{} are not in it",
                self.range.start, self.range.end
            ))),
            _ => Ok(()),
        };
        if response.status() == StatusCode::OK {
            let length = header(CONTENT_LENGTH).and_then(|text| text.trim().parse().ok());
            return length.map_or(Ok(()), other);
        }
        let text = header(CONTENT_RANGE).unwrap_or_default();
        let Some((first, last, whole)) = content_range(text) else {
            return Err(self.wrong("a part without a proper Content-Range"));
        };
        if first != self.at || last >= self.range.end {
            return Err(self.wrong(&format!(
                "it sends bytes {first}–{last} when asked for {}–{}",
                self.at,
                self.range.end - 1
            )));
        }
        whole.map_or(Ok(()), other)
    }

    /// What a status means that is no success.
    fn refusal(&self, mut response: Response) -> Failure {
        let status = response.status();
        let after = response
            .headers()
            .get(reqwest::header::RETRY_AFTER)
            .and_then(|value| retry::retry_after(value.to_str().ok()?));
        // The beginning of the text is enough to say why, and no text is no harm.
        let text = self
            .client
            .piece(&mut response, &mut self.client.pace())
            .ok()
            .flatten()
            .unwrap_or_default();
        let answer = Answer {
            status,
            headers: response.headers().clone(),
            body: Bytes::new(),
            place: self.client.place().to_owned(),
            asked: self.request.shown(),
            says: self.request.hide(excerpt(&text)),
        };
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return self.wrong("it is shorter than it should be").into();
        }
        if retry::is_transient(status.as_u16()) {
            return Failure::Transient { source: Fault::Busy(answer.said()).into(), after };
        }
        answer.error().into()
    }

    fn wrong(&self, why: &str) -> RemoteError {
        RemoteError::Wrong {
            place: self.client.place().to_owned(),
            what: self.request.shown(),
            why: why.to_owned(),
        }
    }

    /// Copies what is there, or waits for more. `None`: the flow ended.
    fn take(&mut self, into: &mut [u8]) -> Result<Option<usize>, Failure> {
        let Some(flow) = &mut self.flow else { return Ok(None) };
        loop {
            let before = usize::try_from(flow.skip).unwrap_or(usize::MAX).min(flow.chunk.len());
            flow.chunk.advance(before);
            flow.skip -= before as u64;
            if !flow.chunk.is_empty() {
                let left = usize::try_from(self.range.end - self.at).unwrap_or(usize::MAX);
                let length = into.len().min(flow.chunk.len()).min(left);
                into[..length].copy_from_slice(&flow.chunk[..length]);
                flow.chunk.advance(length);
                self.at += length as u64;
                return Ok(Some(length));
            }
            match self.client.piece(&mut flow.response, &mut flow.pace)? {
                Some(chunk) => flow.chunk = chunk,
                None => return Ok(None),
            }
        }
    }

    /// After the last byte: more of it would be wrong, and reading to the end lets the connection
    /// be used again.
    fn finish(&mut self) -> Result<(), RemoteError> {
        let Some(mut flow) = self.flow.take() else { return Ok(()) };
        let part = flow.response.status() == StatusCode::PARTIAL_CONTENT;
        if !part && self.whole != Some(self.range.end) {
            return Ok(());
        }
        let more = !flow.chunk.is_empty()
            || matches!(self.client.piece(&mut flow.response, &mut flow.pace), Ok(Some(more)) if !more.is_empty());
        if more { Err(self.wrong("more bytes came than there should be")) } else { Ok(()) }
    }

    fn next(&mut self, into: &mut [u8]) -> Result<usize, RemoteError> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.at == self.range.end {
            self.finish()?;
            return Ok(0);
        }
        loop {
            let failure = match self.take(into) {
                Ok(Some(length)) => {
                    if self.at == self.range.end {
                        self.finish()?;
                    }
                    return Ok(length);
                }
                Ok(None) if self.flow.take().is_some() => Failure::transient(Fault::Cut(format!(
                    "it ended after {} of {} bytes",
                    self.at - self.range.start,
                    self.range.end - self.range.start
                ))),
                Ok(None) => match self.connect() {
                    Ok(true) => continue,
                    Ok(false) => self.wrong("it vanished while it was read").into(),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            self.flow = None;
            if self.at - self.failed_at >= PROGRESS {
                self.patience.progress();
            }
            self.failed_at = self.at;
            self.patience.after(failure, None)?;
        }
    }
}

impl Read for Download {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next(into).map_err(io::Error::other)
    }
}

/// The remote error that an error of reading from a depot stands for.
pub(crate) fn remote_error(error: io::Error, place: &str) -> RemoteError {
    match error.downcast::<RemoteError>() {
        Ok(remote) => remote,
        Err(error) => RemoteError::Unreachable { place: place.to_owned(), source: Box::new(error) },
    }
}

/// `bytes FIRST-LAST/WHOLE`, where the whole may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let whole = match whole.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    (first <= last).then_some((first, last, whole))
}
