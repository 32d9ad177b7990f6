//! Where everything that was built is kept: blobs by digest, results by action, actions by step
//! key. [`Store`] is the contract; [`LocalStore`] keeps it on disk, [`MemoryStore`] for tests.

mod contract;
mod journal;
mod local;
mod memory;
mod stat_cache;

pub use contract::*;
pub use journal::{Journal, RecordedOutcome, StepRecord, Totals};
pub use local::{
    Checkout, CollectReport, Limits, LocalStore, OpenOptions, Pin, Staged, StepLock, StoreStat,
    VerifyReport, Workspace,
};
pub use memory::MemoryStore;
pub use stat_cache::StatCache;
