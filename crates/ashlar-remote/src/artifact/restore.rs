//! Artifacts into folders: verified before a file appears, whole or not at all.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ashlar_object::Digest;
use ashlar_store::{Moved, Store, Watch};

use super::address::Reference;
use super::create::SKIP;
use super::destination::{Destination, DestinationError, Existing, place as folder};
use super::found::{Found, Placed, find, image, keys, together, trusted};
use super::lay::Laying;
use super::layers::{fetch, in_parallel};
use super::parts::Part;
use super::staging::{Staging, recover};
use super::{Access, ArtifactError, compatible, place};
use crate::depot::Depot;
use crate::image::PublicKey;

/// An artifact and where its files go.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The artifact.
    pub reference: Reference,
    /// The folder.
    pub destination: PathBuf,
}

/// Which parts of a composite artifact are wanted. Other artifacts have only one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// These and the common one.
    Parts(Vec<Part>),
    /// All of them.
    All,
}

/// How artifacts are restored.
#[derive(Clone, Default)]
pub struct Restore<'a> {
    /// What to do with files that are there.
    pub existing: Existing,
    /// Which parts.
    pub selection: Selection,
    /// A store that may have contents already.
    pub store: Option<&'a dyn Store>,
    /// Public keys, PEM: what none of them signed is refused. Empty: anything is taken.
    pub verify: Vec<PathBuf>,
}

impl std::fmt::Debug for Restore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").field("existing", &self.existing).finish_non_exhaustive()
    }
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The folder, without links; `None` when a file in it says that nothing is wanted.
    pub destination: Option<PathBuf>,
    /// How many files.
    pub files: u64,
    /// How many bytes they have.
    pub content: u64,
}

/// How many artifacts are restored at once.
const AT_ONCE: usize = 4;

/// Restores artifacts, several at once; those into one folder one after the other. Each is there
/// whole or not at all, whatever becomes of the others.
pub fn restore(
    wanted: &[Wanted],
    how: &Restore<'_>,
    access: &Access,
    watch: &Watch<'_>,
) -> Vec<Result<Restored, ArtifactError>> {
    let mut folders: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, one) in wanted.iter().enumerate() {
        folders.entry(&one.destination).or_default().push(index);
    }
    let nested = nested(wanted);
    let folders: Vec<Vec<usize>> = folders.into_values().collect();
    let done = in_parallel(&folders, AT_ONCE, |members| {
        let each = |index: &usize| match nested.get(index) {
            Some(path) => {
                let why = "is inside, or around, another folder that is to be filled";
                let path = path.clone();
                (*index, Err(DestinationError::Path { path, why }.into()))
            }
            None => (*index, one(&wanted[*index], how, access, watch)),
        };
        Ok(members.iter().map(each).collect::<Vec<_>>())
    });
    let mut done: Vec<_> = done.into_iter().flatten().flatten().collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Folders of which one is inside of the other: whichever comes last would undo the other.
fn nested(wanted: &[Wanted]) -> BTreeMap<usize, PathBuf> {
    // What is no folder is said where it is opened.
    let found = |(index, one): (usize, &Wanted)| Some((index, folder(&one.destination).ok()?));
    let mut places: Vec<(usize, PathBuf)> = wanted.iter().enumerate().filter_map(found).collect();
    places.sort_by(|(_, one), (_, other)| one.cmp(other));
    let mut nested = BTreeMap::new();
    let mut above: Vec<(usize, PathBuf)> = Vec::new();
    for (index, path) in places {
        above.retain(|(_, other)| path.starts_with(other));
        for (other, _) in above.iter().filter(|(_, other)| *other != path) {
            for one in [index, *other] {
                nested.insert(one, wanted[one].destination.clone());
            }
        }
        above.push((index, path));
    }
    nested
}

fn one(
    wanted: &Wanted,
    how: &Restore<'_>,
    access: &Access,
    watch: &Watch<'_>,
) -> Result<Restored, ArtifactError> {
    let depot = place::open(&wanted.reference.repository, access)?;
    let keys = keys(&*depot, &how.verify)?;
    let destination = Destination::open(&wanted.destination, watch)?;
    match fill(&*depot, wanted, how, &keys, &destination, watch) {
        Ok(restored) => {
            destination.keep();
            Ok(restored)
        }
        Err(error) => {
            destination.give_up();
            Err(error)
        }
    }
}

fn fill(
    depot: &dyn Depot,
    wanted: &Wanted,
    how: &Restore<'_>,
    keys: &[PublicKey],
    destination: &Destination,
    watch: &Watch<'_>,
) -> Result<Restored, ArtifactError> {
    if destination.path.join(SKIP).is_file() {
        let place = wanted.destination.display();
        (watch.warn)(format!("{place} is skipped: it has a file {SKIP}"));
        return Ok(Restored { destination: None, files: 0, content: 0 });
    }
    if destination.locked {
        let recovered = recover(destination)?;
        if recovered.found {
            let place = destination.path.display();
            (watch.warn)(format!("{place}: undone what an ashlar that was killed had begun"));
        }
        for path in recovered.left {
            (watch.warn)(format!("{} was changed since, and stays", path.display()));
        }
    } else {
        let place = destination.path.display();
        (watch.warn)(format!("{place} cannot be locked: use it from one ashlar at a time"));
    }
    destination.check(how.existing, None)?;
    let reference = &wanted.reference;
    let found = find(depot, reference)?;
    trusted(depot, reference, &found, keys)?;
    let trees = match found {
        Found::Archive(digest) => {
            let staging = Staging::make(destination)?;
            let (files, content) = compatible::unpack(depot, &digest, &staging.fresh(), watch)?;
            staging.publish(destination, how.existing)?;
            return Ok(Restored { destination: Some(destination.path.clone()), files, content });
        }
        Found::Image(manifest) => vec![image(depot, reference, &manifest, watch)?],
        Found::Composite(parts) => parts.select(depot, reference, &how.selection, watch)?,
    };
    let tree = together(&trees);
    let staging = Staging::make(destination)?;
    let laying = Laying::begin(&staging.fresh(), &tree)?;
    if let Some(store) = how.store {
        from_store(store, &laying, watch)?;
    }
    from_layers(depot, &trees, &laying, watch)?;
    laying.finish()?;
    staging.publish(destination, how.existing)?;
    let mut files = 0;
    tree.walk(|entry| files += u64::from(matches!(entry.node, ashlar_object::Node::File(_))));
    let content = tree.content_size();
    Ok(Restored { destination: Some(destination.path.clone()), files, content })
}

/// What the store has is not moved. What it cannot give is only moved instead.
fn from_store(store: &dyn Store, laying: &Laying, watch: &Watch<'_>) -> Result<(), ArtifactError> {
    let wanted = laying.wanted();
    let missing: HashSet<Digest> = match store.missing(&wanted) {
        Ok(missing) => missing.into_iter().collect(),
        Err(error) => {
            (watch.warn)(format!("the store is not asked for what is there already: {error}"));
            return Ok(());
        }
    };
    let there: Vec<Digest> = wanted.into_iter().filter(|one| !missing.contains(one)).collect();
    in_parallel(&there, AT_ONCE, |digest| {
        if let Ok(Some(mut reader)) = store.open(digest)
            && laying.put(digest, &mut *reader).is_ok()
        {
            (watch.moved)(Moved { already: digest.size, ..Moved::default() });
        }
        Ok(())
    })?;
    Ok(())
}

fn from_layers(
    depot: &dyn Depot,
    trees: &[Placed],
    laying: &Laying,
    watch: &Watch<'_>,
) -> Result<(), ArtifactError> {
    for placed in trees {
        let wanted: HashSet<Digest> =
            laying.wanted().into_iter().filter(|digest| placed.stack.has(digest)).collect();
        let take = |digest: &Digest, bytes: &mut dyn std::io::Read| laying.put(digest, bytes);
        fetch(depot, &placed.stack, &wanted, &take, watch)?;
    }
    match laying.wanted().first() {
        None => Ok(()),
        Some(digest) => Err(ArtifactError::Lost {
            place: depot.place().to_owned(),
            what: format!("content sha256:{}, which none of the layers has", digest.hex()),
        }),
    }
}
