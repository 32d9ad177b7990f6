//! New files wait in a hidden folder until all of them are there and verified; then they appear
//! at once where that can be, otherwise one by one in a way that is undone when it fails or when
//! the program is killed.
//!
//! | in the hidden folder | what |
//! |---|---|
//! | `mark` | what makes it ours, see `leftover.rs` |
//! | `new/` | the files that wait |
//! | `old/<n>` | what the n-th step took away from the destination |
//! | `plan` | the steps, written before the first of them and removed after the last |
//!
//! Whoever opens the destination next and finds a plan undoes it: see [`recover`].

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ashlar_store::remove_all;
use rustix::fs::{CWD, Gid, RenameFlags, Uid};
use rustix::io::Errno;

use super::destination::{Destination, DestinationError, Existing, beside, failing, inside};
use super::destination::{waits_for, waits_inside};
use super::steps::{Ground, Undone, act, undo};
use super::{leftover, merge};

/// A hidden folder on the file system of a destination, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    /// Whether the folder of new files can take the place of the destination as a whole.
    whole: bool,
    /// Whether it has what was taken away from the destination, and so stays.
    keep: bool,
    /// Its name, where it is inside the destination.
    inside: Option<OsString>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // What cannot be removed now is when the destination is next used.
        let _ = remove_all(&self.path);
    }
}

impl Staging {
    /// Makes the folder: beside the destination, or inside of one that is a mount of its own or
    /// in a folder that we may not write to.
    pub fn make(destination: &Destination) -> Result<Self, DestinationError> {
        let place = &destination.path;
        if let (Some(parent), Some(name)) = (place.parent(), place.file_name())
            && is_same_mount(parent, place)
            && let Ok(path) = make(parent, &beside(name))
        {
            let staging = Self { path, whole: !is_current(place), keep: false, inside: None };
            staging.fill()?;
            return Ok(staging);
        }
        let path = make(place, OsStr::new(inside())).map_err(failing("write to", place))?;
        let inside = path.file_name().map(OsStr::to_owned);
        let staging = Self { path, whole: false, keep: false, inside };
        staging.fill()?;
        Ok(staging)
    }

    fn inside(&self) -> Option<&OsStr> {
        self.inside.as_deref()
    }

    fn fill(&self) -> Result<(), DestinationError> {
        leftover::mark(&self.path).map_err(failing("write to", &*self.path))?;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(self.fresh()).map_err(failing("make", self.fresh()))
    }

    /// Where new files are put.
    pub fn fresh(&self) -> PathBuf {
        self.path.join("new")
    }

    /// Lets the new files appear. On an error the destination is as it was.
    pub fn publish(
        mut self,
        destination: &Destination,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        // Again, because somebody who knows nothing of our lock may have put files there.
        destination.check(existing, self.inside())?;
        let occupied = !destination.names(self.inside())?.is_empty();
        if self.whole && (!occupied || existing == Existing::Replace) {
            self.take_place(destination, occupied)
        } else {
            self.one_by_one(destination, existing)
        }
    }

    fn take_place(
        &mut self,
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
                destination.check(Existing::Refuse, None)?;
                Err(failing("fill", place)(Errno::NOTEMPTY))
            }
            Err(e) => Err(failing("fill", place)(e)),
        }
    }

    fn one_by_one(
        &mut self,
        destination: &Destination,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        let place = &destination.path;
        let steps = match existing {
            Existing::Merge => merge::merging(&self.fresh(), place)?,
            Existing::Refuse | Existing::Replace => {
                merge::replacing(&self.fresh(), destination.names(self.inside())?)?
            }
        };
        let old = self.path.join("old");
        std::fs::create_dir(&old).map_err(failing("make", &*old))?;
        let plan = self.path.join("plan");
        let written = self.path.join("plan.new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options
            .open(&written)
            .and_then(|mut file| {
                file.write_all(&merge::encode(&steps))?;
                file.set_permissions(std::fs::Permissions::from_mode(0o600))
            })
            .and_then(|()| std::fs::rename(&written, &plan))
            .map_err(failing("write", &*plan))?;
        let dir = leftover::open(&self.path).map_err(failing("open", &*self.path))?;
        let ground = Ground { staging: dir.as_fd(), place: destination.dir.as_fd(), shown: place };
        // Whatever happens meanwhile, what is taken away is not removed with the folder.
        self.keep = true;
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = act(ground, index, step) {
                stuck(&undo(ground, &steps), place, &self.path)?;
                remove_all(&plan).map_err(failing("remove", &*plan))?;
                self.keep = false;
                return Err(error);
            }
        }
        // From here on it is done; what is left is litter.
        remove_all(&plan).map_err(failing("remove", &*plan))?;
        self.keep = false;
        Ok(())
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

/// What came of what was left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Whether anything was.
    pub found: bool,
    /// What somebody has changed since, and so stays.
    pub left: Vec<PathBuf>,
}

/// Undoes and removes what one that was killed has left for a destination, which must be locked.
/// What is not ours is an error before anything is touched.
pub(crate) fn recover(destination: &Destination) -> Result<Recovered, DestinationError> {
    let place = &destination.path;
    let mut left = Vec::new();
    let mut look = |folder: &Path, ours: &dyn Fn(&OsStr) -> bool| -> Result<(), DestinationError> {
        // A folder above that may not be listed has nothing of ours either: we could not write.
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if ours(&entry.file_name()) {
                left.extend(leftover::look(folder, &entry.file_name())?);
            }
        }
        Ok(())
    };
    look(place, &waits_inside)?;
    if let (Some(parent), Some(name)) = (place.parent(), place.file_name()) {
        look(parent, &|other| waits_for(other, name))?;
    }
    let mut recovered = Recovered { found: !left.is_empty(), left: Vec::new() };
    for one in left {
        if let Some(plan) = &one.plan {
            let Some(steps) = merge::decode(plan) else {
                let why = "its plan makes no sense";
                return Err(DestinationError::Leftover { path: one.path, why });
            };
            let ground =
                Ground { staging: one.dir.as_fd(), place: destination.dir.as_fd(), shown: place };
            let undone = undo(ground, &steps);
            recovered.left.extend(undone.left.iter().map(|path| path.under(place)));
            stuck(&undone, place, &one.path)?;
            let plan = one.path.join("plan");
            remove_all(&plan).map_err(failing("remove", plan))?;
        }
        // Litter that cannot be removed does no harm.
        let _ = remove_all(&one.path);
    }
    Ok(recovered)
}

/// An error when something could not go back.
fn stuck(undone: &Undone, place: &Path, kept: &Path) -> Result<(), DestinationError> {
    let Some(first) = undone.stuck.first() else { return Ok(()) };
    Err(DestinationError::Stuck {
        path: place.to_path_buf(),
        first: first.under(Path::new("")),
        count: undone.stuck.len(),
        kept: kept.to_path_buf(),
    })
}

/// A path from bytes.
pub(super) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
