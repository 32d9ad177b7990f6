//! How digests are written in the index and as names of files.

use ashlar_object::{Digest, Meta};

/// Bytes of a digest in the index: the hash, then the size, little-endian.
const WIDTH: usize = 40;

/// A digest as the index holds it.
pub(crate) fn to_bytes(digest: &Digest) -> [u8; WIDTH] {
    let mut bytes = [0; WIDTH];
    let (hash, size) = bytes.split_at_mut(32);
    hash.copy_from_slice(&digest.hash);
    size.copy_from_slice(&digest.size.to_le_bytes());
    bytes
}

/// A digest from the index.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Digest> {
    let (hash, size) = bytes.split_first_chunk::<32>()?;
    Some(Digest { hash: *hash, size: u64::from_le_bytes(size.try_into().ok()?) })
}

/// A list of digests as the index holds it.
pub(crate) fn list_to_bytes(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(to_bytes).collect()
}

/// A list of digests from the index, `None` for what is none.
pub(crate) fn list_from_bytes(bytes: &[u8]) -> Option<impl Iterator<Item = Digest> + '_> {
    let (chunks, rest) = bytes.as_chunks::<WIDTH>();
    rest.is_empty().then(|| chunks.iter().filter_map(|chunk| from_bytes(chunk)))
}

/// In which of its two files a blob is meant. Mode and owner belong to the inode, so one file
/// cannot serve a tree that wants it executable and one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Plain,
    Executable,
}

impl Form {
    /// The form whose file can stand in a tree as it is; `None` for what must be a copy.
    pub fn of(meta: &Meta) -> Option<Self> {
        if *meta == Meta::FILE {
            Some(Self::Plain)
        } else if *meta == Meta::EXECUTABLE {
            Some(Self::Executable)
        } else {
            None
        }
    }

    pub fn mode(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Plain => Self::Executable,
            Self::Executable => Self::Plain,
        }
    }
}

/// The name of a blob below `blobs/`: `<2 hex>/<64 hex>`, with `.x` when executable.
#[derive(Clone, Copy)]
pub(crate) struct BlobName {
    bytes: [u8; 69],
    length: usize,
}

impl BlobName {
    pub fn new(hash: &[u8; 32], form: Form) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = *b"../................................................................\
            .x";
        for (index, byte) in hash.iter().enumerate() {
            bytes[3 + 2 * index] = DIGITS[usize::from(byte >> 4)];
            bytes[4 + 2 * index] = DIGITS[usize::from(byte & 15)];
        }
        (bytes[0], bytes[1]) = (bytes[3], bytes[4]);
        Self { bytes, length: if form == Form::Executable { 69 } else { 67 } }
    }

    /// Relative to `blobs/`.
    pub fn path(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Without the folder.
    pub fn file_name(&self) -> &str {
        std::str::from_utf8(&self.bytes[3..self.length]).unwrap_or_default()
    }

    /// What a file in a folder of blobs is: `None` for a name that is no blob's.
    pub fn parse(name: &[u8]) -> Option<([u8; 32], Form)> {
        let text = std::str::from_utf8(name).ok()?;
        let (hex, form) = match text.strip_suffix(".x") {
            Some(hex) => (hex, Form::Executable),
            None => (text, Form::Plain),
        };
        Some((Digest::from_hex(hex, 0).ok()?.hash, form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_what_they_write() {
        let digest = Digest::of(b"stone");
        for form in [Form::Plain, Form::Executable] {
            let name = BlobName::new(&digest.hash, form);
            let suffix = if form == Form::Executable { ".x" } else { "" };
            let path = format!("{}/{}{suffix}", &digest.hex()[..2], digest.hex());
            assert_eq!(name.path(), path.as_bytes());
            let parsed = BlobName::parse(name.file_name().as_bytes());
            assert_eq!(parsed, Some((digest.hash, form)));
        }
        assert_eq!(BlobName::parse(b"lost+found"), None);
    }

    #[test]
    fn lists_read_what_they_write() {
        let list = [Digest::EMPTY, Digest::of(b"x")];
        let bytes = list_to_bytes(&list);
        assert!(list_from_bytes(&bytes).is_some_and(|read| read.eq(list)));
        assert!(list_from_bytes(&bytes[1..]).is_none());
    }
}
