//! What the program says of itself: version, help, completion, man pages, schemas.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Project;

#[test]
fn the_version_has_the_commit() {
    let project = Project::empty();
    let text = project.run(&["--version"]).good().out;
    let inside = text.trim_end().strip_prefix(concat!("ashlar ", env!("CARGO_PKG_VERSION"), " ("));
    let commit = inside.and_then(|t| t.strip_suffix(')')).unwrap_or_else(|| panic!("{text}"));
    let known = commit.len() == 12 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(known || commit == "unknown commit", "{text}");
    assert_eq!(
        project.run(&["build", "--version"]).good().out.split(' ').next_back(),
        text.split(' ').next_back()
    );
}

#[test]
fn every_command_has_help() {
    let project = Project::empty();
    let help = project.run(&["--help"]).good().out;
    for command in [
        "init",
        "build",
        "plan",
        "why",
        "log",
        "show",
        "graph",
        "list",
        "checkout",
        "shell",
        "check",
        "lock",
        "store",
        "completions",
        "man",
        "schema",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in:\n{help}");
        let text = project.run(&[command, "--help"]).good().out;
        assert!(text.contains("Usage: ashlar"), "{text}");
    }
    project.run(&[]).exits(2).says("requires a subcommand");
    project.run(&["bild"]).exits(2).says("a similar subcommand exists: 'build'");
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let project = Project::empty();
    for (shell, word) in [
        ("bash", "complete -F _ashlar"),
        ("zsh", "#compdef ashlar"),
        ("fish", "complete -c ashlar"),
    ] {
        let text = project.run(&["completions", shell]).good().out;
        assert!(text.contains(word), "{shell}");
        for command in ["checkout", "keep-going", "max-age"] {
            assert!(text.contains(command), "{shell} does not know {command}");
        }
        let Ok(mut checker) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() else {
            assert_ne!(shell, "bash", "bash is on every Debian");
            eprintln!("{shell} is not installed: its script is not tried");
            continue;
        };
        std::io::Write::write_all(checker.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
        drop(checker.stdin.take());
        assert!(checker.wait().unwrap().success(), "{shell} refuses its script");
    }
    project.run(&["completions", "tcsh"]).exits(2);
}

#[test]
fn man_pages() {
    let project = Project::empty();
    let page = project.run(&["man"]).good().out;
    assert!(page.contains(".TH ashlar 1") && page.contains("Exit codes"), "{page}");
    let folder = project.root.join("man/man1");
    project.run(&["man", folder.to_str().unwrap()]).good();
    for page in ["ashlar.1", "ashlar-build.1", "ashlar-store-gc.1", "ashlar-why.1"] {
        assert!(std::fs::read_to_string(folder.join(page)).unwrap().contains(".SH NAME"), "{page}");
    }
}

#[test]
fn the_schemas_know_every_key_of_the_example() {
    let project = Project::empty();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/firmware");
    let schema = |file: &str| -> Value {
        serde_json::from_str(&project.run(&["schema", file]).good().out).unwrap()
    };
    let of_module = schema("module");
    let mut seen = 0;
    let mut folders = vec![example.join("modules")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                conforms(&of_module, &toml_file(&path), &path.display().to_string()).unwrap();
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} modules");
    let of_project = schema("project");
    let file = example.join("ashlar.toml");
    conforms(&of_project, &toml_file(&file), "ashlar.toml").unwrap();
    // It can fail.
    let wrong = serde_json::json!({ "build": { "kind": "script", "stepz": [] } });
    let error = conforms(&of_module, &wrong, "wrong").unwrap_err();
    assert_eq!(error, "wrong.build.stepz is not in the schema");
}

fn toml_file(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether a value is as a schema wants it, for the part of JSON Schema that ours use.
fn conforms(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = any.iter().any(|one| conforms(one, value, at).is_ok());
        return fits.then_some(()).ok_or_else(|| format!("{at}: {value} fits none of {schema}"));
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array)
        && !all.contains(value)
    {
        return Err(format!("{at}: {value} is not among {all:?}"));
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(kind) => kind.as_str().into_iter().collect(),
        None => Vec::new(),
    };
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    if !kinds.is_empty() && !kinds.contains(&kind) {
        return Err(format!("{at}: {value} is none of {kinds:?}"));
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = format!("{at}.{key}");
                let known = schema.get("properties").and_then(|known| known.get(key));
                match (known, schema.get("additionalProperties")) {
                    (Some(known), _) => conforms(known, value, &at)?,
                    (None, Some(more)) if more.is_object() => conforms(more, value, &at)?,
                    (None, _) => return Err(format!("{at} is not in the schema")),
                }
            }
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            for key in required.filter_map(Value::as_str) {
                if !object.contains_key(key) {
                    return Err(format!("{at} lacks {key}"));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                conforms(&schema["items"], item, &format!("{at}[]"))?;
            }
        }
        _ => {}
    }
    Ok(())
}
