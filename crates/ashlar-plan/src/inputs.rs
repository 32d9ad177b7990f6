//! The inputs of a key, by name, and the key they give.

use std::fmt;

use ashlar_object::{CanonicalHasher, Digest, StepKey};
use serde::{Deserialize, Serialize};

/// What an input is. The text forms are for people; keys use a fixed number and the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "input", content = "name")]
pub enum InputName {
    /// The version of the key format.
    Format,
    /// `salt` of the project.
    ProjectSalt,
    /// `salt` of the module.
    ModuleSalt,
    /// The architecture built for.
    Architecture,
    /// The kind of the module or step.
    Kind,
    /// A script: `configure`, `compile`, ….
    Script(String),
    /// A variable of the declared environment.
    Env(String),
    /// An option the module uses.
    Option(String),
    /// A common file, by its path in the project.
    Common(String),
    /// The base, by name.
    Base(String),
    /// The tools added to the base.
    Tools,
    /// A Debian package in a base or among tools.
    Package(String),
    /// A source file or tree.
    Source(String),
    /// A patch, by its path in the project.
    Patch(String),
    /// In which order patches are applied.
    PatchOrder,
    /// How a source is unpacked: where it goes, how many path components patches drop.
    Layout(String),
    /// A module this one depends on.
    Dependency(String),
    /// In which order dependencies are laid over one another, where that can matter.
    DependencyOrder,
    /// What the outputs must contain, and where dependencies may overlap.
    Outputs(String),
}

impl InputName {
    /// A fixed number for the variant, as it enters keys. Numbers are never used again.
    const fn tag(&self) -> u64 {
        match self {
            Self::Format => 1,
            Self::ProjectSalt => 2,
            Self::ModuleSalt => 3,
            Self::Architecture => 4,
            Self::Kind => 5,
            Self::Script(_) => 6,
            Self::Env(_) => 7,
            Self::Option(_) => 8,
            Self::Common(_) => 9,
            Self::Base(_) => 10,
            Self::Tools => 11,
            Self::Package(_) => 12,
            Self::Source(_) => 13,
            Self::Patch(_) => 14,
            Self::PatchOrder => 15,
            Self::Layout(_) => 16,
            Self::Dependency(_) => 17,
            Self::DependencyOrder => 18,
            Self::Outputs(_) => 19,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Format
            | Self::ProjectSalt
            | Self::ModuleSalt
            | Self::Architecture
            | Self::Kind
            | Self::Tools
            | Self::PatchOrder
            | Self::DependencyOrder => "",
            Self::Script(name)
            | Self::Env(name)
            | Self::Option(name)
            | Self::Common(name)
            | Self::Base(name)
            | Self::Package(name)
            | Self::Source(name)
            | Self::Patch(name)
            | Self::Layout(name)
            | Self::Dependency(name)
            | Self::Outputs(name) => name,
        }
    }
}

impl fmt::Display for InputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Format => "key format",
            Self::ProjectSalt => "project salt",
            Self::ModuleSalt => "module salt",
            Self::Architecture => "architecture",
            Self::Kind => "kind",
            Self::Script(_) => "script",
            Self::Env(_) => "environment",
            Self::Option(_) => "option",
            Self::Common(_) => "common file",
            Self::Base(_) => "base",
            Self::Tools => "tools",
            Self::Package(_) => "package",
            Self::Source(_) => "source",
            Self::Patch(_) => "patch",
            Self::PatchOrder => "patch order",
            Self::Layout(_) => "layout of source",
            Self::Dependency(_) => "dependency",
            Self::DependencyOrder => "dependency order",
            Self::Outputs(_) => "outputs",
        };
        match self.name() {
            "" => f.write_str(kind),
            name => write!(f, "{kind} {name}"),
        }
    }
}

/// The value of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Text as written.
    Text(String),
    /// The content of a file.
    File(#[serde(with = "as_text")] Digest),
    /// A file known by its SHA-256 alone, as a recipe or lock file names it.
    Sha256(String),
    /// A folder: the digest of its encoded tree.
    Tree(#[serde(with = "as_text")] Digest),
    /// The result of another step, which has inputs of its own.
    Step(#[serde(with = "as_text")] StepKey),
}

impl Value {
    fn hash(&self, hasher: &mut CanonicalHasher) {
        match self {
            Self::Text(text) => hasher.number(1).text(text),
            Self::File(digest) => hasher.number(2).bytes(&digest.hash).number(digest.size),
            Self::Sha256(hex) => hasher.number(3).text(hex),
            Self::Tree(digest) => hasher.number(4).bytes(&digest.hash).number(digest.size),
            Self::Step(key) => hasher.number(5).bytes(&key.0),
        };
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::File(digest) | Self::Tree(digest) => f.write_str(&digest.short()),
            Self::Sha256(hex) => f.write_str(hex.get(..12).unwrap_or(hex)),
            Self::Step(key) => f.write_str(&key.short()),
        }
    }
}

/// One input of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is.
    #[serde(flatten)]
    pub name: InputName,
    /// What it is now.
    pub value: Value,
}

/// All inputs of a key, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyInputs(Vec<Input>);

impl KeyInputs {
    /// Adds an input.
    pub fn add(&mut self, name: InputName, value: Value) {
        self.0.push(Input { name, value });
    }

    /// Adds an input of text.
    pub fn text(&mut self, name: InputName, text: impl Into<String>) {
        self.add(name, Value::Text(text.into()));
    }

    /// What an input of text says.
    #[must_use]
    pub fn text_of(&self, name: &InputName) -> Option<&str> {
        self.0.iter().find(|input| input.name == *name).and_then(|input| match &input.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Sorts the inputs and computes the key.
    #[must_use]
    pub fn seal(mut self, purpose: &str) -> (Self, StepKey) {
        self.0.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = CanonicalHasher::new(purpose);
        hasher.number(self.0.len() as u64);
        for input in &self.0 {
            hasher.number(input.name.tag()).text(input.name.name());
            input.value.hash(&mut hasher);
        }
        (self, StepKey(hasher.finish()))
    }

    /// The inputs in order.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.0
    }

    /// As JSON, one array: how inputs are kept beside results.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and digests only: there is nothing in it that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`KeyInputs::to_json`] wrote; `None` for anything else, above all for what a
    /// later version wrote.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> KeyInputs {
        let mut inputs = KeyInputs::default();
        inputs.text(InputName::Env("CFLAGS".into()), "-O2");
        inputs.text(InputName::Format, "1");
        inputs.add(InputName::Source("a".into()), Value::File(Digest::of(b"a")));
        inputs.add(InputName::Dependency("zlib".into()), Value::Step(StepKey([7; 32])));
        inputs.add(InputName::Source("b".into()), Value::Tree(Digest::EMPTY));
        inputs
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut other = KeyInputs::default();
        for input in inputs().0.into_iter().rev() {
            other.add(input.name, input.value);
        }
        assert_eq!(inputs().seal("x").1, other.seal("x").1);
    }

    #[test]
    fn names_and_values_enter_the_key() {
        let key = inputs().seal("x").1;
        for index in 0..inputs().0.len() {
            let mut renamed = inputs();
            renamed.0[index].name = InputName::Option("other".into());
            assert_ne!(renamed.seal("x").1, key);
            let mut changed = inputs();
            changed.0[index].value = Value::Text("other".into());
            assert_ne!(changed.seal("x").1, key);
        }
        assert_ne!(inputs().seal("y").1, key);
    }

    #[test]
    fn reads_what_it_writes() {
        let (sealed, _) = inputs().seal("x");
        assert_eq!(KeyInputs::from_json(&sealed.to_json()), Some(sealed));
        assert_eq!(KeyInputs::from_json(b"[{\"input\":\"later\",\"value\":{}}]"), None);
    }
}
