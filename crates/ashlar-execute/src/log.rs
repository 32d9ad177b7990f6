//! What a command printed, bounded: the beginning and the end are kept.

use std::collections::VecDeque;
use std::io::Read;

/// How much of the beginning is kept.
const FIRST: usize = 8 << 20;
/// How much of the end is kept at least.
const LAST: usize = 24 << 20;
/// The tail is dropped in pieces of about this size.
const PIECE: usize = 256 << 10;
/// A line that is longer is streamed in parts.
const LONGEST_LINE: usize = 64 << 10;

/// Collects output.
#[derive(Debug)]
pub(crate) struct Log {
    first_bound: usize,
    last_bound: usize,
    first: Vec<u8>,
    last: VecDeque<Vec<u8>>,
    last_size: usize,
    dropped: u64,
    line: Vec<u8>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::bounded(FIRST, LAST)
    }

    fn bounded(first_bound: usize, last_bound: usize) -> Self {
        Self {
            first_bound,
            last_bound,
            first: Vec::new(),
            last: VecDeque::new(),
            last_size: 0,
            dropped: 0,
            line: Vec::new(),
        }
    }

    /// Takes a piece of output and streams the lines that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8], stream: &mut dyn FnMut(&[u8])) {
        let room = self.first_bound.saturating_sub(self.first.len()).min(bytes.len());
        let (head, tail) = bytes.split_at(room);
        self.first.extend_from_slice(head);
        self.keep_last(tail);

        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => {
                let (whole, begun) = bytes.split_at(end + 1);
                if self.line.is_empty() {
                    stream(whole);
                } else {
                    self.line.extend_from_slice(whole);
                    stream(&self.line);
                    self.line.clear();
                }
                self.line.extend_from_slice(begun);
            }
            None => self.line.extend_from_slice(bytes),
        }
        if self.line.len() > LONGEST_LINE {
            self.end(stream);
        }
    }

    /// Streams what is left of a line that never ended.
    pub(crate) fn end(&mut self, stream: &mut dyn FnMut(&[u8])) {
        if !self.line.is_empty() {
            stream(&self.line);
            self.line.clear();
        }
    }

    fn keep_last(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.last.back_mut() {
            Some(piece) if piece.len() + bytes.len() <= PIECE => piece.extend_from_slice(bytes),
            _ => self.last.push_back(bytes.to_vec()),
        }
        self.last_size += bytes.len();
        while let Some(oldest) = self.last.front()
            && self.last_size - oldest.len() >= self.last_bound
        {
            self.last_size -= oldest.len();
            self.dropped += oldest.len() as u64;
            self.last.pop_front();
        }
    }

    /// Everything that was kept, as one text; for messages.
    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::new();
        // Reading from memory cannot fail.
        let _ = self.reader().read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Reads everything that was kept, with a line where something is left out.
    pub(crate) fn reader(&self) -> impl Read + '_ {
        let marker = if self.dropped == 0 {
            String::new()
        } else {
            format!("\n[ashlar: {} bytes of output are left out here]\n", self.dropped)
        };
        let mut parts: VecDeque<&[u8]> = self.last.iter().map(Vec::as_slice).collect();
        let first = self.first.as_slice();
        let marker = std::io::Cursor::new(marker.into_bytes());
        let last = std::iter::from_fn(move || parts.pop_front());
        first.chain(marker).chain(Pieces { current: &[], rest: last })
    }
}

struct Pieces<'a, I> {
    current: &'a [u8],
    rest: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Read for Pieces<'a, I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.rest.next() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        self.current.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(log: &Log) -> String {
        let mut text = String::new();
        log.reader().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn short_output_is_whole_and_streamed_by_lines() {
        let mut log = Log::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for bytes in [b"on".as_slice(), b"e\ntwo\nth", b"ree"] {
            log.push(bytes, &mut |lines| seen.push(lines.to_vec()));
        }
        assert_eq!(seen, [b"one\ntwo\n".to_vec()]);
        log.end(&mut |lines| seen.push(lines.to_vec()));
        assert_eq!(seen.last().unwrap(), b"three");
        assert_eq!(kept(&log), "one\ntwo\nthree");
    }

    #[test]
    fn long_output_keeps_both_ends() {
        let mut log = Log::bounded(10, 2 * PIECE);
        let line = "x".repeat(999) + "\n";
        for _ in 0..2000 {
            log.push(line.as_bytes(), &mut |_| {});
        }
        log.push(b"the end\n", &mut |_| {});
        let text = kept(&log);
        assert!(text.starts_with("xxxxxxxxxx\n[ashlar: "), "{}", &text[..60]);
        assert!(text.ends_with("x\nthe end\n"));
        assert!(text.len() >= 2 * PIECE && text.len() < 3 * PIECE + 100, "{}", text.len());
        let dropped: usize = text[20..].split(' ').next().unwrap().parse().unwrap();
        assert_eq!(
            text.len() - 10 + dropped,
            2000 * 1000 + 8 - 10 + text.find("here]\n").unwrap() - 4
        );
    }

    #[test]
    fn a_line_without_end_does_not_grow() {
        let mut log = Log::bounded(10, 10);
        let mut parts = 0;
        for _ in 0..100 {
            log.push(&[b'.'; 4096], &mut |_| parts += 1);
        }
        assert!(parts >= 5);
        assert!(log.line.len() <= LONGEST_LINE);
    }
}
