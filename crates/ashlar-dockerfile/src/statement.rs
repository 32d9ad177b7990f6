//! One instruction from its line: keyword and flags, then what parse-dockerfile makes of the rest.

use ashlar_recipe::nearest;
use ashlar_recipe::written::Span;
use parse_dockerfile as pd;

use crate::lines::{Line, Reader};
use crate::report::Mistake;
use crate::words;
use crate::written::{Body, Command, Flag, Keyword, Pairs, Source, Statement, Word};

/// Reads the instruction of a line, with the documents that follow it. The documents are read even
/// where something else is wrong, so that their lines are not taken for instructions.
pub(crate) fn read(reader: &mut Reader<'_>, line: Line) -> Result<Statement, Mistake> {
    read_from(reader, line, 0, false)
}

fn read_from(
    reader: &mut Reader<'_>,
    mut line: Line,
    from: usize,
    trigger: bool,
) -> Result<Statement, Mistake> {
    let end = line.text[from..].find(words::is_space).map_or(line.text.len(), |at| from + at);
    let word = &line.text[from..end];
    let written = Word { text: word.to_owned(), span: line.place(from..end) };
    let Some(keyword) = Keyword::of(word) else {
        return Err(unknown(&written));
    };
    if trigger && matches!(keyword, Keyword::From | Keyword::Maintainer | Keyword::OnBuild) {
        let message = format!("`{}` cannot follow `ONBUILD`", keyword.name());
        return Err(Mistake::new(written.span, message)
            .help("ONBUILD takes an instruction that changes files or the configuration"));
    }
    let (flags, rest) = words::flags(&line.text, end, reader.escape);
    let heredocs = if keyword.takes_heredocs() && exec_form(&line, rest).is_none() {
        reader.heredocs(&mut line, rest)?
    } else {
        Vec::new()
    };
    let flags = check_flags(keyword, flags, &line)?;
    if keyword == Keyword::OnBuild {
        if rest >= line.text.len() {
            return Err(Mistake::new(written.span, "`ONBUILD` needs an instruction")
                .help("for example `ONBUILD RUN make`"));
        }
        let (text, span) = (line.text.clone(), line.whole());
        let number = line.number;
        let inner = read_from(reader, line, rest, true)?;
        let last_line = inner.last_line;
        let body = Body::OnBuild(Box::new(inner));
        return Ok(Statement {
            keyword,
            written,
            flags,
            body,
            heredocs,
            text,
            span,
            line: number,
            last_line,
        });
    }
    let body = Parts { keyword, written: &written, line: &line, rest, escape: reader.escape }
        .body(&heredocs.iter().map(|heredoc| heredoc.name.as_str()).collect::<Vec<_>>())?;
    let (span, number, last_line) = (line.whole(), line.number, line.last);
    let text = line.text[from..].to_owned();
    Ok(Statement { keyword, written, flags, body, heredocs, text, span, line: number, last_line })
}

fn unknown(written: &Word) -> Mistake {
    let shown: String = written.text.chars().take(40).collect();
    let mistake = Mistake::new(written.span, format!("`{shown}` is no instruction"));
    let upper = shown.to_ascii_uppercase();
    match nearest(&upper, Keyword::ALL.map(Keyword::name)) {
        Some(name) => mistake.help(format!("did you mean `{name}`?")),
        None if shown.starts_with("<<") => mistake.help("a heredoc follows an instruction"),
        None => mistake.help(
            "an instruction begins with a word such as RUN or COPY; a line that continues the \
             one before needs the escape character at the end of that one",
        ),
    }
}

fn check_flags(
    keyword: Keyword,
    flags: Vec<words::FlagText>,
    line: &Line,
) -> Result<Vec<Flag>, Mistake> {
    let mut checked: Vec<Flag> = Vec::new();
    for words::FlagText { name, value, range } in flags {
        let span = line.place(range);
        let known = keyword.flags();
        if !known.contains(&name.as_str()) {
            return Err(unknown_flag(keyword, &name, span));
        }
        let boolean = matches!(name.as_str(), "link" | "parents" | "keep-git-dir" | "unpack");
        let wrong = match value.as_deref() {
            None if boolean => false,
            None | Some("") => {
                return Err(Mistake::new(span, format!("`--{name}` needs a value"))
                    .help(format!("write `--{name}=…`")));
            }
            Some(value) => boolean && !matches!(value, "true" | "false"),
        };
        if wrong {
            return Err(Mistake::new(span, format!("`--{name}` is either true or false")));
        }
        let repeatable = matches!(name.as_str(), "mount" | "exclude");
        if !repeatable && let Some(first) = checked.iter().find(|flag| flag.name == name) {
            return Err(Mistake::new(span, format!("`--{name}` is given twice"))
                .and(first.span, "the first one is here")
                .help("leave one of them out"));
        }
        checked.push(Flag { name, value, span });
    }
    Ok(checked)
}

fn unknown_flag(keyword: Keyword, name: &str, span: Span) -> Mistake {
    let shown: String = name.chars().take(40).collect();
    let mistake = Mistake::new(span, format!("`{}` has no flag `--{shown}`", keyword.name()));
    let known = keyword.flags();
    if let Some(name) = nearest(&shown, known.iter().copied()) {
        return mistake.help(format!("did you mean `--{name}`?"));
    }
    match (keyword, shown.as_str()) {
        (Keyword::Add, "from" | "parents") => mistake.help("that is a flag of COPY"),
        (Keyword::Copy, "unpack" | "checksum" | "keep-git-dir") => {
            mistake.help("that is a flag of ADD")
        }
        (Keyword::Run, "device") => mistake.help("devices of the machine cannot be used"),
        (Keyword::Cmd | Keyword::Entrypoint, _) => {
            mistake.help("a command that begins with `--` needs the exec form: `[\"…\"]`")
        }
        _ if known.is_empty() => mistake.help("this instruction has no flags"),
        _ => {
            let known: Vec<String> = known.iter().map(|name| format!("--{name}")).collect();
            mistake.help(format!("its flags are {}", known.join(", ")))
        }
    }
}

/// What parse-dockerfile makes of a keyword and what follows it. It gets one line, in which nothing
/// is continued, after a `FROM` that it asks for; places come back as ranges of `text`.
fn ask<T>(
    keyword: Keyword,
    rest: &str,
    read: impl FnOnce(&pd::Instruction<'_>, &dyn Fn(&pd::Span) -> std::ops::Range<usize>) -> T,
) -> Result<T, String> {
    const BEFORE: &str = "FROM scratch\n";
    let text = format!("{BEFORE}{} {rest}", keyword.name());
    let start = text.len() - rest.len();
    let shift = |span: &pd::Span| {
        span.start.saturating_sub(start)..span.end.saturating_sub(start).max(span.start - start)
    };
    let mut parsed = pd::parse_iter(&text).map_err(|error| format!("{error:#}"))?;
    match (parsed.next(), parsed.next()) {
        (Some(Ok(_)), Some(Ok(instruction))) => Ok(read(&instruction, &shift)),
        (_, Some(Err(error))) | (Some(Err(error)), _) => Err(format!("{error:#}")),
        _ => Err("nothing follows".to_owned()),
    }
}

/// The words of the exec form, if what follows the flags is one.
fn exec_form(line: &Line, rest: usize) -> Option<Vec<Word>> {
    let text = &line.text[rest..];
    if !text.starts_with('[') {
        return None;
    }
    let command = |arguments: &pd::Command<'_>, shift: &dyn Fn(&pd::Span) -> _| match arguments {
        pd::Command::Exec(array) => {
            let word = |word: &pd::UnescapedString<'_>| {
                let range: std::ops::Range<usize> = shift(&word.span);
                let span = line.place(rest + range.start..rest + range.end);
                Word { text: word.value.clone().into_owned(), span }
            };
            Some(array.value.iter().map(word).collect())
        }
        _ => None,
    };
    ask(Keyword::Cmd, text, |instruction, shift| match instruction {
        pd::Instruction::Cmd(cmd) => command(&cmd.arguments, shift),
        _ => None,
    })
    .ok()
    .flatten()
}

/// An instruction whose keyword and flags have been read.
struct Parts<'a> {
    keyword: Keyword,
    written: &'a Word,
    line: &'a Line,
    /// Where in the line the rest begins.
    rest: usize,
    escape: char,
}

impl Parts<'_> {
    fn rest(&self) -> &str {
        &self.line.text[self.rest..]
    }

    fn word(&self, range: std::ops::Range<usize>) -> Word {
        Word { text: self.line.text[range.clone()].to_owned(), span: self.line.place(range) }
    }

    fn all(&self) -> Word {
        self.word(self.rest..self.line.text.len())
    }

    fn needs(&self, what: &str, example: &str) -> Mistake {
        Mistake::new(self.written.span, format!("`{}` needs {what}", self.keyword.name()))
            .help(format!("for example `{} {example}`", self.keyword.name()))
    }

    fn body(&self, heredocs: &[&str]) -> Result<Body, Mistake> {
        let empty = self.rest().is_empty();
        match self.keyword {
            Keyword::From => self.from(),
            Keyword::Arg => self.arg(),
            Keyword::Env => self.pairs("VERSION=1.2").map(Body::Env),
            Keyword::Label => self.pairs("version=1.2").map(Body::Label),
            Keyword::Add | Keyword::Copy => self.copy(heredocs),
            Keyword::Run => self.command("make").map(Body::Run),
            Keyword::Cmd => self.command("[\"program\"]").map(Body::Cmd),
            Keyword::Entrypoint => self.command("[\"program\"]").map(Body::Entrypoint),
            Keyword::Workdir if empty => Err(self.needs("a folder", "/src")),
            Keyword::Workdir => Ok(Body::Workdir(self.all())),
            Keyword::User if empty => Err(self.needs("a user", "nobody")),
            Keyword::User => self.one("user").map(Body::User),
            Keyword::Maintainer if empty => Err(self.needs("a name", "Ada")),
            Keyword::Maintainer => Ok(Body::Maintainer(self.all())),
            Keyword::StopSignal if empty => Err(self.needs("a signal", "SIGTERM")),
            Keyword::StopSignal => self.one("signal").map(Body::StopSignal),
            Keyword::Expose if empty => Err(self.needs("a port", "80/tcp")),
            Keyword::Expose => Ok(Body::Expose(self.plain())),
            Keyword::Volume if empty => Err(self.needs("a folder", "/data")),
            Keyword::Volume => {
                Ok(Body::Volume(exec_form(self.line, self.rest).unwrap_or_else(|| self.plain())))
            }
            Keyword::Shell => self.shell(),
            Keyword::Healthcheck => self.healthcheck(),
            // Read where its inner instruction is.
            Keyword::OnBuild => Err(self.needs("an instruction", "RUN make")),
        }
    }

    /// The words of the rest, which may have quotes.
    fn quoted(&self) -> Result<Vec<std::ops::Range<usize>>, Mistake> {
        let (ranges, open) = words::quoted_words(&self.line.text, self.rest, self.escape);
        let Some(open) = open else { return Ok(ranges) };
        Err(Mistake::new(self.line.place(open..open + 1), "this quote does not end")
            .help(format!("close it, or put `{}` before it if it is meant as it is", self.escape)))
    }

    fn plain(&self) -> Vec<Word> {
        let ranges = words::plain_words(&self.line.text, self.rest);
        ranges.into_iter().map(|range| self.word(range)).collect()
    }

    fn one(&self, what: &str) -> Result<Word, Mistake> {
        let ranges = self.quoted()?;
        match ranges.get(1) {
            Some(second) => {
                let message = format!("`{}` takes one {what}", self.keyword.name());
                Err(Mistake::new(self.line.place(second.clone()), message)
                    .help("leave out what follows it; a comment needs a line of its own"))
            }
            None => Ok(self.all()),
        }
    }

    fn from(&self) -> Result<Body, Mistake> {
        let words = self.plain();
        match words.as_slice() {
            [] => return Err(self.needs("an image", "debian:12 AS build")),
            [_] => {}
            [_, second, ..] if !second.text.eq_ignore_ascii_case("as") => {
                return Err(Mistake::new(second.span, "only `AS NAME` can follow the image")
                    .help("a comment needs a line of its own"));
            }
            [_, second] => {
                return Err(
                    Mistake::new(second.span, "`AS` needs a name").help("for example `AS build`")
                );
            }
            [_, _, _] => {}
            [_, _, _, more, ..] => {
                return Err(Mistake::new(more.span, "nothing can follow the name of a stage")
                    .help("a comment needs a line of its own"));
            }
        }
        let place = |range: std::ops::Range<usize>| {
            self.word(self.rest + range.start..self.rest + range.end)
        };
        let parsed = ask(Keyword::From, self.rest(), |instruction, shift| match instruction {
            pd::Instruction::From(from) => {
                let name = from
                    .as_
                    .as_ref()
                    .map(|(keyword, name)| (place(shift(&keyword.span)), place(shift(&name.span))));
                Some(Body::From { image: place(shift(&from.image.span)), name })
            }
            _ => None,
        });
        self.parsed(parsed)
    }

    /// What the parser says, at the place of the instruction.
    fn parsed<T>(&self, parsed: Result<Option<T>, String>) -> Result<T, Mistake> {
        let other = || "this is no instruction of its kind".to_owned();
        parsed.and_then(|body| body.ok_or_else(other)).map_err(|error| {
            let message = format!("`{}` cannot be read: {error}", self.keyword.name());
            Mistake::new(self.line.whole(), message)
        })
    }

    fn arg(&self) -> Result<Body, Mistake> {
        let ranges = self.quoted()?;
        if ranges.is_empty() {
            return Err(self.needs("a name", "VERSION=1.2"));
        }
        let mut all = Vec::new();
        for range in ranges {
            let equals = self.line.text[range.clone()].find('=').map(|at| range.start + at);
            let name = self.word(range.start..equals.unwrap_or(range.end));
            check_name(&name)?;
            all.push((name, equals.map(|at| self.word(at + 1..range.end))));
        }
        Ok(Body::Arg(all))
    }

    fn pairs(&self, example: &str) -> Result<Pairs, Mistake> {
        let text = &self.line.text;
        let ranges = self.quoted()?;
        let Some(first) = ranges.first().cloned() else {
            return Err(self.needs("a name and a value", example));
        };
        if !text[first.clone()].contains('=') {
            // The old form: the first space separates the name from all that follows.
            let end = words::plain_words(text, self.rest).first().map_or(first.end, |w| w.end);
            let value = end + (text[end..].len() - text[end..].trim_start().len());
            if value >= text.len() {
                let name = self.word(first.start..end);
                let message = format!("`{}` has no value", name.text);
                return Err(Mistake::new(name.span, message)
                    .help(format!("for example `{} {example}`", self.keyword.name())));
            }
            let pairs = vec![(self.word(first.start..end), self.word(value..text.len()))];
            return Ok(Pairs { pairs, legacy: true });
        }
        let mut pairs = Vec::new();
        for range in ranges {
            let Some(at) = text[range.clone()].find('=').map(|at| range.start + at) else {
                let word = self.word(range);
                let message = format!("`{}` has no `=`", word.text);
                return Err(Mistake::new(word.span, message)
                    .help("write NAME=VALUE, with quotes around a value that has spaces"));
            };
            let name = self.word(range.start..at);
            if name.text.is_empty() {
                return Err(Mistake::new(self.line.place(range), "there is no name before `=`"));
            }
            pairs.push((name, self.word(at + 1..range.end)));
        }
        Ok(Pairs { pairs, legacy: false })
    }

    fn command(&self, example: &str) -> Result<Command, Mistake> {
        if self.rest().is_empty() {
            return Err(self.needs("a command", example));
        }
        if let Some(words) = exec_form(self.line, self.rest) {
            if words.is_empty() && self.keyword == Keyword::Run {
                return Err(self.needs("a command", example));
            }
            return Ok(Command::Exec(words.into_iter().map(|word| word.text).collect()));
        }
        Ok(Command::Shell(self.all()))
    }

    fn shell(&self) -> Result<Body, Mistake> {
        let words = exec_form(self.line, self.rest);
        match words {
            Some(words) if !words.is_empty() => {
                Ok(Body::Shell(words.into_iter().map(|word| word.text).collect()))
            }
            _ => Err(Mistake::new(self.line.whole(), "`SHELL` needs a list of words in quotes")
                .help("for example `SHELL [\"/bin/bash\", \"-c\"]`, with double quotes")),
        }
    }

    fn healthcheck(&self) -> Result<Body, Mistake> {
        let words = words::plain_words(&self.line.text, self.rest);
        let example = "CMD curl -f http://localhost/";
        let Some(kind) = words.first().cloned() else {
            return Err(self.needs("`CMD` and a command, or `NONE`", example));
        };
        let kind = self.word(kind);
        if kind.text.eq_ignore_ascii_case("none") {
            return match words.get(1) {
                Some(more) => {
                    let place = self.line.place(more.clone());
                    Err(Mistake::new(place, "nothing can follow `HEALTHCHECK NONE`"))
                }
                None => Ok(Body::Healthcheck(None)),
            };
        }
        if !kind.text.eq_ignore_ascii_case("cmd") {
            let message = format!("`HEALTHCHECK {}` is not known", kind.text);
            return Err(Mistake::new(kind.span, message).help("it is either `CMD` or `NONE`"));
        }
        let Some(rest) = words.get(1).map(|word| word.start) else {
            return Err(self.needs("a command after `CMD`", example));
        };
        let command = Parts { rest, ..*self }.command(example)?;
        match command {
            Command::Exec(words) if words.is_empty() => {
                Err(self.needs("a command after `CMD`", example))
            }
            command => Ok(Body::Healthcheck(Some(command))),
        }
    }

    fn copy(&self, heredocs: &[&str]) -> Result<Body, Mistake> {
        let name = self.keyword.name();
        let words = match exec_form(self.line, self.rest) {
            Some(words) => words,
            // As heredocs are told from paths, spaces after `<<` belong to a word.
            None if heredocs.is_empty() => self.plain(),
            None => words::shell_words(&self.line.text, self.rest)
                .into_iter()
                .map(|range| self.word(range))
                .collect(),
        };
        let Some((destination, sources)) = words.split_last().filter(|(_, s)| !s.is_empty()) else {
            return Err(self.needs("sources and a destination", "src/ /src/"));
        };
        let mut left = heredocs.iter().enumerate();
        let mut all = Vec::new();
        for word in sources {
            let heredoc = crate::lines::heredoc_name(&word.text);
            match heredoc.filter(|_| !heredocs.is_empty()).and_then(|_| left.next()) {
                Some((index, _)) => all.push(Source::Heredoc(index)),
                None => all.push(Source::Path(word.clone())),
            }
        }
        if left.next().is_some() {
            return Err(Mistake::new(
                destination.span,
                format!("the destination of `{name}` cannot be a heredoc"),
            )
            .help("write the name of the file last"));
        }
        Ok(Body::Copy { sources: all, destination: destination.clone() })
    }
}

/// Refuses names of arguments that no expansion could name.
fn check_name(name: &Word) -> Result<(), Mistake> {
    if name.text.is_empty() {
        return Err(Mistake::new(name.span, "there is no name before `=`"));
    }
    let valid = |c: char| c.is_alphanumeric() || c == '_';
    if name.text.starts_with(|c: char| c.is_ascii_digit()) || !name.text.chars().all(valid) {
        return Err(Mistake::new(
            name.span,
            format!("`{}` cannot be the name of an argument", name.text),
        )
        .help("names have letters, digits and `_`, and do not begin with a digit"));
    }
    Ok(())
}
