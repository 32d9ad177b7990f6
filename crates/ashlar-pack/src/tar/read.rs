//! Archives as they are found: headers in the forms of POSIX, `ustar` and PAX, and of GNU, with long
//! names, large numbers, extended attributes and holes.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ashlar_object::Time;

use super::sparse::{self, Segment, Sparse};
use super::{BLOCK, padding};
use crate::PackError;

/// Names and records larger than this are no names and records.
const LONGEST: u64 = 1 << 20;

/// What an entry is, with everything from the headers before its own.
pub(crate) struct Header {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    /// How many bytes follow.
    pub size: u64,
    /// Where these bytes belong in a file with holes.
    pub sparse: Option<Sparse>,
    /// Extended attributes, those that are not text in their names left out.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub mode: u32,
    pub owner: (u32, u32),
    pub time: Time,
    pub kind: u8,
}

/// What follows in an archive.
pub(crate) enum Next {
    Entry(Box<Header>),
    /// The block of zeros that ends an archive.
    End,
    /// The end of the bytes where an entry or the end of the archive could begin.
    Nothing,
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
    xattrs: BTreeMap<String, Vec<u8>>,
    sparse: sparse::Said,
}

pub(crate) fn early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early")
}

/// Passes over bytes that must be there.
pub(crate) fn skip(plain: &mut dyn Read, count: u64) -> io::Result<()> {
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
pub(crate) fn next(plain: &mut dyn Read) -> Result<Next, PackError> {
    let mut said = Said::default();
    let mut first = true;
    loop {
        let mut block = [0; BLOCK];
        match filled(plain, &mut block).map_err(PackError::Read)? {
            BLOCK => {}
            0 if first => return Ok(Next::Nothing),
            _ => return Err(PackError::Read(early())),
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(Next::End);
        }
        first = false;
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
                let mut size = if has_content { said.size.unwrap_or(size) } else { 0 };
                let sparse = match kind {
                    b'S' => Some(sparse::old(plain, &block)),
                    _ if has_content => said.sparse.finish(plain, &mut size),
                    _ => None,
                };
                let sparse = sparse.transpose().map_err(PackError::Read)?;
                if sparse.as_ref().is_some_and(|sparse| !sparse.fits(size)) {
                    return Err(bad("an impossible map of holes"));
                }
                return Ok(Next::Entry(Box::new(Header {
                    path: said.sparse.name.or(said.path).unwrap_or_else(|| ustar_name(&block)),
                    link: said.link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
                    size,
                    sparse,
                    xattrs: said.xattrs,
                    mode: (mode & 0o7777) as u32,
                    owner: (uid, gid),
                    time,
                    kind,
                })));
            }
        }
    }
}

/// Reads until the buffer is full or nothing follows, and says how much was read.
pub(crate) fn filled(plain: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match plain.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
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
pub(super) fn number(field: &[u8]) -> Option<i128> {
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
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.record(key, value)?;
                    } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                        && let Ok(name) = std::str::from_utf8(name)
                    {
                        let name = name.replace("%3D", "=").replace("%25", "%");
                        self.xattrs.insert(name, value.to_vec());
                    }
                }
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

/// The content of one file, with zeros where it has holes.
pub(crate) struct Body<'a> {
    plain: &'a mut dyn Read,
    /// What is left of the bytes that follow the header.
    left: u64,
    padding: u64,
    /// How far the file has been read, and how long it is.
    at: u64,
    size: u64,
    map: std::vec::IntoIter<Segment>,
    segment: Segment,
    /// Why the archive cannot be read on: whoever takes the content may not pass it on.
    fault: Option<(io::ErrorKind, String)>,
}

impl<'a> Body<'a> {
    /// The content that follows a header.
    pub fn new(plain: &'a mut dyn Read, header: &Header) -> Self {
        let stored = header.size;
        let (size, map) = match &header.sparse {
            Some(sparse) => (sparse.size, sparse.map.clone()),
            None => (stored, vec![Segment { at: 0, length: stored }]),
        };
        let padding = padding(stored) as u64;
        let segment = Segment { at: 0, length: 0 };
        Self {
            plain,
            left: stored,
            padding,
            at: 0,
            size,
            map: map.into_iter(),
            segment,
            fault: None,
        }
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of it was read.
    pub fn is_read(&self) -> bool {
        self.at == self.size
    }

    /// Passes over what was not read, after somebody has taken the content. Why the archive
    /// cannot be read explains why it was not taken.
    pub fn finish<T>(self, taken: io::Result<T>) -> Result<T, PackError> {
        if let Some((kind, text)) = self.fault {
            return Err(PackError::Read(io::Error::new(kind, text)));
        }
        let taken = taken.map_err(PackError::Keep)?;
        skip(self.plain, self.left.saturating_add(self.padding)).map_err(PackError::Read)?;
        Ok(taken)
    }

    fn stored(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.plain.read(out) {
            Ok(0) => Err(early()),
            other => other,
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(out.len());
        while self.segment.end() <= self.at {
            match self.map.next() {
                Some(next) => self.segment = next,
                // What is behind the last of them is a hole.
                None => self.segment = Segment { at: self.size, length: u64::MAX - self.size },
            }
        }
        if self.at < self.segment.at || self.at >= self.size {
            let zeros = most(self.segment.at.min(self.size) - self.at);
            out[..zeros].fill(0);
            self.at += zeros as u64;
            return Ok(zeros);
        }
        let data = most(self.segment.end() - self.at);
        if data == 0 {
            return Ok(0);
        }
        match self.stored(&mut out[..data]) {
            Ok(count) => {
                self.left -= count as u64;
                self.at += count as u64;
                Ok(count)
            }
            Err(e) => {
                if e.kind() != io::ErrorKind::Interrupted {
                    self.fault = Some((e.kind(), e.to_string()));
                }
                Err(e)
            }
        }
    }
}
