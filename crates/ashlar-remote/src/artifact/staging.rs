//! New files wait in a hidden folder until all of them are there and verified; then they appear
//! at once where that can be, otherwise one by one in a way that is undone when it fails or when
//! the program is killed.
//!
//! | in the hidden folder | what |
//! |---|---|
//! | `new/` | the files that wait |
//! | `old/<n>` | what the n-th step took away from the destination |
//! | `plan` | the steps, written before the first of them and removed after the last |
//!
//! Whoever opens the destination next and finds a plan undoes it: see [`recover`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ashlar_store::remove_all;
use rustix::fs::{CWD, Gid, RenameFlags, Uid};
use rustix::io::Errno;

use super::destination::{Destination, DestinationError, Existing, beside, failing, inside};
use super::destination::{is_waiting, waits_for};
use super::merge::{self, Step};

/// A hidden folder on the file system of a destination, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    /// Whether the folder of new files can take the place of the destination as a whole.
    whole: bool,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is when the destination is next used.
        let _ = remove_all(&self.path);
    }
}

impl Staging {
    /// Makes the folder: beside the destination if a renaming from there leads into it.
    pub fn make(destination: &Destination) -> Result<Self, DestinationError> {
        let place = &destination.path;
        if let (Some(parent), Some(name)) = (place.parent(), place.file_name())
            && is_same_mount(parent, place)
            && let Ok(path) = make(parent, &beside(name))
        {
            let staging = Self { path, whole: !is_current(place) };
            staging.fill()?;
            return Ok(staging);
        }
        let path = make(place, OsStr::new(inside())).map_err(failing("write to", place))?;
        let staging = Self { path, whole: false };
        staging.fill()?;
        Ok(staging)
    }

    fn fill(&self) -> Result<(), DestinationError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(self.fresh()).map_err(failing("make", self.fresh()))
    }

    /// Where new files are put.
    pub fn fresh(&self) -> PathBuf {
        self.path.join("new")
    }

    /// Lets the new files appear. On an error the destination is as it was.
    pub fn publish(
        self,
        destination: &Destination,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        // Again, because somebody who knows nothing of our lock may have put files there.
        destination.check(existing)?;
        let occupied = !destination.names()?.is_empty();
        if self.whole && (!occupied || existing == Existing::Replace) {
            self.take_place(destination, occupied)
        } else {
            self.one_by_one(destination, existing)
        }
    }

    fn take_place(
        &self,
        destination: &Destination,
        occupied: bool,
    ) -> Result<(), DestinationError> {
        let place = &destination.path;
        let new = self.fresh();
        if destination.is_new() {
            // As a folder that was just made would be.
            let mode = destination.dir.metadata().map_err(failing("look at", place))?.mode();
            set_mode(&new, mode).map_err(failing("set the mode of", &*new))?;
        } else {
            // The folder is somebody's: theirs it stays.
            alike(&new, place).map_err(failing("set the owner of", &*new))?;
        }
        let done = if occupied {
            rustix::fs::renameat_with(CWD, &new, CWD, place, RenameFlags::EXCHANGE)
        } else {
            rustix::fs::rename(&new, place)
        };
        match done {
            Ok(()) => Ok(()),
            // A file system that cannot exchange, or a folder that is in use in a way we do not
            // see.
            Err(Errno::INVAL | Errno::NOSYS | Errno::BUSY | Errno::XDEV) => {
                let existing = if occupied { Existing::Replace } else { Existing::Refuse };
                self.one_by_one(destination, existing)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                destination.check(Existing::Refuse)?;
                Err(failing("fill", place)(Errno::NOTEMPTY))
            }
            Err(e) => Err(failing("fill", place)(e)),
        }
    }

    fn one_by_one(
        &self,
        destination: &Destination,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        let place = &destination.path;
        let steps = match existing {
            Existing::Merge => merge::merging(&self.fresh(), place)?,
            Existing::Refuse | Existing::Replace => {
                merge::replacing(&self.fresh(), destination.names()?)?
            }
        };
        let old = self.path.join("old");
        std::fs::create_dir(&old).map_err(failing("make", &*old))?;
        let plan = self.path.join("plan");
        let written = self.path.join("plan.new");
        std::fs::write(&written, merge::encode(&steps))
            .and_then(|()| std::fs::rename(&written, &plan))
            .map_err(failing("write", &*plan))?;
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = act(&self.path, place, index, step) {
                undo(&self.path, place, &steps);
                remove_all(&plan).map_err(failing("remove", &*plan))?;
                return Err(error);
            }
        }
        // From here on it is done; what is left is litter.
        remove_all(&plan).map_err(failing("remove", &*plan))
    }
}

fn act(staging: &Path, place: &Path, index: usize, step: &Step) -> Result<(), DestinationError> {
    let there = place.join(step.path());
    match step {
        Step::Put { path } | Step::Swap { path } => {
            let new = staging.join("new").join(path);
            if matches!(step, Step::Swap { .. }) {
                let old = staging.join("old").join(index.to_string());
                shift(&there, &old).map_err(failing("replace", &*there))?;
            }
            let result = shift(&new, &there);
            result.map_err(failing("put files at", &*there))
        }
        Step::Remove { .. } => {
            let old = staging.join("old").join(index.to_string());
            shift(&there, &old).map_err(failing("remove", &*there))
        }
        Step::Mode { now, .. } => {
            set_mode(&there, *now).map_err(failing("set the mode of", &*there))
        }
    }
}

/// Takes back what was done of some steps, as far as it can be: the last first.
fn undo(staging: &Path, place: &Path, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate().rev() {
        let there = place.join(step.path());
        let old = staging.join("old").join(index.to_string());
        match step {
            Step::Put { path } | Step::Swap { path } => {
                let new = staging.join("new").join(path);
                // Still waiting: the step was not done.
                if std::fs::symlink_metadata(&new).is_err() {
                    // What somebody removed meanwhile need not be taken back.
                    let _ = shift(&there, &new);
                }
            }
            Step::Remove { .. } => {}
            Step::Mode { was, .. } => {
                // The same.
                let _ = set_mode(&there, *was);
            }
        }
        if std::fs::symlink_metadata(&old).is_ok() {
            // If it cannot go back the folder stays closed to nobody: the file is in `old`.
            let _ = shift(&old, &there);
        }
    }
}

/// Renames. A folder that may not be written to cannot be moved by an ordinary user, because its
/// `..` changes; so it may for a moment.
fn shift(from: &Path, to: &Path) -> io::Result<()> {
    let rename = || rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    let plain = || match std::fs::symlink_metadata(to) {
        Ok(_) => Err(Errno::EXIST),
        Err(_) => rustix::fs::rename(from, to),
    };
    let moved = || match rename() {
        Err(Errno::INVAL | Errno::NOSYS) => plain(),
        other => other,
    };
    match moved() {
        Err(Errno::ACCESS) => {
            let meta = std::fs::symlink_metadata(from)?;
            if !meta.is_dir() || meta.mode() & 0o200 != 0 {
                return Err(Errno::ACCESS.into());
            }
            set_mode(from, meta.mode() | 0o700)?;
            let done = moved();
            set_mode(if done.is_ok() { to } else { from }, meta.mode())?;
            Ok(done?)
        }
        other => Ok(other?),
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))
}

/// Gives a folder the owner and mode of another.
fn alike(path: &Path, like: &Path) -> io::Result<()> {
    let (now, like) = (std::fs::metadata(path)?, std::fs::metadata(like)?);
    if (now.uid(), now.gid()) != (like.uid(), like.gid()) {
        let (uid, gid) = (Uid::from_raw(like.uid()), Gid::from_raw(like.gid()));
        rustix::fs::chown(path, Some(uid), Some(gid))?;
    }
    set_mode(path, like.mode())
}

/// Makes a folder with a name that no other has.
fn make(parent: &Path, prefix: &OsStr) -> io::Result<PathBuf> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).rand_bytes(8);
    builder.permissions(std::fs::Permissions::from_mode(0o700));
    Ok(builder.tempdir_in(parent)?.keep())
}

/// Whether renaming from one folder to the other can do.
fn is_same_mount(one: &Path, other: &Path) -> bool {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let id = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let mask = StatxFlags::from_bits_retain(found.stx_mask);
        mask.contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id)
    };
    let dev = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    match (id(one), id(other)) {
        (Some(one), Some(other)) => one == other,
        // An old kernel.
        _ => dev(one).is_some() && dev(one) == dev(other),
    }
}

/// Whether this process, and so most likely whoever started it, is in a folder, which must not be
/// pulled from under them.
fn is_current(place: &Path) -> bool {
    std::env::current_dir().is_ok_and(|current| current.starts_with(place))
}

/// Undoes and removes what one that was killed has left for a destination, which must be locked.
pub(crate) fn recover(destination: &Destination) -> Result<bool, DestinationError> {
    let place = &destination.path;
    let mut left = Vec::new();
    let mut look = |folder: &Path, ours: &dyn Fn(&OsStr) -> bool| -> Result<(), DestinationError> {
        // A folder above that may not be listed has nothing of ours either: we could not write.
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if ours(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
        }
        Ok(())
    };
    look(place, &is_waiting)?;
    if let (Some(parent), Some(name)) = (place.parent(), place.file_name()) {
        look(parent, &|other| waits_for(other, name))?;
    }
    let found = !left.is_empty();
    for staging in left {
        match std::fs::read(staging.join("plan")) {
            Ok(plan) => {
                undo(&staging, place, &merge::decode(&plan));
                let plan = staging.join("plan");
                remove_all(&plan).map_err(failing("remove", plan))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failing("read", staging.join("plan"))(e)),
        }
        // Litter that cannot be removed does no harm.
        let _ = remove_all(&staging);
    }
    Ok(found)
}

/// A path from bytes.
pub(super) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
