//! Configurations of images as JSON, as the OCI image specification and Docker have them.

use std::collections::BTreeMap;
use std::time::Duration;

use ashlar_dockerfile::{Configuration, Healthcheck, Platform};
use serde_json::{Map, Value, json};

/// The platform of this machine, as images name it.
#[must_use]
pub fn native_platform() -> Platform {
    Platform::linux(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    })
}

/// Reads what the configuration of an image says of containers made of it.
pub(super) fn configuration(bytes: &[u8]) -> Result<Configuration, String> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("its configuration is not JSON: {error}"))?;
    let empty = Value::Null;
    let config = document.get("config").unwrap_or(&empty);
    let text = |name: &str| {
        let value = config.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned)
    };
    let list = |name: &str| {
        let all = config.get(name).and_then(Value::as_array).filter(|list| !list.is_empty())?;
        Some(all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
    };
    let names = |name: &str| {
        let all = config.get(name).and_then(Value::as_object);
        all.into_iter().flat_map(Map::keys).cloned().collect()
    };
    let env = list("Env").unwrap_or_default().into_iter().map(|variable| {
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        (name.to_owned(), value.to_owned())
    });
    let labels: BTreeMap<String, String> = (config.get("Labels").and_then(Value::as_object))
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    Ok(Configuration {
        env: env.collect(),
        user: text("User"),
        working_directory: text("WorkingDir"),
        entrypoint: list("Entrypoint"),
        command: list("Cmd"),
        shell: list("Shell"),
        labels,
        exposed_ports: names("ExposedPorts"),
        volumes: names("Volumes"),
        stop_signal: text("StopSignal"),
        healthcheck: config.get("Healthcheck").and_then(healthcheck),
        on_build: list("OnBuild").unwrap_or_default(),
        author: document.get("author").and_then(Value::as_str).map(str::to_owned),
    })
}

fn healthcheck(value: &Value) -> Option<Healthcheck> {
    let test = value.get("Test")?.as_array()?;
    let time = |name: &str| {
        let nanos = value.get(name).and_then(Value::as_u64).filter(|nanos| *nanos > 0);
        nanos.map(Duration::from_nanos)
    };
    let retries = value.get("Retries").and_then(Value::as_u64).filter(|retries| *retries > 0);
    Some(Healthcheck {
        test: test.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        interval: time("Interval"),
        timeout: time("Timeout"),
        start_period: time("StartPeriod"),
        start_interval: time("StartInterval"),
        retries: retries.and_then(|retries| u32::try_from(retries).ok()),
    })
}

/// One entry of the history of an image.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub created_by: String,
    pub empty: bool,
}

/// The history that an image has already.
pub(super) fn history(bytes: &[u8]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    document.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The whole configuration of an image, as it is published. `created` is a moment in RFC 3339.
pub(super) fn encode(
    configuration: &Configuration,
    platform: &Platform,
    created: &str,
    diff_ids: &[String],
    mut history: Vec<Value>,
    entries: &[Entry],
) -> Vec<u8> {
    for entry in entries {
        let mut one = Map::new();
        one.insert("created".into(), json!(created));
        one.insert("created_by".into(), json!(entry.created_by));
        if entry.empty {
            one.insert("empty_layer".into(), json!(true));
        }
        history.push(Value::Object(one));
    }
    let mut document = Map::new();
    if let Some(author) = &configuration.author {
        document.insert("author".into(), json!(author));
    }
    document.insert("architecture".into(), json!(platform.architecture));
    document.insert("os".into(), json!(platform.os));
    if let Some(variant) = &platform.variant {
        document.insert("variant".into(), json!(variant));
    }
    document.insert("created".into(), json!(created));
    document.insert("config".into(), config(configuration));
    document.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    document.insert("history".into(), Value::Array(history));
    Value::Object(document).to_string().into_bytes()
}

/// What is kept of an image that is a module: its configuration, and its layers by their trees, or
/// those of others by the SHA-256 of their archives.
pub(super) fn whole(configuration: &Configuration, layers: Vec<Value>) -> Vec<u8> {
    let mut document = Map::new();
    document.insert("config".into(), config(configuration));
    document.insert("layers".into(), Value::Array(layers));
    let mut bytes = Value::Object(document).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn config(of: &Configuration) -> Value {
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| {
        config.insert(name.to_owned(), value);
    };
    let set = |names: &mut dyn Iterator<Item = &String>| {
        Value::Object(names.map(|name| (name.clone(), json!({}))).collect())
    };
    if let Some(user) = &of.user {
        put("User", json!(user));
    }
    if !of.exposed_ports.is_empty() {
        put("ExposedPorts", set(&mut of.exposed_ports.iter()));
    }
    if !of.env.is_empty() {
        let all: Vec<String> = of.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        put("Env", json!(all));
    }
    if let Some(entrypoint) = &of.entrypoint {
        put("Entrypoint", json!(entrypoint));
    }
    if let Some(command) = &of.command {
        put("Cmd", json!(command));
    }
    if !of.volumes.is_empty() {
        put("Volumes", set(&mut of.volumes.iter()));
    }
    if let Some(folder) = &of.working_directory {
        put("WorkingDir", json!(folder));
    }
    if !of.labels.is_empty() {
        put("Labels", json!(of.labels));
    }
    if let Some(signal) = &of.stop_signal {
        put("StopSignal", json!(signal));
    }
    if let Some(check) = &of.healthcheck {
        let mut all = Map::new();
        all.insert("Test".into(), json!(check.test));
        for (name, time) in [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
        ] {
            if let Some(time) = time {
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                all.insert(name.into(), json!(nanos));
            }
        }
        if let Some(retries) = check.retries {
            all.insert("Retries".into(), json!(retries));
        }
        put("Healthcheck", Value::Object(all));
    }
    if !of.on_build.is_empty() {
        put("OnBuild", json!(of.on_build));
    }
    if let Some(shell) = &of.shell {
        put("Shell", json!(shell));
    }
    Value::Object(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let configuration = Configuration {
            env: vec![("PATH".into(), "/bin".into()), ("A".into(), "b=c".into())],
            user: Some("app:1".into()),
            working_directory: Some("/srv".into()),
            entrypoint: Some(vec!["/init".into()]),
            command: Some(vec!["-v".into()]),
            shell: Some(vec!["/bin/bash".into(), "-c".into()]),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            volumes: ["/data".to_owned()].into(),
            stop_signal: Some("SIGINT".into()),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "true".into()],
                interval: Some(Duration::from_secs(3)),
                retries: Some(2),
                ..Healthcheck::default()
            }),
            on_build: vec!["RUN true".into()],
            author: Some("the project".into()),
        };
        let platform = Platform::linux("amd64");
        let entries = [Entry { created_by: "RUN x".into(), empty: true }];
        let bytes =
            encode(&configuration, &platform, "1980-01-01T00:00:00Z", &[], vec![], &entries);
        assert_eq!(super::configuration(&bytes), Ok(configuration));
        assert_eq!(history(&bytes).len(), 1);
        assert!(super::configuration(b"[").is_err());
        assert_eq!(super::configuration(b"{}"), Ok(Configuration::default()));
    }
}
