//! A bucket behind the interface of S3.
//!
//! What is signed and how its answers are read is the business of the crate `object_store`; every
//! request goes through the room's own HTTP client (`service.rs`), so that attempts, stalls and
//! messages are the same as everywhere. What is read is read through signed addresses, so that a
//! download goes on where it was cut.
//!
//! Conditions on PUT are used where the server heeds them. Not all do: garage 2.5 answers
//! `If-None-Match: *` on an object that is there with 200 and writes over it. So it is tried once,
//! and where conditions are ignored, writers announce themselves by objects and list who else did
//! (`claim.rs`): listing after writing is consistent.

mod claim;
mod failure;
mod parts;
mod service;

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ashlar_store::{Moved, RemoteError, Watch};
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
    UpdateVersion,
};
use reqwest::Method;
use url::Url;

use super::clock::{self, Clock};
use super::{Change, MANIFEST_LIMIT, Objects, Seen};
use crate::depot::Body;
use crate::http::retry::{self, Failure};
use crate::http::{Client, Options, Request};
use crate::{BucketKeys, runtime};

/// Where what is under way is noted: claims, and uploads in parts.
const LOCKS: &str = "locks";
/// For how long a signed address is good: a download that goes on must still be allowed to.
const SIGNED: Duration = Duration::from_secs(12 * 60 * 60);

/// Where a bucket is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// The address of the service, when it is not the one that the region names. The bucket is
    /// then part of the path.
    pub endpoint: Option<Url>,
    /// The region; `us-east-1` when nothing is said.
    pub region: Option<String>,
}

/// Objects in a bucket.
pub(crate) struct Bucket {
    place: String,
    prefix: String,
    client: Client,
    store: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    reading: Reading,
    clock: Arc<Clock>,
    conditions: OnceLock<bool>,
    parts: parts::Room,
}

/// The bytes of an object, and its `ETag`.
type State = (Vec<u8>, Option<String>);

/// How objects are read in parts of any size.
enum Reading {
    /// With an address that is signed for each.
    Signed(Arc<AmazonS3>),
    /// From a bucket that everybody may read.
    Open(Url),
}

impl Bucket {
    /// A bucket. Without keys it is asked as anybody may.
    pub fn new(
        address: &Address,
        keys: Option<&BucketKeys>,
        options: &Options,
    ) -> Result<Self, RemoteError> {
        let prefix = address.prefix.trim_matches('/').to_owned();
        let place = format!("s3://{}/{prefix}", address.bucket).trim_end_matches('/').to_owned();
        let wrong = |why: String| RemoteError::Address { place: place.clone(), why };
        let region = address.region.as_deref().unwrap_or("us-east-1");
        let base = match &address.endpoint {
            Some(endpoint) => crate::http::without_user(endpoint),
            None => Url::parse(&format!("https://s3.{region}.amazonaws.com/"))
                .map_err(|error| wrong(format!("region `{region}`: {error}")))?,
        };
        let client = Client::new(&base, options)?;
        let clock = Arc::new(Clock::default());
        let service = service::Connector {
            client: client.clone(),
            clock: Arc::clone(&clock),
            place: place.clone(),
            bucket: address.bucket.clone(),
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(region)
            .with_endpoint(base.as_str().trim_end_matches('/'))
            .with_allow_http(true)
            .with_http_connector(service)
            // One request more or less, and every server knows it.
            .with_disable_bulk_delete(true)
            // Attempts are made out here, where they can be stopped.
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 0,
                retry_timeout: options.timeout,
            });
        builder = match keys {
            None => builder.with_skip_signature(true),
            Some(keys) => {
                let with =
                    builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret.0);
                match &keys.session {
                    Some(session) => with.with_token(&session.0),
                    None => with,
                }
            }
        };
        let s3 = Arc::new(builder.build().map_err(|error| wrong(error.to_string()))?);
        let reading = match keys {
            Some(_) => Reading::Signed(Arc::clone(&s3)),
            None => {
                let mut open = base.clone();
                open.set_path(&format!(
                    "{}/{}/",
                    base.path().trim_end_matches('/'),
                    address.bucket
                ));
                Reading::Open(open)
            }
        };
        Ok(Self {
            place,
            prefix,
            client,
            store: Arc::clone(&s3) as Arc<dyn ObjectStore>,
            multipart: s3,
            reading,
            clock,
            conditions: OnceLock::new(),
            parts: parts::Room::default(),
        })
    }

    fn path(&self, key: &str) -> Result<Path, RemoteError> {
        let whole =
            if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Path::parse(&whole).map_err(|error| RemoteError::Address {
            place: self.place.clone(),
            why: format!("{whole}: {error}"),
        })
    }

    /// Makes attempts at something until it goes well or is given up on. `None`: not there.
    fn attempts<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        what: &str,
        watch: Option<&Watch<'_>>,
        future: impl Fn() -> F,
    ) -> Result<Option<T>, RemoteError> {
        retry::run(self.client.policy(), &self.place, watch, |_| {
            let done = runtime::block_on(future()).map_err(|error| {
                Failure::Lasting(RemoteError::Unreachable {
                    place: self.place.clone(),
                    source: format!("the threads for the network: {error}").into(),
                })
            })?;
            match done {
                Ok(done) => Ok(Some(done)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(failure::of(error, &self.place, what)),
            }
        })
    }

    /// As [`Bucket::attempts`], of something that is there.
    fn done<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        what: &str,
        watch: Option<&Watch<'_>>,
        future: impl Fn() -> F,
    ) -> Result<T, RemoteError> {
        self.attempts(what, watch, future)?.ok_or_else(|| RemoteError::Wrong {
            place: self.place.clone(),
            what: what.to_owned(),
            why: "it is not there".to_owned(),
        })
    }

    fn write(&self, key: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let path = self.path(key)?;
        let payload = PutPayload::from(bytes.to_vec());
        self.done("to be written", None, || self.store.put(&path, payload.clone())).map(|_| ())
    }

    /// Writes something if nobody else did since `version`. `false` when somebody did.
    fn write_if(
        &self,
        key: &str,
        bytes: &[u8],
        version: Option<&str>,
    ) -> Result<bool, RemoteError> {
        use object_store::Error;
        let path = self.path(key)?;
        let payload = PutPayload::from(bytes.to_vec());
        let mode = || match version {
            None => PutMode::Create,
            Some(tag) => {
                PutMode::Update(UpdateVersion { e_tag: Some(tag.to_owned()), version: None })
            }
        };
        self.done("to be written", None, || async {
            match self.store.put_opts(&path, payload.clone(), mode().into()).await {
                Ok(_) => Ok(true),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// A small object, and the name of this state of it.
    fn read_state(&self, key: &str) -> Result<Option<State>, RemoteError> {
        let path = self.path(key)?;
        self.attempts(key, None, || async {
            let got = self.store.get(&path).await?;
            let tag = got.meta.e_tag.clone();
            Ok((got.bytes().await?.to_vec(), tag))
        })
    }

    /// Whether the server heeds conditions, or this one does as if: found out once.
    fn has_conditions(&self) -> Result<bool, RemoteError> {
        if let Some(known) = self.conditions.get() {
            return Ok(*known);
        }
        let probe = format!("{LOCKS}/probe-{}", clock::unique());
        self.write(&probe, b"1")?;
        let heeded = match self.write_if(&probe, b"2", None) {
            Ok(written) => !written,
            Err(RemoteError::Unsupported { .. } | RemoteError::Wrong { .. }) => false,
            Err(error) => return Err(error),
        };
        self.remove(&probe)?;
        Ok(*self.conditions.get_or_init(|| heeded))
    }
}

impl Objects for Bucket {
    fn place(&self) -> &str {
        &self.place
    }

    fn head(&self, key: &str) -> Result<Option<Seen>, RemoteError> {
        let path = self.path(key)?;
        let meta = self.attempts("to be asked for something", None, || self.store.head(&path))?;
        Ok(meta.map(|meta| Seen { size: meta.size, modified: meta.last_modified.into() }))
    }

    fn read(&self, key: &str, most: u64) -> Result<Option<(Vec<u8>, Seen)>, RemoteError> {
        let path = self.path(key)?;
        self.attempts("to be read", None, || async {
            let got = self.store.get(&path).await?;
            let seen = Seen { size: got.meta.size, modified: got.meta.last_modified.into() };
            if seen.size > most {
                return Err(object_store::Error::NotSupported {
                    source: format!("{key} has {} bytes, more than {most}", seen.size).into(),
                });
            }
            Ok((got.bytes().await?.to_vec(), seen))
        })
    }

    fn open(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError> {
        let path = self.path(key)?;
        let url = match &self.reading {
            Reading::Signed(signer) => {
                self.done("to be read", None, || signer.signed_url(Method::GET, &path, SIGNED))?
            }
            Reading::Open(base) => base.join(path.as_ref()).map_err(|error| {
                RemoteError::Address { place: self.place.clone(), why: format!("{path}: {error}") }
            })?,
        };
        if range.is_empty() {
            // The signature is for GET, and of nothing there is nothing to get.
            let there = self.head(key)?.is_some();
            return Ok(there.then(|| Box::new(std::io::empty()) as Box<dyn Read + Send>));
        }
        let opened = self.client.open(Request::get(url), range, None)?;
        Ok(opened.map(|download| Box::new(download) as Box<dyn Read + Send>))
    }

    fn put(&self, key: &str, body: &Body, size: u64, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let path = self.path(key)?;
        if size <= parts::PART {
            let _room = self.parts.enter();
            let bytes = parts::read(body, 0..size, &self.place)?;
            let payload = PutPayload::from(bytes);
            self.done("to be written", Some(watch), || self.store.put(&path, payload.clone()))?;
            (watch.moved)(Moved { bytes: size, ..Moved::default() });
        } else {
            self.put_parts(&path, body, size, watch)?;
        }
        (watch.moved)(Moved { blobs: 1, ..Moved::default() });
        Ok(())
    }

    fn update(&self, key: &str, change: &Change<'_>) -> Result<(), RemoteError> {
        if !self.has_conditions()? {
            return self.claimed(key, || {
                let old = self.read(key, MANIFEST_LIMIT)?.map(|(bytes, _)| bytes);
                change(old.as_deref())?.map_or(Ok(()), |new| self.write(key, &new))
            });
        }
        for round in 0..100 {
            let (old, version) = match self.read_state(key)? {
                Some((old, Some(version))) => (Some(old), Some(version)),
                Some((_, None)) => {
                    return Err(RemoteError::Wrong {
                        place: self.place.clone(),
                        what: key.to_owned(),
                        why: "it has no ETag".to_owned(),
                    });
                }
                None => (None, None),
            };
            let Some(new) = change(old.as_deref())? else { return Ok(()) };
            if self.write_if(key, &new, version.as_deref())? {
                return Ok(());
            }
            clock::back_off(round);
        }
        Err(RemoteError::Refused {
            place: self.place.clone(),
            what: format!("to have {key} changed"),
            why: "others changed it again and again".to_owned(),
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<(String, Seen)>, RemoteError> {
        let prefix = self.path(folder)?;
        let all = self.attempts("to be listed", None, || {
            self.store.list(Some(&prefix)).try_collect::<Vec<_>>()
        })?;
        let direct = |meta: object_store::ObjectMeta| {
            let name = meta.location.as_ref().strip_prefix(prefix.as_ref())?.strip_prefix('/')?;
            let seen = Seen { size: meta.size, modified: meta.last_modified.into() };
            (!name.contains('/')).then(|| (name.to_owned(), seen))
        };
        Ok(all.unwrap_or_default().into_iter().filter_map(direct).collect())
    }

    fn remove(&self, key: &str) -> Result<bool, RemoteError> {
        let path = self.path(key)?;
        // Removing says nothing about whether it was there.
        let there = self.head(key)?.is_some();
        if there {
            self.attempts("to have something removed", None, || self.store.delete(&path))?;
        }
        Ok(there)
    }

    fn now(&self) -> Result<SystemTime, RemoteError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        self.head(super::LAYOUT.0)?;
        Ok(self.clock.now().unwrap_or_else(SystemTime::now))
    }

    fn tidy(&self, before: SystemTime) -> Result<u64, RemoteError> {
        Ok(self.abort_old_uploads(before)? + self.remove_old_claims(before)?)
    }

    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError> {
        self.head(super::LAYOUT.0)?;
        let mut facts = vec![("service".to_owned(), self.client.place().to_owned())];
        match self.has_conditions() {
            Ok(has) => {
                let has = if has { "yes" } else { "no, writers announce themselves" };
                facts.push(("conditional puts".to_owned(), has.to_owned()));
            }
            // Whoever may not write cannot find out, and need not.
            Err(RemoteError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(facts)
    }
}

#[cfg(test)]
impl Bucket {
    /// A bucket in memory, which heeds conditions as S3 itself does.
    pub(super) fn in_memory() -> Self {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let base = Url::parse("http://127.0.0.1:9/bucket/").expect("an address");
        Self {
            place: "s3://memory".to_owned(),
            prefix: String::new(),
            client: Client::new(&base, &Options::default()).expect("a client"),
            store: Arc::clone(&memory) as Arc<dyn ObjectStore>,
            multipart: memory,
            reading: Reading::Open(base),
            clock: Arc::new(Clock::default()),
            conditions: OnceLock::new(),
            parts: parts::Room::default(),
        }
    }
}
