//! The contract with programs: names and fields of every event.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::sample;

/// The names of the fields of an object.
fn fields(value: &Value) -> String {
    let names: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

fn is_digest(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        text.split_once('/').is_some_and(|(hash, size)| {
            hash.len() == 64
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && size.parse::<u64>().is_ok()
        })
    })
}

fn is_key(value: &Value) -> bool {
    value.as_str().is_some_and(|t| t.len() == 64 && t.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[test]
fn every_step_has_the_same_fields_and_the_summary_is_last() {
    let project = sample();
    project.build(&["lib"]);
    let ran = project.run(&["build", "--json", "-k", "app", "bad"]).exits(1);
    let events = ran.events();
    let steps: Vec<&Value> = events.iter().filter(|e| e["event"] == "step").collect();
    assert_eq!(steps.len(), 5, "{}", ran.out);
    for step in &steps {
        for field in ["module", "step", "outcome", "from", "seconds", "step_key", "action"] {
            assert!(step.get(field).is_some(), "{field} is not in {step}");
        }
        assert!(is_key(&step["step_key"]) && is_digest(&step["action"]), "{step}");
        assert!(step["seconds"].is_f64() && is_digest(&step["log"]), "{step}");
        let failed = step["outcome"] == "failed";
        assert_eq!(step.get("message").is_some(), failed, "{step}");
        let from = if step["outcome"] == "hit" { json!("local") } else { Value::Null };
        assert_eq!(step["from"], from, "{step}");
    }
    let hit = steps.iter().find(|s| s["module"] == "lib").unwrap();
    assert_eq!((&hit["outcome"], &hit["seconds"]), (&json!("hit"), &json!(0.0)));
    assert_eq!(fields(hit), "action event from log module outcome seconds step step_key");
    let bad = steps.iter().find(|s| s["module"] == "bad").unwrap();
    assert_eq!(bad["message"], "its command exited with 7");
    let mut summary = events.last().unwrap().clone();
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);
    summary["seconds"] = Value::Null;
    assert_eq!(
        summary,
        json!({
            "event": "summary", "modules": 5, "hit": 1, "cutoff": 0, "built": 3, "failed": 1,
            "skipped": 0, "seconds": null,
        })
    );
    // Nothing but JSON on standard output, and nothing for people beside it.
    assert_eq!(ran.err, "");
    let text = ran
        .out
        .lines()
        .find(|line| line.contains("\"bad\"") && line.contains("\"step\","))
        .unwrap();
    assert!(
        text.starts_with(
            "{\"event\":\"step\",\"module\":\"bad\",\"step\":\"build\",\"outcome\":\"failed\""
        ),
        "{text}"
    );
}

#[test]
fn cut_off_and_skipped_steps() {
    let project = sample();
    project.module("needs", "depends = [\"bad\"]\n[build]\nkind = \"script\"\nsteps = ['true']\n");
    project.build(&["one"]);
    project.file("src/lib/lib.txt", "# a comment\nlibrary\n");
    let ran = project.run(&["build", "--json", "-k", "one", "needs"]).exits(1);
    let events = ran.events();
    let of = |module: &str| {
        events.iter().find(|e| e["event"] == "step" && e["module"] == module).unwrap().clone()
    };
    assert_eq!(
        (of("one")["outcome"].clone(), of("one")["from"].clone()),
        (json!("cutoff"), json!("local"))
    );
    assert_eq!(of("needs")["outcome"], "skipped");
    assert_eq!(of("needs")["action"], Value::Null);
    let summary = ran.summary();
    let counts = ["modules", "hit", "cutoff", "built", "failed", "skipped"]
        .map(|n| summary[n].as_u64().unwrap());
    assert_eq!(counts, [4, 0, 1, 1, 1, 1]);
}

#[test]
fn plan_and_why() {
    let project = sample();
    project.build(&["lib"]);
    project.run(&["build", "bad"]).exits(1);
    let events = project.run(&["plan", "--json", "one", "bad"]).good().events();
    assert_eq!(events.len(), 3, "one object a module");
    for event in &events {
        assert_eq!(fields(event), "forecast_seconds module reason state step_key where");
        assert!(is_key(&event["step_key"]));
    }
    let of = |module: &str| events.iter().find(|e| e["module"] == module).unwrap();
    assert_eq!(of("lib")["state"], "hit");
    assert_eq!(of("lib")["where"], "local");
    assert_eq!(of("lib")["forecast_seconds"], 0.0);
    assert_eq!(of("one")["state"], "build");
    assert_eq!(of("one")["where"], Value::Null);
    assert_eq!(of("one")["forecast_seconds"], Value::Null, "never timed");
    assert!(of("bad")["reason"].as_str().unwrap().contains("failed"), "{}", of("bad"));

    project.build(&["app"]);
    let why = project.why("app");
    assert_eq!((&why["state"], &why["changes"]), (&json!("hit"), &json!([])));
    project.file("src/lib/lib.txt", "other\n");
    let why = project.why("lib");
    assert_eq!(fields(&why), "changes failures module state step_key");
    assert_eq!((&why["module"], &why["state"]), (&json!("lib"), &json!("build")));
    let changes = why["changes"].as_array().unwrap();
    for change in changes {
        assert_eq!(fields(change), "input now was");
        assert!(change["was"].is_string() && change["now"].is_string(), "{change}");
        assert_ne!(change["was"], change["now"]);
    }
    assert_eq!(changes[1]["input"], "source src/lib > file lib.txt");
    let timed = project.run(&["plan", "--json", "lib"]).good().events();
    assert!(timed[0]["forecast_seconds"].as_f64().unwrap() > 0.0, "{}", timed[0]);
}

#[test]
fn list_show_log_and_store() {
    let project = sample();
    let list = project.run(&["list", "--json"]).good().events();
    assert_eq!(list.len(), 8);
    assert_eq!(
        list[1],
        json!({
            "module": "app", "kind": "script", "description": "", "base": "busybox",
            "depends": ["one", "two"], "default": true,
        })
    );
    project.build(&["app"]);
    let show = project.run(&["show", "--json", "--files", "app"]).good().events().pop().unwrap();
    assert_eq!(show["state"], "hit");
    assert_eq!(show["files"][0]["path"], "bin/app");
    assert_eq!(show["files"][0]["mode"], "0644");
    assert!(is_digest(&show["outputs"]) && is_digest(&show["action"]) && is_key(&show["step_key"]));
    let inputs: Vec<&str> =
        show["inputs"].as_array().unwrap().iter().map(|i| i["input"].as_str().unwrap()).collect();
    for input in
        ["base busybox", "dependency one", "script step 1", "source src/app", "outputs expect"]
    {
        assert!(inputs.contains(&input), "{input} is not among {inputs:?}");
    }
    let log = project.run(&["log", "--json", "app"]).good().events().pop().unwrap();
    assert_eq!(log["text"], "==> step 1\n");
    assert_eq!(log["log"], show["log"]);
    let history = project.run(&["log", "--json", "--history", "app"]).good().events();
    assert_eq!(fields(&history[0]), "log message outcome seconds started step_key");
    let stat = project.run(&["store", "stat", "--json"]).good().events().pop().unwrap();
    for field in ["bytes", "blobs", "results", "hits", "misses", "seconds_saved"] {
        assert!(stat[field].is_number(), "{field} is not in {stat}");
    }
}

#[test]
fn errors_are_events_too() {
    let project = sample();
    let ran = project.run(&["--json", "build", "ap"]).exits(2).says("there is no module `ap`");
    let error = ran.events().pop().unwrap();
    assert_eq!(
        error,
        json!({
            "event": "error", "exit": 2, "message": "there is no module `ap`",
            "help": "did you mean `app`? `ashlar list` shows all",
        })
    );
    project.edit("modules/lib.toml", "kind", "kidn");
    project.edit("modules/one.toml", "\"lib\"", "\"libb\"");
    project.edit("modules/two.toml", "[\"lib\"]", "3");
    let events = project.run(&["--json", "build"]).exits(2).events();
    let places: Vec<String> = events
        .iter()
        .map(|e| {
            format!(
                "{}:{}:{} {} {}",
                e["file"].as_str().unwrap(),
                e["line"],
                e["column"],
                e["event"],
                e["exit"]
            )
        })
        .collect();
    assert!(places.contains(&"modules/lib.toml:4:1 \"error\" 2".to_owned()), "{places:?}");
    assert!(places.contains(&"modules/two.toml:1:11 \"error\" 2".to_owned()), "{places:?}");
    let unknown = events.iter().find(|e| e["file"] == "modules/lib.toml").unwrap();
    assert_eq!(unknown["help"], "did you mean `kind`?");
}
