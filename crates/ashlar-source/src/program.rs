//! Running the programs that are the standard for what they do.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::SourceError;
use crate::url::Stop;

/// How often it is asked whether to stop while a program works.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long a program has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub name: &'static str,
    pub package: &'static str,
    /// What is started: the name, or a full path for helpers outside `PATH`.
    start: &'static str,
}

pub(crate) const GIT: Program = Program { name: "git", package: "git", start: "git" };
pub(crate) const PATCH: Program = Program { name: "patch", package: "patch", start: "patch" };
pub(crate) const DPKG: Program = Program { name: "dpkg", package: "dpkg", start: "dpkg" };
pub(crate) const DPKG_DEB: Program =
    Program { name: "dpkg-deb", package: "dpkg", start: "dpkg-deb" };
pub(crate) const APT_GET: Program = Program { name: "apt-get", package: "apt", start: "apt-get" };
pub(crate) const APT_CACHE: Program =
    Program { name: "apt-cache", package: "apt", start: "apt-cache" };
pub(crate) const APT_HELPER: Program =
    Program { name: "apt-helper", package: "apt", start: "/usr/lib/apt/apt-helper" };

impl Program {
    /// A command with messages in English, because some are read here, and no input.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.start);
        command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE").stdin(Stdio::null());
        command
    }

    /// Starts the command and waits, with everything it says kept.
    pub fn run(self, command: &mut Command, input: Option<&[u8]>) -> Result<Output, SourceError> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|e| self.not_started(e))?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that ends before it has read everything says why itself; the
                // broken pipe adds nothing.
                scope.spawn(move || stdin.write_all(input).ok());
            }
            child.wait_with_output()
        });
        output.map_err(|source| SourceError::Start { program: self.name, source })
    }

    /// As [`Program::run`], which ends the program when it is told to stop, and says
    /// [`SourceError::Stopped`] then.
    pub fn run_until(self, command: &mut Command, stop: Stop<'_>) -> Result<Output, SourceError> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts ends with it: git leaves its helpers behind.
        // What asks at the terminal would wait for ever there.
        let group = !asks_at_terminal();
        if group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|e| self.not_started(e))?;
        let failed = |source| SourceError::Start { program: self.name, source };
        // Read by threads of their own: what the program started may hold the pipes when it is gone.
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let stdout = std::thread::spawn(move || all(stdout));
        let stderr = std::thread::spawn(move || all(stderr));
        let status = match has_ended(&child, stop) {
            Ok(true) => child.wait().map_err(failed)?,
            Ok(false) => {
                end(&mut child, group).map_err(failed)?;
                return Err(SourceError::Stopped);
            }
            Err(error) => {
                // It is not left to itself; why it could not be waited for says more.
                child.kill().and_then(|()| child.wait()).ok();
                return Err(failed(error));
            }
        };
        let lost = |_| failed(std::io::ErrorKind::BrokenPipe.into());
        let stdout = stdout.join().map_err(lost)?.map_err(failed)?;
        let stderr = stderr.join().map_err(lost)?.map_err(failed)?;
        Ok(Output { status, stdout, stderr })
    }

    /// The error for a program that did not start.
    pub fn not_started(self, source: std::io::Error) -> SourceError {
        if source.kind() == std::io::ErrorKind::NotFound {
            SourceError::Lacks { program: self.name, package: self.package }
        } else {
            SourceError::Start { program: self.name, source }
        }
    }
}

/// Everything that comes out of a pipe.
fn all(pipe: Option<impl Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
}

/// Waits for the end of a program, which keeps its number; `false` when it was told to stop before.
fn has_ended(child: &Child, stop: Stop<'_>) -> std::io::Result<bool> {
    let seen = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        match poll(&mut [PollFd::new(&seen, PollFlags::IN)], Some(&TICK)) {
            Ok(0) if stop() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the user has git use a program that may ask for a password.
fn asks_at_terminal() -> bool {
    ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Ends a program, and its group where it has one: with a request first, so that it removes what it
/// has half made.
fn end(child: &mut Child, group: bool) -> std::io::Result<()> {
    let asked = Instant::now();
    let id = Pid::from_child(child);
    let send = |signal| match group {
        true => kill_process_group(id, signal),
        false => kill_process(id, signal),
    };
    send(Signal::TERM)?;
    has_ended(child, &|| asked.elapsed() > GRACE)?;
    // Until it is waited for the numbers are its own.
    send(Signal::KILL)?;
    child.wait().map(drop)
}

/// What a program said on standard error, short enough to be shown: the last lines.
pub(crate) fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
