//! The configuration of an image, as far as it says how it is run.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields and their values; what is empty is not there.
pub type Settings = BTreeMap<&'static str, Value>;

/// What is compared. The others say who made an image and when.
const FIELDS: &[&str] = &[
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// The compared fields of what is `config` in an image's configuration.
pub fn read(config: &Value) -> Settings {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    FIELDS
        .iter()
        .filter_map(|field| Some((*field, config.get(field)?)))
        .filter(|(_, value)| !is_empty(value))
        .map(|(field, value)| (field, value.clone()))
        .collect()
}

/// What differs: `FIELD: buildah … | ashlar …`.
pub fn differences(theirs: &Settings, ours: &Settings) -> Vec<String> {
    let shown =
        |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    FIELDS
        .iter()
        .map(|field| (field, theirs.get(field), ours.get(field)))
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(field, theirs, ours)| {
            format!("{field}: buildah {} | ashlar {}", shown(theirs), shown(ours))
        })
        .collect()
}
