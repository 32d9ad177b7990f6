//! Answers of servers, handed on while they come and recorded.

use std::collections::BTreeMap;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ashlar_object::Digest;
use ashlar_recipe::Pin;
use ashlar_store::Store;

use super::answer::{Body, Content};
use super::ask::Asked;
use super::download::{Download, Head, Stop};
use super::serve::{Answers, Reply, Troubles};
use super::upstream::{Proxies, ask};
use crate::SourceError;

/// How often a server is asked before it counts as not answering.
const TRIES: u32 = 3;
/// How long is waited before the second time; twice as long before the next.
const PAUSE: Duration = Duration::from_millis(500);

/// Why downloads could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A server did not give what it was asked for.
    #[error("{url} cannot be downloaded: {why}")]
    Failed {
        /// The address.
        url: String,
        /// Why not.
        why: String,
    },
    /// A server gives different contents under one address.
    #[error("{url} is one thing to one request and another to the next")]
    Different {
        /// The address.
        url: String,
    },
    /// What was recorded is not there any more.
    #[error("{url} is gone: the server answers {status}")]
    Gone {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// What was recorded is another thing now.
    #[error(
        "{url} changed since it was recorded: it was {was} (last modified: {then}) and is {is} \
         (last modified: {now})"
    )]
    Changed {
        /// The address.
        url: String,
        /// The beginning of the digest that was recorded.
        was: String,
        /// When that was last modified, as the server said.
        then: String,
        /// The beginning of the digest that it has.
        is: String,
        /// When that was last modified.
        now: String,
    },
    /// It was stopped.
    #[error("stopped while {url} was on its way")]
    Stopped {
        /// The address.
        url: String,
    },
    /// What came cannot be kept.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What is asked for: address, whether only the head, which form of it, and as whom: the digest
/// of what was said of that.
type Key = (String, bool, Option<String>, Option<Digest>);

/// Downloads, each with how many were begun before it.
type Begun = BTreeMap<Key, (usize, Arc<Download>)>;

/// Answers from the network, once for each address; an error is asked for again, and what came
/// last is recorded.
#[derive(Debug)]
pub struct Recorder {
    proxies: Proxies,
    scratch: PathBuf,
    /// Ends those who wait for downloads.
    stop: Stop,
    /// Ends downloads.
    abort: Arc<Stop>,
    all: Mutex<Begun>,
    count: AtomicUsize,
    troubles: Troubles,
}

impl Recorder {
    /// A recorder. What comes lies in files without names in the folder `scratch`.
    #[must_use]
    pub fn new(proxies: Proxies, scratch: PathBuf) -> Self {
        Self {
            proxies,
            scratch,
            stop: Stop::default(),
            abort: Arc::default(),
            all: Mutex::default(),
            count: AtomicUsize::new(0),
            troubles: Troubles::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Begun> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The download of what is asked for, which is begun if there is none that may succeed.
    fn download(&self, asked: &Asked) -> std::io::Result<Arc<Download>> {
        let who = asked.authorization.as_ref().map(|who| Digest::of(who.as_bytes()));
        let key = (asked.url.clone(), asked.head, asked.accept.clone(), who);
        let mut all = self.lock();
        if let Some((_, known)) = all.get(&key).filter(|(_, known)| !known.may_differ()) {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(Download::new(tempfile::tempfile_in(&self.scratch)?));
        all.insert(key, (self.count.fetch_add(1, Ordering::Relaxed), Arc::clone(&new)));
        drop(all);
        let asked = Asked {
            url: asked.url.clone(),
            head: asked.head,
            accept: asked.accept.clone(),
            user_agent: asked.user_agent.clone(),
            authorization: asked.authorization.clone(),
            ..Asked::default()
        };
        begin(asked, self.proxies.clone(), Arc::clone(&new), Arc::clone(&self.abort))?;
        Ok(new)
    }

    /// The first download that failed.
    #[must_use]
    pub fn failed(&self) -> Option<PinError> {
        let all = self.lock();
        let mut failed = all.iter().filter(|(_, (_, download))| download.failed());
        failed.find_map(|((url, ..), (_, download))| {
            let why = download.ended()?.err()?;
            Some(PinError::Failed { url: url.clone(), why })
        })
    }

    /// What was answered to each request, with contents in the store. To be called when the command
    /// has ended; what was begun is waited for as long as `go_on` says so.
    ///
    /// # Errors
    /// When something was asked for and did not come.
    pub fn finish(
        &self,
        store: &dyn Store,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<Pin>, PinError> {
        let all = std::mem::take(&mut *self.lock());
        let mut pins: BTreeMap<(String, bool), (usize, Pin)> = BTreeMap::new();
        for ((url, head, ..), (at, download)) in all {
            let pin = self.pin(&url, head, &download, store, go_on)?;
            match pins.entry((url, head)) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((at, pin));
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let (was_at, was) = entry.get_mut();
                    if (&was.sha256, was.status) != (&pin.sha256, pin.status) {
                        // An error before what came in the end is what a replay can leave out.
                        let earlier = if *was_at < at { &*was } else { &pin };
                        if earlier.status < 400 {
                            return Err(PinError::Different { url: pin.url });
                        }
                        if *was_at < at {
                            *was = pin;
                        }
                    }
                    *was_at = at.max(*was_at);
                }
            }
        }
        Ok(pins.into_values().map(|(_, pin)| pin).collect())
    }

    fn pin(
        &self,
        url: &str,
        head: bool,
        download: &Download,
        store: &dyn Store,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Pin, PinError> {
        let failed = |why: String| PinError::Failed { url: url.to_owned(), why };
        let nobody = Stop::default();
        let digest = loop {
            if !go_on() {
                self.abort.set();
                return Err(PinError::Stopped { url: url.to_owned() });
            }
            if let Some(end) = download.ended() {
                break end.map_err(failed)?;
            }
        };
        let said = match download.head(&nobody) {
            Ok(Ok(said)) => said,
            Ok(Err(why)) => return Err(failed(why)),
            Err(e) => return Err(failed(e.to_string())),
        };
        let Head { status, fields, length } = said;
        let has_content = !head && status < 300;
        if has_content {
            let mut content =
                download.content().map_err(SourceError::io("read", Path::new(url)))?;
            let kept = store.put(&mut content).map_err(SourceError::from)?;
            if kept != digest {
                return Err(failed("its content changed on this machine's disk".to_owned()));
            }
        }
        let sha256 = has_content.then(|| digest.hex());
        let size = if has_content { Some(digest.size) } else { length.filter(|_| head) };
        Ok(Pin { url: url.to_owned(), head, status, sha256, size, fields })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.abort.set();
    }
}

impl Answers for Recorder {
    fn answer(&self, asked: &Asked) -> std::io::Result<Reply> {
        let download = self.download(asked)?;
        Ok(match download.head(&self.stop)? {
            Ok(head) => {
                let body = match asked.head || head.status >= 300 {
                    true => Body::None,
                    false => Body::Arriving(download),
                };
                Reply::Content(Content { head, body })
            }
            Err(why) => Reply::Refused(502, format!("{} cannot be downloaded: {why}", asked.url)),
        })
    }

    fn stop(&self) {
        self.stop.set();
    }

    fn stopping(&self) -> &Stop {
        &self.stop
    }

    fn troubles(&self) -> &Troubles {
        &self.troubles
    }
}

/// Begins to get one answer. Who begins it need not wait until it stops: a server may be silent for
/// a while.
pub(super) fn begin(
    asked: Asked,
    proxies: Proxies,
    download: Arc<Download>,
    stop: Arc<Stop>,
) -> std::io::Result<()> {
    let work = move || download.finish(fetch(&asked, &proxies, &download, &stop));
    std::thread::Builder::new().name("download".to_owned()).spawn(work).map(drop)
}

/// Gets one answer; the digest of its content.
fn fetch(
    asked: &Asked,
    proxies: &Proxies,
    download: &Download,
    stop: &Stop,
) -> Result<Digest, String> {
    let (mut tries, mut pause) = (1, PAUSE);
    let mut answer = loop {
        let (why, is_final) = match ask(asked, proxies) {
            Ok(answer) => match answer.head.status {
                200..=205 | 207..=303 | 305..=407 | 409..=424 | 426..=428 | 430..=499 => {
                    break answer;
                }
                status => (format!("the server answered {status}"), false),
            },
            // Nobody was asked.
            Err(e) => (said(&e), e.kind() == std::io::ErrorKind::InvalidInput),
        };
        if tries == TRIES || is_final || stop.is_set() {
            return Err(why);
        }
        std::thread::sleep(pause);
        (tries, pause) = (tries + 1, pause * 2);
    };
    download.begin(answer.head);
    download.fill(&mut answer.body, stop).map_err(|e| said(&e))
}

fn said(error: &Error) -> String {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            "the server said nothing for half a minute".to_owned()
        }
        _ => error.to_string(),
    }
}
