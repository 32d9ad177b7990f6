//! Blobs on their way into a store.

use std::io::{self, Read};

use ashlar_object::{Digest, Hasher};
use ashlar_store::{Moved, RemoteError, Store, Watch};

use super::{Arrival, Cas, Ended, Incoming};

/// What became of a blob that was asked for.
pub(super) enum Arrived {
    /// It is in the store.
    Kept,
    /// It is not there, or is something else: why, for people.
    Lost(String),
}

/// Compares what came in a batch with its digest. The text says what is wrong with it.
pub(super) fn verified(arrival: Arrival) -> Result<Vec<u8>, String> {
    let Arrival { digest, bytes, .. } = arrival;
    let bytes = bytes?.ok_or_else(|| missing(&digest))?;
    if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(wrong(&digest)) }
}

/// Brings one blob of any size into the store.
pub(super) fn stream(
    cas: &dyn Cas,
    digest: &Digest,
    into: &dyn Store,
    watch: &Watch<'_>,
) -> Result<Arrived, RemoteError> {
    let mut incoming = cas.read(digest, watch);
    let mut reader = Comparing {
        from: &mut *incoming,
        digest,
        hasher: Some(Hasher::new()),
        left: digest.size,
        wrong: false,
    };
    let put = into.put(&mut reader);
    let wrong_bytes = reader.wrong;
    match incoming.end() {
        Ended::Well => {}
        Ended::Missing => return Ok(Arrived::Lost(missing(digest))),
        Ended::Wrong(why) => return Ok(Arrived::Lost(format!("the blob {digest:?} {why}"))),
        Ended::Failed(error) => return Err(error),
    }
    if wrong_bytes {
        return Ok(Arrived::Lost(wrong(digest)));
    }
    put?;
    (watch.moved)(Moved { bytes: 0, blobs: 1, already: 0 });
    Ok(Arrived::Kept)
}

fn missing(digest: &Digest) -> String {
    format!("the blob {digest:?} is not there")
}

fn wrong(digest: &Digest) -> String {
    format!("what is there in place of the blob {digest:?} is something else")
}

/// Fails instead of ending when the bytes are not those of the digest.
struct Comparing<'a> {
    from: &'a mut (dyn Incoming + 'a),
    digest: &'a Digest,
    hasher: Option<Hasher>,
    left: u64,
    wrong: bool,
}

impl Read for Comparing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.from.read(buffer)?;
        if count as u64 > self.left {
            // More than there may be: the disk is not filled to see what else comes.
            self.wrong = true;
        } else if count > 0 {
            self.left -= count as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
        } else if let Some(hasher) = self.hasher.take()
            && hasher.finish() != *self.digest
        {
            self.wrong = true;
        }
        if self.wrong { Err(io::Error::from(io::ErrorKind::InvalidData)) } else { Ok(count) }
    }
}
