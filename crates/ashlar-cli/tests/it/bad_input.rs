//! What people get wrong, and what they are told: where, why, and what to do. Never a panic.

mod arguments;
mod files;
mod fuzzed;
mod names;
mod sources;
mod steps;

use crate::snapshot;
use crate::support::Project;

/// The sample project with a module `x` of this text.
fn with(text: &str) -> Project {
    let project = Project::sample();
    project.module("x", text);
    project
}

/// Building `x` ends with this code, and says this.
#[track_caller]
fn says(project: &Project, code: i32, expected: snapbox::data::Inline) {
    let ran = project.run(&["build", "x"]).exits(code);
    snapshot::eq(project, &ran.err, expected);
}
