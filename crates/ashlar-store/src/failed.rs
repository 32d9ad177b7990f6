//! What a failed system call means to whoever uses the store.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::StoreError;

/// The error for a system call that failed; `doing` is a verb that fits "cannot …".
///
/// A full disk and a read-only file system are told apart from all else, because callers go on
/// without a cache then.
pub(crate) fn failed(doing: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::Full { path: path.to_path_buf() },
        Some(Errno::ROFS) => StoreError::ReadOnly { path: path.to_path_buf() },
        _ => StoreError::Io { doing, path: path.to_path_buf(), source },
    }
}

/// The same for use with `map_err`.
pub(crate) fn failing<E: Into<std::io::Error>>(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> StoreError {
    let path = path.into();
    move |source| failed(doing, &path, source.into())
}
