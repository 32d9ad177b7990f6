//! What a build says while it goes on, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use ashlar_object::{Digest, StepKey};
use ashlar_plan::{Forecast, StepId};
use ashlar_store::Moved;

use crate::remotes::Tally;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// Its result was found under its step key.
    Hit,
    /// Its result was found under its action digest: an input was made again and came out equal.
    Cutoff,
    /// It was done.
    Built,
    /// It was tried and failed.
    Failed,
    /// It was not tried, because something it needs failed or the build stopped before it.
    Skipped,
}

impl StepOutcome {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Cutoff => "cutoff",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command exited with this code.
    Exit(i32),
    /// The command took longer than its module allows.
    TimedOut(Duration),
    /// The command succeeded, but these patterns of `expect` (or packages) matched nothing.
    Unmatched(Vec<String>),
    /// The command succeeded and left something that cannot be kept.
    Unkeepable(String),
    /// Two dependencies have different things at one path.
    Overlap {
        /// The path.
        path: String,
        /// The two modules.
        modules: [String; 2],
        /// How many more paths there are.
        more: usize,
    },
    /// It was stopped, by a signal or the end of the run's time, before its command began.
    Stopped,
    /// It could not be tried: a source cannot be had, the sandbox does not come up, ….
    Error {
        /// What went wrong, with its causes.
        message: String,
        /// What to do about it.
        advice: Option<String>,
        /// What kind of error it is, for the exit code.
        kind: ErrorKind,
    },
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The step's own: a source that is not what it should be, a patch that does not apply.
    Build,
    /// The machine lacks something.
    Machine,
    /// The store failed.
    Store,
    /// The project's files.
    Project,
    /// A remote failed that has to be there.
    Remote,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) if *code > 128 => {
                write!(f, "its command was ended by signal {}", code - 128)
            }
            Self::Exit(code) => write!(f, "its command exited with {code}"),
            Self::TimedOut(after) => write!(
                f,
                "it took longer than {} and was killed (`timeout` of the module)",
                crate::human_duration(*after)
            ),
            Self::Unmatched(patterns) => write!(
                f,
                "its command succeeded, but nothing in the outputs matches {}",
                patterns.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", ")
            ),
            Self::Unkeepable(what) => write!(f, "its outputs cannot be kept: {what}"),
            Self::Overlap { path, modules: [one, other], more } => {
                write!(f, "its dependencies {one} and {other} have different files at `{path}`")?;
                if *more > 0 {
                    write!(f, " and at {more} more paths")?;
                }
                Ok(())
            }
            Self::Stopped => f.write_str("it was stopped before its command began"),
            Self::Error { message, .. } => f.write_str(message),
        }
    }
}

/// All that is known of a step that ended.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Which step.
    pub id: StepId,
    /// Whether it is the one that makes a module's outputs, and so counts as the module.
    pub is_module: bool,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Where a hit came from: `local` or the name of a remote.
    pub from: Option<String>,
    /// How long it took now; for a hit, nothing.
    pub took: Duration,
    /// Its key.
    pub key: StepKey,
    /// Its action, where that is known.
    pub action: Option<Digest>,
    /// Its log, where there is one.
    pub log: Option<Digest>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Something that happens in a build.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is known what must be done.
    Planned {
        /// How many steps will be run.
        steps: usize,
        /// How many of them make a module.
        modules: usize,
        /// How long it will take.
        forecast: Forecast,
    },
    /// A step begins to run.
    Started {
        /// Which.
        id: StepId,
    },
    /// A step waits because another process is at it.
    Waiting {
        /// Which.
        id: StepId,
    },
    /// A step ended.
    Ended(Box<StepReport>),
    /// Results are brought from a remote.
    Pulling {
        /// Its name.
        remote: String,
        /// How many.
        results: usize,
    },
    /// All steps are done, and some results are still to be sent to a remote.
    Pushing {
        /// Its name.
        remote: String,
        /// How many.
        results: usize,
    },
    /// Bytes came from a remote or went there: in small steps.
    Moving {
        /// Its name.
        remote: Arc<str>,
        /// Whence or whither.
        way: Way,
        /// What moved since the last time.
        moved: Moved,
    },
    /// A result is not sent to a remote that takes clean ones only.
    Unclean {
        /// Which step.
        id: StepId,
        /// The name of the remote.
        remote: String,
        /// The file that is not committed.
        why: String,
    },
    /// A result is not sent to a remote that vouches for what it has.
    Untrusted {
        /// Which step.
        id: StepId,
        /// The name of the remote.
        remote: String,
        /// On whose word it stands.
        why: String,
    },
    /// Something people should know.
    Warning(String),
}

/// Whether something comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// It comes from a remote.
    Pull,
    /// It goes to a remote.
    Push,
}

/// How a build ended. The counts are of modules.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many modules the build had to do with; what lies beneath a hit is not among them.
    pub modules: usize,
    /// How many were found by key.
    pub hit: usize,
    /// How many were found by action digest.
    pub cutoff: usize,
    /// How many were built.
    pub built: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not tried.
    pub skipped: usize,
    /// From beginning to end.
    pub took: Duration,
    /// Whether the build was stopped from outside.
    pub cancelled: bool,
    /// Whether something was not begun, or stopped, because the time of the run was over or would
    /// not have been enough.
    pub out_of_time: bool,
    /// The steps that failed, in the order in which they did.
    pub failures: Vec<StepReport>,
    /// What there was to do with each remote.
    pub remotes: Vec<Tally>,
    /// Where remotes are required, why nothing was built without them.
    pub lost: Vec<String>,
}

impl Summary {
    /// One summary for a run and an earlier part of it, whose results this one found.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        self.built += earlier.built;
        self.cutoff += earlier.cutoff;
        self.hit = self.hit.saturating_sub(earlier.built + earlier.cutoff);
        self.took += earlier.took;
        for was in &earlier.remotes {
            let Some(tally) = self.remotes.iter_mut().find(|one| one.remote == was.remote) else {
                self.remotes.push(was.clone());
                continue;
            };
            tally.pulled += was.pulled;
            tally.pulled_bytes += was.pulled_bytes;
            tally.pushed += was.pushed;
            tally.pushed_bytes += was.pushed_bytes;
            tally.failed += was.failed;
            tally.unsent += was.unsent;
            tally.unclean += was.unclean;
            tally.untrusted += was.untrusted;
            if tally.gone.is_none() {
                tally.gone.clone_from(&was.gone);
            }
        }
        self
    }

    /// Counts a step that ended.
    pub(crate) fn count(&mut self, report: &StepReport) {
        if report.outcome == StepOutcome::Failed && report.failure.is_some() {
            self.failures.push(report.clone());
        }
        if !report.is_module {
            return;
        }
        self.modules += 1;
        match report.outcome {
            StepOutcome::Hit => self.hit += 1,
            StepOutcome::Cutoff => self.cutoff += 1,
            StepOutcome::Built => self.built += 1,
            StepOutcome::Failed => self.failed += 1,
            StepOutcome::Skipped => self.skipped += 1,
        }
    }
}
