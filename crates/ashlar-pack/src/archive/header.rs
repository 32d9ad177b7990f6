//! Headers of tar archives as they are found: POSIX `ustar` and PAX, and GNU's long names and
//! large numbers.

use std::io::{self, Read};

use ashlar_object::Time;

use crate::PackError;
use crate::tar::{BLOCK, padding};

/// Names and records larger than this are no names and records.
const LONGEST: u64 = 1 << 20;

/// What an entry is, with everything from the headers before its own.
pub(super) struct Header {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    /// How many bytes follow.
    pub size: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    pub time: Time,
    pub kind: u8,
}

/// What follows in an archive.
pub(super) enum Next {
    Entry(Header),
    End,
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    time: Option<Time>,
}

pub(super) fn early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early")
}

/// Passes over bytes that must be there.
pub(super) fn skip(plain: &mut dyn Read, count: u64) -> io::Result<()> {
    if io::copy(&mut plain.take(count), &mut io::sink())? < count {
        return Err(early());
    }
    Ok(())
}

fn refused(path: &[u8], reason: &str) -> PackError {
    let path = String::from_utf8_lossy(path).into_owned();
    PackError::Archive { path, reason: reason.to_owned() }
}

/// Reads headers up to that of the next entry.
pub(super) fn next(plain: &mut dyn Read) -> Result<Next, PackError> {
    let mut said = Said::default();
    loop {
        let mut block = [0; BLOCK];
        plain.read_exact(&mut block).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => PackError::Read(early()),
            _ => PackError::Read(e),
        })?;
        if block.iter().all(|b| *b == 0) {
            return Ok(Next::End);
        }
        let name = text(&block[..100]);
        let bad = |what: &str| refused(name, &format!("has a header with {what}"));
        if sums(&block).is_none_or(|(said, unsigned, signed)| said != unsigned && said != signed) {
            return Err(bad("a wrong checksum"));
        }
        let kind = block[156];
        let size = number(&block[124..136]).ok_or_else(|| bad("an impossible size"))?;
        let size = u64::try_from(size).map_err(|_| bad("an impossible size"))?;
        match kind {
            b'L' => said.path = Some(text(&long(plain, size, name)?).to_vec()),
            b'K' => said.link = Some(text(&long(plain, size, name)?).to_vec()),
            b'x' | b'X' => said
                .records(&long(plain, size, name)?)
                .ok_or_else(|| bad("PAX records that cannot be used"))?,
            b'g' => {
                let mut all = Said::default();
                all.records(&long(plain, size, name)?)
                    .filter(|()| all.path.is_none() && all.link.is_none() && all.size.is_none())
                    .ok_or_else(|| bad("global PAX records that cannot be used"))?;
            }
            // GNU's volume label is a name and nothing else.
            b'V' => {
                skip(plain, size.saturating_add(padding(size) as u64)).map_err(PackError::Read)?;
            }
            _ => {
                let id = |said: Option<u64>, at: std::ops::Range<usize>| match said {
                    Some(id) => u32::try_from(id).ok(),
                    None => u32::try_from(number(&block[at])?).ok(),
                };
                let uid = id(said.uid, 108..116).ok_or_else(|| bad("an impossible owner"))?;
                let gid = id(said.gid, 116..124).ok_or_else(|| bad("an impossible group"))?;
                let mode = number(&block[100..108]).ok_or_else(|| bad("an impossible mode"))?;
                let seconds = number(&block[136..148]).and_then(|n| i64::try_from(n).ok());
                let time = match said.time {
                    Some(time) => time,
                    None => Time {
                        seconds: seconds.ok_or_else(|| bad("an impossible time"))?,
                        nanos: 0,
                    },
                };
                // Only files have a content; others have been seen with a size all the same.
                let has_content = !matches!(kind, b'1'..=b'6');
                return Ok(Next::Entry(Header {
                    path: said.path.unwrap_or_else(|| ustar_name(&block)),
                    link: said.link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
                    size: if has_content { said.size.unwrap_or(size) } else { 0 },
                    mode: (mode & 0o7777) as u32,
                    owner: (uid, gid),
                    time,
                    kind,
                }));
            }
        }
    }
}

/// The name with its prefix, which only POSIX' form has.
fn ustar_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if &block[257..263] != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A field in octal digits, or in base 256 if its first bit is set.
fn number(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign of a number in two's complement.
        let start = i128::from(first & 0x7F) - if first & 0x40 == 0 { 0 } else { 0x80 };
        return Some(rest.iter().fold(start, |n, b| n << 8 | i128::from(*b)));
    }
    let text = std::str::from_utf8(text(field)).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok().map(i128::from)
}

/// The checksum that a header says it has, and what it is over unsigned and over signed bytes,
/// which some old programs take.
fn sums(block: &[u8; BLOCK]) -> Option<(i128, i128, i128)> {
    let said = number(&block[148..156])?;
    let mut sums = (said, 0, 0);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        sums.1 += i128::from(byte);
        sums.2 += i128::from(byte.cast_signed());
    }
    Some(sums)
}

/// What a header has instead of a content.
fn long(plain: &mut dyn Read, size: u64, name: &[u8]) -> Result<Vec<u8>, PackError> {
    if size > LONGEST {
        return Err(refused(name, &format!("has a name or records of {size} bytes")));
    }
    let mut bytes = Vec::new();
    let got = plain.take(size).read_to_end(&mut bytes).map_err(PackError::Read)?;
    if (got as u64) < size {
        return Err(PackError::Read(early()));
    }
    skip(plain, padding(size) as u64).map_err(PackError::Read)?;
    Ok(bytes)
}

impl Said {
    /// PAX records: `<length> <key>=<value>\n`, the length being that of all of it.
    fn records(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let space = bytes.iter().position(|b| *b == b' ')?;
            let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
            if length <= space + 1 {
                return None;
            }
            let (record, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            let record = record[space + 1..].strip_suffix(b"\n")?;
            let equals = record.iter().position(|b| *b == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let digits = || std::str::from_utf8(value).ok()?.parse().ok();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(digits()?),
                b"uid" => self.uid = Some(digits()?),
                b"gid" => self.gid = Some(digits()?),
                b"mtime" => self.time = Some(moment(value)?),
                // The real size and the holes are in records of their own.
                _ if key.starts_with(b"GNU.sparse.") => return None,
                _ => {}
            }
        }
        Some(())
    }
}

/// Seconds with a fraction, both of which a sign in front concerns.
fn moment(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // The most negative second has no positive counterpart.
    let whole: i128 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let (seconds, nanos) = match (negative, nanos) {
        (false, _) => (whole, nanos),
        (true, 0) => (whole.checked_neg()?, 0),
        (true, _) => (whole.checked_neg()?.checked_sub(1)?, 1_000_000_000 - nanos),
    };
    Some(Time { seconds: i64::try_from(seconds).ok()?, nanos })
}
