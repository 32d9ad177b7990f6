//! Names and relative paths that cannot leave the folder they are in.

use std::fmt;
use std::path::{Path, PathBuf};

/// One component of a path: bytes, not empty, no `/`, no NUL, neither `.` nor `..`.
///
/// File systems hold bytes, not text; a name that is not UTF-8 is kept as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// When the bytes cannot be one component of a path below a folder.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let reason = match &*bytes {
            b"" => Some("an empty component"),
            b"." | b".." => Some("a `.` or `..` component"),
            b if b.contains(&b'/') => Some("a slash inside a component"),
            b if b.contains(&0) => Some("a NUL byte"),
            b if b.len() > 255 => Some("a component longer than 255 bytes"),
            _ => None,
        };
        match reason {
            Some(reason) => Err(PathError { path: lossy(&bytes), reason }),
            None => Ok(Self(bytes)),
        }
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the operating system takes it.
    #[must_use]
    pub fn as_os_str(&self) -> &std::ffi::OsStr {
        std::os::unix::ffi::OsStrExt::from_bytes(&self.0)
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", lossy(&self.0))
    }
}

/// A relative path of [`Name`]s; the empty path is the folder itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<Name>);

impl RelPath {
    /// The folder itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks a path as an archive or a person wrote it. A leading `./`, repeated slashes and a
    /// trailing slash are dropped; everything that could lead elsewhere is refused.
    ///
    /// # Errors
    /// For an absolute path, a `..`, a NUL byte or an overlong component.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.first() == Some(&b'/') {
            return Err(PathError { path: lossy(bytes), reason: "an absolute path" });
        }
        let mut names = Vec::new();
        for part in bytes.split(|b| *b == b'/') {
            if part.is_empty() || part == b"." {
                continue;
            }
            names.push(Name::new(part).map_err(|e| PathError { path: lossy(bytes), ..e })?);
        }
        Ok(Self(names))
    }

    /// The names from the top down.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// Whether this is the folder itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// This path with one more name.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut names = self.0.clone();
        names.push(name.clone());
        Self(names)
    }

    /// Adds a name in place.
    pub fn push(&mut self, name: Name) {
        self.0.push(name);
    }

    /// Takes the last name off.
    pub fn pop(&mut self) -> Option<Name> {
        self.0.pop()
    }

    /// The path below a folder of this machine.
    #[must_use]
    pub fn under(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_path_buf();
        path.extend(self.0.iter().map(Name::as_os_str));
        path
    }

    /// The bytes with `/` between the names.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/')
    }
}

impl std::str::FromStr for RelPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lossy(&self.to_bytes()))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A path that is not one below a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` has {reason}")]
pub struct PathError {
    /// The path, made printable.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_paths() {
        for (given, kept) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("", ""), (".", "")] {
            assert_eq!(RelPath::parse(given.as_bytes()).unwrap().to_string(), kept);
        }
        assert_eq!(RelPath::parse(b"a/\xff").unwrap().to_bytes(), b"a/\xff");
    }

    #[test]
    fn refuses_what_leads_elsewhere() {
        for bad in ["/etc", "..", "a/../b", "a/..", "a\0b"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Name::new(*b"a/b").is_err());
        assert!(Name::new(vec![b'x'; 256]).is_err());
    }
}
