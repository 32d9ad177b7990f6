//! Arguments: which there are, where each comes from, and what a word with variables means.

use ashlar_recipe::nearest;

use super::Request;
use crate::expand::{Reading, expand};
use crate::report::{Mistake, Report};
use crate::written::{Body, Word};
use crate::{Configuration, Dockerfile, Platform, Rule};

/// Arguments that need no `ARG`, and are in no key and no history.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Whether an argument about proxies is meant, in lower or upper case.
pub(super) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_uppercase())
}

/// Whether an argument may be given though nothing declares it.
pub(super) fn is_predefined(name: &str) -> bool {
    is_proxy(name) || name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")
}

/// Arguments in the order in which they were declared, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    args: Vec<(String, Option<String>)>,
}

impl Scope {
    /// Declares an argument. Without a value, one that it had stays.
    pub fn declare(&mut self, name: &str, value: Option<String>) {
        match self.args.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => {
                if value.is_some() {
                    *old = value;
                }
            }
            None => self.args.push((name.to_owned(), value)),
        }
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// The value of an argument.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.args.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref())
    }

    /// Whether an argument is declared, with or without a value.
    pub fn declares(&self, name: &str) -> bool {
        self.args.iter().any(|(n, _)| n == name)
    }

    /// The arguments that have values, in order.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.args.iter().filter_map(|(n, value)| Some((n.as_str(), value.as_deref()?)))
    }

    /// A word of `FROM`: every variable has to have a value, or a default in the word.
    pub fn expand_from(&self, word: &Word, escape: char) -> Result<String, Mistake> {
        let lookup = |name: &str| self.value(name).map(str::to_owned);
        let expanded = expand(&word.text, Reading { escape, quotes: true }, &lookup)
            .map_err(|why| unreadable(word, &why))?;
        let Some(name) = expanded.unset.first() else { return Ok(expanded.text) };
        if self.declares(name) {
            return Err(Mistake::new(word.span, format!("the argument `{name}` has no value"))
                .help(format!("write `ARG {name}=…`, or build with --build-arg {name}=…")));
        }
        let mistake = Mistake::new(word.span, format!("no argument `{name}` is declared here"));
        let declared = self.args.iter().map(|(name, _)| name.as_str());
        Err(match nearest(name, declared) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake
                .help(format!("write `ARG {name}=…` before the first FROM; FROM sees only those")),
        })
    }
}

/// What a word that cannot be expanded is refused with.
fn unreadable(word: &Word, why: &str) -> Mistake {
    let shown: String = word.text.chars().take(60).collect();
    Mistake::new(word.span, format!("`{shown}` cannot be expanded: {why}"))
}

/// Puts variables into a word: those of the environment, then arguments. What nothing sets is empty
/// and worth a warning.
pub(super) fn expand_word(
    word: &Word,
    reading: Reading,
    scope: &Scope,
    configuration: &Configuration,
    report: &mut Report<'_>,
) -> Result<String, Mistake> {
    let lookup =
        |name: &str| configuration.variable(name).or_else(|| scope.value(name)).map(str::to_owned);
    let expanded = expand(&word.text, reading, &lookup).map_err(|why| {
        let mistake = unreadable(word, &why);
        match why.split('`').nth(1).filter(|name| scope.declares(name)) {
            Some(name) => mistake.help(format!("build with --build-arg {name}=…")),
            None => mistake,
        }
    })?;
    for name in expanded.unset.iter().filter(|name| !scope.declares(name) && is_name(name)) {
        if report.is_full() {
            break;
        }
        let mistake = Mistake::new(word.span, format!("nothing sets the variable `{name}`"));
        let variables = configuration.env.iter().map(|(name, _)| name.as_str());
        let known = variables.chain(scope.args.iter().map(|(name, _)| name.as_str()));
        let mistake = match nearest(name, known) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake.help(format!("write `ARG {name}` or `ENV {name}=…` before it")),
        };
        report.warn(Rule::UndefinedVariable, mistake);
    }
    Ok(expanded.text)
}

/// Not `$1` or `$@`, which are the shell's.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The arguments before the first `FROM`, after those that every file has.
pub(super) fn globals(file: &Dockerfile, request: &Request<'_>, report: &mut Report<'_>) -> Scope {
    let mut scope = Scope::default();
    for (prefix, platform) in [("BUILD", &request.build_platform), ("TARGET", &request.platform)] {
        for (name, value) in automatic(platform) {
            let name = format!("{prefix}{name}");
            let value = request.args.get(&name).cloned().unwrap_or(value);
            scope.declare(&name, Some(value));
        }
    }
    let stage = request.target.map_or("default", |target| target).to_owned();
    scope.declare("TARGETSTAGE", Some(stage));
    for statement in &file.globals {
        let Body::Arg(args) = &statement.body else { continue };
        for (name, default) in args {
            let value = match (request.args.get(&name.text), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(word)) => {
                    let reading = Reading { escape: file.escape, quotes: true };
                    let none = Configuration::default();
                    let value = expand_word(word, reading, &scope, &none, report);
                    report.take(value)
                }
                (None, None) => None,
            };
            scope.declare(&name.text, value);
        }
    }
    scope
}

/// `PLATFORM`, `OS`, … of a platform.
fn automatic(platform: &Platform) -> [(&'static str, String); 5] {
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", String::new()),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", platform.variant.clone().unwrap_or_default()),
    ]
}
