//! A kept tree put over what is in a folder, whole or not at all.
//!
//! Everything new is written beside first, in a hidden folder on the same file system
//! (`.ashlar-place.<serial>` in the root), and then renamed in. As long as nothing was renamed,
//! nothing has changed. From then on a note in that folder says what is left to do: whoever places
//! something in the same root next finishes it first, so a process that was killed leaves nothing
//! half done for good. Hidden folders without a note are left-overs and are removed.
//!
//! Whoever places holds a lock on the root (`flock`, which ends with its process), so two at once
//! come one after the other.
//!
//! # Times
//!
//! With [`Times::Fresh`] everything placed has the time of now, as if a command had just made it.
//!
//! With [`Times::Ordered`] the distinct times that were kept are ranked, and each rank gets a
//! moment after the beginning of the placing, in the same order: every file of the tree is newer
//! than every file that was there before, which of two is the older one stays as it was kept, equal
//! stays equal, and when the placing is over no moment lies in the future. When all of the tree is
//! in place already with its order, and newer than the files it was made from, times are left
//! alone.

mod clock;
mod finish;
mod found;
mod stage;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Time, Tree};
use ashlar_store::{Found, LocalStore, StatCache, Store, StoreError, in_parallel};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;

use clock::Moments;
use finish::Area;
use found::{Folder, Kept, Plan};

/// Which times files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Now.
    Fresh,
    /// In the order in which they were kept, all newer than what was there before.
    Ordered {
        /// The newest time of the files that the tree was made from, if that is known: what is in
        /// place and newer keeps its times.
        sources: Option<Time>,
    },
}

/// Brings the part of a result that a store says it lacks; whether all of that came.
pub type Bring<'a> = &'a dyn Fn(&dyn Store) -> Result<bool, StoreError>;

/// Whether something is so for a path below the root.
pub type Says<'a> = &'a (dyn Fn(&Path) -> bool + Sync);

/// Where a tree is put, and how.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Where the contents are.
    pub store: &'a LocalStore,
    /// The folder it is put over, made if it is not there.
    pub root: &'a Path,
    /// What is known of files below the root, and is told of new ones. Saving it is the caller's.
    pub stat: &'a StatCache,
    /// Which times files get.
    pub times: Times,
    /// Paths below the root: in them, and in the folders of the tree, is looked for what belongs to
    /// the result and is not in the tree. Folders that are in none of them are not listed.
    pub starts: &'a [PathBuf],
    /// Paths below the root that come into place after everything else, in this order.
    pub last: &'a [PathBuf],
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Files and links that are new or were replaced.
    pub files: u64,
    /// Bytes written for them.
    pub moved_bytes: u64,
    /// Files and links that were there already with the same content.
    pub kept_files: u64,
    /// Files, links and folders that were removed.
    pub removed: u64,
}

/// Why a tree could not be placed. Nothing has changed then, but for [`PlaceError::Unfinished`].
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A blob of the tree is gone or damaged: what led to the tree is a miss.
    #[error("the content {0:?} is not in the store any more")]
    Missing(Digest),
    /// Something could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// A verb that fits "cannot …".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that must not be touched is where something of the tree belongs.
    #[error("{} is in the way: {what}", path.display())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
        /// Why it cannot be moved.
        what: &'static str,
    },
    /// It failed while files were renamed. The next placing in this folder goes on from there.
    #[error(
        "{} is half in place; the next one to place something there goes on (to give up what is \
         left, remove {})", root.display(), area.display()
    )]
    Unfinished {
        /// The root.
        root: PathBuf,
        /// The hidden folder with what is left to do.
        area: PathBuf,
        /// Why it stopped.
        source: Box<PlaceError>,
    },
}

/// Turns an error of the system into one that says what was tried and where.
fn failed<E: Into<io::Error>>(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> PlaceError {
    let path = path.into();
    move |source| PlaceError::Io { doing, path, source: source.into() }
}

impl Put<'_> {
    /// Puts a tree over what is in the root: a file over a folder, a folder over a file, a link over
    /// either. `owned` says which paths below the root belong to the result: what is there, owned
    /// and not in the tree is removed. What `spare` says yes to is never touched, and not made
    /// either. Files are of their own, never links to the store.
    ///
    /// # Errors
    /// See [`PlaceError`].
    pub fn place(
        &self,
        tree: &Tree,
        owned: Says<'_>,
        spare: Says<'_>,
    ) -> Result<Placed, PlaceError> {
        self.place_from(None, tree, owned, spare)
    }

    /// As [`Put::place`], for a tree whose contents are elsewhere: what is neither in the root nor in
    /// the store is brought right into its place, and not kept in the store.
    ///
    /// # Errors
    /// See [`PlaceError`]; [`PlaceError::Missing`] when not all of it came.
    pub fn place_from_far(
        &self,
        found: &Found,
        bring: Bring<'_>,
        tree: &Tree,
        owned: Says<'_>,
        spare: Says<'_>,
    ) -> Result<Placed, PlaceError> {
        self.place_from(Some((found, bring)), tree, owned, spare)
    }

    fn place_from(
        &self,
        far: Option<(&Found, Bring<'_>)>,
        tree: &Tree,
        owned: Says<'_>,
        spare: Says<'_>,
    ) -> Result<Placed, PlaceError> {
        let root = std::path::absolute(self.root).map_err(failed("use", self.root))?;
        std::fs::create_dir_all(&root).map_err(failed("make", &root))?;
        let held = lock(&root)?;
        finish::recover(&root)?;
        let moments = Moments::begin(tree, self.times);
        let plan = found::look(self, &root, tree, owned, spare)?;
        let mut placed = Placed { kept_files: plan.kept.len() as u64, ..Placed::default() };
        placed.removed = plan.removed;
        if plan.is_settled(self.times) {
            return Ok(placed);
        }
        if plan.changes_nothing() {
            self.date(&root, &plan, &moments)?;
            drop(held);
            moments.wait();
            return Ok(placed);
        }
        let area = Area::make(&root, &plan.tops())?;
        let staged = stage::stage(self, far, &root, &area, &plan, &moments, spare)?;
        placed.files = staged.files;
        placed.moved_bytes = staged.bytes;
        let visible = clock::now();
        area.note(&staged.ops)?;
        finish::run(&root, &staged.ops, false).map_err(|source| area.keep(&root, source))?;
        for (path, meta, digest) in &staged.written {
            match meta {
                Some(meta) => self.stat.wrote(path, meta, digest, visible),
                // Renaming a file changes its stat data.
                None => match std::fs::symlink_metadata(path) {
                    Ok(meta) => self.stat.wrote(path, &meta, digest, visible),
                    // Somebody has removed it since: there is nothing to remember.
                    Err(_) => continue,
                },
            }
        }
        self.date(&root, &plan, &moments).map_err(|source| area.keep(&root, source))?;
        area.done()?;
        drop(held);
        moments.wait();
        Ok(placed)
    }

    /// What [`Put::place`] would do, without doing it; a blob that is gone does not show.
    ///
    /// # Errors
    /// When something cannot be read, or is in the way.
    pub fn preview(
        &self,
        tree: &Tree,
        owned: Says<'_>,
        spare: Says<'_>,
    ) -> Result<Placed, PlaceError> {
        let root = std::path::absolute(self.root).map_err(failed("use", self.root))?;
        let plan = found::look(self, &root, tree, owned, spare)?;
        let mut placed = Placed { kept_files: plan.kept.len() as u64, ..Placed::default() };
        placed.removed = plan.removed;
        for new in &plan.new {
            found::count_new(new.node, &new.path, spare, &mut placed);
        }
        Ok(placed)
    }

    /// Dates what was there already.
    fn date(&self, root: &Path, plan: &Plan<'_>, moments: &Moments) -> Result<(), PlaceError> {
        let visible = clock::now();
        let runs: Vec<&[Kept]> = plan.kept.chunks(256).collect();
        in_parallel(
            &runs,
            || (),
            |(), run| {
                run.iter().try_for_each(|kept| {
                    let path = root.join(&kept.path);
                    set_time(&path, moments.of(kept.time))?;
                    if let Some(digest) = &kept.digest {
                        let meta =
                            std::fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
                        self.stat.wrote(&path, &meta, digest, visible);
                    }
                    Ok::<_, PlaceError>(())
                })
            },
        )?;
        if matches!(self.times, Times::Ordered { .. }) {
            // From the bottom up, although dating a folder does not date the one it is in.
            for Folder { path, time, .. } in plan.folders.iter().rev() {
                if time.is_some() {
                    set_time(&root.join(path), moments.of(*time))?;
                }
            }
        }
        Ok(())
    }
}

/// The time of modification of something.
pub(crate) fn modified(meta: &std::fs::Metadata) -> Time {
    use std::os::unix::fs::MetadataExt;
    Time { seconds: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap_or_default() }
}

/// The present time.
pub(crate) fn present() -> Time {
    clock::now()
}

/// Gives something a time of modification, not following a link.
fn set_time(path: &Path, time: Option<Time>) -> Result<(), PlaceError> {
    rustix::fs::utimensat(CWD, path, &stamps(time), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("date", path))
}

/// The argument that sets a time of modification, of the kernel's choice if none is given, and
/// leaves that of access.
fn stamps(time: Option<Time>) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: match time {
            Some(time) => Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
            None => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        },
    }
}

/// Keeps others from placing in this root until the descriptor is closed.
///
/// # Errors
/// When the root cannot be opened or locked.
pub(crate) fn lock(root: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(failed("open", root))?;
    loop {
        match rustix::fs::flock(&fd, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return other.map(|()| fd).map_err(failed("lock", root)),
        }
    }
}

#[cfg(test)]
mod tests;
