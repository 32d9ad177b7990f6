//! The shape of the project file.

use toml::de::DeTable;

use super::reader::{Keys, Reader, Value};
use crate::written::{Base, Project, ProjectOption};

/// All keys, by table: the top of the file, `[project]`, `[options.NAME]`, `[base.NAME]`.
pub(crate) const KEYS: [Keys; 4] = [
    Keys { table: "", known: &["project", "env", "options", "base"] },
    Keys { table: "[project]", known: &["name", "default", "salt", "common"] },
    Keys { table: "[options.NAME]", known: &["type", "values", "default", "description"] },
    Keys {
        table: "[base.NAME]",
        known: &["suite", "variant", "packages", "path", "archive", "host"],
    },
];

pub(super) fn read(r: &mut Reader<'_>, table: DeTable<'_>) -> Project {
    let mut project = Project { file: r.file().to_owned(), ..Project::default() };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "project" => head(r, &mut project, value),
            "env" => project.env = r.named("env", value, Reader::text),
            "options" => project.options = r.named("options", value, option),
            "base" => project.bases = r.named("base", value, base),
            _ => r.unknown(&key, &KEYS[0], &KEYS[..2]),
        }
    }
    project
}

fn head(r: &mut Reader<'_>, project: &mut Project, value: Value<'_>) {
    project.span = value.span().into();
    let Some(table) = r.table("project", value) else { return };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "name" => project.name = r.text("name", value),
            "default" => project.default = r.texts("default", value),
            "salt" => project.salt = r.text("salt", value),
            "common" => project.common = r.list("common", value),
            _ => r.unknown(&key, &KEYS[1], &[]),
        }
    }
}

fn option(r: &mut Reader<'_>, path: &str, value: Value<'_>) -> Option<ProjectOption> {
    let mut option = ProjectOption::default();
    for (key, value) in r.table(path, value)? {
        match key.get_ref().as_ref() {
            "type" => option.type_ = r.text("type", value),
            "values" => option.values = r.texts("values", value),
            "default" => option.default = r.scalar("default", value),
            "description" => option.description = r.text("description", value),
            _ => r.unknown(&key, &KEYS[2], &[]),
        }
    }
    Some(option)
}

fn base(r: &mut Reader<'_>, path: &str, value: Value<'_>) -> Option<Base> {
    let mut base = Base::default();
    for (key, value) in r.table(path, value)? {
        match key.get_ref().as_ref() {
            "suite" => base.suite = r.text("suite", value),
            "variant" => base.variant = r.text("variant", value),
            "packages" => base.packages = r.texts("packages", value),
            "path" => base.path = r.text("path", value),
            "archive" => base.archive = r.text("archive", value),
            "host" => base.host = r.flag("host", &value),
            _ => r.unknown(&key, &KEYS[3], &[]),
        }
    }
    Some(base)
}
