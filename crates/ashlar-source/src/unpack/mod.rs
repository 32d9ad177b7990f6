//! Unpacking archives without ever leaving the destination.

mod stream;
mod tar;
mod within;
mod zip;

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::SourceError;
use stream::Container;
pub(crate) use stream::Meter;
pub(crate) use within::{Attributes, Within};

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
    #[error("the entry `{path}` cannot be inside the destination: it has {what}")]
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
    /// The archive needs something that is not supported.
    #[error("the entry `{path}` {what}, which is not supported")]
    Unsupported {
        /// The entry, made printable.
        path: String,
        /// What it needs.
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
            Self::Damaged(_)
            | Self::Kind { .. }
            | Self::Unsupported { .. }
            | Self::Write { .. } => None,
        }
    }
}

/// Whether this is the beginning of an archive that [`unpack`] knows.
pub(crate) fn is_archive(reader: &mut dyn Read) -> Result<bool, UnpackError> {
    let meter = Meter::default();
    let (container, mut reader) = stream::sniff(reader, &meter).map_err(UnpackError::Damaged)?;
    let Some(container) = container else { return Ok(false) };
    if container == Container::Zip {
        return Ok(true);
    }
    let mut block = Vec::new();
    match stream::decoder(container, &mut reader) {
        // Something that only looks compressed is a file like any other.
        Err(_) => return Ok(false),
        Ok(decoder) => match decoder.take(512).read_to_end(&mut block) {
            Ok(_) => {}
            Err(_) => return Ok(false),
        },
    }
    Ok(stream::is_tar(&block))
}

/// Passes on the tar archive that a file is: plain, or compressed with gzip, bzip2, xz or zstd. `None`
/// when the file is something else, or an archive without any entry. The bounds of [`unpack`] hold;
/// where one is passed, the reader that `read` gets fails.
///
/// After `read` the file is read to its end, so that a reader that checks a digest has its say.
///
/// # Errors
/// When the file cannot be read.
pub fn with_tar<T>(
    file: &mut dyn Read,
    read: impl FnOnce(&mut dyn Read) -> T,
) -> std::io::Result<Option<T>> {
    let meter = Meter::default();
    let done = {
        let (container, mut reader) = stream::sniff(file, &meter)?;
        match container {
            None | Some(Container::Zip | Container::Lzma) => return Ok(None),
            Some(container) => {
                // Something that only looks compressed is a file like any other.
                let Ok(mut decoder) = stream::decoder(container, &mut reader) else {
                    return Ok(None);
                };
                let mut block = Vec::with_capacity(512);
                let begun = (&mut decoder).take(512).read_to_end(&mut block);
                let empty = block.iter().all(|byte| *byte == 0);
                if begun.is_err() || empty || !stream::is_tar(&block) {
                    return Ok(None);
                }
                let mut whole = std::io::Cursor::new(block)
                    .chain(stream::Given { inner: decoder, meter: &meter });
                read(&mut whole)
            }
        }
    };
    std::io::copy(file, &mut std::io::sink())?;
    Ok(Some(done))
}

/// Unpacks an archive into a folder that exists. The reader is read to its end, so that one that
/// checks a digest has its say; after an error the folder is in pieces and must not be used.
///
/// # Errors
/// When it is no archive, is damaged, or has an entry that is refused.
pub fn unpack(reader: &mut dyn Read, into: &Path, keep: Keep) -> Result<(), UnpackError> {
    let meter = Meter::default();
    {
        let (container, mut reader) =
            stream::sniff(reader, &meter).map_err(UnpackError::Damaged)?;
        let container = container.ok_or(UnpackError::Unknown)?;
        let within = Within::new(into, keep, &meter)?;
        match container {
            Container::Zip => zip::unpack(&mut reader, into, within)?,
            container => {
                let decoder =
                    stream::decoder(container, &mut reader).map_err(UnpackError::Damaged)?;
                tar::unpack(decoder, within, &meter).map_err(|e| meter.explain(e))?;
            }
        }
    }
    // What follows the end of the archive is not looked at, only read.
    std::io::copy(reader, &mut std::io::sink()).map_err(UnpackError::Damaged)?;
    Ok(())
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
    let read = || -> std::io::Result<Option<PathBuf>> {
        let mut entries = std::fs::read_dir(folder)?;
        let (Some(first), None) = (entries.next(), entries.next()) else { return Ok(None) };
        let first = first?;
        Ok(first.file_type()?.is_dir().then(|| first.path()))
    };
    let top = read().map_err(SourceError::io("read", folder))?;
    Ok(top.unwrap_or_else(|| folder.to_owned()))
}

/// Makes all modes below a folder `0644` or `0755`.
pub(crate) fn normalise(folder: &Path) -> Result<(), SourceError> {
    let set = |path: &Path, is: u32, mode: u32| {
        if is & 0o7777 == mode {
            return Ok(());
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(SourceError::io("change the mode of", path))
    };
    let mut todo = vec![folder.to_owned()];
    while let Some(dir) = todo.pop() {
        let doing = || SourceError::io("read", &dir);
        for entry in std::fs::read_dir(&dir).map_err(doing())? {
            let entry = entry.map_err(doing())?;
            // `DirEntry::metadata` does not follow links.
            let metadata = entry.metadata().map_err(doing())?;
            let mode = metadata.permissions().mode();
            let path = entry.path();
            if metadata.is_dir() {
                set(&path, mode, 0o755)?;
                todo.push(path);
            } else if metadata.is_file() {
                set(&path, mode, if mode & 0o111 == 0 { 0o644 } else { 0o755 })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
