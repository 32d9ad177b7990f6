//! From the text of a Dockerfile to its instructions, with all that can be checked without
//! arguments.

use ashlar_recipe::written::Span;
use ashlar_recipe::{Problems, nearest};

use crate::lines::{Directive, Reader};
use crate::report::{Mistake, Report};
use crate::written::{Body, Keyword, Statement};
use crate::{Rule, Warning, check, statement};

/// A longer file is refused.
const BYTES: usize = 1 << 20;

/// A file with more instructions is refused.
const INSTRUCTIONS: usize = 5000;

/// A Dockerfile whose syntax is right. Arguments are not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) escape: char,
    /// `ARG` before the first `FROM`.
    pub(crate) globals: Vec<Statement>,
    /// At least one.
    pub(crate) stages: Vec<WrittenStage>,
    pub(crate) silenced: Silenced,
    pub(crate) warnings: Vec<Warning>,
}

/// `FROM`, and the instructions after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenStage {
    pub from: Statement,
    pub name: Option<String>,
    pub statements: Vec<Statement>,
}

/// A stage of a file, for lists and for advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageName {
    /// Its number, from 0.
    pub number: usize,
    /// `AS NAME`, in lower case.
    pub name: Option<String>,
    /// The line of its `FROM`, from 1.
    pub line: usize,
}

/// What `# check=…` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Silenced {
    all: bool,
    rules: Vec<String>,
    /// Warnings are mistakes.
    pub error: bool,
}

impl Silenced {
    fn read(directive: &Directive) -> Result<Self, Mistake> {
        let mut silenced = Self::default();
        for part in directive.value.split(';') {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", "all")) => silenced.all = true,
                Some(("skip", rules)) => {
                    silenced.rules.extend(rules.split(',').map(|rule| rule.trim().to_owned()));
                }
                Some(("error", value @ ("true" | "false"))) => silenced.error = value == "true",
                Some(("experimental", _)) => {}
                _ => {
                    let message = format!("`{}` means nothing in a check directive", part.trim());
                    return Err(Mistake::new(directive.span, message)
                        .help("write `skip=RULE,RULE`, `skip=all` or `error=true`"));
                }
            }
        }
        Ok(silenced)
    }

    /// The warnings that are to be shown.
    pub fn filter(&self, warnings: Vec<Warning>) -> Vec<Warning> {
        let shown = |w: &Warning| !self.all && !self.rules.iter().any(|r| r == w.rule.name());
        warnings.into_iter().filter(shown).collect()
    }
}

impl Dockerfile {
    /// The name it was parsed under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its stages, in order; at least one.
    #[must_use]
    pub fn stages(&self) -> Vec<StageName> {
        let stage = |(number, stage): (usize, &WrittenStage)| StageName {
            number,
            name: stage.name.clone(),
            line: stage.from.line,
        };
        self.stages.iter().enumerate().map(stage).collect()
    }

    /// What is worth a word whatever the target is.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Parses a Dockerfile and checks all that can be checked without arguments. `name` is what
/// mistakes call the file.
///
/// # Errors
///
/// All that is wrong in it.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, Problems> {
    let mut report = Report::new(name, text);
    if text.len() > BYTES {
        let message = format!("the file has {} bytes; {BYTES} are the limit", text.len());
        report.refuse(Mistake::new(Span::default(), message));
        return Err(report.problems());
    }
    let mut reader = Reader::new(text);
    let directives = report.take(reader.directives()).unwrap_or_default();
    let mut silenced = Silenced::default();
    for directive in &directives {
        match directive.name.as_str() {
            "syntax" => report.take(syntax(directive)).unwrap_or_default(),
            "check" => silenced = report.take(Silenced::read(directive)).unwrap_or_default(),
            _ => {}
        }
    }
    let mut globals = Vec::new();
    let mut stages: Vec<WrittenStage> = Vec::new();
    // Where the first stage begins is not known when a `FROM` cannot be read.
    let mut broken_from = false;
    let mut count = 0;
    while let Some(line) = reader.line() {
        count += 1;
        if count > INSTRUCTIONS {
            let message = format!("there are more than {INSTRUCTIONS} instructions");
            report.refuse(Mistake::new(line.whole(), message));
            break;
        }
        if let Some(blank) = &line.blank {
            let mistake = Mistake::new(blank.clone().into(), "an empty line inside an instruction")
                .help("remove it; a comment may stand there");
            report.warn(Rule::NoEmptyContinuation, mistake);
        }
        let is_from = line.text.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("from"));
        let Some(statement) = report.take(statement::read(&mut reader, line)) else {
            broken_from |= is_from;
            continue;
        };
        match (statement.keyword, stages.last_mut()) {
            (Keyword::From, _) => {
                let name = match &statement.body {
                    Body::From { name: Some((_, name)), .. } => Some(name.text.to_lowercase()),
                    _ => None,
                };
                stages.push(WrittenStage { from: statement, name, statements: Vec::new() });
            }
            (_, Some(stage)) => stage.statements.push(statement),
            (Keyword::Arg, None) => globals.push(statement),
            (_, None) if broken_from => {}
            (keyword, None) => {
                let message = format!("`{}` comes before any `FROM`", keyword.name());
                report.refuse(Mistake::new(statement.written.span, message).help(
                    "begin with `FROM IMAGE` or `FROM scratch`; only ARG can stand before it",
                ));
            }
        }
    }
    if stages.is_empty() && report.is_clean() {
        let what = if count == 0 { "there are no instructions" } else { "there is no `FROM`" };
        report.refuse(
            Mistake::new(Span::default(), what).help("begin with `FROM IMAGE` or `FROM scratch`"),
        );
    }
    check::check(&globals, &stages, &mut report);
    let escape = reader.escape;
    report.warnings = silenced.filter(std::mem::take(&mut report.warnings));
    if silenced.error {
        for warning in std::mem::take(&mut report.warnings) {
            report.refuse_request(warning.problem);
        }
    }
    let warnings = report.finish()?;
    let (name, text) = (name.to_owned(), text.to_owned());
    Ok(Dockerfile { name, text, escape, globals, stages, silenced, warnings })
}

/// Refuses front ends that are other languages.
fn syntax(directive: &Directive) -> Result<(), Mistake> {
    let name = directive.value.split_whitespace().next().unwrap_or_default();
    // Whatever the host: mirrors have the same program.
    let last = name.rsplit('/').next().unwrap_or_default();
    let path = &name[..name.len() - last.len()];
    let program = last.split([':', '@']).next().unwrap_or_default();
    let known = matches!(program, "dockerfile" | "dockerfile-upstream");
    if known && (path == "docker/" || path.ends_with("/docker/")) {
        return Ok(());
    }
    let message = format!("the syntax `{name}` is not supported");
    Err(Mistake::new(directive.span, message)
        .label("a program that would translate this file")
        .help("leave the directive out, or write `# syntax=docker/dockerfile:1`"))
}

/// The stage that is nearest to a name.
pub(crate) fn nearest_stage<'a>(name: &str, stages: &'a [WrittenStage]) -> Option<&'a str> {
    nearest(name, stages.iter().filter_map(|stage| stage.name.as_deref()))
}
