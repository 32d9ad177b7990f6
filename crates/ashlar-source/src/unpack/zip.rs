//! Zip archives.

use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use super::UnpackError;
use super::within::{Attributes, Within};

/// Unpacks a zip archive. Its directory is at its end, so it goes into a nameless file first.
pub(super) fn unpack(
    reader: &mut dyn Read,
    into: &Path,
    mut within: Within<'_>,
) -> Result<(), UnpackError> {
    let write = |source| UnpackError::Write { path: "a temporary file".to_owned(), source };
    let mut file = tempfile::tempfile_in(into).map_err(write)?;
    std::io::copy(reader, &mut file).map_err(UnpackError::Damaged)?;
    file.seek(SeekFrom::Start(0)).map_err(write)?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let raw = entry.name_raw().to_vec();
        let Some(path) = within.path(&raw)? else { continue };
        let mode = entry.unix_mode().unwrap_or(0o644);
        let attributes = Attributes { mode: mode & 0o7777, uid: 0, gid: 0 };
        let refuse = |what| Err(UnpackError::Kind { path: path.to_string(), what });
        // The kind is in the upper bits of the mode where a Unix program wrote the archive.
        match mode & 0o170_000 {
            _ if raw.ends_with(b"/") => within.dir(&path, attributes)?,
            0o040_000 => within.dir(&path, attributes)?,
            0o120_000 => {
                let mut target = Vec::new();
                (&mut entry).take(4096).read_to_end(&mut target).map_err(UnpackError::Damaged)?;
                within.symlink(&path, &target, attributes)?;
            }
            0 | 0o100_000 => within.file(&path, attributes, &mut entry)?,
            0o010_000 => return refuse("a FIFO"),
            0o020_000 => return refuse("a character device"),
            0o060_000 => return refuse("a block device"),
            0o140_000 => return refuse("a socket"),
            _ => return refuse("of a kind that is not known"),
        }
    }
    Ok(())
}

fn damaged(error: zip::result::ZipError) -> UnpackError {
    match error {
        zip::result::ZipError::Io(e) => UnpackError::Damaged(e),
        other => UnpackError::Damaged(std::io::Error::new(std::io::ErrorKind::InvalidData, other)),
    }
}
