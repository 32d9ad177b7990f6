//! What is asked, what is answered, and the error that an unexpected answer stands for.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use ashlar_store::RemoteError;

use super::authorize::Authorize;
use crate::depot::Body;

/// How many bytes of an answer are kept in memory, unless the request says otherwise. Manifests
/// are at most 4 MiB, by the custom of registries.
pub(super) const LIMIT: usize = 16 << 20;

/// What is sent with a request.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Nothing at all.
    Empty,
    /// A few bytes.
    Bytes(Bytes),
    /// A part of a blob, however big, read when it is needed and as often as it is needed.
    Part(Body, Range<u64>),
}

impl Payload {
    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(_, range) => range.end.saturating_sub(range.start),
        }
    }
}

/// One request, which can be sent as often as needed.
#[derive(Clone)]
pub(crate) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// The header that lets us in, sent to this host only.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// How long an answer may be, in bytes.
    pub limit: usize,
}

impl Request {
    /// Of anything.
    pub fn new(method: Method, url: Url) -> Self {
        let headers = HeaderMap::new();
        Self { method, url, headers, payload: Payload::Empty, authorize: None, limit: LIMIT }
    }

    /// `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// `HEAD`.
    pub fn head(url: Url) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// `PUT` of something.
    pub fn put(url: Url, payload: Payload) -> Self {
        Self { payload, ..Self::new(Method::PUT, url) }
    }

    /// With a header. A value that cannot be in one is left out: all of ours are our own.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With something to send.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// With what lets us in.
    #[must_use]
    pub fn authorize(mut self, authorize: Option<Arc<dyn Authorize>>) -> Self {
        self.authorize = authorize;
        self
    }

    /// With a bound of the answer, in bytes.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// As it may be shown: the method and the path.
    pub fn shown(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }

    /// Takes out of a text what must not be shown.
    pub(super) fn hide(&self, text: String) -> String {
        match &self.authorize {
            Some(with) => with.hide(text),
            None => text,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// What came back: any status that is not worth another attempt.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body, whole. Of `HEAD`: nothing.
    pub body: Bytes,
    pub(super) place: String,
    pub(super) asked: String,
    pub(super) says: String,
}

impl Answer {
    /// A header, when it is there and text.
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `Content-Length`, which for `HEAD` is all there is to know.
    pub fn length(&self) -> Option<u64> {
        self.header(reqwest::header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// 404 or 410.
    pub fn is_missing(&self) -> bool {
        matches!(self.status.as_u16(), 404 | 410)
    }

    /// The answer itself when it is a success, and the error that it stands for when it is not.
    ///
    /// # Errors
    /// [`Answer::error`].
    pub fn expect_success(self) -> Result<Self, RemoteError> {
        if self.status.is_success() { Ok(self) } else { Err(self.error()) }
    }

    /// What a status that the caller has no use for means.
    pub fn error(&self) -> RemoteError {
        let place = self.place.clone();
        let why = self.said();
        let what = self.asked.clone();
        match self.status.as_u16() {
            401 | 402 | 403 | 407 | 413 | 451 | 507 => RemoteError::Refused { place, what, why },
            405 | 501 => RemoteError::Unsupported { place, what: format!("do {what}: {why}") },
            _ => RemoteError::Wrong { place, what, why },
        }
    }

    /// The status and, where it says so, why.
    pub fn said(&self) -> String {
        if self.says.is_empty() {
            self.status.to_string()
        } else {
            format!("{}: {}", self.status, self.says)
        }
    }

    /// An answer that makes no sense for this reason.
    pub fn wrong(&self, why: impl Into<String>) -> RemoteError {
        RemoteError::Wrong { place: self.place.clone(), what: self.asked.clone(), why: why.into() }
    }
}
