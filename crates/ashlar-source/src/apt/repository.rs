//! A package repository made of a folder of packages.

use std::fmt::Write as _;
use std::path::Path;

use ashlar_object::Digest;

use super::AptError;
use crate::SourceError;
use crate::program::{DPKG_DEB, words};
use crate::project::digest_path;

/// Makes a folder of `.deb` files a flat repository that apt and mmdebstrap can use with
/// `[trusted=yes]`: writes `Packages`, and `Release` with the name of the suite, by which
/// mmdebstrap finds the essential packages. Returns how many packages there are.
///
/// # Errors
/// When a file is no package or the folder cannot be written.
pub fn local_repository(folder: &Path, suite: &str) -> Result<usize, SourceError> {
    let read = || SourceError::io("read", folder);
    let mut debs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read())? {
        let path = entry.map_err(read())?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            debs.push(path);
        }
    }
    debs.sort();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = debs.len().div_ceil(threads).max(1);
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = debs
            .chunks(share)
            .map(|debs| scope.spawn(|| debs.iter().map(|deb| stanza(deb.as_path())).collect()))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<String>, SourceError>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let packages = parts.concat().join("\n");
    let digest = Digest::of(packages.as_bytes());
    // One fixed date: the repository is a function of its packages.
    let release = format!(
        "Suite: {suite}\nCodename: {suite}\nDate: Sat, 01 Jan 2000 00:00:00 UTC\nSHA256:\n {} {} \
         Packages\n",
        digest.hex(),
        digest.size
    );
    for (name, text) in [("Packages", packages), ("Release", release)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(SourceError::io("write", &path))?;
    }
    Ok(debs.len())
}

/// The control fields of a package, as `dpkg-deb --field` prints them.
///
/// # Errors
/// When the file is no package, or dpkg is missing.
pub fn control_fields(deb: &Path) -> Result<String, SourceError> {
    let output = DPKG_DEB.run(DPKG_DEB.command().arg("--field").arg(deb), None)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned() + "\n");
    }
    Err(AptError::NotDeb { path: deb.to_owned(), words: words(&output.stderr) }.into())
}

fn stanza(deb: &Path) -> Result<String, SourceError> {
    let mut text = control_fields(deb)?;
    let digest = digest_path(deb).map_err(SourceError::io("read", deb))?;
    let name = deb.file_name().unwrap_or_default().to_string_lossy();
    // Writing to a string cannot fail.
    let _ = write!(text, "Filename: ./{name}\nSize: {}\nSHA256: {}\n", digest.size, digest.hex());
    Ok(text)
}
