//! What a Dockerfile means for one target, platform and set of arguments: stages of instructions,
//! each with all that it depends on. Plain data, made by [`crate::evaluate()`].

use std::sync::Arc;

use ashlar_recipe::Place;

use crate::{Configuration, Platform, Warning};

/// The stages that a target needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The stages that the target needs, in the order of the file: each after those it needs.
    pub stages: Vec<Stage>,
    /// The index in `stages` of the target; always the last one.
    pub target: usize,
    /// What is worth a word and keeps nothing from being built: of the file and of this target.
    pub warnings: Vec<Warning>,
}

/// One stage: `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `AS NAME`, in lower case.
    pub name: Option<String>,
    /// Its number in the file, from 0.
    pub number: usize,
    /// Where its `FROM` stands.
    pub place: Place,
    /// The line of its `FROM`, from 1.
    pub line: usize,
    /// What it begins with.
    pub base: Base,
    /// What its commands run on.
    pub platform: Platform,
    /// The instructions that may change files, in order: first those that the base asked for with
    /// `ONBUILD`.
    pub instructions: Vec<Instruction>,
    /// The instructions of the file that only change what others see or what is said of the image.
    pub settings: Vec<Setting>,
    /// The configuration that the base has.
    pub base_configuration: Configuration,
    /// The configuration at the end of the stage.
    pub configuration: Configuration,
    /// One entry for each instruction after `FROM`, in order, for the history of the image.
    pub history: Vec<History>,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// `FROM scratch`: nothing.
    Scratch,
    /// `FROM NAME` of a stage before: its index in [`Image::stages`].
    Stage(usize),
    /// `FROM module:NAME`: an image built by a module of the project.
    Module(String),
    /// `FROM base:NAME`: a base that the project declares.
    Debian(String),
    /// An image at a registry, or `oci:FOLDER[:TAG]`.
    Image {
        /// As written, after expansion.
        reference: String,
        /// Which of the images under that name.
        platform: Platform,
    },
}

/// One instruction that may change files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it stands. An `ONBUILD` instruction of the base stands at the `FROM`.
    pub place: Place,
    /// Its line, from 1.
    pub line: usize,
    /// The last line of it, heredocs included.
    pub last_line: usize,
    /// What a person reads: one line, expanded where the instruction is expanded. Contents of
    /// heredocs are not in it.
    pub text: String,
    /// What it does.
    pub work: Work,
    /// What a command at this place sees.
    pub seen: Arc<Seen>,
}

/// One instruction that changes no files: `ENV`, `ARG`, `CMD` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its line, from 1.
    pub line: usize,
    /// The last line of it.
    pub last_line: usize,
    /// What a person reads, as it is written.
    pub text: String,
    /// How many of [`Stage::instructions`] stand before it.
    pub after: usize,
    /// What a command before it sees.
    pub before: Arc<Seen>,
    /// What a command after it sees.
    pub seen: Arc<Seen>,
}

/// What a command at some place of a stage sees besides files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The environment, as in [`Run::env`].
    pub env: Vec<(String, String)>,
    /// The folder it runs in, absolute.
    pub directory: String,
    /// The user, as written. `None` is root.
    pub user: Option<String>,
}

/// What an instruction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// `RUN`.
    Run(Run),
    /// `COPY` and `ADD`.
    Copy(Copy),
    /// `WORKDIR`: a folder that is made if it is missing, with those above it.
    Workdir(Workdir),
}

/// A command that is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The whole command; the shell form has the shell in front. Never empty.
    pub arguments: Vec<String>,
    /// A file that has to be there, executable, while the command runs: a heredoc that begins
    /// with `#!`. It is not part of the result.
    pub script: Option<Script>,
    /// The environment: the configuration's, then the `ARG`s that the command can see. An `ARG`
    /// never overrides an `ENV`. `PATH` is always there.
    pub env: Vec<(String, String)>,
    /// Variables about proxies that were given and not declared: `http_proxy` and its kin. They
    /// belong into the environment, after `env`, and into no key and no history.
    pub proxies: Vec<(String, String)>,
    /// The folder it runs in, absolute. It may be missing, and is made then.
    pub directory: String,
    /// The user, as written: a name or number, `:` and a group. `None` is root.
    pub user: Option<String>,
    /// The network it asks for.
    pub network: Network,
    /// What it sees beside the files of the stage, in the order written.
    pub mounts: Vec<RunMount>,
}

/// A file that is run and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where it has to lie: `/run/heredoc/NAME`.
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Not written.
    #[default]
    Unset,
    /// `default`: a network.
    Default,
    /// `none`.
    None,
    /// `host`: the machine's.
    Host,
}

/// `RUN --mount`. All `target`s are absolute and clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    /// Files of the context, a stage or an image. What is written into it is dropped.
    Bind {
        /// Whose files.
        from: From,
        /// The folder or file of it, relative, clean; empty is all of it.
        source: String,
        /// Where it is seen.
        target: String,
        /// Whether it may be written to.
        writable: bool,
    },
    /// A folder that outlives the build and is part of no key.
    Cache {
        /// Its name; the target where none is written.
        id: String,
        /// Where it is seen.
        target: String,
        /// What it begins with.
        from: Option<From>,
        /// The folder of `from` it begins with.
        source: String,
        /// What happens when two commands want it.
        sharing: Sharing,
        /// Its mode when it is made.
        mode: u32,
        /// Its owner when it is made.
        uid: u32,
        /// Its group when it is made.
        gid: u32,
        /// Whether it can only be read.
        read_only: bool,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// Where it is seen.
        target: String,
        /// At most this many bytes.
        size: Option<u64>,
    },
    /// A secret: seen while the command runs, kept nowhere, part of no key.
    Secret {
        /// Its name.
        id: String,
        /// The file it is seen at; `None` when it is only a variable.
        target: Option<String>,
        /// The variable it is seen as.
        env: Option<String>,
        /// Whether it is an error when it is not given.
        required: bool,
        /// The mode of the file.
        mode: u32,
        /// The owner of the file.
        uid: u32,
        /// The group of the file.
        gid: u32,
    },
    /// A folder whose content is kept when the command has to stop, for the same command to go on
    /// with. Like every mount it is not part of the result.
    Checkpoint {
        /// The folder.
        target: String,
    },
}

/// What happens when two commands want the same cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Both write to it.
    #[default]
    Shared,
    /// Each has one of its own.
    Private,
    /// One after the other.
    Locked,
}

/// Whose files an instruction reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum From {
    /// The build context.
    Context,
    /// A stage before: its index in [`Image::stages`].
    Stage(usize),
    /// A module of the project.
    Module(String),
    /// A base that the project declares.
    Debian(String),
    /// Nothing at all: `from=scratch`.
    Scratch,
    /// An image at a registry, or `oci:FOLDER[:TAG]`.
    Image {
        /// As written.
        reference: String,
        /// Which of the images under that name.
        platform: Platform,
    },
}

/// Files that are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Whose files the paths among `sources` are.
    pub from: From,
    /// What is copied. Never empty.
    pub sources: Vec<CopySource>,
    /// Where to: absolute, clean, without a slash at the end.
    pub destination: String,
    /// Whether the destination is a folder for certain: it was written with a slash (or as `.`) at
    /// its end. Several sources are refused where it is not.
    pub destination_is_folder: bool,
    /// `--chown`, as written, after expansion. `None` is 0:0, whatever the user.
    pub chown: Option<String>,
    /// `--chmod`, after expansion: octal or symbolic.
    pub chmod: Option<String>,
    /// `--link`: the files do not see what is below them, so links below are not followed.
    pub link: bool,
    /// `--parents`: the folders of a source (after `/./` where that is written) are kept.
    pub parents: bool,
    /// `--exclude`: patterns for [`crate::Ignore::from_patterns`].
    pub exclude: Vec<String>,
    /// `ADD`: archives of the context are unpacked. For downloads it is `--unpack`.
    pub unpack: Unpack,
    /// `ADD --checksum`: `sha256:…` of what is downloaded, or the commit of a repository.
    pub checksum: Option<String>,
    /// `ADD --keep-git-dir`.
    pub keep_git_dir: bool,
}

/// Whether archives among the sources are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// `COPY`, and `ADD --unpack=false`: never.
    Never,
    /// `ADD`: those of the context are, downloads are not.
    Local,
    /// `ADD --unpack`: downloads too.
    Always,
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path of the context, stage or image, relative to its root, clean up to wildcards (see
    /// [`crate::matches`]); `.` is all of it. With `--parents`, a `/./` in it is kept. A slash at
    /// the end is kept: the path has to be a folder then.
    Path(String),
    /// A file in the Dockerfile itself.
    Heredoc {
        /// Its name in a folder.
        name: String,
        /// What is in it.
        content: String,
    },
    /// A file to be downloaded (`ADD`).
    Url {
        /// From where.
        url: String,
    },
    /// A git repository (`ADD`).
    Git {
        /// Where it is, without what follows `#`.
        repository: String,
        /// The branch, tag or commit after `#`.
        reference: Option<String>,
        /// The folder after `#REFERENCE:`.
        folder: Option<String>,
    },
}

/// A folder that is made if it is missing. New folders have mode 0755 and belong to the user, as BuildKit
/// and buildah make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workdir {
    /// Absolute and clean.
    pub path: String,
    /// Whose the folder is when it is made, as `USER` was written. `None` is root.
    pub user: Option<String>,
}

/// One entry of an image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The instruction as `docker history` shows it.
    pub created_by: String,
    /// The index in [`Stage::instructions`] of what it did; `None` where it only changed the
    /// configuration.
    pub instruction: Option<usize>,
}
