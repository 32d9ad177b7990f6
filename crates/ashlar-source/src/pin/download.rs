//! One answer of a server while it arrives, for all who wait for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ashlar_object::{Digest, Hasher};

/// How often a thread that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Whether those who wait give up: the command has ended, or the build was stopped.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a server said before its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub(super) status: u16,
    /// Those that are recorded.
    pub(super) fields: BTreeMap<String, String>,
    /// How long the content is, if it said so.
    pub(super) length: Option<u64>,
}

/// An answer that arrives. Its content is in a file without a name.
#[derive(Debug)]
pub struct Download {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Head>,
    got: u64,
    end: Option<Result<Digest, String>>,
}

impl Download {
    pub(super) fn new(file: File) -> Self {
        Self { file, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` gives something.
    fn wait<T>(&self, stop: &Stop, ready: impl Fn(&State) -> Option<T>) -> std::io::Result<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = ready(&state) {
                return Ok(found);
            }
            if stop.is_set() {
                return Err(Error::new(ErrorKind::Interrupted, "stopped"));
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the server said first; the inner error says why it said nothing.
    pub(super) fn head(&self, stop: &Stop) -> std::io::Result<Result<Head, String>> {
        self.wait(stop, |state| match (&state.head, &state.end) {
            (Some(head), _) => Some(Ok(head.clone())),
            (None, Some(Err(why))) => Some(Err(why.clone())),
            (None, _) => None,
        })
    }

    /// The digest of the content when all of it has come; the inner error says why it has not.
    pub(super) fn end(&self, stop: &Stop) -> std::io::Result<Result<Digest, String>> {
        self.wait(stop, |state| state.end.clone())
    }

    /// How it ended, if that is known within a moment.
    pub(super) fn ended(&self) -> Option<Result<Digest, String>> {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, LOOK, |state| state.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.end.clone()
    }

    /// Whether asking again may give something else: it failed, or is an error of who asked.
    pub(super) fn may_differ(&self) -> bool {
        let state = self.lock();
        let refused = state.head.as_ref().is_some_and(|head| head.status >= 400);
        refused || matches!(state.end, Some(Err(_)))
    }

    /// Whether it has failed.
    pub(super) fn failed(&self) -> bool {
        matches!(self.lock().end, Some(Err(_)))
    }

    /// What is at a place of the content, as soon as it is there; nothing behind its end.
    pub(super) fn read_at(&self, at: u64, into: &mut [u8], stop: &Stop) -> std::io::Result<usize> {
        let there = self.wait(stop, |state| match &state.end {
            _ if state.got > at => Some(Ok(state.got - at)),
            Some(Ok(_)) => Some(Ok(0)),
            Some(Err(why)) => Some(Err(Error::other(why.clone()))),
            None => None,
        })??;
        let most = into.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        self.file.read_at(&mut into[..most], at)
    }

    /// The content from its beginning.
    pub(super) fn content(&self) -> std::io::Result<File> {
        let mut file = self.file.try_clone()?;
        std::io::Seek::rewind(&mut file)?;
        Ok(file)
    }

    /// The server has said what it has to say before the content.
    pub(super) fn begin(&self, head: Head) {
        self.lock().head = Some(head);
        self.changed.notify_all();
    }

    /// Takes the whole content; whether all of it has come is for the reader to know.
    pub(super) fn fill(
        &self,
        body: &mut dyn std::io::Read,
        stop: &Stop,
    ) -> std::io::Result<Digest> {
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 << 10]);
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if stop.is_set() {
                return Err(Error::other("stopped"));
            }
            (&self.file).write_all(&buffer[..count])?;
            hasher.update(&buffer[..count]);
            self.lock().got += count as u64;
            self.changed.notify_all();
        }
    }

    /// How it ended.
    pub(super) fn finish(&self, end: Result<Digest, String>) {
        self.lock().end = Some(end);
        self.changed.notify_all();
    }
}
