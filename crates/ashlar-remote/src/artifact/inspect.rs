//! What is in an artifact: parts, layers, files, signatures.

use std::collections::BTreeMap;

use ashlar_object::{Digest, Node, Tree};
use ashlar_pack::archive;
use ashlar_store::Watch;

use super::address::Reference;
use super::compatible::each_entry;
use super::found::{Found, Placed, find, image};
use super::{Access, ArtifactError, place};
use crate::depot::Depot;
use crate::image::signatures;

/// What kind of artifact it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One tree in layers.
    Native,
    /// One tree for each architecture.
    Composite,
    /// A gzip'd archive.
    Archive,
}

/// What is in an artifact.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What kind it is.
    pub kind: Kind,
    /// How many signatures it has; that they are good is not said.
    pub signatures: u64,
    /// Its parts; one without a name if it is not composite.
    pub parts: Vec<InspectedPart>,
}

/// A part of an artifact as its consumers get it, the common files included.
#[derive(Clone, Debug)]
pub struct InspectedPart {
    /// Its name, if the artifact is composite.
    pub name: Option<String>,
    /// The digest of its tree; archives have none.
    pub tree: Option<Digest>,
    /// How many bytes its files have.
    pub content: u64,
    /// Its layers, lowest first; of an archive the archive.
    pub layers: Vec<InspectedLayer>,
    /// Everything in it.
    pub entries: Vec<Listed>,
}

/// A layer.
#[derive(Clone, Debug)]
pub struct InspectedLayer {
    /// Its digest; the size is what moves at most.
    pub digest: Digest,
    /// The other parts that have it too.
    pub shared: Vec<String>,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The permission bits.
    pub mode: u32,
    /// `d`, `l`, `h` (a hard link of an archive) or `-`.
    pub kind: char,
    /// How many bytes a file has.
    pub size: u64,
    /// The path, made printable.
    pub path: String,
    /// Where a link leads, made printable.
    pub target: Option<String>,
}

/// Looks at an artifact. Of layers only the tables of contents are read; an archive has none, and
/// is read to its end.
///
/// # Errors
/// When it is not there, damaged, or the place fails.
pub fn inspect(
    reference: &Reference,
    access: &Access,
    watch: &Watch<'_>,
) -> Result<Inspected, ArtifactError> {
    let depot = place::open(&reference.repository, access)?;
    let found = find(&*depot, reference)?;
    let digest = Digest { hash: reference.hash, size: found.digest().size };
    let signatures = signatures(&*depot, &digest)?.len() as u64;
    let (kind, parts) = match found {
        Found::Archive(digest) => (Kind::Archive, vec![of_archive(&*depot, &digest, watch)?]),
        Found::Image(manifest) => {
            let placed = image(&*depot, reference, &manifest, watch)?;
            (Kind::Native, vec![of_tree(None, &placed)])
        }
        Found::Composite(composite) => {
            let mut parts = Vec::new();
            for (part, _) in &composite.parts {
                let placed = composite.part(&*depot, reference, part, watch)?;
                parts.push(of_tree(Some(part.to_string()), &placed));
            }
            share(&mut parts);
            (Kind::Composite, parts)
        }
    };
    Ok(Inspected { kind, signatures, parts })
}

fn of_tree(name: Option<String>, placed: &Placed) -> InspectedPart {
    let layers = placed.stack.layers().iter();
    InspectedPart {
        name,
        tree: Some(placed.tree.digest()),
        content: placed.tree.content_size(),
        layers: layers
            .map(|(layer, _)| InspectedLayer { digest: layer.digest, shared: Vec::new() })
            .collect(),
        entries: entries(&placed.tree),
    }
}

fn entries(tree: &Tree) -> Vec<Listed> {
    let mut all = Vec::new();
    tree.walk(|entry| {
        let (mode, kind, size, target) = match entry.node {
            Node::Dir(dir) => (dir.meta().mode, 'd', 0, None),
            Node::File(file) => (file.meta.mode, '-', file.digest.size, None),
            Node::Symlink(link) => (0o777, 'l', 0, Some(lossy(&link.target))),
            Node::Fifo(meta) => (meta.mode, 'p', 0, None),
            Node::Whiteout => (0, 'w', 0, None),
        };
        all.push(Listed { mode, kind, size, path: entry.path.to_string(), target });
    });
    all
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn of_archive(
    depot: &dyn Depot,
    digest: &Digest,
    watch: &Watch<'_>,
) -> Result<InspectedPart, ArtifactError> {
    let mut entries = Vec::new();
    let mut content = 0;
    each_entry(depot, digest, watch, &mut |entry| {
        let (kind, size, target) = match entry.kind {
            archive::Kind::Dir => ('d', 0, None),
            archive::Kind::File { size, .. } => ('-', size, None),
            archive::Kind::Symlink(target) => ('l', 0, Some(lossy(&target))),
            archive::Kind::Hardlink(path) => ('h', 0, Some(path.to_string())),
        };
        if !entry.path.is_root() {
            content += size;
            let path = entry.path.to_string();
            entries.push(Listed { mode: entry.mode, kind, size, path, target });
        }
        Ok(())
    })?;
    let layers = vec![InspectedLayer { digest: *digest, shared: Vec::new() }];
    Ok(InspectedPart { name: None, tree: None, content, layers, entries })
}

/// Notes which layers several parts have.
fn share(parts: &mut [InspectedPart]) {
    let mut who: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for part in parts.iter() {
        for layer in &part.layers {
            let names = who.entry(layer.digest).or_default();
            names.extend(part.name.clone().filter(|name| !names.contains(name)));
        }
    }
    for part in parts {
        for layer in &mut part.layers {
            let others = who.get(&layer.digest).into_iter().flatten();
            layer.shared =
                others.filter(|other| Some(*other) != part.name.as_ref()).cloned().collect();
        }
    }
}
