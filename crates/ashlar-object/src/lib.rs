//! The nouns of Ashlar and their canonical bytes: [`Digest`], [`Name`] and [`RelPath`], [`Tree`],
//! [`Command`] and [`Action`], [`ActionResult`], [`StepKey`].
//!
//! Everything here is pure: no network, no disk, no clock. Bytes follow the Remote Execution API
//! (`build.bazel.remote.execution.v2`), so that a blob is the same blob in the local store, in a
//! registry and on a build farm.

mod action;
mod diff;
mod digest;
mod key;
mod links;
mod merge;
mod nodes;
mod path;
mod tree;
mod wire;

pub use action::{Action, ActionResult, Command, Platform};
pub use diff::{Change, ChangeKind, diff};
pub use digest::{Digest, Hasher, ParseDigestError};
pub use key::{CanonicalHasher, ParseStepKeyError, StepKey};
pub use merge::{Conflict, conflicts, through_links};
pub use path::{Name, PathError, RelPath};
pub use tree::{Dir, Entry, Extra, File, Meta, Node, Symlink, Time, Tree, TreeError};

/// The one moment that every normalised file carries as its time: 2000-01-01T00:00:00Z, in
/// seconds since the Unix epoch.
///
/// One moment for all, so that one stored inode serves every tree it occurs in; well after 1980,
/// because zip archives cannot say anything earlier.
pub const MOMENT: i64 = 946_684_800;
