//! Archives that `ADD` unpacks.

use std::collections::BTreeSet;
use std::io;

use ashlar_object::{Digest, RelPath, Tree};
use ashlar_pack::image::{Bounds, read_files};
use ashlar_source::with_tar;
use ashlar_store::{Store, StoreError};

use super::copy::CopyError;

/// What is in an archive.
pub(super) struct Unpacked {
    /// Its files.
    pub tree: Tree,
    /// The folders that it says nothing about.
    pub implied: BTreeSet<RelPath>,
}

/// Unpacks a file if its content is an archive: tar, plain or compressed with gzip, bzip2, xz or
/// zstd. Contents go into the store. `written` is the source, for errors.
pub(super) fn unpack(
    written: &str,
    digest: &Digest,
    store: &dyn Store,
) -> Result<Option<Unpacked>, CopyError> {
    let failed = |error: StoreError| CopyError::Store(Box::new(error));
    let mut file =
        store.open(digest).map_err(failed)?.ok_or_else(|| failed(StoreError::Missing(*digest)))?;
    let read = with_tar(&mut file, |tar| {
        read_files(tar, &Bounds::default(), &mut |content| {
            store.put(content).map_err(io::Error::other)
        })
    });
    match read {
        Err(error) => Err(failed(StoreError::Read(*digest, error))),
        Ok(None) => Ok(None),
        Ok(Some(Ok((tree, implied)))) => Ok(Some(Unpacked { tree, implied })),
        Ok(Some(Err(error))) => {
            Err(CopyError::Archive { path: written.to_owned(), source: Box::new(error) })
        }
    }
}
