//! The root of a command in an image: `/proc`, `/dev` and `/sys`, its name and its loopback
//! interface. Called by the first process of the sandbox, as root of its name spaces.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use crate::helper::failure;
use crate::mounts::ASSEMBLED;
use crate::spec::Failure;

/// The devices that every container has; nodes of the machine, which are harmless.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What of `/proc` is about the machine and not about processes; as other runtimes have it.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Leaves the machine's file system for the one that was assembled.
pub(super) fn enter_root() -> Result<(), Failure> {
    // What comes from the outer name space is locked where it is; a copy of it is not.
    mount_bind_recursive(ASSEMBLED, ASSEMBLED).map_err(|e| failure("take the new root", e))?;
    let mut devices = Vec::new();
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        match rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(device) => devices.push((name, device)),
            // A machine that is a container itself may lack one.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failure(&format!("open {}", path.display()), e)),
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).map_err(|e| failure("open /", e))?;
    rustix::process::chdir(ASSEMBLED)
        .and_then(|()| rustix::process::pivot_root(".", "."))
        .map_err(|e| failure("enter the new root", e))?;
    // The old root is now above the new one, where no path leads, and still there to take from.
    mount_kind("proc", "/proc", QUIET, None)?;
    for path in READ_ONLY {
        match mount_bind(path, path) {
            Ok(()) => {}
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(failure(&format!("close {path}"), e)),
        }
        mount_remount(path, QUIET | MountFlags::BIND | MountFlags::RDONLY, "")
            .map_err(|e| failure(&format!("close {path}"), e))?;
    }
    mount_kind("tmpfs", "/sys", QUIET | MountFlags::RDONLY, Some(c"mode=0755,size=4k"))?;
    dev(&devices)?;
    rustix::process::fchdir(&old)
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir("/"))
        .map_err(|e| failure("leave the machine's file system", e))
}

fn dev(devices: &[(&str, OwnedFd)]) -> Result<(), Failure> {
    mount_kind("tmpfs", "/dev", MountFlags::NOSUID, Some(c"mode=0755,size=1m"))?;
    for (name, device) in devices {
        let at = Path::new("/dev").join(name);
        let source = format!("/proc/self/fd/{}", device.as_raw_fd());
        File::create(&at).map_err(|e| failure("make a device", e))?;
        mount_bind(source, &at).map_err(|e| failure(&format!("show {}", at.display()), e))?;
    }
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
        ("pts/ptmx", "ptmx"),
    ] {
        symlink(target, Path::new("/dev").join(name)).map_err(|e| failure("fill /dev", e))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        let at = Path::new("/dev").join(name);
        rustix::fs::mkdirat(CWD, &at, Mode::from_raw_mode(0o755))
            .map_err(|e| failure("fill /dev", e))?;
    }
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let pts = |options| mount("devpts", "/dev/pts", "devpts", quiet, Some(options));
    match pts(c"newinstance,ptmxmode=0666,mode=0620,gid=5") {
        // A name space with a single id has no such group.
        Err(Errno::INVAL) => pts(c"newinstance,ptmxmode=0666,mode=0620"),
        other => other,
    }
    .map_err(|e| failure("mount /dev/pts", e))?;
    mount_kind("tmpfs", "/dev/shm", QUIET, Some(c"mode=1777"))?;
    match mount("mqueue", "/dev/mqueue", "mqueue", QUIET, None) {
        // A kernel without them.
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(e) => Err(failure("mount /dev/mqueue", e)),
    }
}

fn mount_kind(
    kind: &str,
    at: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), Failure> {
    mount(kind, at, kind, flags, options).map_err(|e| failure(&format!("mount {at}"), e))
}

/// Switches the loopback interface on, which a new network name space has switched off.
pub(super) fn loopback_up() -> Result<(), Failure> {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    let socket = match socket {
        Ok(socket) => socket,
        // A kernel without IPv4 has no 127.0.0.1 either.
        Err(Errno::AFNOSUPPORT) => return Ok(()),
        Err(e) => return Err(failure("open a socket", e)),
    };
    // SAFETY: all zeroes is a value of this struct of numbers; the call reads it and keeps nothing.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    };
    if done == 0 {
        return Ok(());
    }
    Err(failure("switch the loopback interface on", std::io::Error::last_os_error()))
}
