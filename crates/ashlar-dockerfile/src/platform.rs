//! The platform of an image: `linux/arm64/v8`.

use std::fmt;
use std::str::FromStr;

/// An operating system, an architecture and its variant, under the names that OCI images use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `386`, `riscv64`, …
    pub architecture: String,
    /// `v7`, `v8`, …; `None` where the architecture says it all. `arm64` never has `v8` here: it
    /// means the same.
    pub variant: Option<String>,
}

/// A text that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is no platform; write OS/ARCHITECTURE[/VARIANT], for example `linux/amd64`")]
pub struct PlatformError {
    /// What was written.
    pub written: String,
}

impl Platform {
    /// `linux` on an architecture, without a variant.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self::new("linux", architecture, None)
    }

    /// The platform under its usual names: `x86_64` becomes `amd64`, `aarch64` becomes `arm64`.
    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", v) | ("amd64", v) => ("amd64", v.filter(|v| *v != "v1")),
            ("aarch64" | "arm64", v) => ("arm64", v.filter(|v| !matches!(*v, "8" | "v8"))),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("i386" | "i686", v) => ("386", v),
            other => other,
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `linux/arm64/v8`, and an architecture alone (`arm64`), which means `linux`.
    fn from_str(written: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError { written: written.chars().take(100).collect() };
        let lower = written.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if parts.iter().any(|part| part.is_empty() || !part.chars().all(valid)) {
            return Err(error());
        }
        match *parts.as_slice() {
            [one] if OSES.contains(&one) => Err(error()),
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(error()),
        }
    }
}

/// Operating systems that a text of one word may mean; it says too little then.
const OSES: &[&str] = &["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd"];

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_what_they_mean() {
        for (written, meant) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            let platform: Platform = written.parse().unwrap();
            assert_eq!(platform.to_string(), meant, "{written}");
            assert_eq!(platform.to_string().parse::<Platform>(), Ok(platform));
        }
        for wrong in ["", "/", "linux/", "linux", "linux//v8", "a/b/c/d", "linux/a b", "$X/amd64"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}
