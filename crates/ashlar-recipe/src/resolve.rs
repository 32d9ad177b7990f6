//! From what is written to what is meant.
//!
//! First the project file, then each module on its own, then the graph of all of them.

mod build;
mod cache;
pub(crate) mod check;
mod graph;
mod image;
mod module;
mod project;
mod remote;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use build::KINDS;
pub(crate) use cache::cache as resolve_cache;
pub(crate) use image::NETWORKS;
pub(crate) use remote::remote_address;

use crate::problem::{Problem, Problems, SHOWN};
use crate::resolved::Project;
use crate::written::{self, Span, Text};

/// The variable in which a step sees an option: `OPTION_DEBUG` for `debug`.
#[must_use]
pub fn option_variable(option: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    option.chars().fold("OPTION_".to_owned(), |mut name, c| {
        name.push(plain(c));
        name
    })
}

/// Checks a whole project and applies the options of this invocation.
///
/// # Errors
/// Everything that is wrong, without the texts of the files ([`Problems::with_sources`]).
pub fn resolve(
    project: written::Project,
    modules: Vec<written::Module>,
    options: &[(String, String)],
) -> Result<Project, Problems> {
    let mut notes = Notes::default();
    let head = project::head(project, options, &mut notes);
    let graph = graph::Graph::new(modules, &mut notes);
    let default = graph.targets(&head, &mut notes);
    let modules = graph.resolve(&head, &mut notes);
    if !notes.list.is_empty() {
        return Err(Problems::gather(notes.list, notes.more));
    }
    let modules: BTreeMap<_, _> =
        modules.into_iter().map(|m| (m.name.clone(), Arc::new(m))).collect();
    Ok(Project {
        name: head.name,
        default: default.unwrap_or_else(|| modules.keys().cloned().collect()),
        salt: head.salt,
        builder: head.builder,
        common: head.common,
        env: head.env,
        options: head.options,
        bases: head.bases,
        remotes: head.remotes,
        modules,
    })
}

/// The remotes of a project file alone, for whoever has no use for modules.
///
/// # Errors
/// Everything that is wrong with them, or with the shape of the file.
pub fn project_remotes(bytes: &[u8]) -> Result<Vec<crate::Remote>, Problems> {
    let written = crate::parse::parse_project(bytes)?;
    let mut notes = Notes::default();
    let file = written.file.clone();
    let remotes = remote::remotes(written.remotes, &mut Pen { file: &file, notes: &mut notes });
    if notes.list.is_empty() {
        return Ok(remotes);
    }
    let mut problems = Problems::gather(notes.list, notes.more);
    problems.sources.insert(file, String::from_utf8_lossy(bytes).into_owned());
    Err(problems)
}

/// The problems so far. Beyond a few screens they are only counted.
#[derive(Default)]
struct Notes {
    list: Vec<Problem>,
    more: usize,
}

impl Notes {
    /// Whether more would only be counted: then there is no need to look for advice.
    fn full(&self) -> bool {
        self.list.len() >= SHOWN
    }

    fn add(&mut self, problem: Problem) {
        if self.full() {
            self.more += 1;
        } else {
            self.list.push(problem);
        }
    }
}

/// Notes what is wrong in one file.
struct Pen<'a> {
    file: &'a str,
    notes: &'a mut Notes,
}

impl Pen<'_> {
    /// Something is wrong at a place.
    fn wrong(&mut self, span: Span, message: impl Into<String>, help: impl Into<Help>) {
        let mut problem = Problem::new(message).at(self.file, span, "");
        problem.help = help.into().0;
        self.notes.add(problem);
    }

    /// The result of a check of one text.
    fn checked<T>(
        &mut self,
        text: &Text,
        found: Result<T, check::Wrong>,
        help: impl Into<Help>,
    ) -> Option<T> {
        found
            .map_err(|wrong| {
                let message = format!("`{}` {wrong}", text.value.escape_debug());
                self.wrong(text.span, message, help);
            })
            .ok()
    }

    /// Globs, each checked.
    fn globs(&mut self, texts: Vec<Text>) -> Vec<String> {
        let mut globs = Vec::with_capacity(texts.len());
        for text in texts {
            let found = check::glob(&text.value);
            let help = match found {
                Err("is an absolute path") => "write it without the leading slash",
                _ => "it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`",
            };
            if self.checked(&text, found, help).is_some() {
                globs.push(text.value);
            }
        }
        globs
    }

    /// Words for which the order means nothing, each checked: sorted, each once.
    fn set(
        &mut self,
        texts: Vec<Text>,
        check: impl Fn(&str) -> Result<(), check::Wrong>,
    ) -> Vec<String> {
        let mut set = Vec::with_capacity(texts.len());
        for text in texts {
            let found = check(&text.value);
            if self.checked(&text, found, None).is_some() {
                set.push(text.value);
            }
        }
        set.sort_unstable();
        set.dedup();
        set
    }

    /// Environment variables that a person may set.
    fn env(&mut self, written: written::Named<Text>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for (name, text) in written {
            let reserved = ["DESTDIR", "SRCDIR", "ARCH", "JOBS", "MAKEFLAGS"];
            if reserved.contains(&name.value.as_str()) || name.value.starts_with("OPTION_") {
                let message = format!("`{}` is set by Ashlar", name.value);
                let help = if name.value.starts_with("OPTION_") {
                    "declare an option in `ashlar.toml` and name it in `uses`"
                } else {
                    "choose another name"
                };
                self.wrong(name.span, message, help);
                continue;
            }
            let found = check::variable(&name.value);
            let help = "letters, digits and `_`, and no digit first";
            if self.checked(&name, found, help).is_none() {
                continue;
            }
            if name.value == "SOURCE_DATE_EPOCH" && text.value.parse::<u32>().is_err() {
                let message = "`SOURCE_DATE_EPOCH` is a number of seconds since 1970";
                self.wrong(text.span, message, None);
                continue;
            }
            env.insert(name.value, text.value);
        }
        env
    }
}

/// Advice, where there is some.
struct Help(Option<String>);

impl From<&str> for Help {
    fn from(help: &str) -> Self {
        Self(Some(help.to_owned()))
    }
}

impl From<String> for Help {
    fn from(help: String) -> Self {
        Self(Some(help))
    }
}

impl From<Option<String>> for Help {
    fn from(help: Option<String>) -> Self {
        Self(help)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
