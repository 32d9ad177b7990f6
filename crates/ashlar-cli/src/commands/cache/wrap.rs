//! `ashlar cache wrap`: restore, run, save.

use std::io::IsTerminal as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ashlar_execute::Cancel;
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Job;
use super::restore::restore;
use super::save::save;
use crate::args::Globals;
use crate::args::cache::Wrap;
use crate::exit::{Exit, Failed};

pub fn run(globals: &Globals, args: &Wrap) -> Result<Exit, Failed> {
    let job = Job { keep: args.keep_here, ..Job::open(globals, &args.place)? };
    let files = job.key_files()?;
    let listener = Listener::begin(&job.cancel, Duration::from_secs(args.grace));
    match restore(&job, &files, args.clean) {
        Ok(_) => {}
        Err(failed) if failed.exit == Exit::Usage => return Err(failed),
        // What is kept elsewhere is no reason to build nothing.
        Err(failed) => job.warn(&format!("nothing was restored: {}", failed.message)),
    }
    if let Some(signal) = listener.caught() {
        return Ok(Exit::Shell(u8::try_from(128 + signal).unwrap_or(u8::MAX)));
    }
    let status = command(globals, args, &listener)?;
    let failed = !status.success() || listener.caught().is_some();
    let saved = save(&job, &files, &args.keep, failed);
    let code = match (status.code(), status.signal(), listener.caught()) {
        (Some(0), _, Some(signal)) | (None, Some(signal), _) => 128 + signal,
        (Some(code), ..) => code,
        (None, ..) => 1,
    };
    let code = u8::try_from(code).unwrap_or(u8::MAX);
    match saved {
        // The command's own failure is what people look for.
        Err(error) if failed => job.warn(&format!("nothing was kept: {}", error.message)),
        Err(error) if error.exit == Exit::Usage => return Err(error),
        Err(error) => job.warn(&format!("nothing was kept: {}", error.message)),
        Ok(Exit::Store) if !failed => return Ok(Exit::Store),
        Ok(_) => {}
    }
    Ok(Exit::Shell(code))
}

/// Runs the command to its end.
fn command(globals: &Globals, args: &Wrap, listener: &Listener) -> Result<ExitStatus, Failed> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failed::usage("there is no command to run").help("write it after `--`"));
    };
    let mut command = Command::new(program);
    command.args(rest).current_dir(&globals.project);
    // A command of a job gets a group of its own, so that a signal reaches all that it started. One
    // that reads from a terminal has to stay in the group that may.
    let own = !std::io::stdin().is_terminal();
    if own {
        command.process_group(0);
    }
    if globals.json {
        command.stdout(super::to_stderr()?);
    }
    let shown = program.display();
    let lacks = |error| Failed::new(Exit::Machine, format!("cannot run {shown}: {error}"));
    let mut child = command.spawn().map_err(lacks)?;
    listener.follow(i32::try_from(child.id()).unwrap_or_default(), own);
    let status = child.wait();
    listener.follow(0, own);
    status.map_err(|error| Failed::new(Exit::Machine, format!("cannot wait for {shown}: {error}")))
}

/// Hears signals, and passes them on to the command.
struct Listener {
    caught: Arc<AtomicI32>,
    target: Arc<Mutex<Target>>,
}

/// Whom signals are passed on to; 0 is nobody.
#[derive(Clone, Copy, Default)]
struct Target {
    id: i32,
    group: bool,
}

impl Target {
    fn send(self, signal: Signal) {
        let Some(id) = Pid::from_raw(self.id) else { return };
        // It may have ended by itself.
        let _ = match self.group {
            true => rustix::process::kill_process_group(id, signal),
            false => rustix::process::kill_process(id, signal),
        };
    }
}

impl Listener {
    /// The first signal goes to the command, which is ended after `grace`; the same one again
    /// stops what is being saved as well.
    fn begin(cancel: &Cancel, grace: Duration) -> Self {
        let caught = Arc::new(AtomicI32::new(0));
        let target = Arc::new(Mutex::new(Target::default()));
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) {
            let (seen, whom, cancel) = (Arc::clone(&caught), Arc::clone(&target), cancel.clone());
            std::thread::spawn(move || {
                for signal in signals.forever() {
                    let first =
                        seen.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
                    if first == Err(signal) {
                        cancel.cancel();
                    }
                    pass(
                        &whom,
                        match signal {
                            SIGINT => Signal::INT,
                            SIGHUP => Signal::HUP,
                            _ => Signal::TERM,
                        },
                    );
                    if first.is_ok() {
                        let whom = Arc::clone(&whom);
                        std::thread::spawn(move || {
                            std::thread::sleep(grace);
                            pass(&whom, Signal::KILL);
                        });
                    }
                }
            });
        }
        Self { caught, target }
    }

    /// The first signal, if there was one.
    fn caught(&self) -> Option<i32> {
        Some(self.caught.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Signals go to this process, or to its group. One that came before is passed on now.
    fn follow(&self, id: i32, group: bool) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Target { id, group };
        if self.caught().is_some() {
            pass(&self.target, Signal::TERM);
        }
    }
}

/// Locked while it is sent, so that the process has not been waited for.
fn pass(target: &Mutex<Target>, signal: Signal) {
    target.lock().unwrap_or_else(PoisonError::into_inner).send(signal);
}
