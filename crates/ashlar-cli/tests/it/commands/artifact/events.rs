//! What programs read: each event and each of its fields is in the documentation, and no others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Pipeline;
use crate::support::Ran;

/// The names in backquotes outside of parentheses.
fn names(text: &str) -> BTreeSet<String> {
    let mut depth = 0_usize;
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

/// The fields of each event, as the documentation has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../../../../../docs/artifacts.md");
    let table = text.split_once("\n## Events\n").unwrap().1;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), names(cells[3]))
    })
    .collect()
}

#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    /// The events of a run: each line is one, with the fields that it should have.
    #[track_caller]
    fn of(&mut self, ran: &Ran) -> Vec<Value> {
        assert!(ran.out.is_empty() || ran.out.ends_with('\n'), "{}", ran.out);
        let events = ran.events();
        let documented = documented();
        for event in &events {
            let name = event["event"].as_str().unwrap();
            let fields = event.as_object().unwrap().keys().cloned();
            let fields: BTreeSet<String> = fields.filter(|field| field != "event").collect();
            assert_eq!(Some(&fields), documented.get(name), "{event}");
            self.0.insert(name.to_owned());
        }
        events
    }
}

#[test]
fn every_event_has_the_fields_that_are_documented() {
    let pipeline = Pipeline::new();
    let file = |path: &str, text: &str| pipeline.project.file(path, text);
    file("p/common", "all");
    file("p/amd64/a", "a");
    file("skip/.skip-trusted-artifacts", "");
    let store = pipeline.store();
    let run = |args: &[&str]| pipeline.run(&[args, &["--json"]].concat());
    let mut seen = Seen::default();

    let created = seen.of(&run(&["create", "--store", &store, "SOURCE=src", "SKIP=skip"]).good());
    let kinds: Vec<&Value> = created.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["warning", "artifact", "artifact", "moved"]);
    assert!(created[2]["reference"].is_null() && created[3]["bytes"].as_u64() > Some(2 << 20));
    let source = created[1]["reference"].as_str().unwrap();
    let archive = ["create", "--store", &store, "A=src", "--format", "trusted-artifact"];
    let archive = seen.of(&run(&archive).good())[0]["reference"].as_str().unwrap().to_owned();
    let parts = ["create", "--store", &store, "P=p", "--arch", "amd64=p/amd64"];
    let parts = seen.of(&run(&parts).good())[0]["reference"].as_str().unwrap().to_owned();

    let to = |reference: &str, to: &str| format!("{reference}={to}");
    let used = seen.of(&run(&["use", &to(source, "one"), "=two"]).good());
    let kinds: Vec<&Value> = used.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["skipped", "used", "moved"]);
    let used = seen.of(&run(&["use", &to(&parts, "three"), "--source"]).good());
    assert_eq!(used[0]["event"], "warning", "{used:?}");
    // What fails is an event as well, one for each; what it says on standard error is the same.
    let failed = run(&["use", &to(source, "one"), &to(source, "src"), &to(&archive, "four")]);
    let events = seen.of(&failed.exits(2));
    let kinds: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["used", "moved", "error", "error"]);
    assert_eq!(events[3]["exit"], 2);

    for (reference, kind, count) in
        [(source, "native", 1), (&archive, "archive", 1), (&parts, "composite", 2)]
    {
        for files in [&[][..], &["--files"]] {
            let shown = seen.of(&run(&[&["inspect", reference], files].concat()).good());
            assert_eq!((shown.len(), &shown[0]["kind"]), (count, &kind.into()));
            assert_eq!(shown[0]["files"].is_null(), files.is_empty());
            let names = |value: &Value| {
                value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(names(&shown[0]["layers"][0]), "digest shared size");
            if let Some(file) = shown[0]["files"].get(0) {
                assert_eq!(names(file), "kind mode path size target");
            }
        }
        let verified = seen.of(&run(&["verify", reference]).good());
        assert_eq!((verified.len(), &verified[0]["signed"]), (1, &false.into()));
        let copied = seen.of(&run(&["copy", reference, "dir:copies"]).good());
        assert_eq!(copied.len(), 2);
    }
    // None is documented that there is not.
    assert_eq!(seen.0, documented().into_keys().collect());
}
