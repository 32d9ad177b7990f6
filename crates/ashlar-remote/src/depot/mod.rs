//! The contract of a depot: blobs by digest, manifests by digest, and tags that point to them, as
//! the OCI distribution specification has them. One file for each kind.

pub(crate) mod collect;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod objects;
pub(crate) mod registry;

#[cfg(test)]
mod contract_tests;

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};

/// A place that keeps blobs, manifests and tags. Every call blocks, retries what is transient,
/// and gives up within bounds; several threads may call at once.
pub(crate) trait Depot: Send + Sync {
    /// Its address without credentials, for messages.
    fn place(&self) -> &str;

    /// Whether a blob is there. To whoever then relies on it, it stays there for a while: a depot
    /// that is collected by age makes it young.
    fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError>;

    /// How many bytes a blob has of which only the hash is known; `None` when it is not there.
    fn blob_size(&self, hash: &[u8; 32]) -> Result<Option<u64>, RemoteError>;

    /// Opens a part of a blob, `range` in bytes. The reader resumes by itself where it was cut, and
    /// fails when the part has another length; whether the bytes are right is for the caller to
    /// find out. `None` when the blob is not there.
    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>, RemoteError>;

    /// Puts a blob, whole or not at all, after the caller has found that it is not there.
    fn put_blob(&self, digest: &Digest, body: &Body, watch: &Watch<'_>) -> Result<(), RemoteError>;

    /// Lets a blob of another repository of the same place be there too, without moving it.
    /// `false` when the place cannot, or has no such blob.
    fn mount_blob(&self, _digest: &Digest, _from: &str) -> Result<bool, RemoteError> {
        Ok(false)
    }

    /// Reads a manifest, verified against its digest where that is how it was asked for.
    fn manifest(&self, reference: &Reference) -> Result<Option<Manifest>, RemoteError>;

    /// Puts a manifest, by digest and, with tags, under each of them too. All that it refers to is
    /// there already. A `subject` in it makes it a referrer of that: see [`Depot::referrers`].
    fn put_manifest(&self, manifest: &Manifest, tags: &[String]) -> Result<(), RemoteError>;

    /// What refers to a manifest as its subject.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RemoteError>;

    /// All tags with the time each was last used or written, where that is known.
    fn tags(&self) -> Result<Vec<(String, Option<SystemTime>)>, RemoteError>;

    /// Notes that a tag was used, where collection goes by that. Failing is no harm.
    fn touch(&self, _tag: &str) {}

    /// Removes a tag, unless it was written or used at `before` or later, where the place knows
    /// that. `false` when it stays, or was not there.
    fn remove_tag(&self, tag: &str, before: Option<SystemTime>) -> Result<bool, RemoteError>;

    /// All blobs (manifests among them) with sizes and times of last use or writing.
    fn blobs(&self) -> Result<Vec<(Digest, SystemTime)>, RemoteError>;

    /// Removes a blob or an untagged manifest that has not been used or written since `before`.
    /// `false` when it has.
    fn remove_blob(&self, digest: &Digest, before: SystemTime) -> Result<bool, RemoteError>;

    /// Whether blobs are removed by age, as [`Depot::remove_blob`] does: then who relies on one
    /// has to make it young, by asking whether it is there. Otherwise the place tells no times,
    /// manifests are removed one by one ([`Depot::remove_manifest`]), and who points to something
    /// looks afterwards whether it is still there.
    fn forgets(&self) -> bool {
        true
    }

    /// Whether manifests may be removed, before any is.
    fn may_remove(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    /// Removes a manifest with all tags that lead to it; blobs that nothing needs then are the
    /// place's own business. `false` when it is not there.
    fn remove_manifest(&self, _hash: &[u8; 32]) -> Result<bool, RemoteError> {
        Err(RemoteError::Unsupported {
            place: self.place().to_owned(),
            what: "remove manifests one by one".to_owned(),
        })
    }

    /// What time it is there: the clock that the times of blobs and tags go by.
    fn now(&self) -> Result<SystemTime, RemoteError> {
        Ok(SystemTime::now())
    }

    /// Removes what writers that died left half-done before that time. How many things.
    fn tidy(&self, _before: SystemTime) -> Result<u64, RemoteError> {
        Ok(0)
    }

    /// Whether it may be written to: `Err` inside says why not.
    fn may_write(&self) -> Result<Result<(), String>, RemoteError>;

    /// What else is worth knowing, by contact: versions, limits. Name and value.
    fn facts(&self) -> Result<Vec<(String, String)>, RemoteError>;

    /// Brings up to date what is derived from tags for ordinary tools, as the `index.json` of a
    /// directory; called after each batch.
    fn flush(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}

/// What a blob is put from.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Bytes in memory: small ones.
    Bytes(Arc<[u8]>),
    /// A whole file, read by position so that it can be sent again from anywhere.
    File(Arc<std::fs::File>),
    /// Bytes that lie nowhere: they are made while they are sent.
    Made(Arc<dyn Made>),
}

impl Body {
    /// Reads some bytes at a position; none at the end. May block.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
                (&bytes[start..]).read(buffer)
            }
            Self::File(file) => std::os::unix::fs::FileExt::read_at(&**file, buffer, at),
            Self::Made(made) => made.read_at(buffer, at),
        }
    }
}

/// Bytes that are made when they are asked for, each time the same. Going on is cheap; going back
/// may mean to begin anew.
pub(crate) trait Made: std::fmt::Debug + Send + Sync {
    /// Reads some bytes at a position; none at the end. May block.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<usize>;
}

/// How a manifest is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// By tag.
    Tag(String),
    /// By the SHA-256 of its bytes; sizes are not known to those who only have a reference.
    Hash([u8; 32]),
}

/// A manifest or an index, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// The bytes that its digest is of.
    pub bytes: Vec<u8>,
}

impl Manifest {
    /// Its digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// A descriptor of the OCI image specification, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// The media type of what it describes.
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// What kind of artifact a manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The bytes themselves, in base64, of small things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// On what machine an image runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The platform of a manifest in an index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Platform {
    /// As Go names it: `amd64`, `arm64`, ….
    pub architecture: String,
    /// As Go names it: `linux`.
    pub os: String,
    /// As Go names it: `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}
