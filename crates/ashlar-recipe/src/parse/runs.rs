//! The shape of the file of runs.

use toml::de::DeTable;

use super::reader::{Keys, Reader, Value};
use crate::resolve::check::glob_syntax;
use crate::runs::{Declaration, Runs};
use crate::written::Text;

/// All keys, by table.
pub(crate) const KEYS: [Keys; 3] = [
    Keys { table: "", known: &["defaults", "cache", "run"] },
    Keys { table: "[cache]", known: &[] },
    Keys {
        table: "[run.NAME]",
        known: &[
            "command",
            "directory",
            "input",
            "maybe",
            "no_inputs",
            "common",
            "env",
            "secret",
            "flag",
            "tool",
            "tool_version",
            "uses",
            "git",
            "output",
        ],
    },
];

/// What `[cache]` may say.
pub(crate) const RIGHTS: [&str; 4] = ["off", "read", "write", "readwrite"];

pub(super) fn read(r: &mut Reader<'_>, table: DeTable<'_>) -> Runs {
    let mut runs = Runs::default();
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "defaults" => runs.defaults = declaration(r, "defaults", value).unwrap_or_default(),
            "cache" => {
                let named = r.named("cache", value, rights);
                runs.cache = named.into_iter().map(|(at, text)| (at.value, text.value)).collect();
            }
            "run" => {
                let named = r.named("run", value, declaration);
                runs.runs = named.into_iter().map(|(at, run)| (at.value, run)).collect();
            }
            _ => r.unknown(&key, &KEYS[0], &KEYS[2..]),
        }
    }
    runs
}

/// What may be done with the cache.
fn rights(r: &mut Reader<'_>, path: &str, value: Value<'_>) -> Option<Text> {
    let text = r.text(path, value)?;
    if !RIGHTS.contains(&&*text.value) {
        let message = format!("`{}` says nothing of the cache", text.value);
        r.wrong(text.span, message, "off, read, write or readwrite");
        return None;
    }
    Some(text)
}

/// Globs of paths below the root; one after `!` takes back what those before matched.
fn globs(r: &mut Reader<'_>, name: &str, value: Value<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for text in r.list(name, value) {
        let path = text.value.strip_prefix('!').unwrap_or(&text.value);
        let found = match path {
            "" => Err("is empty"),
            _ if path.split('/').any(|part| part == "..") => Err("leads outside with `..`"),
            _ => glob_syntax(path),
        };
        match found {
            Ok(()) => all.push(text.value),
            Err(wrong) => {
                let message = format!("`{}` in `{name}` {wrong}", text.value.escape_debug());
                r.wrong(
                    text.span,
                    message,
                    "it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`",
                );
            }
        }
    }
    all
}

fn declaration(r: &mut Reader<'_>, path: &str, value: Value<'_>) -> Option<Declaration> {
    let mut one = Declaration::default();
    let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.value).collect();
    for (key, value) in r.table(path, value)? {
        let name = key.get_ref().as_ref();
        match name {
            "command" if value.get_ref().is_str() => {
                let text = r.text("command", value).map(|text| text.value);
                // As a makefile writes it.
                one.command = text
                    .map(|text| vec!["sh".to_owned(), "-c".to_owned(), text])
                    .unwrap_or_default();
            }
            "command" => one.command = plain(r.list("command", value)),
            "directory" => one.directory = r.text("directory", value).map(|text| text.value),
            "no_inputs" => one.no_inputs = r.flag("no_inputs", &value).is_some_and(|at| at.value),
            "input" => one.input = globs(r, name, value),
            "maybe" => one.maybe = globs(r, name, value),
            "common" => one.common = globs(r, name, value),
            "env" => one.env = plain(r.list(name, value)),
            "secret" => one.secret = plain(r.list(name, value)),
            "flag" => one.flag = plain(r.list(name, value)),
            "tool" => one.tool = plain(r.list(name, value)),
            "tool_version" => one.tool_version = plain(r.list(name, value)),
            "uses" => one.uses = plain(r.list(name, value)),
            "git" => one.git = plain(r.list(name, value)),
            "output" => one.output = globs(r, name, value),
            _ => r.unknown(&key, &KEYS[2], &[]),
        }
    }
    Some(one)
}
