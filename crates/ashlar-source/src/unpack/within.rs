//! A folder that files are made in, and never outside of it.
//!
//! Every folder on the way to an entry is opened by its name in the one above it without
//! following links, so that neither a link of the same archive nor one put there meanwhile leads
//! elsewhere. The folders on the way to the last entry stay open: neighbours cost nothing.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use ashlar_object::{Name, RelPath};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::stream::Meter;
use super::{Keep, UnpackError};

/// How deep folders may be nested; every level is an open file.
const DEEPEST: usize = 256;

/// Owner and permissions as the archive says them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

/// A destination.
pub(crate) struct Within<'a> {
    root: OwnedFd,
    open: Vec<(Name, OwnedFd)>,
    keep: Keep,
    meter: &'a Meter,
    buffer: Vec<u8>,
}

impl<'a> Within<'a> {
    pub fn new(folder: &Path, keep: Keep, meter: &'a Meter) -> Result<Self, UnpackError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| {
            UnpackError::Write { path: folder.display().to_string(), source: e.into() }
        })?;
        Ok(Self { root, open: Vec::new(), keep, meter, buffer: vec![0; 1 << 17] })
    }

    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The path of an entry. `None` is the destination itself.
    pub fn path(&self, raw: &[u8]) -> Result<Option<RelPath>, UnpackError> {
        self.meter.entry()?;
        let path = RelPath::parse(raw)
            .map_err(|e| UnpackError::Escapes { path: e.path, what: e.reason })?;
        if path.names().len() > DEEPEST {
            return Err(UnpackError::Bound("nested more than 256 folders deep"));
        }
        Ok((!path.is_root()).then_some(path))
    }

    /// Makes a folder, or sets the attributes of one that is there.
    pub fn dir(&mut self, path: &RelPath, attributes: Attributes) -> Result<(), UnpackError> {
        self.enter(path, path.names().len())?;
        let Keep::Root { .. } = self.keep else { return Ok(()) };
        let (parent, name) = self.parent(path)?;
        self.attributes(parent, name, attributes).map_err(failed(path))
    }

    /// Makes a file of everything the reader gives, in place of what has its name.
    pub fn file(
        &mut self,
        path: &RelPath,
        attributes: Attributes,
        reader: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.file_with(path, attributes, reader, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn file_with(
        &mut self,
        path: &RelPath,
        attributes: Attributes,
        reader: &mut dyn Read,
        buffer: &mut [u8],
    ) -> Result<(), UnpackError> {
        self.enter(path, path.names().len() - 1)?;
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let make =
            || rustix::fs::openat(parent, name.as_os_str(), flags | OFlags::NOFOLLOW, Mode::RUSR);
        let file = replace(parent, name, make).map_err(failed(path))?;
        let mut file = File::from(file);
        loop {
            let count = match reader.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(UnpackError::Damaged(e)),
            };
            self.meter.write(count)?;
            file.write_all(&buffer[..count])
                .map_err(|source| UnpackError::Write { path: path.to_string(), source })?;
        }
        match self.keep {
            // Not through the process's umask.
            Keep::Content => {
                let mode = if attributes.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode)).map_err(failed(path))
            }
            Keep::Root { .. } => self.attributes(parent, name, attributes).map_err(failed(path)),
        }
    }

    /// Makes a symbolic link. Where it points is the reader's business: nothing here follows it.
    pub fn symlink(
        &mut self,
        path: &RelPath,
        target: &[u8],
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        if target.is_empty() || target.contains(&0) {
            return Err(UnpackError::Kind { path: path.to_string(), what: "a link to nowhere" });
        }
        self.enter(path, path.names().len() - 1)?;
        let (parent, name) = self.parent(path)?;
        let make = || rustix::fs::symlinkat(target, parent, name.as_os_str());
        replace(parent, name, make).map_err(failed(path))?;
        if let Keep::Root { owner_base } = self.keep {
            chown(parent, name, attributes, owner_base).map_err(failed(path))?;
        }
        Ok(())
    }

    /// Makes a file with the content of one that the archive had before. It is a copy: trees
    /// know no hard links.
    pub fn same(
        &mut self,
        path: &RelPath,
        other: &RelPath,
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        if path == other {
            return Ok(());
        }
        self.enter(other, other.names().len().saturating_sub(1))?;
        let (parent, name) = self.parent(other)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let bad = |what| UnpackError::Kind { path: path.to_string(), what };
        let file = match rustix::fs::openat(parent, name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::LOOP) => {
                // A hard link to a link is that link once more.
                let target = rustix::fs::readlinkat(parent, name.as_os_str(), Vec::new())
                    .map_err(failed(other))?;
                return self.symlink(path, target.as_bytes(), attributes);
            }
            Err(Errno::NOENT) => return Err(bad("a hard link to a file that is not there")),
            Err(e) => return Err(failed(other)(e)),
        };
        let stat = rustix::fs::fstat(&file).map_err(failed(other))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(bad("a hard link to something that is no file"));
        }
        let mode = if self.keep == Keep::Content { stat.st_mode } else { attributes.mode };
        self.file(path, Attributes { mode, ..attributes }, &mut File::from(file))
    }

    /// The open folder that has the last name of a path, which was entered before.
    fn parent<'p>(&self, path: &'p RelPath) -> Result<(BorrowedFd<'_>, &'p Name), UnpackError> {
        let Some((name, above)) = path.names().split_last() else {
            return Err(UnpackError::Kind { path: path.to_string(), what: "the destination" });
        };
        let parent = match above.len() {
            0 => self.root.as_fd(),
            depth => self.open[depth - 1].1.as_fd(),
        };
        Ok((parent, name))
    }

    /// Opens the first `depth` folders of a path, making those that are missing.
    fn enter(&mut self, path: &RelPath, depth: usize) -> Result<(), UnpackError> {
        let names = &path.names()[..depth];
        let common = self.open.iter().zip(names).take_while(|((a, _), b)| a == *b).count();
        self.open.truncate(common);
        for name in &names[common..] {
            let above = self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            let open = || rustix::fs::openat(above, name.as_os_str(), flags, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) => {
                    let mode = Mode::from_bits_truncate(0o755);
                    rustix::fs::mkdirat(above, name.as_os_str(), mode).map_err(failed(path))?;
                    let made = open().map_err(failed(path))?;
                    rustix::fs::fchmod(&made, mode).map_err(failed(path))?;
                    if let Keep::Root { owner_base } = self.keep {
                        let root = Attributes { mode: 0o755, uid: 0, gid: 0 };
                        chown(above, name, root, owner_base).map_err(failed(path))?;
                    }
                    Ok(made)
                }
                other => other,
            };
            match opened {
                Ok(fd) => self.open.push((name.clone(), fd)),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(UnpackError::Escapes {
                        path: path.to_string(),
                        what: "a link or file of the archive on its way",
                    });
                }
                Err(e) => return Err(failed(path)(e)),
            }
        }
        Ok(())
    }

    fn attributes(
        &self,
        parent: BorrowedFd<'_>,
        name: &Name,
        attributes: Attributes,
    ) -> Result<(), Errno> {
        if let Keep::Root { owner_base } = self.keep {
            // First the owner: a change of it clears the set-uid bit.
            chown(parent, name, attributes, owner_base)?;
            let mode = Mode::from_bits_truncate(attributes.mode & 0o7777);
            rustix::fs::chmodat(parent, name.as_os_str(), mode, AtFlags::empty())?;
        }
        Ok(())
    }
}

fn chown(
    parent: BorrowedFd<'_>,
    name: &Name,
    attributes: Attributes,
    base: u32,
) -> Result<(), Errno> {
    let shift = |id: u64| {
        let id = u32::try_from(id).ok().and_then(|id| id.checked_add(base));
        // The last number stands for "leave it".
        id.filter(|id| *id != u32::MAX).ok_or(Errno::OVERFLOW)
    };
    let (uid, gid) = (Uid::from_raw(shift(attributes.uid)?), Gid::from_raw(shift(attributes.gid)?));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name.as_os_str(), Some(uid), Some(gid), flags)
}

/// Makes something that must not be there yet, and removes a file or link that is.
fn replace<T>(
    parent: BorrowedFd<'_>,
    name: &Name,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name.as_os_str(), AtFlags::empty())?;
            make()
        }
        other => other,
    }
}

fn failed(path: &RelPath) -> impl FnOnce(Errno) -> UnpackError + '_ {
    move |e| UnpackError::Write { path: path.to_string(), source: e.into() }
}
