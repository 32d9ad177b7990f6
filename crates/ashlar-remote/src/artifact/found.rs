//! What a reference leads to, and the trees in it.

use std::collections::BTreeSet;
use std::io::Read as _;

use ashlar_object::{Digest, Node, RelPath, Tree};
use ashlar_pack::Stack;
use ashlar_store::Watch;

use super::address::Reference;
use super::layers::stack;
use super::manifest::{ImageManifest, Index, TREE};
use super::parts::Part;
use super::restore::Selection;
use super::{ArtifactError, PartError};
use crate::depot::{self, Depot, Manifest};
use crate::image::{PublicKey, verified};

/// No composite artifact has more parts: there are not as many architectures.
const PARTS: usize = 64;

/// What a reference leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// One tree image.
    Image(Manifest),
    /// A composite artifact.
    Composite(Composite),
    /// A gzip'd archive.
    Archive(Digest),
}

/// The parts of a composite artifact.
#[derive(Debug)]
pub(super) struct Composite {
    pub index: Manifest,
    pub parts: Vec<(Part, Digest)>,
    pub apart: bool,
}

/// Finds out what a reference leads to.
pub(super) fn find(depot: &dyn Depot, reference: &Reference) -> Result<Found, ArtifactError> {
    let foreign =
        |what: &str| ArtifactError::Foreign { reference: reference.clone(), what: what.to_owned() };
    // Archives first: asked for a manifest that is one, a registry takes it for a damaged one.
    if let Some(archive) = archive(depot, &reference.hash)? {
        return Ok(Found::Archive(archive));
    }
    let manifest = depot.manifest(&depot::Reference::Hash(reference.hash))?;
    if let Some(manifest) = manifest {
        if let Some(image) = ImageManifest::decode(&manifest) {
            if image.tree().is_some() {
                return Ok(Found::Image(manifest));
            }
            return match image.archives().as_slice() {
                [] if image.annotations.contains_key(TREE) => {
                    Err(foreign("an image whose tree has no digest"))
                }
                [] => Err(foreign("an image that Ashlar did not write")),
                [(_, archive)] => Ok(Found::Archive(*archive)),
                several => {
                    let names = several.iter().map(|(title, digest)| {
                        format!("{title} {}@sha256:{}", reference.repository, digest.hex())
                    });
                    let names: Vec<String> = names.collect();
                    let what = format!("a manifest of several archives: {}", names.join(", "));
                    Err(foreign(&what))
                }
            };
        }
        if let Some(index) = Index::decode(&manifest) {
            let Some(parts) = index.parts() else {
                return Err(foreign("an index that is not of a composite artifact"));
            };
            let parts: Result<Vec<(Part, Digest)>, PartError> = parts
                .into_iter()
                .map(|(part, digest)| Ok((Part::from_annotation(&part)?, digest)))
                .collect();
            let parts = parts?;
            if parts.len() > PARTS {
                return Err(ArtifactError::TooLarge {
                    place: depot.place().to_owned(),
                    what: format!("index sha256:{}", manifest.digest().hex()),
                });
            }
            let mut seen = BTreeSet::new();
            if !parts.iter().all(|(part, _)| seen.insert(part)) {
                return Err(foreign("an index that has a part twice"));
            }
            let apart = index.apart();
            return Ok(Found::Composite(Composite { index: manifest, parts, apart }));
        }
    }
    Err(ArtifactError::Unknown(reference.clone()))
}

/// The digest of a blob, if there is one and it begins as gzip does: where manifests lie beside
/// blobs, as in a directory, they begin otherwise.
fn archive(depot: &dyn Depot, hash: &[u8; 32]) -> Result<Option<Digest>, ArtifactError> {
    let Some(size) = depot.blob_size(hash)? else { return Ok(None) };
    let digest = Digest { hash: *hash, size };
    let mut begin = Vec::new();
    if let Some(mut reader) = depot.open_blob(&digest, 0..size.min(2))? {
        reader.read_to_end(&mut begin).map_err(|source| ArtifactError::Transfer {
            place: depot.place().to_owned(),
            what: format!("blob sha256:{}", digest.hex()),
            source,
        })?;
    }
    Ok((begin == [0x1f, 0x8b]).then_some(digest))
}

impl Found {
    /// The digest of what the reference names.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Image(manifest) => manifest.digest(),
            Self::Composite(parts) => parts.index.digest(),
            Self::Archive(digest) => *digest,
        }
    }
}

/// Refuses what none of the keys has signed. Without keys everything is taken.
pub(super) fn trusted(
    depot: &dyn Depot,
    reference: &Reference,
    found: &Found,
    keys: &[PublicKey],
) -> Result<(), ArtifactError> {
    // An archive is known by its own digest, also if it was asked for by its manifest's.
    let digest = Digest { hash: reference.hash, size: found.digest().size };
    if keys.is_empty() {
        return Ok(());
    }
    match verified(depot, &digest, keys)? {
        Ok(_) => Ok(()),
        Err(why) => Err(ArtifactError::Untrusted { reference: reference.clone(), why }),
    }
}

/// Public keys from files, read before anything is contacted.
pub(super) fn keys(
    depot: &dyn Depot,
    files: &[std::path::PathBuf],
) -> Result<Vec<PublicKey>, ArtifactError> {
    let read = |path: &std::path::PathBuf| Ok(PublicKey::read(depot.place(), path)?);
    files.iter().map(read).collect()
}

/// A tree of an artifact, where in the destination it belongs, and the layers it is in.
pub(super) struct Placed {
    pub at: RelPath,
    pub tree: Tree,
    pub stack: Stack,
}

/// The tree of an image, compared with what its manifest says.
pub(super) fn image(
    depot: &dyn Depot,
    reference: &Reference,
    manifest: &Manifest,
    watch: &Watch<'_>,
) -> Result<Placed, ArtifactError> {
    let Some((expected, stack)) = stack(depot, manifest, watch)? else {
        let what = "an image that Ashlar did not write".to_owned();
        return Err(ArtifactError::Foreign { reference: reference.clone(), what });
    };
    let tree = stack.tree()?;
    if tree.digest() != expected {
        return Err(ArtifactError::Damaged {
            place: depot.place().to_owned(),
            what: format!("image sha256:{}: its layers make another tree", manifest.digest().hex()),
        });
    }
    Ok(Placed { at: RelPath::root(), tree, stack })
}

impl Composite {
    /// The names of all parts.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.parts.iter().map(|(part, _)| part.to_string()).collect();
        names.join(", ")
    }

    /// The trees of the parts that are wanted, each with where it belongs.
    pub fn select(
        &self,
        depot: &dyn Depot,
        reference: &Reference,
        selection: &Selection,
        watch: &Watch<'_>,
    ) -> Result<Vec<Placed>, ArtifactError> {
        let own: Vec<&Part> =
            self.parts.iter().map(|(part, _)| part).filter(|p| **p != Part::Common).collect();
        let mut chosen: Vec<&Part> = match selection {
            // Of common files only there is no choice.
            _ if own.is_empty() => Vec::new(),
            Selection::Unsaid => {
                let parts = self.names();
                return Err(ArtifactError::WhichPart { reference: reference.clone(), parts });
            }
            Selection::All => own,
            Selection::Parts(parts) => {
                let has = |part: &&Part| own.contains(part);
                // Whoever asks for an architecture needs its files. Sources there may be none.
                let lacking = parts.iter().filter(|part| !has(part));
                for part in lacking {
                    if *part != Part::Source {
                        return Err(ArtifactError::NoPart {
                            reference: reference.clone(),
                            part: part.clone(),
                            parts: self.names(),
                        });
                    }
                    let names = self.names();
                    (watch.warn)(format!("{reference} has no part for {part}: it has {names}"));
                }
                parts.iter().filter(has).collect()
            }
        };
        if chosen.is_empty() {
            chosen.extend(self.parts.iter().map(|(part, _)| part).filter(|p| **p == Part::Common));
        }
        let several = chosen.len() > 1;
        let mut all = Vec::new();
        for part in chosen {
            let mut placed = self.part(depot, reference, part, watch)?;
            if several && self.apart {
                placed.at = part.to_string().parse().unwrap_or_default();
            }
            all.push(placed);
        }
        Ok(all)
    }

    /// The tree of one part: its own files and the common ones.
    pub fn part(
        &self,
        depot: &dyn Depot,
        reference: &Reference,
        part: &Part,
        watch: &Watch<'_>,
    ) -> Result<Placed, ArtifactError> {
        let lost = |what: String| ArtifactError::Lost { place: depot.place().to_owned(), what };
        let Some((_, digest)) = self.parts.iter().find(|(other, _)| other == part) else {
            return Err(lost(format!("part {part} of {reference}")));
        };
        let Some(manifest) = depot.manifest(&depot::Reference::Hash(digest.hash))? else {
            return Err(lost(format!("manifest sha256:{}", digest.hex())));
        };
        image(depot, reference, &manifest, watch)
    }
}

/// All trees in one. Those of a composite artifact that lie together do not disagree; if somebody
/// made one where they do, the later part counts.
pub(super) fn together(placed: &[Placed]) -> Tree {
    match placed {
        [one] if one.at.is_root() => one.tree.clone(),
        _ => placed.iter().fold(Tree::default(), |all, one| {
            if one.at.is_root() {
                return if all.is_empty() { one.tree.clone() } else { all.overlaid(&one.tree) };
            }
            all.with(&one.at, Node::Dir(one.tree.root().clone()))
        }),
    }
}
