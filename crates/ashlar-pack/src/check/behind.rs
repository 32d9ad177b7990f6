//! What is behind the archive of a layer: the table of contents, the tar-split, the footer. Readers
//! of the archive pass over them, and other readers take more from them than ours. All of it follows
//! from the entries, so before compression it must be the very bytes that are written for them.

use std::io::{self, Read, Write};

use ashlar_object::{Digest, Hasher};

use super::{Hashing, Plain, contradiction};
use crate::frame::SKIPPABLE;
use crate::toc::{self, FOOTER, LARGEST, Part};
use crate::{Layer, PackError, Toc};

/// What a skippable frame has before its bytes.
pub(super) const HEAD: u64 = 8;

/// What is kept of bytes that were passed on.
#[derive(Default)]
pub(super) struct Passed {
    hasher: Hasher,
    count: u64,
}

impl Write for Passed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads on from where the archive has ended, to the end of the blob. `split` has the lines that a
/// tar-split of the archive has, and how long they are; none where there can be no tar-split.
pub(super) fn check(
    layer: &Layer,
    toc: &Toc,
    split: Option<(Passed, u64)>,
    end: u64,
    blob: &mut Hashing<'_>,
) -> Result<(), PackError> {
    let ours = |name: &str| name.contains("containers.zstd-chunked.");
    let (table, checksum, text) = part(blob, end, LARGEST)?;
    let mut split_part = None;
    if layer.annotations.keys().any(|name| ours(name) && name.contains("tarsplit")) {
        let (lines, size) =
            split.ok_or_else(|| contradiction("it has a tar-split where none can be"))?;
        let (place, digest, found) = part(blob, table.0 + table.1, size)?;
        if found != lines.hasher.finish() {
            return Err(contradiction("its tar-split makes another archive"));
        }
        split_part = Some((place, digest));
    }
    let mut expected = Passed::default();
    toc::json(&toc.items, split_part.as_ref().map(|(_, digest)| digest), &mut expected)?;
    if text != expected.hasher.finish() {
        return Err(contradiction("its table of contents has fields that say something else"));
    }
    let (footer, said) = toc::said(table, &checksum, split_part.map(|(place, _)| place));
    if head(blob)? != FOOTER as u64 || raw::<FOOTER>(blob)? != footer {
        return Err(contradiction("its footer says something else than its parts"));
    }
    if !layer.annotations.iter().filter(|(name, _)| ours(name)).eq(&said) {
        return Err(contradiction("its annotations say something else than its parts"));
    }
    match blob.read(&mut [0]).map_err(PackError::Read)? {
        0 => Ok(()),
        _ => Err(contradiction("it has bytes that belong to nothing behind its footer")),
    }
}

fn raw<const N: usize>(blob: &mut dyn Read) -> Result<[u8; N], PackError> {
    let mut bytes = [0; N];
    blob.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => contradiction("it ends before its footer does"),
        _ => PackError::Read(error),
    })?;
    Ok(bytes)
}

/// Begins a skippable frame and gives its length.
fn head(blob: &mut dyn Read) -> Result<u64, PackError> {
    if raw::<4>(blob)? != SKIPPABLE {
        return Err(contradiction("it has something else behind its archive than its parts"));
    }
    Ok(u32::from_le_bytes(raw(blob)?).into())
}

/// Reads a part whose frame begins at `at`: its place, the digest of its compressed bytes, and that
/// of what they decompress to, which is at most so long.
fn part(blob: &mut Hashing<'_>, at: u64, most: u64) -> Result<(Part, Digest, Digest), PackError> {
    let length = head(blob)?;
    let mut raw = blob.take(length);
    let mut packed = Hashing::new(&mut raw);
    let mut plain = Plain::new(&mut packed)?;
    let mut text = Passed::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let made = plain.read(&mut buffer)?;
        if made == 0 {
            break;
        }
        text.hasher.update(&buffer[..made]);
        text.count += made as u64;
        if text.count > most {
            return Err(contradiction("a part behind its archive is longer than it can be"));
        }
    }
    Ok(((at + HEAD, length, text.count), packed.hasher.finish(), text.hasher.finish()))
}
