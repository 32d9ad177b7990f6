//! `ashlar image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The moments that an image can have, in seconds since 1970: to the end of the year 9999, as far as
/// RFC 3339 goes.
pub const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_207_200;

/// Build images from Dockerfiles; every instruction that finished is kept.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Build the image of a Dockerfile. What was done before, here or at a remote, is not done again;
    /// what finishes is kept at once, whatever happens next.
    #[command(after_help = "Examples:\n  \
        ashlar image build .\n  \
        ashlar image build -f ci/Dockerfile --target tools --build-arg VERSION=3 .\n  \
        ashlar image build --push 127.0.0.1:5000/tools:latest .\n  \
        ashlar image build --output oci:out --output docker-archive:tools.tar -t tools:1 .\n  \
        ashlar image build --secret id=token,src=token.txt --network default .\n  \
        ashlar image build --network default --pin .\n  \
        ashlar image build --module images/router --push 127.0.0.1:5000/router:1")]
    Build(Build),
    /// Say what would be done for each instruction, how long it would take and what would move,
    /// without building or fetching anything but the lists of files.
    #[command(after_help = "Examples:\n  \
        ashlar image plan .\n  \
        ashlar image plan --budget 3h -f ci/Dockerfile .")]
    Plan(Plan),
    /// Say which instruction would be carried out first, and what differs from the nearest earlier
    /// build, down to the file, variable, argument or layer of the base.
    #[command(after_help = "Examples:\n  \
        ashlar image why .\n  \
        ashlar image why --target tools --build-arg VERSION=3 .")]
    Why(Which),
    /// Open a shell in the state after an instruction, with its user, folder, variables and mounts;
    /// when it fails, in what it left.
    #[command(after_help = "Examples:\n  \
        ashlar image shell --at 12 .\n  \
        ashlar image shell --at 12 --before .\n  \
        ashlar image shell --at 12 . -- ls -l /usr/local/lib\n\n\
        The exit code is that of the shell.")]
    Shell(Shell),
}

/// Which image.
#[derive(Debug, Args)]
pub struct Which {
    /// The Dockerfile; `Dockerfile` in the context when not said.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The stage to build; the last one when not said.
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// The value of an ARG, once for each; without a value that of the environment.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// What the image is for; this machine when not said.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Which network commands have unless the instruction says it.
    #[arg(long, value_name = "WHICH", default_value = "none")]
    pub network: Network,
    /// Pin what commands with a network download: record it in a file, which is to be committed, or
    /// answer with what that has. Without a value the file is `ashlar-image.pins` beside the
    /// Dockerfile.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub pin: Option<Option<PathBuf>>,
    /// What is done with the file of pins.
    #[arg(long, value_name = "HOW", default_value = "record", requires = "pin")]
    pub pin_mode: PinMode,
    /// What the image is called in histories, and in an archive that is written under no other name.
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub tag: Option<String>,
    /// The registry of references that name none.
    #[arg(long, value_name = "HOST", env = "ASHLAR_IMAGE_REGISTRY")]
    pub registry: Option<String>,
    /// Speak plain HTTP to registries that are not on this machine.
    #[arg(long)]
    pub plain_http: bool,
    /// The image that a module of kind `image` is, instead of one that is told by the other
    /// arguments.
    #[arg(
        short,
        long,
        value_name = "NAME",
        conflicts_with_all = ["context", "file", "target", "build_args", "platform", "network", "pin"]
    )]
    pub module: Option<String>,
    /// The folder that COPY and ADD read from.
    #[arg(value_name = "CONTEXT", required_unless_present = "module")]
    pub context: Option<PathBuf>,
}

/// The network of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// None: what a command makes depends on what it is given and on nothing else.
    None,
    /// That of the machine.
    Default,
}

/// What is done with a file of pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PinMode {
    /// Commands that it has are answered from it, others are recorded.
    Record,
    /// All commands are recorded anew.
    Update,
    /// A command that it does not have is an error.
    Replay,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// gzip, which every tool reads.
    Gzip,
    /// zstd with a table of contents, so that single files can be fetched.
    Zstd,
}

/// `ashlar image plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Which image.
    #[command(flatten)]
    pub which: Which,
    /// The time that there would be, for instance `3h`: whether it is enough, and after which
    /// instruction a run would stop.
    #[arg(long, value_name = "TIME", value_parser = super::parse_age)]
    pub budget: Option<std::time::Duration>,
}

/// `ashlar image shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// Which image.
    #[command(flatten)]
    pub which: Which,
    /// A line of the Dockerfile: any of an instruction, or a FROM.
    #[arg(long, value_name = "LINE")]
    pub at: usize,
    /// The state before the instruction, which is not carried out.
    #[arg(long)]
    pub before: bool,
    /// A secret for `RUN --mount=type=secret`, once for each: it is kept nowhere.
    #[arg(long = "secret", value_name = "id=ID,src=FILE|env=NAME")]
    pub secrets: Vec<String>,
    /// What to run instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `ashlar image build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Which image.
    #[command(flatten)]
    pub which: Which,
    /// A secret for `RUN --mount=type=secret`, once for each: it is kept nowhere.
    #[arg(long = "secret", value_name = "id=ID,src=FILE|env=NAME")]
    pub secrets: Vec<String>,
    /// Where the image is written, once for each: `oci:FOLDER[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, `rootfs:FOLDER`.
    #[arg(long = "output", value_name = "WHERE")]
    pub outputs: Vec<String>,
    /// The reference under which the image is left at a registry, once for each.
    #[arg(long = "push", value_name = "REFERENCE")]
    pub pushes: Vec<String>,
    /// How layers that are written are compressed.
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compression: Packing,
    /// The time of the image and of all files in its layers, in seconds since 1970; that of
    /// SOURCE_DATE_EPOCH in the environment, or a fixed one, when not said.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(TIMES))]
    pub timestamp: Option<i64>,
    /// The time that there is, for instance `3h`: nothing is begun that took longer before than what is
    /// left of it, what is at work then is stopped, and the exit code is 5: build again to go on.
    #[arg(long, value_name = "TIME", value_parser = super::parse_age)]
    pub budget: Option<std::time::Duration>,
    /// Do the instructions of the target stage again, whatever is kept.
    #[arg(long)]
    pub rebuild: bool,
    /// Go on with stages that do not depend on what failed.
    #[arg(short, long)]
    pub keep_going: bool,
    /// Seconds that a command has to end after a signal, or when the budget is over.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u64,
    /// Fail when a result could not be left at a remote that is written to.
    #[arg(long)]
    pub require_push: bool,
    /// Fail when a remote cannot be read, instead of building what it may have.
    #[arg(long)]
    pub require_remote: bool,
}
