//! The mounts of a sandbox, made by the helper in a mount name space of its own.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};

use crate::helper::failure;
use crate::spec::{Failure, RootSpec, Spec};
use crate::{DESTINATION, SOURCE, host, shim};

/// Where the finished root is seen by `bwrap`: a folder that every machine has and every user may
/// enter, which a workspace below somebody's home is not.
pub(crate) const ASSEMBLED: &str = "/tmp";

/// The file of the workspace that lists the mount points which were not there before: paths from
/// the root, each ended by a NUL, a folder before what is in it.
pub(crate) const MADE: &str = "made";

/// How many links are followed to the file to mount on, as by the kernel.
const MOST_LINKS: usize = 40;

/// Makes everything that `bwrap` then takes as a whole.
pub(crate) fn assemble(spec: &Spec) -> Result<(), Failure> {
    private()?;
    let point = spec.folder.join("point");
    match &spec.root {
        RootSpec::Layers(layers) => {
            let upper = Upper { written: "root", work: "root-work" };
            overlay(spec, layers, Some(&upper), &point)?;
        }
        RootSpec::Host { layers, skeleton, avoid } => {
            host::assemble(spec, layers, avoid, &point)?;
            let root = Inside::open(&point, spec.owner)?;
            bind_read_only(
                &skeleton.join(shim::FOLDER.trim_start_matches('/')),
                &root.point(shim::FOLDER)?,
            )?;
            bind(&spec.folder.join("home"), &root.point("/build/home")?)?;
        }
    }
    let root = Inside::open(&point, spec.owner)?;
    match &spec.source {
        Some(source) => {
            let upper = Upper { written: "src", work: "src-work" };
            let target = root.point(SOURCE)?;
            overlay(spec, std::slice::from_ref(source), Some(&upper), &target)?;
        }
        None => bind(&spec.folder.join("src"), &root.point(SOURCE)?)?,
    }
    bind(&spec.folder.join("dest"), &root.point(DESTINATION)?)?;
    for (tree, at) in &spec.mounts {
        bind_read_only(tree, &root.point(at)?)?;
    }
    root.write_down(&spec.folder.join(MADE))?;
    if matches!(spec.root, RootSpec::Host { .. }) {
        read_only(&point)?;
    }
    mount_bind_recursive(&point, ASSEMBLED).map_err(|e| failure("show the finished root", e))?;
    rustix::process::chdir("/").map_err(|e| failure("leave the workspace", e))
}

/// Lets no mount of this name space be seen outside, nor the other way round.
pub(crate) fn private() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| failure("keep mounts private", e))
}

/// The writable side of an overlay: folders of the workspace.
pub(crate) struct Upper<'a> {
    pub(crate) written: &'a str,
    pub(crate) work: &'a str,
}

/// Mounts an overlay of any number of layers, the highest first, at `target`; read-only without
/// `upper`.
///
/// Options of a mount have room for 4,096 bytes, which some sixty paths of staged trees fill. So
/// each layer gets a link with a short name in the folder `layers` of the workspace, and the
/// options have names relative to it.
pub(crate) fn overlay(
    spec: &Spec,
    layers: &[PathBuf],
    upper: Option<&Upper<'_>>,
    target: &Path,
) -> Result<(), Failure> {
    let names = spec.folder.join("layers");
    rustix::process::chdir(&names).map_err(|e| failure("enter the workspace", e))?;
    let taken = std::fs::read_dir(".").map_err(|e| failure("read the workspace", e))?.count();
    let mut lower = String::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = (taken + number).to_string();
        std::os::unix::fs::symlink(layer, &name).map_err(|e| failure("name a layer", e))?;
        if number > 0 {
            lower.push(':');
        }
        lower.push_str(&name);
    }
    // `userxattr`: marks are `user.overlay.*`, in every kind of name space the same.
    // `volatile`: nothing here has to outlive a power cut, so nothing is synced.
    let mut options = format!("userxattr,index=off,metacopy=off,xino=off,lowerdir={lower}");
    if let Some(Upper { written, work }) = upper {
        options.push_str(&format!(",upperdir=../{written},workdir=../{work},volatile"));
    }
    let options =
        std::ffi::CString::new(options).map_err(|_| failure("name a layer", Errno::INVAL))?;
    mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|e| refused(spec, e))
}

fn refused(spec: &Spec, error: Errno) -> Failure {
    let advice = match error {
        Errno::NODEV => "load the kernel's overlay module: modprobe overlay",
        Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM => {
            "use Linux 5.11 or later, and a store on an ordinary file system (ext4, xfs, \
                 btrfs), not on an overlay or a network share: --store"
        }
        _ => return failure("mount an overlay", error),
    };
    Failure {
        what: format!("cannot mount an overlay in {}: {error}", spec.folder.display()),
        advice: Some(advice.to_owned()),
        of_request: false,
    }
}

/// Why there is no place to mount something.
fn misplaced(path: &str, error: Errno) -> Failure {
    let advice = match error {
        Errno::ROFS => {
            "it is below a mount that is read-only and lacks it: make that one writable (`rw` of \
             type=bind; what is written there is dropped), or have the folder in its files"
        }
        Errno::EXIST => {
            "a link on the way to it leads nowhere: make what it leads to, or mount somewhere else"
        }
        Errno::NOTDIR => "something on the way to it is a file: mount somewhere else",
        Errno::LOOP => "links on the way to it lead round and round: mount somewhere else",
        Errno::ISDIR => "there is a folder, and what is mounted is a file: name a file in it",
        Errno::NAMETOOLONG => "mount somewhere with a shorter path",
        _ => return failure(&format!("make the mount point {path}"), error),
    };
    let failure = failure(&format!("make the mount point {path}"), error);
    Failure { advice: Some(advice.to_owned()), of_request: true, ..failure }
}

/// The root that is being assembled, seen as a command inside will see it: links are followed
/// inside only.
pub(crate) struct Inside {
    root: OwnedFd,
    owner: u32,
    made: RefCell<Vec<PathBuf>>,
}

impl Inside {
    pub(crate) fn open(point: &Path, owner: u32) -> Result<Self, Failure> {
        let root = rustix::fs::open(
            point,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| failure("open the new root", e))?;
        Ok(Self { root, owner, made: RefCell::default() })
    }

    /// The folder at a path inside, to mount on; made where there is none.
    pub(crate) fn point(&self, path: &str) -> Result<PathBuf, Failure> {
        let at = |e: Errno| misplaced(path, e);
        let mut so_far = String::from(".");
        let mut folder = self.folder(&so_far).map_err(at)?;
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            so_far.push('/');
            so_far.push_str(name);
            folder = match self.folder(&so_far) {
                Err(Errno::NOENT) => {
                    self.make(&folder, name).map_err(at)?;
                    self.folder(&so_far).map_err(at)?
                }
                other => other.map_err(at)?,
            };
        }
        place(&folder).map_err(at)
    }

    /// The file at a path inside, to mount on; made where there is none, and where a link leads
    /// that has nothing at its end.
    pub(crate) fn file(&self, path: &str) -> Result<PathBuf, Failure> {
        let at = |e: Errno| misplaced(path, e);
        let mut place_of = path.trim_end_matches('/').to_owned();
        for _ in 0..MOST_LINKS {
            let (folder, name) = place_of.rsplit_once('/').unwrap_or(("", &place_of));
            if matches!(name, "" | "." | "..") {
                return Err(at(Errno::ISDIR));
            }
            let inside = self.point(folder)?;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let here = format!("./{place_of}");
            match rustix::fs::openat2(&self.root, here, flags, Mode::empty(), within) {
                Err(Errno::NOENT) => {}
                found => return found.and_then(|found| place(&found)).map_err(at),
            }
            match rustix::fs::readlink(inside.join(name), Vec::new()) {
                Ok(target) => {
                    let target = target.into_string().map_err(|_| at(Errno::ILSEQ))?;
                    let absolute = target.starts_with('/');
                    place_of = if absolute { target } else { format!("{folder}/{target}") };
                }
                Err(Errno::NOENT) => return self.make_file(&inside.join(name)).map_err(at),
                Err(e) => return Err(at(e)),
            }
        }
        Err(at(Errno::LOOP))
    }

    fn make_file(&self, path: &Path) -> rustix::io::Result<PathBuf> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
        let owner = (Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.owner)));
        rustix::fs::fchown(&file, owner.0, owner.1)?;
        self.made.borrow_mut().push(path.to_path_buf());
        Ok(path.to_path_buf())
    }

    pub(crate) fn write_down(&self, file: &Path) -> Result<(), Failure> {
        let doing = "list mount points";
        // As the kernel knows it, like those that were made: what leads to the store may have links.
        let point = place(&self.root).map_err(|e| failure(doing, e))?;
        let mut list = Vec::new();
        for made in self.made.borrow().iter() {
            // One that is not removed afterwards would be a part of what the command made.
            let made = made.strip_prefix(&point).map_err(|_| failure(doing, Errno::XDEV))?;
            list.extend_from_slice(made.as_os_str().as_bytes());
            list.push(0);
        }
        std::fs::write(file, list).map_err(|e| failure(doing, e))
    }

    fn folder(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), inside)
    }

    fn make(&self, folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
        rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755))?;
        let owner = (Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.owner)));
        rustix::fs::chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        self.made.borrow_mut().push(place(folder)?.join(name));
        Ok(())
    }
}

/// Where a folder is, as the kernel knows it. A path through the descriptor would lead beneath
/// what is mounted there.
fn place(folder: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let place = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(place.into_bytes())))
}

pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), Failure> {
    mount_bind(source, target).map_err(|e| failure(&format!("show {}", source.display()), e))
}

/// A folder without what is mounted below it.
pub(crate) fn bind_read_only(source: &Path, target: &Path) -> Result<(), Failure> {
    bind(source, target)?;
    read_only(target)
}

/// A folder with everything that is mounted below it.
pub(crate) fn bind_all_read_only(source: &Path, target: &Path) -> Result<(), Failure> {
    mount_bind_recursive(source, target)
        .map_err(|e| failure(&format!("show {}", source.display()), e))?;
    read_only(target)?;
    let table = std::fs::read("/proc/self/mountinfo").map_err(|e| failure("list mounts", e))?;
    for line in table.split(|byte| *byte == b'\n') {
        let Some(place) = line.split(|byte| *byte == b' ').nth(4) else { continue };
        let place = unescape(place);
        // What lies in a folder that is closed to us, such as the mounts of another user's
        // containers, is closed to the command as well: nothing has to be kept from it.
        let closed = || rustix::fs::statvfs(&place).is_err_and(|error| error == Errno::ACCESS);
        if place.starts_with(target) && place != target && !closed() {
            read_only(&place)?;
        }
    }
    Ok(())
}

/// Makes one mount read-only; its other flags, which may be locked, stay.
fn read_only(target: &Path) -> Result<(), Failure> {
    let doing = || format!("make {} read-only", target.display());
    let now = rustix::fs::statvfs(target).map_err(|e| failure(&doing(), e))?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (has, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if now.contains(has) {
            flags |= flag;
        }
    }
    mount_remount(target, flags, "").map_err(|e| failure(&doing(), e))
}

/// A path as `/proc/self/mountinfo` writes it: space, tab, newline and backslash in octal.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_of_the_mount_table() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(br"/plain\9"), Path::new(r"/plain\9"));
    }
}
