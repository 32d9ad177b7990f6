//! The lines of a Dockerfile as its author means them: continued lines joined, comments left out,
//! directives read, heredocs taken along. Knows nothing of instructions.

use std::ops::Range;

use ashlar_recipe::written::Span;

use crate::report::Mistake;
use crate::words;

/// One instruction's text in one line, and where each part of it stands in the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Without spaces before and after it.
    pub text: String,
    /// Where pieces begin: in `text`, and in the file.
    pieces: Vec<(usize, usize)>,
    /// Of the file: from the first character to the last one before any heredoc.
    pub span: Range<usize>,
    /// The number of the first line, from 1.
    pub number: usize,
    /// The number of the last line.
    pub last: usize,
    /// An empty line in the middle of it.
    pub blank: Option<Range<usize>>,
    /// Where everything stands, when the text is not from the file.
    elsewhere: Option<Span>,
}

impl Line {
    /// Where a part of the text stands in the file.
    pub fn place(&self, range: Range<usize>) -> Span {
        if let Some(span) = self.elsewhere {
            return span;
        }
        let at = |offset: usize| {
            let piece = self.pieces.partition_point(|(start, _)| *start <= offset).max(1) - 1;
            self.pieces.get(piece).map_or(self.span.start, |(start, file)| file + (offset - start))
        };
        let start = at(range.start);
        // The end is where its last character ends, not where the next piece begins.
        let end = if range.end > range.start { at(range.end - 1) + 1 } else { start };
        (start..end.max(start)).into()
    }

    /// Where the whole of it stands.
    pub fn whole(&self) -> Span {
        self.elsewhere.unwrap_or_else(|| self.span.clone().into())
    }
}

/// A document in the file: `<<NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub name: String,
    /// Whether variables in it are expanded by `COPY`: the name was not quoted.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines are left out.
    pub chomp: bool,
    /// Its lines as they are in the file.
    pub raw: String,
}

impl Heredoc {
    /// What it holds.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.raw.clone();
        }
        self.raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A directive: `# escape=…`.
#[derive(Clone, Debug)]
pub(crate) struct Directive {
    pub name: String,
    pub value: String,
    pub span: Span,
}

/// Goes through a text line by line.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    number: usize,
    /// `\` or `` ` ``.
    pub escape: char,
    elsewhere: Option<Span>,
}

/// A line of the file, without its end.
struct Physical<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, number: 0, escape: '\\', elsewhere: None }
    }

    /// Goes through a text that is not from the file; everything in it stands at `span`.
    pub fn of_trigger(text: &'a str, escape: char, span: Span) -> Self {
        Self { escape, elsewhere: Some(span), ..Self::new(text) }
    }

    /// The next line of the file, its end included.
    fn next(&mut self) -> Option<Physical<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = Physical { text: &rest[..length], start: self.at };
        self.at += length;
        self.number += 1;
        Some(line)
    }

    /// Reads the directives that the text begins with. The first line that is none ends them.
    pub fn directives(&mut self) -> Result<Vec<Directive>, Mistake> {
        let mut found: Vec<Directive> = Vec::new();
        loop {
            let (at, number) = (self.at, self.number);
            let directive = self.next().and_then(|line| directive(&line));
            let Some(directive) = directive else {
                (self.at, self.number) = (at, number);
                return Ok(found);
            };
            if let Some(first) = found.iter().find(|d| d.name == directive.name) {
                let message = format!("the directive `{}` is given twice", directive.name);
                return Err(Mistake::new(directive.span, message)
                    .and(first.span, "the first one is here")
                    .help("leave one of them out"));
            }
            if directive.name == "escape" {
                self.escape = match directive.value.as_str() {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        let message = format!("`{other}` cannot be the escape character");
                        return Err(Mistake::new(directive.span, message)
                            .help("write `# escape=\\` or `# escape=` with a backtick"));
                    }
                };
            }
            found.push(directive);
        }
    }

    /// The next instruction, in one line.
    pub fn line(&mut self) -> Option<Line> {
        loop {
            let first = self.next()?;
            let trimmed = first.text.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let start = first.start + (first.text.len() - trimmed.len());
            let number = self.number;
            let (part, mut continued) = self.piece(trimmed.trim_end_matches(['\r', '\n']));
            let mut line = Line {
                text: part.to_owned(),
                pieces: vec![(0, start)],
                span: start..start + part.trim_end().len(),
                number,
                last: number,
                blank: None,
                elsewhere: self.elsewhere,
            };
            while continued {
                let Some(next) = self.next() else { break };
                let content = next.text.trim_end_matches(['\r', '\n']);
                let trimmed = content.trim_start();
                if trimmed.starts_with('#') {
                    continue;
                }
                if trimmed.is_empty() {
                    line.blank = Some(next.start..next.start + content.len());
                    continue;
                }
                let part;
                (part, continued) = self.piece(content);
                line.pieces.push((line.text.len(), next.start));
                line.text.push_str(part);
                line.span.end = next.start + part.trim_end().len();
                line.last = self.number;
            }
            let length = line.text.trim_end().len();
            line.text.truncate(length);
            if !line.text.is_empty() {
                return Some(line);
            }
        }
    }

    /// A line without the escape character at its end; whether it had one, so that it goes on. Two
    /// of them are one that is meant.
    fn piece<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }

    /// The documents that a line announces, from the lines after it.
    pub fn heredocs(&mut self, line: &mut Line, rest: usize) -> Result<Vec<Heredoc>, Mistake> {
        let mut all = Vec::new();
        for (range, name, expand, chomp) in heredoc_names(&line.text, rest) {
            let mut raw = String::new();
            loop {
                let Some(next) = self.next() else {
                    let place = line.place(range);
                    let dash = if chomp { " (tabs before it are fine)" } else { "" };
                    return Err(Mistake::new(place, format!("the heredoc `{name}` does not end"))
                        .label("begins here")
                        .help(format!("write a line that is just `{name}`{dash}")));
                };
                let end = next.text.trim_end_matches(['\r', '\n']);
                if (if chomp { end.trim_start_matches('\t') } else { end }) == name {
                    break;
                }
                raw.push_str(next.text);
            }
            line.last = self.number;
            all.push(Heredoc { name, expand, chomp, raw });
        }
        Ok(all)
    }
}

/// `# NAME=VALUE` with one of the names that mean something.
fn directive(line: &Physical<'_>) -> Option<Directive> {
    let comment = line.text.strip_prefix('#')?;
    let (name, value) = comment.split_once('=')?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
    if !matches!(name.as_str(), "syntax" | "escape" | "check") || value.is_empty() {
        return None;
    }
    let span = (line.start..line.start + line.text.trim_end().len()).into();
    Some(Directive { name, value, span })
}

/// What a line announces: where, the name, whether it is expanded, whether tabs are left out.
fn heredoc_names(text: &str, rest: usize) -> Vec<(Range<usize>, String, bool, bool)> {
    let mut found = Vec::new();
    for range in words::shell_words(text, rest) {
        let word = &text[range.clone()];
        let Some(after) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")
        else {
            continue;
        };
        let (chomp, name) = after.strip_prefix('-').map_or((false, after), |name| (true, name));
        let name = name.trim_start();
        if name.is_empty() || name.contains('<') {
            continue;
        }
        let (unquoted, quoted) = words::unquote(name);
        if !unquoted.is_empty() {
            found.push((range, unquoted, !quoted, chomp));
        }
    }
    found
}

/// Whether a word announces a document, and which one.
pub(crate) fn heredoc_name(word: &str) -> Option<String> {
    let mut names = heredoc_names(word, 0);
    match (names.pop(), names.is_empty()) {
        (Some((range, name, ..)), true) if range == (0..word.len()) => Some(name),
        _ => None,
    }
}
