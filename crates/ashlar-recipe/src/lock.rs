//! `ashlar.lock`: what names were resolved to, so that every machine builds the same.
//!
//! Written by `ashlar lock`, and by `ashlar build` where there is none. It names no host: a
//! package is found again through the machine's own apt by its path below the archive's root.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use toml::de::DeTable;

use crate::parse::syntax;
use crate::problem::{Problem, Problems};
use crate::written::Span;

/// The newest version of the format that this program reads and the one it writes.
pub const VERSION: u32 = 1;

/// The lock file, relative to the project.
pub const FILE: &str = "ashlar.lock";

const HEADER: &str = "\
# What names were resolved to: Debian packages and sources with their checksums.
# Written by `ashlar lock`; keep it under version control, do not edit it.
";
const AGAIN: &str = "it is written by `ashlar lock`, which can write it anew";

/// A lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The format version.
    pub version: u32,
    /// The packages of each Debian base, by the name of the base: ids into `package`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base: BTreeMap<String, LockedBase>,
    /// What is added to a base for a set of tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<LockedTools>,
    /// Debian source packages by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, LockedDeb>,
    /// Every Debian package that a base or a set of tools names, by its id
    /// `name_version_architecture`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub package: BTreeMap<String, LockedFile>,
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// When it is no lock file, or one of a newer Ashlar, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let refuse = |problem: Problem, span: Span, help: &str| {
            let sources = [(FILE.to_owned(), text.to_owned())].into();
            Problems { list: vec![problem.at(FILE, span, "").help(help)], more: 0, sources }
        };
        let spoiled = |error: &toml::de::Error, problem: Problem| {
            refuse(problem, error.span().unwrap_or_default().into(), AGAIN)
        };
        let table = DeTable::parse(text).map_err(|e| spoiled(&e, syntax(e.message())))?;
        // The version first: what a newer one has besides means nothing to this one.
        let Some(version) = table.get_ref().get("version") else {
            let problem = Problem::new("the lock file has no version");
            return Err(refuse(problem, Span::default(), AGAIN));
        };
        let number = version.get_ref().as_integer();
        let number = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(1..=VERSION) => {}
            Some(newer) if newer > VERSION => {
                let message =
                    format!("the lock file has version {newer}, and this is for {VERSION}");
                let help = "a newer Ashlar wrote it: use that, or write it anew with `ashlar lock`";
                return Err(refuse(Problem::new(message), version.span().into(), help));
            }
            _ => {
                let problem = Problem::new("the lock file has no version that exists");
                return Err(refuse(problem, version.span().into(), AGAIN));
            }
        }
        let lock = Self::deserialize(toml::Deserializer::from(table))
            .map_err(|e| spoiled(&e, Problem::new(e.message().trim())))?;
        lock.check().map_err(|(message, shown)| {
            let start = text.find(&quoted(&shown)).unwrap_or_default();
            let span = Span::from(start..start + shown.len() + 2);
            refuse(Problem::new(message), span, AGAIN)
        })?;
        Ok(lock)
    }

    /// What is wrong, and the text that shows where.
    fn check(&self) -> Result<(), (String, String)> {
        let bases = self.base.values().flat_map(|base| &base.packages);
        for id in bases.chain(self.tools.iter().flat_map(|tools| &tools.packages)) {
            if !self.package.contains_key(id) {
                return Err((format!("`{id}` is named, but not in `package`"), id.clone()));
            }
        }
        for file in self.package.values().chain(self.source.values().flat_map(|deb| &deb.files)) {
            let inside = file.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside || file.path.chars().any(char::is_control) {
                return Err((format!("`{}` is not a plain path", file.path), file.path.clone()));
            }
            let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if file.sha256.len() != 64 || !file.sha256.bytes().all(lower) {
                let message = format!("`{}` is not an SHA-256 sum", file.sha256);
                return Err((message, file.sha256.clone()));
            }
        }
        Ok(())
    }

    /// The lock file as text: always the same for the same content, and a line for each package,
    /// so that a change of one is a change of one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from(HEADER);
        out.push_str(&format!("version = {VERSION}\n"));
        for (name, base) in &self.base {
            out.extend(["\n[base.", &key(name), "]\n"]);
            list(&mut out, "asked", &base.asked);
            out.extend(["architecture = ", &quoted(&base.architecture), "\n"]);
            list(&mut out, "packages", &base.packages);
        }
        for tools in &self.tools {
            out.extend(["\n[[tools]]\nbase = ", &quoted(&tools.base), "\n"]);
            list(&mut out, "asked", &tools.asked);
            list(&mut out, "packages", &tools.packages);
        }
        for (name, deb) in &self.source {
            out.extend(["\n[source.", &key(name), "]\n"]);
            out.extend(["version = ", &quoted(&deb.version), "\n"]);
            if !deb.build_depends.is_empty() {
                list(&mut out, "build_depends", &deb.build_depends);
            }
            out.push_str("files = [\n");
            for file in &deb.files {
                out.extend(["    ", &inline(file), ",\n"]);
            }
            out.push_str("]\n");
        }
        if !self.package.is_empty() {
            out.push_str("\n[package]\n");
        }
        for (id, file) in &self.package {
            out.extend([&key(id), " = ", &inline(file), "\n"]);
        }
        out
    }
}

/// A text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key, in quotes where it needs them.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { quoted(text) }
}

fn list(out: &mut String, name: &str, items: &[String]) {
    out.extend([name, " = ["]);
    for item in items {
        out.extend(["\n    ", &quoted(item), ","]);
    }
    out.push_str(if items.is_empty() { "]\n" } else { "\n]\n" });
}

fn inline(file: &LockedFile) -> String {
    let LockedFile { path, sha256, size } = file;
    format!("{{ path = {}, sha256 = {}, size = {size} }}", quoted(path), quoted(sha256))
}

/// A resolved Debian base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBase {
    /// What was asked for, so that a change of the project file shows: suite, variant and
    /// packages as written.
    pub asked: Vec<String>,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Ids of all its packages, sorted.
    pub packages: Vec<String>,
}

/// What a set of tools adds to a base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTools {
    /// The base.
    pub base: String,
    /// The tools asked for, sorted: package names, and for modules of kind `deb` their build
    /// dependencies as Debian writes them.
    pub asked: Vec<String>,
    /// Ids of the packages that the base lacks, sorted.
    pub packages: Vec<String>,
}

/// A resolved Debian source package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDeb {
    /// Its version.
    pub version: String,
    /// Its build dependencies as the index has them, for modules of kind `deb`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_depends: Vec<String>,
    /// The `.dsc`, then the archives.
    pub files: Vec<LockedFile>,
}

/// A file of a Debian archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Its path below the root of the archive: `pool/main/z/zlib/…`.
    pub path: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
