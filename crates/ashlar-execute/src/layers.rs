//! Looking through layers without laying them over one another, and what a command really
//! changed.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Hasher, Meta, Node, Tree};

use crate::ExecuteError;

/// The extended attribute of an opaque folder in an upper directory.
const OPAQUE: &str = "user.overlay.opaque";

/// Folders that belong to the sandbox and are never part of what a command changed.
const OURS: [&str; 6] = ["build", "dev", "proc", "run", "sys", "tmp"];

/// Trees laid over one another.
pub(crate) struct Layers<'a>(Vec<&'a Arc<Dir>>);

impl<'a> Layers<'a> {
    /// From the lowest to the highest.
    pub(crate) fn new(trees: impl DoubleEndedIterator<Item = &'a Tree>) -> Self {
        Self(trees.rev().map(Tree::root).collect())
    }

    /// The folders that together make the folder `name` of this one; empty when there is none.
    fn below(&self, name: &[u8]) -> Self {
        let mut found = Vec::new();
        for dir in &self.0 {
            match dir.entries().get(name) {
                Some(Node::Dir(child)) => {
                    found.push(child);
                    if child.is_opaque() {
                        break;
                    }
                }
                Some(_) => break,
                None => {}
            }
        }
        Self(found)
    }

    /// What the merged folder shows of its own.
    fn meta(&self) -> Option<&Meta> {
        self.0.first().map(|dir| dir.meta())
    }

    /// Takes from an upper directory what is not a change: what belongs to the sandbox, the mount
    /// points that it `made` (see [`crate::mounts::MADE`]), and folders that are as below but for
    /// their times.
    pub(crate) fn clean(
        &self,
        upper: &Path,
        made: &[u8],
        owner_base: u32,
    ) -> Result<(), ExecuteError> {
        for name in OURS {
            // A base may have these; what was changed in them, if anything, is not its affair.
            let path = upper.join(name);
            if is_folder(&path) {
                fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            }
        }
        unmake(upper, made)?;
        self.clean_folder(upper, owner_base, false)
    }

    /// Takes from an upper directory of an image's root what is not a change: the mount points
    /// that were `made`, and whatever is as below but for its time. A file that was only touched,
    /// or written anew with the same bytes, would otherwise be a change, and what follows would
    /// be made anew.
    pub(crate) fn clean_image(
        &self,
        upper: &Path,
        made: &[u8],
        owner_base: u32,
    ) -> Result<(), ExecuteError> {
        unmake(upper, made)?;
        self.clean_folder(upper, owner_base, true)
    }

    /// What a name of the merged folder stands for.
    fn top(&self, name: &[u8]) -> Option<&Node> {
        self.0.iter().find_map(|dir| dir.entries().get(name))
    }

    /// Whether a file or link of an upper directory is as it is below.
    fn is_as_below(&self, path: &Path, name: &[u8], owner_base: u32) -> io::Result<bool> {
        let now = fs::symlink_metadata(path)?;
        // One with several names belongs together with the others.
        if now.nlink() != 1 {
            return Ok(false);
        }
        match self.top(name) {
            Some(Node::File(file)) => Ok(now.is_file()
                && now.len() == file.digest.size
                && same(&file.meta, &now, owner_base)
                && !has_attributes(path)?
                && digest(path)? == file.digest),
            Some(Node::Symlink(link)) => Ok(now.is_symlink()
                && owned(&link.meta, &now, owner_base)
                && fs::read_link(path)?.as_os_str().as_bytes() == &*link.target),
            _ => Ok(false),
        }
    }

    fn clean_folder(
        &self,
        folder: &Path,
        owner_base: u32,
        files: bool,
    ) -> Result<(), ExecuteError> {
        for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
            let entry = entry.map_err(failed("read", folder))?;
            let path = entry.path();
            if !entry.file_type().map_err(failed("read", folder))?.is_dir() {
                let name = entry.file_name();
                if files
                    && self
                        .is_as_below(&path, name.as_bytes(), owner_base)
                        .map_err(failed("compare", &path))?
                {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
                continue;
            }
            let below = self.below(entry.file_name().as_bytes());
            let Some(meta) = below.meta() else {
                // It is new, and so is everything in it. The kernel marks new folders opaque as
                // a precaution; over nothing the mark says nothing.
                drop_opaque(&path).map_err(failed("mark", &path))?;
                continue;
            };
            if is_opaque(&path).map_err(failed("read", &path))? {
                continue;
            }
            below.clean_folder(&path, owner_base, files)?;
            let now = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
            if same(meta, &now, owner_base)
                && !has_attributes(&path).map_err(failed("read", &path))?
            {
                match fs::remove_dir(&path) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {}
                    Err(e) => return Err(failed("remove", &path)(e)),
                }
            }
        }
        Ok(())
    }
}

/// Removes mount points that were made; a folder in which something is by now stays, and so does
/// a file that was written to.
fn unmake(upper: &Path, made: &[u8]) -> Result<(), ExecuteError> {
    for name in made.split(|byte| *byte == 0).rev().filter(|name| !name.is_empty()) {
        let path = upper.join(OsStr::from_bytes(name));
        let is_empty_file =
            fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
        let removed = if is_empty_file { fs::remove_file(&path) } else { fs::remove_dir(&path) };
        match removed {
            Ok(()) => {}
            // The command removed it itself, or left something in it, which stays.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
                ) => {}
            Err(e) => return Err(failed("remove", &path)(e)),
        }
    }
    Ok(())
}

fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ExecuteError + use<'a> {
    move |source| ExecuteError::Workspace { doing, path: path.to_path_buf(), source }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn owned(below: &Meta, now: &Metadata, owner_base: u32) -> bool {
    let (uid, gid) = below.owner();
    now.uid() == owner_base.wrapping_add(uid) && now.gid() == owner_base.wrapping_add(gid)
}

fn same(below: &Meta, now: &Metadata, owner_base: u32) -> bool {
    now.mode() & 0o7777 == below.mode
        && owned(below, now, owner_base)
        && below.extra.as_ref().is_none_or(|extra| extra.xattrs.is_empty())
}

fn is_opaque(path: &Path) -> io::Result<bool> {
    let mut value = [0; 8];
    match rustix::fs::lgetxattr(path, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value.get(..length) == Some(b"y".as_slice())),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn drop_opaque(path: &Path) -> io::Result<()> {
    match rustix::fs::lremovexattr(path, OPAQUE) {
        Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether it has extended attributes other than the overlay's own.
fn has_attributes(path: &Path) -> io::Result<bool> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let names = names.get(..length).unwrap_or_default();
    let mut each = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(each.any(|name| !OsStr::from_bytes(name).as_bytes().starts_with(b"user.overlay.")))
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
