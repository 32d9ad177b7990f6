//! The shape of a module file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Keys, Parts, Reader, Value};
use crate::written::{At, Build, Command, Module, Outputs, Source, Span, Step};

/// All keys, by table: the top of the file, `[source]`, `[build]`, `[outputs]`, an entry of
/// `steps`.
pub(crate) const KEYS: [Keys; 5] = [
    Keys {
        table: "",
        known: &[
            "description",
            "base",
            "depends",
            "tools",
            "uses",
            "env",
            "salt",
            "source",
            "build",
            "outputs",
        ],
    },
    Keys {
        table: "[source]",
        known: &[
            "deb",
            "url",
            "sha256",
            "mirrors",
            "unpack",
            "git",
            "commit",
            "submodules",
            "path",
            "into",
            "patches",
            "strip",
        ],
    },
    Keys {
        table: "[build]",
        known: &[
            "kind",
            "configure",
            "compile",
            "install",
            "steps",
            "timeout",
            "profiles",
            "options",
            "context",
            "dockerfile",
            "target",
            "args",
            "network",
        ],
    },
    Keys { table: "[outputs]", known: &["expect", "overlap", "main", "derived", "extra"] },
    Keys { table: "steps", known: &["name", "run"] },
];
/// The tables a misplaced key may belong to; `name` and `run` of a step are too common as slips.
const ELSEWHERE: &[Keys] = {
    let [top, source, build, outputs, _] = KEYS;
    &[top, source, build, outputs]
};

pub(super) fn read(r: &mut Reader<'_>, table: DeTable<'_>) -> Module {
    let mut module = Module { file: r.file().to_owned(), ..Module::default() };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "description" => module.description = r.text("description", value),
            "base" => module.base = r.text("base", value),
            "depends" => module.depends = r.list("depends", value),
            "tools" => module.tools = r.list("tools", value),
            "uses" => module.uses = r.list("uses", value),
            "env" => module.env = r.named("env", value, Reader::text),
            "salt" => module.salt = r.text("salt", value),
            "source" => module.sources = sources(r, value),
            "build" => module.build = build(r, value),
            "outputs" => module.outputs = outputs(r, value),
            _ => r.unknown(&key, &KEYS[0], ELSEWHERE),
        }
    }
    module
}

fn sources(r: &mut Reader<'_>, value: Value<'_>) -> Vec<Source> {
    match value.into_inner_parts() {
        (DeValue::Array(array), _) => {
            array.into_iter().filter_map(|item| source(r, item)).collect()
        }
        (other, span) => source(r, Spanned::new(span, other)).into_iter().collect(),
    }
}

fn source(r: &mut Reader<'_>, value: Value<'_>) -> Option<Source> {
    let mut source = Source { span: value.span().into(), ..Source::default() };
    for (key, value) in r.table("source", value)? {
        match key.get_ref().as_ref() {
            "deb" => source.deb = r.text("deb", value),
            "url" => source.url = r.text("url", value),
            "sha256" => source.sha256 = r.text("sha256", value),
            "mirrors" => source.mirrors = r.texts("mirrors", value),
            "unpack" => source.unpack = r.flag("unpack", &value),
            "git" => source.git = r.text("git", value),
            "commit" => source.commit = r.text("commit", value),
            "submodules" => source.submodules = r.flag("submodules", &value),
            "path" => source.path = r.text("path", value),
            "into" => source.into = r.text("into", value),
            "patches" => source.patches = r.list("patches", value),
            "strip" => source.strip = r.number("strip", &value),
            _ => r.unknown(&key, &KEYS[1], ELSEWHERE),
        }
    }
    Some(source)
}

fn build(r: &mut Reader<'_>, value: Value<'_>) -> Option<Build> {
    let mut build = Build { span: value.span().into(), ..Build::default() };
    for (key, value) in r.table("build", value)? {
        match key.get_ref().as_ref() {
            "kind" => build.kind = r.text("kind", value),
            "configure" => build.configure = command(r, "configure", value),
            "compile" => build.compile = command(r, "compile", value),
            "install" => build.install = command(r, "install", value),
            "steps" => build.steps = steps(r, value),
            "timeout" => build.timeout = r.text("timeout", value),
            "profiles" => build.profiles = r.texts("profiles", value),
            "options" => build.options = r.texts("options", value),
            "context" => build.context = r.text("context", value),
            "dockerfile" => build.dockerfile = r.text("dockerfile", value),
            "target" => build.target = r.text("target", value),
            "args" => build.args = r.named("args", value, Reader::text),
            "network" => build.network = r.text("network", value),
            _ => r.unknown(&key, &KEYS[2], ELSEWHERE),
        }
    }
    Some(build)
}

fn command(r: &mut Reader<'_>, key: &str, value: Value<'_>) -> Option<At<Command>> {
    if value.get_ref().is_array() {
        let list = r.texts(key, value)?;
        return Some(At { value: Command::Arguments(list.value), span: list.span });
    }
    let script = r.text(key, value)?;
    Some(At { value: Command::Script(script.value), span: script.span })
}

fn steps(r: &mut Reader<'_>, value: Value<'_>) -> Option<At<Vec<Step>>> {
    let (array, span) = match value.into_inner_parts() {
        (DeValue::Array(array), span) => (array, span.into()),
        // One script instead of a list is said by the reader of lists.
        (other, span) => {
            r.texts("steps", Spanned::new(span, other));
            return None;
        }
    };
    let steps = array.into_iter().filter_map(|item| step(r, item)).collect();
    Some(At { value: steps, span })
}

fn step(r: &mut Reader<'_>, value: Value<'_>) -> Option<Step> {
    if !value.get_ref().is_table() {
        return r.text("steps", value).map(|run| Step { name: None, run });
    }
    let span = Span::from(value.span());
    let (mut name, mut run) = (None, None);
    for (key, value) in r.table("steps", value)? {
        match key.get_ref().as_ref() {
            "name" => name = r.text("name", value),
            "run" => run = Some(r.text("run", value)?),
            _ => r.unknown(&key, &KEYS[4], &[]),
        }
    }
    // A step without a script is an empty one, which is refused later, at this place.
    Some(Step { name, run: run.unwrap_or(At { value: String::new(), span }) })
}

fn outputs(r: &mut Reader<'_>, value: Value<'_>) -> Option<Outputs> {
    let mut outputs = Outputs::default();
    for (key, value) in r.table("outputs", value)? {
        match key.get_ref().as_ref() {
            "expect" => outputs.expect = r.list("expect", value),
            "overlap" => outputs.overlap = r.list("overlap", value),
            "main" => outputs.main = r.text("main", value),
            "derived" => outputs.derived = r.texts("derived", value),
            "extra" => outputs.extra = r.texts("extra", value),
            _ => r.unknown(&key, &KEYS[3], ELSEWHERE),
        }
    }
    Some(outputs)
}
