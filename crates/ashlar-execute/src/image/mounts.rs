//! The mounts of a command in an image that are made before there is a user name space; the
//! command can neither unmount them nor make them writable.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};

use super::spec::{ImageSpec, MountSpec, WhatSpec};
use crate::helper::failure;
use crate::mounts::{ASSEMBLED, Inside, MADE, Upper, bind, bind_read_only, overlay, private};
use crate::spec::{Failure, RootSpec, Spec};

/// The folder of the workspace where files from memory are, for as long as mounting takes.
pub(crate) const FILES: &str = "files";

/// Makes everything that [`super::first`] then takes as its root. `contents` are the bytes of the
/// files from memory, one after another.
pub(crate) fn assemble(spec: &Spec, image: &ImageSpec, contents: &[u8]) -> Result<(), Failure> {
    private()?;
    let RootSpec::Layers(layers) = &spec.root else {
        return Err(failure("run a command of an image on the machine's files", Errno::INVAL));
    };
    let point = spec.folder.join("point");
    overlay(spec, layers, Some(&Upper { written: "root", work: "root-work" }), &point)?;
    let root = Inside::open(&point, spec.owner)?;
    // They are in the lowest layer; an image may have deleted them, or have something else there.
    for ours in ["/dev", "/proc", "/sys"] {
        root.point(ours)?;
    }
    let files = Files::new(spec, contents)?;
    for (number, mount) in image.mounts.iter().enumerate() {
        one(spec, &root, mount, &files, number)?;
    }
    drop(files);
    root.write_down(&spec.folder.join(MADE))?;
    mount_bind_recursive(&point, ASSEMBLED).map_err(|e| failure("show the finished root", e))?;
    rustix::process::chdir("/").map_err(|e| failure("leave the workspace", e))
}

fn one(
    spec: &Spec,
    root: &Inside,
    asked: &MountSpec,
    files: &Files<'_>,
    number: usize,
) -> Result<(), Failure> {
    let at = &asked.at;
    match &asked.what {
        WhatSpec::Bind { source, read_only } => {
            let target = if source.is_dir() { root.point(at)? } else { root.file(at)? };
            if *read_only { bind_read_only(source, &target) } else { bind(source, &target) }
        }
        WhatSpec::Shown { lower, below } => {
            overlay(spec, &[lower.clone(), below.clone()], None, &root.point(at)?)
        }
        WhatSpec::Overlay { lower, written, work } => {
            let upper = Upper { written, work };
            overlay(spec, std::slice::from_ref(lower), Some(&upper), &root.point(at)?)
        }
        WhatSpec::Tmpfs { size } => {
            let owner = spec.owner;
            let mut options = format!("mode=1777,uid={owner},gid={owner}");
            if let Some(size) = size {
                options.push_str(&format!(",size={size}"));
            }
            tmpfs(&root.point(at)?, &options)
        }
        WhatSpec::File { length, mode, uid, gid, read_only } => {
            let owner = (spec.owner.wrapping_add(*uid), spec.owner.wrapping_add(*gid));
            let file = files.make(number, *length, *mode, owner)?;
            let target = root.file(at)?;
            if *read_only { bind_read_only(&file, &target) } else { bind(&file, &target) }
        }
    }
}

fn tmpfs(at: &Path, options: &str) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = CString::new(options).map_err(|_| failure("mount a tmpfs", Errno::INVAL))?;
    mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str()))
        .map_err(|e| failure(&format!("mount a tmpfs at {}", at.display()), e))
}

/// Files in memory. Once they are mounted where they belong, the place where they were made is
/// not needed any more.
struct Files<'a> {
    folder: std::path::PathBuf,
    contents: std::cell::Cell<&'a [u8]>,
    mounted: bool,
}

impl<'a> Files<'a> {
    fn new(spec: &Spec, contents: &'a [u8]) -> Result<Self, Failure> {
        let folder = spec.folder.join(FILES);
        let wanted = spec.image.as_ref().is_some_and(|image| {
            image.mounts.iter().any(|mount| matches!(mount.what, WhatSpec::File { .. }))
        });
        if wanted {
            // Swap is a disk. Older kernels, and those inside a name space, do not know the word.
            tmpfs(&folder, "mode=0700,noswap").or_else(|_| tmpfs(&folder, "mode=0700"))?;
        }
        Ok(Self { folder, contents: std::cell::Cell::new(contents), mounted: wanted })
    }

    fn make(
        &self,
        number: usize,
        length: usize,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<std::path::PathBuf, Failure> {
        let (bytes, rest) = self
            .contents
            .get()
            .split_at_checked(length)
            .ok_or_else(|| failure("find the content of a file", Errno::BADMSG))?;
        self.contents.set(rest);
        let path = self.folder.join(number.to_string());
        let write = || -> std::io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
        };
        write().map_err(|e| failure("write a file in memory", e))?;
        Ok(path)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        if self.mounted {
            // What stays mounted is seen by nobody, and ends with the mount name space.
            let _ = unmount(&self.folder, UnmountFlags::DETACH);
        }
    }
}
