//! Results as OCI images on a depot: revisions, signatures, provenance.
//!
//! | what | where |
//! |---|---|
//! | the tree image of a tree | tag `tree-<64 hex of the tree's digest>` |
//! | a result: config JSON in its manifest, the log as its layer | tags `step-<64 hex>`, `action-<64 hex>` |
//! | the newest tree image of a lineage | tag `near-<32 hex>` |
//! | signatures over a manifest | its referrers, and tag `sha256-<64 hex>.sig` |
//! | the provenance of a result | its referrers, and tag `sha256-<64 hex>.att` |
//!
//! What a signature of a result covers: the result's manifest names the step keys, the action, the
//! digests of tree and log, and the tree image. A tree is taken only when its digest is the one in
//! there, and each content only when its digest is the one in the tree; so one signature covers
//! everything that is used, and a tag that was moved to another signed result is a miss.

mod lookup;
mod manifest;
mod provenance;
mod publish;
mod pull;
mod push;
mod remote;
mod sign;
mod spool;
mod tables;
mod transfer;
mod verify;

#[cfg(test)]
mod tests;

pub(crate) use manifest::{Document, IMAGE_CONFIG, MANIFEST, blob_of, describe, hash_of_text};
pub(crate) use pull::Flaw;
pub(crate) use remote::ImageRemote;
pub(crate) use sign::{Signer, Trust, sign_manifest};
pub(crate) use tables::tables;
pub(crate) use transfer::{Tally, Transfer, in_parallel};
pub(crate) use verify::{PublicKey, signatures, verified};
