//! Work that may hang, on a detached thread: given up when nobody wants it any more. A server that
//! says nothing holds the thread that asked it, and nobody else.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How often it is asked whether to go on while nothing comes.
const TICK: Duration = Duration::from_millis(100);

/// How much is handed over at once, in bytes.
const PIECE: usize = 128 << 10;

/// How many pieces may wait.
const WAITING: usize = 4;

/// Whether to go on waiting.
pub type GoOn<'a> = &'a (dyn Fn() -> bool + Sync);

/// Does something on a thread of its own. `None` when it was not done by the time that `go_on`
/// said no: the thread is left to itself then, and what it brings is dropped.
///
/// # Errors
/// When no thread can be started.
pub fn detached<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    go_on: GoOn<'_>,
) -> io::Result<Option<T>> {
    let (give, take) = sync_channel(1);
    let thread = std::thread::Builder::new().name("detached".to_owned()).spawn(move || {
        // Nobody may be there any more to take it.
        let _ = give.send(work());
    })?;
    match next(&take, go_on) {
        Next::Came(done) => Ok(Some(done)),
        Next::Stopped => Ok(None),
        Next::Ended => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(io::ErrorKind::BrokenPipe.into()),
        },
    }
}

enum Next<T> {
    Came(T),
    Ended,
    Stopped,
}

fn next<T>(from: &Receiver<T>, go_on: GoOn<'_>) -> Next<T> {
    loop {
        match from.recv_timeout(TICK) {
            Ok(came) => return Next::Came(came),
            Err(RecvTimeoutError::Disconnected) => return Next::Ended,
            Err(RecvTimeoutError::Timeout) if go_on() => {}
            Err(RecvTimeoutError::Timeout) => return Next::Stopped,
        }
    }
}

/// The bytes of a reader that another thread reads, a little ahead.
pub struct Detached<'a> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
    go_on: GoOn<'a>,
    stopped: fn() -> io::Error,
}

impl<'a> Detached<'a> {
    /// Begins to read. Once `go_on` says no, reading fails with what `stopped` makes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        mut from: Box<dyn Read + Send>,
        go_on: GoOn<'a>,
        stopped: fn() -> io::Error,
    ) -> io::Result<Self> {
        let (give, pieces) = sync_channel(WAITING);
        std::thread::Builder::new().name("detached".to_owned()).spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = match from.read(&mut piece) {
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                // Nothing in it says that this is the end.
                let last = read.as_ref().map_or(true, Vec::is_empty);
                if give.send(read).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { pieces, piece: Vec::new(), at: 0, ended: false, go_on, stopped })
    }
}

impl std::fmt::Debug for Detached<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Detached")
    }
}

impl Read for Detached<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !(self.go_on)() {
            return Err((self.stopped)());
        }
        if self.at == self.piece.len() && !self.ended {
            match next(&self.pieces, self.go_on) {
                Next::Came(piece) => {
                    self.piece = piece?;
                    self.ended = self.piece.is_empty();
                }
                // Without the end having been said.
                Next::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
                Next::Stopped => return Err((self.stopped)()),
            }
            self.at = 0;
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn stopped() -> io::Error {
        io::Error::other("nobody wants it")
    }

    #[test]
    fn what_is_read_elsewhere_is_the_same() {
        let bytes: Vec<u8> = (0..3 * PIECE + 7).map(|n| (n * 31 % 251) as u8).collect();
        let from = Box::new(io::Cursor::new(bytes.clone()));
        let mut all = Vec::new();
        Detached::new(from, &|| true, stopped).unwrap().read_to_end(&mut all).unwrap();
        assert!(all == bytes);
        assert_eq!(detached(|| 6 * 7, &|| true).unwrap(), Some(42));
    }

    #[test]
    fn who_says_nothing_holds_nobody() {
        // The other end of it stays open, and nothing is ever written.
        let (silent, _open) = io::pipe().unwrap();
        let also = silent.try_clone().unwrap();
        let began = Instant::now();
        let go_on = || began.elapsed() < Duration::from_millis(150);
        let read = Detached::new(Box::new(silent), &go_on, stopped).unwrap().read(&mut [0]);
        assert_eq!(read.unwrap_err().to_string(), "nobody wants it");
        let mut also = also;
        assert_eq!(detached(move || also.read(&mut [0]).is_ok(), &go_on).unwrap(), None);
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the line is cut"))
            }
        }
        let from = Box::new([1_u8, 2, 3].chain(Fails));
        let mut all = Vec::new();
        let error = Detached::new(from, &|| true, stopped).unwrap().read_to_end(&mut all);
        assert_eq!(
            (all, error.unwrap_err().to_string()),
            (vec![1, 2, 3], "the line is cut".into())
        );
    }
}
