//! `ashlar.lock`: what names were resolved to, so that every machine builds the same.
//!
//! Written by `ashlar lock`, and by `ashlar build` where there is none. It names no host: a
//! package is found again through the machine's own apt by its path below the archive's root.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The newest version of the format that this program reads and the one it writes.
pub const VERSION: u32 = 1;

/// A lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The format version.
    pub version: u32,
    /// The packages of each Debian base, by the name of the base: ids into `package`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base: BTreeMap<String, LockedBase>,
    /// What is added to a base for a set of tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<LockedTools>,
    /// Debian source packages by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, LockedDeb>,
    /// Every Debian package that a base or a set of tools names, by its id
    /// `name_version_architecture`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub package: BTreeMap<String, LockedFile>,
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// When it is no lock file, or one of a newer Ashlar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let _ = text; // filled in below
        Err(Problem::new("not there yet"))
    }

    /// The lock file as text, always the same for the same content.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::new()
    }
}

/// A resolved Debian base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBase {
    /// What was asked for, so that a change of the project file shows: suite, variant and
    /// packages as written.
    pub asked: Vec<String>,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Ids of all its packages, sorted.
    pub packages: Vec<String>,
}

/// What a set of tools adds to a base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTools {
    /// The base.
    pub base: String,
    /// The tools asked for, sorted: package names, and for modules of kind `deb` their build
    /// dependencies as Debian writes them.
    pub asked: Vec<String>,
    /// Ids of the packages that the base lacks, sorted.
    pub packages: Vec<String>,
}

/// A resolved Debian source package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDeb {
    /// Its version.
    pub version: String,
    /// Its build dependencies as the index has them, for modules of kind `deb`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_depends: Vec<String>,
    /// The `.dsc`, then the archives.
    pub files: Vec<LockedFile>,
}

/// A file of a Debian archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its path below the root of the archive: `pool/main/z/zlib/…`.
    pub path: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}
