//! Renaming in what was written beside, and going on where a dead process stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{PlaceError, failed};

/// What the names of hidden folders begin with.
pub(super) const AREA: &str = ".ashlar-place.";
const NOTE: &str = "note";
const OTHERS: &str = "others";
const MAGIC: &[u8] = b"ashlar-place-1";

/// One thing to be done. All paths are below the root. Each can be done again when it is not known
/// whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// What is at the path goes away.
    Away { path: PathBuf, old: PathBuf },
    /// What was written comes to its path; what cannot be replaced there goes away first.
    Put { new: PathBuf, path: PathBuf, old: PathBuf },
    /// A folder gets a mode.
    Mode { path: PathBuf, mode: u32 },
}

/// The hidden folders of one placing: one in the root, and one at the beginning of each other
/// mount below it where something is renamed. Removed when dropped, unless they hold a note.
#[derive(Debug)]
pub(super) struct Area {
    /// By the beginning of the mount, all below the root; the empty path is that of the root.
    places: BTreeMap<Arc<Path>, PathBuf>,
    root: PathBuf,
    next: AtomicU64,
    kept: bool,
}

impl Area {
    pub fn make(root: &Path, tops: &BTreeSet<Arc<Path>>) -> Result<Self, PlaceError> {
        let name = serial();
        let places = tops.iter().map(|top| (Arc::clone(top), top.join(&name))).collect();
        let area = Self { places, root: root.to_path_buf(), next: AtomicU64::new(0), kept: false };
        let own = root.join(&name);
        make_dir(&own)?;
        let others: Vec<&[u8]> = (area.places.values())
            .filter(|place| **place != Path::new(&name))
            .map(|place| place.as_os_str().as_bytes())
            .collect();
        if !others.is_empty() {
            let file = own.join(OTHERS);
            std::fs::write(&file, others.join(&0)).map_err(failed("write", &file))?;
            for place in area.places.values().filter(|place| **place != Path::new(&name)) {
                make_dir(&root.join(place))?;
            }
        }
        for place in area.places.values() {
            apart(&root.join(place));
            make_dir(&root.join(place).join("new"))?;
            make_dir(&root.join(place).join("old"))?;
        }
        Ok(area)
    }

    fn place(&self, top: &Path) -> &Path {
        self.places.get(top).map_or(Path::new(AREA), PathBuf::as_path)
    }

    fn own(&self) -> PathBuf {
        self.root.join(self.place(Path::new("")))
    }

    /// Where things for a mount are written.
    pub fn new_in(&self, top: &Path) -> PathBuf {
        self.place(top).join("new")
    }

    /// A name for something that goes away.
    pub fn old(&self, top: &Path) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.place(top).join("old").join(number.to_string())
    }

    /// From here on the work will be finished by whoever comes next, if not by this process.
    pub fn note(&self, ops: &[Op]) -> Result<(), PlaceError> {
        let (file, early) = (self.own().join(NOTE), self.own().join("early"));
        let mut to = std::fs::File::create(&early).map_err(failed("make", &early))?;
        to.write_all(&encode(ops)).map_err(failed("write", &early))?;
        std::fs::rename(&early, &file).map_err(failed("name", &file))
    }

    /// Leaves the note for the next one, because of an error.
    pub fn keep(&self, root: &Path, source: PlaceError) -> PlaceError {
        let (root, area) = (root.to_path_buf(), self.own());
        PlaceError::Unfinished { root, area, source: Box::new(source) }
    }

    /// All is in place.
    pub fn done(mut self) -> Result<(), PlaceError> {
        let note = self.own().join(NOTE);
        std::fs::remove_file(&note).map_err(failed("remove", &note))?;
        self.kept = true;
        remove(&self.root, self.places.values())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if !self.kept && !self.own().join(NOTE).exists() {
            // Nothing more can be done here; whoever places something next tries again.
            let _ = remove(&self.root, self.places.values());
        }
    }
}

fn make_dir(path: &Path) -> Result<(), PlaceError> {
    rustix::fs::mkdir(path, Mode::RWXU).map_err(failed("make", path))
}

/// Where many files were removed a moment ago ext4 looks at each of their inodes again for every
/// new file, and passes over it: new files are slow there, and what is replaced was often removed a
/// moment ago. With this flag folders in this one, and what is written in them, come into another
/// part of the disk. Other file systems refuse it.
fn apart(folder: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // It only saves time.
    let _ = rustix::fs::open(folder, flags, Mode::empty()).and_then(|folder| {
        let flags = rustix::fs::ioctl_getflags(&folder)?;
        rustix::fs::ioctl_setflags(&folder, flags | IFlags::TOPDIR)
    });
}

/// The root's own last: it says where the others are.
fn remove<'a>(
    root: &Path,
    places: impl DoubleEndedIterator<Item = &'a PathBuf>,
) -> Result<(), PlaceError> {
    for place in places.rev() {
        let path = root.join(place);
        ashlar_store::remove_all(&path).map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// Does what is to be done, in order. `again` when it may have been done in part before, and
/// people may have changed something since.
pub(super) fn run(root: &Path, ops: &[Op], again: bool) -> Result<(), PlaceError> {
    for op in ops {
        let path = match op {
            Op::Away { path, .. } | Op::Put { path, .. } | Op::Mode { path, .. } => path,
        };
        if again && !leads_here(root, path)? {
            continue;
        }
        let shown = root.join(path);
        match op {
            Op::Away { old, .. } => {
                let old = root.join(old);
                if !again || old.symlink_metadata().is_err() {
                    match std::fs::rename(&shown, &old) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => {
                            return Err(failed("remove", shown)(e));
                        }
                        _ => {}
                    }
                }
            }
            Op::Put { new, old, .. } => bring(&root.join(new), &shown, &root.join(old), again)?,
            Op::Mode { mode, .. } => match rustix::fs::chmod(&shown, Mode::from_raw_mode(*mode)) {
                Err(Errno::NOENT) if again => {}
                other => other.map_err(failed("set the mode of", shown))?,
            },
        }
    }
    Ok(())
}

fn bring(new: &Path, path: &Path, old: &Path, again: bool) -> Result<(), PlaceError> {
    if again && new.symlink_metadata().is_err() {
        return Ok(());
    }
    match rustix::fs::rename(new, path) {
        Ok(()) => return Ok(()),
        // A folder that is not empty, or one where there is none and the other way round.
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR) => {
            let mut aside = old.to_path_buf();
            while aside.symlink_metadata().is_ok() {
                aside.as_mut_os_string().push("+");
            }
            std::fs::rename(path, &aside).map_err(failed("replace", path))?;
        }
        Err(Errno::NOENT) if again => {
            let parent = path.parent().unwrap_or(path);
            std::fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        Err(e) => return Err(failed("bring into place", path)(e)),
    }
    std::fs::rename(new, path).map_err(failed("bring into place", path))
}

/// Whether no link is on the way to a path. What is missing on the way can be made.
fn leads_here(root: &Path, path: &Path) -> Result<bool, PlaceError> {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let shown = root.join(above);
        match shown.symlink_metadata() {
            Ok(meta) if !meta.is_dir() => return Ok(false),
            Ok(_) => {}
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(e) => return Err(failed("look at", shown)(e)),
        }
    }
    Ok(true)
}

/// Finishes what dead processes left in a root. The root is locked, so all are dead.
pub(super) fn recover(root: &Path) -> Result<(), PlaceError> {
    for entry in std::fs::read_dir(root).map_err(failed("list", root))? {
        let entry = entry.map_err(failed("list", root))?;
        if !entry.file_name().as_bytes().starts_with(AREA.as_bytes()) {
            continue;
        }
        let own = entry.path();
        let mut places = vec![PathBuf::from(entry.file_name())];
        if let Some(bytes) = read(&own.join(OTHERS))? {
            let listed =
                bytes.split(|byte| *byte == 0).map(|path| Path::new(OsStr::from_bytes(path)));
            for place in listed.filter(|place| is_below(place)) {
                let hidden = place.file_name().is_some_and(|name| name == entry.file_name());
                if hidden && leads_here(root, place)? {
                    places.push(place.to_path_buf());
                }
            }
        }
        let note = own.join(NOTE);
        if let Some(ops) = read(&note)?.and_then(|bytes| decode(&bytes)) {
            run(root, &ops, true).map_err(|source| PlaceError::Unfinished {
                root: root.to_path_buf(),
                area: own.clone(),
                source: Box::new(source),
            })?;
            std::fs::remove_file(&note).map_err(failed("remove", note))?;
        }
        remove(root, places.iter())?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PlaceError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(failed("read", path)(e)),
    }
}

fn is_below(path: &Path) -> bool {
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    !path.as_os_str().is_empty() && path.components().all(plain)
}

/// Fields that each end with a zero, which no path has in it.
fn encode(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ops.len() * 128);
    let mut field = |field: &[u8]| {
        bytes.extend_from_slice(field);
        bytes.push(0);
    };
    field(MAGIC);
    for op in ops {
        match op {
            Op::Away { path, old } => {
                field(b"away");
                field(path.as_os_str().as_bytes());
                field(old.as_os_str().as_bytes());
            }
            Op::Put { new, path, old } => {
                field(b"put");
                field(new.as_os_str().as_bytes());
                field(path.as_os_str().as_bytes());
                field(old.as_os_str().as_bytes());
            }
            Op::Mode { path, mode } => {
                field(b"mode");
                field(path.as_os_str().as_bytes());
                field(format!("{mode:o}").as_bytes());
            }
        }
    }
    field(b"end");
    bytes
}

/// `None` for what is no note, or not all of one, or leads out of the root.
fn decode(bytes: &[u8]) -> Option<Vec<Op>> {
    let mut fields = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
    if fields.next()? != MAGIC {
        return None;
    }
    let mut ops = Vec::new();
    loop {
        let kind = fields.next()?;
        let mut path = || {
            let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
            is_below(&path).then_some(path)
        };
        match kind {
            b"end" => return fields.next().is_none().then_some(ops),
            b"away" => ops.push(Op::Away { path: path()?, old: path()? }),
            b"put" => ops.push(Op::Put { new: path()?, path: path()?, old: path()? }),
            b"mode" => {
                let path = path()?;
                let mode = std::str::from_utf8(fields.next()?).ok()?;
                ops.push(Op::Mode { path, mode: u32::from_str_radix(mode, 8).ok()? & 0o7777 });
            }
            _ => return None,
        }
    }
}

/// Something that no other hidden folder is named by: numbers of processes repeat between
/// containers that share a folder.
fn serial() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{AREA}{}.{moment:x}.{number}", std::process::id())
}
