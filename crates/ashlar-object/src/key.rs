//! Step keys and the one way in which anything is hashed into a key.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::digest::{hex, unhex};

/// The key of a step: a hash of everything that can change its result, known before anything is
/// built. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(pub [u8; 32]);

impl StepKey {
    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step:{}", self.short())
    }
}

impl FromStr for StepKey {
    type Err = ParseStepKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).map(Self).ok_or_else(|| ParseStepKeyError(text.to_owned()))
    }
}

/// Text that is not a step key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a step key of 64 hex digits")]
pub struct ParseStepKeyError(pub String);

/// Hashes fields so that no two different lists of fields give the same bytes: every field is
/// preceded by its length, every list by its count. Never `std::hash`, whose output may change.
#[derive(Clone, Default)]
pub struct CanonicalHasher(Sha256);

impl CanonicalHasher {
    /// A hasher for one purpose; the purpose is its first field, so that keys of different kinds
    /// never meet.
    #[must_use]
    pub fn new(purpose: &str) -> Self {
        let mut hasher = Self::default();
        hasher.bytes(purpose.as_bytes());
        hasher
    }

    /// A field of bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// A field of text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// A number: the count of a list, a flag, a mode.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    /// The hash of all fields.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let of = |fields: &[&str]| {
            let mut hasher = CanonicalHasher::new("test");
            fields.iter().for_each(|f| {
                hasher.text(f);
            });
            hasher.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }

    #[test]
    fn step_keys_read_what_they_write() {
        let key = StepKey(CanonicalHasher::new("x").finish());
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("12".parse::<StepKey>().is_err());
    }
}
