//! `/ac/HASH` and `/cas/HASH` behind an HTTP server, as bazel-remote, ccache and others have them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ashlar_object::Digest;
use ashlar_store::{Abilities, Moved, RemoteError, StoreError, Watch};
use bytes::Bytes;
use url::Url;

use super::pull::lock;
use super::push::again;
use super::{Arrival, Bounds, Cas, Ended, Incoming, Opener, Probe, permission};
use crate::Definition;
use crate::depot::Body;
use crate::http::{Authorize, Client, Download, Fixed, Options, Payload, Request, remote_error};

/// What is larger is streamed. So much of several blobs is in memory at once.
const SMALL: u64 = 1 << 20;

/// How many requests are under way at once for entries and questions.
const AT_ONCE: usize = 16;

/// How many for the blobs of one batch; several batches are under way.
const OF_A_BATCH: usize = 4;

/// The largest entry that is read: a result names its blobs by one tree.
const ENTRY: usize = 4 << 20;

/// A server.
pub(crate) struct BazelHttp {
    client: Client,
    base: Url,
    authorize: Option<Arc<dyn Authorize>>,
}

impl std::fmt::Debug for BazelHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BazelHttp").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// One of the two folders.
#[derive(Clone, Copy)]
enum Kind {
    Blob,
    Entry,
}

impl BazelHttp {
    /// The server that a definition names. It is not contacted yet.
    ///
    /// # Errors
    /// [`RemoteError::Address`] when the address, a certificate or the token cannot be used.
    pub fn new(definition: &Definition) -> Result<Self, RemoteError> {
        let mut base = Url::parse(&definition.url).map_err(|e| RemoteError::Address {
            place: definition.name.clone(),
            why: format!("the address makes no sense: {e}"),
        })?;
        let options = Options {
            insecure: definition.insecure,
            ca: definition.ca.clone(),
            certificate: definition.certificate.clone(),
            key: definition.key.clone(),
            timeout: definition.timeout,
        };
        let client = Client::new(&base, &options)?;
        let authorize = match &definition.token {
            Some(token) => Some(Fixed::bearer(&token.0, client.place())?),
            None => Fixed::of_address(&base)?,
        };
        base = crate::http::without_user(&base);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let authorize = authorize.map(|fixed| Arc::new(fixed) as Arc<dyn Authorize>);
        Ok(Self { client, base, authorize })
    }

    fn url(&self, kind: Kind, digest: &Digest) -> Url {
        let folder = match kind {
            Kind::Blob => "cas",
            Kind::Entry => "ac",
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}{folder}/{}", self.base.path(), digest.hex()));
        url
    }

    fn ask(&self, request: Request) -> Request {
        request.authorize(self.authorize.clone())
    }

    fn get(
        &self,
        kind: Kind,
        digest: &Digest,
        limit: usize,
        watch: &Watch<'_>,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let request = self.ask(Request::get(self.url(kind, digest)).limit(limit));
        let answer = self.client.send(&request, Some(watch))?;
        if answer.is_missing() {
            return Ok(None);
        }
        Ok(Some(answer.expect_success()?.body.to_vec()))
    }

    fn put(
        &self,
        kind: Kind,
        digest: &Digest,
        payload: Payload,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        let request = self.ask(Request::put(self.url(kind, digest), payload));
        self.client.send(&request, Some(watch))?.expect_success().map(|_| ())
    }
}

/// Does something for each, several at once, until one fails in a way that all others would.
fn each<I: Sync, T: Send>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> Result<T, RemoteError> + Sync,
) -> Vec<Result<T, RemoteError>> {
    let next = AtomicUsize::new(0);
    let done = std::sync::Mutex::new((0..items.len()).map(|_| None).collect::<Vec<_>>());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            if matches!(&result, Err(e) if e.is_lasting() || matches!(e, RemoteError::Stopped)) {
                next.store(items.len(), Ordering::Relaxed);
            }
            lock(&done)[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ends = |e: &&RemoteError| e.is_lasting() || matches!(e, RemoteError::Stopped);
    let ended = done.iter().flatten().find_map(|result| result.as_ref().err().filter(ends));
    let rest = ended.map_or(RemoteError::Stopped, again);
    done.into_iter().map(|result| result.unwrap_or_else(|| Err(again(&rest)))).collect()
}

impl Cas for BazelHttp {
    fn place(&self) -> &str {
        self.client.place()
    }

    fn abilities(&self, probe: &Probe) -> Result<Abilities, RemoteError> {
        self.get(Kind::Entry, &probe.digest, ENTRY, &Watch::NOBODY)?;
        let put = |kind, bytes: &[u8]| {
            let payload = Payload::Bytes(Bytes::copy_from_slice(bytes));
            self.put(kind, &probe.digest, payload, &Watch::NOBODY)
        };
        let written = put(Kind::Blob, &probe.action).and_then(|()| put(Kind::Entry, &probe.entry));
        let write = permission(written)?;
        let facts = vec![("layout".to_owned(), "/ac/ and /cas/".to_owned())];
        Ok(Abilities { read: true, write, facts })
    }

    fn bounds(&self) -> Result<Bounds, RemoteError> {
        Ok(Bounds { bytes: SMALL, blobs: 64 })
    }

    fn wants_directories(&self) -> bool {
        false
    }

    fn writable(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    fn missing(&self, digests: &[Digest], watch: &Watch<'_>) -> Result<Vec<Digest>, RemoteError> {
        let there = each(digests, AT_ONCE, |digest| {
            let request = self.ask(Request::head(self.url(Kind::Blob, digest)));
            let answer = self.client.send(&request, Some(watch))?;
            if answer.is_missing() {
                return Ok(false);
            }
            let answer = answer.expect_success()?;
            // Another length is another blob: it is written anew.
            Ok(answer.length().is_none_or(|length| length == digest.size))
        });
        let mut missing = Vec::new();
        for (digest, there) in digests.iter().zip(there) {
            if !there? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    fn read_batch(
        &self,
        digests: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Arrival>, RemoteError> {
        let read = each(digests, OF_A_BATCH, |digest| {
            let limit = usize::try_from(digest.size).unwrap_or(usize::MAX);
            let bytes = match self.get(Kind::Blob, digest, limit, watch) {
                Ok(bytes) => Ok(bytes),
                Err(error @ (RemoteError::Wrong { .. } | RemoteError::Unsupported { .. })) => {
                    Err(format!("the blob {digest:?} is not given: {error}"))
                }
                Err(error) => return Err(error),
            };
            let moved = bytes.as_ref().map_or(0, |b| b.as_ref().map_or(0, Vec::len)) as u64;
            Ok(Arrival { digest: *digest, bytes, moved })
        });
        read.into_iter().collect()
    }

    fn read<'a>(&'a self, digest: &Digest, watch: &Watch<'a>) -> Box<dyn Incoming + 'a> {
        let request = self.ask(Request::get(self.url(Kind::Blob, digest)));
        let (download, ended) = match self.client.open(request, 0..digest.size, Some(digest.size)) {
            Ok(Some(download)) => (Some(download), Ended::Well),
            Ok(None) => (None, Ended::Missing),
            Err(error) => (None, ended(error)),
        };
        Box::new(Blob { place: self.place(), download, ended, watch: *watch })
    }

    fn write_batch(
        &self,
        blobs: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<u64, RemoteError>> {
        // What is told of a batch is told by who asked for it.
        let quiet = Watch { moved: &|_| {}, ..*watch };
        each(blobs, OF_A_BATCH, |(digest, bytes)| {
            let payload = Payload::Bytes(Bytes::copy_from_slice(bytes));
            self.put(Kind::Blob, digest, payload, &quiet)?;
            Ok(bytes.len() as u64)
        })
    }

    fn write(
        &self,
        digest: &Digest,
        open: Opener<'_>,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError> {
        // HTTP cannot go on with a PUT, so it is sent from a file that can be read anew.
        let failed = |e| RemoteError::from(StoreError::Read(*digest, e));
        let mut file = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut open()?, &mut file).map_err(failed)?;
        let payload = Payload::Part(Body::File(Arc::new(file)), 0..digest.size);
        self.put(Kind::Blob, digest, payload, watch)
    }

    fn entries(
        &self,
        actions: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        let read = each(actions, AT_ONCE, |action| self.get(Kind::Entry, action, ENTRY, watch));
        read.into_iter().collect()
    }

    fn put_entries(
        &self,
        entries: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<(), RemoteError>> {
        let quiet = Watch { moved: &|_| {}, ..*watch };
        each(entries, AT_ONCE, |(action, entry)| {
            let payload = Payload::Bytes(Bytes::copy_from_slice(entry));
            self.put(Kind::Entry, action, payload, &quiet)
        })
    }
}

/// A blob as it comes in.
struct Blob<'a> {
    place: &'a str,
    download: Option<Download>,
    ended: Ended,
    watch: Watch<'a>,
}

fn ended(error: RemoteError) -> Ended {
    match error {
        RemoteError::Wrong { .. } => Ended::Wrong(format!("is not given: {error}")),
        error => Ended::Failed(error),
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(download) = &mut self.download else {
            return Err(io::Error::other("there is nothing to read"));
        };
        if !(self.watch.go_on)() {
            self.ended = Ended::Failed(RemoteError::Stopped);
            self.download = None;
            return Err(io::Error::other("stopped"));
        }
        match download.read(buffer) {
            Ok(count) => {
                (self.watch.moved)(Moved { bytes: count as u64, ..Moved::default() });
                Ok(count)
            }
            Err(error) => {
                self.ended = ended(remote_error(error, self.place));
                self.download = None;
                Err(io::Error::other("the transfer failed"))
            }
        }
    }
}

impl Incoming for Blob<'_> {
    fn end(&mut self) -> Ended {
        std::mem::replace(&mut self.ended, Ended::Well)
    }
}
