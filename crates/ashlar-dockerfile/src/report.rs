//! What is wrong with a file, while it is being gathered.

use ashlar_recipe::written::Span;
use ashlar_recipe::{Problem, Problems};

use crate::{Rule, Warning};

/// One thing that is wrong at a place of the file at hand.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    message: String,
    span: Span,
    label: String,
    related: Option<(Span, String)>,
    help: Option<String>,
}

impl Mistake {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, label: String::new(), related: None, help: None }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Puts words before the message.
    #[must_use]
    pub fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    fn problem(self, file: &str) -> Problem {
        let mut problem = Problem::new(self.message).at(file, self.span, self.label);
        if let Some((span, label)) = self.related {
            problem = problem.and(file, span, label);
        }
        problem.help = self.help;
        problem
    }
}

/// All that was found in a file so far.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    name: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
    more: usize,
    pub warnings: Vec<Warning>,
}

/// More mistakes than this are counted, not kept.
const KEPT: usize = 200;

impl<'a> Report<'a> {
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, problems: Vec::new(), more: 0, warnings: Vec::new() }
    }

    pub fn refuse(&mut self, mistake: Mistake) {
        if self.problems.len() < KEPT {
            self.problems.push(mistake.problem(self.name));
        } else {
            self.more += 1;
        }
    }

    /// A mistake that has no place in the file.
    pub fn refuse_request(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The value, or the mistake noted.
    pub fn take<T>(&mut self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.refuse(mistake)).ok()
    }

    pub fn warn(&mut self, rule: Rule, mistake: Mistake) {
        let problem = mistake.problem(self.name);
        let known = |w: &Warning| w.rule == rule && w.problem == problem;
        if self.warnings.len() < KEPT && !self.warnings.iter().any(known) {
            self.warnings.push(Warning { rule, problem });
        }
    }

    pub fn warn_request(&mut self, rule: Rule, problem: Problem) {
        self.warnings.push(Warning { rule, problem });
    }

    /// Whether no more warnings are kept.
    pub fn is_full(&self) -> bool {
        self.warnings.len() >= KEPT
    }

    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The warnings, when nothing is wrong.
    pub fn finish(mut self) -> Result<Vec<Warning>, Problems> {
        if self.problems.is_empty() {
            self.warnings.sort_by_key(|w| w.problem.place.as_ref().map(|p| p.span.start));
            return Ok(self.warnings);
        }
        Err(self.problems())
    }

    /// All that is wrong.
    pub fn problems(self) -> Problems {
        let mut problems = Problems::gather(self.problems, self.more);
        problems.sources.insert(self.name.to_owned(), self.text.to_owned());
        problems
    }
}
