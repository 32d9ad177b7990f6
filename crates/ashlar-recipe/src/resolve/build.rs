//! How a module is built: the kind, and its phases.

use super::{Pen, check, image};
use crate::phases;
use crate::problem::{enumerate, nearest};
use crate::resolved::{Build, Kind, Phase};
use crate::written::{self, Command, Span};

/// All kinds.
pub(crate) const KINDS: [Kind; 9] = [
    Kind::Script,
    Kind::Make,
    Kind::Autotools,
    Kind::Cmake,
    Kind::Meson,
    Kind::Deb,
    Kind::Import,
    Kind::Image,
    Kind::Group,
];

pub(super) fn kind(build: Option<&written::Build>, pen: &mut Pen<'_>) -> Option<Kind> {
    let names = || KINDS.iter().map(|kind| kind.as_str());
    let Some(written) = build.and_then(|build| build.kind.as_ref()) else {
        let span = build.map_or_else(Span::default, |build| build.span);
        let help = format!("write `[build]` and below it `kind = \"…\"`: {}", enumerate(names()));
        pen.wrong(span, "the module does not say of which kind it is", help);
        return None;
    };
    let found = KINDS.into_iter().find(|kind| kind.as_str() == written.value);
    if found.is_none() {
        let help = nearest(&written.value, names()).map_or_else(
            || format!("kinds are {}", enumerate(names())),
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("there is no kind `{}`", written.value.escape_debug());
        pen.wrong(written.span, message, help);
    }
    found
}

pub(super) fn resolve(kind: Kind, mut written: written::Build, pen: &mut Pen<'_>) -> Build {
    let kind_span = written.kind.as_ref().map_or(written.span, |kind| kind.span);
    let image = image::resolve(kind, &mut written, pen);
    let timeout = written.timeout.and_then(|text| {
        let found = check::timeout(&text.value);
        let help = "for instance `90s`, `30m` or `1h30m`";
        match kind {
            Kind::Group | Kind::Import | Kind::Image => {
                runs_nothing(kind, "timeout", text.span, pen);
                None
            }
            _ => pen.checked(&text, found, help),
        }
    });
    let deb_only = |key: &str, list: Option<written::At<Vec<written::Text>>>, pen: &mut Pen<'_>| {
        let Some(list) = list else { return Vec::new() };
        if kind != Kind::Deb {
            let message = format!("`{key}` is for modules of kind `deb`");
            pen.wrong(list.span, message, "leave it out");
            return Vec::new();
        }
        for text in &list.value {
            if text.value.starts_with("parallel=") {
                pen.wrong(text.span, "how many jobs run is not part of a module", "leave it out");
            }
        }
        pen.set(list.value, check::word)
    };
    let profiles = deb_only("profiles", written.profiles, pen);
    let options = deb_only("options", written.options, pen);

    let mut phases = Vec::with_capacity(3);
    let commands = [written.configure, written.compile, written.install];
    let replaced = commands.iter().flatten().next().map(|command| command.span);
    for (number, command) in commands.into_iter().enumerate() {
        let script = phase(kind, number, command, &profiles, &options, pen);
        if let Some(script) = script.filter(|script| !script.trim().is_empty()) {
            phases.push(Phase { name: phases::NAMES[number].to_owned(), script });
        }
    }
    match (kind, written.steps) {
        (Kind::Script, Some(steps)) => {
            if let Some(span) = replaced {
                let message = "a script has either `steps` or `configure`, `compile`, `install`";
                pen.wrong(span, message, "make this one of the steps");
            } else if steps.value.is_empty() {
                pen.wrong(steps.span, "the script has no steps", "write at least one");
            }
            phases.extend(self::steps(steps.value, pen));
        }
        (Kind::Script, None) if phases.is_empty() => {
            let help = "write `steps = [\"…\"]`";
            pen.wrong(kind_span, "the script has no steps", help);
        }
        (Kind::Group | Kind::Import | Kind::Image, Some(steps)) => {
            runs_nothing(kind, "steps", steps.span, pen);
        }
        (_, Some(steps)) => {
            let message = format!("a module of kind `{}` has no `steps`", kind.as_str());
            let help = "replace `configure`, `compile` or `install` with a text, or take kind \
                        `script`";
            pen.wrong(steps.span, message, help);
        }
        (_, None) => {}
    }
    Build { kind, phases, timeout, profiles, options, image }
}

fn runs_nothing(kind: Kind, key: &str, span: Span, pen: &mut Pen<'_>) {
    let message = format!("a module of kind `{}` has no `{key}`", kind.as_str());
    let help = match kind {
        Kind::Image => "what is run stands in its Dockerfile",
        _ => "it runs no commands",
    };
    pen.wrong(span, message, help);
}

/// The script of a phase: what is written, or the default of the kind.
fn phase(
    kind: Kind,
    number: usize,
    written: Option<written::At<Command>>,
    profiles: &[String],
    options: &[String],
    pen: &mut Pen<'_>,
) -> Option<String> {
    let name = phases::NAMES[number];
    let default = phases::default(kind, number);
    let Some(written) = written else {
        return default.map(|command| {
            let command = phases::plain(command);
            if kind == Kind::Deb { phases::deb(&command, profiles, options) } else { command }
        });
    };
    if matches!(kind, Kind::Group | Kind::Import | Kind::Image) {
        runs_nothing(kind, name, written.span, pen);
        return None;
    }
    match written.value {
        Command::Script(script) => Some(script),
        Command::Arguments(arguments) => {
            let arguments = arguments.iter().map(|argument| argument.value.as_str());
            let script = default.and_then(|command| phases::with_arguments(command, arguments));
            if script.is_none() {
                let message = format!("kind `{}` has no `{name}` command to add to", kind.as_str());
                let help = "a list adds arguments; write a text, which is the whole script";
                pen.wrong(written.span, message, help);
            }
            script.map(|script| match kind {
                Kind::Deb => phases::deb(&script, profiles, options),
                _ => script,
            })
        }
    }
}

fn steps(written: Vec<written::Step>, pen: &mut Pen<'_>) -> Vec<Phase> {
    let mut phases = Vec::with_capacity(written.len());
    for (number, step) in written.into_iter().enumerate() {
        if step.run.value.trim().is_empty() {
            pen.wrong(step.run.span, "the step does nothing", "write a script, or leave it out");
        }
        let name = match step.name {
            None => format!("step {}", number + 1),
            Some(name) => {
                let plain = !name.value.trim().is_empty()
                    && name.value.len() <= 100
                    && !name.value.chars().any(char::is_control);
                if !plain {
                    pen.wrong(name.span, "the name of a step is one short line", None);
                }
                name.value
            }
        };
        phases.push(Phase { name, script: step.run.value });
    }
    phases
}
