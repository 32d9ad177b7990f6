//! What was made earlier, out of the way while a command runs: nothing of it is taken for a result,
//! and it comes back when the command fails.
//!
//! It lies in a hidden folder of the root, `.ashlar-aside.<serial>`, on the same file system. A
//! file in there is locked (`flock`) as long as its owner lives, so the next run of that root sees
//! whose owner was killed, and puts back what has nothing in its place.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ashlar_source::{Globs, tracked};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::RunError;
use super::outputs::matching;
use crate::place;

/// How the names of these folders begin.
const NAME: &str = ".ashlar-aside.";
/// What the owner holds.
const LOCK: &str = ".lock";

/// A folder beside the outputs of earlier times, as long as a command runs. Dropped, it takes away
/// what the command made, and what was there before is there again.
pub struct Aside<'a> {
    root: &'a Path,
    globs: &'a Globs,
    /// None when there was nothing.
    folder: Option<(PathBuf, File)>,
    moved: Vec<PathBuf>,
    forgotten: bool,
}

impl<'a> Aside<'a> {
    /// Moves what the globs match out of the way.
    ///
    /// # Errors
    /// When something cannot be moved, or belongs to git; all is in its place then.
    pub fn set(root: &'a Path, globs: &'a Globs, serial: &str) -> Result<Self, RunError> {
        let mut aside = Self { root, globs, folder: None, moved: Vec::new(), forgotten: false };
        let found = matching(root, globs)?;
        if found.is_empty() {
            return Ok(aside);
        }
        refuse_tracked(root, globs, &found).inspect_err(|_| aside.forgotten = true)?;
        // From here on whoever drops it puts back what was moved so far.
        let folder = root.join(format!("{NAME}{serial}"));
        let lock = make(root, &folder).inspect_err(|_| aside.forgotten = true)?;
        for path in found {
            let to = folder.join(&path);
            let above = to.parent().unwrap_or(&folder);
            let from = root.join(&path);
            let moved = std::fs::create_dir_all(above)
                .and_then(|()| std::fs::rename(&from, &to))
                .map_err(RunError::io("set aside", &from));
            if let Err(error) = moved {
                aside.forgotten = true;
                back(&folder, root, &aside.moved);
                return Err(error);
            }
            aside.moved.push(path);
        }
        aside.folder = Some((folder, lock));
        Ok(aside)
    }

    /// The command has made everything anew: what was there before is removed.
    pub fn forget(mut self) {
        self.forgotten = true;
        if let Some((folder, _)) = &self.folder {
            remove(folder);
        }
    }
}

impl Drop for Aside<'_> {
    /// Nothing was made: as it was before.
    fn drop(&mut self) {
        if self.forgotten {
            return;
        }
        match matching(self.root, self.globs) {
            Ok(made) => {
                for path in made {
                    remove(&self.root.join(path));
                }
            }
            Err(error) => eprintln!("warning: what the command made stays: {error}"),
        }
        if let Some((folder, _)) = &self.folder {
            back(folder, self.root, &self.moved);
        }
    }
}

/// Makes the folder and takes its lock, so that nobody sees it without.
fn make(root: &Path, folder: &Path) -> Result<File, RunError> {
    let _all = place::lock(root)?;
    std::fs::create_dir(folder).map_err(RunError::io("make", folder))?;
    let path = folder.join(LOCK);
    let lock = File::create(&path).map_err(RunError::io("make", &path))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| RunError::io("lock", &path)(errno.into()))?;
    Ok(lock)
}

/// Sources that a wide glob names would be gone with the next hit. A file that is named in full
/// may be both: what is generated and committed.
fn refuse_tracked(root: &Path, globs: &Globs, found: &[PathBuf]) -> Result<(), RunError> {
    let literal: HashSet<PathBuf> = globs.literals().collect();
    let known = tracked(root, found);
    let ours = |path: &&PathBuf| globs.is_match(path) && !literal.contains(*path);
    // What is gone since is no source any more.
    let there = |path: &&PathBuf| root.join(path).symlink_metadata().is_ok();
    let paths: Vec<PathBuf> = known.iter().filter(ours).filter(there).cloned().collect();
    if paths.is_empty() { Ok(()) } else { Err(RunError::Tracked { paths }) }
}

/// Puts back what was moved, unless something is in its place.
fn back(folder: &Path, root: &Path, moved: &[PathBuf]) {
    for path in moved {
        restore(&folder.join(path), &root.join(path));
    }
    remove(folder);
}

fn restore(from: &Path, to: &Path) {
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    if to.symlink_metadata().is_ok() {
        if is_dir(from) && is_dir(to) {
            for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
                restore(&entry.path(), &to.join(entry.file_name()));
            }
        }
        return;
    }
    let above = to.parent().unwrap_or(to);
    let done = std::fs::create_dir_all(above).and_then(|()| std::fs::rename(from, to));
    if let Err(error) = done {
        eprintln!("warning: {} cannot be put back: {error}", to.display());
    }
}

fn remove(path: &Path) {
    if let Err(error) = ashlar_store::remove_all(path)
        && path.symlink_metadata().is_ok()
    {
        eprintln!("warning: {} cannot be removed: {error}", path.display());
    }
}

/// Puts right what a run that was killed left in a root.
///
/// # Errors
/// When the root cannot be listed or locked.
pub fn recover(root: &Path) -> Result<(), RunError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(RunError::io("list", root)(e)),
    };
    let ours = |name: &std::ffi::OsStr| name.as_bytes().starts_with(NAME.as_bytes());
    let left: Vec<PathBuf> =
        entries.flatten().filter(|one| ours(&one.file_name())).map(|one| one.path()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let _all = place::lock(root)?;
    for folder in left {
        if is_owned(&folder)? {
            continue;
        }
        let whole = matching_all(&folder);
        back(&folder, root, &whole);
    }
    Ok(())
}

/// Whether the owner of a folder lives.
fn is_owned(folder: &Path) -> Result<bool, RunError> {
    let path = folder.join(LOCK);
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        // It was killed before it had it, or somebody removed all in between.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(RunError::io("open", &path)(e)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(RunError::io("lock", &path)(errno.into())),
    }
}

/// What lies in a folder, but for the lock.
fn matching_all(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|one| PathBuf::from(one.file_name()))
        .filter(|name| *name != Path::new(LOCK))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs() -> Globs {
        Globs::new(&["out"]).unwrap()
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn what_a_failed_command_made_goes_and_what_was_there_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("out/a");
        write(&file, "before");
        let globs = globs();
        let aside = Aside::set(root.path(), &globs, "1").unwrap();
        assert!(!file.exists());
        write(&file, "half");
        write(&root.path().join("out/b"), "half");
        // Its owner lives.
        recover(root.path()).unwrap();
        drop(aside);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
        assert_eq!(std::fs::read_dir(root.path().join("out")).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        Aside::set(root.path(), &globs, "2").unwrap().forget();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_set_aside_comes_back_where_nothing_is() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("out/a"), "before");
        write(&root.path().join("out/b"), "before");
        let globs = globs();
        let mut aside = Aside::set(root.path(), &globs, "1").unwrap();
        write(&root.path().join("out/b"), "after");
        // As a kill does it.
        aside.forgotten = true;
        drop(aside);
        recover(root.path()).unwrap();
        assert_eq!(std::fs::read_to_string(root.path().join("out/a")).unwrap(), "before");
        assert_eq!(std::fs::read_to_string(root.path().join("out/b")).unwrap(), "after");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
