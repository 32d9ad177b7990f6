//! Folders that outlive builds and are part of no key: `--mount=type=cache`.
//!
//! Beside each is a file that is locked as long as it is in use, and whose time says when it was
//! taken last.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ashlar_dockerfile::Sharing;
use ashlar_object::{CanonicalHasher, Digest, StepKey};

use crate::event::{ErrorKind, Failure};

/// How often a lock is tried for.
const PAUSE: Duration = Duration::from_millis(50);
/// What the file is called that is locked, after the name of the folder.
const LOCK: &str = ".lock";
/// What a folder is called that is being removed, after its name.
const GONE: &str = ".gone";
/// More private copies of one cache than commands that run at once make no sense.
const COPIES: usize = 256;

/// A cache that is in use.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Its folder.
    pub path: PathBuf,
    /// Held while it is in use.
    _lock: File,
}

/// Takes the cache of a name. One that begins with files, those of the folder `begins_with`, is
/// another one for other files.
pub(crate) fn take(
    folder: &Path,
    id: &str,
    begins_with: Option<&Digest>,
    sharing: Sharing,
    cancelled: &dyn Fn() -> bool,
) -> Result<Cache, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| unusable(folder, &e))?;
    let mut hasher = CanonicalHasher::new("ashlar cache mount");
    hasher.text(id);
    if let Some(digest) = begins_with {
        hasher.bytes(&digest.hash);
    }
    let name = StepKey(hasher.finish()).to_string();
    let taken = |name: &str, lock: File| {
        // Whoever collects what is old goes by it.
        lock.set_modified(SystemTime::now()).map_err(|e| unusable(folder, &e))?;
        Ok(Cache { path: folder.join(name), _lock: lock })
    };
    match sharing {
        Sharing::Shared | Sharing::Locked => {
            let file = lock_file(folder, &name)?;
            let shared = sharing == Sharing::Shared;
            while !try_lock(&file, shared).map_err(|e| unusable(folder, &e))? {
                if cancelled() {
                    return Err(Failure::Stopped);
                }
                std::thread::sleep(PAUSE);
            }
            taken(&name, file)
        }
        Sharing::Private => {
            for copy in 0..COPIES {
                let name = format!("{name}.{copy}");
                let file = lock_file(folder, &name)?;
                if try_lock(&file, false).map_err(|e| unusable(folder, &e))? {
                    return taken(&name, file);
                }
            }
            Err(Failure::store(format!("{COPIES} commands use the cache `{id}` already")))
        }
    }
}

/// Removes the caches in a folder that nobody has used for so long and nobody uses now. How many
/// there were.
///
/// # Errors
/// When one cannot be removed.
pub fn collect_caches(folder: &Path, unused_for: Duration) -> io::Result<usize> {
    let mut count = 0;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(GONE) {
            // Left by one that was killed here, or on its way: both may remove it.
            remove(&path)?;
        }
        let Some(name) = name.strip_suffix(LOCK) else { continue };
        let lock = OpenOptions::new().write(true).open(&path)?;
        if !try_lock(&lock, false)? || !Path::new(name).exists() {
            continue;
        }
        let used = lock.metadata()?.modified()?;
        if SystemTime::now().duration_since(used).unwrap_or_default() < unused_for {
            continue;
        }
        // The lock file stays: who waits for it would hold another one than who comes later.
        let gone = PathBuf::from(format!("{name}{GONE}"));
        remove(&gone)?;
        std::fs::rename(name, &gone)?;
        drop(lock);
        remove(&gone)?;
        count += 1;
    }
    Ok(count)
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock_file(folder: &Path, name: &str) -> Result<File, Failure> {
    let path = folder.join(format!("{name}{LOCK}"));
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    opened.map_err(|e| unusable(&path, &e))
}

fn try_lock(file: &File, shared: bool) -> io::Result<bool> {
    match if shared { file.try_lock_shared() } else { file.try_lock() } {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::Error {
        message: format!("the cache {} cannot be used: {error}", path.display()),
        advice: None,
        kind: ErrorKind::Store,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_waits_or_takes_another() {
        let dir = tempfile::tempdir().unwrap();
        let take = |id, sharing| take(dir.path(), id, None, sharing, &|| true);
        let first = take("a", Sharing::Shared).unwrap();
        assert_eq!(take("a", Sharing::Shared).unwrap().path, first.path);
        take("a", Sharing::Locked).unwrap_err();
        let shared = first.path.clone();
        drop(first);
        assert_ne!(take("b", Sharing::Shared).unwrap().path, shared);
        let seeded = |files: &[u8]| {
            let digest = Digest::of(files);
            super::take(dir.path(), "a", Some(&digest), Sharing::Shared, &|| true).unwrap().path
        };
        assert_eq!(seeded(b"1"), seeded(b"1"));
        assert_ne!(seeded(b"1"), seeded(b"2"));
        assert_ne!(seeded(b"1"), shared);
        let locked = take("a", Sharing::Locked).unwrap();
        assert_eq!(locked.path, shared);
        take("a", Sharing::Locked).unwrap_err();
        drop(locked);
        take("a", Sharing::Locked).unwrap();
        let first = take("a", Sharing::Private).unwrap();
        let second = take("a", Sharing::Private).unwrap();
        assert_ne!(first.path, second.path);
        let path = first.path.clone();
        drop(first);
        assert_eq!(take("a", Sharing::Private).unwrap().path, path);
    }
    #[test]
    fn what_nobody_uses_is_collected_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let fill = |id: &str| {
            let cache = take(dir.path(), id, None, Sharing::Shared, &|| true).unwrap();
            std::fs::create_dir_all(cache.path.join("deep")).unwrap();
            std::fs::write(cache.path.join("deep/file"), id).unwrap();
            cache
        };
        let (used, unused) = (fill("used"), fill("unused"));
        let (kept, gone) = (used.path.clone(), unused.path.clone());
        drop(unused);
        assert_eq!(collect_caches(dir.path(), Duration::from_secs(60)).unwrap(), 0, "too young");
        assert_eq!(collect_caches(dir.path(), Duration::ZERO).unwrap(), 1);
        assert!(kept.join("deep/file").exists() && !gone.exists());
        assert_eq!(collect_caches(dir.path(), Duration::ZERO).unwrap(), 0);
        // One that was killed while it removed one.
        drop(used);
        let early = dir.path().join(format!("{}{GONE}", gone.file_name().unwrap().display()));
        std::fs::create_dir_all(early.join("deep")).unwrap();
        assert_eq!(collect_caches(dir.path(), Duration::ZERO).unwrap(), 1);
        assert!(!early.exists() && !kept.exists());
        assert_eq!(collect_caches(&dir.path().join("none"), Duration::ZERO).unwrap(), 0);
    }
}
