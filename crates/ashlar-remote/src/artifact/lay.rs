//! A tree laid out in a folder of our own, from contents that come in any order and from several
//! threads at once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ashlar_object::{Digest, Hasher, MOMENT, Meta, Node, RelPath, Time, Tree};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

use super::destination::{DestinationError, all_allowed, failing};

/// `O_NOFOLLOW` as the standard library takes it.
pub(super) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// How much is read and written at a time.
const CHUNK: usize = 256 << 10;

/// A tree that is being laid out. Nothing in the folder is anybody's but ours, so no path in it
/// leads elsewhere.
pub(super) struct Laying {
    root: PathBuf,
    /// Directories in the order of a walk.
    dirs: Vec<(RelPath, Meta)>,
    files: HashMap<Digest, Files>,
    /// Whether files can be given away, as the superuser can.
    gives: bool,
}

/// All files with one content.
struct Files {
    places: Vec<(RelPath, Meta)>,
    done: AtomicBool,
}

impl Laying {
    /// Makes the folders and links of a tree, and its empty files, in an empty folder.
    pub fn begin(root: &Path, tree: &Tree) -> Result<Self, DestinationError> {
        let mut laying = Self {
            root: root.to_path_buf(),
            dirs: Vec::new(),
            files: HashMap::new(),
            gives: rustix::process::geteuid().is_root(),
        };
        let mut links = Vec::new();
        let mut refused = None;
        all_allowed(tree)?;
        tree.walk(|entry| match entry.node {
            Node::Dir(dir) => laying.dirs.push((entry.path.clone(), dir.meta().clone())),
            Node::File(file) => {
                let files = laying
                    .files
                    .entry(file.digest)
                    .or_insert_with(|| Files { places: Vec::new(), done: AtomicBool::new(false) });
                files.places.push((entry.path.clone(), file.meta.clone()));
            }
            Node::Symlink(link) => links.push((entry.path.clone(), link.clone())),
            Node::Fifo(_) => refused = Some((entry.path.clone(), "is a FIFO")),
            Node::Whiteout => {
                let why = "is a deletion: this is a layer and no tree of files";
                refused = Some((entry.path.clone(), why));
            }
        });
        if let Some((path, why)) = refused {
            return Err(DestinationError::Path { path: path.under(Path::new("")), why });
        }
        for (path, _) in &laying.dirs {
            let path = path.under(root);
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).create(&path).map_err(failing("make", path))?;
        }
        for (path, link) in links {
            let path = path.under(root);
            let target = super::staging::path_of(&link.target);
            std::os::unix::fs::symlink(target, &path)
                .and_then(|()| laying.dress_link(&path, &link.meta))
                .map_err(failing("make", path))?;
        }
        laying.put(&Digest::EMPTY, &mut io::empty()).map_err(failing("write to", root))?;
        Ok(laying)
    }

    /// The contents that are not there yet.
    pub fn wanted(&self) -> Vec<Digest> {
        let mut wanted: Vec<Digest> = self
            .files
            .iter()
            .filter(|(_, files)| !files.done.load(Ordering::Acquire))
            .map(|(digest, _)| *digest)
            .collect();
        wanted.sort_unstable();
        wanted
    }

    /// Whether a content is still wanted.
    #[cfg(test)]
    pub fn wants(&self, digest: &Digest) -> bool {
        self.files.get(digest).is_some_and(|files| !files.done.load(Ordering::Acquire))
    }

    /// Takes a content, for every file that has it. Bytes that turn out to be others are
    /// `InvalidData`, and as if they had not come. No content is put by two threads at once.
    pub fn put(&self, digest: &Digest, bytes: &mut dyn Read) -> io::Result<()> {
        let Some(files) = self.files.get(digest) else { return Ok(()) };
        let Some(((first, meta), others)) = files.places.split_first() else { return Ok(()) };
        if files.done.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = first.under(&self.root);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(NOFOLLOW)
            .open(&path)?;
        copy_verified(digest, bytes, &mut file)?;
        for (other, meta) in others {
            let mut copy = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(NOFOLLOW)
                .open(other.under(&self.root))?;
            io::Seek::rewind(&mut file)?;
            // The standard library lets the kernel copy, which shares blocks where it can.
            let copied = io::copy(&mut file, &mut copy)?;
            if copied != digest.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.dress(&copy, meta)?;
        }
        self.dress(&file, meta)?;
        files.done.store(true, Ordering::Release);
        Ok(())
    }

    /// Gives the folders their modes. Every content must be there.
    pub fn finish(self) -> Result<(), DestinationError> {
        if let Some(digest) = self.wanted().first() {
            let lacking = io::Error::new(io::ErrorKind::NotFound, format!("{digest} is missing"));
            return Err(failing("complete", self.root)(lacking));
        }
        // From below, because a folder may become closed to us.
        for (path, meta) in self.dirs.iter().rev() {
            let path = path.under(&self.root);
            File::open(&path)
                .and_then(|dir| self.dress(&dir, meta))
                .map_err(failing("set the mode of", path))?;
        }
        Ok(())
    }

    fn dress(&self, file: &File, meta: &Meta) -> io::Result<()> {
        if let Some(extra) = &meta.extra {
            if self.gives && (extra.uid, extra.gid) != (0, 0) {
                let (uid, gid) = (Uid::from_raw(extra.uid), Gid::from_raw(extra.gid));
                rustix::fs::fchown(file, Some(uid), Some(gid))?;
            }
            for (name, value) in &extra.xattrs {
                rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
            }
        }
        // After the owner: giving a file away takes the set-uid bit from it.
        file.set_permissions(std::fs::Permissions::from_mode(meta.mode))?;
        Ok(rustix::fs::futimens(file, &times(meta))?)
    }

    fn dress_link(&self, path: &Path, meta: &Meta) -> io::Result<()> {
        if let Some(extra) = &meta.extra
            && self.gives
            && (extra.uid, extra.gid) != (0, 0)
        {
            let (uid, gid) = (Uid::from_raw(extra.uid), Gid::from_raw(extra.gid));
            rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(CWD, path, &times(meta), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

fn times(meta: &Meta) -> Timestamps {
    let time = meta.extra.as_ref().and_then(|extra| extra.mtime);
    stamps(time.unwrap_or(Time { seconds: MOMENT, nanos: 0 }))
}

/// Sets the time of change and leaves that of use.
pub(super) fn stamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() },
    }
}

/// Copies exactly the bytes of a digest.
fn copy_verified(digest: &Digest, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut hasher = Hasher::new();
    let mut buffer =
        vec![0; CHUNK.min(usize::try_from(digest.size).unwrap_or(CHUNK).saturating_add(1))];
    let mut left = digest.size;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if count as u64 > left => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is longer than its digest says",
                ));
            }
            Ok(count) => {
                hasher.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
                left -= count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if hasher.finish() == *digest {
        Ok(())
    } else {
        let why = format!("the content {} is not what its digest says", digest.short());
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

#[cfg(test)]
#[path = "lay_tests.rs"]
mod tests;
