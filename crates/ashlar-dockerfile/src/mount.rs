//! `RUN --mount=…`: its fields, and what they mean before stages and folders are known.

use std::collections::BTreeMap;

use ashlar_recipe::nearest;

use crate::image::Sharing;
use crate::report::Mistake;
use crate::words;
use crate::written::Flag;

/// Fields, under their longest names.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub kind: Kind,
    pub fields: BTreeMap<&'static str, String>,
}

/// The types of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Checkpoint,
}

impl Kind {
    const NAMES: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("checkpoint", Self::Checkpoint),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The fields it may have.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["target", "source", "from", "readwrite"],
            Self::Cache => {
                &["id", "target", "readwrite", "sharing", "from", "source", "mode", "uid", "gid"]
            }
            Self::Tmpfs => &["target", "size"],
            Self::Secret => &["id", "target", "env", "required", "mode", "uid", "gid"],
            Self::Checkpoint => &["target"],
        }
    }
}

/// The names of fields, and the one that stands for them.
const FIELDS: [(&str, &str); 18] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("required", "required"),
    ("size", "size"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
];

/// The name in `from=` of a mount, as written.
pub(crate) fn from(flag: &Flag) -> Option<String> {
    let fields = words::fields(flag.value.as_deref()?)?;
    fields.iter().rev().find_map(|field| {
        let (key, value) = field.split_once('=')?;
        key.eq_ignore_ascii_case("from").then(|| value.to_owned())
    })
}

/// Reads a mount. `expand` puts variables into values.
pub(crate) fn read(
    flag: &Flag,
    expand: &mut dyn FnMut(&str) -> Result<String, Mistake>,
) -> Result<Mount, Mistake> {
    let wrong = |message: String| Mistake::new(flag.span, message);
    let written = flag.value.as_deref().unwrap_or_default();
    let Some(fields) = words::fields(written) else {
        return Err(wrong("the quotes in `--mount` do not fit together".to_owned()));
    };
    let mut found: BTreeMap<&'static str, String> = BTreeMap::new();
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        let lower = key.to_ascii_lowercase();
        let known = FIELDS.iter().copied().chain([("env", "env")]);
        let Some((_, name)) = known.clone().find(|(name, _)| *name == lower) else {
            let mistake = wrong(format!("`--mount` has no field `{key}`"));
            return Err(match nearest(&lower, known.map(|(name, _)| name)) {
                _ if matches!(key, "z" | "Z" | "U") => {
                    mistake.help("leave it out: labels and owners of mounts are never changed")
                }
                Some(name) => mistake.help(format!("did you mean `{name}`?")),
                None => mistake,
            });
        };
        let value = match value {
            Some(value) if name == "from" && value.contains('$') => {
                return Err(wrong("`from` takes no variables".to_owned()).help(
                    "write `FROM IMAGE AS NAME` (where variables may be used) and `from=NAME`",
                ));
            }
            Some(value) => expand(value)?,
            None if matches!(name, "readonly" | "readwrite" | "required") => "true".to_owned(),
            None => return Err(wrong(format!("`{key}` in `--mount` needs a value"))),
        };
        // What is not writable is only read: one field is enough.
        let (name, value) = match (name, boolean(&value)) {
            ("readonly" | "readwrite" | "required", None) => {
                return Err(wrong(format!("`{key}` in `--mount` is either true or false")));
            }
            ("readonly", Some(only)) => ("readwrite", (!only).to_string()),
            ("readwrite" | "required", Some(value)) => (name, value.to_string()),
            (name, _) => (name, value),
        };
        if found.insert(name, value).is_some() {
            return Err(wrong(format!("`--mount` has `{key}` twice, or under two names")));
        }
    }
    let kind = kind(flag, found.remove("type").as_deref().unwrap_or("bind"))?;
    if kind == Kind::Secret {
        // `source` is an old name of `id`.
        let source = found.remove("source");
        if source.is_some_and(|source| found.insert("id", source).is_some()) {
            return Err(wrong("a secret has either `id` or `source`".to_owned()));
        }
    }
    check(Mount { kind, fields: found }, flag)
}

fn kind(flag: &Flag, name: &str) -> Result<Kind, Mistake> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, kind)) = Kind::NAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(*kind);
    }
    if lower == "ssh" {
        return Err(Mistake::new(flag.span, "mounts of type `ssh` are not supported")
            .label("an agent of the machine would be part of the build")
            .help("fetch the sources before the build, or give a key with `type=secret`"));
    }
    let mistake = Mistake::new(flag.span, format!("`{name}` is no type of mount"));
    let names = Kind::NAMES.map(|(name, _)| name);
    Err(match nearest(&lower, names) {
        Some(name) => mistake.help(format!("did you mean `{name}`?")),
        None => mistake.help(format!("types are {}", names.join(", "))),
    })
}

/// Refuses what a type of mount does not have, and values that mean nothing.
fn check(mount: Mount, flag: &Flag) -> Result<Mount, Mistake> {
    let wrong = |message: String| Mistake::new(flag.span, message);
    let name = mount.kind.name();
    for field in mount.fields.keys() {
        if !mount.kind.fields().contains(field) {
            let known = mount.kind.fields().join(", ");
            return Err(wrong(format!("a mount of type `{name}` has no field `{field}`"))
                .help(format!("it has {known}")));
        }
    }
    let target = mount.fields.get("target").map(String::as_str);
    // A bind mount without a target is seen in the working directory.
    let needs_target = !matches!(mount.kind, Kind::Secret | Kind::Bind);
    if target.is_none_or(str::is_empty) && needs_target {
        return Err(wrong(format!("a mount of type `{name}` needs a target"))
            .help("for example `target=/work`"));
    }
    if target == Some("/") {
        return Err(wrong("nothing can be mounted at `/`".to_owned()));
    }
    if mount.kind == Kind::Secret && !mount.fields.contains_key("id") && target.is_none() {
        return Err(wrong("a secret needs an `id`".to_owned()).help("for example `id=token`"));
    }
    mount.number("uid", 10, flag)?;
    mount.number("gid", 10, flag)?;
    if mount.number("mode", 8, flag)?.is_some_and(|mode| mode > 0o7777) {
        return Err(wrong("`mode` has at most four octal digits".to_owned()));
    }
    mount.sharing(flag)?;
    mount.size(flag)?;
    Ok(mount)
}

impl Mount {
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub fn is(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| value == "true")
    }

    pub fn number(&self, field: &str, radix: u32, flag: &Flag) -> Result<Option<u32>, Mistake> {
        let Some(text) = self.fields.get(field) else { return Ok(None) };
        u32::from_str_radix(text, radix).map(Some).map_err(|_| {
            let what = if radix == 8 { "an octal number" } else { "a number" };
            Mistake::new(flag.span, format!("`{field}` in `--mount` is {what}, not `{text}`"))
        })
    }

    pub fn sharing(&self, flag: &Flag) -> Result<Sharing, Mistake> {
        match self.fields.get("sharing").map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("shared") => Ok(Sharing::Shared),
            Some("private") => Ok(Sharing::Private),
            Some("locked") => Ok(Sharing::Locked),
            Some(other) => {
                Err(Mistake::new(flag.span, format!("`{other}` is no way to share a cache"))
                    .help("it is shared, private or locked"))
            }
        }
    }

    /// A number of bytes: `64m`, `1.5g`, `1024`.
    pub fn size(&self, flag: &Flag) -> Result<Option<u64>, Mistake> {
        let Some(text) = self.fields.get("size") else { return Ok(None) };
        bytes(text).map(Some).ok_or_else(|| {
            Mistake::new(flag.span, format!("`{text}` is no size"))
                .help("write a number of bytes, or with a unit: `64m`, `1g`")
        })
    }
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let digits = digits.trim();
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let (whole, part) = digits.split_once('.')?;
    let (whole, digits) = (whole.parse::<u64>().ok()?, part.get(..part.len().min(6))?);
    let part = digits.parse::<u64>().ok()?;
    let scale = 10u64.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(1 << shift)?.checked_add(part.checked_mul(1 << shift)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1.5g", Some(3 << 29)),
            ("1 k", Some(1024)),
            ("", None),
            ("x", None),
            ("-1", None),
            ("1x", None),
            ("99999999999t", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
