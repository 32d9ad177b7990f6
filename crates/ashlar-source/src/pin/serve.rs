//! Connections of a command, each in a thread of its own.

use std::collections::BTreeSet;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::answer::{Content, refuse, send};
use super::ask::{Asked, Came, read};
use super::download::Stop;

/// How often a connection without a word looks whether it is over.
const LOOK: Duration = Duration::from_millis(200);
/// How many connections are answered at once; more wait.
const MOST: usize = 128;

/// Who answers requests.
pub trait Answers: Sync {
    /// The answer to one request.
    ///
    /// # Errors
    /// When the connection is to be given up.
    fn answer(&self, asked: &Asked) -> std::io::Result<Reply>;
    /// Ends everything that waits.
    fn stop(&self);
    /// Whether it is over.
    fn stopping(&self) -> &Stop;
    /// What could not be answered.
    fn troubles(&self) -> &Troubles;
}

/// What is said to a request.
pub enum Reply {
    /// What was asked for.
    Content(Content),
    /// A status, and why it is not answered.
    Refused(u16, String),
}

/// What was asked for and not answered.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    unknown: BTreeSet<String>,
    lost: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unknown(&self, url: &str) {
        self.lock().unknown.insert(url.to_owned());
    }

    pub(super) fn lost(&self, url: &str) {
        self.lock().lost.insert(url.to_owned());
    }

    /// Addresses that were not recorded.
    #[must_use]
    pub fn of_unknown(&self) -> Vec<String> {
        self.lock().unknown.iter().cloned().collect()
    }

    /// Addresses whose recorded contents are not in the store.
    #[must_use]
    pub fn of_lost(&self) -> Vec<String> {
        self.lock().lost.iter().cloned().collect()
    }

    /// What cannot be recorded at all, in words.
    #[must_use]
    pub fn of_refused(&self) -> Vec<String> {
        self.lock().refused.iter().cloned().collect()
    }
}

/// Answers connections until `over` can be read from, and all who waited have been told.
///
/// # Errors
/// When connections cannot be waited for.
pub fn serve(
    listener: &TcpListener,
    over: BorrowedFd<'_>,
    answers: &dyn Answers,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let accepted = accept(listener, over, &open, |stream| {
            open.fetch_add(1, Ordering::Relaxed);
            let open = &open;
            let talk = move || {
                // A connection that breaks off is nobody's fault but the one's at its other end.
                let _ = converse(&stream, answers);
                open.fetch_sub(1, Ordering::Relaxed);
            };
            let begun = std::thread::Builder::new().spawn_scoped(scope, talk);
            begun.map(drop)
        });
        answers.stop();
        accepted
    })
}

fn accept(
    listener: &TcpListener,
    over: BorrowedFd<'_>,
    open: &AtomicUsize,
    mut with: impl FnMut(TcpStream) -> std::io::Result<()>,
) -> std::io::Result<()> {
    loop {
        let is_full = open.load(Ordering::Relaxed) >= MOST;
        let mut fds = vec![PollFd::from_borrowed_fd(over, PollFlags::IN)];
        if !is_full {
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        let nap = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        match rustix::event::poll(&mut fds, is_full.then_some(&nap)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            return Ok(());
        }
        match listener.accept() {
            Ok((stream, _)) => with(stream)?,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
            Err(e) => return Err(e),
        }
    }
}

/// One request after another.
fn converse(stream: &TcpStream, answers: &dyn Answers) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let stop = answers.stopping();
    let mut from = BufReader::new(Patient { stream, stop });
    let mut out = std::io::BufWriter::with_capacity(128 << 10, Patient { stream, stop });
    loop {
        let asked = match read(&mut from)? {
            Came::End => return Ok(()),
            Came::Asked(asked) => asked,
            Came::Refused(status, what) => {
                answers.troubles().lock().refused.insert(what.clone());
                return refuse(&mut out, None, status, &format!("{what} cannot be recorded"));
            }
        };
        match answers.answer(&asked)? {
            Reply::Content(content) => send(&mut out, &asked, content, stop)?,
            Reply::Refused(status, why) => refuse(&mut out, Some(&asked), status, &why)?,
        }
        out.flush()?;
        if asked.close {
            return Ok(());
        }
    }
}

/// A stream that is waited for until it is over.
struct Patient<'a> {
    stream: &'a TcpStream,
    stop: &'a Stop,
}

impl Patient<'_> {
    fn again<T>(&self, mut attempt: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
        loop {
            match attempt() {
                Err(e)
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                        && !self.stop.is_set() => {}
                other => return other,
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut stream = self.stream;
        self.again(|| stream.read(into))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        let mut stream = self.stream;
        self.again(|| stream.write(from))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
