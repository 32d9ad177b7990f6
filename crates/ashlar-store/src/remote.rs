//! The contract of a remote: a place that others share, where results are found and left.
//!
//! It is no [`Store`]: a far place is asked for many things at once, may answer in parts, may not
//! answer at all, and knows results as wholes, which a registry keeps in layers and a build farm
//! as single blobs. Who builds sees only this trait.

use std::fmt;

use ashlar_object::{ActionResult, Digest, StepKey};

use crate::{Found, Limits, Store, StoreError};

/// A place that others share. All calls block, may be made from several threads at once, and end
/// within the bounds the remote was opened with.
pub trait Remote: Send + Sync {
    /// What the project calls it.
    fn name(&self) -> &str;

    /// Its address, without credentials.
    fn place(&self) -> &str;

    /// Contacts it: whether it answers, and what it allows. Writes something small, where that
    /// is the only way to know, and removes it again where that can be done.
    ///
    /// # Errors
    /// When it does not answer or cannot be used at all.
    fn test(&self) -> Result<Abilities, RemoteError>;

    /// For each key the result that the remote says it leads to. Nothing else is fetched: that
    /// all of it is there shows when it is pulled.
    ///
    /// # Errors
    /// When the remote cannot be asked. A pointer that says nothing sensible is a miss.
    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, RemoteError>;

    /// As [`Remote::steps`], by action digest.
    ///
    /// # Errors
    /// As [`Remote::steps`].
    fn results(&self, actions: &[Digest]) -> Result<Vec<Option<ActionResult>>, RemoteError>;

    /// Brings the blobs of results (tree, every file in it, log) into a store, verified; what the
    /// store has is not moved again. The results themselves are for the caller to put. `None` for
    /// one that is not all there, damaged, or not signed as it must be: a miss, said to `watch`.
    ///
    /// # Errors
    /// When the remote, or the store, cannot be used any more.
    fn pull(
        &self,
        into: &dyn Store,
        wanted: &[Found],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Moved>>, RemoteError>;

    /// Leaves results there: blobs first, then the result, then the pointers to it. What is there
    /// is not sent again. One that fails does not keep the others from being sent.
    fn push(
        &self,
        from: &dyn Store,
        results: &[Publication],
        watch: &Watch<'_>,
    ) -> Vec<Result<Moved, RemoteError>>;

    /// How much is there.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the protocol cannot tell.
    fn stat(&self) -> Result<RemoteStat, RemoteError>;

    /// Removes results that were used least recently until what is left fits, then everything
    /// that nothing refers to. Safe beside readers and writers.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the protocol cannot.
    fn collect(&self, limits: Limits, watch: &Watch<'_>) -> Result<Collected, RemoteError>;

    /// The provenance that was left with a result: an in-toto statement as JSON.
    ///
    /// # Errors
    /// When the remote cannot be asked.
    fn provenance(&self, found: &Found) -> Result<Option<Vec<u8>>, RemoteError>;

    /// What people should know and no [`Watch`] was told: lookups have none. Each is given once;
    /// what is left is said to the watcher of the next transfer.
    fn take_warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A result that is to be left at a remote.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The step keys that lead to it.
    pub keys: Vec<StepKey>,
    /// The action that made it.
    pub action: Digest,
    /// The result. Its blobs are in the store that is pushed from.
    pub result: ActionResult,
    /// What it is a revision of: the same for all revisions of one step of one module.
    pub lineage: String,
    /// The output trees of earlier revisions, the nearest first. They may be gone from the store.
    pub earlier: Vec<Digest>,
    /// How it came to be: the predicate of an in-toto SLSA v1 statement, as JSON.
    pub provenance: Option<Vec<u8>>,
}

/// What a transfer moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes of blobs over the network, as they were there.
    pub bytes: u64,
    /// How many blobs or ranges.
    pub blobs: u64,
    /// Bytes of contents that did not have to be moved because they were there.
    pub already: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.blobs += other.blobs;
        self.already += other.already;
    }
}

/// Who watches a transfer.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Whether to go on. Asked between blobs and while waiting.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
    /// Told what moves, in small steps; the sum is the whole.
    pub moved: &'a (dyn Fn(Moved) + Sync),
    /// Told what people should know, without credentials.
    pub warn: &'a (dyn Fn(String) + Sync),
}

impl Watch<'static> {
    /// Nobody watches.
    pub const NOBODY: Self = Self { go_on: &|| true, moved: &|_| {}, warn: &|_| {} };
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What a remote turned out to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it can be read.
    pub read: bool,
    /// Whether it can be written, or why not.
    pub write: Result<(), String>,
    /// What else is worth knowing: versions, compressors, limits. Name and value.
    pub facts: Vec<(String, String)>,
}

/// How much a remote holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStat {
    /// How many results are pointed to.
    pub results: u64,
    /// How many blobs there are, where that can be told.
    pub blobs: Option<u64>,
    /// How many bytes they have, where that can be told.
    pub bytes: Option<u64>,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many results.
    pub results: u64,
    /// How many blobs.
    pub blobs: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many bytes are left, where that can be told.
    pub left: Option<u64>,
    /// Whether the bytes are only free after a collection of the place's own: nothing refers to
    /// them any more.
    pub later: bool,
}

/// What can go wrong with a remote. Misses are no errors. No text in here has a credential in it.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody answers, or no more: not within the time there is for it, not after all attempts.
    #[error("{place} does not answer")]
    Unreachable {
        /// Where.
        place: String,
        /// What happened at the last attempt.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers that we may not.
    #[error("{place} refuses {what}: {why}")]
    Refused {
        /// Where.
        place: String,
        /// What was asked: "to be read", "a blob", ….
        what: String,
        /// What it answered.
        why: String,
    },
    /// It cannot do what was asked.
    #[error("{place} cannot {what}")]
    Unsupported {
        /// Where.
        place: String,
        /// What was asked: a verb that fits "cannot …".
        what: String,
    },
    /// It answers something that makes no sense.
    #[error("{place} answers wrongly to {what}: {why}")]
    Wrong {
        /// Where.
        place: String,
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The address, a key or a certificate cannot be used.
    #[error("{place}: {why}")]
    Address {
        /// The address as it may be shown.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was stopped from outside.
    #[error("the transfer was stopped")]
    Stopped,
    /// The store on this side failed.
    #[error("the local store failed")]
    Store(#[from] StoreError),
}

impl RemoteError {
    /// Whether the next request is likely to fail in the same way, so that a run goes on without
    /// this remote.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Address { .. } => true,
            Self::Unsupported { .. } | Self::Wrong { .. } | Self::Stopped | Self::Store(_) => false,
        }
    }
}
