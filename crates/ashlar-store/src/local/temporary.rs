//! Files that are written before they are named.

use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::PoisonError;

use rustix::fs::{AtFlags, IFlags, Mode, OFlags};

use super::blobs::Blobs;
use super::locks::serial;
use super::workspace::Workspace;
use crate::StoreError;
use crate::failed::{failed, failing};

impl Blobs {
    /// A folder on this file system where files are written before they are named.
    pub fn scratch(&self) -> Result<&Workspace, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly { path: self.path.clone() });
        }
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        // One is enough, however many threads come at once.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch);
        }
        let path = self.path.join("work");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let work = rustix::fs::openat(&self.home, "work", flags, Mode::empty())
            .map_err(failing("open", &*path))?;
        // Where many files were removed a moment ago ext4 looks at each of their inodes again for
        // every new file, and passes over it: new files are slow there. The flag has it put each
        // scratch folder, and so what is written there, into another part of the disk. Other file
        // systems refuse it.
        let _ = rustix::fs::ioctl_getflags(&work)
            .and_then(|flags| rustix::fs::ioctl_setflags(&work, flags | IFlags::TOPDIR));
        let made = Workspace::create(&work, &path, "scratch")?;
        Ok(self.scratch.get_or_init(|| made))
    }

    /// A file that is gone again unless it is kept.
    pub fn temporary(&self) -> Result<Temporary<'_>, StoreError> {
        self.temporary_with(0o600)
    }

    pub fn temporary_with(&self, mode: u32) -> Result<Temporary<'_>, StoreError> {
        let scratch = self.scratch()?;
        let name = serial();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(scratch.dir(), name.as_str(), flags, Mode::from_raw_mode(mode))
            .map_err(|e| failed("make", &scratch.path().join(&name), e.into()))?;
        Ok(Temporary { scratch, name, file: fd.into(), moved: false })
    }
}

/// A file in the scratch folder, removed when dropped unless it was moved.
pub(super) struct Temporary<'a> {
    pub scratch: &'a Workspace,
    pub name: String,
    pub file: std::fs::File,
    pub moved: bool,
}

impl Temporary<'_> {
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join(&self.name)
    }

    /// Writes a small content.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|e| failed("write", &self.path(), e))
    }

    /// Moves the file to a place outside of the blobs, over what is there.
    pub fn move_to(mut self, dir: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<()> {
        rustix::fs::renameat(self.scratch.dir(), self.name.as_str(), dir, path)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // The whole folder goes with its owner; this is only sooner.
            let _ = rustix::fs::unlinkat(self.scratch.dir(), self.name.as_str(), AtFlags::empty());
        }
    }
}
