//! One GNU make jobserver for all steps of a build.
//!
//! A pool of N tokens lies in a pipe. Every running step holds one, which is the job its `make`
//! may always run; what else it runs it takes from the pipe, as GNU make does. So N steps with
//! `make -j` together never run more than N jobs.
//!
//! The `jobserver` crate is not used: it neither waits for a token and for a flag together, nor
//! fills the pool again after a step was killed that held tokens. Named pipes (`fifo:`) would be
//! easier to hand down, but the make of Debian 12 (4.3) does not know them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::{Cancel, ExecuteError};

/// The numbers that the two ends of the pipe have inside: out of the way of scripts, which use
/// single digits (`configure` 5, 6 and 7), and of shells (dash from 10 on, bash 255).
pub(crate) const INSIDE: (i32, i32) = (198, 199);

/// A pool of tokens, one for each job that may run at a time; clones share it.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    total: usize,
    /// The end that steps read from. It blocks, because GNU make before 4.4 expects that.
    inherited: OwnedFd,
    /// The same end once more, not blocking, with a file description of its own.
    read: OwnedFd,
    write: OwnedFd,
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Tokens that are out as [`Token`]s.
    held: usize,
    /// Numbers drawn by those who want a token, and the number whose turn it is: first come,
    /// first served.
    drawn: u64,
    serving: u64,
    /// Numbers whose holders gave up before it was their turn.
    left: Vec<u64>,
}

impl Jobs {
    /// A pool of `total` tokens, at least 1 and at most 4096, which is what a pipe always holds.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(total: usize) -> Result<Self, ExecuteError> {
        let total = total.clamp(1, 4096);
        let make = || {
            let (inherited, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            // Opening a pipe anew gives a description whose flags are its own: O_NONBLOCK here
            // does not show in the end that make reads from.
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&inherited));
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let read = rustix::fs::open(again, flags, Mode::empty())?;
            fill(&write, total)?;
            Ok::<_, Errno>((inherited, read, write))
        };
        let (inherited, read, write) =
            make().map_err(|e| ExecuteError::Sandbox(format!("the jobserver's pipe: {e}")))?;
        let (state, turn) = (Mutex::default(), Condvar::new());
        Ok(Self(Arc::new(Pool { total, inherited, read, write, state, turn })))
    }

    /// How many tokens there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Waits for a token, first come, first served; `None` when the flag is raised.
    pub fn acquire(&self, cancel: &Cancel) -> Option<Token> {
        let mut state = self.lock();
        let number = state.drawn;
        state.drawn += 1;
        while state.serving != number {
            if cancel.is_cancelled() {
                state.left.push(number);
                return None;
            }
            // The flag has no way to wake a condition variable.
            state = self
                .0
                .turn
                .wait_timeout(state, std::time::Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(state);
        let token = loop {
            if cancel.is_cancelled() {
                break None;
            }
            if let Some(token) = self.try_take() {
                break Some(token);
            }
            self.wait_for_pipe(cancel);
        };
        let mut state = self.lock();
        state.serving += 1;
        while let Some(at) = state.left.iter().position(|n| *n == state.serving) {
            state.left.swap_remove(at);
            state.serving += 1;
        }
        self.0.turn.notify_all();
        token
    }

    /// Waits for one token and takes up to `wanted` in all, as many as are free at that moment:
    /// for programs that run several jobs but do not speak the protocol. `None` when the flag
    /// is raised.
    pub fn acquire_many(&self, wanted: usize, cancel: &Cancel) -> Option<Tokens> {
        let mut tokens = vec![self.acquire(cancel)?];
        while tokens.len() < wanted {
            match self.try_take() {
                Some(token) => tokens.push(token),
                None => break,
            }
        }
        Some(Tokens(tokens))
    }

    /// The value of `MAKEFLAGS` that makes a `make` inside take part, with what the step
    /// declared itself.
    #[must_use]
    pub fn makeflags(&self, declared: &str) -> String {
        let (read, write) = INSIDE;
        // `--jobserver-fds` is what make before 4.2 understands; later ones ignore it.
        let ours = format!(" -j --jobserver-fds={read},{write} --jobserver-auth={read},{write}");
        let declared = declared.trim();
        match declared.split_whitespace().next() {
            None => ours,
            // The first word may be letters without a dash, but only as the first word.
            Some(first) if !first.starts_with('-') && !first.contains('=') => {
                format!("{ours} -{declared}")
            }
            Some(_) => format!("{ours} {declared}"),
        }
    }

    /// Fills the pool again when no step runs: steps that were killed take their tokens along.
    /// [`Jobs::acquire`] does so by itself.
    pub fn reset_if_idle(&self) {
        self.refill(&self.lock());
    }

    /// The two ends that a step inherits.
    pub(crate) fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.0.inherited.as_fd(), self.0.write.as_fd())
    }

    fn try_take(&self) -> Option<Token> {
        let mut state = self.lock();
        self.refill(&state);
        let mut byte = [0];
        if matches!(rustix::io::retry_on_intr(|| rustix::io::read(&self.0.read, &mut byte)), Ok(1))
        {
            state.held += 1;
            return Some(Token(self.clone()));
        }
        None
    }

    fn refill(&self, state: &State) {
        if state.held == 0 {
            let mut rest = [0; 4096];
            while matches!(rustix::io::read(&self.0.read, &mut rest), Ok(1..)) {}
            // The pipe is empty and has room for every token; nothing can fail.
            let _ = fill(&self.0.write, self.0.total);
        }
    }

    fn wait_for_pipe(&self, cancel: &Cancel) {
        let bell = cancel.bell();
        let mut fds = vec![PollFd::new(&self.0.read, PollFlags::IN)];
        fds.extend(bell.as_ref().map(|bell| PollFd::new(bell, PollFlags::IN)));
        // A bound, because the last step may be killed and leave the pipe empty for good.
        let bound = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        // Whatever it says, the caller looks again.
        let _ = poll(&mut fds, Some(&bound));
    }

    fn release(&self) {
        let mut state = self.lock();
        state.held = state.held.saturating_sub(1);
        // Room is certain: the token came from here.
        let _ = fill(&self.0.write, 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and the numbers are right after every statement.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(write: &OwnedFd, count: usize) -> rustix::io::Result<()> {
    let tokens = vec![b'+'; count];
    let mut rest = &tokens[..];
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(write, rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// The right to run one job; given back when dropped.
#[derive(Debug)]
pub struct Token(Jobs);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The right to run several jobs; given back when dropped.
#[derive(Debug)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// How many; at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
