//! Whole outputs against what stands in the tests. What differs from run to run has a name in
//! brackets, and `[..]` stands for anything within a line. `SNAPSHOTS=overwrite` writes down what
//! came out; then it is to be read before it is kept.

use std::sync::LazyLock;

use regex::Regex;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::data::Inline;
use snapbox::{Assert, Redactions};

use crate::support::Project;

/// Digests, step keys and moments look alike in all tests.
static COMMON: LazyLock<Redactions> = LazyLock::new(|| {
    let mut all = Redactions::new();
    for (name, pattern) in [
        ("[DIGEST]", r"\b(?<redacted>[0-9a-f]{64}/[0-9]+)\b"),
        ("[KEY]", r"\b(?<redacted>[0-9a-f]{64})\b"),
        ("[SHORT]", r"\b(?<redacted>[0-9a-f]{12})\b"),
        ("[WHEN]", r"(?<redacted>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"),
        ("[TIME]", r"(?<redacted>\b\d+\.\d\d s|\b[1-9]\d? s|\ba second)\b"),
        ("[PORT]", r"\b127\.0\.0\.1:(?<redacted>\d+)\b"),
        ("[SECONDS]", r#""[a-z_]*seconds":(?<redacted>\d+\.\d+)"#),
    ] {
        all.insert(name, Regex::new(pattern).unwrap()).unwrap();
    }
    all
});

/// Compares a text with what it should be.
#[track_caller]
pub fn eq(project: &Project, actual: &str, expected: Inline) {
    let mut redactions = COMMON.clone();
    let folder = project.root.parent().unwrap();
    redactions.insert("[ROOT]", folder.to_str().unwrap().to_owned()).unwrap();
    Assert::new()
        .action_env(DEFAULT_ACTION_ENV)
        .redact_with(redactions)
        .normalize_paths(false)
        .eq(actual.to_owned(), expected);
}
