//! Whether all of an artifact is there and right: every byte is read, nothing is written.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;

use ashlar_object::{Digest, Hasher};
use ashlar_store::{RemoteError, Watch};

use super::address::Reference;
use super::compatible::each_entry;
use super::found::{Found, Placed, find, image, keys, trusted};
use super::layers::{Watched, all_of, fetch, in_parallel};
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

/// Reads an artifact to its last byte and compares everything with its digest; with `keys` (PEM
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
    let layers: BTreeSet<Digest> = placed
        .iter()
        .flat_map(|placed| placed.stack.layers())
        .map(|(layer, _)| layer.digest)
        .collect();
    let layers: Vec<Digest> = layers.into_iter().collect();
    in_parallel(&layers, 4, |layer| whole(&*depot, layer, watch))?;
    verified.blobs = layers.len() as u64;
    verified.bytes = layers.iter().map(|layer| layer.size).sum();
    verified.contents = contents(&*depot, &placed, watch)?;
    Ok(verified)
}

/// Reads a blob to its end.
fn whole(depot: &dyn Depot, blob: &Digest, watch: &Watch<'_>) -> Result<(), ArtifactError> {
    let what = || format!("blob sha256:{}", blob.hex());
    let place = || depot.place().to_owned();
    let Some(reader) = depot.open_blob(blob, 0..blob.size)? else {
        return Err(ArtifactError::Lost { place: place(), what: what() });
    };
    let mut hashing = Counting(Hasher::new());
    let read = io::copy(&mut Watched { inner: reader, watch }, &mut hashing);
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    read.map_err(|source| ArtifactError::Transfer { place: place(), what: what(), source })?;
    if hashing.0.finish() == *blob {
        return Ok(());
    }
    Err(ArtifactError::Damaged { place: place(), what: what() })
}

struct Counting(Hasher);

impl io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads every content once out of the layers.
fn contents(depot: &dyn Depot, placed: &[Placed], watch: &Watch<'_>) -> Result<u64, ArtifactError> {
    let seen = std::sync::Mutex::new(HashSet::from([Digest::EMPTY]));
    let taken = || seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut count = 0;
    for one in placed {
        let wanted: HashSet<Digest> =
            all_of(&one.stack).into_iter().filter(|digest| !taken().contains(digest)).collect();
        fetch(
            depot,
            &one.stack,
            &wanted,
            &|digest, bytes| {
                // The reader compares by itself, and fails instead of ending.
                io::copy(bytes, &mut io::sink())?;
                taken().insert(*digest);
                Ok(())
            },
            watch,
        )?;
        if let Some(lost) = wanted.iter().find(|digest| !taken().contains(digest)) {
            return Err(ArtifactError::Lost {
                place: depot.place().to_owned(),
                what: format!("content sha256:{}, which none of the layers has", lost.hex()),
            });
        }
        count += wanted.len() as u64;
    }
    Ok(count)
}
