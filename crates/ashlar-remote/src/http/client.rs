//! Sends requests: one attempt with redirects, stalls and a second try after 401; and as many as
//! are worth it.

use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use ashlar_store::{Moved, RemoteError, Watch};

use super::pace::Pace;
use super::request::{Answer, LIMIT, Payload, Request};
use super::retry::{self, Failure, Patience, Policy};
use super::shown::{excerpt, innermost, is_loopback, shown};
use super::tls::Identity;
use super::upload::{Activity, stream};
use crate::runtime;

/// How often it is looked whether something moved and whether to go on.
const TICK: Duration = Duration::from_millis(50);
/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// How much of an error's text is read.
const ERROR_TEXT: usize = 64 * 1024;
/// For how many stalls' time the body of a small answer may come: a manifest, a token, a page of
/// tags, that trickles in just fast enough not to be slow.
const WHOLE: u32 = 4;

/// How a client is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whether plain HTTP is allowed to hosts that are not loopback.
    pub insecure: bool,
    /// A file with certificates to trust besides those of the machine, PEM.
    pub ca: Option<PathBuf>,
    /// A client certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// For how long nothing may come or go.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        Self { insecure: false, ca: None, certificate: None, key: None, timeout }
    }
}

/// Who asks one place. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: String,
    insecure: bool,
    timeout: Duration,
    identity: Identity,
    loopback: bool,
    /// For `http:`, and for `https:`, which takes longer to set up.
    plain: OnceLock<Result<reqwest::Client, String>>,
    secure: OnceLock<Result<reqwest::Client, String>>,
    /// Whether it ever answered: a place that never did is waited for less.
    met: AtomicBool,
}

/// What happened to an attempt that may go well the next time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("nothing came or went for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    #[error("only {bytes} bytes came in {} s", .waited.as_secs_f32())]
    Slow { bytes: u64, waited: Duration },
    #[error("the connection was cut: {0}")]
    Cut(String),
    #[error("it answers {0}")]
    Busy(String),
}

impl Client {
    /// A client for a place. Nothing is contacted yet.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when the address is plain HTTP to another machine without leave, or
    /// a certificate cannot be read.
    pub fn new(base: &Url, options: &Options) -> Result<Self, RemoteError> {
        Self::named(&shown(base), base, options)
    }

    /// As [`Client::new`], for a place that people know by another name.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn named(place: &str, base: &Url, options: &Options) -> Result<Self, RemoteError> {
        let place = place.to_owned();
        let files = [&options.ca, &options.certificate, &options.key].map(|path| path.as_deref());
        let identity = Identity::read(&place, files[0], files[1], files[2])?;
        let inner = Inner {
            place,
            insecure: options.insecure,
            timeout: options.timeout,
            identity,
            loopback: is_loopback(base),
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            met: AtomicBool::new(false),
        };
        let client = Self { inner: Arc::new(inner) };
        client.check(base)?;
        Ok(client)
    }

    /// The address without credentials.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// How patient to be: a place that never answered gets as long as one stall, one that did twice
    /// as long.
    pub fn policy(&self) -> Policy {
        let met = self.inner.met.load(Ordering::Relaxed);
        Policy::within(if met { self.inner.timeout * 2 } else { self.inner.timeout })
    }

    /// Sends a request until there is an answer that another attempt would not change. Only for
    /// requests that do no harm when they arrive twice.
    ///
    /// # Errors
    /// [`RemoteError::Unreachable`] after enough attempts; [`RemoteError::Stopped`]. Statuses are
    /// no errors here: see [`Answer::error`].
    pub fn send(
        &self,
        request: &Request,
        watch: Option<&Watch<'_>>,
    ) -> Result<Answer, RemoteError> {
        let mut patience = Patience::new(self.policy(), self.place());
        let mut told = 0;
        loop {
            match self.attempt(request, watch, &mut told) {
                Ok(answer) => return Ok(answer),
                Err(failure) => patience.after(failure, watch)?,
            }
        }
    }

    /// One attempt. `told` is how many bytes of the payload `watch` knows of already: what is sent
    /// again is not told again.
    ///
    /// # Errors
    /// As [`Failure`].
    pub fn attempt(
        &self,
        request: &Request,
        watch: Option<&Watch<'_>>,
        told: &mut u64,
    ) -> Result<Answer, Failure> {
        let response = self.exchange(request, watch, told)?;
        let status = response.status();
        let headers = response.headers().clone();
        let limit = if status.is_success() { request.limit } else { ERROR_TEXT };
        let body = if request.method == Method::HEAD {
            Bytes::new()
        } else {
            self.collect(request, response, limit, watch)?
        };
        let says = if status.is_success() { String::new() } else { excerpt(&body) };
        let answer = Answer {
            status,
            headers,
            body,
            place: self.inner.place.clone(),
            asked: request.shown(),
            says: request.hide(says),
        };
        if retry::is_transient(status.as_u16()) {
            let after = answer.header(RETRY_AFTER).and_then(retry::retry_after);
            return Err(Failure::Transient { source: Fault::Busy(answer.said()).into(), after });
        }
        Ok(answer)
    }

    /// Sends a request, follows where it leads, and returns when the headers of the answer are
    /// there. 401 is answered with new credentials once.
    pub(super) fn exchange(
        &self,
        request: &Request,
        watch: Option<&Watch<'_>>,
        told: &mut u64,
    ) -> Result<Response, Failure> {
        let mut url = request.url.clone();
        let mut challenged = false;
        let mut redirects = 0;
        loop {
            let ours = url.origin() == request.url.origin();
            let header = match &request.authorize {
                Some(with) if ours => with.header()?,
                _ => None,
            };
            let response = self.once(request, &url, header.as_ref(), watch, told)?;
            if response.status() == StatusCode::UNAUTHORIZED
                && ours
                && !challenged
                && let Some(with) = &request.authorize
                && with.challenged(response.headers(), header.as_ref())?
            {
                challenged = true;
                continue;
            }
            let Some(next) = redirect(request, &url, &response) else {
                return Ok(response);
            };
            redirects += 1;
            if redirects > REDIRECTS {
                return Err(Failure::Lasting(RemoteError::Wrong {
                    place: self.inner.place.clone(),
                    what: request.shown(),
                    why: format!("more than {REDIRECTS} redirects"),
                }));
            }
            url = next;
        }
    }

    /// One request over one connection.
    fn once(
        &self,
        request: &Request,
        url: &Url,
        header: Option<&HeaderValue>,
        watch: Option<&Watch<'_>>,
        told: &mut u64,
    ) -> Result<Response, Failure> {
        self.check(url)?;
        let client = self.over(url)?;
        let activity = Activity::new();
        let length = request.payload.length();
        let mut headers = request.headers.clone();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.clone());
        }
        let mut sending = client.request(request.method.clone(), url.clone());
        match &request.payload {
            Payload::Empty => {
                if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
                }
            }
            Payload::Bytes(bytes) => sending = sending.body(bytes.clone()),
            Payload::Part(body, range) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                sending = sending.body(stream(body, range.clone(), &activity));
            }
        }
        let sending = sending.headers(headers).send();
        let done = self.wait(self.guarded(sending, &activity, watch, told))?;
        if let Some(error) = activity.failure() {
            // Ours, and no better the next time.
            return Err(Failure::Lasting(RemoteError::Store(ashlar_store::StoreError::Io {
                doing: "read what is to be sent from",
                path: PathBuf::from("the store"),
                source: error,
            })));
        }
        match done? {
            Ok(response) => {
                self.inner.met.store(true, Ordering::Relaxed);
                Ok(response)
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Reads a body into memory.
    fn collect(
        &self,
        request: &Request,
        mut response: Response,
        limit: usize,
        watch: Option<&Watch<'_>>,
    ) -> Result<Bytes, Failure> {
        let success = response.status().is_success();
        let began = Instant::now();
        // Long listings take as long as they take.
        let most = if limit <= LIMIT { self.inner.timeout * WHOLE } else { Duration::MAX };
        let mut pace = self.pace();
        let read = async {
            let mut whole = BytesMut::new();
            loop {
                let chunk = self.next_piece(&mut response, &mut pace, watch).await?;
                let Some(chunk) = chunk else {
                    return Ok(whole.freeze());
                };
                let came = (whole.len() + chunk.len()) as u64;
                if began.elapsed() > most {
                    return Err(Failure::transient(Fault::Slow {
                        bytes: came,
                        waited: began.elapsed(),
                    }));
                }
                if whole.len() + chunk.len() > limit {
                    if !success {
                        return Ok(whole.freeze());
                    }
                    return Err(Failure::Lasting(RemoteError::Wrong {
                        place: self.inner.place.clone(),
                        what: request.shown(),
                        why: format!("the answer is longer than {limit} bytes"),
                    }));
                }
                whole.extend_from_slice(&chunk);
            }
        };
        self.wait(read)?
    }

    /// What watches that a body does not trickle.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.inner.timeout)
    }

    /// The next piece of a body, or `None` at its end.
    pub(super) fn piece(
        &self,
        response: &mut Response,
        pace: &mut Pace,
    ) -> Result<Option<Bytes>, Failure> {
        self.wait(self.next_piece(response, pace, None))?
    }

    async fn next_piece(
        &self,
        response: &mut Response,
        pace: &mut Pace,
        watch: Option<&Watch<'_>>,
    ) -> Result<Option<Bytes>, Failure> {
        let activity = Activity::new();
        let began = Instant::now();
        let next = self.guarded(response.chunk(), &activity, watch, &mut 0).await?;
        let next = next.map_err(|error| self.failure(error))?;
        if let Some(bytes) = &next {
            pace.after(began.elapsed(), bytes.len()).map_err(Failure::transient)?;
        }
        Ok(next)
    }

    /// Waits for something while things move and `watch` says to go on.
    async fn guarded<F: Future>(
        &self,
        future: F,
        activity: &Activity,
        watch: Option<&Watch<'_>>,
        told: &mut u64,
    ) -> Result<F::Output, Failure> {
        let mut future = pin!(future);
        loop {
            let done = tokio::time::timeout(TICK, &mut future).await;
            if let Some(watch) = watch {
                let new = activity.sent().saturating_sub(*told);
                if new > 0 {
                    *told += new;
                    (watch.moved)(Moved { bytes: new, ..Moved::default() });
                }
                if done.is_err() && !(watch.go_on)() {
                    return Err(Failure::Lasting(RemoteError::Stopped));
                }
            }
            if let Ok(done) = done {
                return Ok(done);
            }
            if activity.idle() > self.inner.timeout {
                return Err(Failure::transient(Fault::Stalled(self.inner.timeout)));
            }
        }
    }

    /// Runs something on the runtime.
    fn wait<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        runtime::block_on(future).map_err(|error| {
            Failure::Lasting(RemoteError::Unreachable {
                place: self.inner.place.clone(),
                source: format!("the threads for the network cannot be started: {error}").into(),
            })
        })
    }

    /// What an error of the library below stands for.
    fn failure(&self, error: reqwest::Error) -> Failure {
        let connecting = error.is_connect();
        let error = error.without_url();
        if let Some(tls) = cause::<rustls::Error>(&error) {
            let why = match tls {
                rustls::Error::InvalidCertificate(why) => format!(
                    "its certificate is not trusted ({why:?}); name the file of the authority that \
                     signed it as `ca`"
                ),
                other => format!("no TLS connection: {other}"),
            };
            return Failure::Lasting(RemoteError::Address { place: self.inner.place.clone(), why });
        }
        let text = innermost(&error);
        Failure::transient(if connecting { Fault::Connect(text) } else { Fault::Cut(text) })
    }

    /// Refuses to speak plainly to other machines without leave.
    fn check(&self, url: &Url) -> Result<(), RemoteError> {
        let wrong =
            |why: &str| Err(RemoteError::Address { place: shown(url), why: why.to_owned() });
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.inner.insecure || is_loopback(url) => Ok(()),
            "http" => wrong(
                "plain HTTP to another machine is not allowed; use https, or say `insecure = true` \
                 for this remote",
            ),
            _ => wrong("only http and https are spoken here"),
        }
    }

    /// The connections for an address.
    fn over(&self, url: &Url) -> Result<&reqwest::Client, RemoteError> {
        let secure = url.scheme() == "https";
        let slot = if secure { &self.inner.secure } else { &self.inner.plain };
        slot.get_or_init(|| self.build(secure)).as_ref().map_err(|why| RemoteError::Address {
            place: self.inner.place.clone(),
            why: why.clone(),
        })
    }

    fn build(&self, secure: bool) -> Result<reqwest::Client, String> {
        let mut always = HeaderMap::new();
        // Ranges and digests are of what is stored, not of what a server makes of it on the way.
        always.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("ashlar/", env!("CARGO_PKG_VERSION"));
        always.insert(USER_AGENT, HeaderValue::from_static(agent));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.inner.identity.configuration(secure)?)
            .default_headers(always)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            // Several connections are what makes parallel transfers parallel.
            .http1_only()
            .connect_timeout((self.inner.timeout / 2).min(Duration::from_secs(10)))
            .pool_idle_timeout(Duration::from_secs(20));
        if self.inner.loopback {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| innermost(&error.without_url()))
    }
}

/// Where an answer leads. Only what is read is followed to other hosts; what is written only when
/// the answer says that nothing of it was taken, and within one.
fn redirect(request: &Request, from: &Url, response: &Response) -> Option<Url> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let follow = match response.status().as_u16() {
        301..=303 => reads,
        307 | 308 => true,
        _ => false,
    };
    let to = response.headers().get(LOCATION)?.to_str().ok()?;
    let to = from.join(to).ok()?;
    // What was in the address to let us in does not go to others, nor a signed one back to us.
    let to = if to.origin() == from.origin() { to } else { super::shown::without_user(&to) };
    (follow && (reads || to.origin() == request.url.origin())).then_some(to)
}

/// The first error of a kind in a chain of causes, also inside of [`std::io::Error`].
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|inside| -> &(dyn Error + 'static) { inside });
        at = inside.or_else(|| error.source());
    }
    None
}
