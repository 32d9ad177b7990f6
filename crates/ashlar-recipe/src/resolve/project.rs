//! The project file: options with the values of this invocation, bases.

use std::collections::BTreeMap;

use super::{Notes, Pen, check, option_variable};
use crate::problem::{Problem, enumerate, nearest};
use crate::remote::Remote;
use crate::resolved::{Base, OptionValue};
use crate::written::{self, Scalar, Text};

/// A project without its modules.
pub(super) struct Head {
    pub file: String,
    pub name: String,
    pub default: Option<written::At<Vec<Text>>>,
    pub salt: String,
    pub builder: Option<String>,
    pub common: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub options: BTreeMap<String, OptionValue>,
    pub bases: BTreeMap<String, Base>,
    pub remotes: Vec<Remote>,
    /// Every base that is declared, also those with a problem: a module that names one of these
    /// has none itself.
    pub declared_bases: Vec<String>,
    /// The same for options.
    pub declared_options: Vec<String>,
}

pub(super) fn head(
    project: written::Project,
    given: &[(String, String)],
    notes: &mut Notes,
) -> Head {
    let declared_bases = project.bases.iter().map(|(name, _)| name.value.clone()).collect();
    let declared_options: Vec<String> =
        project.options.iter().map(|(name, _)| name.value.clone()).collect();
    let mut pen = Pen { file: &project.file, notes };
    let name = match project.name {
        Some(name) => {
            let found = check::plain_name(&name.value);
            let help = "letters, digits, `.`, `_`, `+` and `-`, a letter or digit first";
            pen.checked(&name, found, help);
            name.value
        }
        None => {
            let help = "write `[project]` and below it `name = \"…\"`";
            pen.wrong(project.span, "the project has no name", help);
            String::new()
        }
    };
    let common = pen.globs(project.common);
    let env = pen.env(project.env);
    let (options, values) = options(project.options, &mut pen);
    let bases = bases(project.bases, &mut pen);
    let remotes = super::remote::remotes(project.remotes, &mut pen);
    let options = apply(options, &values, &declared_options, given, notes);
    Head {
        file: project.file,
        name,
        default: project.default,
        salt: project.salt.map(|salt| salt.value).unwrap_or_default(),
        builder: project.builder.map(|builder| builder.value),
        common,
        env,
        options,
        bases,
        remotes,
        declared_bases,
        declared_options,
    }
}

/// The values that each option may have; any for a string.
type Allowed = BTreeMap<String, Option<Vec<String>>>;

/// The options with their defaults.
fn options(
    written: written::Named<written::ProjectOption>,
    pen: &mut Pen<'_>,
) -> (BTreeMap<String, OptionValue>, Allowed) {
    let mut options = BTreeMap::new();
    let mut allowed = Allowed::new();
    let mut variables: BTreeMap<String, Text> = BTreeMap::new();
    for (name, option) in written {
        let found = check::plain_name(&name.value);
        let help = "letters, digits, `.`, `_`, `+` and `-`, a letter or digit first";
        if pen.checked(&name, found, help).is_none() {
            continue;
        }
        let variable = option_variable(&name.value);
        if let Some(other) = variables.get(&variable) {
            let message =
                format!("options `{}` and `{}` share a variable", other.value, name.value);
            let problem = Problem::new(message)
                .at(pen.file, name.span, format!("steps see both as `{variable}`"))
                .and(pen.file, other.span, format!("`{}` is declared here", other.value))
                .help("rename one of them");
            pen.notes.add(problem);
            continue;
        }
        variables.insert(variable, name.clone());
        if let Some((default, values)) = option_values(&name, option, pen) {
            options.insert(name.value.clone(), OptionValue { value: default.clone(), default });
            allowed.insert(name.value, values);
        }
    }
    (options, allowed)
}

/// The default of an option, and the values it may have.
fn option_values(
    name: &Text,
    option: written::ProjectOption,
    pen: &mut Pen<'_>,
) -> Option<(String, Option<Vec<String>>)> {
    let Some(type_) = option.type_ else {
        let message = format!("option `{}` has no type", name.value);
        pen.wrong(name.span, message, "write `type = \"bool\"`, `\"enum\"` or `\"string\"`");
        return None;
    };
    if let (Some(values), "bool" | "string") = (&option.values, type_.value.as_str()) {
        let message = format!("an option of type `{}` has no values", type_.value);
        pen.wrong(values.span, message, "write `type = \"enum\"`, or leave `values` out");
        return None;
    }
    let both = || vec!["true".to_owned(), "false".to_owned()];
    match (type_.value.as_str(), option.default.map(|d| (d.value, d.span))) {
        ("bool", None) => Some(("false".to_owned(), Some(both()))),
        ("bool", Some((Scalar::Bool(value), _))) => Some((value.to_string(), Some(both()))),
        ("bool", Some((Scalar::Text(_), span))) => {
            let message = format!("the default of `{}` must be `true` or `false`", name.value);
            pen.wrong(span, message, "write it without quotes");
            None
        }
        ("string" | "enum", Some((Scalar::Bool(value), span))) => {
            let message = format!("the default of `{}` must be a text", name.value);
            pen.wrong(span, message, format!("write `\"{value}\"`, or `type = \"bool\"`"));
            None
        }
        ("string", None) => Some((String::new(), None)),
        ("string", Some((Scalar::Text(value), _))) => Some((value, None)),
        ("enum", default) => {
            let values = option.values.map(|v| v.value).unwrap_or_default();
            let values: Vec<String> = values.into_iter().map(|v| v.value).collect();
            let Some(first) = values.first() else {
                let message = format!("option `{}` is an enum without values", name.value);
                pen.wrong(type_.span, message, "write `values = [\"…\", \"…\"]`");
                return None;
            };
            match default {
                Some((Scalar::Text(value), span)) if !values.contains(&value) => {
                    let message =
                        format!("the default of `{}` is not one of its values", name.value);
                    let help =
                        format!("values are {}", enumerate(values.iter().map(String::as_str)));
                    pen.wrong(span, message, help);
                    None
                }
                Some((Scalar::Text(value), _)) => Some((value, Some(values))),
                _ => Some((first.clone(), Some(values))),
            }
        }
        (other, _) => {
            let message = format!("unknown type `{}` of an option", other.escape_debug());
            pen.wrong(type_.span, message, "types are `bool`, `enum` and `string`");
            None
        }
    }
}

/// Gives options the values of this invocation; the last one counts.
fn apply(
    mut options: BTreeMap<String, OptionValue>,
    allowed: &Allowed,
    declared: &[String],
    given: &[(String, String)],
    notes: &mut Notes,
) -> BTreeMap<String, OptionValue> {
    for (name, value) in given {
        let flag = format!("`--option {}={}`", name.escape_debug(), value.escape_debug());
        let Some(option) = options.get_mut(name) else {
            if declared.contains(name) {
                continue; // The declaration has a problem of its own.
            }
            let help = match nearest(name, declared.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if declared.is_empty() => "the project declares none".to_owned(),
                None => {
                    format!("declared are {}", enumerate(declared.iter().map(String::as_str)))
                }
            };
            notes.add(Problem::new(format!("{flag}: there is no such option")).help(help));
            continue;
        };
        if let Some(Some(values)) = allowed.get(name)
            && !values.contains(value)
        {
            let help = format!("values are {}", enumerate(values.iter().map(String::as_str)));
            notes.add(Problem::new(format!("{flag}: there is no such value")).help(help));
            continue;
        }
        if value.contains('\0') {
            notes.add(Problem::new(format!("{flag}: the value contains a NUL character")));
            continue;
        }
        option.value.clone_from(value);
    }
    options
}

fn bases(written: written::Named<written::Base>, pen: &mut Pen<'_>) -> BTreeMap<String, Base> {
    let mut bases = BTreeMap::new();
    for (name, base) in written {
        let found = check::plain_name(&name.value);
        let help = "letters, digits, `.`, `_`, `+` and `-`, a letter or digit first";
        if pen.checked(&name, found, help).is_some()
            && let Some(base) = base_of(&name, base, pen)
        {
            bases.insert(name.value, base);
        }
    }
    bases
}

fn base_of(name: &Text, base: written::Base, pen: &mut Pen<'_>) -> Option<Base> {
    let host = base.host.filter(|host| host.value);
    let origins = [
        ("suite", base.suite.as_ref().map(|s| s.span)),
        ("path", base.path.as_ref().map(|s| s.span)),
        ("archive", base.archive.as_ref().map(|s| s.span)),
        ("host", host.as_ref().map(|s| s.span)),
    ];
    let mut found = origins.iter().filter_map(|(key, span)| span.map(|span| (*key, span)));
    match (found.next(), found.next()) {
        (Some(_), None) => {}
        (None, _) => {
            let message = format!("base `{}` says nothing about where it comes from", name.value);
            let help = "write one of `suite`, `path`, `archive` or `host = true`";
            pen.wrong(name.span, message, help);
            return None;
        }
        (Some((first, at)), Some((second, span))) => {
            let message = format!("base `{}` has both `{first}` and `{second}`", name.value);
            let problem = Problem::new(message)
                .at(pen.file, span, "")
                .and(pen.file, at, format!("`{first}` is here"))
                .help("a base comes from one place");
            pen.notes.add(problem);
            return None;
        }
    }
    if base.suite.is_none() {
        let variant = base.variant.as_ref().map(|v| ("variant", v.span));
        let packages = base.packages.as_ref().map(|p| ("packages", p.span));
        for (key, span) in variant.into_iter().chain(packages) {
            let message = format!("`{key}` is for Debian bases only");
            pen.wrong(span, message, "a Debian base has a `suite`");
        }
    }
    if let Some(suite) = base.suite {
        let found = check::word(&suite.value);
        pen.checked(&suite, found, "for instance `bookworm`");
        if let Some(variant) = &base.variant {
            let found = check::word(&variant.value);
            pen.checked(variant, found, "for instance `buildd` or `minbase`");
        }
        let packages = base.packages.map(|packages| packages.value).unwrap_or_default();
        return Some(Base::Debian {
            suite: suite.value,
            variant: base.variant.map_or_else(|| "buildd".to_owned(), |variant| variant.value),
            packages: pen.set(packages, check::apt_package),
        });
    }
    let help = "paths are relative to the project";
    if let Some(path) = base.path {
        let found = check::some_path(&path.value);
        return pen.checked(&path, found, help).map(|path| Base::Path(path.into()));
    }
    if let Some(archive) = base.archive {
        let found = check::some_path(&archive.value);
        return pen.checked(&archive, found, help).map(|path| Base::Archive(path.into()));
    }
    Some(Base::Host)
}
