//! Tar archives.

use std::io::Read;

use ashlar_object::RelPath;
use tar::EntryType;

use super::stream::{Given, Meter};
use super::within::{Attributes, Within};
use super::{Keep, UnpackError};

/// Unpacks a decompressed tar stream.
pub(super) fn unpack(
    reader: impl Read,
    mut within: Within<'_>,
    meter: &Meter,
) -> Result<(), UnpackError> {
    let mut reader = Given { inner: reader, meter };
    let mut first = Vec::new();
    meter.headers();
    (&mut reader).take(512).read_to_end(&mut first).map_err(UnpackError::Damaged)?;
    if !super::stream::is_tar(&first) {
        return Err(UnpackError::Unknown);
    }
    let mut archive = tar::Archive::new(std::io::Cursor::new(first).chain(reader));
    let mut entries = archive.entries().map_err(UnpackError::Damaged)?;
    loop {
        meter.headers();
        let Some(entry) = entries.next() else { return Ok(()) };
        let mut entry = entry.map_err(UnpackError::Damaged)?;
        meter.contents();
        one(&mut entry, &mut within)?;
        // Whatever an entry has that was not used is passed over here, not as part of the next
        // entry's headers, which are bounded.
        std::io::copy(&mut entry, &mut std::io::sink()).map_err(UnpackError::Damaged)?;
    }
}

fn one<R: Read>(entry: &mut tar::Entry<'_, R>, within: &mut Within<'_>) -> Result<(), UnpackError> {
    let kind = entry.header().entry_type();
    // Global headers say something about all entries (git puts the commit there); `V` is the
    // label of a volume.
    if kind == EntryType::XGlobalHeader || kind == EntryType::new(b'V') {
        return Ok(());
    }
    let raw = entry.path_bytes().into_owned();
    let Some(path) = within.path(&raw)? else { return Ok(()) };
    let refuse = |what| Err(UnpackError::Kind { path: path.to_string(), what });
    if has_sparse_headers(entry)? {
        let what = "is sparse in the POSIX way";
        return Err(UnpackError::Unsupported { path: path.to_string(), what });
    }
    let header = entry.header();
    let attributes = Attributes {
        mode: header.mode().map_err(UnpackError::Damaged)?,
        uid: header.uid().map_err(UnpackError::Damaged)?,
        gid: header.gid().map_err(UnpackError::Damaged)?,
    };
    match kind {
        EntryType::Directory => within.dir(&path, attributes),
        // Before POSIX a folder was a file whose name ends in a slash.
        EntryType::Regular if raw.ends_with(b"/") => within.dir(&path, attributes),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            within.file(&path, attributes, entry)
        }
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            if kind == EntryType::Symlink {
                return within.symlink(&path, &target, attributes);
            }
            let other = RelPath::parse(&target).map_err(|e| UnpackError::Escapes {
                path: format!("{path} → {}", e.path),
                what: e.reason,
            })?;
            if other.is_root() {
                return refuse("a hard link to nothing");
            }
            within.same(&path, &other, attributes)
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo if within.is_root_device(&path) => {
            Ok(())
        }
        EntryType::Char => refuse("a character device"),
        EntryType::Block => refuse("a block device"),
        EntryType::Fifo => refuse("a FIFO"),
        _ => refuse("of a kind that is not known"),
    }
}

fn has_sparse_headers<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<bool, UnpackError> {
    let Some(headers) = entry.pax_extensions().map_err(UnpackError::Damaged)? else {
        return Ok(false);
    };
    for header in headers {
        let header = header.map_err(UnpackError::Damaged)?;
        if header.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Within<'_> {
    /// Whether a device there is passed over: those of a root file system's own `dev`.
    fn is_root_device(&self, path: &RelPath) -> bool {
        matches!(self.keep(), Keep::Root { .. })
            && path.names().first().is_some_and(|name| name.as_bytes() == b"dev")
    }
}
