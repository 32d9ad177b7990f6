//! Whether all of an artifact is there and right: every byte is read, nothing is written.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;

use ashlar_object::Digest;
use ashlar_pack::{Layer, PackError, Toc};
use ashlar_store::{RemoteError, Watch};

use super::address::Reference;
use super::compatible::each_entry;
use super::found::{Found, find, image, keys, trusted};
use super::layers::{Watched, in_parallel};
use super::{Access, ArtifactError, place};
use crate::depot::Depot;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many contents of files.
    pub contents: u64,
    /// How many layers or archives.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Reads an artifact to its last byte and compares everything with its digest, and archives with
/// tables of contents; with `keys` (PEM
/// files) one of them must have signed it.
///
/// # Errors
/// When something is missing or not what its digest says, or the place fails.
pub fn verify(
    reference: &Reference,
    key_files: &[PathBuf],
    access: &Access,
    watch: &Watch<'_>,
) -> Result<Verified, ArtifactError> {
    let depot = place::open(&reference.repository, access)?;
    let keys = keys(&*depot, key_files)?;
    let found = find(&*depot, reference)?;
    trusted(&*depot, reference, &found, &keys)?;
    let mut verified = Verified::default();
    let placed = match found {
        Found::Archive(digest) => {
            each_entry(&*depot, &digest, watch, &mut |entry| {
                if let ashlar_pack::archive::Kind::File { content, .. } = entry.kind {
                    verified.contents += 1;
                    io::copy(content, &mut io::sink())?;
                }
                Ok(())
            })?;
            (verified.blobs, verified.bytes) = (1, digest.size);
            return Ok(verified);
        }
        Found::Image(manifest) => vec![image(&*depot, reference, &manifest, watch)?],
        Found::Composite(composite) => {
            let part = |part| composite.part(&*depot, reference, part, watch);
            composite.parts.iter().map(|(name, _)| part(name)).collect::<Result<_, _>>()?
        }
    };
    // Parts share layers; each is read once for all that manifests say of it.
    let mut layers: BTreeMap<_, &(Layer, Toc)> = BTreeMap::new();
    for one in placed.iter().flat_map(|placed| placed.stack.layers()) {
        layers.insert((one.0.digest, one.0.diff_id, &one.0.annotations), one);
    }
    let layers: Vec<&(Layer, Toc)> = layers.into_values().collect();
    in_parallel(&layers, 4, |layer| whole(&*depot, layer, watch))?;
    let blobs: HashSet<Digest> = layers.iter().map(|(layer, _)| layer.digest).collect();
    let contents = placed.iter().flat_map(|placed| placed.tree.blobs());
    let contents: HashSet<Digest> = contents.filter(|content| content.size > 0).collect();
    verified.blobs = blobs.len() as u64;
    verified.bytes = blobs.iter().map(|digest| digest.size).sum();
    verified.contents = contents.len() as u64;
    Ok(verified)
}

/// Reads a layer to its end: its archive must be what its table of contents says, so that everybody
/// gets the same files, whichever of the two he reads.
fn whole(
    depot: &dyn Depot,
    (layer, toc): &(Layer, Toc),
    watch: &Watch<'_>,
) -> Result<(), ArtifactError> {
    let what = || format!("blob sha256:{}", layer.digest.hex());
    let place = || depot.place().to_owned();
    let Some(reader) = depot.open_blob(&layer.digest, 0..layer.digest.size)? else {
        return Err(ArtifactError::Lost { place: place(), what: what() });
    };
    let checked = ashlar_pack::check(layer, toc, &mut Watched { inner: reader, watch });
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    checked.map_err(|error| match error {
        PackError::Read(source) => ArtifactError::Transfer { place: place(), what: what(), source },
        PackError::WrongBlob(_) => ArtifactError::Damaged { place: place(), what: what() },
        PackError::Contradiction(why) => {
            ArtifactError::Contradiction { place: place(), what: what(), why }
        }
        other => other.into(),
    })
}
