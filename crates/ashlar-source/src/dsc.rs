//! Debian source packages.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, RelPath};
use ashlar_recipe::lock::LockedFile;
use ashlar_store::{Store, StoreError};

use crate::patch::{self, Patch, Rules};
use crate::unpack::{self, Keep, UnpackError};
use crate::{SourceError, deb822, fetcher};

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

/// Unpacks the files of a source package below `work` and applies Debian's patches, as
/// `dpkg-source --extract` does. Returns the folder.
pub(crate) fn unpack(
    store: &dyn Store,
    parts: &[(&LockedFile, Digest)],
    work: &Path,
) -> Result<PathBuf, SourceError> {
    let package = Package::read(store, parts)?;
    let patched = match package.format.as_str() {
        "3.0 (quilt)" => package.quilt(work)?,
        "3.0 (native)" => package.native(work)?,
        "1.0" if package.find(|name| name.ends_with(".diff.gz")).is_some() => package.old(work)?,
        "1.0" => package.native(work)?,
        _ => {
            let (dsc, format) = (package.dsc.clone(), package.format.clone());
            return Err(DscError::Format { dsc, format }.into());
        }
    };
    // What patches made has modes by the process's umask.
    unpack::normalise(&patched)?;
    let rules = patched.join("debian/rules");
    if rules.symlink_metadata().is_ok_and(|m| m.is_file()) {
        // A diff cannot say that a file is executable, and dpkg-source sees to it.
        std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o755))
            .map_err(SourceError::io("change the mode of", &rules))?;
    }
    Ok(patched)
}

/// A source package whose files are in the store.
struct Package<'a> {
    store: &'a dyn Store,
    /// The name of the `.dsc`.
    dsc: String,
    format: String,
    files: Vec<(String, Digest)>,
}

impl<'a> Package<'a> {
    fn read(store: &'a dyn Store, parts: &[(&LockedFile, Digest)]) -> Result<Self, SourceError> {
        let name = |file: &LockedFile| file.path.rsplit('/').next().unwrap_or_default().to_owned();
        let dsc = parts.iter().find(|(file, _)| file.path.ends_with(".dsc"));
        let (file, digest) = dsc.ok_or_else(|| {
            DscError::NoDsc(parts.iter().map(|(f, _)| name(f)).collect::<Vec<_>>().join(", "))
        })?;
        let dsc = name(file);
        let bytes = ashlar_store::read(store, digest)?.ok_or(StoreError::Missing(*digest))?;
        let malformed = |what: &str| {
            SourceError::from(DscError::Malformed { dsc: dsc.clone(), what: what.to_owned() })
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed("is not UTF-8"))?;
        let stanzas = deb822::parse(unsigned(text))
            .map_err(|line| malformed(&format!("cannot be read at line {line} of its content")))?;
        let stanza = stanzas.first().ok_or_else(|| malformed("is empty"))?;
        let format = stanza.get("Format").unwrap_or("1.0").to_owned();
        let listed = stanza
            .get("Checksums-Sha256")
            .and_then(deb822::listed)
            .ok_or_else(|| malformed("has no readable Checksums-Sha256"))?;
        let mut files = Vec::new();
        // Detached signatures are not needed: the index that the lock was made from is signed.
        for listed in listed.into_iter().filter(|l| !l.name.ends_with(".asc")) {
            let locked = parts.iter().find(|(file, digest)| {
                name(file) == listed.name && digest.hex() == listed.sha256.to_ascii_lowercase()
            });
            let (_, digest) = locked
                .ok_or_else(|| DscError::Differs { dsc: dsc.clone(), file: listed.name.clone() })?;
            files.push((listed.name, *digest));
        }
        Ok(Self { store, dsc, format, files })
    }

    fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<&(String, Digest)> {
        self.files.iter().find(|(name, _)| is_it(name))
    }

    fn need(
        &self,
        what: &str,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<&(String, Digest), DscError> {
        self.find(is_it).ok_or_else(|| DscError::Malformed {
            dsc: self.dsc.clone(),
            what: format!("names no {what}"),
        })
    }

    /// Unpacks one archive into a new folder.
    fn extract(&self, file: &(String, Digest), into: &Path) -> Result<(), SourceError> {
        std::fs::create_dir(into).map_err(SourceError::io("create", into))?;
        let mut reader = fetcher::open(self.store, &file.1)?;
        unpack::unpack(&mut *reader, into, Keep::Content)
            .map_err(|e| SourceError::Unpack(file.0.clone(), e))
    }

    /// One archive with everything.
    fn native(&self, work: &Path) -> Result<PathBuf, SourceError> {
        let raw = work.join("native");
        self.extract(self.need("archive", |name| name.contains(".tar."))?, &raw)?;
        unpack::without_top(&raw)
    }

    /// An upstream archive and a diff.
    fn old(&self, work: &Path) -> Result<PathBuf, SourceError> {
        let raw = work.join("orig");
        self.extract(self.need("upstream archive", |name| name.contains(".orig.tar."))?, &raw)?;
        let folder = unpack::without_top(&raw)?;
        let (name, digest) = self.need("diff", |name| name.ends_with(".diff.gz"))?;
        let mut bytes = Vec::new();
        let reader = fetcher::open(self.store, digest)?;
        flate2::read::MultiGzDecoder::new(reader)
            .take(MOST_DIFF)
            .read_to_end(&mut bytes)
            .map_err(|e| SourceError::Unpack(name.clone(), UnpackError::Damaged(e)))?;
        if bytes.len() as u64 == MOST_DIFF {
            let error = UnpackError::Bound("a diff of more than 512 MiB");
            return Err(SourceError::Unpack(name.clone(), error));
        }
        let patch = Patch { name: name.clone(), bytes, strip: 1 };
        patch::apply(&folder, &[patch], Rules::Debian)?;
        Ok(folder)
    }

    /// Upstream archives, Debian's folder, a series of patches.
    fn quilt(&self, work: &Path) -> Result<PathBuf, SourceError> {
        let raw = work.join("orig");
        self.extract(self.need("upstream archive", |name| name.contains(".orig.tar."))?, &raw)?;
        let folder = unpack::without_top(&raw)?;
        for file in &self.files {
            let Some(component) = component(&file.0) else { continue };
            let raw = work.join(format!("component-{component}"));
            self.extract(file, &raw)?;
            let place = folder.join(component);
            remove(&place)?;
            let top = unpack::without_top(&raw)?;
            std::fs::rename(&top, &place).map_err(SourceError::io("move a folder to", &place))?;
        }
        let debian = self.need("debian archive", |name| name.contains(".debian.tar."))?;
        // An upstream archive may bring a folder of that name; Debian's replaces it.
        remove(&folder.join("debian"))?;
        let mut reader = fetcher::open(self.store, &debian.1)?;
        unpack::unpack(&mut *reader, &folder, Keep::Content)
            .map_err(|e| SourceError::Unpack(debian.0.clone(), e))?;
        let patches = self.series(&folder)?;
        patch::apply(&folder, &patches, Rules::Debian)?;
        remove(&folder.join(".pc"))?;
        Ok(folder)
    }

    fn series(&self, folder: &Path) -> Result<Vec<Patch>, SourceError> {
        // Every part of the way must be a folder of the package and no link.
        let patches = folder.join("debian/patches");
        let plain = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_dir());
        if !plain(&folder.join("debian")) || !plain(&patches) {
            return Ok(Vec::new());
        }
        // dpkg-source prefers the series of the vendor it runs on.
        let named = ["debian.series", "series"].map(|name| patches.join(name));
        let Some(path) = named.iter().find(|p| p.symlink_metadata().is_ok_and(|m| m.is_file()))
        else {
            return Ok(Vec::new());
        };
        let text = std::fs::read(path).map_err(SourceError::io("read", path))?;
        let text = String::from_utf8_lossy(&text);
        let mut found = Vec::new();
        // dpkg-source takes no options of a line: patches are always `-p1`.
        for line in patch::series(&text) {
            let missing =
                || DscError::NoPatch { dsc: self.dsc.clone(), patch: line.name.to_owned() };
            let name = RelPath::parse(line.name.as_bytes()).map_err(|_| missing())?;
            let mut path = patches.clone();
            for part in name.names() {
                path.push(part.as_os_str());
                if path.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
                    return Err(missing().into());
                }
            }
            let bytes = std::fs::read(&path).map_err(|_| missing())?;
            let name = format!("debian/patches/{}", line.name);
            found.push(Patch { name, bytes, strip: 1 });
        }
        Ok(found)
    }
}

/// The most bytes of a `.diff.gz`; the largest in Debian have some 100 MB.
const MOST_DIFF: u64 = 512 << 20;

/// `name` of `x_1.orig-name.tar.xz`.
fn component(file: &str) -> Option<&str> {
    let (_, rest) = file.split_once(".orig-")?;
    let (name, _) = rest.split_once(".tar.")?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain && !name.is_empty()).then_some(name)
}

fn remove(path: &Path) -> Result<(), SourceError> {
    let result = match path.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    result.map_err(SourceError::io("remove", path))
}

/// What is between the marks of a clear-signed text, or all of one that is not signed. The
/// signature itself is not looked at: the SHA-256 of the file comes from a signed index.
fn unsigned(text: &str) -> &str {
    let Some(start) = text.find("-----BEGIN PGP SIGNED MESSAGE-----") else { return text };
    let body = &text[start..];
    let body = body.find("\n\n").map_or(body, |at| &body[at + 2..]);
    body.find("\n-----BEGIN PGP SIGNATURE-----").map_or(body, |at| &body[..at + 1])
}

#[cfg(test)]
#[path = "dsc_tests.rs"]
mod tests;
