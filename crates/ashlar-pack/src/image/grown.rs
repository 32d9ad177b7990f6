//! A tree as the entries of an archive make it, one after the other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, File, Meta, Name, Node, RelPath, Symlink, Tree};

/// Why an entry cannot be part of the tree: what follows its path in a message.
type Refused = &'static str;

/// The tree so far. Later entries replace earlier ones, as when an archive is unpacked.
#[derive(Default)]
pub(super) struct Grown {
    root: Folder,
    entries: u64,
    /// How many groups of hard links there are.
    groups: u32,
}

#[derive(Default)]
struct Folder {
    children: BTreeMap<Name, Slot>,
    /// Names that are deleted from what lies below.
    gone: BTreeSet<Name>,
    /// None as long as no entry stood for it.
    meta: Option<Meta>,
    opaque: bool,
}

enum Slot {
    Folder(Box<Folder>),
    File(File),
    Symlink(Symlink),
    Fifo(Meta),
}

const THROUGH_LINK: Refused = "goes through a symbolic link of the archive";
const THROUGH_FILE: Refused = "goes through a file of the archive";
const LINK_TO_NOTHING: Refused = "is a hard link to what the archive does not have before it";

impl Grown {
    /// How many entries there are, folders included that were made on the way.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// A directory, or what one is like that is there.
    pub fn dir(&mut self, path: &RelPath, meta: Meta) -> Result<(), Refused> {
        let Some((name, above)) = path.names().split_last() else {
            self.root.meta = Some(meta);
            return Ok(());
        };
        let (folder, entries) = self.above(above)?;
        match folder.children.entry(name.clone()) {
            Entry::Vacant(new) => {
                *entries += 1;
                let folder = Folder { meta: Some(meta), ..Folder::default() };
                new.insert(Slot::Folder(Box::new(folder)));
            }
            Entry::Occupied(mut there) => match there.get_mut() {
                Slot::Folder(folder) => folder.meta = Some(meta),
                other => {
                    let folder = Folder { meta: Some(meta), ..Folder::default() };
                    *other = Slot::Folder(Box::new(folder));
                }
            },
        }
        Ok(())
    }

    /// Makes sure that something can be at a path.
    pub fn place(&mut self, path: &RelPath) -> Result<(), Refused> {
        match path.names().split_last() {
            Some((_, above)) => self.above(above).map(|_| ()),
            None => Err("is not a directory"),
        }
    }

    /// A file with one name so far.
    pub fn file(&mut self, path: &RelPath, digest: Digest, meta: Meta) -> Result<(), Refused> {
        self.put(path, Slot::File(File::new(digest, meta)))
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &RelPath, target: &[u8], meta: Meta) -> Result<(), Refused> {
        self.put(path, Slot::Symlink(Symlink { target: target.into(), meta }))
    }

    /// A FIFO.
    pub fn fifo(&mut self, path: &RelPath, meta: Meta) -> Result<(), Refused> {
        self.put(path, Slot::Fifo(meta))
    }

    /// One more name of a file that is there. It is the same file, so what the entry says of mode
    /// and owner is not asked; a second name of a symbolic link or FIFO is that once more.
    pub fn link(&mut self, path: &RelPath, target: &RelPath) -> Result<(), Refused> {
        let groups = self.groups;
        let there = self.find(target).ok_or(LINK_TO_NOTHING)?;
        let (slot, is_new) = match there {
            Slot::Folder(_) => return Err("is a hard link to a directory"),
            Slot::Symlink(link) => (Slot::Symlink(link.clone()), false),
            Slot::Fifo(meta) => (Slot::Fifo(meta.clone()), false),
            Slot::File(file) => {
                let is_new = file.link.is_none();
                if is_new {
                    file.link = Some(NonZeroU32::MIN.saturating_add(groups));
                }
                (Slot::File(file.clone()), is_new)
            }
        };
        self.groups += u32::from(is_new);
        if path == target { Ok(()) } else { self.put(path, slot) }
    }

    /// The deletion of a name from what lies below; `path` is that of the entry that says so.
    pub fn delete(&mut self, path: &RelPath, name: &[u8]) -> Result<(), Refused> {
        let name = Name::new(name).map_err(|_| "deletes nothing that has a name")?;
        let Some((_, above)) = path.names().split_last() else { return Ok(()) };
        let (folder, entries) = self.above(above)?;
        *entries += u64::from(folder.gone.insert(name));
        Ok(())
    }

    /// Nothing of what lies below shows through the directory that the entry at `path` is in.
    pub fn hide(&mut self, path: &RelPath) -> Result<(), Refused> {
        let Some((_, above)) = path.names().split_last() else { return Ok(()) };
        self.above(above)?.0.opaque = true;
        Ok(())
    }

    fn put(&mut self, path: &RelPath, slot: Slot) -> Result<(), Refused> {
        let Some((name, above)) = path.names().split_last() else {
            return Err("is not a directory");
        };
        let (folder, entries) = self.above(above)?;
        *entries += u64::from(folder.children.insert(name.clone(), slot).is_none());
        Ok(())
    }

    /// A folder, made if it has to be, and the count of entries.
    fn above(&mut self, names: &[Name]) -> Result<(&mut Folder, &mut u64), Refused> {
        let mut folder = &mut self.root;
        for name in names {
            let slot = folder.children.entry(name.clone()).or_insert_with(|| {
                self.entries += 1;
                Slot::Folder(Box::default())
            });
            folder = match slot {
                Slot::Folder(child) => child,
                Slot::Symlink(_) => return Err(THROUGH_LINK),
                Slot::File(_) | Slot::Fifo(_) => return Err(THROUGH_FILE),
            };
        }
        Ok((folder, &mut self.entries))
    }

    fn find(&mut self, path: &RelPath) -> Option<&mut Slot> {
        let (last, above) = path.names().split_last()?;
        let mut folder = &mut self.root;
        for name in above {
            match folder.children.get_mut(name)? {
                Slot::Folder(child) => folder = child,
                Slot::File(_) | Slot::Symlink(_) | Slot::Fifo(_) => return None,
            }
        }
        folder.children.get_mut(last)
    }

    /// The folders that no entry stands for: they are only on the way to others.
    pub fn implied(&self) -> BTreeSet<RelPath> {
        let mut found = BTreeSet::new();
        implied(&self.root, &mut RelPath::root(), &mut found);
        found
    }

    /// The tree, with canonical numbers for its hard links.
    pub fn into_tree(self) -> Tree {
        Tree::from(freeze(self.root)).with_canonical_links()
    }
}

fn implied(folder: &Folder, path: &mut RelPath, found: &mut BTreeSet<RelPath>) {
    if folder.meta.is_none() {
        found.insert(path.clone());
    }
    for (name, slot) in &folder.children {
        if let Slot::Folder(child) = slot {
            path.push(name.clone());
            implied(child, path, found);
            path.pop();
        }
    }
}

fn freeze(folder: Folder) -> Dir {
    let mut entries = BTreeMap::new();
    for name in folder.gone.iter().filter(|name| !folder.children.contains_key(*name)) {
        entries.insert(name.clone(), Node::Whiteout);
    }
    for (name, slot) in folder.children {
        let node = match slot {
            Slot::Folder(mut child) => {
                // Deleted and made anew: what is below has nothing to do with it.
                child.opaque |= folder.gone.contains(&name);
                Node::Dir(Arc::new(freeze(*child)))
            }
            Slot::File(file) => Node::File(file),
            Slot::Symlink(link) => Node::Symlink(link),
            Slot::Fifo(meta) => Node::Fifo(meta),
        };
        entries.insert(name, node);
    }
    Dir::new(entries, folder.meta.unwrap_or(Meta::EXECUTABLE), folder.opaque)
}
