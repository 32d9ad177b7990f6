//! What is in the key of a run, piece by piece, so that two keys can be compared.

use std::collections::BTreeMap;
use std::fmt;

use ashlar_object::{CanonicalHasher, StepKey};

/// Changed when the same pieces may mean another result.
const FORMAT: u64 = 1;

/// One piece of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Which one: a path, the name of a variable.
    pub name: String,
    /// What it was: a digest, a value.
    pub value: String,
}

/// The kinds of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An argument of the command, by its number.
    Argument,
    /// The folder it runs in.
    Directory,
    /// The kind of machine.
    Platform,
    /// A flag.
    Flag,
    /// A variable.
    Env,
    /// A variable that is only known by a fingerprint.
    Secret,
    /// A program.
    Tool,
    /// A file it reads.
    Input,
    /// What a link among its inputs leads to.
    Behind,
    /// A file that many runs share.
    Common,
    /// A file that another run may have made.
    Uses,
    /// A checkout.
    Git,
    /// A pattern of what it makes.
    Output,
}

impl Kind {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Argument, "argument"),
        (Self::Directory, "directory"),
        (Self::Platform, "platform"),
        (Self::Flag, "flag"),
        (Self::Env, "env"),
        (Self::Secret, "secret"),
        (Self::Tool, "tool"),
        (Self::Input, "input"),
        (Self::Behind, "link to"),
        (Self::Common, "common"),
        (Self::Uses, "uses"),
        (Self::Git, "git"),
        (Self::Output, "output"),
    ];

    /// The word for it, in records and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind)
    }

    /// Whether its values say something to people.
    fn is_readable(self) -> bool {
        match self {
            Self::Argument
            | Self::Directory
            | Self::Platform
            | Self::Flag
            | Self::Env
            | Self::Output => true,
            Self::Secret
            | Self::Tool
            | Self::Input
            | Self::Behind
            | Self::Common
            | Self::Uses
            | Self::Git => false,
        }
    }
}

/// The key that pieces make. They are sorted and without doubles afterwards.
#[must_use]
pub fn key_of(components: &mut Vec<Component>) -> StepKey {
    components.sort();
    components.dedup();
    let mut hasher = CanonicalHasher::new("ashlar run");
    hasher.number(FORMAT).number(components.len() as u64);
    for Component { kind, name, value } in components {
        hasher.text(kind.word()).text(name).text(value);
    }
    StepKey(hasher.finish())
}

/// The pieces as they are recorded: JSON, for people with other programs.
#[must_use]
pub fn encode(components: &[Component]) -> Vec<u8> {
    let rows: Vec<[&str; 3]> =
        components.iter().map(|one| [one.kind.word(), &one.name, &one.value]).collect();
    // Texts in lists always have a form.
    serde_json::to_vec(&rows).unwrap_or_default()
}

/// Reads what [`encode`] wrote; rows of kinds that are not known are passed over.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Component>> {
    let rows: Vec<[String; 3]> = serde_json::from_slice(bytes).ok()?;
    let read =
        |[kind, name, value]: [String; 3]| Some(Component { kind: Kind::of(&kind)?, name, value });
    Some(rows.into_iter().filter_map(read).collect())
}

/// One difference between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What kind of thing is different.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// What it was; `None` where it is new.
    pub was: Option<String>,
    /// What it is; `None` where it is gone.
    pub is: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, was, is } = self;
        write!(f, "{} {name}", kind.word())?;
        match (was, is) {
            (Some(was), Some(is)) if kind.is_readable() => write!(f, ": {was} → {is}"),
            (None, Some(is)) if kind.is_readable() && !is.is_empty() => write!(f, ": new: {is}"),
            (Some(was), None) if kind.is_readable() && !was.is_empty() => {
                write!(f, ": gone, was {was}")
            }
            (Some(_), Some(_)) => f.write_str(" changed"),
            (None, _) => f.write_str(" is new"),
            (_, None) => f.write_str(" is gone"),
        }
    }
}

/// What is different between the pieces of two keys.
#[must_use]
pub fn differences(was: &[Component], is: &[Component]) -> Vec<Difference> {
    fn by_name(all: &[Component]) -> BTreeMap<(Kind, &str), &str> {
        all.iter().map(|one| ((one.kind, &*one.name), &*one.value)).collect()
    }
    let (was, is) = (by_name(was), by_name(is));
    let mut found = Vec::new();
    for (&(kind, name), &now) in &is {
        let before = was.get(&(kind, name)).copied();
        if before != Some(now) {
            let (was, is) = (before.map(ToOwned::to_owned), Some(now.to_owned()));
            found.push(Difference { kind, name: name.to_owned(), was, is });
        }
    }
    for (&(kind, name), &before) in was.iter().filter(|(of, _)| !is.contains_key(*of)) {
        let was = Some(before.to_owned());
        found.push(Difference { kind, name: name.to_owned(), was, is: None });
    }
    found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: Kind, name: &str, value: &str) -> Component {
        Component { kind, name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let (a, b) = (one(Kind::Flag, "a", "1"), one(Kind::Env, "a", "1"));
        let key = |all: &[&Component]| key_of(&mut all.iter().map(|c| (*c).clone()).collect());
        assert_eq!(key(&[&a, &b]), key(&[&b, &a, &b]));
        let others = [one(Kind::Flag, "a", "2"), one(Kind::Flag, "b", "1"), b.clone()];
        for other in &others {
            assert_ne!(key(&[&a]), key(&[other]));
        }
        assert_ne!(key(&[&a]), key(&[&a, &b]));
    }

    #[test]
    fn records_read_back_and_differences_are_said() {
        let was = [
            one(Kind::Flag, "asan", "n"),
            one(Kind::Input, "src/a.c", "11 644"),
            one(Kind::Secret, "TOKEN", "ab"),
        ];
        assert_eq!(decode(&encode(&was)).unwrap(), was);
        let is = [
            one(Kind::Flag, "asan", "y"),
            one(Kind::Input, "src/b.c", "11 644"),
            one(Kind::Secret, "TOKEN", "cd"),
        ];
        let said: Vec<String> = differences(&was, &is).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "flag asan: n → y",
                "secret TOKEN changed",
                "input src/a.c is gone",
                "input src/b.c is new"
            ]
        );
    }
}
