//! SHA-256 digests with the size of what they name, as in REAPI and OCI.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes together with their number.
///
/// Written `<64 hex digits>/<size in bytes>`, as in REAPI resource names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// The SHA-256 of the bytes.
    pub hash: [u8; 32],
    /// How many bytes there are.
    pub size: u64,
}

impl Digest {
    /// The digest of no bytes at all. Servers and stores treat this blob as always present.
    pub const EMPTY: Self = Self {
        hash: [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f,
            0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b,
            0x78, 0x52, 0xb8, 0x55,
        ],
        size: 0,
    };

    /// Digests bytes that are already in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: Sha256::digest(bytes).into(), size: bytes.len() as u64 }
    }

    /// The hash as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.hash)
    }

    /// The first 12 digits of the hash, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.hex();
        text.truncate(12);
        text
    }

    /// A digest from the 64 hexadecimal digits of its hash and its size.
    ///
    /// # Errors
    /// When the text is not 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str, size: u64) -> Result<Self, ParseDigestError> {
        Ok(Self { hash: unhex(text).ok_or_else(|| ParseDigestError(text.to_owned()))?, size })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hex(), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.short(), self.size)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseDigestError(text.to_owned());
        let (hash, size) = text.split_once('/').ok_or_else(bad)?;
        Self::from_hex(hash, size.parse().map_err(|_| bad())?).map_err(|_| bad())
    }
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest of the form <64 hex digits>/<size>")]
pub struct ParseDigestError(pub String);

/// Digests bytes as they pass.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    size: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest { hash: self.state.finalize().into(), size: self.size }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = unhex_all(text)?;
    bytes.try_into().ok()
}

pub(crate) fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let value = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_the_digest_of_nothing() {
        assert_eq!(Digest::of(b""), Digest::EMPTY);
        assert_eq!(Hasher::new().finish(), Digest::EMPTY);
    }

    #[test]
    fn known_vector() {
        // FIPS 180-4, appendix B.1.
        assert_eq!(
            Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/3"
        );
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let digest = Digest::of(b"stone");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in [
            "",
            "/",
            "abc/3",
            &digest.hex(),
            &format!("{}/x", digest.hex()),
            &format!("{}/1", digest.hex().to_uppercase()),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
