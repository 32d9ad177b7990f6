//! Asking the machine's own apt, with state and configuration of our own.

mod repository;

use std::path::{Path, PathBuf};

use ashlar_object::Digest;
use ashlar_recipe::lock::{LockedDeb, LockedFile};

use crate::SourceError;

pub use repository::local_repository;

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
        Err(AptError::NoIndex.into())
    }

    /// Fetches the package index anew.
    ///
    /// # Errors
    /// When a mirror cannot be reached or is not signed.
    pub fn update(&self) -> Result<(), SourceError> {
        let _unused = (&self.state, &self.sources);
        Err(AptError::NoIndex.into())
    }

    /// The newest version of a source package, with its files and build dependencies.
    ///
    /// # Errors
    /// When there is none, or no index.
    pub fn resolve_source(&self, package: &str) -> Result<LockedDeb, SourceError> {
        Err(AptError::NoSource(package.to_owned()).into())
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
        let _unused = (suite, packages);
        Err(AptError::NoVariant(variant.to_owned()).into())
    }

    /// What has to be added to a base for tools and build dependencies, by id, sorted.
    ///
    /// # Errors
    /// When something cannot be resolved, or there is no index.
    pub fn resolve_tools(
        &self,
        request: &ToolRequest<'_>,
    ) -> Result<Vec<(String, LockedFile)>, SourceError> {
        Err(AptError::NoSuite { suite: request.suite.to_owned(), have: Vec::new() }.into())
    }

    /// Fetches files into a folder and hands each that is right to `got`.
    pub(crate) fn download(
        &self,
        files: &[(&LockedFile, Digest)],
        folder: &Path,
        got: &mut dyn FnMut(&Path, Digest) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let _unused = (folder, got);
        Err(AptError::Gone(files.iter().map(|(f, _)| f.path.clone()).collect()).into())
    }
}
