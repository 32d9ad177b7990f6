//! Which files a command touches: it and everything that it starts, however they are linked and
//! however many threads they have, without any privilege.
//!
//! A seccomp filter stops them at the system calls that name files, and only there; the tracer
//! reads the name and looks at what is there before it lets the call go on.
//!
//! | module | what lives there |
//! |---|---|
//! | `calls` | which system calls name files, by architecture |
//! | `filter` | the filter that stops at them |
//! | `ptrace` | requests to the kernel |
//! | `tracer` | the tracing process: its loop, what it knows of each thread |
//! | `paths` | where a name leads, link by link |
//! | `notes` | what was done with each path; what is the command's own work |
//! | `report` | what the tracing process says in the end |
//!
//! What it does not see: files that a process outside opens and passes on, and that a file is in
//! one of the folders when it is reached through a mount that the command made itself. What cannot run inside: what traces others itself (`strace`, the
//! leak sanitizer), and a trace within a trace. Rings (`io_uring`) are refused, because what goes
//! through them passes every filter.

mod calls;
mod filter;
mod notes;
mod paths;
mod ptrace;
mod report;
mod tracer;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pipe::PipeFlags;

pub use tracer::internal_trace;

/// What was done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touch {
    /// The content or metadata of a file or link was looked at that the command did not make.
    Read,
    /// It was looked for and not there.
    Absent,
    /// The names in a folder were read that the command did not make.
    Listed,
    /// It was made, written, renamed or removed.
    Wrote,
    /// It was run, or loaded to run another; a file that the command did not make.
    Ran,
}

/// A path and what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touched {
    /// Absolute and without links: links on the way to a file are paths of their own.
    pub path: PathBuf,
    /// What was done. A path can have several.
    pub touch: Touch,
}

/// How commands are traced.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Only what is in these folders, or is one of them, is reported; everything when there are
    /// none.
    pub below: Vec<PathBuf>,
    /// This program: what has [`internal_trace`] behind `internal-trace`.
    pub helper: PathBuf,
}

/// What keeps a command from being traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The machine, or the container this runs in, does not let processes be traced.
    #[error("{what}")]
    Lacks {
        /// What, as a sentence fragment.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// The tracing process cannot be started.
    #[error("cannot start {} to trace", helper.display())]
    Helper {
        /// The program.
        helper: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The command cannot be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// Its program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The command ran to its end, and the trace is not complete.
    #[error(
        "the trace is not complete: {} was run, which may not be read, and so what it does not \
         be seen; let it be read (chmod a+r), or run without a trace", program.display()
    )]
    Hidden {
        /// The program, or the first of several.
        program: PathBuf,
        /// How the command ended.
        status: ExitStatus,
    },
    /// The tracing process was killed, and the command with it.
    #[error("the tracing process ended before the command did, which ended with it: {status}")]
    Lost {
        /// How the command ended.
        status: ExitStatus,
    },
}

impl Trace {
    /// Runs a command and says which files it touched, in the order of paths. Standard streams,
    /// folder and environment are the command's own; `started` is called once it runs, to take
    /// its pipes.
    ///
    /// Returns when the command itself ends. What it leaves behind goes on, and is not reported.
    /// When this process or the calling thread ends before, so does the command with all that it
    /// started.
    ///
    /// # Errors
    /// [`TraceError`]; that the command fails is none.
    pub fn run(
        &self,
        mut command: Command,
        started: &mut dyn FnMut(&mut Child),
    ) -> Result<(ExitStatus, Vec<Touched>), TraceError> {
        let program = PathBuf::from(command.get_program());
        let failed = |source| TraceError::Helper { helper: self.helper.clone(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (problem, say) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| failed(io::Error::from(error)))?;
        let mut tracer = self.start_tracer(theirs.into()).map_err(failed)?;
        let tracer_id = tracer.id();
        let report = tracer.stdout.take();
        // Whatever happens below, somebody has to take note of its end; a daemon that the command
        // left behind can put that off.
        std::thread::spawn(move || tracer.wait());

        let filter = filter::program();
        let (gate, problem_pipe) = (ours.as_raw_fd(), say.as_raw_fd());
        // SAFETY: between fork and exec it only makes system calls, and uses memory that is there.
        unsafe {
            command.pre_exec(move || {
                let result = be_traced(gate, tracer_id, &filter);
                if let Err((stage, error)) = &result {
                    let code = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
                    let [a, b, c, d] = code;
                    // Without it the error is only less exact.
                    let _ = libc::write(problem_pipe, [*stage, a, b, c, d].as_ptr().cast(), 5);
                }
                result.map_err(|(_, error)| error)
            });
        }
        let child = command.spawn();
        drop((ours, say));
        let mut child = match child {
            Ok(child) => child,
            Err(source) => {
                return Err(refusal(problem).unwrap_or(TraceError::Start { program, source }));
            }
        };
        started(&mut child);
        let mut text = Vec::new();
        // A report that breaks off is found below, for whatever reason.
        let _ = report.map(|mut report| report.read_to_end(&mut text));
        let status = child
            .wait()
            .map_err(|source| TraceError::Start { program: program.clone(), source })?;
        match report::read(&text) {
            Some(report) => match report.hidden.into_iter().next() {
                None => Ok((status, report.touched)),
                Some(program) => Err(TraceError::Hidden { program, status }),
            },
            None => Err(TraceError::Lost { status }),
        }
    }

    /// Whether commands can be traced here: traces one that does nothing.
    ///
    /// # Errors
    /// [`TraceError`], with what to do about it.
    pub fn available(&self) -> Result<(), TraceError> {
        let mut command = Command::new(&self.helper);
        // With nothing on standard input there is nothing to trace.
        command.arg("internal-trace").env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.run(command, &mut |_| {}).map(|_| ())
    }

    fn start_tracer(&self, gate: OwnedFd) -> io::Result<Child> {
        let mut tracer = Command::new(&self.helper);
        tracer.arg("internal-trace");
        tracer.args(self.below.iter().map(|folder| {
            // Paths are reported without links, so they are compared without them.
            folder.canonicalize().unwrap_or_else(|_| folder.clone())
        }));
        // It may outlive us, and must hold nothing of ours: no output that somebody reads to its
        // end, no folder, no terminal.
        tracer.env_clear().current_dir("/");
        tracer.stdin(gate).stdout(Stdio::piped()).stderr(Stdio::null());
        let parent = std::process::id();
        // SAFETY: between fork and exec it only makes system calls.
        unsafe {
            tracer.pre_exec(move || {
                rustix::process::setsid()?;
                let signal = rustix::process::Signal::KILL;
                rustix::process::set_parent_process_death_signal(Some(signal))?;
                let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
                if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        tracer.spawn()
    }
}

/// What went wrong in [`be_traced`], as a byte that is said to the parent.
const SEIZE: u8 = b's';
const FILTER: u8 = b'f';

/// Lets the tracing process take hold of this one, and lays the filter over it. Runs between fork
/// and exec, so it makes nothing but system calls.
fn be_traced(
    gate: RawFd,
    tracer: u32,
    filter: &[libc::sock_filter],
) -> Result<(), (u8, io::Error)> {
    // Under Yama only ancestors may trace, and whom the process itself allows to; a kernel
    // without Yama does not know the call, and nothing is lost.
    // SAFETY: the call takes numbers, and changes nothing but who may trace this process.
    let _ = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::from(tracer), 0, 0, 0) };
    let number = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
    let mut answer = [0; 4];
    let mut got = 0;
    // SAFETY: both calls are told how long what they read and write is.
    unsafe {
        if libc::write(gate, number.as_ptr().cast(), number.len()) != 4 {
            return Err((SEIZE, io::Error::last_os_error()));
        }
        while got < answer.len() {
            let rest = answer.get_mut(got..).unwrap_or_default();
            match usize::try_from(libc::read(gate, rest.as_mut_ptr().cast(), rest.len())) {
                Ok(0) => return Err((SEIZE, io::Error::from_raw_os_error(libc::ECHILD))),
                Ok(count) => got += count,
                Err(_) if *libc::__errno_location() == libc::EINTR => {}
                Err(_) => return Err((SEIZE, io::Error::last_os_error())),
            }
        }
    }
    match i32::from_ne_bytes(answer) {
        0 => filter::install(filter).map_err(|error| (FILTER, error)),
        code => Err((SEIZE, io::Error::from_raw_os_error(code))),
    }
}

/// What the process that could not be traced said about it.
fn refusal(problem: OwnedFd) -> Option<TraceError> {
    let mut said = Vec::new();
    File::from(problem).read_to_end(&mut said).ok()?;
    let (stage, code) = said.split_first()?;
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(code.try_into().ok()?));
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let (what, advice) = match (*stage, scope.trim()) {
        (SEIZE, "2" | "3") => (
            "the kernel's setting kernel.yama.ptrace_scope lets nobody trace processes".to_owned(),
            "sysctl -w kernel.yama.ptrace_scope=1 (as root; 3 can only be changed by a restart), \
             or run without a trace",
        ),
        (SEIZE, _) => (
            format!("processes cannot be traced here: {error}"),
            "in a container allow the call ptrace (docker run --cap-add=SYS_PTRACE); a command \
             that is traced already, by a debugger or an outer trace, cannot be traced again",
        ),
        (FILTER, _) if filter::program().is_empty() => (
            format!("tracing knows x86_64 and aarch64, not {}", std::env::consts::ARCH),
            "run without a trace",
        ),
        _ => (
            format!("the calls of a process cannot be filtered here: {error}"),
            "use a kernel with CONFIG_SECCOMP_FILTER=y; in a container allow the call seccomp",
        ),
    };
    Some(TraceError::Lacks { what, advice: advice.to_owned() })
}
