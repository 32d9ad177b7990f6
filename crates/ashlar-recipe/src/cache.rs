//! `ashlar-cache.toml` as the rest of Ashlar sees it: the layers of a workspace and the scopes
//! they are kept under.

/// The file that says what of a workspace is kept.
pub const CACHE_FILE: &str = "ashlar-cache.toml";

/// What of a workspace is kept, and under which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// In every key: a change of it forgets everything.
    pub version: String,
    /// The layers, in the order in which they stand in the file: the first that hits is restored.
    pub layers: Vec<CacheLayer>,
    /// Where results are looked for and kept.
    pub scope: Scope,
}

/// Some folders of a workspace, and the files that decide what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheLayer {
    /// What it is called.
    pub name: String,
    /// Globs of the files whose contents are its key.
    pub key: Vec<String>,
    /// Globs of what is kept.
    pub paths: Vec<String>,
    /// Variables of the environment whose values are in the key.
    pub env: Vec<String>,
}

/// Where results are looked for, in this order, and where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Where they are looked for.
    pub read: Vec<ScopeName>,
    /// Where they are kept.
    pub write: ScopeName,
}

/// The name of a scope, with what is to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeName(pub(crate) Vec<ScopePart>);

/// A part of the name of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScopePart {
    Text(String),
    Branch,
    Base,
}

/// What may be filled in.
pub(crate) const SCOPE_VARIABLES: [&str; 2] = ["branch", "base"];

impl ScopeName {
    /// The name for a branch, and for the one it goes to. `None` when it needs one that is not
    /// known.
    #[must_use]
    pub fn of(&self, branch: Option<&str>, base: Option<&str>) -> Option<String> {
        let mut name = String::new();
        for part in &self.0 {
            name.push_str(match part {
                ScopePart::Text(text) => text,
                ScopePart::Branch => branch?,
                ScopePart::Base => base?,
            });
        }
        Some(name)
    }

    /// As it was written.
    #[must_use]
    pub fn written(&self) -> String {
        let part = |part: &ScopePart| match part {
            ScopePart::Text(text) => text.clone(),
            ScopePart::Branch => "${branch}".to_owned(),
            ScopePart::Base => "${base}".to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

impl Cache {
    /// A layer by its name.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&CacheLayer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}
