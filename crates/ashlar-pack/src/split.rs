//! What container engines need to make the very tar archive of a layer again out of its files:
//! the headers as they were, and a checksum for each content ("tar-split").
//!
//! containers-storage takes a layer in part only if this is there, because it compares the SHA-256
//! of the archive that it would have got whole. Format: one JSON object to a line, as in
//! `github.com/vbatts/tar-split/tar/storage`.

use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;

use crate::entry::Item;
use crate::{PackError, tar};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<String>,
    position: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

/// Writes the lines.
pub(crate) struct Split<W> {
    out: W,
    line: Vec<u8>,
    position: u64,
    size: u64,
}

impl<W: Write> Split<W> {
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new(), position: 0, size: 0 }
    }

    /// One entry: what is between the content before and its own, and its own.
    pub fn entry(
        &mut self,
        header: &[u8],
        item: &Item,
        sum: Option<&Crc64>,
    ) -> Result<(), PackError> {
        self.segment(header)?;
        let name = tar::name(b"", &item.path, &item.what);
        self.file(&String::from_utf8_lossy(&name), item.size(), sum.map_or(0, Crc64::finish))
    }

    /// Bytes of the archive as they are: the padding of what came before, and one header.
    pub fn segment(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let payload = Some(BASE64_STANDARD.encode(bytes));
        self.line(&Line { kind: SEGMENT, name: "", size: 0, payload, position: self.position })
    }

    /// The content of the entry whose header was the last segment; every entry has one.
    fn file(&mut self, name: &str, size: u64, checksum: u64) -> Result<(), PackError> {
        let payload = (size > 0).then(|| BASE64_STANDARD.encode(checksum.to_be_bytes()));
        self.line(&Line { kind: FILE, name, size, payload, position: self.position })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), PackError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(|e| PackError::Write(e.into()))?;
        self.line.push(b'\n');
        self.size += self.line.len() as u64;
        self.position += 1;
        self.out.write_all(&self.line).map_err(PackError::Write)
    }

    /// What took the lines, and how long they are.
    pub fn finish(self) -> (W, u64) {
        (self.out, self.size)
    }
}

/// CRC-64 as ISO 3309 has it (x⁶⁴ + x⁴ + x³ + x + 1), bits reversed, as Go's `crc64.ISO`.
///
/// The polynomial has so few terms that eight bytes at a time need shifts only, and no table.
pub(crate) struct Crc64(u64);

impl Crc64 {
    pub fn new() -> Self {
        Self(!0)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut state = self.0;
        for word in words {
            // Reversed, the highest bit is x⁰, and to multiply by x is to shift right. What is
            // shifted out is a multiple of x⁶⁴, and x⁶⁴ is x⁴ + x³ + x + 1.
            let s = state ^ u64::from_le_bytes(*word);
            let out = (s << 63) ^ (s << 61) ^ (s << 60);
            state = Self::times(s) ^ Self::times(out);
        }
        for byte in rest {
            state ^= u64::from(*byte);
            for _ in 0..8 {
                state = state >> 1 ^ if state & 1 == 1 { 0xD800_0000_0000_0000 } else { 0 };
            }
        }
        self.0 = state;
    }

    /// The part of the product with x⁴ + x³ + x + 1 that is not shifted out.
    fn times(s: u64) -> u64 {
        s ^ s >> 1 ^ s >> 3 ^ s >> 4
    }

    pub fn finish(&self) -> u64 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc(bytes: &[u8]) -> u64 {
        let mut crc = Crc64::new();
        crc.update(bytes);
        crc.finish()
    }

    #[test]
    fn known_sums() {
        // From the tests of Go's hash/crc64.
        assert_eq!(crc(b""), 0);
        assert_eq!(crc(b"a"), 0x3420_0000_0000_0000);
        assert_eq!(crc(b"abc"), 0x3776_c420_0000_0000);
        assert_eq!(crc(b"123456789"), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn words_and_bytes_agree() {
        let bytes: Vec<u8> = (0..1000_u32).map(|n| ((n * n) >> 3) as u8).collect();
        for length in [7, 8, 9, 16, 63, 1000] {
            let mut slowly = Crc64::new();
            bytes[..length].iter().for_each(|b| slowly.update(&[*b]));
            assert_eq!(slowly.finish(), crc(&bytes[..length]), "{length}");
        }
    }
}
