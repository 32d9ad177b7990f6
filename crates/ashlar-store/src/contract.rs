//! The contract that every store keeps.

use std::io::Read;
use std::path::{Path, PathBuf};

use ashlar_object::{ActionResult, Digest, StepKey, Tree, TreeError};

/// What is kept of a folder besides names, contents and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Outputs of a module: owner root, the fixed moment as every time, modes as they are; no
    /// extended attributes. Sockets, FIFOs and devices are refused.
    Outputs,
    /// The upper directory of an overlay: as a layer, with owners, whiteouts and opaque
    /// directories; times fixed. Sockets and FIFOs are left out.
    Layer,
    /// As [`Capture::Layer`], for the layer of an image: files with several names in the folder are
    /// that in the tree, too. Sockets are left out, FIFOs kept; devices are refused.
    ImageLayer,
    /// A whole root file system: owners kept, times fixed, the content of `dev/` left out.
    Root,
    /// A workspace: owners dropped, times kept, because a `make` inside trusts them.
    Snapshot,
    /// What a command left that was stopped: owners and times kept, files with several names and
    /// FIFOs too, as for the command to go on with. Sockets are left out.
    Checkpoint,
}

impl Capture {
    /// Whether the folder is the upper directory of an overlay.
    pub(crate) fn is_layer(self) -> bool {
        match self {
            Self::Layer | Self::ImageLayer => true,
            Self::Outputs | Self::Root | Self::Snapshot | Self::Checkpoint => false,
        }
    }

    /// Whether owners and attributes are part of what is kept.
    pub(crate) fn keeps_owners(self) -> bool {
        match self {
            Self::Layer | Self::ImageLayer | Self::Root | Self::Checkpoint => true,
            Self::Outputs | Self::Snapshot => false,
        }
    }
}

/// A result found under a step key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The digest of the action that made it.
    pub action: Digest,
    /// The result.
    pub result: ActionResult,
}

/// Blobs by digest, results by action digest, action digests by step key.
///
/// A miss is `Ok(None)`. What is damaged is a miss as well: a store never hands out bytes that do
/// not have the digest they were asked for by.
pub trait Store: Send + Sync {
    /// Which of these blobs the store lacks, in the order given. The empty blob is always there.
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError>;

    /// Opens a blob. The reader fails with `InvalidData` instead of ending when the bytes turn
    /// out not to have the digest; a caller uses nothing before it has read to the end.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// As [`Store::open`], for whoever compares the bytes with the digest itself: the reader need
    /// not. Who finds other bytes opens the blob once more with [`Store::open`], and reads it to
    /// the end, so that it is taken out of use.
    ///
    /// # Errors
    /// As [`Store::open`].
    fn open_unchecked(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.open(digest)
    }

    /// Keeps everything that can be read. Nothing is kept when reading fails.
    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError>;

    /// As [`Store::put`], for bytes out of a reader that compares them with this digest itself
    /// and fails instead of ending when they have another. The flag says whether they will be staged
    /// as a program, which saves a copy then; what is kept is the same.
    ///
    /// # Errors
    /// As [`Store::put`].
    fn put_checked(
        &self,
        _digest: &Digest,
        _executable: bool,
        bytes: &mut dyn Read,
    ) -> Result<Digest, StoreError> {
        self.put(bytes)
    }

    /// Keeps a folder: every file as a blob, and the encoded tree as a blob, whose digest is
    /// returned. The folder belongs to the store from then on and is gone or emptied afterwards.
    fn keep_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError>;

    /// The result of an action whose blobs (tree, every file in it, log) are all present.
    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError>;

    /// Keeps a result. Its blobs must have been put before.
    fn put_result(&self, action: &Digest, result: &ActionResult) -> Result<(), StoreError>;

    /// For each key the result it leads to, as [`Store::result`] would find it.
    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError>;

    /// As [`Store::steps`], but a store need not look whether all blobs of a result are still
    /// there: for who finds that out with the first use of one, and may not need any.
    ///
    /// # Errors
    /// As [`Store::steps`].
    fn steps_unchecked(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        self.steps(keys)
    }

    /// Lets a step key point to an action.
    fn put_step(&self, key: &StepKey, action: &Digest) -> Result<(), StoreError>;

    /// A folder for files of moments that are too large for memory, if the store has one: on its
    /// disk, and cleared when its owner is gone.
    fn scratch(&self) -> Option<PathBuf> {
        None
    }
}

/// Reads a whole blob into memory.
///
/// # Errors
/// As [`Store::open`]; a damaged blob is `Ok(None)`.
pub fn read(store: &dyn Store, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut reader) = store.open(digest)? else { return Ok(None) };
    let mut bytes =
        Vec::with_capacity(usize::try_from(digest.size).unwrap_or_default().min(1 << 26));
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(e) => Err(StoreError::Read(*digest, e)),
    }
}

/// Reads a tree.
///
/// # Errors
/// As [`read`], and when the blob is no tree.
pub fn read_tree(store: &dyn Store, digest: &Digest) -> Result<Option<Tree>, StoreError> {
    match read(store, digest)? {
        None => Ok(None),
        Some(bytes) => Tree::decode(&bytes).map(Some).map_err(|e| StoreError::Tree(*digest, e)),
    }
}

/// Keeps bytes that are in memory.
///
/// # Errors
/// As [`Store::put`].
pub fn put(store: &dyn Store, mut bytes: &[u8]) -> Result<Digest, StoreError> {
    store.put(&mut bytes)
}

/// What can go wrong in a store. Misses and damage are no errors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store, or one to be kept, cannot be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried: a verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The disk of the store is full.
    #[error("the disk of the store is full ({})", path.display())]
    Full {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// The store cannot be written to.
    #[error("the store {} cannot be written to", path.display())]
    ReadOnly {
        /// Its folder.
        path: PathBuf,
    },
    /// The store was made by a newer version of this program.
    #[error("the store {} has format {found}, and this version knows up to {known}", path.display())]
    Newer {
        /// Its folder.
        path: PathBuf,
        /// The format it says it has.
        found: u32,
        /// The newest format this version reads.
        known: u32,
    },
    /// The index cannot be used.
    #[error("cannot {doing} the index of the store")]
    Index {
        /// What was tried: a verb that fits "cannot …".
        doing: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
    /// A blob could not be read.
    #[error("cannot read the blob {0:?}")]
    Read(Digest, #[source] std::io::Error),
    /// A blob that should be a tree is none.
    #[error("the blob {0:?} is not a tree")]
    Tree(Digest, #[source] TreeError),
    /// A blob that must be there is not.
    #[error("the blob {0:?} is not in the store")]
    Missing(Digest),
    /// A destination that is there and is not an empty folder.
    #[error("{} is there already and is not empty", path.display())]
    Occupied {
        /// The destination.
        path: PathBuf,
    },
    /// Something in a folder that cannot be kept.
    #[error("{} is {what}, which cannot be kept", path.display())]
    Unkeepable {
        /// Where.
        path: PathBuf,
        /// What it is: a socket, a device and the like.
        what: &'static str,
    },
}
