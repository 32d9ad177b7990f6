//! Bytes that are compared with their digest on their way. The last of them are not given away
//! before all are known to be right.

use std::io::{self, Read};

use ashlar_object::{Digest, Hasher};
use ashlar_store::{ImageError, Moved, RemoteError, Watch};

/// A reader of a blob. Its errors carry an [`ImageError`].
pub(super) struct Verified<'a> {
    inner: Box<dyn Read + Send + 'a>,
    digest: Digest,
    what: String,
    watch: Watch<'a>,
    hasher: Hasher,
    at: u64,
}

impl<'a> Verified<'a> {
    /// `what` is read, for messages; what comes is told to the watcher.
    pub fn new(
        inner: Box<dyn Read + Send + 'a>,
        digest: Digest,
        what: String,
        watch: Watch<'a>,
    ) -> Self {
        Self { inner, digest, what, watch, hasher: Hasher::new(), at: 0 }
    }

    fn wrong(&self, found: String) -> io::Error {
        let size = self.digest.size;
        let expected = format!("sha256:{} ({size} bytes)", self.digest.hex());
        let error = ImageError::Digest { what: self.what.clone(), expected, found };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !(self.watch.go_on)() {
                return Err(io::Error::other(ImageError::from(RemoteError::Stopped)));
            }
            match self.inner.read(into) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    let carried = match error.downcast::<RemoteError>() {
                        Ok(remote) => ImageError::Remote(remote),
                        Err(error) => ImageError::of_reading(error, &self.what),
                    };
                    return Err(io::Error::new(kind, carried));
                }
            }
        }
    }
}

impl Read for Verified<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let count = self.some(into)?;
        if count == 0 {
            // All were right when the last of them was given away.
            if self.at == self.digest.size && (self.at > 0 || self.digest == Digest::of(b"")) {
                return Ok(0);
            }
            return Err(self.wrong(format!("ends after {} bytes", self.at)));
        }
        self.hasher.update(&into[..count]);
        self.at += count as u64;
        if self.at >= self.digest.size {
            let more = self.at > self.digest.size || self.some(&mut [0])? > 0;
            if more {
                return Err(self.wrong(format!("more than {} bytes", self.digest.size)));
            }
            let found = self.hasher.clone().finish();
            if found != self.digest {
                return Err(self.wrong(format!("sha256:{}", found.hex())));
            }
            (self.watch.moved)(Moved { blobs: 1, ..Moved::default() });
        }
        (self.watch.moved)(Moved { bytes: count as u64, ..Moved::default() });
        Ok(count)
    }
}
