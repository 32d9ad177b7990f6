//! What is wrong with a project's files: where, why, and what to do about it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::load::Loader;
use crate::written::Span;

/// More problems than this are counted, not kept: one wrong base name can touch 30,000 modules,
/// and nobody reads the second hundred.
pub(crate) const SHOWN: usize = 100;

/// A line is shown up to this many characters around the place that is meant.
const WIDTH: usize = 100;

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

/// Everything that is wrong, with the texts needed to show it. Never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The problems, in the order of files and places; those without a place come first.
    pub list: Vec<Problem>,
    /// How many more there are than `list` has.
    pub more: usize,
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
    /// Sorts problems and keeps the first of them.
    #[must_use]
    pub fn gather(mut list: Vec<Problem>, mut more: usize) -> Self {
        list.sort_by(|a, b| {
            let key = |p: &Problem| p.place.as_ref().map(|p| (p.file.clone(), p.span.start));
            key(a).cmp(&key(b))
        });
        if list.len() > SHOWN {
            more += list.len() - SHOWN;
            list.truncate(SHOWN);
        }
        Self { list, more, sources: BTreeMap::new() }
    }

    /// Adds the problems and texts of another file.
    pub(crate) fn extend(&mut self, other: Self) {
        let room = SHOWN.saturating_sub(self.list.len());
        self.more += other.more + other.list.len().saturating_sub(room);
        self.list.extend(other.list.into_iter().take(room));
        if room > 0 {
            self.sources.extend(other.sources);
        }
    }

    /// Reads the texts that are still missing. A file that cannot be read stays missing: its
    /// problems are then shown without their lines.
    #[must_use]
    pub fn with_sources(mut self, loader: &dyn Loader) -> Self {
        let places = self.list.iter().flat_map(|p| p.place.iter().chain(&p.related));
        let mut missing: Vec<String> = places.map(|p| p.file.clone()).collect();
        missing.sort_unstable();
        missing.dedup();
        for file in missing {
            if self.sources.contains_key(&file) {
                continue;
            }
            if let Ok(bytes) = loader.read(&file) {
                self.sources.insert(file, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        self
    }

    /// The line and the column of a place, both from 1, the column in characters; `None` when
    /// the text of its file is not known.
    #[must_use]
    pub fn position(&self, place: &Place) -> Option<(usize, usize)> {
        let line = Line::of(self.sources.get(&place.file)?, place.span);
        Some((line.number, line.column))
    }

    /// All problems as plain text, as compilers print them. Characters that a terminal would act
    /// on are escaped or left out.
    #[must_use]
    pub fn render_plain(&self) -> String {
        let mut out = String::new();
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                out.push('\n');
            }
            let message = printable(&problem.message);
            if let Some(place) = &problem.place {
                self.render_place(&mut out, "", place, &message, &place.label);
            } else {
                out.extend([&message, "\n"]);
            }
            for place in &problem.related {
                self.render_place(&mut out, "  ", place, &printable(&place.label), "");
            }
            if let Some(help) = &problem.help {
                out.extend(["  help: ", &printable(help), "\n"]);
            }
        }
        if self.more > 0 {
            let _infallible = writeln!(out, "\nand {} more", self.more);
        }
        out
    }

    fn render_place(&self, out: &mut String, indent: &str, at: &Place, head: &str, label: &str) {
        let Some(text) = self.sources.get(&at.file) else {
            out.extend([indent, &printable(&at.file), ": ", head, "\n"]);
            return;
        };
        let line = Line::of(text, at.span);
        let (file, number, column) = (printable(&at.file), line.number, line.column);
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{indent}{file}:{number}:{column}: {head}");
        if line.shown.trim().is_empty() {
            return;
        }
        let _infallible = writeln!(out, "{indent}  {}", line.shown);
        let (space, marks) = (" ".repeat(line.before), "^".repeat(line.marked));
        let label = if label.is_empty() { String::new() } else { format!(" {}", printable(label)) };
        let _infallible = writeln!(out, "{indent}  {space}{marks}{label}");
    }
}

/// The text without characters that a terminal would act on.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.into() };
    text.chars().map(escape).collect::<String>().into()
}

/// The line of a text in which a place begins, ready to be shown.
struct Line {
    number: usize,
    column: usize,
    shown: String,
    /// Characters of `shown` before the marked ones.
    before: usize,
    marked: usize,
}

impl Line {
    fn of(text: &str, span: Span) -> Self {
        // A span can come from an older version of the file, so nothing about it is certain.
        let boundary = |at: u32| {
            let at = (at as usize).min(text.len());
            (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
        };
        let (start, end) = (boundary(span.start), boundary(span.end.max(span.start)));
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let stop = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let number = text[..begin].bytes().filter(|b| *b == b'\n').count() + 1;
        let before = text[begin..start].chars().count();
        let marked = text[start..end.clamp(start, stop)].chars().count().max(1);

        let line = text[begin..stop].trim_end_matches('\r');
        let skipped =
            if line.chars().count() > WIDTH { before.saturating_sub(WIDTH / 3) } else { 0 };
        let printable = |c: char| if c.is_control() || c == '\u{feff}' { ' ' } else { c };
        let mut shown: String = line.chars().skip(skipped).take(WIDTH).map(printable).collect();
        shown.truncate(shown.trim_end().len());
        Self {
            number,
            column: before + 1,
            marked: marked.min(WIDTH.saturating_sub(before - skipped)).max(1),
            before: before - skipped,
            shown,
        }
    }
}

/// The name among `known` that is nearest to what was written, if one is near: what was probably
/// meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    // Every name is near to one of a single letter.
    if !(2..=100).contains(&length) {
        return None;
    }
    let bound = (length / 3).max(1);
    let mut best = None;
    for name in known {
        if name.len().abs_diff(written.len()) > 4 * bound {
            continue;
        }
        let distance = strsim::damerau_levenshtein(written, name);
        if distance <= bound && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn enumerate<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: std::ops::Range<usize>) -> String {
        let problem = Problem::new("wrong\u{1b}[2J").at("a.toml", span.into(), "here");
        let sources = [("a.toml".to_owned(), text.to_owned())].into();
        Problems { list: vec![problem], more: 0, sources }.render_plain()
    }

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        let text = "a = 1\t\u{1b}[31m\n";
        assert_eq!(shown(text, 4..5), "a.toml:1:5: wrong\\u{1b}[2J\n  a = 1  [31m\n      ^ here\n");
    }

    #[test]
    fn spans_of_another_version_of_the_file() {
        for span in [0..0, 3..3, 4..90, 100..200] {
            assert!(shown("é\né", span.clone()).starts_with("a.toml:"), "{span:?}");
        }
        assert!(shown("", 0..9).starts_with("a.toml:1:1: "));
        assert!(shown("x = 1\ny = 2\n", 6..100).ends_with("  y = 2\n  ^^^^^ here\n"));
    }

    #[test]
    fn without_the_text_the_file_is_named() {
        let problem = Problem::new("wrong").at("a.toml", Span::default(), "here").help("try");
        let problems = Problems { list: vec![problem], ..Problems::default() };
        assert_eq!(problems.render_plain(), "a.toml: wrong\n  help: try\n");
    }

    #[test]
    fn near_names() {
        let known = ["depends", "description", "base"];
        assert_eq!(nearest("dependss", known), Some("depends"));
        assert_eq!(nearest("bsae", known), Some("base"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("something", known), None);
        assert_eq!(nearest(&"d".repeat(1 << 20), known), None);
    }
}
