//! What is declared and is not there.

use super::tree::Tree;

#[test]
fn what_a_glob_names_must_be_there() {
    let tree = Tree::new();
    // No dependencies, and dependencies that are not known, are not the same.
    tree.edit("rules/ledd.mk", "_SRC_PATH = src/ledd", "_SRC_PATH = src/led");
    let made = tree.make_any(&["platform=vs", "--keep-going"]);
    assert_ne!(made.ran.code, 0);
    assert_eq!(made.outcomes, "libportname:built portctl:built");
    made.ran.says("src/led/**").says("vs/ledd");

    let tree = Tree::new();
    tree.edit("rules/functions", "COMMON_FILES = ", "COMMON_FILES = rules/infrastructure ");
    let made = tree.make_any(&["platform=vs"]);
    assert_ne!(made.ran.code, 0);
    made.ran.says("rules/infrastructure");
}

#[test]
fn no_inputs_must_be_said() {
    let tree = Tree::new();
    let run = ["run", "--output", "out", "--", "sh", "-c", "date +%N > out"];
    let ran = tree.ashlar(&run).exits(2);
    assert!(ran.err.contains("--no-inputs"), "{}", ran.err);
    assert!(!tree.root.join("out").exists(), "the command did not run");
    let mut said = run.to_vec();
    said.insert(1, "--no-inputs");
    tree.ashlar(&said).good();
    let first = std::fs::read(tree.root.join("out")).unwrap();
    std::fs::remove_file(tree.root.join("out")).unwrap();
    tree.ashlar(&said).good();
    assert_eq!(std::fs::read(tree.root.join("out")).unwrap(), first);
}
