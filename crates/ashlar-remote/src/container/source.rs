//! Where images are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_object::Digest;
use ashlar_store::{Detached, ImageError, RemoteError, Watch, detached};

use crate::depot::objects::tag;
use crate::depot::registry::Registry;
use crate::depot::{Depot as _, Manifest, Reference};

/// Manifests larger than this are not read, by the custom of registries.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// A place that images are read from.
#[derive(Clone)]
pub(super) enum Source {
    /// A repository of a registry.
    Registry(Arc<Registry>),
    /// A folder in the OCI image layout.
    Layout(PathBuf),
}

impl Source {
    /// The manifest or index that has this hash, not compared with it.
    pub fn manifest(&self, hash: &[u8; 32]) -> Result<Option<Manifest>, ImageError> {
        match self {
            Self::Registry(registry) => Ok(registry.unchecked_manifest(&Reference::Hash(*hash))?),
            Self::Layout(folder) => {
                let path = blob_path(folder, hash);
                let Some(bytes) = read(&path, MANIFEST_LIMIT)? else { return Ok(None) };
                let media_type = tag::media_type(&bytes).map_err(|why| ImageError::Malformed {
                    what: path.display().to_string(),
                    why,
                })?;
                Ok(Some(Manifest { media_type, bytes }))
            }
        }
    }

    /// Opens a blob. Its bytes are for the caller to compare.
    pub fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, ImageError> {
        match self {
            Self::Registry(registry) => Ok(registry.open_blob(digest, 0..digest.size)?),
            Self::Layout(folder) => {
                let path = blob_path(folder, &digest.hash);
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(ImageError::File { doing: "read", path, source }),
                }
            }
        }
    }
}

impl Source {
    /// The same, given up when nobody wants it any more: a registry that says nothing holds a thread
    /// of its own.
    pub fn open_watched<'a>(
        &self,
        digest: &Digest,
        watch: &Watch<'a>,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, ImageError> {
        if let Self::Layout(_) = self {
            return self.open(digest).map(|opened| opened.map(|reader| reader as _));
        }
        let (source, digest) = (self.clone(), *digest);
        let opened = detached(move || source.open(&digest), watch.go_on).map_err(no_thread)?;
        let Some(opened) = opened.ok_or(RemoteError::Stopped)?? else { return Ok(None) };
        let stopped = || io::Error::other(RemoteError::Stopped);
        let reader = Detached::new(opened, watch.go_on, stopped).map_err(no_thread)?;
        Ok(Some(Box::new(reader)))
    }
}

/// The error for a thread that cannot be started.
pub(super) fn no_thread(error: io::Error) -> ImageError {
    ImageError::of_reading(error, "what a registry says")
}

/// The file of a blob in a layout.
pub(super) fn blob_path(folder: &Path, hash: &[u8; 32]) -> PathBuf {
    folder.join("blobs/sha256").join(Digest { hash: *hash, size: 0 }.hex())
}

/// A small file; none when it is not there.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let failed = |source| ImageError::File { doing: "read", path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(ImageError::Malformed {
            what: path.display().to_string(),
            why: format!("it has more than {most} bytes"),
        });
    }
    Ok(Some(bytes))
}
