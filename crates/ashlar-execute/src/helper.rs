//! The helper process: mounts first, as whoever started it; then a user name space of its own;
//! then `bwrap` as its child.
//!
//! The order matters. Overlays are mounted by the side that may, so that layers need not be
//! readable for root inside; and what is mounted before the user name space is made cannot be
//! unmounted, nor made writable, from within it, whatever capabilities a command has there.
//!
//! `bwrap` is the first process of a process name space, although it makes one itself for the
//! command. It has moments in which its death leaves its child behind; as a first process it
//! takes everything with it, and who has waited for it knows that nothing is left.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::pipe::PipeFlags;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, kill_process, pidfd_open,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{Gid, Uid, UnshareFlags};

use crate::spec::{FAILED, Failure, GO, READY, Spec, TERMINATE, receive};
use crate::{filter, image, jobs, mounts};

/// The first number for descriptors that `bwrap` uses itself.
const CONTROL: i32 = 190;

/// `linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: u32 = 1;

/// What a command that does not install packages may do with its own files, as root of its name
/// space. Nothing about mounts, networks or other processes there.
const CAPABILITIES: [&str; 10] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What this program does when a [`crate::Sandbox`] started it as `internal-sandbox`: makes the
/// mounts, leaves for a user name space, runs `bwrap` and ends when nothing of it is left.
///
/// To be called first thing, before this process has another thread or an open file.
#[must_use]
pub fn internal_sandbox() -> ExitCode {
    let socket = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => UnixStream::from(socket),
        Err(_) => return ExitCode::from(125),
    };
    let failure = match set_up(&socket).and_then(|running| attend(&socket, running)) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    // When the parent is gone there is nobody to tell.
    let mut message = vec![FAILED];
    message.extend(serde_json::to_vec(&failure).unwrap_or_default());
    let _ = (&socket).write_all(&message);
    ExitCode::from(125)
}

/// The process with which everything in the sandbox ends.
enum Running {
    Bwrap(Child),
    Image(image::First),
}

/// Waits until everything has ended, or ends it when the parent says so.
fn attend(mut socket: &UnixStream, running: Running) -> Result<(), Failure> {
    let watching = |e: Errno| failure("watch the sandbox", e);
    let pid = match &running {
        Running::Bwrap(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        Running::Image(first) => Some(first.pid),
    };
    let pid = pid.ok_or_else(|| watching(Errno::SRCH))?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(watching)?;
    loop {
        let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(watching(e)),
        }
        let mut word = [0];
        if fds[0].revents().is_empty()
            && matches!(socket.read(&mut word), Ok(1))
            && word == [TERMINATE]
        {
            kill_process(pid, Signal::TERM).map_err(watching)?;
            continue;
        }
        break;
    }
    // For a process that has ended this does nothing.
    match running {
        Running::Bwrap(mut child) => {
            child.kill().and_then(|()| child.wait()).map_err(|e| failure("end bwrap", e))?;
            Ok(())
        }
        Running::Image(first) => {
            kill_process(pid, Signal::KILL).map_err(watching)?;
            first.finish()
        }
    }
}

fn set_up(mut socket: &UnixStream) -> Result<Running, Failure> {
    let parent = getppid();
    die_with_parent()?;
    close_inherited(socket.as_raw_fd());
    let (fds, spec) = receive(socket).map_err(|e| failure("read what to do", e))?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    forget_caller()?;

    leave(UnshareFlags::NEWNS).map_err(|e| lacks("make a mount name space", e))?;
    match &spec.image {
        Some(image) => image::assemble(&spec, image, &spec.contents.0)?,
        None => mounts::assemble(&spec)?,
    }

    leave(UnshareFlags::NEWUSER).map_err(|e| lacks("make a user name space", e))?;
    socket.write_all(&[READY]).map_err(|e| failure("speak to the parent", e))?;
    let mut answer = [0];
    socket.read_exact(&mut answer).map_err(|e| failure("hear from the parent", e))?;
    if answer != [GO] {
        return Err(failure("understand the parent", Errno::INVAL));
    }
    become_root()?;
    // Changing ids cleared it. A parent that died in between is another process now.
    die_with_parent()?;
    if getppid() != parent {
        return Err(failure("go on without a parent", Errno::SRCH));
    }
    if let Some(image) = &spec.image {
        return image::start(&spec, image, fds).map(Running::Image);
    }
    leave(UnshareFlags::NEWPID | UnshareFlags::NEWNS)
        .map_err(|e| lacks("make a process name space", e))?;
    let (alive, held) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failure("make a pipe", e))?;
    let mut command = bwrap(&spec, fds)?;
    let number = held.as_raw_fd();
    let first = move || -> std::io::Result<()> {
        // SAFETY: this is the child's copy, which nothing else uses: the child never returns to
        // where `held` is owned.
        unsafe { rustix::io::close(number) };
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // From here on the child dies with this process. Has this happened already?
        let mut fds = [PollFd::new(&alive, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
            return Err(Errno::SRCH.into());
        }
        // `bwrap` looks itself up by the numbers that processes have here.
        mount(
            "proc",
            "/proc",
            "proc",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            None,
        )?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it allocates nothing and takes no lock.
    let child = unsafe { command.pre_exec(first) }.spawn();
    drop(held);
    child.map(Running::Bwrap).map_err(|e| match e.raw_os_error() {
        // The new /proc is refused where parts of the present one are hidden.
        Some(code) if code == Errno::PERM.raw_os_error() => lacks("start bwrap", Errno::PERM),
        _ => failure("start bwrap", e),
    })
}

fn die_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| failure("ask to die with the parent", e))
}

pub(crate) fn leave(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unsharing is unsafe where other threads or values rely on what was shared. This
    // process has one thread, and neither mounts nor user ids are shared with a file table.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

fn become_root() -> Result<(), Failure> {
    match rustix::thread::set_thread_groups(&[]) {
        // In a name space with a single id groups cannot be changed, and there are none.
        Ok(()) | Err(Errno::PERM) => {}
        Err(e) => return Err(failure("drop groups", e)),
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .and_then(|()| rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
        .map_err(|e| failure("become root of the name space", e))
}

/// Closes what the program that started ours left open for its children: a descriptor of a
/// folder would be a way out.
fn close_inherited(keep: i32) {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers {
        if number <= 2 || number == keep {
            continue;
        }
        // SAFETY: nothing in this process owns a descriptor yet but the socket, which is kept,
        // and the listing, which is closed by now and found so.
        unsafe {
            if rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(number)).is_ok() {
                rustix::io::close(number);
            }
        }
    }
}

/// The command line of the sandbox.
fn bwrap(spec: &Spec, fds: Vec<OwnedFd>) -> Result<Command, Failure> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| failure("find a descriptor", Errno::BADF));
    let status = hand_down(&next()?, CONTROL)?;
    let input = if spec.terminal { Stdio::from(next()?) } else { Stdio::null() };
    if let (Ok(read), Ok(write)) = (next(), next()) {
        let (wanted_read, wanted_write) = jobs::INSIDE;
        let got = (hand_down(&read, wanted_read)?, hand_down(&write, wanted_write)?);
        if got != jobs::INSIDE {
            return Err(failure("place the jobserver", Errno::BUSY));
        }
    }

    let mut command = Command::new(&spec.bwrap);
    if let Some(filter) = filter::program() {
        let number = hand_down(&in_memory(&filter)?, CONTROL)?;
        command.args(["--seccomp", &number.to_string()]);
    }
    command
        .env_clear()
        .envs(&spec.environment)
        .stdin(input)
        .args(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"])
        .args(["--unshare-cgroup-try", "--hostname", "ashlar", "--die-with-parent"])
        .args(["--json-status-fd", &status.to_string()])
        .args(["--bind", mounts::ASSEMBLED, "/", "--proc", "/proc", "--dev", "/dev"])
        .args(["--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run"])
        .args(["--tmpfs", "/sys", "--remount-ro", "/sys"])
        .args(["--chdir", &spec.directory]);
    if !spec.terminal {
        command.arg("--new-session");
    }
    if !spec.all_capabilities {
        command.args(["--cap-drop", "ALL"]);
        for capability in CAPABILITIES {
            command.args(["--cap-add", capability]);
        }
    }
    command.arg("--").args(&spec.arguments);
    Ok(command)
}

/// A file without a name that holds these bytes, to be read from its beginning.
fn in_memory(bytes: &[u8]) -> Result<OwnedFd, Failure> {
    let fd = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|e| failure("make a file in memory", e))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).map_err(|e| failure("write a file in memory", e))?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
        .map_err(|e| failure("go back in a file in memory", e))?;
    Ok(file.into())
}

/// Takes away what a process inherits from its parent besides files, and a build could see: the
/// execution domain, which `uname` shows, the session's keyring, and resource limits.
fn forget_caller() -> Result<(), Failure> {
    // SAFETY: both calls take numbers only, and change nothing that Rust relies on.
    unsafe {
        libc::personality(0);
        // A kernel without keyrings says ENOSYS, and there is nothing to leave.
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0_usize);
    }
    const MIB: u64 = 1 << 20;
    for (resource, soft) in [
        (Resource::Stack, Some(8 * MIB)),
        (Resource::Nofile, Some(1024)),
        (Resource::As, None),
        (Resource::Data, None),
        (Resource::Fsize, None),
        (Resource::Cpu, None),
        // A core would be one more file in somebody's outputs.
        (Resource::Core, Some(0)),
    ] {
        // Only the machine's root can raise a hard limit; others are left what they may have.
        let maximum = rustix::process::getrlimit(resource).maximum;
        let current = match (soft, maximum) {
            (Some(soft), Some(maximum)) => Some(soft.min(maximum)),
            (soft, maximum) => soft.or(maximum),
        };
        setrlimit(resource, Rlimit { current, maximum })
            .map_err(|e| failure("set a resource limit", e))?;
    }
    Ok(())
}

/// Gives a descriptor the first free number from `from` on, and to the next program.
fn hand_down(fd: &OwnedFd, from: i32) -> Result<i32, Failure> {
    let placed = rustix::io::fcntl_dupfd_cloexec(fd, from)
        .and_then(|placed| {
            rustix::io::fcntl_setfd(&placed, rustix::io::FdFlags::empty())?;
            Ok(placed)
        })
        .map_err(|e| failure("place a descriptor", e))?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(placed))
}

pub(crate) fn failure(doing: &str, error: impl Into<std::io::Error>) -> Failure {
    Failure { what: format!("cannot {doing}: {}", error.into()), advice: None, of_request: false }
}

pub(crate) fn lacks(doing: &str, error: Errno) -> Failure {
    let advice = match error {
        Errno::NOSPC | Errno::USERS => Some("sysctl -w user.max_user_namespaces=10000".to_owned()),
        Errno::PERM => Some(
            "inside a container, let it make name spaces (docker: --privileged, or \
             --security-opt seccomp=unconfined with --cap-add SYS_ADMIN)"
                .to_owned(),
        ),
        _ => None,
    };
    Failure { advice, ..failure(doing, error) }
}
