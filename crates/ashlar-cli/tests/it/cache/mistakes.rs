//! What people get wrong, and what they are told.

use super::Space;

#[test]
fn files_and_names_that_are_not_there() {
    let space = Space::new();
    let ran = space.run(&["skip-if-hit", "modulse"]).exits(2);
    ran.says("there is no layer `modulse`").says("did you mean `modules`?");
    space.run(&["restore", "--ref", "modules"]).exits(2).says("LAYER@KEY");
    space.run(&["restore", "--file", "other.toml"]).exits(2).says("cannot read");
    space.run(&["wrap"]).exits(2);
    space.sh("rm ashlar-cache.toml");
    space.run(&["save"]).exits(2).says("write `[layer.NAME]` with `key` and `paths` into it");
}

#[test]
fn mistakes_in_the_file_have_places() {
    let space = Space::new();
    space.file("ashlar-cache.toml", "[layer.a]\nkey = [\"x\"]\npath = [\"y\"]\n");
    space.run(&["plan"]).exits(2).says("ashlar-cache.toml:3:1: unknown key `path`");
}

#[test]
fn a_key_that_matches_nothing_is_an_error() {
    let space = Space::new();
    let text = space.read("ashlar-cache.toml");
    space.file("ashlar-cache.toml", &text.replacen("\"Makefile\"", "\"Makefil\"", 1));
    for args in [&["restore"][..], &["save"], &["wrap", "--", "make"], &["skip-if-hit", "base"]] {
        let ran = space.run(args).exits(2);
        ran.says("nothing matches `Makefil` in `key` of layer modules");
    }
    assert_eq!(space.log(), [""; 0], "the command did not run");
    let plan = space.run(&["plan"]).exits(2);
    assert!(plan.out.contains("match nothing in the key: Makefil"), "{}", plan.out);
    space.run(&["restore", "--allow-missing"]).good();
}

#[test]
fn a_scope_without_a_branch_says_so() {
    let space = Space::new();
    space.sh("make; git checkout -q --detach");
    let ran = space.run(&["save"]).exits(2);
    ran.says("`branch:${branch}` needs a branch, and git names none").says("--branch NAME");
    space.run(&["restore"]).good().says("no layer hits");
    space.run(&["save", "--branch", "main"]).good();
    space.run(&["restore", "--require"]).good();
}

#[test]
fn a_job_must_not_change_its_own_key() {
    let space = Space::new();
    let ran = space.run(&["wrap", "--", "sh", "-c", "make; echo built >>modules/top"]).exits(2);
    ran.says("files in the key of layer modules changed meanwhile");
    space.sh("git checkout -q .");
    assert_eq!(space.restored().0, "-");
}

#[test]
fn below_the_root_and_from_elsewhere() {
    let space = Space::new();
    space.job().good();
    space.sh("rm -r build; mkdir sub");
    let ran = space.run(&["-C", "sub", "restore"]).good();
    assert!(ran.err.contains("restored layer modules"), "{}", ran.err);
    let mut command = space.command(&["-C", space.root.to_str().unwrap(), "cache", "plan"]);
    assert!(command.current_dir("/").output().unwrap().status.success());
}
