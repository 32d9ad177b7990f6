//! Which container an archive has, its decompression, and the bounds on it.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use super::UnpackError;

/// The most bytes an archive may unpack to.
const MOST_BYTES: u64 = 64 << 30;
/// The most entries an archive may have.
const MOST_ENTRIES: u64 = 5_000_000;
/// Beyond this many bytes, the ratio below holds.
const RATIO_FROM: u64 = 100 << 20;
/// The most bytes that one byte of the archive may unpack to. Deflate cannot exceed 1,032; real
/// sources are below 100.
const RATIO: u64 = 1000;
/// The most bytes that the headers of one entry may take: long names, extended attributes, maps
/// of holes.
const MOST_HEADER: u64 = 16 << 20;
/// The most memory an xz stream may ask for; `xz -9` needs 65 MiB.
const MOST_XZ_MEMORY: u64 = 1 << 30;

/// What is counted while an archive is unpacked. Bounds are checked here alone.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    taken: Cell<u64>,
    given: Cell<u64>,
    written: Cell<u64>,
    entries: Cell<u64>,
    header: Cell<Option<u64>>,
    passed: Cell<Option<&'static str>>,
}

impl Meter {
    /// One more entry.
    pub fn entry(&self) -> Result<(), UnpackError> {
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() > MOST_ENTRIES {
            return Err(UnpackError::Bound("too large: more than 5 million entries"));
        }
        Ok(())
    }

    /// So many more bytes written to a file.
    pub fn write(&self, count: usize) -> Result<(), UnpackError> {
        let total = self.written.get().saturating_add(count as u64);
        self.written.set(total);
        self.bound(total).map_err(UnpackError::Bound)
    }

    /// From now on headers are read, until [`Meter::contents`].
    pub fn headers(&self) {
        self.header.set(Some(0));
    }

    /// From now on contents are read.
    pub fn contents(&self) {
        self.header.set(None);
    }

    /// The bound that was passed, when that is behind an error of a decoder.
    pub fn explain(&self, error: UnpackError) -> UnpackError {
        self.passed.get().map_or(error, UnpackError::Bound)
    }

    fn bound(&self, bytes: u64) -> Result<(), &'static str> {
        if bytes > MOST_BYTES {
            return Err("too large: it unpacks to more than 64 GiB");
        }
        if bytes > RATIO_FROM && bytes / RATIO > self.taken.get() {
            return Err("a bomb: it unpacks to more than 1000 times its size");
        }
        Ok(())
    }

    fn give(&self, count: usize) -> io::Result<()> {
        let count = count as u64;
        self.given.set(self.given.get().saturating_add(count));
        let mut result = self.bound(self.given.get());
        if let Some(header) = self.header.get() {
            self.header.set(Some(header + count));
            if header + count > MOST_HEADER {
                result = Err("not honest: the headers of one entry take more than 16 MiB");
            }
        }
        result.map_err(|what| {
            self.passed.set(Some(what));
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }
}

/// Counts the bytes of the archive itself.
pub(super) struct Taken<'a> {
    inner: &'a mut dyn Read,
    meter: &'a Meter,
}

impl Read for Taken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.taken.set(self.meter.taken.get() + count as u64);
        Ok(count)
    }
}

/// Counts and bounds the bytes that come out of a decoder.
pub(super) struct Given<'a, R> {
    pub inner: R,
    pub meter: &'a Meter,
}

impl<R: Read> Read for Given<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.give(count)?;
        Ok(count)
    }
}

/// What an archive is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
    Zip,
}

/// Tells the container from the first bytes; the reader returned begins with them again.
pub(super) fn sniff<'a>(
    reader: &'a mut dyn Read,
    meter: &'a Meter,
) -> io::Result<(Option<Container>, impl BufRead + 'a)> {
    let mut first = Vec::with_capacity(512);
    let mut taken = Taken { inner: reader, meter };
    (&mut taken).take(512).read_to_end(&mut first)?;
    let container = container(&first);
    let rest = BufReader::with_capacity(1 << 16, taken);
    Ok((container, io::Cursor::new(first).chain(rest)))
}

fn container(first: &[u8]) -> Option<Container> {
    // Magic numbers: RFC 1952, the bzip2 manual, the .xz file format 1.2.1, RFC 8878, APPNOTE
    // 6.3.10. LZMA alone has none; these are its usual properties with a dictionary of a round
    // size.
    let magics: [(&[u8], Container); 8] = [
        (b"\x1f\x8b", Container::Gzip),
        (b"BZh", Container::Bzip2),
        (b"\xfd7zXZ\0", Container::Xz),
        (b"\x28\xb5\x2f\xfd", Container::Zstd),
        (b"PK\x03\x04", Container::Zip),
        (b"PK\x05\x06", Container::Zip),
        (b"PK\x07\x08", Container::Zip),
        (b"\x5d\0\0", Container::Lzma),
    ];
    let known = magics.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, c)| *c);
    known.or_else(|| is_tar(first).then_some(Container::Plain))
}

/// Whether a block is the header of a tar entry, or the end of an archive without any.
pub(super) fn is_tar(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else { return false };
    if block.iter().all(|b| *b == 0) {
        return true;
    }
    // The checksum counts its own field as spaces; old programs summed signed bytes.
    let field = 148..156;
    let bytes =
        || block.iter().enumerate().map(|(i, b)| if field.contains(&i) { b' ' } else { *b });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|b| i64::from(b.cast_signed())).sum();
    let digits: String = block[field.clone()]
        .iter()
        .skip_while(|b| **b == b' ')
        .take_while(|b| b.is_ascii_digit())
        .map(|b| char::from(*b))
        .collect();
    i64::from_str_radix(&digits, 8).is_ok_and(|sum| sum == unsigned || sum == signed)
}

/// The decompressed bytes of a tar container.
pub(super) fn decoder<'a>(
    container: Container,
    reader: &'a mut (impl BufRead + 'a),
) -> io::Result<Box<dyn Read + 'a>> {
    let xz = |stream: Result<liblzma::stream::Stream, liblzma::stream::Error>, reader| {
        Ok::<_, io::Error>(Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream?)))
    };
    Ok(match container {
        Container::Plain | Container::Zip => Box::new(reader),
        Container::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Container::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Container::Xz => xz(
            liblzma::stream::Stream::new_stream_decoder(
                MOST_XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            ),
            reader,
        )?,
        Container::Lzma => xz(liblzma::stream::Stream::new_lzma_decoder(MOST_XZ_MEMORY), reader)?,
        Container::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}
