//! `.dockerignore`, and the wildcards of `COPY`.

use ashlar_recipe::{Problem, Problems};

/// The patterns of a `.dockerignore` or of `--exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {}

impl Ignore {
    /// From patterns as `COPY --exclude` has them.
    ///
    /// # Errors
    ///
    /// The pattern that is wrong, and why.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let _unused = patterns.into_iter().count();
        Err("patterns cannot be read yet".to_owned())
    }

    /// Whether a path (relative, clean, `/` between its parts) is left out. The last pattern that
    /// says something about the path, or about a folder above it, decides.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let _unused = path;
        false
    }

    /// Whether something below a folder that is left out may still be wanted: then it has to be
    /// walked.
    #[must_use]
    pub fn may_hold(&self, folder: &str) -> bool {
        let _unused = folder;
        true
    }
}

/// Reads a `.dockerignore`.
///
/// # Errors
///
/// Patterns that cannot be read.
pub fn ignore(name: &str, text: &str) -> Result<Ignore, Problems> {
    let _unused = (name, text);
    Err(Problems::gather(vec![Problem::new(".dockerignore cannot be read yet")], 0))
}

/// Whether a wildcard pattern of a `COPY` source matches a whole path: `*` and `?` stay within one
/// part of the path, `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is. With
/// `doublestar` (as with `--parents`), a part `**` is any number of parts.
///
/// A pattern that is wrong (see [`crate::parse()`], which refuses it) matches nothing.
#[must_use]
pub fn matches(pattern: &str, path: &str, doublestar: bool) -> bool {
    let _unused = (pattern, path, doublestar);
    false
}
