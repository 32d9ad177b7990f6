//! The package sources of a machine: `sources.list(5)` in both its formats.

use std::path::{Path, PathBuf};

use super::AptError;
use crate::deb822::{self, Stanza};

/// The options of one-line entries, and the fields that stand for them in stanzas.
const OPTIONS: [(&str, &str); 14] = [
    ("arch", "Architectures"),
    ("lang", "Languages"),
    ("target", "Targets"),
    ("pdiffs", "PDiffs"),
    ("by-hash", "By-Hash"),
    ("allow-insecure", "Allow-Insecure"),
    ("allow-weak", "Allow-Weak"),
    ("allow-downgrade-to-insecure", "Allow-Downgrade-To-Insecure"),
    ("trusted", "Trusted"),
    ("signed-by", "Signed-By"),
    ("check-valid-until", "Check-Valid-Until"),
    ("valid-until-min", "Valid-Until-Min"),
    ("valid-until-max", "Valid-Until-Max"),
    ("check-date", "Check-Date"),
];

/// One entry: a stanza of a `.sources` file.
#[derive(Clone, Debug)]
pub(super) struct Entry(Stanza);

impl Entry {
    /// The suites as written.
    pub fn suites(&self) -> Vec<&str> {
        self.0.get("Suites").unwrap_or_default().split_ascii_whitespace().collect()
    }

    /// The roots of the archives.
    pub fn roots(&self) -> Vec<&str> {
        self.0.get("URIs").unwrap_or_default().split_ascii_whitespace().collect()
    }

    /// The entry with only some of its suites; `None` when none is left.
    pub fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let suites: Vec<_> = self.suites().into_iter().filter(|suite| is_wanted(suite)).collect();
        if suites.is_empty() {
            return None;
        }
        let mut stanza = self.0.clone();
        stanza.set("Suites", &suites.join(" "));
        Some(Self(stanza))
    }

    /// The stanza for packages and sources, and for nothing else that the machine may fetch.
    pub fn to_text(&self) -> String {
        self.0.to_text()
    }
}

/// The enabled binary entries of a machine, in apt's order.
pub(super) fn of_machine(etc: &Path) -> Result<Vec<Entry>, AptError> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(parts) = std::fs::read_dir(etc.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut entries = Vec::new();
    for file in files {
        let kind = file.extension().and_then(|e| e.to_str());
        if !matches!(kind, Some("list" | "sources")) {
            continue;
        }
        let text = match std::fs::read_to_string(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => {
                other.map_err(|e| AptError::Entry { file: file.clone(), what: e.to_string() })?
            }
        };
        entries.extend(match kind {
            Some("sources") => of_stanzas(&text, &file)?,
            _ => of_lines(&text, &file)?,
        });
    }
    Ok(entries)
}

/// The enabled binary entries of a `.sources` file.
pub(super) fn of_stanzas(text: &str, file: &Path) -> Result<Vec<Entry>, AptError> {
    let stanzas = deb822::parse(text).map_err(|line| AptError::Entry {
        file: file.to_owned(),
        what: format!("line {line} cannot be read"),
    })?;
    let is_on = |stanza: &Stanza| {
        let off = ["no", "false", "0", "off", "without", "disable"];
        let enabled = stanza.get("Enabled").unwrap_or("yes").to_ascii_lowercase();
        let types = stanza.get("Types").unwrap_or_default();
        !off.contains(&enabled.as_str()) && types.split_ascii_whitespace().any(|t| t == "deb")
    };
    Ok(stanzas.into_iter().filter(is_on).filter_map(prepared).collect())
}

/// The binary entries of a one-line file.
fn of_lines(text: &str, file: &Path) -> Result<Vec<Entry>, AptError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t'])) else {
            continue;
        };
        let bad = |what: &str| AptError::Entry {
            file: file.to_owned(),
            what: format!("line {}: {what}", index + 1),
        };
        let mut stanza = Stanza::default();
        let mut rest = rest.trim();
        if let Some(inner) = rest.strip_prefix('[') {
            let (options, after) = inner.split_once(']').ok_or_else(|| bad("no `]`"))?;
            for option in options.split_ascii_whitespace() {
                let (name, value) =
                    option.split_once('=').ok_or_else(|| bad("an option without `=`"))?;
                let (name, suffix) = match name.strip_suffix('+') {
                    Some(name) => (name, "-Add"),
                    None => name.strip_suffix('-').map_or((name, ""), |name| (name, "-Remove")),
                };
                if let Some((_, field)) = OPTIONS.iter().find(|(option, _)| *option == name) {
                    stanza.set(&format!("{field}{suffix}"), &value.replace(',', " "));
                }
            }
            rest = after.trim();
        }
        let mut parts = rest.split_ascii_whitespace();
        let (Some(uri), Some(suite)) = (parts.next(), parts.next()) else {
            return Err(bad("an entry without address or suite"));
        };
        stanza.set("URIs", uri);
        stanza.set("Suites", suite);
        let components: Vec<_> = parts.collect();
        if !components.is_empty() {
            stanza.set("Components", &components.join(" "));
        }
        entries.extend(prepared(stanza));
    }
    Ok(entries)
}

/// Both kinds of packages, and no translations, contents or icons.
fn prepared(mut stanza: Stanza) -> Option<Entry> {
    let uris = stanza.get("URIs").unwrap_or_default().to_owned();
    let uris: Vec<_> =
        uris.split_ascii_whitespace().filter(|uri| !uri.starts_with("cdrom:")).collect();
    if uris.is_empty() {
        return None;
    }
    stanza.set("URIs", &uris.join(" "));
    stanza.set("Types", "deb deb-src");
    stanza.set("Targets", "Packages Sources");
    stanza.remove("Enabled");
    Some(Entry(stanza))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let lines = "# c\ndeb [arch=amd64,arm64 signed-by=/k.gpg] http://m/debian x main contrib # c\n\
                     deb-src http://m/debian x main\ndeb cdrom:[x]/ x main\n";
        let found = of_lines(lines, Path::new("l")).unwrap();
        assert_eq!(found.len(), 1);
        let stanza = "Types: deb\nURIs: http://m/debian\nSuites: x\nComponents: main contrib\n\
                      Architectures: amd64 arm64\nSigned-By: /k.gpg\n\n\
                      Types: deb\nEnabled: no\nURIs: u\nSuites: s\n\nTypes: deb-src\nURIs: u\n";
        let same = of_stanzas(stanza, Path::new("s")).unwrap();
        assert_eq!(same.len(), 1);
        for field in ["Types", "URIs", "Suites", "Components", "Architectures", "Signed-By"] {
            assert_eq!(found[0].0.get(field), same[0].0.get(field), "{field}");
        }
        assert!(of_lines("deb [x http://m s\n", Path::new("l")).is_err());
        assert!(of_lines("deb http://m\n", Path::new("l")).is_err());
    }

    #[test]
    fn suites_are_chosen() {
        let stanza = "Types: deb\nURIs: u\nSuites: x x-updates y\n";
        let entry = &of_stanzas(stanza, Path::new("s")).unwrap()[0];
        let only = entry.only(|suite| suite.starts_with('x')).unwrap();
        assert_eq!(only.suites(), ["x", "x-updates"]);
        assert!(entry.only(|_| false).is_none());
    }
}
