//! The rooms: which crate may use which, exactly; and which foreign crates stay where.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The column `may use` of the table in ARCHITECTURE.md.
const ROOMS: &[(&str, &[&str])] = &[
    ("object", &[]),
    ("recipe", &[]),
    ("dockerfile", &["recipe"]),
    ("plan", &["dockerfile", "object", "recipe"]),
    ("store", &["object"]),
    ("source", &["object", "recipe", "store"]),
    ("execute", &["object", "store"]),
    ("pack", &["object"]),
    ("remote", &["object", "pack", "store"]),
    ("testbed", &[]),
    ("build", &["dockerfile", "execute", "object", "pack", "plan", "recipe", "source", "store"]),
    ("dropin", &["build", "execute", "object", "recipe", "source", "store"]),
    (
        "cli",
        &[
            "build",
            "dockerfile",
            "dropin",
            "execute",
            "object",
            "pack",
            "plan",
            "recipe",
            "remote",
            "source",
            "store",
        ],
    ),
];

/// Heavy foreign crates and the only rooms that use them directly.
const FOREIGN: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("rusqlite", &["store"]),
    ("prost", &["object", "remote"]),
    ("toml", &["recipe"]),
    ("parse-dockerfile", &["dockerfile"]),
    ("ureq", &["source"]),
    ("httparse", &["source"]),
    ("tar", &["source"]),
    ("zstd", &["pack", "remote", "source"]),
    ("reqwest", &["remote"]),
    ("object_store", &["remote"]),
    ("ring", &["remote"]),
    ("tokio", &["remote"]),
    ("tonic", &["remote"]),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What each room depends on, outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let Some(room) = package["name"].as_str().unwrap().strip_prefix("ashlar-") else {
            continue;
        };
        let names = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        all.insert(room.to_owned(), names.collect());
    }
    all
}

#[test]
fn rooms_use_exactly_what_the_table_says() {
    let mut expected = BTreeMap::new();
    for (room, uses) in ROOMS {
        let uses: BTreeSet<String> = uses.iter().map(|name| format!("ashlar-{name}")).collect();
        expected.insert((*room).to_owned(), uses);
    }
    let mut found = dependencies();
    for uses in found.values_mut() {
        uses.retain(|name| name.starts_with("ashlar-"));
    }
    assert_eq!(found, expected);
}

#[test]
fn heavy_crates_stay_in_their_rooms() {
    let all = dependencies();
    for (name, rooms) in FOREIGN {
        let found: Vec<&str> = all
            .iter()
            .filter(|(_, uses)| uses.contains(*name))
            .map(|(room, _)| room.as_str())
            .collect();
        assert_eq!(found, *rooms, "{name}");
    }
}

#[test]
fn the_map_shows_the_same_table() {
    let map = include_str!("../../../../ARCHITECTURE.md");
    for (room, uses) in ROOMS {
        let uses = if uses.is_empty() { "–".to_owned() } else { uses.join(", ") };
        let row = map.lines().find(|line| line.starts_with(&format!("| `{room}` |")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {room}"));
        assert!(row.ends_with(&format!("| {uses} |")), "{row}");
    }
}
