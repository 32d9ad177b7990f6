//! How people and pipelines name places and artifacts.
//!
//! | written | means |
//! |---|---|
//! | `quay.io/team/ci:tag`, `oci:…`, `oci://…` | a repository of a registry, with a tag or without |
//! | `dir:/srv/artifacts`, `dir:/srv/artifacts:tag` | a directory in OCI image layout |
//! | `oci:quay.io/team/ci@sha256:<64 hex>` | an artifact, the same for all who use it |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ashlar_object::Digest;

/// A place where artifacts are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repository {
    /// In a registry: `HOST[:PORT]/NAME`.
    Registry(String),
    /// A directory in OCI image layout.
    Directory(PathBuf),
}

impl Repository {
    /// The address as [`crate::Definition::url`] has it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Registry(name) => format!("oci://{name}"),
            Self::Directory(path) => format!("dir:{}", path.display()),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => write!(f, "oci:{name}"),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

/// Where a new artifact goes: a repository and perhaps a tag that keeps it alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Option<String>,
}

/// An artifact: where it is, and the SHA-256 of its manifest or archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The SHA-256 of a manifest, an index or an archive.
    pub hash: [u8; 32],
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = Digest { hash: self.hash, size: 0 }.hex();
        write!(f, "{}@sha256:{hex}", self.repository)
    }
}

/// Text that names no place or artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {why}")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong: words that follow the text.
    pub why: &'static str,
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = |why| Err(AddressError { text: text.to_owned(), why });
        if text.contains("@sha256:") {
            return refused(
                "names an artifact, and a place to put one is meant: without `@sha256:…`",
            );
        }
        let (rest, directory) = kind(text)?;
        // A colon after the last slash begins a tag; before it, a port.
        let (name, tag) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(&rest[at + 1..])),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refused(
                "has no tag of letters, digits, `_`, `.` and `-` (at most 128) behind its colon",
            );
        }
        let repository = repository(text, name, directory)?;
        Ok(Self { repository, tag: tag.map(ToOwned::to_owned) })
    }
}

impl FromStr for Reference {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = |why| AddressError { text: text.to_owned(), why };
        let (rest, directory) = kind(text)?;
        let Some((name, hex)) = rest.split_once("@sha256:") else {
            return Err(refused(
                "is no reference of the form oci:REPOSITORY@sha256:<64 hex digits>",
            ));
        };
        let hash = Digest::from_hex(hex, 0)
            .map_err(|_| refused("has no 64 lower-case hexadecimal digits behind `@sha256:`"))?
            .hash;
        // Some tools leave the tag in; what counts is the digest.
        let name = match name.rfind(':') {
            Some(at) if !directory && !name[at..].contains('/') => &name[..at],
            _ => name,
        };
        Ok(Self { repository: repository(text, name, directory)?, hash })
    }
}

/// What follows the kind of place, and whether it is a directory.
fn kind(text: &str) -> Result<(&str, bool), AddressError> {
    if let Some(rest) = text.strip_prefix("dir:") {
        return Ok((rest, true));
    }
    let rest = ["oci://", "oci:", "docker://"].iter().find_map(|kind| text.strip_prefix(kind));
    match rest {
        Some(rest) => Ok((rest, false)),
        None if text.contains("://") => Err(AddressError {
            text: text.to_owned(),
            why: "is no place for artifacts: a registry (oci:HOST/NAME) or a directory (dir:PATH)",
        }),
        None => Ok((text, false)),
    }
}

fn repository(text: &str, name: &str, directory: bool) -> Result<Repository, AddressError> {
    let refused = |why| Err(AddressError { text: text.to_owned(), why });
    if directory {
        if name.is_empty() {
            return refused("names no directory");
        }
        return Ok(Repository::Directory(PathBuf::from(name)));
    }
    let Some((host, path)) = name.split_once('/') else {
        return refused("has no repository: HOST[:PORT]/NAME");
    };
    if host.contains('@') {
        // Not repeated: there may be a password in it.
        return Err(AddressError {
            text: "…".to_owned(),
            why: "has a user in it; credentials belong into the file that `podman login` writes",
        });
    }
    let part = |part: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        ends(part.chars().next())
            && ends(part.chars().next_back())
            && part.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
            })
    };
    let host_is_one = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_'));
    if !host_is_one {
        return refused("has no host");
    }
    if !path.split('/').all(part) {
        return refused(
            "has a repository name that is not lower-case letters, digits, `.`, `_`, `-` and `/`",
        );
    }
    Ok(Repository::Registry(name.to_owned()))
}

/// As the OCI distribution specification has it.
fn is_tag(tag: &str) -> bool {
    let mut chars = tag.chars();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && chars.next().is_some_and(word)
        && chars.all(|c| word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_understood() {
        let registry = |name: &str| Repository::Registry(name.to_owned());
        for (text, repository, tag) in [
            ("quay.io/team/ci", registry("quay.io/team/ci"), None),
            ("quay.io/team/ci:build-1", registry("quay.io/team/ci"), Some("build-1")),
            ("127.0.0.1:5000/ci", registry("127.0.0.1:5000/ci"), None),
            ("oci:127.0.0.1:5000/ci:x", registry("127.0.0.1:5000/ci"), Some("x")),
            ("oci://[::1]:5000/a/b_c", registry("[::1]:5000/a/b_c"), None),
            ("dir:/srv/x", Repository::Directory("/srv/x".into()), None),
            ("dir:x/y:tag", Repository::Directory("x/y".into()), Some("tag")),
        ] {
            let expected = Target { repository, tag: tag.map(ToOwned::to_owned) };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn references_are_the_same_text_again() {
        let hex = Digest::of(b"x").hex();
        for place in ["oci:127.0.0.1:5000/team/ci", "dir:/srv/x", "dir:/srv/a:b"] {
            let text = format!("{place}@sha256:{hex}");
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        let tagged: Reference = format!("oci:h:5000/n:tag@sha256:{hex}").parse().unwrap();
        assert_eq!(tagged.to_string(), format!("oci:h:5000/n@sha256:{hex}"));
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        let hex = Digest::of(b"x").hex();
        for (text, why) in [
            ("ci", "has no repository: HOST[:PORT]/NAME"),
            ("/ci", "has no host"),
            (
                "h/UPPER",
                "has a repository name that is not lower-case letters, digits, `.`, `_`, `-` and `/`",
            ),
            (
                "h/a:",
                "has no tag of letters, digits, `_`, `.` and `-` (at most 128) behind its colon",
            ),
            (
                "s3://bucket/x",
                "is no place for artifacts: a registry (oci:HOST/NAME) or a directory (dir:PATH)",
            ),
            ("dir:", "names no directory"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` {why}"));
        }
        let reference = format!("h/n@sha256:{hex}");
        assert!(reference.parse::<Target>().unwrap_err().why.starts_with("names an artifact"));
        for text in ["h/n:tag", "h/n@sha256:12", &reference.to_uppercase()] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        let error = "user:secret@host/x".parse::<Target>().unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("podman login"), "{error}");
    }
}
