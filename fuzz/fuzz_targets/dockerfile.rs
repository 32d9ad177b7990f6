//! Whatever the bytes of a Dockerfile are, the answer is an image or problems that can be shown on
//! a terminal, with places that lie within the text. A NUL divides the bytes: Dockerfile, trigger
//! of the base, `.dockerignore`.

#![no_main]

use std::collections::BTreeMap;

use ashlar_dockerfile::{Configuration, Platform, Request, evaluate, ignore, parse};
use ashlar_recipe::Problems;
use libfuzzer_sys::fuzz_target;

fn show(text: &str, problems: &Problems) {
    let shown = problems.render_plain();
    assert!(!shown.is_empty());
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
    for place in problems.list.iter().filter_map(|problem| problem.place.as_ref()) {
        assert!(text.get(place.span.range()).is_some());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let trigger = parts.next();
    let patterns = parts.next().unwrap_or_default();
    match ignore(".dockerignore", patterns) {
        Ok(ignore) => drop(ignore.is_ignored("a/b/c") && ignore.may_hold("a/b")),
        Err(problems) => show(patterns, &problems),
    }
    let file = match parse("Dockerfile", text) {
        Ok(file) => file,
        Err(problems) => return show(text, &problems),
    };
    let args: BTreeMap<String, String> = [("A".to_owned(), "a b".to_owned())].into();
    let request = Request {
        target: None,
        args: &args,
        platform: Platform::linux("amd64"),
        build_platform: Platform::linux("arm64"),
    };
    let on_build: Vec<String> = trigger.iter().map(|text| (*text).to_owned()).collect();
    let base = Configuration { on_build, ..Configuration::default() };
    if let Err(problems) = evaluate(&file, &request, &mut |_| Ok(base.clone())) {
        show(text, &problems);
    }
});
