//! `RUN`: the whole command, its environment, and what it sees.

use std::collections::BTreeSet;

use super::scope::is_proxy;
use super::stage::{Walk, refuse_windows, shown};
use crate::mount::{self, Kind, Mount};
use crate::report::Mistake;
use crate::written::{Command, Flag, Keyword, Statement, Word};
use crate::{From, Network, Run, RunMount, Script, lines, path};

/// Reads the instruction: what it does, how it is shown, and its line in the history.
pub(super) fn read(
    walk: &mut Walk<'_, '_, '_>,
    statement: &Statement,
    command: &Command,
) -> Result<(Run, String, String), Mistake> {
    let (arguments, script) = arguments(walk, statement, command);
    let mut mounts = Vec::new();
    let mut network = Network::Unset;
    for flag in &statement.flags {
        match (flag.name.as_str(), flag.value.as_deref()) {
            ("mount", _) => mounts.push(mounted(walk, flag)?),
            ("network", Some("default")) => network = Network::Default,
            ("network", Some("none")) => network = Network::None,
            ("network", Some("host")) => network = Network::Host,
            // Checked when the file was parsed; triggers were not.
            ("network", _) => {
                return Err(Mistake::new(flag.span, "this is no network")
                    .help("it is default, none or host"));
            }
            ("security", Some("sandbox")) => {}
            ("security", _) => {
                return Err(Mistake::new(flag.span, "only `--security=sandbox` is supported"));
            }
            _ => {}
        }
    }
    twice(&mounts, statement)?;
    let env = walk.environment().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let values = walk.scope.values();
    let seen: Vec<String> = values.map(|(name, value)| format!("{name}={value}")).collect();
    let given = walk.known.request.args.iter();
    let proxies = given
        .filter(|(name, _)| is_proxy(name) && !walk.scope.declares(name))
        .filter(|(name, _)| walk.configuration.variable(name).is_none())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let written = match command {
        Command::Exec(words) => super::settings::exec_form(words),
        Command::Shell(word) => word.text.clone(),
    };
    let text = shown(Keyword::Run, statement, &[], &[written]);
    let mut created_by = "RUN ".to_owned();
    if !seen.is_empty() {
        created_by.push_str(&format!("|{} {} ", seen.len(), seen.join(" ")));
    }
    created_by.push_str(&arguments.join(" "));
    let run = Run {
        arguments,
        script,
        env,
        proxies,
        directory: walk.directory(),
        user: walk.configuration.user.clone(),
        network,
        mounts,
    };
    Ok((run, text, created_by))
}

/// The whole command. A heredoc alone is the script itself: run by the shell, or by the program
/// that its first line names. Otherwise the shell gets the line with its documents.
fn arguments(
    walk: &Walk<'_, '_, '_>,
    statement: &Statement,
    command: &Command,
) -> (Vec<String>, Option<Script>) {
    let word = match command {
        Command::Exec(words) => return (words.clone(), None),
        Command::Shell(word) => word,
    };
    let mut arguments = walk.configuration.shell();
    match statement.heredocs.as_slice() {
        [] => arguments.push(word.text.clone()),
        [only] if lines::heredoc_name(&word.text).is_some() => {
            let content = only.content();
            if content.starts_with("#!") {
                let name: String =
                    only.name.chars().map(|c| if c == '/' { '_' } else { c }).collect();
                let path = format!("/run/heredoc/{name}");
                return (vec![path.clone()], Some(Script { path, content }));
            }
            arguments.push(content);
        }
        all => {
            let mut text = word.text.clone();
            for heredoc in all {
                text.push('\n');
                text.push_str(&heredoc.raw);
                text.push_str(&heredoc.name);
            }
            arguments.push(text);
        }
    }
    (arguments, None)
}

fn mounted(walk: &mut Walk<'_, '_, '_>, flag: &Flag) -> Result<RunMount, Mistake> {
    let mount = mount::read(flag, &mut |value| {
        walk.expand(&Word { text: value.to_owned(), span: flag.span })
    })?;
    let directory = walk.directory();
    let target = match mount.text("target") {
        Some(text) => {
            refuse_windows(text, &Word { text: text.to_owned(), span: flag.span })?;
            let target = path::absolute(&directory, text);
            if target == "/" {
                return Err(Mistake::new(flag.span, "nothing can be mounted at `/`"));
            }
            Some(target)
        }
        None if mount.kind == Kind::Bind && directory != "/" => Some(directory),
        None => None,
    };
    let from = match mount.text("from") {
        Some(name) => Some(walk.from(&Word { text: name.to_owned(), span: flag.span })?),
        None => None,
    };
    let source = source(&mount, flag)?;
    let number = |field| mount.number(field, 10, flag).map(Option::unwrap_or_default);
    let needed = |target: Option<String>| {
        target.ok_or_else(|| {
            Mistake::new(flag.span, "nothing can be mounted at `/`").help("write a target")
        })
    };
    Ok(match mount.kind {
        Kind::Bind => RunMount::Bind {
            from: from.unwrap_or(From::Context),
            source,
            target: needed(target)?,
            writable: mount.is("readwrite"),
        },
        Kind::Cache => {
            let target = needed(target)?;
            RunMount::Cache {
                id: mount.text("id").unwrap_or(&target).to_owned(),
                from,
                source,
                sharing: mount.sharing(flag)?,
                mode: mount.number("mode", 8, flag)?.unwrap_or(0o755),
                uid: number("uid")?,
                gid: number("gid")?,
                read_only: mount.text("readwrite") == Some("false"),
                target,
            }
        }
        Kind::Tmpfs => RunMount::Tmpfs { target: needed(target)?, size: mount.size(flag)? },
        Kind::Secret => secret(&mount, target, flag)?,
        Kind::Checkpoint => RunMount::Checkpoint { target: needed(target)? },
    })
}

/// The folder or file of what is mounted.
fn source(mount: &Mount, flag: &Flag) -> Result<String, Mistake> {
    let Some(text) = mount.text("source") else { return Ok(String::new()) };
    path::relative(text).ok_or_else(|| {
        Mistake::new(flag.span, format!("`{text}` is outside of what is mounted"))
            .help("a source is a path below its root, without `..` that leave it")
    })
}

fn secret(mount: &Mount, target: Option<String>, flag: &Flag) -> Result<RunMount, Mistake> {
    let from_target = || target.as_deref().and_then(|t| t.rsplit('/').next()).map(str::to_owned);
    let Some(id) = mount.text("id").map(str::to_owned).or_else(from_target) else {
        return Err(
            Mistake::new(flag.span, "a secret needs an `id`").help("for example `id=token`")
        );
    };
    let mut env = mount.text("env").map(str::to_owned);
    if mount.fields.contains_key("env") && env.is_none() {
        env = Some(id.clone());
    }
    // A secret that is a variable is a file only when that is asked for.
    let place = target.or_else(|| env.is_none().then(|| path::absolute("/run/secrets", &id)));
    Ok(RunMount::Secret {
        target: place,
        env,
        required: mount.is("required"),
        mode: mount.number("mode", 8, flag)?.unwrap_or(0o400),
        uid: mount.number("uid", 10, flag)?.unwrap_or(0),
        gid: mount.number("gid", 10, flag)?.unwrap_or(0),
        id,
    })
}

/// Refuses two mounts at one place.
fn twice(mounts: &[RunMount], statement: &Statement) -> Result<(), Mistake> {
    let target = |mount: &RunMount| match mount {
        RunMount::Bind { target, .. }
        | RunMount::Cache { target, .. }
        | RunMount::Tmpfs { target, .. }
        | RunMount::Checkpoint { target } => Some(target.clone()),
        RunMount::Secret { target, .. } => target.clone(),
    };
    let mut seen = BTreeSet::new();
    for place in mounts.iter().filter_map(target) {
        if seen.contains(&place) {
            return Err(Mistake::new(
                statement.span,
                format!("two mounts have the target `{place}`"),
            )
            .help("give one of them another target"));
        }
        seen.insert(place);
    }
    Ok(())
}
