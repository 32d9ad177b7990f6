//! A project as the rest of Ashlar sees it: checked, complete, without spans.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::remote::Remote;

/// The name of a module: `net/lldpd` for `modules/net/lldpd.toml`. Letters, digits, `.`, `_`, `+`
/// and `-` between slashes; no part begins with a dot or a dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(Arc<str>);

impl ModuleName {
    /// Checks and takes a name. `Err` says what is wrong with it.
    ///
    /// # Errors
    /// When the text cannot be the name of a module.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("a module name cannot be empty");
        }
        if text.len() > 200 {
            return Err("a module name has at most 200 characters");
        }
        for part in text.split('/') {
            if part.is_empty() {
                return Err("a module name has no empty part between slashes");
            }
            if part.starts_with(['.', '-']) {
                return Err("no part of a module name begins with a dot or a dash");
            }
            if !part.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)) {
                return Err("a module name has letters, digits, `.`, `_`, `+`, `-` and `/` only");
            }
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ModuleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A whole project, with the options of this invocation applied.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// What is built when no target is named: what the project file says, or else all modules.
    pub default: Vec<ModuleName>,
    /// Enters every key.
    pub salt: String,
    /// Who builds, as provenance names it; in no key.
    pub builder: Option<String>,
    /// Globs of files, relative to the project, whose content enters every key.
    pub common: Vec<String>,
    /// The environment of every step.
    pub env: BTreeMap<String, String>,
    /// The options with the value they have now.
    pub options: BTreeMap<String, OptionValue>,
    /// The bases by name.
    pub bases: BTreeMap<String, Base>,
    /// The remotes in the order in which they are asked, before anything overrides them. They
    /// enter no key.
    pub remotes: Vec<Remote>,
    /// All modules. Every `depends` is in here, and there is no cycle.
    pub modules: BTreeMap<ModuleName, Arc<Module>>,
}

/// An option and the value it has: `true`/`false` for a bool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionValue {
    /// The value now.
    pub value: String,
    /// The value when nothing is said.
    pub default: String,
}

/// A root file system that modules are built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Debian, from the machine's own apt configuration.
    Debian {
        /// For instance `bookworm`.
        suite: String,
        /// A variant of mmdebstrap: `buildd`, `minbase`, …
        variant: String,
        /// More packages.
        packages: Vec<String>,
    },
    /// A folder of the project, relative to it.
    Path(PathBuf),
    /// An archive of the project, relative to it.
    Archive(PathBuf),
    /// The machine's own file system, read-only.
    Host,
}

/// A module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: ModuleName,
    /// Its file, relative to the project.
    pub file: PathBuf,
    /// One line for people; in no key.
    pub description: String,
    /// The base it is built on; `None` for groups and imports.
    pub base: Option<String>,
    /// Other modules it needs, in the order written, each once.
    pub depends: Vec<ModuleName>,
    /// Debian packages added to the base, sorted, each once.
    pub tools: Vec<String>,
    /// Options it sees, sorted, each once.
    pub uses: Vec<String>,
    /// Its own environment, over the project's.
    pub env: BTreeMap<String, String>,
    /// Enters its key.
    pub salt: String,
    /// Its sources.
    pub sources: Vec<Source>,
    /// How it is built.
    pub build: Build,
    /// What it makes.
    pub outputs: Outputs,
}

/// One source of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The folder below `SRCDIR` it goes to; empty for `SRCDIR` itself. Relative, without `.`
    /// and `..`. No two sources of a module have the same one.
    pub into: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Globs of patches, or one quilt `series` file, relative to the project.
    pub patches: Vec<String>,
    /// How many leading components patches name; 1 unless said.
    pub strip: u32,
}

/// Where a source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Debian source package by name, with Debian's patches applied.
    Deb {
        /// The name of the source package.
        package: String,
    },
    /// A file at an address: unpacked when it is an archive, otherwise put there as it is.
    Url {
        /// Where: `https://`, `http://` or `file://`.
        url: String,
        /// The SHA-256 of the file, 64 hexadecimal digits, lower case.
        sha256: String,
        /// More addresses of the same file.
        mirrors: Vec<String>,
        /// Whether an archive is unpacked.
        unpack: bool,
    },
    /// A commit of a git repository.
    Git {
        /// Where git fetches from.
        url: String,
        /// The full commit id: 40 or 64 hexadecimal digits, lower case.
        commit: String,
        /// Whether submodules are fetched too.
        submodules: bool,
    },
    /// A file or folder of the project, relative to it.
    Path {
        /// Relative to the project, without `..`; `.` for the project itself.
        path: PathBuf,
    },
}

/// How a module is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Which kind; it chose the defaults of `phases` and says what the outputs are.
    pub kind: Kind,
    /// The scripts in order with the name of each: `configure`, `compile`, `install`, or
    /// `step 1`, `step 2`, … Empty for groups and imports.
    pub phases: Vec<Phase>,
    /// After how long the build is killed.
    pub timeout: Option<Duration>,
    /// For `kind = "deb"`: build profiles, sorted.
    pub profiles: Vec<String>,
    /// For `kind = "deb"`: build options (`nocheck`, …), sorted.
    pub options: Vec<String>,
    /// For `kind = "image"`: which image.
    pub image: Option<ImageRecipe>,
}

/// The image that a module of kind `image` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecipe {
    /// The folder that `COPY` and `ADD` read from, relative to the project; `.` for the project.
    pub context: PathBuf,
    /// The Dockerfile, relative to the project.
    pub dockerfile: PathBuf,
    /// The stage; the last one when none is named.
    pub target: Option<String>,
    /// Values of `ARG`s.
    pub args: BTreeMap<String, String>,
    /// Whether commands have a network unless they say otherwise.
    pub network: bool,
}

/// One script of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name, for logs.
    pub name: String,
    /// A script for `sh -eu`.
    pub script: String,
}

/// The kinds of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only the scripts that are written.
    Script,
    /// Plain `make`.
    Make,
    /// `./configure`, `make`, `make install`.
    Autotools,
    /// CMake.
    Cmake,
    /// Meson.
    Meson,
    /// `dpkg-buildpackage`; the outputs are binary packages.
    Deb,
    /// The sources are the outputs.
    Import,
    /// An image, made by a Dockerfile.
    Image,
    /// Only a name for several modules.
    Group,
}

impl Kind {
    /// The kind as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Make => "make",
            Self::Autotools => "autotools",
            Self::Cmake => "cmake",
            Self::Meson => "meson",
            Self::Deb => "deb",
            Self::Import => "import",
            Self::Image => "image",
            Self::Group => "group",
        }
    }
}

/// What a module makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Globs; each must match something.
    pub expect: Vec<String>,
    /// Globs of paths at which dependencies may disagree; the later one wins.
    pub overlap: Vec<String>,
    /// For `kind = "deb"`: the main package, by name.
    pub main: Option<String>,
    /// For `kind = "deb"`: packages derived from it, by name or glob.
    pub derived: Vec<String>,
    /// For `kind = "deb"`: further packages, by name or glob.
    pub extra: Vec<String>,
}
