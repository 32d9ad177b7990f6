//! `ashlar run`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// `ashlar run`.
#[derive(Debug, ClapArgs)]
pub struct Run {
    /// With --batch: the runs to do; all when none is named.
    #[arg(value_name = "NAME", requires = "batch")]
    pub names: Vec<String>,
    /// The command and its arguments, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// What it is called in logs and records; the first output when not said.
    #[arg(long, value_name = "NAME", conflicts_with = "batch")]
    pub name: Option<String>,
    /// Runs of a file like ashlar-run.toml, in the order in which they use one another.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub batch: Option<PathBuf>,
    /// What may be done with the cache: off, read, write or readwrite; after a comma
    /// `PATTERN=MODE` for runs by their names. What ashlar-run.toml says under `[cache]` can only be
    /// less.
    #[arg(long, value_name = "MODE", env = "ASHLAR_CACHE", default_value = "readwrite")]
    pub cache: String,
    /// What is in the root counts, and nothing outside of it; the folder of ashlar.toml,
    /// ashlar-run.toml, ashlar-cache.toml or the repository when not said.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Whether the output of a command that is not run is shown again.
    #[arg(long, value_name = "WHETHER", default_value = "yes")]
    pub replay: YesNo,
    /// Leave earlier outputs in their places while the command runs. It has to make them anew all
    /// the same.
    #[arg(long)]
    pub keep_outputs: bool,
    /// Name files that the command reads, looks for or lists and does not declare; `fail` keeps
    /// nothing then, `learn` declares them in ashlar-run.learned.toml. Both run again what was kept
    /// without a trace, or with undeclared files.
    #[arg(long, value_name = "HOW", env = "ASHLAR_TRACE")]
    pub trace: Option<TraceHow>,
    /// Files outside of the root count as well.
    #[arg(long, requires = "trace")]
    pub trace_system: bool,
    /// Files that do not count in a trace.
    #[arg(long, value_name = "GLOB")]
    pub ignore: Vec<String>,
    /// Show the command the declared files and nothing else of the root, no network, and of the
    /// environment what is declared.
    #[arg(long, conflicts_with = "trace")]
    pub sandbox: bool,
    /// Leave common files out of the key.
    #[arg(long, env = "ASHLAR_NO_COMMON", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_common: bool,
    /// Say nothing of hits.
    #[arg(short, long)]
    pub quiet: bool,
    /// What it depends on and makes.
    #[command(flatten)]
    pub declared: Declared,
}

impl Run {
    /// Whether it must not go on where it cannot do what it is asked for.
    pub fn is_strict(&self) -> bool {
        self.sandbox || matches!(self.trace, Some(TraceHow::Fail | TraceHow::Learn))
    }
}

/// What a run depends on and makes. Paths and globs are relative to the current folder.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "What it depends on and makes")]
pub struct Declared {
    /// Files it reads: a path, a folder with all in it, or a glob; `!GLOB` leaves some out again.
    #[arg(short, long, value_name = "GLOB")]
    pub input: Vec<String>,
    /// Files it looks for that may be absent.
    #[arg(long, value_name = "GLOB")]
    pub maybe: Vec<String>,
    /// It reads no files.
    #[arg(long)]
    pub no_inputs: bool,
    /// Files that many runs share; --no-common leaves them out.
    #[arg(long, value_name = "GLOB")]
    pub common: Vec<String>,
    /// A variable whose value counts.
    #[arg(long, value_name = "NAME")]
    pub env: Vec<String>,
    /// A variable whose value counts, and of which only a fingerprint is kept.
    #[arg(long, value_name = "NAME")]
    pub secret: Vec<String>,
    /// A value that counts.
    #[arg(long, value_name = "NAME=VALUE")]
    pub flag: Vec<String>,
    /// A program whose content counts, wherever it is.
    #[arg(long, value_name = "PROGRAM")]
    pub tool: Vec<String>,
    /// A program of which counts what it answers to --version.
    #[arg(long, value_name = "PROGRAM")]
    pub tool_version: Vec<String>,
    /// A file that another run may have made: then the result of that run counts.
    #[arg(long, value_name = "FILE")]
    pub uses: Vec<String>,
    /// A checkout or submodule: its commit when nothing in it is changed, else its files.
    #[arg(long, value_name = "DIR")]
    pub git: Vec<String>,
    /// What it makes: a path, a folder with all in it, or a glob that has to match.
    #[arg(short = 'O', long, value_name = "GLOB")]
    pub output: Vec<String>,
}

/// What is done with files that a command touches and does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceHow {
    /// They are named.
    Warn,
    /// They are named, nothing is kept, and the run fails.
    Fail,
    /// They are named, and declared from the next time on.
    Learn,
    /// Nobody looks.
    Off,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// It is so.
    Yes,
    /// It is not.
    No,
}
