//! Headers of tar archives: `ustar`, with PAX records for what does not fit.
//!
//! Format: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Interchange Format"; extended
//! attributes as `SCHILY.xattr.*`, which GNU tar, libarchive and container engines read.

use std::borrow::Cow;

use ashlar_object::{MOMENT, Time};

use crate::entry::What;

pub(crate) mod read;
mod sparse;

/// Archives consist of blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// What ends an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What overlay file systems mark an opaque directory with, and its value.
pub(crate) const OPAQUE: (&str, &[u8]) = ("trusted.overlay.opaque", b"y");

/// How many zeros follow a content so that the next header begins at a block.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// The name of an entry as archives write it: directories end in `/`, the root is `./`.
pub(crate) fn name(prefix: &[u8], path: &[u8], what: &What) -> Vec<u8> {
    if path.is_empty() {
        return b"./".to_vec();
    }
    let slash: &[u8] = if matches!(what, What::Dir { .. }) { b"/" } else { b"" };
    [prefix, path, slash].concat()
}

/// The extended attributes of an entry, with the mark of an opaque directory among them.
pub(crate) fn xattrs(what: &What) -> Vec<(&str, &[u8])> {
    let own = what.meta().extra.iter().flat_map(|extra| &extra.xattrs);
    let mut all: Vec<(&str, &[u8])> = own.map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    if let What::Dir { opaque: true, .. } = what
        && let Err(at) = all.binary_search_by_key(&OPAQUE.0, |(name, _)| name)
    {
        all.insert(at, OPAQUE);
    }
    all
}

/// Writes the header of an entry, with a PAX header before it where it needs one. The content
/// and its padding are the caller's.
pub(crate) fn append(out: &mut Vec<u8>, prefix: &[u8], path: &[u8], what: &What) {
    let name = name(prefix, path, what);
    let link = what.target();
    let (uid, gid) = what.meta().owner();
    let size = match what {
        What::File { file, .. } => file.digest.size,
        What::Dir { .. }
        | What::Link { .. }
        | What::Symlink(_)
        | What::Fifo(_)
        | What::Whiteout => 0,
    };
    let mtime = what.meta().extra.as_ref().and_then(|extra| extra.mtime);
    let mtime = mtime.unwrap_or(Time { seconds: MOMENT, nanos: 0 });

    let mut records = Vec::new();
    let long = |bytes: &[u8]| bytes.len() > 100;
    let odd = |bytes: &[u8]| long(bytes) && std::str::from_utf8(bytes).is_err();
    if odd(&name) || odd(link) {
        record(&mut records, b"hdrcharset", b"BINARY");
    }
    if long(&name) {
        record(&mut records, b"path", &name);
    }
    if long(link) {
        record(&mut records, b"linkpath", link);
    }
    let mut number = |key: &[u8], value: u64, digits: usize| {
        if value >> (3 * digits) == 0 {
            return value;
        }
        record(&mut records, key, value.to_string().as_bytes());
        0
    };
    let size = number(b"size", size, 11);
    let uid = number(b"uid", uid.into(), 7);
    let gid = number(b"gid", gid.into(), 7);
    let seconds = match u64::try_from(mtime.seconds) {
        Ok(seconds) if seconds >> 33 == 0 && mtime.nanos == 0 => seconds,
        _ => {
            record(&mut records, b"mtime", decimal(mtime).as_bytes());
            0
        }
    };
    for (name, value) in xattrs(what) {
        let key = [b"SCHILY.xattr.", escaped(name).as_bytes()].concat();
        record(&mut records, &key, value);
    }

    if !records.is_empty() {
        extended(out, &records);
    }
    let kind = match what {
        What::Dir { .. } => b'5',
        What::File { .. } => b'0',
        What::Link { .. } => b'1',
        What::Symlink(_) => b'2',
        What::Whiteout => b'3',
        What::Fifo(_) => b'6',
    };
    let header = Header { mode: what.meta().mode, uid, gid, size, seconds, kind };
    header.append(out, &name, link);
}

/// The header of an ordinary file of an archive that is no layer: mode 0644, of root, at the fixed
/// moment. The content and its padding ([`tar_padding`]) are the caller's, and [`tar_end`].
#[must_use]
pub fn tar_header(name: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    let fits = size >> 33 == 0;
    if !fits {
        let mut records = Vec::new();
        record(&mut records, b"size", size.to_string().as_bytes());
        extended(&mut out, &records);
    }
    let (size, seconds) = (if fits { size } else { 0 }, MOMENT.unsigned_abs());
    let header = Header { mode: 0o644, size, seconds, kind: b'0', ..Header::default() };
    header.append(&mut out, name.as_bytes(), b"");
    out
}

/// A PAX header with these records.
fn extended(out: &mut Vec<u8>, records: &[u8]) {
    let size = records.len() as u64;
    let seconds = MOMENT.unsigned_abs();
    let header = Header { mode: 0o644, size, seconds, kind: b'x', ..Header::default() };
    header.append(out, b"PaxHeaders/entry", b"");
    out.extend_from_slice(records);
    out.resize(out.len() + padding(size), 0);
}

/// How many zeros follow a content of such an archive.
#[must_use]
pub fn tar_padding(size: u64) -> usize {
    padding(size)
}

/// What ends such an archive.
#[must_use]
pub fn tar_end() -> &'static [u8] {
    &END
}

#[derive(Default)]
struct Header {
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    seconds: u64,
    kind: u8,
}

impl Header {
    /// Names that are too long are cut: a PAX record has them in full.
    fn append(&self, out: &mut Vec<u8>, name: &[u8], link: &[u8]) {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8], most: usize| {
            let bytes = &bytes[..bytes.len().min(most)];
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, name, 100);
        put(100, format!("{:07o}", self.mode).as_bytes(), 7);
        put(108, format!("{:07o}", self.uid).as_bytes(), 7);
        put(116, format!("{:07o}", self.gid).as_bytes(), 7);
        put(124, format!("{:011o}", self.size).as_bytes(), 11);
        put(136, format!("{:011o}", self.seconds).as_bytes(), 11);
        // The sum is taken over the header with spaces in place of the sum.
        put(148, b"        ", 8);
        put(156, &[self.kind], 1);
        put(157, link, 100);
        put(257, b"ustar\x0000", 8);
        put(329, b"0000000", 7);
        put(337, b"0000000", 7);
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
    }
}

/// A PAX record begins with its own length, the digits of the length included.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |n: usize| n.to_string().len();
    let mut length = rest + digits(rest);
    if length != rest + digits(length) {
        length = rest + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The name of an attribute as GNU tar writes it in a record, where `=` ends the key.
pub(crate) fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['%', '=']) {
        Cow::Owned(name.replace('%', "%25").replace('=', "%3D"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Seconds with nine decimals. Before 1970 the sign belongs to all of it: -1 s + 0.25 s is -0.75.
fn decimal(time: Time) -> String {
    let Time { seconds, nanos } = time;
    match (seconds, nanos) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanos:09}"),
        (..0, _) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        // Where one more digit makes the length one longer again.
        for (value, length) in
            [(1, 8), (2, 9), (3, 11), (91, 99), (92, 101), (990, 999), (991, 1001)]
        {
            let mut out = Vec::new();
            record(&mut out, b"abc", &vec![b'x'; value]);
            assert!(out.starts_with(format!("{length} abc=").as_bytes()), "{value}: {}", out.len());
            assert_eq!(out.len(), length);
        }
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(decimal(Time { seconds: -1, nanos: 250_000_000 }), "-0.750000000");
        assert_eq!(decimal(Time { seconds: -2, nanos: 1 }), "-1.999999999");
        assert_eq!(decimal(Time { seconds: i64::MIN, nanos: 1 }), "-9223372036854775807.999999999");
        assert_eq!(decimal(Time { seconds: 3, nanos: 5 }), "3.000000005");
    }
}
