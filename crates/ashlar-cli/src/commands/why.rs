//! `ashlar why`: what changed since the nearest earlier build.

use ashlar_build::{Cause, State, Why, human_duration, why};
use ashlar_object::{ChangeKind, Digest, Node};
use ashlar_plan::{Changed, InputName, Value};
use ashlar_store::StepRecord;
use serde_json::json;

use crate::args;
use crate::args::Globals;
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint};
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &args::Why) -> Result<Exit, Failed> {
    if let Some(run) = &args.run {
        return super::runs::why(globals, args.root.as_deref(), run);
    }
    let typed = args.module.clone().unwrap_or_default();
    let session = Session::open(globals)?;
    let name = session.module(&typed)?;
    let (_, plan) = session.plan(std::slice::from_ref(&typed))?;
    let Some(index) = plan.modules.get(&name) else {
        return Err(Failed::usage(format!("{name} is a group: it is never built"))
            .help("ask for one of its members"));
    };
    let disk = session.trees_on_disk();
    let tree = |digest: &Digest| disk.get(digest).cloned();
    let (store, origins) = (&*session.store, session.origins()?);
    let project = &session.project.name;
    let why = why(&plan, *index, project, store, store.journal(), &origins, &tree)?;
    if globals.json {
        let mut changes = Vec::new();
        flatten(&why.causes, "", MODULES, &mut changes);
        show::line(&json!({
            "module": typed,
            "state": match why.state { State::Hit => "hit", State::Build => "build" },
            "step_key": why.key.to_string(),
            "failures": why.failures,
            "changes": changes,
        }));
        return Ok(Exit::Done);
    }
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let mut out = head(&typed, &why, paint);
    for cause in &why.causes {
        tell(cause, 1, MODULES, paint, &mut out);
    }
    show::print(&out);
    Ok(Exit::Done)
}

/// How inputs are called, and their values written.
#[derive(Clone, Copy)]
pub struct Words {
    pub name: fn(&InputName) -> String,
    pub text: fn(&InputName, &str) -> String,
}

/// Inputs of modules are called as they are, and written as they are.
const MODULES: Words = Words { name: |input| input.to_string(), text: |_, text| text.to_owned() };

/// What would happen to something, and what it is compared with.
pub fn head(module: &str, why: &Why, paint: Paint) -> String {
    let module = paint.bold(module);
    let at = |record: &StepRecord| {
        let from = record.from.as_deref().filter(|from| *from != "local");
        let from = from.map(|from| format!(", from {from}")).unwrap_or_default();
        format!("{}, {}{from}", show::when(record.started), human_duration(record.took))
    };
    let mut text = match (&why.state, &why.present, &why.refused) {
        (State::Hit, Some(present), _) => {
            format!("{module} would not be built: its result is there (built {})\n", at(present))
        }
        (State::Hit, None, _) => format!("{module} would not be built: its result is there\n"),
        (State::Build, _, Some(refused)) => {
            format!("{module} would be built: its result is there, but {refused}\n")
        }
        (State::Build, Some(_), None) => {
            format!("{module} would be built: its result was there and is gone\n")
        }
        (State::Build, None, None) => format!("{module} would be built\n"),
    };
    if let Some(failures) = failures(why) {
        text.push_str(&format!("it {failures}\n"));
    }
    match &why.earlier {
        Some(earlier) => {
            let verb = if why.state == State::Hit { "it was built then" } else { "reason" };
            text.push_str(&format!(
                "{verb}: what differs from the nearest earlier key {} ({})\n",
                earlier.key.short(),
                at(earlier)
            ));
        }
        None if why.present.is_none() => text.push_str("it was never built before\n"),
        None => text.push_str("no build with another key is known\n"),
    }
    text
}

/// A cause and those behind it, a line or more each.
pub fn tell(cause: &Cause, depth: usize, words: Words, paint: Paint, out: &mut String) {
    let indent = "  ".repeat(depth);
    let Changed { input, was, now } = &cause.changed;
    out.push_str(&format!("{indent}{}", paint.bold(&(words.name)(input))));
    let said = |value: &Option<Value>| match value {
        Some(Value::Text(text)) => Some(Value::Text((words.text)(input, text))),
        other => other.clone(),
    };
    match (&said(was), &said(now)) {
        (Some(Value::Text(was)), Some(Value::Text(now)))
            if was.contains('\n') || now.contains('\n') || was.len() + now.len() > 80 =>
        {
            out.push('\n');
            lines(was, now, &indent, paint, out);
        }
        (Some(was), Some(now)) => out.push_str(&format!(": {} → {}\n", quoted(was), quoted(now))),
        (None, Some(now)) => out.push_str(&format!(": added ({})\n", quoted(now))),
        (Some(was), None) => out.push_str(&format!(": removed (was {})\n", quoted(was))),
        (None, None) => out.push('\n'),
    }
    for change in cause.files.iter().take(20) {
        out.push_str(&format!("{indent}  {}\n", file(change)));
    }
    if cause.files.len() > 20 {
        out.push_str(&format!("{indent}  and {} more files\n", cause.files.len() - 20));
    }
    for behind in &cause.causes {
        tell(behind, depth + 1, words, paint, out);
    }
}

/// The lines that only one of two texts has.
fn lines(was: &str, now: &str, indent: &str, paint: Paint, out: &mut String) {
    let (old, new): (Vec<&str>, Vec<&str>) = (was.lines().collect(), now.lines().collect());
    if old.iter().all(|l| new.contains(l)) && new.iter().all(|l| old.contains(l)) {
        out.push_str(&format!("{indent}  was: {}\n", old.join(", ")));
        out.push_str(&format!("{indent}  now: {}\n", new.join(", ")));
        return;
    }
    for line in old.iter().filter(|l| !new.contains(l)) {
        out.push_str(&format!("{indent}  {}\n", paint.red(&format!("- {line}"))));
    }
    for line in new.iter().filter(|l| !old.contains(l)) {
        out.push_str(&format!("{indent}  {}\n", paint.green(&format!("+ {line}"))));
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) if text.is_empty() => "nothing".to_owned(),
        other => other.to_string(),
    }
}

fn file(change: &ashlar_object::Change) -> String {
    let path = &change.path;
    let mode = |node: &Option<Node>| match node {
        Some(Node::File(file)) => format!("{:04o}", file.meta.mode),
        Some(Node::Dir(dir)) => format!("{:04o}", dir.meta().mode),
        Some(Node::Fifo(meta)) => format!("{:04o}", meta.mode),
        _ => "-".to_owned(),
    };
    let target = |node: &Option<Node>| match node {
        Some(Node::Symlink(link)) => String::from_utf8_lossy(&link.target).into_owned(),
        _ => "-".to_owned(),
    };
    match change.kind {
        ChangeKind::Added => format!("added {path}"),
        ChangeKind::Removed => format!("removed {path}"),
        ChangeKind::Content => format!("changed {path}"),
        ChangeKind::Meta => {
            format!("mode of {path}: {} → {}", mode(&change.was), mode(&change.now))
        }
        ChangeKind::Target => {
            format!("target of {path}: {} → {}", target(&change.was), target(&change.now))
        }
        ChangeKind::Kind => format!("{path} became something else"),
    }
}

/// The first reason in a few words, with its root cause.
pub fn reason(why: &Why) -> String {
    reason_in(why, MODULES)
}

/// As [`reason`], with other words for inputs.
pub fn reason_in(why: &Why, words: Words) -> String {
    let mut text = match (&why.refused, &*why.causes, &why.present) {
        (Some(refused), ..) => format!("its result is there, but {refused}"),
        (None, [first], _) => chain(first, words),
        (None, [first, more @ ..], _) => format!("{} and {} more", chain(first, words), more.len()),
        (None, [], Some(_)) => "its result is gone".to_owned(),
        (None, [], None) => "never built".to_owned(),
    };
    if let Some(failures) = failures(why) {
        text.push_str(&format!("; {failures}"));
    }
    text
}

/// That it has been tried in vain, if it has.
fn failures(why: &Why) -> Option<String> {
    match why.failures {
        0 => None,
        1 => Some("failed once with these very inputs".to_owned()),
        n => Some(format!("failed {n} times with these very inputs")),
    }
}

/// A cause and what is behind it.
fn chain(first: &Cause, words: Words) -> String {
    let mut text = short(&first.changed, words);
    let mut cause = first;
    let mut last = text.clone();
    while let Some(behind) = cause.causes.first() {
        // What lies below changed because what lies below that did.
        let said = short(&behind.changed, words);
        if said != last {
            text.push_str(&format!(" ← {said}"));
            last = said;
        }
        cause = behind;
    }
    if let Some(change) = cause.files.first() {
        text.push_str(&format!(
            " ({}{})",
            file(change),
            if cause.files.len() > 1 { ", …" } else { "" }
        ));
    }
    text
}

fn short(changed: &Changed, words: Words) -> String {
    let input = (words.name)(&changed.input);
    let value = |value: &Option<Value>| match value {
        Some(Value::Text(text)) => Some((words.text)(&changed.input, text))
            .filter(|text| text.len() <= 40 && !text.contains('\n') && !text.is_empty()),
        _ => None,
    };
    match (&changed.was, &changed.now) {
        (None, _) => format!("{input} is new"),
        (_, None) => format!("{input} is gone"),
        (was, now) => match (value(was), value(now)) {
            (Some(was), Some(now)) => format!("{input} {was} → {now}"),
            _ => format!("{input} changed"),
        },
    }
}

/// The leaves of the causes with the way that leads to each.
pub fn flatten(causes: &[Cause], above: &str, words: Words, out: &mut Vec<serde_json::Value>) {
    for cause in causes {
        let input = (words.name)(&cause.changed.input);
        let input = match above {
            "" => input,
            above => format!("{above} > {input}"),
        };
        out.push(json!({
            "input": input,
            "was": cause.changed.was.as_ref().map(full),
            "now": cause.changed.now.as_ref().map(full),
        }));
        for change in &cause.files {
            out.push(json!({
                "input": format!("{input} > file {}", change.path),
                "was": change.was.as_ref().map(node),
                "now": change.now.as_ref().map(node),
            }));
        }
        flatten(&cause.causes, &input, words, out);
    }
}

fn full(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Sha256(text) => text.clone(),
        Value::File(digest) | Value::Tree(digest) => digest.to_string(),
        Value::Step(key) => key.to_string(),
    }
}

fn node(node: &Node) -> String {
    match node {
        Node::File(file) => format!("{} mode {:04o}", file.digest, file.meta.mode),
        Node::Symlink(link) => format!("link to {}", String::from_utf8_lossy(&link.target)),
        Node::Dir(dir) => format!("folder mode {:04o}", dir.meta().mode),
        Node::Fifo(meta) => format!("FIFO mode {:04o}", meta.mode),
        Node::Whiteout => "deleted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_name_flags_with_both_values() {
        let changed = Changed {
            input: InputName::Env("CFLAGS".into()),
            was: Some(Value::Text("-O2".into())),
            now: Some(Value::Text("-O3".into())),
        };
        assert_eq!(short(&changed, MODULES), "environment CFLAGS -O2 → -O3");
    }
}
