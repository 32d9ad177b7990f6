//! Results as single blobs behind an action cache: REAPI, and its HTTP layout.
//!
//! | what | where it lies |
//! |---|---|
//! | the encoded tree, every file, the log | a blob each |
//! | a result | the action cache, under the digest of its action |
//! | a step key | the action cache, under the digest of a made-up action: see [`entry`] |
//! | provenance | a blob that the entry of the result names |
//!
//! [`CasRemote`] knows how results are taken apart and put together, [`Cas`] how blobs and entries
//! travel. Everything that comes in is compared with its digest; what is not all there, or is
//! something else, is a miss.

use std::io::Read;

use ashlar_object::Digest;
use ashlar_store::{Abilities, RemoteError, Watch};

mod arrive;
mod bazel_http;
mod entry;
mod pull;
mod push;
mod reapi;
mod remote;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use bazel_http::BazelHttp;
pub(crate) use push::again;
pub(crate) use reapi::Reapi;
pub(crate) use remote::CasRemote;

/// How blobs and entries travel. All calls block, and may be made from several threads at once.
/// The empty blob is never asked for and never sent: everybody has it.
pub(crate) trait Cas: Send + Sync {
    /// The address, without credentials.
    fn place(&self) -> &str;

    /// Contacts the server, and asks in earnest whether `probe` may be left there: an action with
    /// its digest, and an entry for it.
    fn abilities(&self, probe: &Probe) -> Result<Abilities, RemoteError>;

    /// What may go in one request. Contacts the server if that has to be asked.
    fn bounds(&self) -> Result<Bounds, RemoteError>;

    /// Whether every folder in a tree has to be there as a blob of its own besides.
    fn wants_directories(&self) -> bool;

    /// Fails when the server says from the start that nothing may be written.
    fn writable(&self) -> Result<(), RemoteError>;

    /// Which of these blobs the server lacks, in no order.
    fn missing(&self, digests: &[Digest], watch: &Watch<'_>) -> Result<Vec<Digest>, RemoteError>;

    /// Reads blobs that fit into one request together. One answer for each, in no order; the bytes
    /// are as the server sent them and still to be compared with the digest.
    fn read_batch(
        &self,
        digests: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Arrival>, RemoteError>;

    /// Reads a blob of any size. Its bytes are still to be compared with the digest.
    fn read<'a>(&'a self, digest: &Digest, watch: &Watch<'a>) -> Box<dyn Incoming + 'a>;

    /// Writes blobs that fit into one request together. One answer for each, in their order: how
    /// many bytes went over the network.
    fn write_batch(
        &self,
        blobs: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<u64, RemoteError>>;

    /// Writes a blob of any size. `open` begins to read it anew. Tells `watch` what moves.
    fn write(
        &self,
        digest: &Digest,
        open: Opener<'_>,
        watch: &Watch<'_>,
    ) -> Result<(), RemoteError>;

    /// The entries of the action cache under these digests, in their order.
    fn entries(
        &self,
        actions: &[Digest],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError>;

    /// Leaves entries in the action cache. One answer for each, in their order.
    fn put_entries(
        &self,
        entries: &[(Digest, Vec<u8>)],
        watch: &Watch<'_>,
    ) -> Vec<Result<(), RemoteError>>;
}

/// Begins to read a blob anew.
pub(crate) type Opener<'a> = &'a (dyn Fn() -> Result<Box<dyn Read + Send>, RemoteError> + Sync);

/// What may go in one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many bytes of blobs. What is larger goes alone.
    pub bytes: u64,
    /// How many blobs.
    pub blobs: usize,
}

/// What is left at a server to see whether it can be.
#[derive(Debug)]
pub(crate) struct Probe {
    pub digest: Digest,
    pub action: Vec<u8>,
    pub entry: Vec<u8>,
}

/// What came of leaving something there: whether it may be done, or why not.
fn permission(left: Result<(), RemoteError>) -> Result<Result<(), String>, RemoteError> {
    match left {
        Ok(()) => Ok(Ok(())),
        Err(RemoteError::Refused { why, .. }) => Ok(Err(why)),
        Err(error @ (RemoteError::Unsupported { .. } | RemoteError::Wrong { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// A blob that came in a batch, or did not.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub digest: Digest,
    /// `None`: the server does not have it. A text: what else is wrong with it.
    pub bytes: Result<Option<Vec<u8>>, String>,
    /// How many bytes went over the network.
    pub moved: u64,
}

/// A blob as it comes in. When reading fails, [`Incoming::end`] says why.
pub(crate) trait Incoming: Read {
    /// How it ended.
    fn end(&mut self) -> Ended;
}

/// How a blob came in.
#[derive(Debug)]
pub(crate) enum Ended {
    /// To its end, or it was not read so far.
    Well,
    /// The server does not have it.
    Missing,
    /// What came makes no sense.
    Wrong(String),
    /// The server cannot be used.
    Failed(RemoteError),
}
