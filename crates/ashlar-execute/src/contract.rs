//! The contract that every executor keeps: one request in, one outcome out.

use std::time::Duration;

use ashlar_object::{Command, Digest, Time, Tree};
use ashlar_store::StoreError;

use crate::{Cancel, Jobs, Leak, View};

/// Where the source tree is seen, writable, by a command: the value of `SRCDIR`.
pub const SOURCE: &str = "/build/src";
/// Where outputs are put by a command: the value of `DESTDIR`.
pub const DESTINATION: &str = "/build/dest";

/// A tree and the digest it is kept under.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The digest of the encoded tree.
    pub digest: Digest,
    /// The tree.
    pub tree: Tree,
}

/// What a command sees as `/`.
#[derive(Clone, Debug)]
pub enum Root {
    /// Trees laid over one another, the lowest first. The command may write anywhere; what it
    /// writes is private to it.
    Layers(Vec<Kept>),
    /// The file system of this machine, read-only, without `/home`, `/root` and the like, with
    /// trees laid over it, the lowest first.
    Host(Vec<Kept>),
}

/// What is kept when the command succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// What is in [`DESTINATION`], as outputs of a module.
    Outputs,
    /// What is in [`DESTINATION`], as a root file system with its owners.
    Root,
    /// What was changed in the root, as a layer.
    Changes,
}

/// A tree at a place, read-only.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The tree.
    pub tree: Kept,
    /// An absolute path inside.
    pub at: String,
}

/// One command to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// For people and for names of folders: `module/step`.
    pub label: String,
    /// What is `/`.
    pub root: Root,
    /// What is at [`SOURCE`].
    pub source: Option<Kept>,
    /// More trees, read-only.
    pub mounts: Vec<Mount>,
    /// What is run. For a module its environment is all there is but for `MAKEFLAGS` and `JOBS`,
    /// which the executor adds because they never change a result.
    pub command: Command,
    /// What is kept.
    pub keep: Keep,
    /// After how long the command is killed.
    pub timeout: Option<Duration>,
    /// Whether user and group ids other than 0 must exist inside, because packages are
    /// installed.
    pub many_ids: bool,
    /// For commands that run several jobs and do not speak the jobserver's protocol: how many
    /// tokens the caller holds for this one. `JOBS` is then that number, and no jobserver is
    /// offered.
    pub held_jobs: Option<usize>,
    /// Whether this is a command of a module or one in an image.
    pub view: View,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It succeeded, and this is what is kept.
    Succeeded(Kept),
    /// It exited with this code, or 128 + the number of the signal that ended it.
    Failed(i32),
    /// It succeeded but left something that cannot be kept.
    Unkeepable(String),
    /// It succeeded, and a secret is in what it made. Nothing of that is kept.
    Leak(Leak),
    /// It was killed because it took longer than allowed.
    TimedOut(Duration),
    /// It was killed because the build was stopped.
    Cancelled,
}

/// What is known after a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output and error, kept in the store whatever the outcome.
    pub log: Digest,
    /// When it began.
    pub started: Time,
    /// How long it took.
    pub took: Duration,
    /// What was in the checkpoint folders of a command in an image that was stopped or failed:
    /// with it as seed, the same command can go on. Empty when the command succeeded.
    pub checkpoints: Vec<Checkpoint>,
    /// The folders among them that are not kept, because a secret is in them.
    pub leaks: Vec<(String, Leak)>,
}

/// What was in a checkpoint folder when a command ended before its time.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where the folder was, as the request says it.
    pub at: String,
    /// Its content with its times, without owners.
    pub kept: Kept,
}

/// Runs commands.
pub trait Executor: Send + Sync {
    /// Runs one command to its end. A failing command is an outcome; an error means that it could
    /// not be run.
    fn run(
        &self,
        request: &Request,
        jobs: &Jobs,
        cancel: &Cancel,
    ) -> Result<Finished, ExecuteError>;
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The machine lacks something.
    #[error("{what}")]
    Lacks {
        /// What, as a sentence fragment.
        what: String,
        /// What to do about it: a package to install, a setting to change.
        advice: String,
    },
    /// What is asked for can be had on no machine.
    #[error("{what}")]
    Request {
        /// What, as a sentence fragment.
        what: String,
        /// What to ask for instead.
        advice: String,
    },
    /// The workspace cannot be made or removed.
    #[error("cannot {doing} {}", path.display())]
    Workspace {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The sandbox did not come up; its own words.
    #[error("the sandbox could not be set up: {0}")]
    Sandbox(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
