//! What is there, compared with what shall be there. Nothing is changed.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::FileType;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::{Digest, Dir, File, Node, Time, Tree};
use ashlar_store::in_parallel;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::clock::kept;
use super::finish::AREA;
use super::{PlaceError, Placed, Put, Says, Times, failed, modified};

/// Something of the tree that is not there as it should be.
#[derive(Debug)]
pub(super) struct New<'t> {
    pub path: PathBuf,
    pub node: &'t Node,
    /// The folder below the root where the mount begins that it is on.
    pub top: Arc<Path>,
}

/// Something that is there and does not belong there.
#[derive(Debug)]
pub(super) struct Stale {
    pub path: PathBuf,
    pub top: Arc<Path>,
}

/// A file or link that is there as it should be.
#[derive(Debug)]
pub(super) struct Kept {
    pub path: PathBuf,
    /// Of files only.
    pub digest: Option<Digest>,
    /// Its time in the tree.
    pub time: Option<Time>,
    /// The time it has.
    pub now: Time,
}

/// A folder that is there and of the tree.
#[derive(Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// Its time in the tree.
    pub time: Option<Time>,
    /// The mode it has.
    pub mode: u32,
    /// The mode it shall have.
    pub wanted: u32,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan<'t> {
    pub new: Vec<New<'t>>,
    pub stale: Vec<Stale>,
    pub kept: Vec<Kept>,
    /// Parents before what is in them.
    pub folders: Vec<Folder>,
    /// Files, links and folders in `stale`.
    pub removed: u64,
}

impl Plan<'_> {
    /// Whether nothing is to be made, removed or changed but times.
    pub fn changes_nothing(&self) -> bool {
        self.new.is_empty()
            && self.stale.is_empty()
            && self.folders.iter().all(|folder| folder.mode == folder.wanted)
    }

    /// Whether times are as they should be as well.
    pub fn is_settled(&self, times: Times) -> bool {
        let Times::Ordered { sources: Some(sources) } = times else {
            return self.changes_nothing() && self.kept.is_empty();
        };
        self.changes_nothing()
            && self.kept.iter().all(|kept| kept.now > sources)
            && self.keeps_order()
    }

    /// Whether which of two files is the older one is as it was kept.
    fn keeps_order(&self) -> bool {
        let mut pairs: Vec<(Option<Time>, Time)> =
            self.kept.iter().map(|kept| (kept.time, kept.now)).collect();
        pairs.sort_unstable();
        pairs.windows(2).all(|two| (two[0].0 == two[1].0) == (two[0].1 == two[1].1))
            && pairs.windows(2).all(|two| two[0].1 <= two[1].1)
    }

    /// The folders below the root in which something is to be renamed, each the beginning of a
    /// mount; that of the root among them.
    pub fn tops(&self) -> BTreeSet<Arc<Path>> {
        let new = self.new.iter().map(|new| &new.top);
        let all = new.chain(self.stale.iter().map(|stale| &stale.top));
        all.cloned().chain([Arc::from(Path::new(""))]).collect()
    }
}

/// A folder that is there, to be looked into.
#[derive(Debug)]
struct Visit<'t> {
    path: PathBuf,
    /// The same folder of the tree, if it is of the tree.
    dir: Option<&'t Dir>,
    top: Arc<Path>,
    mount: Mount,
    mode: u32,
}

/// What tells mounts apart: device and number of the mount, where the kernel says it.
type Mount = (u32, u32, Option<u64>);

struct Look<'a> {
    put: &'a Put<'a>,
    root: &'a Path,
    owned: Says<'a>,
    spare: Says<'a>,
}

/// Compares a tree with what is in the root.
pub(super) fn look<'t>(
    put: &Put<'_>,
    root: &Path,
    tree: &'t Tree,
    owned: Says<'_>,
    spare: Says<'_>,
) -> Result<Plan<'t>, PlaceError> {
    let look = Look { put, root, owned, spare };
    let mut plan = Plan::default();
    let (mode, mount) = folder_facts(root)?;
    let path = PathBuf::new();
    let top = Arc::from(Path::new(""));
    let mut level = vec![Visit { path, dir: Some(&**tree.root()), top, mount, mode }];
    while !level.is_empty() {
        let next = Mutex::new(Vec::new());
        let parts = in_parallel(&level, Plan::default, |part, visit| {
            let below = look.visit(visit, part)?;
            next.lock().unwrap_or_else(PoisonError::into_inner).extend(below);
            Ok::<_, PlaceError>(())
        })?;
        for part in parts {
            plan.new.extend(part.new);
            plan.stale.extend(part.stale);
            plan.kept.extend(part.kept);
            plan.folders.extend(part.folders);
            plan.removed += part.removed;
        }
        level = next.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    // Neighbours together, so that what is made for them lies together.
    plan.new.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(plan)
}

impl Look<'_> {
    fn visit<'t>(
        &self,
        visit: &Visit<'t>,
        plan: &mut Plan<'t>,
    ) -> Result<Vec<Visit<'t>>, PlaceError> {
        let shown = self.root.join(&visit.path);
        let mut next = Vec::new();
        let mut there: HashMap<OsString, FileType> = HashMap::new();
        for entry in std::fs::read_dir(&shown).map_err(failed("list", &shown))? {
            let entry = entry.map_err(failed("list", &shown))?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                // Gone since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed("look at", entry.path())(e)),
            };
            there.insert(entry.file_name(), kind);
        }
        let changes = plan.new.len() + plan.stale.len();
        if let Some(dir) = visit.dir {
            for (name, node) in dir.entries() {
                let path = visit.path.join(name.as_os_str());
                let kind = there.remove(name.as_os_str());
                if !matches!(node, Node::Whiteout) && !(self.spare)(&path) {
                    self.compare(visit, path, node, kind, plan, &mut next)?;
                }
            }
        }
        for (name, kind) in there {
            let path = visit.path.join(&name);
            if name.as_bytes().starts_with(AREA.as_bytes()) || (self.spare)(&path) {
                continue;
            }
            if (self.owned)(&path) {
                self.stale(visit, path, kind, plan, &mut next)?;
            } else if kind.is_dir() && self.reaches(&path) {
                next.push(self.enter(visit, path, None)?);
            }
        }
        let wanted = visit.dir.filter(|_| !visit.path.as_os_str().is_empty());
        let closed = visit.mode & 0o300 != 0o300 && plan.new.len() + plan.stale.len() > changes;
        if let Some(dir) = wanted {
            let (path, mode) = (visit.path.clone(), visit.mode);
            let (time, wanted) = (kept(dir.meta()), dir.meta().mode);
            plan.folders.push(Folder { path, time, mode, wanted });
        } else if closed {
            let (path, mode) = (visit.path.clone(), visit.mode);
            plan.folders.push(Folder { path, time: None, mode, wanted: mode });
        }
        Ok(next)
    }

    /// Whether something that may belong to the result is below a folder, or the folder is in
    /// what may hold some.
    fn reaches(&self, path: &Path) -> bool {
        self.put.starts.iter().any(|start| start.starts_with(path) || path.starts_with(start))
    }

    fn enter<'t>(
        &self,
        from: &Visit<'_>,
        path: PathBuf,
        dir: Option<&'t Dir>,
    ) -> Result<Visit<'t>, PlaceError> {
        let (mode, mount) = folder_facts(&self.root.join(&path))?;
        let top = if mount == from.mount { Arc::clone(&from.top) } else { Arc::from(&*path) };
        Ok(Visit { path, dir, top, mount, mode })
    }

    fn compare<'t>(
        &self,
        visit: &Visit<'t>,
        path: PathBuf,
        node: &'t Node,
        kind: Option<FileType>,
        plan: &mut Plan<'t>,
        next: &mut Vec<Visit<'t>>,
    ) -> Result<(), PlaceError> {
        let shown = self.root.join(&path);
        match (node, kind) {
            (Node::Dir(dir), Some(kind)) if kind.is_dir() => {
                next.push(self.enter(visit, path, Some(dir))?);
                return Ok(());
            }
            (Node::File(file), Some(kind)) if kind.is_file() => {
                if let Some(now) = self.is_same(&shown, file) {
                    let (digest, time) = (Some(file.digest), kept(&file.meta));
                    plan.kept.push(Kept { path, digest, time, now });
                    return Ok(());
                }
            }
            (Node::Symlink(link), Some(kind)) if kind.is_symlink() => {
                let target = std::fs::read_link(&shown);
                if target.is_ok_and(|to| to.as_os_str().as_bytes() == &*link.target)
                    && let Ok(meta) = std::fs::symlink_metadata(&shown)
                {
                    let (time, now) = (kept(&link.meta), modified(&meta));
                    plan.kept.push(Kept { path, digest: None, time, now });
                    return Ok(());
                }
            }
            (_, Some(kind)) if kind.is_dir() => {
                // The folder goes with all that is in it, so nothing in it may be spared.
                let removed = self.count(visit, &path)?;
                let Some(removed) = removed else {
                    let what = "it holds what is not the result's, or something is mounted there";
                    return Err(PlaceError::InTheWay { path: shown, what });
                };
                plan.removed += removed;
            }
            _ => {}
        }
        plan.new.push(New { path, node, top: Arc::clone(&visit.top) });
        Ok(())
    }

    /// The time of a file that has the content and mode it should have.
    fn is_same(&self, shown: &Path, file: &File) -> Option<Time> {
        // What cannot be read is not the same, and is replaced.
        let meta = std::fs::symlink_metadata(shown).ok()?;
        let mode = meta.mode() & 0o7777;
        if meta.len() != file.digest.size || mode != mode_of(&file.meta) {
            return None;
        }
        let digest = self.put.stat.digest_file(shown, &meta).ok()?;
        (digest == file.digest).then(|| modified(&meta))
    }

    fn stale<'t>(
        &self,
        visit: &Visit<'_>,
        path: PathBuf,
        kind: FileType,
        plan: &mut Plan<'t>,
        next: &mut Vec<Visit<'t>>,
    ) -> Result<(), PlaceError> {
        let removed = if kind.is_dir() { self.count(visit, &path)? } else { Some(1) };
        match removed {
            Some(removed) => {
                plan.removed += removed;
                plan.stale.push(Stale { path, top: Arc::clone(&visit.top) });
            }
            None => next.push(self.enter(visit, path, None)?),
        }
        Ok(())
    }

    /// How much is in a folder, itself included; `None` when something in it must stay, or it is
    /// mounted.
    fn count(&self, visit: &Visit<'_>, path: &Path) -> Result<Option<u64>, PlaceError> {
        let mut count = 0;
        let mut todo = vec![path.to_path_buf()];
        while let Some(path) = todo.pop() {
            let shown = self.root.join(&path);
            if folder_facts(&shown)?.1 != visit.mount {
                return Ok(None);
            }
            count += 1;
            for entry in std::fs::read_dir(&shown).map_err(failed("list", &shown))? {
                let entry = entry.map_err(failed("list", &shown))?;
                let path = path.join(entry.file_name());
                if (self.spare)(&path) {
                    return Ok(None);
                }
                if entry.file_type().map_err(failed("look at", entry.path()))?.is_dir() {
                    todo.push(path);
                } else {
                    count += 1;
                }
            }
        }
        Ok(Some(count))
    }
}

/// The mode that a file of a tree gets: set-uid for somebody else than was meant helps nobody.
pub(super) fn mode_of(meta: &ashlar_object::Meta) -> u32 {
    if meta.owner() == (0, 0) { meta.mode } else { meta.mode & 0o1777 }
}

/// Adds what a new entry would write.
pub(super) fn count_new(node: &Node, path: &Path, spare: Says<'_>, placed: &mut Placed) {
    match node {
        Node::Whiteout => {}
        Node::Symlink(_) | Node::Fifo(_) => placed.files += 1,
        Node::File(file) => {
            placed.files += 1;
            placed.moved_bytes += file.digest.size;
        }
        Node::Dir(dir) => {
            for (name, node) in dir.entries() {
                let path = path.join(name.as_os_str());
                if !spare(&path) {
                    count_new(node, &path, spare, placed);
                }
            }
        }
    }
}

/// Mode and mount of a folder.
fn folder_facts(path: &Path) -> Result<(u32, Mount), PlaceError> {
    let flags = StatxFlags::MODE | StatxFlags::MNT_ID;
    let found =
        statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags).map_err(failed("look at", path))?;
    let knows = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    let mount = (found.stx_dev_major, found.stx_dev_minor, knows.then_some(found.stx_mnt_id));
    Ok((u32::from(found.stx_mode) & 0o7777, mount))
}
