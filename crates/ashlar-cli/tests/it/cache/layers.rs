//! Order, scopes, marks, branches, references.

use super::Space;

#[test]
fn the_first_layer_that_hits_is_taken_in_the_order_of_the_file() {
    let space = Space::new();
    space.job().good();
    for (edit, layer) in [("modules/top", "middle"), ("modules/mid", "base"), ("modules/base", "-")]
    {
        let next = space.checkout();
        next.file(edit, "2\n");
        assert_eq!(next.restored().0, layer, "{edit}");
        next.job().good();
        assert!(!next.log().iter().any(|line| line.starts_with("asked")), "{:?}", next.log());
    }
}

#[test]
fn branches_have_scopes_of_their_own_and_read_main() {
    let space = Space::new();
    let feature = space.checkout();
    feature.sh("git checkout -q -b feature/x");
    feature.job().good();
    assert_eq!(space.checkout().restored().0, "-", "main does not see a branch");
    let other = space.checkout();
    other.sh("git checkout -q -b other");
    assert_eq!(other.restored().0, "-");
    assert_eq!(other.run(&["restore", "--branch", "feature/x", "--require"]).good().code, 0);
    space.job().good();
    let other = space.checkout();
    other.sh("git checkout -q -b other");
    let event = other.event(&["restore", "--json"]);
    assert_eq!((&event["scope"], &event["branch"]), (&"branch:main".into(), &"other".into()));
}

/// Whoever has a fork may call a branch there as he likes.
#[test]
fn a_pull_request_does_not_write_where_others_read() {
    let space = Space::new();
    let fork = space.checkout();
    let mut command = fork.command(&["cache", "wrap", "--", "make"]);
    let github = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_REF", "refs/pull/12/merge"),
        ("GITHUB_HEAD_REF", "main"),
        ("GITHUB_BASE_REF", "main"),
    ];
    assert!(command.envs(github).output().unwrap().status.success());
    assert_eq!(space.checkout().restored().0, "-");
    let event = space.event(&["plan", "--json", "--branch", "pr-12"]);
    assert_eq!(event["hit"]["scope"], "branch:pr-12");
}

#[test]
fn partial_ones_come_after_all_complete_ones() {
    let space = Space::new();
    space.job().good();
    let next = space.checkout();
    next.file("modules/top", "top 2\n");
    next.commit();
    next.sh("make");
    assert_eq!(next.saved(&["--partial"]), "modules:kept middle:exists base:exists");
    // A complete smaller one is better than a larger one of which nobody knows what is in it.
    assert_eq!((next.restored().0, next.restored().1), ("middle".into(), "complete".into()));
    let third = next.checkout();
    third.file("modules/base", "base 2\n");
    third.file("fail-mid", "");
    third.job().exits(2);
    let event = third.event(&["plan", "--json"]);
    assert_eq!(event["hit"]["mark"], "partial");
}

#[test]
fn values_of_variables_and_paths_are_in_the_key() {
    let space = Space::new();
    let text = space.read("ashlar-cache.toml");
    space.file("ashlar-cache.toml", &text.replacen("paths", "env = [\"BOARD\"]\npaths", 1));
    space.sh("make");
    let save = |board: &str| {
        let mut command = space.command(&["cache", "save", "--json"]);
        let ran = command.env("BOARD", board).output().unwrap();
        String::from_utf8(ran.stdout).unwrap().matches("\"kept\"").count()
    };
    assert_eq!((save("one"), save("two"), save("one")), (3, 1, 0));
    // Set to nothing and not set are two things.
    assert_eq!((save(""), space.saved(&[])), (1, "modules:kept middle:exists base:exists".into()));
    let text = space.read("ashlar-cache.toml");
    space.file("ashlar-cache.toml", &text.replace("\"build\"]", "\"build\", \"!build/top\"]"));
    assert_eq!(space.saved(&[]), "modules:kept middle:exists base:exists");
    let next = space.checkout();
    next.sh(&format!("cp {}/ashlar-cache.toml .", space.root.display()));
    next.run(&["restore"]).good();
    assert!(next.root.join("build/mid").exists() && !next.root.join("build/top").exists());
}

/// A workspace that jobs use again is not fresh: what an earlier job left of other layers would be
/// patched once more.
#[test]
fn a_workspace_that_is_used_again_can_be_made_as_a_fresh_one() {
    let space = Space::new();
    space.job().good();
    space.file("modules/top", "top 2\n");
    space.file("build/mine", "named by the layer as well\n");
    let ran = space.run(&["restore", "--clean"]).good().says("restored layer middle");
    assert!(!space.root.join("build/top").exists() && !space.root.join("build/mine").exists());
    assert!(ran.err.contains("0 files written"), "{}", ran.err);
    space.sh("rm log");
    space.job().good();
    assert_eq!(space.log(), ["built top", "downloaded top", "patched top"]);
    space.file("modules/base", "base 2\n");
    space.run(&["restore", "--clean"]).good().says("no layer hits");
    assert!(!space.root.join("build/base").exists() && space.root.join("modules/base").exists());
}

#[test]
fn references_instead_of_archives() {
    let space = Space::new();
    space.sh("echo old >reference");
    let ran = space.run(&["skip-if-hit", "modules", "--result", "reference"]).exits(1);
    ran.says("layer modules is not kept yet");
    assert!(!space.root.join("reference").exists(), "an old reference would mislead");
    let ran = space.run(&["skip-if-hit", "modules", "--", "sh", "-c", "make; exit 6"]).exits(6);
    assert!(ran.err.contains("not kept yet"), "{}", ran.err);
    space.run(&["save"]).good();

    let output = space.root.join("github-output");
    std::fs::write(&output, "before=1\n").unwrap();
    let mut command =
        space.command(&["cache", "skip-if-hit", "modules", "--result", "reference", "--", "false"]);
    let done = command.env("GITHUB_OUTPUT", &output).output().unwrap();
    assert!(done.status.success(), "the command does not run");
    let reference = space.read("reference");
    assert_eq!(space.read("github-output"), format!("before=1\nhit=true\nreference={reference}\n"));

    // Exactly that, whatever the key of the checkout is.
    let next = space.checkout();
    next.file("modules/top", "top 2\n");
    assert_eq!(next.restored().0, "middle");
    next.run(&["restore", "--ref", reference.trim()]).good().says("restored layer modules");
    assert_eq!(next.read("build/top/out"), "top 1\npatch of top\n");
    let nowhere = format!("modules@{}", "0".repeat(64));
    next.run(&["restore", "--ref", &nowhere]).exits(1).says("is nowhere");
    next.file("modules/base", "base 2\n");
    next.run(&["restore", "--require"]).exits(1).says("no layer hits");
}

#[test]
fn a_plan_changes_nothing_and_knows_everything() {
    let space = Space::new();
    let ran = space.run(&["plan"]).good();
    assert!(ran.out.starts_with("branch main, says git\nmodules: not kept\n"), "{}", ran.out);
    assert!(ran.out.contains("nothing of it is there now"), "{}", ran.out);
    space.job().good();
    space.sh("rm build/top/out; echo stale >build/stale");
    let before = super::all(&space.root);
    let plan = space.run(&["plan", "--json"]).good().events();
    assert_eq!(super::all(&space.root), before);
    let layers: Vec<&str> = plan.iter().map(|e| e["layer"].as_str().unwrap()).collect();
    assert_eq!(layers, ["modules", "middle", "base"]);
    let hit = &plan[0]["hit"];
    assert_eq!(hit["place"], "local");
    assert_eq!((&hit["files"], &hit["bytes"], &hit["removed"]), (&1.into(), &19.into(), &1.into()));
    let chosen: Vec<bool> = plan.iter().map(|e| e["hit"]["chosen"].as_bool().unwrap()).collect();
    assert_eq!(chosen, [true, false, false]);
}
