//! The shape of the project file.

use toml::de::DeTable;

use super::reader::{Keys, Reader, Value};
use crate::written::{Base, Project, ProjectOption, Remote};

/// All keys, by table: the top of the file, `[project]`, `[options.NAME]`, `[base.NAME]`,
/// `[[remote]]`.
pub(crate) const KEYS: [Keys; 5] = [
    Keys { table: "", known: &["project", "env", "options", "base", "remote"] },
    Keys { table: "[project]", known: &["name", "default", "salt", "common", "builder"] },
    Keys { table: "[options.NAME]", known: &["type", "values", "default", "description"] },
    Keys {
        table: "[base.NAME]",
        known: &["suite", "variant", "packages", "path", "archive", "host"],
    },
    Keys {
        table: "[[remote]]",
        known: &[
            "name",
            "url",
            "read",
            "write",
            "write_branches",
            "layout",
            "endpoint",
            "region",
            "insecure",
            "ca",
            "certificate",
            "key",
            "token_env",
            "token_file",
            "require_signature",
            "sign",
            "timeout",
        ],
    },
];

/// Keys that would hold a secret. What is said of them does not show their line.
const SECRETS: [&str; 7] =
    ["token", "password", "passwd", "secret", "secret_key", "access_key", "credentials"];

pub(super) fn read(r: &mut Reader<'_>, table: DeTable<'_>) -> Project {
    let mut project = Project { file: r.file().to_owned(), ..Project::default() };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "project" => head(r, &mut project, value),
            "env" => project.env = r.named("env", value, Reader::text),
            "options" => project.options = r.named("options", value, option),
            "base" => project.bases = r.named("base", value, base),
            "remote" => {
                let each = r.tables("remote", value);
                project.remotes = each.into_iter().filter_map(|item| remote(r, item)).collect();
            }
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
            "builder" => project.builder = r.text("builder", value),
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

fn remote(r: &mut Reader<'_>, value: Value<'_>) -> Option<Remote> {
    let span = value.span().into();
    let mut remote = Remote { span, ..Remote::default() };
    for (key, value) in r.table("remote", value)? {
        match key.get_ref().as_ref() {
            "name" => remote.name = r.text("name", value),
            "url" => remote.url = r.text("url", value),
            "read" => remote.read = r.flag("read", &value),
            "write" => remote.write = r.scalar("write", value),
            "write_branches" => remote.write_branches = r.texts("write_branches", value),
            "layout" => remote.layout = r.text("layout", value),
            "endpoint" => remote.endpoint = r.text("endpoint", value),
            "region" => remote.region = r.text("region", value),
            "insecure" => remote.insecure = r.flag("insecure", &value),
            "ca" => remote.ca = r.text("ca", value),
            "certificate" => remote.certificate = r.text("certificate", value),
            "key" => remote.key = r.text("key", value),
            "token_env" => remote.token_env = r.text("token_env", value),
            "token_file" => remote.token_file = r.text("token_file", value),
            "require_signature" => {
                remote.require_signature = r.texts("require_signature", value);
            }
            "sign" => remote.sign = r.text("sign", value),
            "timeout" => remote.timeout = r.text("timeout", value),
            secret if SECRETS.contains(&secret) => {
                let message = format!("`{secret}` does not stand in a project file");
                let help = "everybody reads it: `token_env` names a variable, `token_file` a file";
                r.wrong(span, message, help);
            }
            _ => r.unknown(&key, &KEYS[4], &[]),
        }
    }
    Some(remote)
}
