//! Whether a layer is what it says it is, to its last byte.
//!
//! Tools that know nothing of tables of contents read the archive, others the table. Whoever signs
//! or hands on a layer wants both to say the same. An archive of ours follows from its table: every
//! header is what [`LayerPlan::write`](crate::LayerPlan::write) makes of the entry. So the archive is
//! compared with that, byte by byte, and contents with their digests; and in the same way what is
//! behind the archive (`check/behind.rs`).

use std::io::{self, Read};

use ashlar_object::{Digest, Hasher};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

use crate::entry::What;
use crate::split::{Crc64, Split};
use crate::toc::WINDOW;
use crate::write::can_be_split;
use crate::{Layer, PackError, Toc, tar};
use behind::{HEAD, Passed};

mod behind;

/// The magic numbers of skippable frames, without the last four bits (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A50;

/// Reads the blob of a layer to its end and compares it with its digest, its archive with the
/// layer's diff id and its table of contents, and what is behind the archive with the annotations.
/// Memory does not grow with the layer.
///
/// # Errors
/// [`PackError::Read`] when `bytes` fails or ends early; [`PackError::WrongBlob`] when they are not
/// what the layer's digest says; [`PackError::Contradiction`] when the layer is what its digest
/// says and says two things.
pub fn check(layer: &Layer, toc: &Toc, bytes: &mut dyn Read) -> Result<(), PackError> {
    let mut blob = Hashing::new(bytes);
    let checked = inside(layer, toc, &mut blob);
    if let Some(error) = blob.failed.take() {
        return Err(PackError::Read(error));
    }
    // That the blob is another one explains everything else.
    io::copy(&mut blob, &mut io::sink()).map_err(PackError::Read)?;
    if blob.count < layer.digest.size {
        return Err(PackError::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    if blob.hasher.finish() != layer.digest {
        return Err(PackError::WrongBlob(layer.digest));
    }
    checked
}

fn contradiction(reason: impl Into<String>) -> PackError {
    PackError::Contradiction(reason.into())
}

fn inside(layer: &Layer, toc: &Toc, blob: &mut Hashing<'_>) -> Result<(), PackError> {
    let table = Toc::place(&layer.annotations)
        .ok_or_else(|| contradiction("it does not say where its table of contents is"))?;
    let end = (table.range.start.checked_sub(HEAD))
        .ok_or_else(|| contradiction("its table of contents would lie before its beginning"))?;
    let mut plain = Plain::new((&mut *blob).take(end))?;
    let mut archive = Hasher::new();
    let mut split = toc.items.iter().all(can_be_split).then(|| Split::new(Passed::default()));
    let mut buffer = vec![0; 128 << 10];
    let mut header = Vec::new();
    for item in &toc.items {
        let path = || String::from_utf8_lossy(&item.path).into_owned();
        tar::append(&mut header, b"", &item.path, &item.what);
        plain.expect(&header, &mut archive, &mut buffer, || {
            format!("its archive has another header before or at `{}`", path())
        })?;
        let size = item.size();
        let mut sum = split.is_some().then(Crc64::new);
        if let What::File { file, place } = &item.what
            && size > 0
        {
            let elsewhere = || contradiction(format!("`{}` does not lie where it says", path()));
            if !plain.ends_at(place.start)? {
                return Err(elsewhere());
            }
            if plain.digest(size, &mut archive, &mut sum, &mut buffer)? != file.digest {
                let what = format!("its archive has another content for `{}`", path());
                return Err(contradiction(what));
            }
            if !plain.ends_at(place.end)? {
                return Err(elsewhere());
            }
        }
        if let Some(split) = &mut split {
            split.entry(&header, item, sum.as_ref())?;
        }
        header.clear();
        header.resize(tar::padding(size), 0);
    }
    header.extend_from_slice(&tar::END);
    plain.expect(&header, &mut archive, &mut buffer, || "its archive does not end".to_owned())?;
    if !plain.ends_at(end)? {
        plain.read(&mut buffer)?;
        return Err(contradiction("its archive has more than its table of contents"));
    }
    if archive.finish().hash != layer.diff_id {
        return Err(contradiction("its archive is not what the image's configuration says"));
    }
    if let Some(split) = &mut split {
        split.segment(&header)?;
    }
    behind::check(layer, toc, split.map(Split::finish), end, blob)
}

/// Digests what passes, and remembers why it failed.
struct Hashing<'a> {
    inner: &'a mut dyn Read,
    hasher: Hasher,
    count: u64,
    failed: Option<io::Error>,
}

impl<'a> Hashing<'a> {
    fn new(inner: &'a mut dyn Read) -> Self {
        Self { inner, hasher: Hasher::new(), count: 0, failed: None }
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

/// The archive out of its frames. A frame that decompressors pass over is refused: bytes could hide
/// in it.
struct Plain<R> {
    source: R,
    context: DCtx<'static>,
    input: Vec<u8>,
    taken: usize,
    /// How many bytes were taken in all.
    at: u64,
    inside: bool,
}

impl<R: Read> Plain<R> {
    const INPUT: usize = 128 << 10;

    fn new(source: R) -> Result<Self, PackError> {
        let mut context =
            DCtx::try_create().ok_or(PackError::Compress("there is not enough memory"))?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW))
            .map_err(|code| PackError::Compress(zstd_safe::get_error_name(code)))?;
        Ok(Self { source, context, input: Vec::new(), taken: 0, at: 0, inside: false })
    }

    /// More of the source behind what has not been taken; `false` at its end.
    fn fill(&mut self) -> Result<bool, PackError> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let more = (&mut self.source).take(Self::INPUT as u64).read_to_end(&mut self.input);
        Ok(more.map_err(PackError::Read)? > 0)
    }

    /// As [`Read::read`].
    fn read(&mut self, out: &mut [u8]) -> Result<usize, PackError> {
        loop {
            if !self.inside {
                if self.input.len() - self.taken < 4 {
                    self.fill()?;
                }
                let rest = &self.input[self.taken..];
                match rest.first_chunk().map(|magic| u32::from_le_bytes(*magic)) {
                    None if rest.is_empty() => return Ok(0),
                    Some(magic) if magic & !0xF != SKIPPABLE => self.inside = true,
                    _ => return Err(contradiction("its archive has bytes that nobody reads")),
                }
            }
            let made = self.step(out)?;
            if made > 0 {
                return Ok(made);
            }
        }
    }

    /// Goes on within a frame, maybe without making anything.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, PackError> {
        let mut input = InBuffer::around(&self.input[self.taken..]);
        let mut output = OutBuffer::around(out);
        let left = self.context.decompress_stream(&mut output, &mut input);
        let (read, made) = (input.pos(), output.pos());
        let left = left.map_err(|code| contradiction(zstd_safe::get_error_name(code)))?;
        self.taken += read;
        self.at += read as u64;
        self.inside = left != 0;
        if self.inside && made == 0 && read == 0 && !self.fill()? {
            return Err(contradiction("its archive ends within a frame"));
        }
        Ok(made)
    }

    /// Whether the frame has nothing more and ends there. Frames of nothing would be another place
    /// for bytes that nobody reads.
    fn ends_at(&mut self, at: u64) -> Result<bool, PackError> {
        while self.inside {
            if self.step(&mut [0])? > 0 {
                return Ok(false);
            }
        }
        Ok(self.at == at)
    }

    /// Takes so many bytes, piece by piece.
    fn each(
        &mut self,
        size: u64,
        archive: &mut Hasher,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(contradiction("its archive has less than its table of contents"));
            }
            archive.update(&buffer[..count]);
            take(&buffer[..count])?;
            left -= count as u64;
        }
        Ok(())
    }

    fn expect(
        &mut self,
        expected: &[u8],
        archive: &mut Hasher,
        buffer: &mut [u8],
        otherwise: impl Fn() -> String,
    ) -> Result<(), PackError> {
        let mut rest = expected;
        self.each(expected.len() as u64, archive, buffer, |bytes| {
            let (these, others) = rest.split_at(bytes.len());
            rest = others;
            if these == bytes { Ok(()) } else { Err(contradiction(otherwise())) }
        })
    }

    fn digest(
        &mut self,
        size: u64,
        archive: &mut Hasher,
        sum: &mut Option<Crc64>,
        buffer: &mut [u8],
    ) -> Result<Digest, PackError> {
        let mut hasher = Hasher::new();
        self.each(size, archive, buffer, |bytes| {
            hasher.update(bytes);
            if let Some(sum) = sum {
                sum.update(bytes);
            }
            Ok(())
        })?;
        Ok(hasher.finish())
    }
}
