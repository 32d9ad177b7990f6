//! JSON Schema of the project file and of module files, for editors.

use serde_json::{Value, json};

/// The schema of `ashlar.toml`.
#[must_use]
pub fn project_schema() -> Value {
    json!({})
}

/// The schema of `modules/**/*.toml`.
#[must_use]
pub fn module_schema() -> Value {
    json!({})
}
