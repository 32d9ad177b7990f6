//! `ashlar artifact`, without any meaning.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::parse_age;

/// `ashlar artifact`.
#[derive(Debug, Subcommand)]
pub enum Artifact {
    /// Leave folders at a registry or in a directory, and print the reference of each.
    #[command(
        after_help = "Examples:\n  ashlar artifact create --store quay.io/team/ci SOURCE=src --result SOURCE=/tekton/results/SOURCE\n  ashlar artifact create --store quay.io/team/ci CACHI2=cachi2 --arch amd64=cachi2/output/deps/rpm/x86_64 --arch arm64=cachi2/output/deps/rpm/aarch64\n  ashlar artifact create --store quay.io/team/ci --format trusted-artifact SOURCE=src"
    )]
    Create(Create),
    /// Put the files of artifacts into folders, verified, whole or not at all.
    #[command(
        after_help = "Examples:\n  ashlar artifact use oci:quay.io/team/ci@sha256:...=src\n  ashlar artifact use oci:quay.io/team/ci@sha256:...=cachi2 --arch arm64\n  ashlar artifact use oci:quay.io/team/ci@sha256:...=cachi2 --all --verify ci.pub"
    )]
    Use(Use),
    /// Show what is in an artifact: parts, layers, files, signatures.
    #[command(
        after_help = "Example:\n  ashlar artifact inspect oci:quay.io/team/ci@sha256:... --files"
    )]
    Inspect(Inspect),
    /// Copy an artifact, with its signatures, to another registry or directory.
    #[command(
        after_help = "Example:\n  ashlar artifact copy oci:quay.io/team/ci@sha256:... quay.io/team/release:1.0"
    )]
    Copy(Copy),
    /// Read an artifact to its last byte and compare everything with its digest.
    #[command(
        after_help = "Example:\n  ashlar artifact verify oci:quay.io/team/ci@sha256:... --key ci.pub"
    )]
    Verify(Verify),
}

/// How registries are reached.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Connection")]
pub struct Reach {
    /// Speak plain HTTP also to hosts that are not loopback.
    #[arg(long)]
    pub plain_http: bool,
    /// A file with certificates to trust besides those of this machine.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A client certificate.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub client_key: Option<PathBuf>,
    /// Give up when nothing moves for this long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_age)]
    pub timeout: std::time::Duration,
}

/// `ashlar artifact create`.
#[derive(Debug, ClapArgs)]
pub struct Create {
    /// Where to: a repository (oci:HOST/NAME, HOST/NAME) or a directory (dir:PATH), with a tag or
    /// without.
    // The name is that of the global option, which means something else and is of no use here.
    #[arg(long, value_name = "REPO[:TAG]", required = true)]
    pub store: Option<PathBuf>,
    /// Folders and their names. With --arch, --common or --source the one folder is the common
    /// part, and a name alone will do.
    #[arg(value_name = "NAME=PATH")]
    pub pieces: Vec<OsString>,
    /// Write a reference to a file, without a newline.
    #[arg(long = "result", value_name = "NAME=FILE")]
    pub results: Vec<OsString>,
    /// What to make.
    #[arg(long, value_name = "FORMAT", default_value = "native")]
    pub format: Format,
    /// Let the registry remove it after this time, as Quay takes it: 7d.
    #[arg(long, value_name = "TIME", env = "IMAGE_EXPIRES_AFTER")]
    pub expires_after: Option<String>,
    /// What only one architecture needs, once or more for each.
    #[arg(long = "arch", value_name = "ARCH=PATH")]
    pub arches: Vec<OsString>,
    /// What all architectures need.
    #[arg(long, value_name = "PATH")]
    pub common: Option<PathBuf>,
    /// What only a build of sources needs, once or more.
    #[arg(long = "source", value_name = "PATH")]
    pub sources: Vec<PathBuf>,
    /// Make an empty artifact of a folder that is not there, instead of failing.
    #[arg(long)]
    pub allow_missing: bool,
    /// Pack everything, instead of a layer upon those of the artifact before.
    #[arg(long)]
    pub anew: bool,
    /// Sign with this private key (PEM, ed25519 or ECDSA P-256).
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// How hard to compress native artifacts.
    #[arg(long, value_name = "1-19", value_parser = clap::value_parser!(i32).range(1..=19))]
    pub compression_level: Option<i32>,
    /// How registries are reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What an artifact is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Layers that later artifacts build upon.
    Native,
    /// The archive that Konflux' own tasks read.
    TrustedArtifact,
}

/// `ashlar artifact use`.
#[derive(Debug, ClapArgs)]
pub struct Use {
    /// Artifacts and the folders their files go to. An empty reference is skipped with a warning.
    #[arg(value_name = "REF=DEST", required = true)]
    pub pairs: Vec<OsString>,
    /// Put new files among those that are there.
    #[arg(long, conflicts_with = "replace")]
    pub merge: bool,
    /// Remove what is there.
    #[arg(long)]
    pub replace: bool,
    /// Of composite artifacts what this architecture needs, and what all need.
    #[arg(long = "arch", value_name = "ARCH", conflicts_with = "all")]
    pub arches: Vec<String>,
    /// Of composite artifacts what builds of sources need, and what all need.
    #[arg(long, conflicts_with = "all")]
    pub source: bool,
    /// Of composite artifacts everything.
    #[arg(long)]
    pub all: bool,
    /// Refuse what none of these public keys signed.
    #[arg(long, value_name = "KEY")]
    pub verify: Vec<PathBuf>,
    /// How registries are reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// `ashlar artifact inspect`.
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The artifact.
    #[arg(value_name = "REF")]
    pub reference: String,
    /// List every file.
    #[arg(long)]
    pub files: bool,
    /// How registries are reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// `ashlar artifact copy`.
#[derive(Debug, ClapArgs)]
pub struct Copy {
    /// The artifact.
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Where to.
    #[arg(value_name = "REPO[:TAG]")]
    pub to: String,
    /// How registries are reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// `ashlar artifact verify`.
#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// The artifact.
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Public keys, of which one must have signed it.
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<PathBuf>,
    /// How registries are reached.
    #[command(flatten)]
    pub reach: Reach,
}
