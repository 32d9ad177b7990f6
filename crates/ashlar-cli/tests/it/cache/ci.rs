//! The pieces for CI systems are as the schemas of these systems want them.

use std::path::Path;
use std::process::Command;

/// Whether a schema takes a file, and what it says.
fn check(schema: &str, file: &Path) -> (bool, String) {
    let mut command = Command::new(ashlar_testbed::schemas());
    command.args(["-m", "check_jsonschema", "--builtin-schema"]).arg(format!("vendor.{schema}"));
    if schema == "gitlab-ci" {
        // `!reference` and other tags of its own.
        command.args(["--data-transform", "gitlab-ci"]);
    }
    let done = command.arg(file).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
}

fn piece(name: &str, schema: &str, key: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ci").join(name);
    let (good, said) = check(schema, &file);
    assert!(good, "{said}");
    // A schema that takes anything would prove nothing.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(key), "{name} has no {key}");
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join(name);
    std::fs::write(&wrong, text.replace(key, "something:")).unwrap();
    let (good, said) = check(schema, &wrong);
    assert!(!good, "{said}");
}

#[test]
fn github_takes_its_piece() {
    piece("github.yml", "github-workflows", "runs-on:");
}

#[test]
fn gitlab_takes_its_piece() {
    piece("gitlab.yml", "gitlab-ci", "script:");
}

#[test]
fn circleci_takes_its_piece() {
    piece("circleci.yml", "circle-ci", "docker:");
}
