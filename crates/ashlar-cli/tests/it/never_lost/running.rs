//! A build that is still running.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::support::{Project, Ran};

/// How long anything may take that should take moments: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A build in the background, in a process group of its own. It is killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    readers: Option<(JoinHandle<()>, JoinHandle<String>)>,
    /// The lines of its standard output so far.
    seen: Vec<String>,
}

impl Running {
    /// Starts the program.
    pub fn start(project: &Project, args: &[&str]) -> Self {
        let mut command = project.command(args);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = child.stderr.take().unwrap();
        let out = std::thread::spawn(move || {
            let mut line = Vec::new();
            // A killed program may leave half a line, which says nothing.
            while out.read_until(b'\n', &mut line).unwrap() > 0 && line.ends_with(b"\n") {
                // Nobody listens when the test is over.
                let _ = sender.send(String::from_utf8(line.clone()).unwrap());
                line.clear();
            }
        });
        let err = std::thread::spawn(move || {
            let mut text = Vec::new();
            err.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, readers: Some((out, err)), seen: Vec::new() }
    }

    /// Waits for an event on standard output.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {what} in:\n{}", self.seen.concat());
            };
            let event = serde_json::from_str(&line).unwrap();
            self.seen.push(line);
            if wanted(&event) {
                return;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends a signal to the program and everything it started that is still in its group, as a
    /// terminal does.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).unwrap();
    }

    /// Waits for the end. The code of a signal is 128 and its number.
    pub fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let (out, err) = self.readers.take().unwrap();
        // Its pipes end with it: nothing it started holds them.
        out.join().unwrap();
        self.seen.extend(self.lines.try_iter());
        let code = status.signal().map_or_else(|| status.code().unwrap(), |signal| 128 + signal);
        Ran { code, out: self.seen.concat(), err: err.join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and a test that fails has other worries.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
