//! Digests of files that have not changed since they were last read.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_object::Digest;

/// Digests of files by path and stat data.
#[derive(Debug)]
pub struct StatCache {}

impl StatCache {
    /// Reads a cache from its file; one that is missing or damaged is empty.
    #[must_use]
    pub fn load(_file: PathBuf) -> Self {
        unimplemented!()
    }

    /// The digest of a file whose metadata the caller has just read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest_file(&self, _path: &Path, _meta: &Metadata) -> io::Result<Digest> {
        unimplemented!()
    }

    /// Writes the cache to its file if something changed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        unimplemented!()
    }
}
