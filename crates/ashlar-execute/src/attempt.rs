//! One helper process, from its start until nothing of it is left.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Uid};
use rustix::pipe::PipeFlags;

use crate::log::Log;
use crate::spec::{self, FAILED, Failure, GO, READY, STOP, Spec, TERMINATE};
use crate::{Cancel, ExecuteError, Gateway, Jobs};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    TimedOut(Duration),
    Cancelled,
}

/// One command about to run.
pub(crate) struct Attempt<'a> {
    pub(crate) helper: &'a Path,
    pub(crate) spec: &'a Spec,
    pub(crate) jobs: Option<&'a Jobs>,
    pub(crate) gateway: Option<&'a Gateway>,
    /// How long the command has between SIGTERM and SIGKILL; zero kills at once.
    pub(crate) grace: Duration,
}

impl Attempt<'_> {
    /// Runs the command and collects its output. When this returns, no process of it is left.
    pub(crate) fn run(
        &self,
        timeout: Option<Duration>,
        cancel: &Cancel,
        log: &mut Log,
        stream: &mut dyn FnMut(&[u8]),
    ) -> Result<End, ExecuteError> {
        let (output, input) = pipe()?;
        // More output between two looks of ours than 64 KiB would only make the command wait.
        // A machine that allows no more is no failure.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, 1 << 20);
        // A pipe belongs to whoever made it, and `/dev/stderr` is opened by name in scripts.
        let (uid, gid) = self.spec.image.as_ref().map_or((0, 0), |image| (image.uid, image.gid));
        let id = |inside: u32| self.spec.owner.wrapping_add(inside);
        let owner = (Uid::from_raw(id(uid)), Gid::from_raw(id(gid)));
        rustix::fs::fchown(&input, Some(owner.0), Some(owner.1))
            .map_err(sandbox("prepare a pipe"))?;
        let other = input.try_clone().map_err(sandbox("copy a descriptor"))?;
        let mut helper = self.start(Stdio::from(input), Stdio::from(other))?;
        let mut watch = Watch { output: Some(File::from(output)), cancel, log, stream };
        let deadline = timeout.map(|timeout| (timeout, Instant::now() + timeout));
        if let Err(error) = helper.handshake(&mut watch, self.spec.owner) {
            helper.kill();
            watch.drain();
            return Err(said(error, watch.log));
        }

        let mut end = None;
        match watch.wait(helper.socket.as_fd(), deadline.map(|(_, at)| at), true) {
            Wake::Ready => {}
            Wake::Cancelled => end = Some(End::Cancelled),
            Wake::TimedOut => end = deadline.map(|(timeout, _)| End::TimedOut(timeout)),
        }
        if end.is_some() {
            if !self.grace.is_zero() {
                // It may have ended by itself a moment ago, here and below.
                let _ = helper.socket.write_all(&[TERMINATE]);
                watch.wait(helper.socket.as_fd(), Some(Instant::now() + self.grace), false);
            }
            let _ = helper.socket.write_all(&[STOP]);
            watch.wait(helper.socket.as_fd(), None, false);
        }
        let code = helper.finish();
        watch.drain();
        match (end, code) {
            (Some(end), _) => Ok(end),
            (None, Some(code)) => Ok(End::Exited(code)),
            // Somebody else was told to stop as well, and was quicker.
            (None, None) if cancel.is_cancelled() => Ok(End::Cancelled),
            (None, None) => not_begun(helper.last_words(), &watch.log.text()),
        }
    }

    /// Runs the command on the terminal of this process; its exit code.
    pub(crate) fn run_on_terminal(&self) -> Result<i32, ExecuteError> {
        let mut helper = self.start(Stdio::inherit(), Stdio::inherit())?;
        let cancel = Cancel::new();
        let (mut log, mut stream) = (Log::new(), |_: &[u8]| {});
        let mut watch = Watch { output: None, cancel: &cancel, log: &mut log, stream: &mut stream };
        helper.handshake(&mut watch, self.spec.owner)?;
        watch.wait(helper.socket.as_fd(), None, false);
        helper.finish().ok_or_else(|| ExecuteError::Sandbox("bwrap failed".into()))
    }

    fn start(&self, output: Stdio, error: Stdio) -> Result<Helper, ExecuteError> {
        let (socket, theirs) = UnixStream::pair().map_err(sandbox("make a socket"))?;
        let (status, status_theirs) = pipe()?;
        let mut command = Command::new(self.helper);
        command
            .arg("internal-sandbox")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(output)
            .stderr(error);
        if !self.spec.terminal {
            // What is typed on a terminal, ^C above all, is for this process to deal with.
            command.process_group(0);
        }
        let child = command.spawn().map_err(|source| ExecuteError::Workspace {
            doing: "start",
            path: PathBuf::from(self.helper),
            source,
        })?;
        // The ends that went to the helper must not stay open here.
        drop(command);
        let helper = Helper { child, socket, status: File::from(status) };
        let stdin = std::io::stdin();
        let mut fds: Vec<BorrowedFd<'_>> = vec![status_theirs.as_fd()];
        if self.spec.terminal {
            fds.push(stdin.as_fd());
        }
        if let Some(jobs) = self.jobs {
            fds.extend(<[_; 2]>::from(jobs.ends()));
        }
        // The last one: see `image::start`.
        fds.extend(self.gateway.map(Gateway::end));
        match spec::send(&helper.socket, &fds, self.spec) {
            // A helper that ended early may have said why; the handshake reads it.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            sent => sent.map_err(sandbox("tell the helper what to do"))?,
        }
        Ok(helper)
    }
}

/// The process, of which nothing is left once its end of the socket is closed.
struct Helper {
    child: Child,
    socket: UnixStream,
    status: File,
}

impl Helper {
    /// Brings the helper to the point where it starts `bwrap`.
    fn handshake(&mut self, watch: &mut Watch<'_>, owner: u32) -> Result<(), ExecuteError> {
        watch.wait(self.socket.as_fd(), None, false);
        let mut word = [0];
        // A connection that is reset is a helper that died.
        let got = self.socket.read(&mut word).unwrap_or_default();
        match (got, word) {
            (1, [READY]) => {}
            (1, [FAILED]) => return Err(self.failure()),
            _ => return Err(ExecuteError::Sandbox(String::new())),
        }
        self.write_maps(owner)?;
        self.socket.write_all(&[GO]).map_err(sandbox("speak to the helper"))
    }

    /// What follows [`FAILED`].
    fn failure(&mut self) -> ExecuteError {
        let mut rest = Vec::new();
        // What arrives in part is no JSON and says so itself.
        let _ = self.socket.read_to_end(&mut rest);
        match serde_json::from_slice::<Failure>(&rest) {
            Ok(Failure { what, advice, of_request: true }) => {
                ExecuteError::Request { what, advice: advice.unwrap_or_default() }
            }
            Ok(Failure { what, advice: Some(advice), .. }) => ExecuteError::Lacks { what, advice },
            Ok(Failure { what, advice: None, .. }) => ExecuteError::Sandbox(what),
            Err(error) => ExecuteError::Sandbox(format!("the helper is not understood: {error}")),
        }
    }

    /// Why the helper ended, should it have said so after the handshake.
    fn last_words(&mut self) -> Option<ExecuteError> {
        let mut word = [0];
        match self.socket.read(&mut word) {
            Ok(1) if word == [FAILED] => Some(self.failure()),
            _ => None,
        }
    }

    /// Tells the kernel who is who in the helper's user name space.
    fn write_maps(&self, owner: u32) -> Result<(), ExecuteError> {
        for kind in ["uid_map", "gid_map"] {
            let map = if owner == 0 {
                // This process is root of a name space itself: everybody stays who they are.
                let own = std::fs::read_to_string(format!("/proc/self/{kind}"))
                    .map_err(sandbox("read the map of ids"))?;
                same_ids(&own)
            } else {
                format!("0 {owner} 65536\n")
            };
            let file = format!("/proc/{}/{kind}", self.child.id());
            std::fs::write(file, map).map_err(sandbox("write the map of ids"))?;
        }
        Ok(())
    }

    /// Waits for the helper; the exit code of the command, if it ever began.
    fn finish(&mut self) -> Option<i32> {
        // It has closed its socket, so it ends now, and its own code says nothing.
        let _ = self.child.wait();
        let mut text = Vec::new();
        let _ = self.status.read_to_end(&mut text);
        status(&text).exit_code
    }

    fn kill(&mut self) {
        // It may have ended by itself; then there is only the waiting to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Helper {
    /// On every way out; after [`Helper::finish`] there is nothing to kill.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

enum Wake {
    Ready,
    Cancelled,
    TimedOut,
}

/// Takes output while it waits for something else.
struct Watch<'a> {
    /// Absent after its end, and when a terminal is attached.
    output: Option<File>,
    cancel: &'a Cancel,
    log: &'a mut Log,
    stream: &'a mut dyn FnMut(&[u8]),
}

impl Watch<'_> {
    /// Waits until `what` is readable, the time has come or, if it is to heed it, the flag is
    /// raised.
    fn wait(&mut self, what: BorrowedFd<'_>, deadline: Option<Instant>, heed: bool) -> Wake {
        loop {
            if heed && self.cancel.is_cancelled() {
                return Wake::Cancelled;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Wake::TimedOut;
            }
            // Half a second, should there be no bell.
            let nap = left.unwrap_or(Duration::MAX).min(Duration::from_millis(500));
            let nap = Timespec {
                tv_sec: i64::try_from(nap.as_secs()).unwrap_or_default(),
                tv_nsec: i64::from(nap.subsec_nanos()),
            };
            let bell = self.cancel.bell().filter(|_| heed);
            let mut fds = vec![PollFd::from_borrowed_fd(what, PollFlags::IN)];
            fds.extend(self.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
            fds.extend(bell.map(|bell| PollFd::from_borrowed_fd(bell, PollFlags::IN)));
            // Interrupted or not, everything is looked at again.
            let _ = poll(&mut fds, Some(&nap));
            let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            let (is_ready, has_output) = (ready(0), self.output.is_some() && ready(1));
            if has_output {
                self.take();
            }
            if is_ready {
                return Wake::Ready;
            }
        }
    }

    /// Takes one piece of output; whether there may be more.
    fn take(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        match self.output.as_mut().map(|output| output.read(&mut bytes)) {
            Some(Ok(got)) if got > 0 => {
                self.log.push(bytes.get(..got).unwrap_or_default(), self.stream);
                true
            }
            Some(Err(e)) if e.kind() == ErrorKind::Interrupted => true,
            _ => {
                self.output = None;
                false
            }
        }
    }

    /// Takes the rest. Nobody is left who could write, so it ends.
    fn drain(&mut self) {
        while self.take() {}
        self.log.end(self.stream);
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    exit_code: Option<i32>,
}

/// What `bwrap` said so far: JSON documents one after another, the last perhaps not complete.
fn status(text: &[u8]) -> Status {
    let mut all = Status::default();
    for one in serde_json::Deserializer::from_slice(text).into_iter::<Status>() {
        let Ok(one) = one else { break };
        all.exit_code = all.exit_code.or(one.exit_code);
    }
    all
}

/// `bwrap` ended before the command began.
fn not_begun(helper: Option<ExecuteError>, log: &str) -> Result<End, ExecuteError> {
    let last = log.lines().last().unwrap_or_default();
    match helper {
        Some(error) => Err(error),
        // The command cannot be started, as a shell would say it.
        None if last.starts_with("bwrap: execvp ") => {
            Ok(End::Exited(if last.ends_with("No such file or directory") { 127 } else { 126 }))
        }
        None if log.is_empty() => Err(ExecuteError::Sandbox("bwrap was killed".into())),
        None => Err(ExecuteError::Sandbox(log.to_owned())),
    }
}

/// The same ids inside as outside. A range may not span two of the ranges outside.
fn same_ids(own: &str) -> String {
    own.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (first, count) = (fields.next()?, fields.nth(1)?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

/// An error without words of its own gets those that the helper or `bwrap` printed.
fn said(error: ExecuteError, log: &Log) -> ExecuteError {
    match error {
        ExecuteError::Sandbox(text) if text.is_empty() => {
            let text = log.text();
            ExecuteError::Sandbox(if text.is_empty() {
                "the helper process ended without a word".into()
            } else {
                text
            })
        }
        other => other,
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ExecuteError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(sandbox("make a pipe"))
}

fn sandbox<E: Into<std::io::Error>>(doing: &'static str) -> impl FnOnce(E) -> ExecuteError {
    move |e| ExecuteError::Sandbox(format!("cannot {doing}: {}", e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_bwrap_says() {
        let text = b"{ \"child-pid\": 12, \"ipc-namespace\": 4 }\n{ \"exit-code\": 3 }\n{ \"ex";
        assert_eq!(status(text).exit_code, Some(3));
        assert_eq!(status(b"{ \"child-pid\": 12 }\n{ \"exit-").exit_code, None);
    }

    #[test]
    fn ranges_stay_apart() {
        assert_eq!(same_ids("0 1000 1\n1 100000 65535\n"), "0 0 1\n1 1 65535\n");
    }
}
