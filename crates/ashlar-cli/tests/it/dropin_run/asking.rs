//! What is known of runs: why, log, figures.

use super::Tree;

const OUT: [&str; 6] = ["-i", "in", "--flag", "asan=n", "-O", "out"];
const SCRIPT: &str = "echo said; cp in out";

#[test]
fn why_names_what_is_different() {
    let tree = Tree::new();
    tree.file("in", "1");
    tree.run(&OUT, SCRIPT).good();
    let why = tree.ashlar(&["why", "--run", "out"]).good().out;
    assert!(why.starts_with("out would not be run: its result is there (local)\n"), "{why}");
    tree.file("in", "2");
    let why = tree.ashlar(&["why", "--run", "out"]).good().out;
    assert!(why.starts_with("out would be run") && why.contains("  input in changed\n"), "{why}");
    let other = ["-i", "in", "--flag", "asan=y", "-O", "out"];
    let ran = tree.run(&other, SCRIPT).good();
    assert!(ran.err.contains("out: flag asan: n → y; input in changed"), "{}", ran.err);
    let why = tree.ashlar(&["why", "--run", "out"]).good().out;
    assert!(why.contains("the last time it was run because: flag asan: n → y"), "{why}");
    let why: serde_json::Value =
        serde_json::from_str(&tree.ashlar(&["why", "--json", "--run", "out"]).good().out).unwrap();
    assert_eq!((&why["run"], &why["from"]), (&"out".into(), &"local".into()));
    assert_eq!(why["reason"][0], "flag asan: n → y");
    tree.ashlar(&["why", "--run", "ot"]).exits(2).says("did you mean `out`?");
}

#[test]
fn why_leaves_out_what_the_run_left_out() {
    let tree = Tree::new();
    tree.file("in", "1");
    tree.file("shared", "1");
    let without = ["-i", "in", "--common", "shared", "--no-common", "-O", "out"];
    tree.run(&without, SCRIPT).good();
    let why = || tree.ashlar(&["why", "--run", "out"]).good().out;
    assert!(why().starts_with("out would not be run"), "{}", why());
    tree.file("shared", "2");
    assert!(why().starts_with("out would not be run"), "{}", why());
    tree.run(&["-i", "in", "--common", "shared", "-O", "out"], SCRIPT).good();
    tree.file("shared", "3");
    assert!(why().contains("  common shared changed\n"), "{}", why());
}

#[test]
fn the_log_is_there_after_hits_too() {
    let tree = Tree::new();
    tree.file("in", "1");
    for _ in 0..2 {
        tree.run(&OUT, SCRIPT).good();
        assert_eq!(tree.ashlar(&["log", "--run", "out"]).good().out, "said\n");
    }
    let log = tree.ashlar(&["log", "--json", "--run", "out"]).good();
    assert_eq!(log.events()[0]["text"], "said\n");
    let history = tree.ashlar(&["log", "--run", "out", "--history"]).good();
    assert_eq!(history.out.lines().count(), 1, "{}", history.out);
    tree.ashlar(&["log", "--run", "x"]).exits(2).says("ashlar stat");
}

#[test]
fn figures_count_hits_and_misses() {
    let tree = Tree::new();
    tree.file("in", "1");
    for _ in 0..3 {
        tree.run(&OUT, SCRIPT).good();
    }
    tree.run(&["--no-inputs", "--name", "other", "-O", "x"], "exit 3").exits(3);
    let stat = tree.ashlar(&["stat", "--json"]).good().events();
    let figures: Vec<_> = stat
        .iter()
        .map(|one| (one["run"].clone(), one["hits"].clone(), one["misses"].clone()))
        .collect();
    assert_eq!(
        figures,
        [("other".into(), 0.into(), 1.into()), ("out".into(), 2.into(), 1.into())]
            .map(|one: (serde_json::Value, serde_json::Value, serde_json::Value)| one)
    );
    let stat = tree.ashlar(&["stat"]).good().out;
    assert!(stat.contains("2 hits (50 %), 2 misses"), "{stat}");
    let one = tree.ashlar(&["stat", "--run", "other"]).good().out;
    assert!(one.contains("failed") && !one.contains("out  "), "{one}");
}

#[test]
fn a_root_that_was_said_is_found_again() {
    let tree = Tree::new();
    tree.file("low/in", "1");
    let args =
        ["-C", "low", "run", "--root", "low", "-i", "in", "-O", "out", "--", "cp", "in", "out"];
    let ran = tree.ashlar(&args).good();
    assert!(ran.err.contains("out: made"), "{}", ran.err);
    tree.ashlar(&["-C", "low", "why", "--run", "out", "--root", "low"]).good();
    let stat = tree.ashlar(&["-C", "low", "stat", "--root", "low"]).good();
    assert!(stat.out.contains("out"), "{}", stat.out);
    tree.ashlar(&["-C", "low", "log", "--run", "out", "--root", "low"]).good();
}

#[test]
fn standard_output_is_for_programs_where_they_read_it() {
    let tree = Tree::new();
    tree.file("in", "1");
    for outcome in ["built", "hit"] {
        let ran = tree.run(&[&["--json"], &OUT[..]].concat(), "printf 'no end'; cp in out").good();
        assert_eq!(ran.events().len(), 1);
        assert_eq!(ran.events()[0]["outcome"], outcome);
        assert!(ran.err.contains("no end"), "{}", ran.err);
    }
    let ran = tree.run(&["--json", "-O", "out"], "true").exits(2);
    assert_eq!(ran.events()[0]["event"], "error");
}
