//! The first process of a command in an image: it makes the rest of the sandbox, starts the
//! command, passes SIGTERM on, and collects what is left alone.
//!
//! `bwrap` is not used here: it lets no program gain rights, and an image's `sudo`, `su` and
//! programs with file capabilities have to work as they do in every container.

use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::spec::ImageSpec;
use super::{become_user, gateway, system};
use crate::helper::{failure, lacks, leave};
use crate::spec::{Failure, Spec};

/// How every sandbox is called.
const HOST: &[u8] = b"ashlar";

/// The first process, as its parent sees it.
pub(crate) struct First {
    pub(crate) pid: Pid,
    /// What it says when it could not do its part.
    said: std::fs::File,
    /// Closed when the parent dies.
    _held: OwnedFd,
}

impl First {
    /// Waits for its end, which has come or is about to.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(failure("wait for the sandbox", e)),
                Ok(_) => break,
            }
        }
        let mut text = Vec::new();
        self.said.read_to_end(&mut text).map_err(|e| failure("hear from the sandbox", e))?;
        match serde_json::from_slice(&text) {
            Ok(said) => Err(said),
            // Nothing was said: it went well, or it was killed.
            Err(_) => Ok(()),
        }
    }
}

/// Starts the first process in name spaces of its own. `fds` are where to say how the command
/// ended, with a terminal standard input, and with a gateway where its socket goes.
pub(crate) fn start(spec: &Spec, image: &ImageSpec, fds: Vec<OwnedFd>) -> Result<First, Failure> {
    let mut spaces = UnshareFlags::NEWPID
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    if !image.network {
        spaces |= UnshareFlags::NEWNET;
    }
    leave(spaces).map_err(|e| lacks("make name spaces", e))?;
    let pipe =
        || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failure("make a pipe", e));
    let (said, mut say) = pipe().map(|(a, b)| (std::fs::File::from(a), std::fs::File::from(b)))?;
    let (alive, held) = pipe()?;
    // The first process waits for signals, so none is lost between two looks, nor before the
    // first: a first process without a handler is not even told.
    let waited = Signals::of(&[libc::SIGTERM, libc::SIGCHLD]);
    waited.block(libc::SIG_BLOCK)?;
    // SAFETY: this process has one thread, so the child may do whatever a process may.
    match unsafe { libc::fork() } {
        -1 => Err(failure("make a process", std::io::Error::last_os_error())),
        0 => {
            drop((said, held));
            let code = match live(spec, image, fds, &alive, &waited) {
                Ok(()) => 0,
                Err(failure) => {
                    let text = serde_json::to_vec(&failure).unwrap_or_default();
                    // With nobody to hear it there is nothing else to do.
                    let _ = say.write_all(&text);
                    125
                }
            };
            // SAFETY: it never returns. What the parent had begun is not for the child to end.
            unsafe { libc::_exit(code) }
        }
        pid => {
            waited.block(libc::SIG_UNBLOCK)?;
            let pid = Pid::from_raw(pid).ok_or_else(|| failure("make a process", Errno::SRCH))?;
            Ok(First { pid, said, _held: held })
        }
    }
}

fn live(
    spec: &Spec,
    image: &ImageSpec,
    fds: Vec<OwnedFd>,
    alive: &OwnedFd,
    waited: &Signals,
) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| failure("ask to die with the parent", e))?;
    // From here on this process dies with its parent. Has this happened already?
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut [PollFd::new(alive, PollFlags::IN)], Some(&now)) {
        Ok(0) => {}
        _ => return Err(failure("go on without a parent", Errno::SRCH)),
    }
    let mut fds = fds.into_iter();
    let status = fds.next().ok_or_else(|| failure("find a descriptor", Errno::BADF))?;
    let way_out = if image.gateway { fds.next_back() } else { None };
    let input = fds.next();
    rustix::system::sethostname(HOST).map_err(|e| failure("name the sandbox", e))?;
    if !image.network {
        system::loopback_up()?;
        if let Some(to) = way_out {
            gateway::open(&to)?;
        }
    }
    system::enter_root()?;

    let (failed, say) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failure("make a pipe", e))?;
    // SAFETY: as above.
    let command = match unsafe { libc::fork() } {
        -1 => return Err(failure("make a process", std::io::Error::last_os_error())),
        0 => {
            drop(failed);
            waited.block(libc::SIG_UNBLOCK)?;
            let Err(failure) = become_user::run(spec, image, input);
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            // With nobody to hear it there is nothing else to do.
            let _ = std::fs::File::from(say).write_all(&text);
            // SAFETY: as above.
            unsafe { libc::_exit(125) }
        }
        pid => pid,
    };
    drop((say, input));
    let command = Pid::from_raw(command).ok_or_else(|| failure("make a process", Errno::SRCH))?;
    // It ends when the command is started, or has said why not.
    let mut text = Vec::new();
    std::fs::File::from(failed)
        .read_to_end(&mut text)
        .map_err(|e| failure("hear from the command", e))?;
    if let Ok(failure) = serde_json::from_slice(&text) {
        return Err(failure);
    }
    let code = attend(command, waited)?;
    std::fs::File::from(status)
        .write_all(format!("{{ \"exit-code\": {code} }}\n").as_bytes())
        .map_err(|e| failure("say how the command ended", e))
}

/// Waits until the command has ended, and when it was told to stop, until all it started have;
/// the exit code of the command.
fn attend(command: Pid, waited: &Signals) -> Result<i32, Failure> {
    let mut stopping = false;
    let mut code = None;
    loop {
        if waited.next()? == libc::SIGTERM {
            stopping = true;
            // A shell would end at once and leave its `make` alone, so everybody is told: the
            // group of number 1 stands for all. Nobody being left is no failure.
            let _ = rustix::process::kill_process_group(Pid::INIT, Signal::TERM);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == command {
                        let signal = || 128 + status.terminating_signal().unwrap_or_default();
                        code = Some(status.exit_status().unwrap_or_else(signal));
                    }
                }
                Ok(None) | Err(Errno::INTR) => break,
                Err(Errno::CHILD) => return Ok(code.unwrap_or(125)),
                Err(e) => return Err(failure("wait for the command", e)),
            }
        }
        // What it left running ends with this process.
        if let Some(code) = code.filter(|_| !stopping) {
            return Ok(code);
        }
    }
}

/// A set of signals.
struct Signals(libc::sigset_t);

impl Signals {
    fn of(signals: &[i32]) -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the first call makes the set, the others add numbers to it.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            Self(set.assume_init())
        }
    }

    /// Blocks or unblocks them: `SIG_BLOCK`, `SIG_UNBLOCK`.
    fn block(&self, how: i32) -> Result<(), Failure> {
        // SAFETY: the set is read, and the old one is not asked for.
        match unsafe { libc::sigprocmask(how, &raw const self.0, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(failure("block signals", std::io::Error::last_os_error())),
        }
    }

    /// Waits for one of them, which have to be blocked.
    fn next(&self) -> Result<i32, Failure> {
        loop {
            // SAFETY: the set is read, and the details are not asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            if signal > 0 {
                return Ok(signal);
            }
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(failure("wait for a signal", error));
            }
        }
    }
}
