//! Bytes that one thread makes and another takes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How much is handed over at once, in bytes.
const PIECE: usize = 128 << 10;

/// How many pieces may wait.
const WAITING: usize = 16;

/// Reads `from` on this thread to its end, or until `take` asks for no more, while `take` reads the
/// same bytes on another one. An error of `from` is one of the reader that `take` has.
pub(super) fn ahead<T: Send>(
    from: &mut dyn Read,
    take: impl FnOnce(&mut dyn Read) -> T + Send,
) -> T {
    let (full, taken) = sync_channel(WAITING);
    let (back, empty) = channel();
    std::thread::scope(|scope| {
        let taker = scope.spawn(move || {
            take(&mut Taken { pieces: taken, back, piece: Vec::new(), at: 0, ended: false })
        });
        give(from, &full, &empty);
        // Whoever takes sees the end now.
        drop(full);
        taker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn give(from: &mut dyn Read, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    loop {
        let mut piece = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        piece.clear();
        let read = from.take(PIECE as u64).read_to_end(&mut piece);
        let last = read.is_err() || piece.is_empty();
        // What came before an error is used as well: the archive may be refused for it.
        let sent = piece.is_empty() || full.send(Ok(piece)).is_ok();
        if let Err(error) = read
            && sent
        {
            // Nobody wants to know when the other side has ended.
            let _ = full.send(Err(error));
        }
        if last || !sent {
            return;
        }
    }
}

/// The bytes on the other side.
struct Taken {
    pieces: Receiver<io::Result<Vec<u8>>>,
    back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Taken {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.ended {
            let piece = match self.pieces.recv() {
                Ok(piece) => piece?,
                Err(_) => {
                    self.ended = true;
                    return Ok(0);
                }
            };
            // The other side may have read everything.
            let _ = self.back.send(std::mem::replace(&mut self.piece, piece));
            self.at = 0;
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_reads_the_same() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 40 * PIECE + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
            let read = ahead(&mut &bytes[..], |reader| {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            assert_eq!(read.unwrap(), bytes);
        }
    }

    #[test]
    fn nobody_waits_for_who_asks_for_no_more() {
        let first = ahead(&mut io::repeat(7), |reader| {
            let mut one = [0];
            reader.read_exact(&mut one).map(|()| one[0])
        });
        assert_eq!(first.unwrap(), 7);
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the line is cut"))
            }
        }
        let mut bytes = [1_u8, 2, 3].chain(Fails);
        let (read, error) = ahead(&mut bytes, |reader| {
            let mut all = Vec::new();
            let error = reader.read_to_end(&mut all).unwrap_err();
            (all, error)
        });
        assert_eq!((read, error.to_string()), (vec![1, 2, 3], "the line is cut".to_owned()));
    }
}
