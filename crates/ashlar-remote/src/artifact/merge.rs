//! What has to be done to put files among others: pure planning, and its written form.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ashlar_object::{Name, RelPath};

use super::destination::{DestinationError, failing};
use super::steps::fingerprint;

/// One step; paths are relative to the destination. A mark tells what was put there from what
/// somebody made of it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put what is new where nothing is.
    Put { path: RelPath, mark: String },
    /// Put what is new where something else is, which is taken away.
    Swap { path: RelPath, mark: String },
    /// Take away what is there.
    Remove { path: RelPath },
    /// Give a folder that stays the mode that it has in what is new.
    Mode { path: RelPath, was: u32, now: u32 },
}

impl Step {
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Put { path, .. }
            | Self::Swap { path, .. }
            | Self::Remove { path }
            | Self::Mode { path, .. } => path,
        }
    }
}

/// The steps to have only what is new. `old` are the names that are there.
pub(super) fn replacing(new: &Path, old: Vec<OsString>) -> Result<Vec<Step>, DestinationError> {
    let mut steps = Vec::new();
    for name in old {
        steps.push(Step::Remove { path: relative(Path::new(&name))? });
    }
    for name in names(new)? {
        let path = relative(Path::new(&name))?;
        let mark = mark(&new.join(&name))?;
        steps.push(Step::Put { path, mark });
    }
    Ok(steps)
}

fn relative(path: &Path) -> Result<RelPath, DestinationError> {
    let parsed = RelPath::parse(path.as_os_str().as_bytes());
    parsed.map_err(|e| failing("name", path)(std::io::Error::other(e)))
}

fn mark(path: &Path) -> Result<String, DestinationError> {
    let found = || {
        let name = path.file_name().and_then(|name| Name::new(name.as_bytes()).ok());
        let (Some(name), Some(above)) = (name, path.parent()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        fingerprint(std::fs::File::open(above)?.as_fd(), &name)
    };
    found().map_err(failing("look at", path))
}

/// The steps to have what is new among what is there: files take the place of files, folders
/// merge. A folder never takes the place of a file or link, nor a file that of a folder.
pub(super) fn merging(new: &Path, place: &Path) -> Result<Vec<Step>, DestinationError> {
    let mut steps = Vec::new();
    let mut conflicts = Vec::new();
    below(new, place, Path::new(""), &mut steps, &mut conflicts)?;
    match conflicts.first() {
        None => Ok(steps),
        Some(first) => Err(DestinationError::Conflict {
            path: place.to_path_buf(),
            first: first.clone(),
            count: conflicts.len(),
        }),
    }
}

fn below(
    new: &Path,
    place: &Path,
    at: &Path,
    steps: &mut Vec<Step>,
    conflicts: &mut Vec<String>,
) -> Result<(), DestinationError> {
    let mut modes = Vec::new();
    for name in names(&new.join(at))? {
        let path = at.join(&name);
        let (from, to) = (new.join(&path), place.join(&path));
        let from = std::fs::symlink_metadata(&from).map_err(failing("look at", from))?;
        let there = match std::fs::symlink_metadata(&to) {
            Ok(there) => there,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                steps.push(Step::Put { path: relative(&path)?, mark: mark(&new.join(&path))? });
                continue;
            }
            Err(e) => return Err(failing("look at", to)(e)),
        };
        match (from.is_dir(), there.is_dir()) {
            (true, true) => {
                below(new, place, &path, steps, conflicts)?;
                let (was, now) = (there.mode() & 0o7777, from.mode() & 0o7777);
                if was != now {
                    modes.push(Step::Mode { path: relative(&path)?, was, now });
                }
            }
            (false, false) => {
                steps.push(Step::Swap { path: relative(&path)?, mark: mark(&new.join(&path))? });
            }
            (true, false) => {
                let what = if there.is_symlink() { "a link" } else { "a file" };
                conflicts.push(format!("{} is {what} there and a folder here", path.display()));
            }
            (false, true) => {
                let what = if from.is_symlink() { "a link" } else { "a file" };
                conflicts.push(format!("{} is a folder there and {what} here", path.display()));
            }
        }
    }
    // Last, because a folder may become closed to us.
    steps.append(&mut modes);
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<OsString>, DestinationError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failing("list", folder))? {
        names.push(entry.map_err(failing("list", folder))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// A letter, the mark or modes, the path and a NUL for each step: paths have no NUL.
pub(super) fn encode(steps: &[Step]) -> Vec<u8> {
    let mut out = Vec::new();
    for step in steps {
        let head = match step {
            Step::Put { mark, .. } => format!("p {mark} "),
            Step::Swap { mark, .. } => format!("s {mark} "),
            Step::Remove { .. } => "r ".to_owned(),
            Step::Mode { was, now, .. } => format!("m {was} {now} "),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&step.path().to_bytes());
        out.push(0);
    }
    out
}

/// What was written. `None` when any of it makes no sense, as a path that leads elsewhere.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Step>> {
    let step = |record: &[u8]| {
        let (kind, rest) = record.split_at_checked(2)?;
        let path = |bytes: &[u8]| RelPath::parse(bytes).ok().filter(|path| !path.is_root());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let marked = || {
            let at = rest.iter().position(|byte| *byte == b' ')?;
            Some((path(&rest[at + 1..])?, text(&rest[..at])?))
        };
        match kind {
            b"p " => marked().map(|(path, mark)| Step::Put { path, mark }),
            b"s " => marked().map(|(path, mark)| Step::Swap { path, mark }),
            b"r " => Some(Step::Remove { path: path(rest)? }),
            b"m " => {
                let mut parts = rest.splitn(3, |byte| *byte == b' ');
                let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u32>().ok();
                let (was, now) = (number()?, number()?);
                Some(Step::Mode { path: path(parts.next()?)?, was, now })
            }
            _ => None,
        }
    };
    let records = bytes.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    records.map(step).collect()
}
