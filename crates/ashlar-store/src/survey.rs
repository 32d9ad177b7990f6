//! A folder that belongs to somebody, seen as a tree: everything is read where it lies, and
//! nothing is copied.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::{Digest, Hasher, RelPath, Tree};

use crate::capture::{self, Content, Item, Kind};
use crate::facts::{Facts, Owners};
use crate::failed::failed;
use crate::local::parallel::in_parallel;
use crate::pour::CHUNK;
use crate::{Capture, StoreError};

/// What [`survey`] found: a tree, and where each of its contents can be read.
#[derive(Clone, Debug)]
pub struct Survey {
    folder: PathBuf,
    root: Arc<OwnedFd>,
    tree: Tree,
    /// One of the files that have a content, relative to the folder.
    files: HashMap<Digest, Box<[u8]>>,
}

/// Reads a folder as [`Capture::Outputs`] keeps it: no times, no owners, no extended attributes;
/// modes as they are. The same files give the same tree, whoever has them, however they came and
/// in whatever order they lie. All processors hash. What `without` names, relative to the folder,
/// is left out with everything in it. A path of a file is a folder with nothing else in it.
///
/// # Errors
/// When something cannot be read, names a socket, FIFO or device, or changes while it is read.
pub fn survey(folder: &Path, without: &[RelPath]) -> Result<Survey, StoreError> {
    let is_file = std::fs::metadata(folder).is_ok_and(|meta| meta.is_file());
    let (folder, only) = match (is_file, folder.parent(), folder.file_name()) {
        (true, Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
            (Path::new("."), Some(name.as_bytes()))
        }
        (true, Some(parent), Some(name)) => (parent, Some(name.as_bytes())),
        _ => (folder, None),
    };
    let root = capture::open_folder(folder)?;
    let without: Vec<Vec<u8>> = without.iter().map(RelPath::to_bytes).collect();
    let left_out = |path: &[u8]| {
        only.is_some_and(|only| only != path) || without.iter().any(|other| other == path)
    };
    let scan = capture::scan_without(root.as_fd(), folder, Capture::Outputs, &left_out)?;
    let is_file = |index: &usize| matches!(scan.items[*index].kind, Kind::File);
    let mut order: Vec<usize> = (0..scan.items.len()).filter(is_file).collect();
    // The largest first, so that no thread is left with one at the end.
    order.sort_by_key(|index| std::cmp::Reverse(scan.items[*index].facts.size));
    let contents = Mutex::new(vec![Content::default(); scan.items.len()]);
    in_parallel(
        &order,
        || vec![0; CHUNK],
        |buffer, index| {
            let item = &scan.items[*index];
            let digest = digest(root.as_fd(), folder, item, buffer)?;
            let mut contents = contents.lock().unwrap_or_else(PoisonError::into_inner);
            contents[*index].digest = Some(digest);
            Ok::<_, StoreError>(())
        },
    )?;
    let contents = contents.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tree = capture::tree(&scan, Capture::Outputs, &Owners::new(0), &contents);
    let mut files = HashMap::new();
    // Backwards, so that of equal files the first in the order of paths stays.
    for (item, content) in scan.items.iter().zip(&contents).rev() {
        if let Some(digest) = content.digest {
            files.insert(digest, item.path.clone().into_boxed_slice());
        }
    }
    Ok(Survey { folder: folder.to_path_buf(), root: Arc::new(root), tree, files })
}

/// Digests a file that has to be the same before, while and after it is read.
fn digest(
    root: BorrowedFd<'_>,
    folder: &Path,
    item: &Item,
    buffer: &mut [u8],
) -> Result<Digest, StoreError> {
    let shown = || capture::shown(folder, &item.path);
    let fd = capture::open_file(root, &item.path, false)
        .map_err(|e| failed("open", &shown(), e.into()))?;
    let mut file = std::fs::File::from(fd);
    let mut hasher = Hasher::new();
    let mut size = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed("read", &shown(), e)),
        }
        // A log that grows as fast as it is read would never end.
        if size > item.facts.size {
            break;
        }
    }
    let now = Facts::of(&file).map_err(|e| failed("look at", &shown(), e.into()))?;
    let same = |facts: &Facts| (facts.ino, facts.size, facts.mtime, facts.ctime);
    if size != item.facts.size || same(&now) != same(&item.facts) {
        let what = "a file that is being written to";
        return Err(StoreError::Unkeepable { path: shown(), what });
    }
    Ok(hasher.finish())
}

impl Survey {
    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A file that had this content, relative to the folder.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> Option<&Path> {
        self.files.get(digest).map(|path| Path::new(OsStr::from_bytes(path)))
    }

    /// All contents.
    pub fn contents(&self) -> impl Iterator<Item = &Digest> {
        self.files.keys()
    }

    /// Opens a content where it lies; `None` for what the folder does not have. The reader fails
    /// with `InvalidData`, naming the file, instead of ending when the bytes are others by now.
    ///
    /// # Errors
    /// When the file cannot be opened any more.
    pub fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some(path) = self.files.get(digest) else {
            return Ok(
                (*digest == Digest::EMPTY).then(|| Box::new(io::empty()) as Box<dyn Read + Send>)
            );
        };
        let shown = capture::shown(&self.folder, path);
        match capture::open_file(self.root.as_fd(), path, false) {
            Ok(fd) => Ok(Some(Box::new(Same {
                file: std::fs::File::from(fd),
                hasher: Some(Hasher::new()),
                left: digest.size,
                digest: *digest,
                shown,
            }))),
            Err(e) => Err(failed("open", &shown, e.into())),
        }
    }
}

/// A file that must still have the content that the survey found.
struct Same {
    file: std::fs::File,
    /// Taken when the end was reached and all was well.
    hasher: Option<Hasher>,
    left: u64,
    digest: Digest,
    shown: PathBuf,
}

impl Read for Same {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let changed = || {
            let why = format!("{} changed while it was being read", self.shown.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let count = self.file.read(buffer)?;
        hasher.update(&buffer[..count]);
        if count as u64 > self.left || (count == 0 && self.left > 0) {
            return Err(changed());
        }
        self.left -= count as u64;
        // Compared with the last byte and not after it: who knows the size stops reading there.
        if self.left == 0 {
            if hasher.clone().finish() != self.digest {
                return Err(changed());
            }
            if count == 0 {
                self.hasher = None;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
