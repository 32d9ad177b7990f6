//! What the blob of a layer is compressed with.

use std::cell::Cell;
use std::io::{self, BufReader, Read};

use ashlar_object::Hasher;
use flate2::bufread::MultiGzDecoder;

use crate::tar::read::filled;

/// How the blob of a layer holds its archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The archive as it is, as in the files of `docker save`.
    None,
    /// What every tool reads.
    Gzip,
    /// Zstandard; written with a table of contents, so that tools can fetch single files.
    Zstd,
}

impl Compression {
    /// The `mediaType` of such a layer in a manifest (OCI image specification 1.1).
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Tells it from the first bytes of a blob: RFC 1952, RFC 8878 with its skippable frames.
    fn of(first: &[u8]) -> Self {
        match first {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The bytes of a blob as they are read: digested, and counted where others see it.
pub(super) struct Blob<'a> {
    inner: &'a mut dyn Read,
    count: &'a Cell<u64>,
    pub hasher: Hasher,
}

impl<'a> Blob<'a> {
    pub fn new(inner: &'a mut dyn Read, count: &'a Cell<u64>) -> Self {
        Self { inner, count, hasher: Hasher::new() }
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// The archive that a blob holds.
pub(super) fn unpacked<'a>(
    blob: &'a mut Blob<'_>,
) -> io::Result<(Box<dyn Read + 'a>, Compression)> {
    let mut first = [0; 4];
    let count = filled(blob, &mut first)?;
    let compression = Compression::of(&first[..count]);
    let first = io::Cursor::new(first).take(count as u64);
    let whole = BufReader::with_capacity(128 << 10, first.chain(blob));
    let plain: Box<dyn Read> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(whole)?),
    };
    Ok((plain, compression))
}
