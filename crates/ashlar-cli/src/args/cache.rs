//! `ashlar cache`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Keep folders of a workspace between jobs.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Say which layer would hit, where it is and what restoring it would move; which globs match
    /// nothing, and which files git tracks.
    #[command(after_help = "Examples:\n  \
        ashlar cache plan\n  \
        ashlar cache plan --branch main --json")]
    Plan(Plan),
    /// Restore the first layer that hits, whole or not at all, and remove what is stale in it.
    #[command(after_help = "Examples:\n  \
        ashlar cache restore\n  \
        ashlar cache restore --require            fail unless a complete layer hits\n  \
        ashlar cache restore --keep               other workspaces here will want it too\n  \
        ashlar cache restore --ref \"$REFERENCE\"   exactly what `skip-if-hit` found")]
    Restore(Restore),
    /// Save every layer that is not kept yet. One that is kept is not read again.
    #[command(after_help = "Examples:\n  \
        ashlar cache save\n  \
        ashlar cache save --partial    from a job that failed or was cancelled")]
    Save(Save),
    /// With a complete layer somewhere, say so and do nothing; else run a command, or end with 1.
    #[command(after_help = "Examples:\n  \
        ashlar cache skip-if-hit modules -- make packages\n  \
        ashlar cache skip-if-hit modules --result reference || make packages")]
    SkipIfHit(SkipIfHit),
    /// Restore, run a command, and save: what is complete when it succeeds, what is there when it
    /// fails or is stopped by a signal. Ends with the exit code of the command.
    #[command(after_help = "Example:\n  ashlar cache wrap -- make -j8 BOARD=x230")]
    Wrap(Wrap),
}

/// Which workspace, and on which branch.
#[derive(Debug, Args)]
pub struct Where {
    /// The folder that paths are below; when not said, the nearest one upwards with one of
    /// Ashlar's files, else that of the repository.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The file of layers; ashlar-cache.toml in the root when not said.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The branch that `${branch}` stands for; what the CI, or git, says when not said.
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// The branch that `${base}` stands for: where a pull request goes to.
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
    /// Take globs that match nothing as they are.
    #[arg(long)]
    pub allow_missing: bool,
}

/// `ashlar cache plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Which workspace.
    #[command(flatten)]
    pub place: Where,
    /// Take files that git tracks below the paths as they are.
    #[arg(long)]
    pub allow_tracked: bool,
}

/// `ashlar cache restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Which workspace.
    #[command(flatten)]
    pub place: Where,
    /// Exactly this result, as `skip-if-hit` and `save` name it.
    #[arg(long = "ref", value_name = "LAYER@KEY")]
    pub reference: Option<String>,
    /// Remove what other layers name as well, as if the checkout were a fresh one.
    #[arg(long, conflicts_with = "reference")]
    pub clean: bool,
    /// End with 1 unless a complete layer was restored.
    #[arg(long)]
    pub require: bool,
    /// Keep what comes from a remote in the local store too, for other workspaces of this machine.
    #[arg(long = "keep")]
    pub keep_here: bool,
}

/// How layers are saved.
#[derive(Debug, Args)]
pub struct Keep {
    /// Leave files that git tracks out, instead of refusing to save.
    #[arg(long)]
    pub allow_tracked: bool,
    /// Fail when a layer could not be left at a remote that is written to.
    #[arg(long)]
    pub require_push: bool,
}

/// `ashlar cache save`.
#[derive(Debug, Args)]
pub struct Save {
    /// Which workspace.
    #[command(flatten)]
    pub place: Where,
    /// How.
    #[command(flatten)]
    pub keep: Keep,
    /// The job did not succeed: keep what is there under a mark of its own, which is used only
    /// where no complete layer hits.
    #[arg(long)]
    pub partial: bool,
}

/// `ashlar cache skip-if-hit`.
#[derive(Debug, Args)]
pub struct SkipIfHit {
    /// The layer.
    pub layer: String,
    /// Which workspace.
    #[command(flatten)]
    pub place: Where,
    /// Where to write the reference of what was found; without a hit the file is removed.
    #[arg(long, value_name = "FILE")]
    pub result: Option<PathBuf>,
    /// What to run without a hit.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `ashlar cache wrap`.
#[derive(Debug, Args)]
pub struct Wrap {
    /// Which workspace.
    #[command(flatten)]
    pub place: Where,
    /// How.
    #[command(flatten)]
    pub keep: Keep,
    /// Remove what other layers than the restored one name, as if the checkout were a fresh one.
    #[arg(long)]
    pub clean: bool,
    /// Keep what comes from a remote in the local store too, for other workspaces of this machine.
    #[arg(long = "keep")]
    pub keep_here: bool,
    /// Seconds that the command has to end after a signal.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u64,
    /// What to run.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
