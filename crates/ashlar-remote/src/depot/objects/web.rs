//! A folder behind a web server that takes WebDAV's PUT, DELETE and MKCOL, as nginx does.
//!
//! nginx writes a body beside its place and renames it when all of it has come, so that a cut
//! upload leaves nothing. Other servers may write in place: the length is asked for after each
//! blob, and a blob of another length counts as absent.
//!
//! Servers of this kind know no conditions for PUT. Making a folder is what only one of many
//! succeeds with, so a folder is the lock for what must not be changed by two at once.

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use ashlar_store::{Moved, RemoteError, Watch};
use reqwest::Method;
use reqwest::header::SERVER;
use url::Url;

use super::clock::{self, Clock};
use super::{BLOBS, Change, MANIFEST_LIMIT, Objects, Seen};
use crate::depot::Body;
use crate::http::{Answer, Authorize, Client, Payload, Request};

/// Where the folders that are locks are made.
const LOCKS: &str = "locks";
/// A lock as old as this was left by somebody who died: its holder sends a few small requests.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long the name of a holder may be, in bytes.
const HOLDER: u64 = 4096;
/// How long a listing may be: some hundred thousand names.
const LISTING: usize = 256 << 20;

/// Objects as files behind a web server.
pub(crate) struct Web {
    client: Client,
    base: Url,
    authorize: Option<Arc<dyn Authorize>>,
    clock: Clock,
    locks: OnceLock<bool>,
}

impl Web {
    /// The folder at an address, whose user and password are left out: they are in `authorize`.
    pub fn new(client: Client, base: &Url, authorize: Option<Arc<dyn Authorize>>) -> Self {
        let mut base = crate::http::without_user(base);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Self { client, base, authorize, clock: Clock::default(), locks: OnceLock::new() }
    }

    fn request(&self, method: Method, key: &str) -> Result<Request, RemoteError> {
        let url = self.base.join(key).map_err(|error| RemoteError::Address {
            place: self.place().to_owned(),
            why: format!("{key}: {error}"),
        })?;
        Ok(Request::new(method, url).authorize(self.authorize.clone()))
    }

    fn send(&self, request: &Request, watch: Option<&Watch<'_>>) -> Result<Answer, RemoteError> {
        let answer = self.client.send(request, watch)?;
        self.clock.hear(&answer.headers);
        Ok(answer)
    }

    fn ask(&self, method: Method, key: &str) -> Result<Answer, RemoteError> {
        self.send(&self.request(method, key)?, None)
    }

    /// What it means when something cannot be written.
    fn unwritable(&self, answer: &Answer, what: &str) -> RemoteError {
        let advice = match answer.status.as_u16() {
            401 => "give a user and a password, or a token, that may write",
            413 => "raise `client_max_body_size` of the server (0: no limit)",
            507 => "its disk is full",
            _ => {
                "if it is to be written to, let its server take PUT, DELETE and MKCOL (nginx: \
                 `dav_methods PUT DELETE MKCOL; create_full_put_path on;`); if not, set `write = \
                 false` for this remote"
            }
        };
        match answer.status.as_u16() {
            401 | 403 | 405 | 409 | 413 | 501 | 507 => RemoteError::Refused {
                place: self.place().to_owned(),
                what: what.to_owned(),
                why: format!("{}; {advice}", answer.said()),
            },
            _ => answer.error(),
        }
    }

    fn put_once(&self, request: &Request, watch: &Watch<'_>) -> Result<Answer, RemoteError> {
        self.send(request, Some(watch))
    }

    /// Makes the folders of an object, for servers whose PUT does not.
    fn make_folders(&self, key: &str) -> Result<(), RemoteError> {
        let parts: Vec<&str> = key.split('/').collect();
        self.make_folder("")?;
        for end in 1..parts.len() {
            self.make_folder(&format!("{}/", parts[..end].join("/")))?;
        }
        Ok(())
    }

    /// Makes a folder, whose key ends with a slash. `false` when it could not be made, as when it is there already.
    fn make_folder(&self, key: &str) -> Result<bool, RemoteError> {
        let method = Method::from_bytes(b"MKCOL").map_err(|_| RemoteError::Unsupported {
            place: self.place().to_owned(),
            what: "be sent MKCOL".to_owned(),
        })?;
        Ok(self.ask(method, key)?.status.as_u16() == 201)
    }

    /// Whether folders can be made: found out once, with one that nobody else makes.
    fn has_locks(&self) -> Result<bool, RemoteError> {
        if let Some(known) = self.locks.get() {
            return Ok(*known);
        }
        self.make_folder(&format!("{LOCKS}/"))?;
        let probe = format!("{LOCKS}/probe-{}/", clock::unique());
        let made = self.make_folder(&probe)?;
        if made {
            self.ask(Method::DELETE, &probe)?;
        }
        Ok(*self.locks.get_or_init(|| made))
    }

    /// Does something while nobody else does it for the same key. `work` is told how to find out
    /// whether the lock is still its own, and gives `None` when it was not: then it is done again.
    fn locked<T>(
        &self,
        key: &str,
        work: impl Fn(&dyn Fn() -> Result<bool, RemoteError>) -> Result<Option<T>, RemoteError>,
    ) -> Result<T, RemoteError> {
        let lock = format!("{LOCKS}/{}/", key.replace('/', "."));
        let (holder, own) = (format!("{lock}holder"), clock::unique());
        let held = || Ok(self.holder(&holder)?.is_some_and(|(name, _)| name == own.as_bytes()));
        let begun = Instant::now();
        // Since when a lock has no holder: for a moment that is so with every new one.
        let mut empty: Option<Instant> = None;
        for round in 0.. {
            if self.make_folder(&lock)? {
                self.write(&holder, own.clone().into_bytes())?;
                let done = work(&held);
                // Somebody who took it for abandoned may have it by now: then it is theirs.
                if held()? {
                    self.ask(Method::DELETE, &lock)?;
                }
                if let Some(done) = done? {
                    return Ok(done);
                }
            }
            let now = self.now()?;
            let found = self.holder(&holder)?;
            let left = match &found {
                Some((_, modified)) => {
                    empty = None;
                    now.duration_since(*modified).unwrap_or_default() > ABANDONED
                }
                None => empty.get_or_insert_with(Instant::now).elapsed() > ABANDONED / 2,
            };
            if left {
                // Others may have come to the same end, and one of them may hold a new lock.
                if self.holder(&holder)? == found {
                    self.ask(Method::DELETE, &lock)?;
                }
                empty = None;
            } else if begun.elapsed() > ABANDONED * 3 {
                break;
            }
            clock::back_off(round);
        }
        Err(RemoteError::Refused {
            place: self.place().to_owned(),
            what: format!("to have {key} changed"),
            why: format!("others have had it locked ({lock}) for too long"),
        })
    }

    /// Who holds a lock, and since when.
    fn holder(&self, key: &str) -> Result<Option<(Vec<u8>, SystemTime)>, RemoteError> {
        Ok(self.read(key, HOLDER)?.map(|(name, seen)| (name, seen.modified)))
    }

    fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), RemoteError> {
        let size = bytes.len() as u64;
        self.put(key, &Body::Bytes(bytes.into()), size, &Watch::NOBODY)
    }
}

impl Objects for Web {
    fn place(&self) -> &str {
        self.client.place()
    }

    fn head(&self, key: &str) -> Result<Option<Seen>, RemoteError> {
        let answer = self.ask(Method::HEAD, key)?;
        if answer.is_missing() {
            return Ok(None);
        }
        let answer = answer.expect_success()?;
        let size = answer.length().ok_or_else(|| answer.wrong("it does not say how long it is"))?;
        Ok(Some(Seen { size, modified: clock::modified(&answer.headers) }))
    }

    fn read(&self, key: &str, most: u64) -> Result<Option<(Vec<u8>, Seen)>, RemoteError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let answer = self.send(&self.request(Method::GET, key)?.limit(most), None)?;
        if answer.is_missing() {
            return Ok(None);
        }
        let answer = answer.expect_success()?;
        let modified = clock::modified(&answer.headers);
        let seen = Seen { size: answer.body.len() as u64, modified };
        Ok(Some((answer.body.to_vec(), seen)))
    }

    fn open(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        let request = self.request(Method::GET, key)?;
        let opened = self.client.open(request, range, None)?;
        Ok(opened.map(|download| Box::new(download) as Box<dyn Read + Send>))
    }

    fn put(&self, key: &str, body: &Body, size: u64, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let payload = Payload::Part(body.clone(), 0..size);
        let request = self.request(Method::PUT, key)?.payload(payload);
        let mut answer = self.put_once(&request, watch)?;
        if matches!(answer.status.as_u16(), 404 | 409) {
            self.make_folders(key)?;
            answer = self.put_once(&request, watch)?;
        }
        if !answer.status.is_success() {
            return Err(self.unwritable(&answer, "to be written"));
        }
        if key.starts_with(BLOBS) {
            let there = self.head(key)?.map(|seen| seen.size);
            if there != Some(size) {
                let there = there.map_or_else(|| "nothing".to_owned(), |has| has.to_string());
                return Err(answer.wrong(format!(
                    "it took {size} bytes, and then has {there}; try again, or look at its log"
                )));
            }
        }
        (watch.moved)(Moved { blobs: 1, ..Moved::default() });
        Ok(())
    }

    fn update(&self, key: &str, change: &Change<'_>) -> Result<(), RemoteError> {
        // Whether something was written; nothing when it is not to be any more.
        let once = |may: &dyn Fn() -> Result<bool, RemoteError>| {
            let old = self.read(key, MANIFEST_LIMIT)?.map(|(bytes, _)| bytes);
            match change(old.as_deref())? {
                Some(new) if may()? => self.write(key, new).map(|()| Some(true)),
                Some(_) => Ok(None),
                None => Ok(Some(false)),
            }
        };
        if self.has_locks()? {
            return self.locked(key, once).map(|_| ());
        }
        // Without locks somebody may write over it at the same time: it is looked at again a
        // little later, until it stays.
        for round in 0..6 {
            if once(&|| Ok(true))? != Some(true) {
                return Ok(());
            }
            clock::back_off(round);
        }
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<(String, Seen)>, RemoteError> {
        #[derive(serde::Deserialize)]
        struct Line {
            name: String,
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            mtime: String,
            #[serde(default)]
            size: u64,
        }
        let request = self.request(Method::GET, &format!("{folder}/"))?.limit(LISTING);
        let answer = self.send(&request, None)?;
        if answer.is_missing() {
            return Ok(Vec::new());
        }
        let lines: Option<Vec<Line>> =
            answer.status.is_success().then(|| serde_json::from_slice(&answer.body).ok()).flatten();
        let Some(lines) = lines else {
            if answer.status.as_u16() == 401 {
                return Err(answer.error());
            }
            return Err(RemoteError::Unsupported {
                place: self.place().to_owned(),
                what: format!(
                    "list {folder}/: {}; let its server list folders as JSON (nginx: `autoindex \
                     on; autoindex_format json;`), or collect where the files are, as a directory",
                    answer.said()
                ),
            });
        };
        Ok((lines.into_iter().filter(|line| line.kind == "file"))
            // Where no time can be read, nothing is known to be old.
            .map(|line| {
                let modified = clock::parse(&line.mtime).unwrap_or_else(SystemTime::now);
                (line.name, Seen { size: line.size, modified })
            })
            .collect())
    }

    fn remove(&self, key: &str) -> Result<bool, RemoteError> {
        let answer = self.ask(Method::DELETE, key)?;
        match answer.is_missing() {
            true => Ok(false),
            false if answer.status.is_success() => Ok(true),
            false => Err(self.unwritable(&answer, "to have something removed")),
        }
    }

    fn now(&self) -> Result<SystemTime, RemoteError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        self.ask(Method::HEAD, super::LAYOUT.0)?;
        Ok(self.clock.now().unwrap_or_else(SystemTime::now))
    }

    fn tidy(&self, _before: SystemTime) -> Result<u64, RemoteError> {
        // The server removes what it did not get whole.
        Ok(0)
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        let answer = self.ask(Method::HEAD, super::LAYOUT.0)?;
        if !answer.is_missing() {
            answer.clone().expect_success()?;
        }
        let mut facts = Vec::new();
        if let Some(server) = answer.header(SERVER) {
            facts.push(("server".to_owned(), server.to_owned()));
        }
        let listing = match self.list(super::TAGS) {
            Ok(_) => "yes",
            Err(RemoteError::Unsupported { .. }) => "no",
            Err(error) => return Err(error),
        };
        facts.push(("lists folders".to_owned(), listing.to_owned()));
        Ok(facts)
    }
}
