//! Compression into frames of zstd, and the blob that they make.

use std::io::Write;

use ashlar_object::{Digest, Hasher};
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use crate::PackError;

/// Contents up to this size are read whole and compressed in one call: what is passed on in pieces
/// is copied, and compressed more slowly as soon as that copy has wrapped around.
pub(crate) const WHOLE: usize = 4 << 20;

/// Larger contents pass through in pieces of this size. The pieces are always full, so that the
/// same content gives the same bytes.
pub(crate) const PIECE: usize = 1 << 20;

/// Skippable frames, which a decompressor passes over (RFC 8878, 3.1.2).
pub(crate) const SKIPPABLE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();

/// Makes one frame after the other.
pub(crate) struct Compressor {
    context: CCtx<'static>,
    out: Vec<u8>,
}

impl Compressor {
    pub fn new(level: i32) -> Result<Self, PackError> {
        let mut context =
            CCtx::try_create().ok_or(PackError::Compress("there is not enough memory"))?;
        // Higher levels want windows that readers with bounded memory refuse.
        let level = CParameter::CompressionLevel(level.clamp(1, 19));
        context.set_parameter(level).map_err(refused)?;
        Ok(Self { context, out: Vec::new() })
    }

    /// One frame with all of these bytes.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<&[u8], PackError> {
        self.out.clear();
        self.out.reserve(zstd_safe::compress_bound(bytes.len()));
        self.context.compress2(&mut self.out, bytes).map_err(refused)?;
        Ok(&self.out)
    }

    /// Begins a frame of so many bytes.
    pub fn begin(&mut self, size: u64) -> Result<(), PackError> {
        self.context.reset(ResetDirective::SessionOnly).map_err(refused)?;
        self.context.set_pledged_src_size(Some(size)).map_err(refused)?;
        self.out.clear();
        self.out.reserve(zstd_safe::compress_bound(PIECE));
        Ok(())
    }

    /// The next bytes of the frame begun.
    pub fn piece(&mut self, bytes: &[u8], blob: &mut Blob<'_>) -> Result<(), PackError> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.out.clear();
            let mut output = OutBuffer::around(&mut self.out);
            self.context.compress_stream(&mut output, &mut input).map_err(refused)?;
            blob.put(&self.out)?;
        }
        Ok(())
    }

    /// The end of the frame begun.
    pub fn end(&mut self, blob: &mut Blob<'_>) -> Result<(), PackError> {
        loop {
            self.out.clear();
            let mut output = OutBuffer::around(&mut self.out);
            let left = self.context.end_stream(&mut output).map_err(refused)?;
            blob.put(&self.out)?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

fn refused(code: usize) -> PackError {
    PackError::Compress(zstd_safe::get_error_name(code))
}

/// The blob of a layer on its way out: counted, digested, in writes that are worth a system call.
pub(crate) struct Blob<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    buffer: Vec<u8>,
    written: u64,
}

impl<'a> Blob<'a> {
    const BUFFER: usize = 256 << 10;

    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, hasher: Hasher::new(), buffer: Vec::with_capacity(Self::BUFFER), written: 0 }
    }

    /// Where the next byte will lie.
    pub fn at(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        if self.buffer.len() + bytes.len() > Self::BUFFER {
            self.flush()?;
        }
        if bytes.len() >= Self::BUFFER {
            return self.pass(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// A skippable frame; says where in the blob the bytes themselves begin.
    pub fn skippable(&mut self, bytes: &[u8]) -> Result<u64, PackError> {
        let size = u32::try_from(bytes.len())
            .map_err(|_| PackError::Toc("it would be larger than 4 GiB".to_owned()))?;
        self.put(&SKIPPABLE)?;
        self.put(&size.to_le_bytes())?;
        let at = self.at();
        self.put(bytes)?;
        Ok(at)
    }

    /// The digest of all that was written.
    pub fn finish(mut self) -> Result<Digest, PackError> {
        self.flush()?;
        self.out.flush().map_err(PackError::Write)?;
        Ok(self.hasher.finish())
    }

    fn flush(&mut self) -> Result<(), PackError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.pass(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(PackError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
