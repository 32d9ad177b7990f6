//! Why a run cannot be looked up, run or kept.

use std::io;
use std::path::{Path, PathBuf};

use ashlar_execute::trace::TraceError;
use ashlar_source::SourceError;
use ashlar_store::StoreError;

use super::undeclared::Undeclared;
use crate::place::PlaceError;

/// Why a run cannot be looked up, run or kept. That the command fails is none of these.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing is declared that it reads: that is not the same as reading nothing.
    #[error("nothing is declared that the command reads")]
    NoInputs,
    /// Nothing is declared that it makes.
    #[error("nothing is declared that the command makes")]
    NoOutputs,
    /// There is no command.
    #[error("there is no command to run")]
    NoCommand,
    /// A glob matches nothing.
    #[error("nothing matches the {kind} `{glob}`")]
    NoMatch {
        /// `input` or `common`.
        kind: &'static str,
        /// The glob.
        glob: String,
    },
    /// A file that other runs may have made is not there.
    #[error("`{path}`, which it uses, is not there")]
    NotThere {
        /// The path below the root.
        path: String,
    },
    /// A program cannot be used.
    #[error("the program `{name}` cannot be used")]
    Program {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The command succeeded and did not make what is declared.
    #[error("the command succeeded, but nothing it made matches {}", patterns.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", "))]
    NotMade {
        /// The patterns without a match.
        patterns: Vec<String>,
    },
    /// The command touched files that are not declared.
    #[error("the command touched {} that {} not declared", plural(found.len()), if found.len() == 1 { "is" } else { "are" })]
    Undeclared {
        /// Which.
        found: Vec<Undeclared>,
    },
    /// The command cannot be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A wide glob of what it makes names files that git has.
    #[error("{} {} committed, and would be replaced with what the command makes", named(paths), if paths.len() == 1 { "is" } else { "are" })]
    Tracked {
        /// Which, below the root.
        paths: Vec<PathBuf>,
    },
    /// It was stopped while it waited.
    #[error("stopped while the same was being made elsewhere")]
    Stopped,
    /// A run started a run of the same name.
    #[error("the command runs itself: a run of this name waits for it")]
    Inside,
    /// A kept result is none of a run.
    #[error("what is kept is not the result of a run: {0}")]
    Damaged(String),
    /// A file or folder cannot be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// A verb that fits "cannot …".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A declared file cannot be read, or a glob is none.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outputs cannot be put in their places.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

fn named(paths: &[PathBuf]) -> String {
    let first: Vec<String> = paths.iter().take(3).map(|path| path.display().to_string()).collect();
    match paths.len() {
        0..=3 => first.join(", "),
        many => format!("{} and {} more", first.join(", "), many - 3),
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "a file".to_owned() } else { format!("{count} files") }
}

impl RunError {
    /// What fits `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path: path.clone(), source }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoInputs => {
                "--input GLOB, --uses FILE or --git DIR says what; --no-inputs that it reads nothing"
            }
            Self::NoOutputs => "--output GLOB says what",
            Self::NoCommand => "write it after `--`",
            Self::NoMatch { .. } => {
                "a file that may be absent is declared with --maybe; what git ignores counts only \
                 when it is named in full"
            }
            Self::NotThere { .. } => "make it first: let the makefile's rule depend on it",
            Self::Undeclared { .. } => {
                "declare them (--input, --maybe), let `--trace=learn` do it, or say --ignore GLOB; \
                 nothing is kept"
            }
            Self::Tracked { .. } => {
                "let --output name what is made and nothing else; a file that is made and committed \
                 is named in full"
            }
            Self::Inside => "give one of them another --name",
            Self::NotMade { .. } => "nothing is kept; is the pattern right, and below the root?",
            _ => return None,
        })
    }

    /// Whether the store is to blame: the command can be run all the same.
    #[must_use]
    pub fn is_of_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Damaged(_) | Self::Place(PlaceError::Store(_)))
    }
}
