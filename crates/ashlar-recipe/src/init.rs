//! The files that `ashlar init` writes.

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where, relative to the project.
    pub path: &'static str,
    /// What.
    pub text: String,
}

/// The files of a new project called `name` with a Debian base of `suite`.
#[must_use]
pub fn init(name: &str, suite: &str) -> Vec<Template> {
    let _ = (name, suite); // filled in below
    Vec::new()
}
