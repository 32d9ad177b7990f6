//! Exit codes, and errors as people see them. The one place that decides which error means what.

use std::fmt::Write as _;
use std::process::ExitCode;

use ashlar_build::{ErrorKind, Failure, FrontError, LockError, Summary, chain, store_advice};
use ashlar_execute::ExecuteError;
use ashlar_plan::{GraphError, PlanError};
use ashlar_recipe::{Problem, Problems};
use ashlar_remote::artifact::{AddressError, ArtifactError, DestinationError, PartError};
use ashlar_source::SourceError;
use ashlar_store::{RemoteError, StoreError};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done,
    /// A build failed, or a check found a difference.
    BuildFailed,
    /// The command line or the project's files are not right.
    Usage,
    /// The machine lacks something.
    Machine,
    /// A store or remote failed.
    Store,
    /// Stopped by a signal, or out of time; everything finished is kept.
    Stopped,
    /// What the shell inside the sandbox said.
    Shell(u8),
}

impl Exit {
    /// The number of it.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::BuildFailed => 1,
            Self::Usage => 2,
            Self::Machine => 3,
            Self::Store => 4,
            Self::Stopped => 5,
            Self::Shell(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the program.
#[derive(Debug)]
pub struct Failed {
    /// What the program says to whoever started it.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The same one by one, with their places, where it is about the project's files.
    pub problems: Option<Box<Problems>>,
}

impl Failed {
    /// An error.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None, problems: None }
    }

    /// An error of the one who typed the command.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prints the error: always on standard error, with `--json` as an event as well.
    pub fn show(&self, json: bool) {
        let mut text = String::new();
        // Problems of project files say `error:` themselves, one by one.
        if self.problems.is_some() {
            text.push_str(self.message.trim_end());
        } else {
            let _infallible = write!(text, "error: {}", self.message.trim_end());
        }
        if let Some(help) = &self.help {
            let _infallible = write!(text, "\n  help: {help}");
        }
        eprintln!("{text}");
        if json {
            self.events().iter().for_each(crate::show::line);
        }
    }

    /// One event for each thing that is wrong.
    fn events(&self) -> Vec<serde_json::Value> {
        let exit = self.exit.code();
        let Some(problems) = &self.problems else {
            return vec![serde_json::json!({
                "event": "error", "message": self.message, "help": self.help, "exit": exit,
            })];
        };
        let event = |problem: &Problem| {
            let position = problem.place.as_ref().and_then(|place| problems.position(place));
            serde_json::json!({
                "event": "error", "message": problem.message, "help": problem.help, "exit": exit,
                "file": problem.place.as_ref().map(|place| &place.file),
                "line": position.map(|(line, _)| line),
                "column": position.map(|(_, column)| column),
            })
        };
        problems.list.iter().map(event).collect()
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        if let StoreError::Occupied { .. } = error {
            return Self::usage(chain(&error)).help("`--force` replaces what is there");
        }
        let help = store_advice(&error);
        Self { help: help.map(ToOwned::to_owned), ..Self::new(Exit::Store, chain(&error)) }
    }
}

impl From<RemoteError> for Failed {
    fn from(error: RemoteError) -> Self {
        let message = chain(&error);
        match error {
            RemoteError::Address { .. } => Self::usage(message),
            RemoteError::Store(error) => error.into(),
            RemoteError::Stopped => Self::new(Exit::Stopped, message),
            RemoteError::Unreachable { .. }
            | RemoteError::Refused { .. }
            | RemoteError::Unsupported { .. }
            | RemoteError::Wrong { .. } => Self::new(Exit::Store, message),
        }
    }
}

impl From<AddressError> for Failed {
    fn from(error: AddressError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<PartError> for Failed {
    fn from(error: PartError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<DestinationError> for Failed {
    fn from(error: DestinationError) -> Self {
        let message = chain(&error);
        match error {
            DestinationError::Root(_) => Self::usage(message).help("name a folder for the files"),
            DestinationError::Path { .. } | DestinationError::Mounted { .. } => {
                Self::usage(message)
            }
            DestinationError::Reserved(_)
            | DestinationError::Leftover { .. }
            | DestinationError::Stuck { .. } => Self::new(Exit::Store, message),
            DestinationError::Occupied { .. } => Self::usage(message)
                .help("--merge puts the new files among them, --replace removes them"),
            DestinationError::Conflict { .. } => {
                Self::usage(message).help("--replace removes what is there")
            }
            DestinationError::Stopped(_) => Self::new(Exit::Stopped, message),
            DestinationError::Io { .. } => Self::new(Exit::Store, message),
        }
    }
}

impl From<ArtifactError> for Failed {
    fn from(error: ArtifactError) -> Self {
        let message = chain(&error);
        match error {
            ArtifactError::Remote(error) => error.into(),
            ArtifactError::Destination(error) => error.into(),
            ArtifactError::Read(error) => error.into(),
            ArtifactError::Part(error) => error.into(),
            ArtifactError::Missing(_) => {
                Self::usage(message).help("--allow-missing makes an empty artifact of it")
            }
            ArtifactError::Scratch(_) => {
                Self::new(Exit::Machine, message).help("TMPDIR names another folder")
            }
            ArtifactError::WhichPart { .. } => Self::usage(message)
                .help("--arch ARCH, --source, or --all; what all need always comes along"),
            ArtifactError::NoPart { .. } | ArtifactError::Foreign { .. } => Self::usage(message),
            ArtifactError::Pack(_)
            | ArtifactError::Unknown(_)
            | ArtifactError::Lost { .. }
            | ArtifactError::Damaged { .. }
            | ArtifactError::Contradiction { .. }
            | ArtifactError::Unusable { .. }
            | ArtifactError::TooLarge { .. }
            | ArtifactError::Transfer { .. }
            | ArtifactError::Unpack { .. }
            | ArtifactError::Untrusted { .. } => Self::new(Exit::Store, message),
        }
    }
}

impl From<Problems> for Failed {
    fn from(problems: Problems) -> Self {
        // Each is an error of its own; only the first would look like one otherwise.
        let mut each = Problems { list: Vec::new(), more: 0, sources: problems.sources.clone() };
        let mut message = String::new();
        for problem in &problems.list {
            each.list = vec![problem.clone()];
            let gap = if message.is_empty() { "" } else { "\n" };
            let _infallible = write!(message, "{gap}error: {}", each.render_plain());
        }
        if problems.more > 0 {
            let _infallible = write!(message, "\nand {} more", problems.more);
        }
        Self { problems: Some(Box::new(problems)), ..Self::usage(message) }
    }
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        let exit = match &error {
            SourceError::Lacks { .. } | SourceError::Start { .. } => Exit::Machine,
            SourceError::Store(_) => Exit::Store,
            SourceError::Project(_) => Exit::Usage,
            _ => Exit::BuildFailed,
        };
        Self { help: error.advice(), ..Self::new(exit, chain(&error)) }
    }
}

impl From<FrontError> for Failed {
    fn from(error: FrontError) -> Self {
        let message = chain(&error);
        match error {
            FrontError::Problems(problems) => problems.into(),
            FrontError::NoProject(_) => Self::usage(message)
                .help("`ashlar init` makes one here; `-C DIR` names another folder"),
            FrontError::Io { .. } => Self::usage(message),
        }
    }
}

impl From<LockError> for Failed {
    fn from(error: LockError) -> Self {
        let message = chain(&error);
        match error {
            LockError::Offline(_) => Self::usage(message).help("run `ashlar lock` with network"),
            LockError::Resolve { source, .. } => {
                let cause = Failed::from(*source);
                let exit = if cause.exit == Exit::Machine { Exit::Machine } else { Exit::Usage };
                Self { help: cause.help, ..Self::new(exit, message) }
            }
            LockError::Plan(error) => error.into(),
            LockError::Front(error) => error.into(),
        }
    }
}

impl From<PlanError> for Failed {
    fn from(error: PlanError) -> Self {
        let failed = Self::usage(chain(&error));
        match error {
            PlanError::Graph(error) => error.into(),
            PlanError::NotLocked { .. } => failed.help("run `ashlar lock`"),
            PlanError::Unknown { .. } => failed,
        }
    }
}

impl From<GraphError> for Failed {
    fn from(error: GraphError) -> Self {
        let failed = Self::usage(chain(&error));
        match error {
            GraphError::NoModule { nearest: Some(name), .. } => {
                failed.help(format!("did you mean `{name}`? `ashlar list` shows all"))
            }
            GraphError::NoModule { nearest: None, .. } => failed.help("`ashlar list` shows all"),
            GraphError::NoTarget => failed.help("name one, or set `default` in ashlar.toml"),
        }
    }
}

impl From<ExecuteError> for Failed {
    fn from(error: ExecuteError) -> Self {
        let message = chain(&error);
        match error {
            ExecuteError::Lacks { advice, .. } => Self::new(Exit::Machine, message).help(advice),
            ExecuteError::Request { advice, .. } => Self::usage(message).help(advice),
            ExecuteError::Sandbox(_) => Self::new(Exit::Machine, message),
            ExecuteError::Workspace { .. } => Self::new(Exit::Store, message),
            ExecuteError::Store(error) => error.into(),
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let exit = exit_of(&failure);
        let help = match failure {
            Failure::Error { advice, .. } => advice,
            _ => None,
        };
        Self { help, ..Self::new(exit, message) }
    }
}

/// What a failed step means for the exit code.
pub fn exit_of(failure: &Failure) -> Exit {
    match failure {
        Failure::Exit(_)
        | Failure::TimedOut(_)
        | Failure::Unmatched(_)
        | Failure::Unkeepable(_)
        | Failure::Stopped => Exit::BuildFailed,
        Failure::Overlap { .. } => Exit::Usage,
        Failure::Error { kind, .. } => match kind {
            ErrorKind::Build => Exit::BuildFailed,
            ErrorKind::Machine => Exit::Machine,
            ErrorKind::Store => Exit::Store,
            ErrorKind::Project => Exit::Usage,
            ErrorKind::Remote => Exit::Store,
        },
    }
}

/// What a whole build means for the exit code: a signal decides, then remotes that have to be
/// there, then the first failure, then results that have to be pushed.
pub fn exit_of_build(summary: &Summary, require_push: bool) -> Exit {
    if summary.cancelled {
        return Exit::Stopped;
    }
    let mut failures = summary.failures.iter().filter_map(|report| report.failure.as_ref());
    let failed = failures.next().map_or(Exit::Done, exit_of);
    let tallies = || summary.remotes.iter();
    let not_taken = require_push && tallies().any(|tally| tally.failed > 0);
    let unsent = require_push && tallies().any(|tally| tally.unsent > 0);
    match failed {
        _ if !summary.lost.is_empty() => Exit::Store,
        Exit::Done if not_taken => Exit::Store,
        Exit::Done if summary.out_of_time => Exit::Stopped,
        Exit::Done if unsent => Exit::Store,
        failed => failed,
    }
}
