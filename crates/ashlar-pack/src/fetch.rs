//! Reading contents out of a range of a layer.

use std::io::{self, Read};
use std::ops::Range;

use ashlar_object::{Digest, Hasher};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use crate::PackError;
use crate::toc::WINDOW;

/// A range of one layer's blob, and the contents it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which layer of the stack.
    pub layer: usize,
    /// Which bytes of its blob.
    pub range: Range<u64>,
    /// Where in the blob each content lies, in that order, none over another.
    pub(crate) contents: Vec<(Digest, Range<u64>)>,
}

impl Fetch {
    /// The contents that the range holds, in the order in which they lie there.
    pub fn contents(&self) -> impl ExactSizeIterator<Item = Digest> + '_ {
        self.contents.iter().map(|(digest, _)| *digest)
    }

    /// How many bytes of the range are of use; the others lie between contents.
    #[must_use]
    pub fn useful(&self) -> u64 {
        self.contents.iter().map(|(_, place)| place.end - place.start).sum()
    }

    /// Takes the bytes of the range and hands each content to `each`. The reader that `each` gets
    /// fails with `InvalidData` or `UnexpectedEof` instead of ending when the content is not what
    /// its digest says; nothing may be used before it has ended. What `each` leaves unread is
    /// passed over unchecked.
    ///
    /// # Errors
    /// [`PackError::Read`] when `bytes` fails or ends early, so that another attempt may help;
    /// [`PackError::Damaged`] when the bytes are not what the table of contents says;
    /// [`PackError::Keep`] when `each` fails.
    pub fn read(
        &self,
        bytes: &mut dyn Read,
        each: &mut dyn FnMut(&Digest, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let mut frames = Frames::new()?;
        let mut at = self.range.start;
        for (digest, place) in &self.contents {
            skip(bytes, place.start - at).map_err(PackError::Read)?;
            let mut content = Content {
                source: bytes,
                left: place.end - place.start,
                frames: &mut frames,
                inside: false,
                digest,
                hasher: Some(Hasher::new()),
                got: 0,
                fault: None,
            };
            content.frames.restart()?;
            let taken = each(digest, &mut content);
            let (left, fault) = (content.left, content.fault.take());
            match (fault, taken) {
                (Some(Fault::Damaged(reason)), _) => {
                    return Err(PackError::Damaged { digest: *digest, reason });
                }
                // Even if `each` made another error of it, or none.
                (Some(Fault::Source(kind, text)), _) => {
                    return Err(PackError::Read(io::Error::new(kind, text)));
                }
                (None, Err(e)) => return Err(PackError::Keep(e)),
                (None, Ok(())) => {}
            }
            skip(bytes, left).map_err(PackError::Read)?;
            at = place.end;
        }
        Ok(())
    }
}

/// Passes over bytes that must be there.
fn skip(bytes: &mut dyn Read, count: u64) -> io::Result<()> {
    if io::copy(&mut bytes.take(count), &mut io::sink())? < count {
        return Err(early());
    }
    Ok(())
}

fn early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the bytes of the layer end early")
}

/// A decompressor and the bytes it has not taken yet, for one content after the other.
struct Frames {
    context: DCtx<'static>,
    buffer: Vec<u8>,
    taken: usize,
}

impl Frames {
    const BUFFER: u64 = 128 << 10;

    fn new() -> Result<Self, PackError> {
        let mut context =
            DCtx::try_create().ok_or(PackError::Compress("there is not enough memory"))?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW))
            .map_err(|code| PackError::Compress(zstd_safe::get_error_name(code)))?;
        Ok(Self { context, buffer: Vec::new(), taken: 0 })
    }

    fn restart(&mut self) -> Result<(), PackError> {
        self.buffer.clear();
        self.taken = 0;
        self.context
            .reset(ResetDirective::SessionOnly)
            .map_err(|code| PackError::Compress(zstd_safe::get_error_name(code)))?;
        Ok(())
    }
}

/// What made a content unusable.
enum Fault {
    Damaged(String),
    Source(io::ErrorKind, String),
}

/// One content, decompressed and checked on its way.
struct Content<'a> {
    source: &'a mut dyn Read,
    /// How many bytes of the content's range have not been read.
    left: u64,
    frames: &'a mut Frames,
    /// Whether a frame has begun and not ended.
    inside: bool,
    digest: &'a Digest,
    /// Taken when the end has been reached and checked.
    hasher: Option<Hasher>,
    got: u64,
    fault: Option<Fault>,
}

impl Content<'_> {
    fn damaged(&mut self, reason: String) -> io::Error {
        let error =
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", self.digest));
        self.fault = Some(Fault::Damaged(reason));
        error
    }

    /// More compressed bytes, if there are any.
    fn fill(&mut self) -> io::Result<bool> {
        let frames = &mut *self.frames;
        if frames.taken < frames.buffer.len() {
            return Ok(true);
        }
        if self.left == 0 {
            return Ok(false);
        }
        let most = self.left.min(Frames::BUFFER);
        frames.taken = 0;
        // At most what `BUFFER` says, so it fits.
        frames.buffer.resize(most as usize, 0);
        let error = match self.source.read_exact(&mut frames.buffer) {
            Ok(()) => {
                self.left -= most;
                return Ok(true);
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => early(),
            Err(e) => e,
        };
        frames.buffer.clear();
        self.fault = Some(Fault::Source(error.kind(), error.to_string()));
        Err(error)
    }

    fn decompress(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let frames = &mut *self.frames;
        let mut input = InBuffer::around(&frames.buffer[frames.taken..]);
        let mut output = OutBuffer::around(out);
        match frames.context.decompress_stream(&mut output, &mut input) {
            Ok(hint) => {
                let (read, made) = (input.pos(), output.pos());
                frames.taken += read;
                self.inside = hint != 0;
                Ok(made)
            }
            Err(code) => {
                let reason =
                    format!("it cannot be decompressed: {}", zstd_safe::get_error_name(code));
                Err(self.damaged(reason))
            }
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &self.fault {
            Some(Fault::Damaged(reason)) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason.clone()));
            }
            Some(Fault::Source(kind, text)) => return Err(io::Error::new(*kind, text.clone())),
            None => {}
        }
        if out.is_empty() || self.hasher.is_none() {
            return Ok(0);
        }
        loop {
            let more = self.fill()?;
            if !more && !self.inside {
                let found = self.hasher.take().unwrap_or_default().finish();
                if found != *self.digest {
                    return Err(self.damaged(format!("it is {found}")));
                }
                return Ok(0);
            }
            let made = self.decompress(out)?;
            if made > 0 {
                self.got += made as u64;
                if self.got > self.digest.size {
                    return Err(self.damaged(format!("it is larger than {}", self.digest.size)));
                }
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&out[..made]);
                }
                return Ok(made);
            }
            if !more && self.inside {
                return Err(self.damaged("it ends within a frame".to_owned()));
            }
        }
    }
}
