//! Depots made of named objects: a directory, a web server, a bucket.
//!
//! | key | what |
//! |---|---|
//! | `oci-layout` | says that this is an OCI image layout |
//! | `blobs/sha256/<hex>` | blobs, manifests among them |
//! | `tags/<tag>` | an OCI index with one descriptor: what the tag points to |
//! | `tags/sha256-<hex>` | an OCI index of what refers to that manifest as its subject |
//! | `leases/<key>` | an empty object: whoever relied on `<key>` last did so when this was written |
//! | `index.json` | in a directory: all tags, for ordinary tools |
//!
//! An object becomes young by being touched where that can be done (a directory), else by a lease:
//! a copy onto itself would move all its bytes inside a bucket, is refused for objects of more than
//! 5 GiB, and would destroy the file behind a WebDAV server.

mod bucket;
mod clock;
mod directory;
mod layout;
mod opening;
pub(crate) mod tag;
mod web;
mod young;

#[cfg(test)]
mod bucket_tests;
#[cfg(test)]
mod directory_tests;
#[cfg(test)]
mod web_tests;

use std::io::Read;
use std::ops::Range;
use std::time::SystemTime;

use ashlar_store::{RemoteError, Watch};

use super::Body;

pub(crate) use directory::Directory;
pub(crate) use layout::ObjectDepot;
pub(crate) use opening::{bucket as open_bucket, web as open_web};
pub(crate) use tag::{hash_of, referrers_of};
pub(crate) use young::{hashes, in_parallel};

/// A place that keeps named objects. Keys are relative paths of plain names. Every call blocks,
/// retries what is transient, and gives up within bounds; several threads may call at once.
pub(crate) trait Objects: Send + Sync {
    /// Its address without credentials, for messages.
    fn place(&self) -> &str;

    /// Whether an object is there, and how it looks.
    fn head(&self, key: &str) -> Result<Option<Seen>, RemoteError>;

    /// Reads a small object whole; one of more than `most` bytes is an error.
    fn read(&self, key: &str, most: u64) -> Result<Option<(Vec<u8>, Seen)>, RemoteError>;

    /// Opens a part of an object: see [`super::Depot::open_blob`].
    fn open(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError>;

    /// Puts an object of `size` bytes, whole or not at all, over whatever was there.
    fn put(&self, key: &str, body: &Body, size: u64, watch: &Watch<'_>) -> Result<(), RemoteError>;

    /// Reads a small object, lets `change` say what it is to become (`None`: it stays), and writes
    /// it, so that no change that somebody else makes in the same way is lost. `change` may be
    /// called several times.
    fn update(&self, key: &str, change: &Change<'_>) -> Result<(), RemoteError>;

    /// All objects in a folder, by the last part of their names.
    fn list(&self, folder: &str) -> Result<Vec<(String, Seen)>, RemoteError>;

    /// Removes an object. `false` when it was not there.
    fn remove(&self, key: &str) -> Result<bool, RemoteError>;

    /// Removes an object and its lease, unless one of them was written or touched at `before` or
    /// later, or the object is not there: then `false`.
    ///
    /// Where there is no lock, somebody may begin to rely on it between the last look and its
    /// end: within one request. That costs a miss later, never a wrong result.
    fn remove_old(&self, key: &str, lease: &str, before: SystemTime) -> Result<bool, RemoteError> {
        let leased = self.head(lease)?;
        if leased.as_ref().is_some_and(|seen| seen.modified >= before) {
            return Ok(false);
        }
        if self.head(key)?.is_none_or(|seen| seen.modified >= before) {
            return Ok(false);
        }
        let removed = self.remove(key)?;
        if leased.is_some() {
            self.remove(lease)?;
        }
        Ok(removed)
    }

    /// Makes an object young in place.
    fn touch(&self, key: &str) -> Result<Touched, RemoteError> {
        let _ = key;
        Ok(Touched::Cannot)
    }

    /// Sees to it that everything put so far outlives a power cut, before it is pointed to.
    fn settle(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    /// What time it is there: the clock that [`Seen::modified`] goes by.
    fn now(&self) -> Result<SystemTime, RemoteError>;

    /// Removes what writers left half-done before that time. How many things.
    fn tidy(&self, before: SystemTime) -> Result<u64, RemoteError>;

    /// See [`super::Depot::may_write`].
    fn may_write(&self) -> Result<Result<(), String>, RemoteError> {
        let probe = format!("{LEASES}/write-{}", clock::unique());
        match self.put(&probe, &Body::Bytes(b"-"[..].into()), 1, &Watch::NOBODY) {
            Ok(()) => self.remove(&probe).map(|_| Ok(())),
            Err(RemoteError::Refused { why, .. }) => Ok(Err(why)),
            Err(error) => Err(error),
        }
    }

    /// See [`super::Depot::facts`].
    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError>;

    /// See [`super::Depot::flush`].
    fn flush(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}

/// What a small object is to become.
pub(crate) type Change<'a> =
    dyn Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, RemoteError> + Sync + 'a;

/// How an object looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// In bytes.
    pub size: u64,
    /// When it was last written or touched, by the clock of the place.
    pub modified: SystemTime,
}

/// What came of touching an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// It is young now.
    Done,
    /// It is not there.
    Absent,
    /// This place, or this user, cannot.
    Cannot,
}

/// The key of a blob.
pub(crate) fn blob_key(hash: &[u8; 32]) -> String {
    format!("{BLOBS}/{}", ashlar_object::Digest { hash: *hash, size: 0 }.hex())
}

/// The folder of the blobs.
pub(crate) const BLOBS: &str = "blobs/sha256";
/// The folder of the tags.
pub(crate) const TAGS: &str = "tags";
/// The folder of the leases, which has the folders above inside.
pub(crate) const LEASES: &str = "leases";
/// The file that says what the whole is, and its content.
pub(crate) const LAYOUT: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
/// An index, a manifest or a tag larger than this is not read: registries take 4 MiB.
pub(crate) const MANIFEST_LIMIT: u64 = 8 << 20;
