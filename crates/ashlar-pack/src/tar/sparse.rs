//! Files with holes, in the forms that GNU tar has for them: entries of their own type, and the
//! versions 0.0, 0.1 and 1.0 in PAX records.
//!
//! Format: "Storing Sparse Files" in the manual of GNU tar.

use std::io::{self, Read};

use super::BLOCK;
use super::read::{early, filled, number};

/// No file has more parts between holes than this.
const MOST: usize = 1 << 18;

/// Bytes of a file that are in the archive; what is between two of them is a hole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub at: u64,
    pub length: u64,
}

impl Segment {
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.length)
    }
}

/// A file with holes.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// How long the file is, holes included.
    pub size: u64,
    pub map: Vec<Segment>,
}

impl Sparse {
    /// Whether the map can be that of so many bytes: in order, apart, within the file.
    pub fn fits(&self, stored: u64) -> bool {
        let mut end = 0;
        let mut sum = 0_u64;
        for segment in &self.map {
            let Some(next) = segment.at.checked_add(segment.length) else { return false };
            if segment.at < end || next > self.size {
                return false;
            }
            (end, sum) = (next, sum.saturating_add(segment.length));
        }
        sum == stored
    }
}

/// What PAX records say.
#[derive(Default)]
pub(super) struct Said {
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    major: u64,
    map: Vec<Segment>,
    /// The beginning of a segment whose length comes in the next record.
    at: Option<u64>,
}

impl Said {
    /// One record, its key without `GNU.sparse.`.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let digits = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(digits(value)?),
            b"major" => self.major = digits(value)?,
            b"offset" => self.at = Some(digits(value)?),
            b"numbytes" => self.push(self.at?, digits(value)?)?,
            b"map" => {
                let numbers: Option<Vec<u64>> = value.split(|b| *b == b',').map(digits).collect();
                let numbers = numbers?;
                let (pairs, rest) = numbers.as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                for [at, length] in pairs {
                    self.push(*at, *length)?;
                }
            }
            // How many there are and the minor version change nothing.
            _ => {}
        }
        Some(())
    }

    fn push(&mut self, at: u64, length: u64) -> Option<()> {
        self.map.push(Segment { at, length });
        (self.map.len() <= MOST).then_some(())
    }

    /// The holes of the file whose header has come; none if it has none. In version 1 the map
    /// is at the beginning of its bytes, of which `stored` tells the rest then.
    pub fn finish(&mut self, plain: &mut dyn Read, stored: &mut u64) -> Option<io::Result<Sparse>> {
        let size = self.size?;
        let mut map = std::mem::take(&mut self.map);
        if self.major >= 1 {
            match in_front(plain, stored) {
                Ok(found) => map = found,
                Err(e) => return Some(Err(e)),
            }
        }
        Some(Ok(Sparse { size, map }))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A map of decimal numbers, each with a line end: how many segments, then where each begins and
/// how long it is; filled up to a whole block.
fn in_front(plain: &mut dyn Read, stored: &mut u64) -> io::Result<Vec<Segment>> {
    let mut block = [0; BLOCK];
    let mut at = BLOCK;
    let mut number = || -> io::Result<u64> {
        let mut value: u64 = 0;
        for digits in 0.. {
            if at == BLOCK {
                *stored = stored
                    .checked_sub(BLOCK as u64)
                    .ok_or_else(|| invalid("a map of holes is longer than its entry"))?;
                if filled(plain, &mut block)? < BLOCK {
                    return Err(early());
                }
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'0'..=b'9' if digits < 19 => value = value * 10 + u64::from(byte - b'0'),
                b'\n' if digits > 0 => return Ok(value),
                _ => break,
            }
        }
        Err(invalid("a map of holes has something that is no number"))
    };
    let count = number()?;
    if count > MOST as u64 {
        return Err(invalid("a map of holes has too many parts"));
    }
    let mut map = Vec::new();
    for _ in 0..count {
        map.push(Segment { at: number()?, length: number()? });
    }
    Ok(map)
}

/// The map in an entry of type `S`, whose header has four segments and may be followed by blocks
/// with more.
pub(super) fn old(plain: &mut dyn Read, header: &[u8; BLOCK]) -> io::Result<Sparse> {
    let value = |field: &[u8]| {
        let value = number(field).and_then(|n| u64::try_from(n).ok());
        value.ok_or_else(|| invalid("a map of holes has an impossible number"))
    };
    let mut map = Vec::new();
    let mut take = |fields: &[u8]| -> io::Result<()> {
        for field in fields.as_chunks::<24>().0 {
            if field[0] == 0 {
                return Ok(());
            }
            map.push(Segment { at: value(&field[..12])?, length: value(&field[12..])? });
            if map.len() > MOST {
                return Err(invalid("a map of holes has too many parts"));
            }
        }
        Ok(())
    };
    take(&header[386..482])?;
    let mut more = header[482] != 0;
    while more {
        let mut block = [0; BLOCK];
        if filled(plain, &mut block)? < BLOCK {
            return Err(early());
        }
        take(&block[..504])?;
        more = block[504] != 0;
    }
    Ok(Sparse { size: value(&header[483..495])?, map })
}
