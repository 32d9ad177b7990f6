//! Asking the machine's own apt, with state and configuration of our own.

mod download;
mod entries;
mod repository;
mod resolve;
mod setup;

use std::path::{Path, PathBuf};
use std::process::Output;

use ashlar_object::Digest;
use ashlar_recipe::lock::{LockedDeb, LockedFile};

use crate::SourceError;
use crate::program::{APT_GET, DPKG, words};
use crate::url::Stop;
use setup::Setup;

pub use repository::{control_fields, local_repository};

/// The machine's apt with a private state directory: its package sources, its keys and its proxy
/// settings, none of its locks, caches and hooks.
#[derive(Debug)]
pub struct Apt {
    state: PathBuf,
    sources: Option<String>,
}

/// Why apt cannot help.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The machine has no enabled `deb` entry.
    #[error("the machine's apt has no package sources")]
    NoSources,
    /// An entry that cannot be read.
    #[error("{}: {what}", file.display())]
    Entry {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The package index was never fetched.
    #[error("the package index was not fetched yet")]
    NoIndex,
    /// The package index cannot be fetched.
    #[error("cannot fetch the package index: apt says:\n{words}")]
    Update {
        /// What apt said.
        words: String,
    },
    /// No such suite on this machine.
    #[error("the machine's apt has no suite `{suite}`; it has {}", .have.join(", "))]
    NoSuite {
        /// The suite.
        suite: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// No such variant.
    #[error("`{0}` is not a variant of mmdebstrap that can be used here")]
    NoVariant(String),
    /// No such source package.
    #[error("there is no source package `{0}`")]
    NoSource(String),
    /// Packages cannot be resolved.
    #[error("cannot resolve {what}: apt says:\n{words}")]
    Resolve {
        /// What was asked for.
        what: String,
        /// What apt said.
        words: String,
    },
    /// Apt says something that is not understood.
    #[error("{program} says something unexpected: {words}")]
    Unexpected {
        /// Which program.
        program: &'static str,
        /// What it said.
        words: String,
    },
    /// Files are no longer in the archive.
    #[error("no longer on the mirror: {}", .0.join(", "))]
    Gone(Vec<String>),
    /// A file that was fetched is not what the lock says.
    #[error("{path} has the wrong content: expected SHA-256 {expected}, got {got}")]
    Checksum {
        /// The path below the root of the archive.
        path: String,
        /// The SHA-256 it should have.
        expected: String,
        /// The SHA-256 it has.
        got: String,
    },
    /// Files cannot be fetched.
    #[error("cannot fetch {}: apt says:\n{words}", .paths.join(", "))]
    Download {
        /// The paths below the root of the archive.
        paths: Vec<String>,
        /// What apt said.
        words: String,
    },
    /// A file that should be a Debian package is none.
    #[error("{} is not a Debian package: {words}", path.display())]
    NotDeb {
        /// The file.
        path: PathBuf,
        /// What dpkg-deb said.
        words: String,
    },
}

impl AptError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::NoSources | Self::NoSuite { .. } => {
                Some("add it to the machine's /etc/apt/sources.list.d".to_owned())
            }
            Self::NoIndex => Some("run `ashlar lock` with network".to_owned()),
            Self::Gone(_) => Some("run `ashlar lock --update NAME`".to_owned()),
            _ => None,
        }
    }
}

/// What [`Apt::resolve_tools`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ToolRequest<'a> {
    /// The suite of the base.
    pub suite: &'a str,
    /// The packages of the base, by id.
    pub base: &'a [(String, LockedFile)],
    /// Debian packages by name.
    pub tools: &'a [String],
    /// Dependencies as Debian writes them: `debhelper (>= 13), libfoo-dev <!nocheck>`.
    pub satisfy: &'a [String],
    /// Names of packages that are made by modules and installed before: they are left out of
    /// what is returned, what they need is not.
    pub provided: &'a [String],
    /// Build profiles.
    pub profiles: &'a [String],
}

impl Apt {
    /// The machine's apt, with its state in a folder of ours.
    #[must_use]
    pub fn new(state: PathBuf) -> Self {
        Self { state, sources: None }
    }

    /// An apt that has only these package sources, in the format of `.sources` files.
    #[must_use]
    pub fn with_sources(state: PathBuf, sources: String) -> Self {
        Self { state, sources: Some(sources) }
    }

    /// Debian's name of this machine's architecture.
    ///
    /// # Errors
    /// When `dpkg` is missing or silent.
    pub fn architecture(&self) -> Result<String, SourceError> {
        let output = DPKG.run(DPKG.command().arg("--print-architecture"), None)?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !text.is_empty() {
            return Ok(text);
        }
        Err(AptError::Unexpected { program: "dpkg", words: words(&output.stderr) }.into())
    }

    /// Fetches the package index anew.
    ///
    /// # Errors
    /// When a mirror cannot be reached or is not signed.
    pub fn update(&self) -> Result<(), SourceError> {
        let setup = Setup::new(self, None)?;
        let output = setup.run(APT_GET, &["-q", "update"])?;
        if !output.status.success() {
            let complaint = complaint(&output);
            return Err(AptError::Update { words: complaint }.into());
        }
        setup.mark_updated()
    }

    /// The newest version of a source package, with its files and build dependencies.
    ///
    /// # Errors
    /// When there is none, or no index.
    pub fn resolve_source(&self, package: &str) -> Result<LockedDeb, SourceError> {
        let setup = Setup::with_index(self, None)?;
        resolve::source(&setup, package)
    }

    /// Every package of a base, by id (`name_version_architecture`), sorted. The variants are
    /// those of mmdebstrap.
    ///
    /// # Errors
    /// When something cannot be resolved, or there is no index.
    pub fn resolve_base(
        &self,
        suite: &str,
        variant: &str,
        packages: &[String],
    ) -> Result<Vec<(String, LockedFile)>, SourceError> {
        let mut names = resolve::variant(variant)
            .ok_or_else(|| AptError::NoVariant(variant.to_owned()))?
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        names.extend_from_slice(packages);
        self.resolve_packages(suite, &names)
    }

    /// Everything that has to be installed where nothing is to get these packages: names, or
    /// patterns of apt such as `?essential`. By id, sorted.
    ///
    /// # Errors
    /// When something cannot be resolved, or there is no index.
    pub fn resolve_packages(
        &self,
        suite: &str,
        names: &[String],
    ) -> Result<Vec<(String, LockedFile)>, SourceError> {
        let setup = Setup::with_index(self, Some(suite))?;
        resolve::packages(&setup, names)
    }

    /// What has to be added to a base for tools and build dependencies, by id, sorted.
    ///
    /// `control` gives the control fields of a package of the base that the index no longer has,
    /// as `dpkg-deb --field` prints them, without using this apt; [`crate::Fetcher::resolve_tools`] takes them from the
    /// package itself.
    ///
    /// # Errors
    /// When something cannot be resolved, or there is no index.
    pub fn resolve_tools(
        &self,
        request: &ToolRequest<'_>,
        control: &mut dyn FnMut(&LockedFile) -> Result<String, SourceError>,
    ) -> Result<Vec<(String, LockedFile)>, SourceError> {
        let setup = Setup::with_index(self, Some(request.suite))?;
        resolve::tools(&setup, request, control)
    }

    /// The packages of the base that the index does not have any more.
    pub(crate) fn gone(&self, request: &ToolRequest<'_>) -> Result<Vec<LockedFile>, SourceError> {
        let setup = Setup::with_index(self, Some(request.suite))?;
        resolve::gone(&setup, request.base)
    }

    /// Fetches files into a folder and hands each that is right to `got`.
    pub(crate) fn download(
        &self,
        files: &[(&LockedFile, Digest)],
        folder: &Path,
        got: &mut dyn FnMut(&Path, Digest) -> Result<(), SourceError>,
        stop: Stop<'_>,
    ) -> Result<(), SourceError> {
        let setup = Setup::new(self, None)?.without_state();
        download::all(&setup, files, folder, got, stop)
    }
}

/// The lines in which apt says what is wrong, or its last words.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> =
        text.lines().filter(|l| l.starts_with("E:") || l.starts_with("W:")).collect();
    let broken = String::from_utf8_lossy(&output.stdout);
    // What depends on what is on standard output, indented.
    let broken = broken.lines().filter(|line| line.starts_with(' ') && line.contains(':'));
    let mut all: Vec<_> = broken.take(10).collect();
    all.extend(lines);
    if all.is_empty() { words(&output.stderr) } else { all.join("\n") }
}

#[cfg(test)]
#[path = "apt_tests.rs"]
mod tests;
