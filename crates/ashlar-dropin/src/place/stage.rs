//! Writing beside what will be renamed in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ashlar_build::{Apart, failed_at};
use ashlar_object::{Digest, Dir, Node};
use ashlar_store::{Buffer, Found, Store, Unpoured, in_parallel, pour};
use rustix::fs::{AtFlags, CWD, FileType, Mode};

use super::clock::{Moments, kept};
use super::finish::{Area, Op};
use super::found::{New, Plan, mode_of};
use super::{Bring, PlaceError, Put, Says, failed, stamps};

/// Files from which on each is a piece of work of its own.
const LARGE: u64 = 4 << 20;

/// What is ready to be renamed in.
pub(super) struct Staged {
    pub ops: Vec<Op>,
    pub files: u64,
    pub bytes: u64,
    /// Files by their later paths, with their stat data if renaming does not change them.
    pub written: Vec<(PathBuf, Option<Metadata>, Digest)>,
}

struct Leaf<'t> {
    node: &'t Node,
    /// Below the root.
    at: PathBuf,
    later: PathBuf,
    /// Whether it is renamed itself, and not a folder that it is in.
    alone: bool,
}

/// A folder to be made: where below the root, which it is, whether it is renamed itself.
type Folder<'t> = (PathBuf, &'t Dir, bool);

struct Draft<'a, 't> {
    area: &'a Area,
    last: &'a [PathBuf],
    spare: Says<'a>,
    /// Parents first.
    dirs: Vec<Folder<'t>>,
    leaves: Vec<Leaf<'t>>,
    ops: Vec<Op>,
    /// What comes into place at the end.
    late: Vec<(usize, Op)>,
    /// By folder where something new belongs, the folder where it is written.
    groups: HashMap<PathBuf, PathBuf>,
}

/// Writes everything new.
pub(super) fn stage<'t>(
    put: &Put<'_>,
    far: Option<(&Found, Bring<'_>)>,
    root: &Path,
    area: &Area,
    plan: &Plan<'t>,
    moments: &Moments,
    spare: Says<'_>,
) -> Result<Staged, PlaceError> {
    let mut draft = Draft {
        area,
        last: put.last,
        spare,
        dirs: Vec::new(),
        leaves: Vec::new(),
        ops: Vec::new(),
        late: Vec::new(),
        groups: HashMap::new(),
    };
    for folder in plan.folders.iter().filter(|folder| folder.mode & 0o300 != 0o300) {
        draft.ops.push(Op::Mode { path: folder.path.clone(), mode: folder.mode | 0o700 });
    }
    for stale in &plan.stale {
        let old = area.old(&stale.top);
        draft.ops.push(Op::Away { path: stale.path.clone(), old });
    }
    for new in &plan.new {
        draft.add(root, new)?;
    }
    draft.late.sort_by_key(|(number, _)| *number);
    let mut ops = draft.ops;
    ops.extend(draft.late.into_iter().map(|(_, op)| op));
    let levels = levels(&draft.dirs);
    for level in &levels {
        let make = |(): &mut (), (path, ..): &&Folder<'t>| {
            let path = root.join(path);
            rustix::fs::mkdir(&path, Mode::RWXU).map_err(failed("make", &path))
        };
        in_parallel(level, || (), make)?;
    }
    let writer = Writer { put, root, moments };
    let lacking = match far {
        Some(_) => lacking(put, &draft.leaves)?,
        None => HashSet::new(),
    };
    let is_far =
        |leaf: &&Leaf<'_>| matches!(leaf.node, Node::File(file) if lacking.contains(&file.digest));
    let (away, near): (Vec<_>, Vec<_>) = draft.leaves.iter().partition(is_far);
    let mut parts = match far {
        Some((found, bring)) if !away.is_empty() => {
            let spool = root.join(area.new_in(Path::new("")));
            writer.arrive(found, bring, lacking, &away, &spool)?
        }
        _ => Vec::new(),
    };
    parts.extend(in_parallel(&pieces(&near), Part::new, |part, leaves| {
        leaves.iter().try_for_each(|leaf| writer.write(leaf, part))
    })?);
    // Children before parents, so that a folder is closed and dated after it was filled. One that
    // is renamed itself and would be closed to us is closed after that.
    for level in levels.iter().rev() {
        in_parallel(level, || (), |(), (path, dir, alone)| writer.close(path, dir, *alone))?;
    }
    for folder in plan.folders.iter().rev() {
        if folder.mode & 0o300 != 0o300 || folder.mode != folder.wanted {
            ops.push(Op::Mode { path: folder.path.clone(), mode: folder.wanted });
        }
    }
    for new in &plan.new {
        if let Node::Dir(dir) = new.node
            && dir.meta().mode & 0o300 != 0o300
        {
            ops.push(Op::Mode { path: new.path.clone(), mode: mode_of(dir.meta()) });
        }
    }
    let mut staged =
        Staged { ops, files: draft.leaves.len() as u64, bytes: 0, written: Vec::new() };
    for part in parts {
        staged.bytes += part.bytes;
        staged.written.extend(part.written);
    }
    Ok(staged)
}

impl<'t> Draft<'_, 't> {
    /// Something that is renamed by itself.
    fn add(&mut self, root: &Path, new: &New<'t>) -> Result<(), PlaceError> {
        let parent = new.path.parent().unwrap_or(Path::new(""));
        let group = match self.groups.get(parent) {
            Some(group) => group.clone(),
            None => {
                let group = self.area.new_in(&new.top).join(self.groups.len().to_string());
                let shown = root.join(&group);
                rustix::fs::mkdir(&shown, Mode::RWXU).map_err(failed("make", &shown))?;
                self.groups.insert(parent.to_path_buf(), group.clone());
                group
            }
        };
        let at = group.join((self.ops.len() + self.late.len()).to_string());
        let old = self.area.old(&new.top);
        let op = Op::Put { new: at.clone(), path: new.path.clone(), old };
        match self.last.iter().position(|last| *last == new.path) {
            Some(number) => self.late.push((number, op)),
            None => self.ops.push(op),
        }
        self.list(root, new.node, at, new.path.clone(), &new.top, true)
    }

    fn list(
        &mut self,
        root: &Path,
        node: &'t Node,
        at: PathBuf,
        later: PathBuf,
        top: &std::sync::Arc<Path>,
        alone: bool,
    ) -> Result<(), PlaceError> {
        let Node::Dir(dir) = node else {
            self.leaves.push(Leaf { node, at, later, alone });
            return Ok(());
        };
        self.dirs.push((at.clone(), dir, alone));
        for (name, node) in dir.entries() {
            let path = later.join(name.as_os_str());
            if matches!(node, Node::Whiteout) || (self.spare)(&path) {
                continue;
            }
            if self.last.contains(&path) {
                self.add(root, &New { path, node, top: top.clone() })?;
            } else {
                self.list(root, node, at.join(name.as_os_str()), path, top, false)?;
            }
        }
        Ok(())
    }
}

/// Folders by how deep they lie, so that those of one level can be made at once.
fn levels<'a, 't>(dirs: &'a [Folder<'t>]) -> Vec<Vec<&'a Folder<'t>>> {
    let mut levels: BTreeMap<usize, Vec<&Folder<'t>>> = BTreeMap::new();
    for dir in dirs {
        levels.entry(dir.0.components().count()).or_default().push(dir);
    }
    levels.into_values().collect()
}

/// Runs of leaves: large files first and each alone, so that no thread is left with one at the
/// end; then neighbours, and far from what the other threads have, because the kernel makes one
/// entry of a folder at a time.
fn pieces<'a, 't>(leaves: &[&'a Leaf<'t>]) -> Vec<Vec<&'a Leaf<'t>>> {
    let size = |leaf: &Leaf<'_>| match leaf.node {
        Node::File(file) => file.digest.size,
        _ => 0,
    };
    let (mut large, small): (Vec<&Leaf<'t>>, Vec<&Leaf<'t>>) =
        leaves.iter().copied().partition(|leaf| size(leaf) >= LARGE);
    large.sort_by_key(|leaf| std::cmp::Reverse(size(leaf)));
    let mut all: Vec<Vec<&Leaf<'t>>> = large.into_iter().map(|leaf| vec![leaf]).collect();
    let runs: Vec<&[&Leaf<'t>]> = small.chunks(64).collect();
    let (first, second) = runs.split_at(runs.len().div_ceil(2));
    for (number, run) in first.iter().enumerate() {
        all.push(run.to_vec());
        all.extend(second.get(number).map(|run| run.to_vec()));
    }
    all
}

/// The contents of leaves that the store does not have.
fn lacking(put: &Put<'_>, leaves: &[Leaf<'_>]) -> Result<HashSet<Digest>, PlaceError> {
    let all: HashSet<Digest> = (leaves.iter())
        .filter_map(|leaf| match leaf.node {
            Node::File(file) => Some(file.digest),
            _ => None,
        })
        .collect();
    let all: Vec<Digest> = all.into_iter().collect();
    Ok(put.store.missing(&all)?.into_iter().collect())
}

/// What one thread keeps for itself.
struct Part {
    buffer: Buffer,
    bytes: u64,
    written: Vec<(PathBuf, Option<Metadata>, Digest)>,
}

impl Part {
    fn new() -> Self {
        Self { buffer: Buffer::new(), bytes: 0, written: Vec::new() }
    }
}

struct Writer<'a> {
    put: &'a Put<'a>,
    root: &'a Path,
    moments: &'a Moments,
}

impl Writer<'_> {
    fn write(&self, leaf: &Leaf<'_>, part: &mut Part) -> Result<(), PlaceError> {
        let path = self.root.join(&leaf.at);
        match leaf.node {
            Node::File(file) => {
                let mut from = match file.digest == Digest::EMPTY {
                    true => None,
                    false => Some(
                        self.put
                            .store
                            .open(&file.digest)?
                            .ok_or(PlaceError::Missing(file.digest))?,
                    ),
                };
                self.file(leaf, file, part, |to, buffer| match &mut from {
                    Some(from) => self.copy(&file.digest, from, to, &path, buffer),
                    None => Ok(()),
                })?;
            }
            Node::Symlink(link) => {
                let made = || {
                    rustix::fs::symlinkat(&*link.target, CWD, &path)?;
                    match self.moments.of(kept(&link.meta)) {
                        Some(time) => {
                            let flags = AtFlags::SYMLINK_NOFOLLOW;
                            rustix::fs::utimensat(CWD, &path, &stamps(Some(time)), flags)
                        }
                        None => Ok(()),
                    }
                };
                made().map_err(failed("make the link", &path))?;
            }
            Node::Fifo(meta) => {
                let mode = Mode::from_raw_mode(mode_of(meta));
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .and_then(|()| rustix::fs::chmodat(CWD, &path, mode, AtFlags::empty()))
                    .map_err(failed("make the FIFO", &path))?;
            }
            Node::Dir(_) | Node::Whiteout => {}
        }
        Ok(())
    }

    /// Makes a file, lets it be filled, and gives it its mode and time.
    fn file(
        &self,
        leaf: &Leaf<'_>,
        of: &ashlar_object::File,
        part: &mut Part,
        fill: impl FnOnce(&mut File, &mut Buffer) -> Result<(), PlaceError>,
    ) -> Result<File, PlaceError> {
        let (path, mode) = (self.root.join(&leaf.at), mode_of(&of.meta));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode & 0o777)
            .open(&path)
            .map_err(failed("make", &path))?;
        fill(&mut file, &mut part.buffer)?;
        let done = || {
            if let Some(time) = self.moments.of(kept(&of.meta)) {
                rustix::fs::futimens(&file, &stamps(Some(time)))?;
            }
            let mut meta = file.metadata()?;
            // After the last write, which takes set-uid bits.
            if meta.mode() & 0o7777 != mode {
                file.set_permissions(std::fs::Permissions::from_mode(mode))?;
                meta = file.metadata()?;
            }
            Ok::<_, io::Error>(meta)
        };
        let meta = done().map_err(failed("set the mode of", &path))?;
        part.bytes += of.digest.size;
        let meta = (!leaf.alone).then_some(meta);
        part.written.push((self.root.join(&leaf.later), meta, of.digest));
        Ok(file)
    }

    /// Copies a blob, which is compared with its digest as it is read.
    fn copy(
        &self,
        digest: &Digest,
        from: &mut dyn Read,
        to: &File,
        path: &Path,
        buffer: &mut Buffer,
    ) -> Result<(), PlaceError> {
        match pour(from, to, digest.size, buffer) {
            Ok(_) => Ok(()),
            Err(Unpoured::Write(e)) => Err(failed("write", path)(e)),
            // The store has put it aside.
            Err(Unpoured::Read(e)) if e.kind() == io::ErrorKind::InvalidData => {
                Err(PlaceError::Missing(*digest))
            }
            Err(Unpoured::Read(source)) => {
                let path = self.put.store.path().to_path_buf();
                Err(PlaceError::Io { doing: "read from", path, source })
            }
        }
    }

    /// Lets contents come from far, each right into the files that have it.
    fn arrive(
        &self,
        found: &Found,
        bring: Bring<'_>,
        lacking: HashSet<Digest>,
        leaves: &[&Leaf<'_>],
        spool: &Path,
    ) -> Result<Vec<Part>, PlaceError> {
        let mut files: HashMap<Digest, Vec<(&Leaf<'_>, &ashlar_object::File)>> = HashMap::new();
        for leaf in leaves {
            if let Node::File(file) = leaf.node {
                files.entry(file.digest).or_default().push((leaf, file));
            }
        }
        // Whoever brings has threads of its own.
        let parts: Mutex<Vec<Part>> = Mutex::default();
        let land = |digest: &Digest, from: &mut dyn Read| {
            let free = parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut part = free.unwrap_or_else(Part::new);
            let of = files.get(digest).map(Vec::as_slice).unwrap_or_default();
            let written = part.written.len();
            let landed = self.spread(digest, of, from, &mut part);
            if landed.is_err() {
                part.written.truncate(written);
                for (leaf, _) in of {
                    // It may come once more; if not, everything here is removed.
                    let _ = std::fs::remove_file(self.root.join(&leaf.at));
                }
            }
            parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
            landed.map_err(|error| match error {
                PlaceError::Io { doing, path, source } => failed_at(doing, path, source),
                PlaceError::Store(error) => error,
                other => failed_at("write", self.root.to_path_buf(), io::Error::other(other)),
            })
        };
        let one = std::slice::from_ref(found);
        let apart = Apart::new(self.put.store, one, lacking, &land, spool);
        if !bring(&apart)? {
            return Err(PlaceError::Missing(found.result.outputs));
        }
        if let Some(digest) = apart.lacks() {
            return Err(PlaceError::Missing(digest));
        }
        drop(apart);
        Ok(parts.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a content that comes once into all files that have it.
    fn spread(
        &self,
        digest: &Digest,
        of: &[(&Leaf<'_>, &ashlar_object::File)],
        from: &mut dyn Read,
        part: &mut Part,
    ) -> Result<(), PlaceError> {
        let Some(((first, file), others)) = of.split_first() else { return Ok(()) };
        let at = self.root.join(&first.at);
        let mut from =
            self.file(first, file, part, |to, buffer| self.copy(digest, from, to, &at, buffer))?;
        for (leaf, file) in others {
            from.rewind().map_err(failed("read", &at))?;
            let to_path = self.root.join(&leaf.at);
            self.file(leaf, file, part, |to, _| {
                io::copy(&mut from, to).map(drop).map_err(failed("write", &to_path))
            })?;
        }
        Ok(())
    }

    /// Gives a folder the mode and time it has in the tree.
    fn close(&self, at: &Path, dir: &Dir, alone: bool) -> Result<(), PlaceError> {
        let path = self.root.join(at);
        let mode = mode_of(dir.meta()) | if alone { 0o700 } else { 0 };
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).map_err(failed("open up", &path))?;
        match self.moments.of(kept(dir.meta())) {
            Some(time) => super::set_time(&path, Some(time)),
            None => Ok(()),
        }
    }
}
