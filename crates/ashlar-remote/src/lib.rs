//! Far stores: places on other machines, or in other folders, where results are found and left.
//!
//! | folder | what lives there |
//! |---|---|
//! | `depot/` | blobs, manifests and tags in a directory, behind HTTP, in a bucket, in a registry |
//! | `image/` | results as OCI images on a depot; revisions, signatures, provenance |
//! | `cas/` | results as single blobs behind an action cache: REAPI, and its HTTP layout |
//! | `artifact/` | trees that tasks of a pipeline hand to one another |
//! | `container/` | images of others and for others: registries, OCI layouts, archives |
//!
//! Everything outside sees [`ashlar_store::Remote`], [`ashlar_store::Images`] and the functions of
//! [`artifact`]; async ends in here.

pub mod artifact;
mod cas;
pub mod container;
mod depot;
mod http;
mod image;
mod open;
mod runtime;

pub use container::{ImageOptions, ImagePlaces};
pub use depot::registry::Credentials;
pub use open::{BucketKeys, Definition, Layout, Secret, open};
