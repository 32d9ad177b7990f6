//! One layer: frames, table of contents, footer.

use std::io::{self, Read, Write};

use ashlar_object::{Digest, Hasher};

use crate::entry::{Item, What};
use crate::frame::{Blob, Compressor, PIECE, WHOLE};
use crate::split::{Crc64, Split};
use crate::toc::{Tail, rfc3339};
use crate::{Contents, Layer, LayerPlan, PackError, Toc, tar};

impl LayerPlan {
    /// Writes the layer: the blob goes to `out`, what describes it is returned. The same plan
    /// gives the same bytes; memory does not grow with contents.
    ///
    /// # Errors
    /// When a content cannot be read or is not what its digest says, or `out` fails.
    pub fn write(
        &self,
        contents: &dyn Contents,
        out: &mut dyn Write,
    ) -> Result<(Layer, Toc), PackError> {
        let mut packer = Packer {
            contents,
            blob: Blob::new(out),
            compressor: Compressor::new(self.level)?,
            archive: Hasher::new(),
            headers: Vec::new(),
            piece: Vec::new(),
            sum: None,
        };
        let mut split = match self.items.iter().all(can_be_split) {
            true => Some(Split::new(
                zstd::Encoder::new(Vec::new(), self.level.clamp(1, 19))
                    .map_err(PackError::Write)?,
            )),
            false => None,
        };
        let mut items = self.items.clone();
        let mut header = Vec::new();
        for item in &mut items {
            // The padding of the content before is part of what is between the contents.
            tar::append(&mut header, b"", &item.path, &item.what);
            packer.header(&header)?;
            let size = item.size();
            packer.sum = split.is_some().then(Crc64::new);
            if let What::File { file, place } = &mut item.what
                && size > 0
            {
                packer.flush()?;
                let start = packer.blob.at();
                packer.content(&item.path, &file.digest)?;
                *place = start..packer.blob.at();
            }
            if let Some(split) = &mut split {
                split.entry(&header, item, packer.sum.as_ref())?;
            }
            header.clear();
            header.resize(tar::padding(size), 0);
        }
        header.extend_from_slice(&tar::END);
        packer.header(&header)?;
        packer.flush()?;
        if let Some(split) = &mut split {
            split.segment(&header)?;
        }
        let split = match split.map(Split::finish) {
            Some((out, size)) => Some((out.finish().map_err(PackError::Write)?, size)),
            None => None,
        };
        let tail = Tail::new(&items, split, self.level)?;
        let annotations = tail.write(&mut packer.blob)?;
        let diff_id = packer.archive.finish().hash;
        let layer = Layer { digest: packer.blob.finish()?, diff_id, annotations };
        Ok((layer, Toc { items }))
    }
}

/// Whether readers of tar-splits get the same from the header of this entry as from the table of
/// contents. If not, they refuse the layer, while without a tar-split they take it whole.
pub(crate) fn can_be_split(item: &Item) -> bool {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let extra = item.what.meta().extra.as_deref();
    text(&item.path)
        && text(item.what.target())
        && extra.is_none_or(|extra| {
            extra.mtime.is_none_or(|time| rfc3339(time).is_some())
                && extra.xattrs.keys().all(|name| !name.contains(['%', '=']))
        })
}

struct Packer<'a> {
    contents: &'a dyn Contents,
    blob: Blob<'a>,
    compressor: Compressor,
    /// Over the archive before compression.
    archive: Hasher,
    /// Headers that are not in a frame yet.
    headers: Vec<u8>,
    piece: Vec<u8>,
    /// Over one content, where a tar-split is made.
    sum: Option<Crc64>,
}

impl Packer<'_> {
    fn header(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.archive.update(bytes);
        self.headers.extend_from_slice(bytes);
        if self.headers.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the frame of headers, so that the next frame begins with a content.
    fn flush(&mut self) -> Result<(), PackError> {
        if !self.headers.is_empty() {
            self.blob.put(self.compressor.frame(&self.headers)?)?;
            self.headers.clear();
        }
        Ok(())
    }

    /// One content as one frame.
    fn content(&mut self, path: &[u8], digest: &Digest) -> Result<(), PackError> {
        let written = self.checked(path, digest);
        if matches!(written, Err(PackError::WrongContent { .. })) {
            self.contents.is_wrong(digest);
        }
        written
    }

    fn checked(&mut self, path: &[u8], digest: &Digest) -> Result<(), PackError> {
        let mut reader = self.contents.open(digest).map_err(|e| unreadable(path, digest, e))?;
        if digest.size <= WHOLE as u64 {
            self.fill(&mut *reader, path, digest, digest.size)?;
            // Nothing of a wrong content gets into the blob.
            if Digest::of(&self.piece) != *digest || !ended(&mut *reader, path, digest)? {
                return Err(wrong(path, digest));
            }
            self.pass();
            return self.blob.put(self.compressor.frame(&self.piece)?);
        }
        let mut hasher = Hasher::new();
        let mut left = digest.size;
        self.compressor.begin(left)?;
        while left > 0 {
            let size = left.min(PIECE as u64);
            self.fill(&mut *reader, path, digest, size)?;
            hasher.update(&self.piece);
            self.pass();
            self.compressor.piece(&self.piece, &mut self.blob)?;
            left -= size;
        }
        self.compressor.end(&mut self.blob)?;
        if hasher.finish() != *digest || !ended(&mut *reader, path, digest)? {
            return Err(wrong(path, digest));
        }
        Ok(())
    }

    /// Reads exactly so many bytes; fewer mean that it is another content.
    fn fill(
        &mut self,
        reader: &mut dyn Read,
        path: &[u8],
        digest: &Digest,
        size: u64,
    ) -> Result<(), PackError> {
        self.piece.resize(usize::try_from(size).unwrap_or(PIECE), 0);
        // In one read where the reader can: to read to an unknown end is many small ones.
        let mut filled = 0;
        while filled < self.piece.len() {
            match reader.read(&mut self.piece[filled..]) {
                Ok(0) => return Err(wrong(path, digest)),
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(unreadable(path, digest, e)),
            }
        }
        Ok(())
    }

    fn pass(&mut self) {
        self.archive.update(&self.piece);
        if let Some(sum) = &mut self.sum {
            sum.update(&self.piece);
        }
    }
}

/// Gives a content to `put` in pieces as large as the buffer at most, and compares it with its digest.
pub(crate) fn pass_on(
    contents: &dyn Contents,
    path: &[u8],
    digest: &Digest,
    buffer: &mut [u8],
    put: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
) -> Result<(), PackError> {
    if digest.size == 0 {
        return Ok(());
    }
    let mut reader = contents.open(digest).map_err(|e| unreadable(path, digest, e))?;
    let mut hasher = Hasher::new();
    let mut left = digest.size;
    let is_wrong = || {
        contents.is_wrong(digest);
        wrong(path, digest)
    };
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match reader.read(&mut buffer[..most]) {
            Ok(0) => return Err(is_wrong()),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(unreadable(path, digest, e)),
        };
        hasher.update(&buffer[..count]);
        put(&buffer[..count])?;
        left -= count as u64;
    }
    if hasher.finish() != *digest || !ended(&mut *reader, path, digest)? {
        return Err(is_wrong());
    }
    Ok(())
}

/// Whether nothing follows. Readers that check what they read do so here at the latest.
fn ended(reader: &mut dyn Read, path: &[u8], digest: &Digest) -> Result<bool, PackError> {
    loop {
        match reader.read(&mut [0]) {
            Ok(count) => return Ok(count == 0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(path, digest, e)),
        }
    }
}

fn unreadable(path: &[u8], digest: &Digest, source: io::Error) -> PackError {
    PackError::Content { path: shown(path), digest: *digest, source }
}

fn wrong(path: &[u8], digest: &Digest) -> PackError {
    PackError::WrongContent { path: shown(path), digest: *digest }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
