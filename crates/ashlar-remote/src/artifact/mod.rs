//! Trees that tasks of a pipeline hand to one another.
//!
//! | file | what |
//! |---|---|
//! | `address.rs` | how places and artifacts are named |
//! | `create.rs` | folders into artifacts |
//! | `native.rs` | one tree as a tree image, a revision of the one before |
//! | `composite.rs`, `parts.rs` | one tree for each architecture, with what they share |
//! | `compatible.rs`, `unpack.rs` | archives as pipelines have them |
//! | `restore.rs`, `lay.rs` | artifacts into folders |
//! | `destination.rs`, `mounts.rs` | which folder is meant, and whether it may be filled |
//! | `staging.rs`, `merge.rs`, `steps.rs`, `leftover.rs` | it is filled whole or not at all |
//! | `inspect.rs`, `verify.rs`, `copy.rs` | what is in it, whether all of it is right, elsewhere |
//! | `layers.rs`, `manifest.rs`, `found.rs` | the pieces of all that on a depot |

mod address;
mod compatible;
mod composite;
mod copy;
mod create;
mod destination;
mod found;
mod inspect;
mod lay;
mod layers;
mod leftover;
mod manifest;
mod merge;
mod mounts;
mod native;
mod parts;
mod place;
mod restore;
mod staging;
mod steps;
mod unpack;
mod verify;

use std::io;
use std::path::PathBuf;

use ashlar_pack::PackError;
use ashlar_store::{RemoteError, StoreError};

pub use address::{AddressError, Reference, Repository, Target};
pub use copy::copy;
pub use create::{Create, Created, Format, Piece, create};
pub use destination::{DestinationError, Existing};
pub use inspect::{Inspected, InspectedLayer, InspectedPart, Kind, Listed, inspect};
pub use parts::{Part, PartError};
pub use place::Access;
pub use restore::{Restore, Restored, Selection, Wanted, restore};
pub use verify::{Verified, verify};

/// What can go wrong with artifacts. No text in here has a credential in it.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The place failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The folder to fill cannot be filled.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A folder cannot be read, or changed meanwhile.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// Layers or archives cannot be made or read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Parts that do not make an artifact.
    #[error(transparent)]
    Part(#[from] PartError),
    /// What an artifact is to be made of is not there.
    #[error("{} is not there, or may not be read", .0.display())]
    Missing(PathBuf),
    /// No space for a layer while it is made.
    #[error("failed to write a layer to the folder for temporary files ({})", std::env::temp_dir().display())]
    Scratch(#[source] io::Error),
    /// Nothing with this digest is there.
    #[error("{0} is not there")]
    Unknown(Reference),
    /// It is not an artifact.
    #[error("{reference} is {what}")]
    Foreign {
        /// What was asked for.
        reference: Reference,
        /// What it is instead.
        what: String,
    },
    /// A part of an artifact is not there any more.
    #[error("{place} has lost the {what}")]
    Lost {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// Bytes are not what their digest says. Nothing of them was used.
    #[error("{place} has a damaged {what}: its bytes are not what its digest says")]
    Damaged {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// A layer is what its digest says, and gives other files to who reads it as an archive than to
    /// who reads its table of contents.
    #[error(
        "{place} has a {what} that contradicts itself: {why}; whoever made it is not to be trusted"
    )]
    Contradiction {
        /// Where.
        place: String,
        /// What.
        what: String,
        /// How.
        why: String,
    },
    /// An image whose tables of contents are not all there, or make no sense.
    #[error("the {what} at {place} cannot be used: {why}")]
    Unusable {
        /// Where.
        place: String,
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
    /// It has more than any artifact of ours.
    #[error("the {what} at {place} has more parts, layers or entries than an artifact may have")]
    TooLarge {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// Bytes could not be read to their end.
    #[error("failed to read the {what} from {place}")]
    Transfer {
        /// Where.
        place: String,
        /// What.
        what: String,
        /// What happened.
        source: io::Error,
    },
    /// An archive could not be laid out.
    #[error("failed to unpack an archive")]
    Unpack {
        /// Why.
        source: io::Error,
    },
    /// None of the keys that are required has signed it.
    #[error("{reference} is not to be trusted: {why}")]
    Untrusted {
        /// The artifact.
        reference: Reference,
        /// What is wrong with its signatures.
        why: String,
    },
    /// A composite artifact, and nothing says which part of it is wanted.
    #[error("{reference} has several parts ({parts}), and nothing says which of them are wanted")]
    WhichPart {
        /// The artifact.
        reference: Reference,
        /// Its parts.
        parts: String,
    },
    /// A composite artifact has no such part.
    #[error("{reference} has no part for {part}: it has {parts}")]
    NoPart {
        /// The artifact.
        reference: Reference,
        /// What was wanted.
        part: Part,
        /// What it has.
        parts: String,
    },
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
