//! A project as it is written: the shape of its files, and where each value stands.
//!
//! Nothing here is checked beyond the types of the values; [`crate::resolve()`] does that. All of
//! it goes through serde into a compact format that is not self-describing and back (the front
//! end keeps parsed modules that way), so no field may be skipped or flattened.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Where something stands: a range of bytes of its file. Files are far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// The span as a range that can index the text of the file.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: clamp(range.start), end: clamp(range.end) }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// A text and where it stands.
pub type Text = At<String>;

/// A table whose keys are names that the person chose, in the order of the names.
pub type Named<T> = Vec<(Text, T)>;

/// `ashlar.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The file, relative to the project.
    pub file: String,
    /// Where `[project]` stands; the start of the file where it is missing.
    pub span: Span,
    /// `project.name`.
    pub name: Option<Text>,
    /// `project.default`.
    pub default: Option<At<Vec<Text>>>,
    /// `project.salt`.
    pub salt: Option<Text>,
    /// `project.builder`.
    pub builder: Option<Text>,
    /// `project.common`.
    pub common: Vec<Text>,
    /// `[env]`.
    pub env: Named<Text>,
    /// `[options.NAME]`.
    pub options: Named<ProjectOption>,
    /// `[base.NAME]`.
    pub bases: Named<Base>,
    /// Every `[[remote]]`, in the order written.
    pub remotes: Vec<Remote>,
}

/// `[options.NAME]` of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectOption {
    /// `type`: `bool`, `enum` or `string`.
    pub type_: Option<Text>,
    /// `values`, for an enum.
    pub values: Option<At<Vec<Text>>>,
    /// `default`.
    pub default: Option<At<Scalar>>,
    /// `description`.
    pub description: Option<Text>,
}

/// What the default of an option may be written as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A text.
    Text(String),
}

/// `[base.NAME]` of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// `suite`, of a Debian base.
    pub suite: Option<Text>,
    /// `variant`, of a Debian base.
    pub variant: Option<Text>,
    /// `packages`, of a Debian base.
    pub packages: Option<At<Vec<Text>>>,
    /// `path`: a folder of the project.
    pub path: Option<Text>,
    /// `archive`: an archive of the project.
    pub archive: Option<Text>,
    /// `host`: the machine's own file system.
    pub host: Option<At<bool>>,
}

/// `[[remote]]` of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Where the table stands.
    pub span: Span,
    /// `name`.
    pub name: Option<Text>,
    /// `url`: its address.
    pub url: Option<Text>,
    /// `read`: whether results are looked for there.
    pub read: Option<At<bool>>,
    /// `write`: which results are left there.
    pub write: Option<At<Scalar>>,
    /// `layout`, behind HTTP.
    pub layout: Option<Text>,
    /// `endpoint`, of an S3 service.
    pub endpoint: Option<Text>,
    /// `region`, of a bucket.
    pub region: Option<Text>,
    /// `insecure`: whether plain HTTP is allowed.
    pub insecure: Option<At<bool>>,
    /// `ca`: certificates to trust.
    pub ca: Option<Text>,
    /// `certificate` of the client.
    pub certificate: Option<Text>,
    /// `key` of that certificate.
    pub key: Option<Text>,
    /// `token_env`: the variable that holds a bearer token.
    pub token_env: Option<Text>,
    /// `token_file`: the file that holds one.
    pub token_file: Option<Text>,
    /// `write_branches`: on which branches results are left there.
    pub write_branches: Option<At<Vec<Text>>>,
    /// `require_signature`: public keys.
    pub require_signature: Option<At<Vec<Text>>>,
    /// `sign`: a private key.
    pub sign: Option<Text>,
    /// `timeout`.
    pub timeout: Option<Text>,
}

/// A module file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The file, relative to the project: `modules/net/lldpd.toml`. The module's name follows
    /// from it.
    pub file: String,
    /// `description`.
    pub description: Option<Text>,
    /// `base`.
    pub base: Option<Text>,
    /// `depends`.
    pub depends: Vec<Text>,
    /// `tools`.
    pub tools: Vec<Text>,
    /// `uses`.
    pub uses: Vec<Text>,
    /// `env`.
    pub env: Named<Text>,
    /// `salt`.
    pub salt: Option<Text>,
    /// `[source]` or every `[[source]]`.
    pub sources: Vec<Source>,
    /// `[build]`.
    pub build: Option<Build>,
    /// `[outputs]`.
    pub outputs: Option<Outputs>,
}

/// `[source]` of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where the table stands.
    pub span: Span,
    /// `deb`: a Debian source package.
    pub deb: Option<Text>,
    /// `url`: a file.
    pub url: Option<Text>,
    /// `sha256` of that file.
    pub sha256: Option<Text>,
    /// `mirrors`: more addresses of that file.
    pub mirrors: Option<At<Vec<Text>>>,
    /// `unpack`: whether an archive is unpacked.
    pub unpack: Option<At<bool>>,
    /// `git`: a repository.
    pub git: Option<Text>,
    /// `commit` of that repository.
    pub commit: Option<Text>,
    /// `submodules`: whether they are fetched too.
    pub submodules: Option<At<bool>>,
    /// `path`: a file or folder of the project.
    pub path: Option<Text>,
    /// `into`: the folder it goes to.
    pub into: Option<Text>,
    /// `patches`.
    pub patches: Vec<Text>,
    /// `strip`: leading components that patches name.
    pub strip: Option<At<u32>>,
}

/// `[build]` of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Where the table stands.
    pub span: Span,
    /// `kind`.
    pub kind: Option<Text>,
    /// `configure`.
    pub configure: Option<At<Command>>,
    /// `compile`.
    pub compile: Option<At<Command>>,
    /// `install`.
    pub install: Option<At<Command>>,
    /// `steps`.
    pub steps: Option<At<Vec<Step>>>,
    /// `timeout`.
    pub timeout: Option<Text>,
    /// `profiles`, for kind `deb`.
    pub profiles: Option<At<Vec<Text>>>,
    /// `options`, for kind `deb`.
    pub options: Option<At<Vec<Text>>>,
    /// `context`, for kind `image`.
    pub context: Option<Text>,
    /// `dockerfile`, for kind `image`.
    pub dockerfile: Option<Text>,
    /// `target`, for kind `image`.
    pub target: Option<Text>,
    /// `args`, for kind `image`.
    pub args: Named<Text>,
    /// `network`, for kind `image`.
    pub network: Option<Text>,
}

/// `configure`, `compile` or `install`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A list: arguments that are added to the command of the kind.
    Arguments(Vec<Text>),
    /// A text: a script instead of the command of the kind.
    Script(String),
}

/// One entry of `steps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `name`, for logs.
    pub name: Option<Text>,
    /// `run`, or the entry itself: a script.
    pub run: Text,
}

/// `[outputs]` of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// `expect`.
    pub expect: Vec<Text>,
    /// `overlap`.
    pub overlap: Vec<Text>,
    /// `main`, for kind `deb`.
    pub main: Option<Text>,
    /// `derived`, for kind `deb`.
    pub derived: Option<At<Vec<Text>>>,
    /// `extra`, for kind `deb`.
    pub extra: Option<At<Vec<Text>>>,
}

/// `ashlar-cache.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// The file.
    pub file: String,
    /// `version`.
    pub version: Option<Text>,
    /// Every `[layer.NAME]`, in the order written.
    pub layers: Named<CacheLayer>,
    /// `[scope]`.
    pub scope: Option<CacheScope>,
}

/// `[layer.NAME]` of `ashlar-cache.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheLayer {
    /// `key`.
    pub key: Option<At<Vec<Text>>>,
    /// `paths`.
    pub paths: Option<At<Vec<Text>>>,
    /// `env`.
    pub env: Vec<Text>,
}

/// `[scope]` of `ashlar-cache.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheScope {
    /// Where it stands.
    pub span: Span,
    /// `read`.
    pub read: Option<At<Vec<Text>>>,
    /// `write`.
    pub write: Option<Text>,
}
