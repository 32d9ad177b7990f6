//! Folders that outlive builds and are part of no key: `--mount=type=cache`.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_dockerfile::Sharing;
use ashlar_object::{CanonicalHasher, Digest, StepKey};

use crate::event::{ErrorKind, Failure};

/// How often a lock is tried for.
const PAUSE: Duration = Duration::from_millis(50);
/// More private copies of one cache than commands that run at once make no sense.
const COPIES: usize = 256;

/// A cache that is in use.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Its folder.
    pub path: PathBuf,
    /// Held while it is in use, where others have to wait or to take another one.
    _lock: Option<File>,
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
    match sharing {
        Sharing::Shared => Ok(Cache { path: folder.join(name), _lock: None }),
        Sharing::Locked => {
            let file = lock_file(folder, &name)?;
            while !try_lock(&file).map_err(|e| unusable(folder, &e))? {
                if cancelled() {
                    return Err(Failure::store("stopped while a cache was in use".to_owned()));
                }
                std::thread::sleep(PAUSE);
            }
            Ok(Cache { path: folder.join(name), _lock: Some(file) })
        }
        Sharing::Private => {
            for copy in 0..COPIES {
                let name = format!("{name}.{copy}");
                let file = lock_file(folder, &name)?;
                if try_lock(&file).map_err(|e| unusable(folder, &e))? {
                    return Ok(Cache { path: folder.join(name), _lock: Some(file) });
                }
            }
            Err(Failure::store(format!("{COPIES} commands use the cache `{id}` already")))
        }
    }
}

fn lock_file(folder: &Path, name: &str) -> Result<File, Failure> {
    let path = folder.join(format!("{name}.lock"));
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    opened.map_err(|e| unusable(&path, &e))
}

fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
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
        let shared = take("a", Sharing::Shared).unwrap();
        assert_eq!(take("a", Sharing::Shared).unwrap().path, shared.path);
        assert_ne!(take("b", Sharing::Shared).unwrap().path, shared.path);
        let seeded = |files: &[u8]| {
            let digest = Digest::of(files);
            super::take(dir.path(), "a", Some(&digest), Sharing::Shared, &|| true).unwrap().path
        };
        assert_eq!(seeded(b"1"), seeded(b"1"));
        assert_ne!(seeded(b"1"), seeded(b"2"));
        assert_ne!(seeded(b"1"), shared.path);
        let locked = take("a", Sharing::Locked).unwrap();
        assert_eq!(locked.path, shared.path);
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
}
