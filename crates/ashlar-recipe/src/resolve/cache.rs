//! What `ashlar-cache.toml` means.

use super::{Notes, Pen, check};
use crate::cache::{Cache, CacheLayer, SCOPE_VARIABLES, Scope, ScopeName, ScopePart};
use crate::problem::{Problem, Problems, enumerate, nearest};
use crate::written::{self, At, Span, Text};

/// Checks a file of layers.
///
/// # Errors
/// Everything that is wrong, without the text of the file.
pub(crate) fn cache(written: written::Cache) -> Result<Cache, Problems> {
    let mut notes = Notes::default();
    let pen = &mut Pen { file: &written.file, notes: &mut notes };
    if written.layers.is_empty() {
        let help = "write `[layer.NAME]`, and below it `key = [\"…\"]` and `paths = [\"…\"]`";
        pen.wrong(Span::default(), "there is no layer", help);
    }
    let layers = written.layers.into_iter().filter_map(|(name, of)| layer(&name, of, pen));
    let layers: Vec<CacheLayer> = layers.collect();
    let scope = scope(written.scope, pen);
    if notes.list.is_empty() {
        let version = written.version.map(|version| version.value).unwrap_or_default();
        return Ok(Cache { version, layers, scope });
    }
    Err(Problems::gather(notes.list, notes.more))
}

fn layer(name: &Text, written: written::CacheLayer, pen: &mut Pen<'_>) -> Option<CacheLayer> {
    let help = "a name has letters, digits, `.`, `_`, `+` and `-`";
    pen.checked(name, check::plain_name(&name.value), help)?;
    let named = &name.value;
    let help = "write `key = [\"…\"]`: globs of the files that decide what is in it";
    let key = globs(&format!("layer `{named}` has no key"), name, written.key, help, pen);
    let help = "write `paths = [\"…\"]`: the folders that are kept";
    let paths = globs(&format!("layer `{named}` keeps nothing"), name, written.paths, help, pen);
    let help = "letters, digits and `_`, and no digit first";
    let variable = |name: Text| {
        pen.checked(&name, check::variable(&name.value), help)?;
        Some(name.value)
    };
    let mut env: Vec<String> = written.env.into_iter().filter_map(variable).collect();
    env.sort_unstable();
    env.dedup();
    Some(CacheLayer { name: name.value.clone(), key, paths, env })
}

/// Globs of paths below the root, at least one; one after `!` takes back what those before matched.
fn globs(
    lacks: &str,
    name: &Text,
    written: Option<At<Vec<Text>>>,
    help: &str,
    pen: &mut Pen<'_>,
) -> Vec<String> {
    let Some(written) = written.filter(|globs| !globs.value.is_empty()) else {
        pen.wrong(name.span, lacks, help);
        return Vec::new();
    };
    let mut globs = Vec::with_capacity(written.value.len());
    for text in written.value {
        let glob = text.value.strip_prefix('!').unwrap_or(&text.value);
        let help = match check::glob(glob) {
            Err("is an absolute path") => "paths are relative to the folder of this file",
            _ => "it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`",
        };
        if pen.checked(&text, check::glob(glob), help).is_none() {
            continue;
        }
        if glob.split('/').all(|part| matches!(part, "" | "." | "**")) {
            let message = format!("`{}` names the whole workspace", text.value.escape_debug());
            pen.wrong(text.span, message, "name the folders that are meant");
            continue;
        }
        if globs.is_empty() && glob.len() < text.value.len() {
            let message = format!("there is nothing yet that `{}` could take back", text.value);
            pen.wrong(text.span, message, "a glob after `!` takes back what those before matched");
            continue;
        }
        globs.push(text.value);
    }
    globs
}

/// One scope for all, if nothing is said.
fn scope(written: Option<written::CacheScope>, pen: &mut Pen<'_>) -> Scope {
    let all = || ScopeName(vec![ScopePart::Text("all".to_owned())]);
    let Some(written) = written else { return Scope { read: vec![all()], write: all() } };
    let mut read = Vec::new();
    match written.read {
        Some(texts) if !texts.value.is_empty() => {
            read.extend(texts.value.iter().filter_map(|text| scope_name(text, pen)));
        }
        _ => {
            let help = "write `read = [\"branch:${branch}\", \"branch:main\"]`";
            pen.wrong(written.span, "`[scope]` does not say where to look", help);
        }
    }
    let write = match &written.write {
        Some(text) => scope_name(text, pen),
        None => {
            let help = "write `write = \"branch:${branch}\"`";
            pen.wrong(written.span, "`[scope]` does not say where to keep what is saved", help);
            None
        }
    };
    Scope { read, write: write.unwrap_or_else(all) }
}

fn scope_name(text: &Text, pen: &mut Pen<'_>) -> Option<ScopeName> {
    let mut wrong = |message: String, help: String| {
        pen.notes.add(Problem::new(message).at(pen.file, text.span, "").help(help));
        None
    };
    let mut parts = Vec::new();
    let mut rest = text.value.as_str();
    if rest.is_empty() || rest.chars().any(char::is_control) {
        let help = "a scope is a text such as `branch:main` or `branch:${branch}`";
        return wrong(format!("`{}` names no scope", rest.escape_debug()), help.to_owned());
    }
    while let Some(at) = rest.find("${") {
        let (before, variable) = (&rest[..at], &rest[at + 2..]);
        if !before.is_empty() {
            parts.push(ScopePart::Text(before.to_owned()));
        }
        let Some((variable, after)) = variable.split_once('}') else {
            let message = format!("`{}` has a `${{` without `}}`", text.value);
            return wrong(message, "write `${branch}` or `${base}`".to_owned());
        };
        parts.push(match variable {
            "branch" => ScopePart::Branch,
            "base" => ScopePart::Base,
            other => {
                let help = match nearest(other, SCOPE_VARIABLES) {
                    Some(near) => format!("did you mean `${{{near}}}`?"),
                    None => format!("known are {}", enumerate(SCOPE_VARIABLES)),
                };
                return wrong(format!("`${{{}}}` is not known", other.escape_debug()), help);
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(ScopePart::Text(rest.to_owned()));
    }
    Some(ScopeName(parts))
}
