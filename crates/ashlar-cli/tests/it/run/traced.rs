//! What a command reads and nobody declared.

use serde_json::Value;

use super::tree::{ALL_BUILT, ALL_FOUND, Made, Tree};

/// A tree in which the lights' package takes a certificate from elsewhere and does not say so.
fn with_undeclared() -> Tree {
    let tree = Tree::new();
    tree.file("certificates/ca.pem", "one\n");
    tree.edit("scripts/build-deb", "make CC=gcc", "make CC=gcc PROJECT=\"$project\"");
    tree.edit(
        "src/ledd/Makefile",
        "install: all\n",
        "install: all\n\tinstall -D -m 644 $(PROJECT)/certificates/ca.pem $(DESTDIR)/usr/share/ledd/ca.pem\n",
    );
    tree
}

fn certificate(tree: &Tree) -> String {
    let root = tree.unpack("vs", &["ledd"]);
    std::fs::read_to_string(root.path().join("usr/share/ledd/ca.pem")).unwrap()
}

/// What the trace of a run named.
fn named(made: &Made) -> Vec<String> {
    let events = made.ran.out.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    events
        .filter(|event| event["event"] == "undeclared")
        .map(|event| {
            let of = |key: &str| event[key].as_str().unwrap().to_owned();
            format!("{} {} {}", of("name"), of("touch"), of("path"))
        })
        .collect()
}

#[test]
fn an_undeclared_input_is_found_by_tracing_and_counts_once_it_is_declared() {
    let tree = with_undeclared();
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    tree.file("certificates/ca.pem", "two\n");
    // This is what goes wrong: nothing knows of the file.
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert_eq!(certificate(&tree), "one\n");

    // A job that looks: what nobody watched is run again, and nothing passes.
    let made = tree.make_any(&["platform=vs", "TRACE=fail", "--keep-going"]);
    assert_ne!(made.ran.code, 0, "{}", made.ran.err);
    assert_eq!(named(&made), ["vs/ledd reads certificates/ca.pem"]);
    assert_eq!(made.outcomes, "libportname:built portctl:built");
    assert!(made.ran.out.contains("touched a file that is not declared"), "{}", made.ran.out);
    let made = tree.make_any(&["platform=vs", "TRACE=fail", "--keep-going", "RUN_OPTIONS="]);
    assert_ne!(made.ran.code, 0, "it was not kept");
    made.ran.says("vs/ledd: reads certificates/ca.pem, which is not declared");

    tree.edit("rules/ledd.mk", "$(eval", "$(LEDD)_INPUTS = certificates/**\n$(eval");
    assert_eq!(tree.vs(&["TRACE=fail"]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(certificate(&tree), "two\n");
    tree.file("certificates/ca.pem", "three\n");
    assert_eq!(tree.vs(&["TRACE=fail"]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(certificate(&tree), "three\n");
    tree.file("certificates/ca.pem", "two\n");
    for args in [&["TRACE=fail"][..], &[]] {
        assert_eq!(tree.vs(args), ALL_FOUND);
        assert_eq!(certificate(&tree), "two\n");
    }
}

#[test]
fn a_trace_warns_or_learns() {
    let tree = with_undeclared();
    let made = tree.make(&["platform=vs", "TRACE=warn"]);
    assert_eq!(made.outcomes, ALL_BUILT);
    assert_eq!(named(&made), ["vs/ledd reads certificates/ca.pem"]);

    let made = tree.make(&["platform=vs", "TRACE=learn"]);
    assert_eq!(made.outcomes, "ledd:built libportname:hit portctl:hit");
    let learned = std::fs::read_to_string(tree.root.join("ashlar-run.learned.toml")).unwrap();
    assert!(learned.contains("certificates/ca.pem"), "{learned}");
    assert!(learned.contains("vs/ledd"), "{learned}");
    assert!(!learned.contains("libportname"), "{learned}");
    // What was learned is declared from now on.
    tree.vs(&[]);
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    tree.file("certificates/ca.pem", "two\n");
    assert_eq!(tree.vs(&["TRACE=fail"]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(certificate(&tree), "two\n");
}

#[test]
fn a_file_that_is_looked_for_and_absent_is_found_by_tracing() {
    let tree = Tree::new();
    tree.edit("scripts/build-deb", "make CC=gcc", "make CC=gcc PROJECT=\"$project\"");
    tree.edit(
        "src/ledd/Makefile",
        "all: ledd\n",
        "-include $(PROJECT)/local/override.mk\nall: ledd\n",
    );
    let made = tree.make_any(&["platform=vs", "TRACE=fail", "--keep-going"]);
    assert_eq!(made.outcomes, "libportname:built portctl:built");
    assert_eq!(named(&made), ["vs/ledd looks for local/override.mk"]);
}

#[test]
fn a_variable_that_is_not_declared_is_not_seen_in_a_sandbox() {
    let tree = Tree::new();
    // The brightness is chosen by a variable, and nobody says so.
    tree.edit("rules/ledd.mk", " = platform LED_PROFILE", " = platform");
    assert_eq!(tree.vs(&["LED_PROFILE=bright"]), ALL_BUILT);
    // This is what goes wrong.
    assert_eq!(tree.vs(&["LED_PROFILE=dim"]), ALL_FOUND);
    assert_eq!(tree.ledd("vs"), "vs: 100 %\n");

    // A variable of make's own command line comes by two ways: the environment, and MAKEFLAGS.
    let mut tree = Tree::new();
    tree.edit("rules/ledd.mk", " = platform LED_PROFILE", " = platform");
    let sandbox = "RUN_OPTIONS=--json --sandbox";
    assert_eq!(tree.vs(&["LED_PROFILE=bright", sandbox]), ALL_BUILT);
    assert_eq!(tree.ledd("vs"), "vs: 40 %\n");
    tree.edit("rules/ledd.mk", " = platform", " = platform LED_PROFILE");
    tree.set("LED_PROFILE", "bright");
    assert_eq!(tree.vs(&[sandbox, "--jobs=2"]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(tree.ledd("vs"), "vs: 100 %\n");
}

#[test]
fn the_example_declares_everything() {
    let tree = Tree::new();
    let twice = |what: &str| {
        let all = ["ledd", "libportname", "portctl"].map(|name| format!("{name}:{what}"));
        all.iter().flat_map(|one| [one.as_str(), one]).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(tree.make(&["TRACE=fail"]).outcomes, twice("built"));
    assert_eq!(tree.make(&["TRACE=fail"]).outcomes, twice("hit"));
}
