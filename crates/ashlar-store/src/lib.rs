//! Where everything that was built is kept: blobs by digest, results by action, actions by step
//! key. [`Store`] is the contract; [`LocalStore`] keeps it on disk, [`MemoryStore`] for tests.
//!
//! # The folder of a local store
//!
//! | path | what | removed by |
//! |---|---|---|
//! | `format` | the number of this layout; a newer one is refused | nobody |
//! | `blobs/<2 hex>/<64 hex>` | a blob, mode 0644, owner root inside, the fixed moment as its time | collection |
//! | `blobs/<2 hex>/<64 hex>.x` | the same blob, mode 0755: mode and owner belong to the inode | collection |
//! | `trees/<64 hex>/` | a tree laid out: hard links to blobs, copies for odd modes and owners | collection |
//! | `work/<label>.<serial>/` | private folders, locked while in use | their owner, else the next to open the store |
//! | `locks/step-<key>` | one for each step being built | its holder |
//! | `locks/lease-<serial>` | one for each process that has the store open | its holder, else the next to open the store |
//! | `locks/gate` | keeps collection and putting apart for moments | nobody |
//! | `quarantine/` | what was damaged, each with a note of why | people |
//! | `stat/<hash of a path>` | digests of files outside, by their stat data | people |
//! | `index.lock` | held while a damaged index is begun anew | nobody |
//! | `index.sqlite` | results, step keys, pins, the journal, small things remembered | nobody |
//!
//! # What holds
//!
//! - *A blob is whole or not there.* It is written or moved under another name, given its mode,
//!   owner and time, and linked to its own name last. A killed process leaves nothing else.
//! - *Damage is a miss.* Who edits a file of the store leaves another time, size or mode; such a
//!   file is read and compared before it is used, and quarantined if it is something else. Copies
//!   and readers always compare.
//! - *Results count at once*, in all processes, because the page cache is one. [`LocalStore::sync`]
//!   notes up to when the disk knows everything. After another start of the machine, what was
//!   changed between that moment and the start is compared with its digest before it is used.
//! - *Collection takes nothing that somebody counts on*: see [`LocalStore::collect`].
//! - *A read-only store* gives what it has; writing to it is [`StoreError::ReadOnly`], and notes
//!   (journal, times of use, stat caches) are dropped.

mod beside;
mod capture;
mod contract;
mod detached;
mod facts;
mod failed;
mod images;
mod index;
mod journal;
mod local;
mod memory;
mod memory_remote;
mod pour;
mod remote;
mod removal;
mod stat_cache;
#[cfg(feature = "suite")]
pub mod suite;
mod survey;
mod xattrs;

pub use beside::{FolderBeside, file_beside};
pub use contract::*;
pub use detached::{Detached, GoOn, detached};
pub use images::{
    BuiltImage, BuiltLayer, ImageError, ImageLayer, ImagePlatform, ImageReference, ImageTarget,
    Images, LayerOrigin, LayerSource, MemoryImages, PublishedImage, ResolvedImage,
};
pub use journal::{Journal, RecordedOutcome, StepRecord, Timing, Totals};
pub use local::parallel::{in_parallel, reading_in_parallel};
pub use local::{
    Checkout, CollectReport, Limits, LocalStore, OpenOptions, Pin, Staged, StepLock, StoreStat,
    VerifyReport, Workspace,
};
pub use memory::MemoryStore;
pub use memory_remote::{Asked, Fault, MemoryRemote};
pub use pour::{Buffer, Poured, Unpoured, pour};
pub use remote::{
    Abilities, Collected, Moved, Publication, Remote, RemoteError, RemoteStat, Watch,
};
pub use removal::remove_all;
pub use stat_cache::StatCache;
pub use survey::{Survey, survey};
pub use xattrs::attributes;
