//! What can be said about a file as a whole before any argument is known.

use std::collections::BTreeMap;

use crate::parse::WrittenStage;
use crate::report::{Mistake, Report};
use crate::written::{Body, Command, Keyword, Statement};
use crate::{Rule, mount, reference};

/// Words in names of variables that hold secrets, and words that say that one does not.
const SECRET: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
const NO_SECRET: &[&str] = &["public", "file", "version", "path", "url", "keyring", "id"];

pub(crate) fn check(globals: &[Statement], stages: &[WrittenStage], report: &mut Report<'_>) {
    names(stages, report);
    casing(globals, stages, report);
    for statement in globals {
        secrets(statement, report);
    }
    for (number, stage) in stages.iter().enumerate() {
        if let Body::From { image, .. } = &stage.from.body
            && !image.text.contains(['$', '\\', '"', '\''])
        {
            report.take(reference::base(&image.text, image.span, number, stages));
        }
        let mut last: BTreeMap<&'static str, &Statement> = BTreeMap::new();
        for outer in &stage.statements {
            let statement = match &outer.body {
                Body::OnBuild(inner) => inner,
                _ => outer,
            };
            one(statement, report);
            let result = reference::check(statement, number, stages);
            // Triggers run in another file, whose stages are not known here.
            if outer.keyword != Keyword::OnBuild {
                report.take(result);
            }
            let once =
                matches!(outer.keyword, Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck);
            if let Some(before) = last.insert(outer.keyword.name(), outer).filter(|_| once) {
                let name = outer.keyword.name();
                let message = format!("`{name}` is overridden by a later one");
                let mistake = Mistake::new(before.span, message)
                    .and(outer.span, "this one counts")
                    .help("remove the first one");
                report.warn(Rule::MultipleInstructionsDisallowed, mistake);
            }
        }
    }
}

/// Stage names: valid, unique, not confusing.
fn names(stages: &[WrittenStage], report: &mut Report<'_>) {
    let mut known: BTreeMap<String, &crate::written::Word> = BTreeMap::new();
    for stage in stages {
        let Body::From { name: Some((keyword, word)), .. } = &stage.from.body else { continue };
        let lower = word.text.to_lowercase();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if !lower.starts_with(|c: char| c.is_ascii_lowercase()) || !lower.chars().all(valid) {
            let message = format!("`{}` cannot be the name of a stage", word.text);
            report.refuse(
                Mistake::new(word.span, message)
                    .help("names begin with a letter and have letters, digits, `-`, `_` and `.`"),
            );
            continue;
        }
        if lower == "scratch" || lower == "context" {
            let message = format!("a stage called `{lower}` hides what that name means elsewhere");
            let mistake = Mistake::new(word.span, message).help("choose another name");
            report.warn(Rule::ReservedStageName, mistake);
        }
        if lower != word.text {
            let message = format!("the name of the stage `{}` has upper-case letters", word.text);
            let mistake = Mistake::new(word.span, message)
                .help(format!("names are the same in any case; write `{lower}`"));
            report.warn(Rule::StageNameCasing, mistake);
        }
        let from = &stage.from.written.text;
        let upper = from.chars().all(|c| c.is_ascii_uppercase());
        let lower_case = from.chars().all(|c| c.is_ascii_lowercase());
        let fits = if upper { keyword.text == "AS" } else { keyword.text == "as" };
        if (upper || lower_case) && !fits {
            let message = format!("`{}` and `{from}` have different cases", keyword.text);
            let mistake = Mistake::new(keyword.span, message)
                .help(format!("write `{}`", if upper { "AS" } else { "as" }));
            report.warn(Rule::FromAsCasing, mistake);
        }
        if let Some(first) = known.insert(lower.clone(), word) {
            report.refuse(
                Mistake::new(word.span, format!("two stages are called `{lower}`"))
                    .and(first.span, "the first one is here")
                    .help("give one of them another name"),
            );
        }
    }
}

/// Keywords in the case that most of the file has.
fn casing(globals: &[Statement], stages: &[WrittenStage], report: &mut Report<'_>) {
    let all = || {
        let stages = stages.iter().flat_map(|s| std::iter::once(&s.from).chain(&s.statements));
        globals.iter().chain(stages)
    };
    let is_lower = |s: &Statement| s.written.text.chars().all(|c| c.is_ascii_lowercase());
    let is_upper = |s: &Statement| s.written.text.chars().all(|c| c.is_ascii_uppercase());
    let lower = all().filter(|s| is_lower(s)).count();
    let upper = all().filter(|s| is_upper(s)).count();
    let wants_lower = lower > upper;
    for statement in all() {
        let fits = if wants_lower { is_lower(statement) } else { is_upper(statement) };
        if !fits {
            let name = statement.keyword.name();
            let wanted = if wants_lower { name.to_ascii_lowercase() } else { name.to_owned() };
            let message = format!(
                "`{}` is written in another case than most of the file",
                statement.written.text
            );
            let mistake =
                Mistake::new(statement.written.span, message).help(format!("write `{wanted}`"));
            report.warn(Rule::ConsistentInstructionCasing, mistake);
        }
    }
}

/// One instruction by itself.
fn one(statement: &Statement, report: &mut Report<'_>) {
    secrets(statement, report);
    match &statement.body {
        Body::Env(pairs) | Body::Label(pairs) if pairs.legacy => {
            let name = statement.keyword.name();
            let mistake =
                Mistake::new(statement.span, format!("`{name} NAME VALUE` is an old form"))
                    .help(format!("write `{name} NAME=VALUE`"));
            report.warn(Rule::LegacyKeyValueFormat, mistake);
        }
        Body::Maintainer(_) => {
            let mistake = Mistake::new(statement.span, "`MAINTAINER` is deprecated")
                .help("write `LABEL org.opencontainers.image.authors=…`");
            report.warn(Rule::MaintainerDeprecated, mistake);
        }
        Body::Cmd(command) | Body::Entrypoint(command) => shell_form(command, report),
        Body::Run(command) => {
            shell_form(command, report);
            run_flags(statement, report);
        }
        Body::Healthcheck(None) => {
            if let Some(flag) = statement.flags.first() {
                let message = "`HEALTHCHECK NONE` has no flags";
                report.refuse(Mistake::new(flag.span, message));
            }
        }
        _ => {}
    }
}

/// A shell form that was meant to be an exec form.
fn shell_form(command: &Command, report: &mut Report<'_>) {
    let Command::Shell(word) = command else { return };
    let text = word.text.trim();
    if text.starts_with('[') && !text.starts_with("[[") && text.ends_with(']') && text.contains('"')
    {
        let message = "this looks like the exec form, and is run by the shell";
        let mistake = Mistake::new(word.span, message)
            .help("the exec form is a list of words in double quotes: `[\"a\", \"b\"]`");
        report.warn(Rule::InvalidExecForm, mistake);
    }
}

fn run_flags(statement: &Statement, report: &mut Report<'_>) {
    for flag in &statement.flags {
        let value = flag.value.as_deref().unwrap_or_default();
        match flag.name.as_str() {
            "mount" => {
                // What variables hold is not known here; fields without any are checked.
                let known = |value: &str| !value.contains('$');
                if known(value) || value.contains("from=$") {
                    let read = mount::read(flag, &mut |value| Ok(value.to_owned()));
                    report.take(read);
                }
            }
            "network" if !matches!(value, "default" | "none" | "host") => {
                let mistake = Mistake::new(flag.span, format!("`{value}` is no network"))
                    .help("it is default, none or host");
                report.refuse(mistake);
            }
            "security" if value == "insecure" => {
                let mistake = Mistake::new(flag.span, "`--security=insecure` is not supported")
                    .label("a command never has the machine's root rights")
                    .help("leave it out");
                report.refuse(mistake);
            }
            "security" if value != "sandbox" => {
                let mistake = Mistake::new(flag.span, format!("`{value}` is no kind of security"))
                    .help("it is sandbox");
                report.refuse(mistake);
            }
            _ => {}
        }
    }
}

/// Names that say that a secret would be kept in the image.
fn secrets(statement: &Statement, report: &mut Report<'_>) {
    let names: Vec<_> = match &statement.body {
        Body::Env(pairs) => pairs.pairs.iter().map(|(name, _)| name).collect(),
        Body::Arg(args) => args.iter().map(|(name, _)| name).collect(),
        _ => return,
    };
    for name in names {
        let lower = name.text.to_ascii_lowercase();
        let parts = || lower.split(['_', '-']);
        let is_secret = parts().any(|part| SECRET.contains(&part));
        if is_secret && !parts().any(|part| NO_SECRET.contains(&part)) {
            let keyword = statement.keyword.name();
            let message = format!("a secret in `{keyword} {}` is kept in the image", name.text);
            let mistake = Mistake::new(name.span, message)
                .help("use `RUN --mount=type=secret,id=…`, which keeps it nowhere");
            report.warn(Rule::SecretsUsedInArgOrEnv, mistake);
        }
    }
}
