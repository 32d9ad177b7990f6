//! The helper process.
use std::process::ExitCode;
/// What this program does when it was started as `internal-sandbox` by a [`crate::Sandbox`]:
/// makes the mounts, leaves for a user name space and becomes `bwrap`. Returns only on failure.
#[must_use]
pub fn internal_sandbox() -> ExitCode {
    ExitCode::from(125)
}
