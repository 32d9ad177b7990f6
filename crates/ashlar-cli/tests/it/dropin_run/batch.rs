//! Many declarations in a file.

use super::Tree;

const RUNS: &str = r#"
[defaults]
flag = ["all=1"]
[run.lib]
input = ["in"]
output = ["lib", "lib-dev"]
command = "cp in lib; cp in lib-dev; echo made lib; date +%s%N > ../lib.time"
[run.app]
uses = ["lib-dev"]
output = ["app"]
command = ["sh", "-c", "cp lib-dev app; date +%s%N > ../app.time"]
[run.other]
no_inputs = true
directory = "sub"
output = ["sub/other"]
command = "touch other"
"#;

fn tree() -> Tree {
    let tree = Tree::new();
    tree.file("ashlar-run.toml", RUNS);
    tree.file("in", "1");
    tree.file("sub/x", "");
    tree
}

fn outcomes(tree: &Tree, args: &[&str]) -> String {
    let args = [&["run", "--json", "--batch", "ashlar-run.toml"], args].concat();
    let ran = tree.ashlar(&args);
    let mut all: Vec<String> = ran
        .events()
        .iter()
        .filter(|event| event["event"] == "run")
        .map(|event| {
            format!("{}:{}", event["name"].as_str().unwrap(), event["outcome"].as_str().unwrap())
        })
        .collect();
    all.sort();
    format!("{} {}", ran.code, all.join(" "))
}

#[test]
fn what_is_used_is_made_first_and_all_is_found_again() {
    let tree = tree();
    assert_eq!(outcomes(&tree, &["-j4"]), "0 app:built lib:built other:built");
    let time =
        |name: &str| -> u64 { tree.read(&format!("../{name}.time")).trim().parse().unwrap() };
    assert!(time("lib") < time("app"));
    assert_eq!(outcomes(&tree, &[]), "0 app:hit lib:hit other:hit");
    tree.file("in", "2");
    assert_eq!(outcomes(&tree, &["app"]), "0 app:built lib:built");
    assert_eq!(tree.read("app"), "2");
    // As a makefile says it, it is the same run.
    let run = ["--name", "lib", "-O", "lib"];
    let script = "cp in lib; cp in lib-dev; echo made lib; date +%s%N > ../lib.time";
    assert_eq!(tree.outcome(&run, script), "hit");
}

#[test]
fn a_run_that_fails_stops_what_needs_it() {
    let tree = tree();
    tree.file("ashlar-run.toml", RUNS.replace("echo made lib", "echo made lib; exit 6"));
    let said = outcomes(&tree, &["-j1", "app"]);
    assert_eq!(said, "6 lib:failed");
    assert!(!tree.path("app").exists() && !tree.path("lib").exists());
    let ran = tree.ashlar(&["run", "--batch", "ashlar-run.toml", "app"]).exits(6);
    assert!(ran.out.contains("made lib"), "{}", ran.out);
}

#[test]
fn orders_that_cannot_be_are_said() {
    let tree = tree();
    let batch =
        |args: &[&str]| tree.ashlar(&[&["run", "--batch", "ashlar-run.toml"], args].concat());
    batch(&["ap"]).exits(2).says("no run `ap`").says("did you mean `app`?");
    tree.file("ashlar-run.toml", RUNS.replace("input = [\"in\"]", "uses = [\"app\"]"));
    batch(&[]).exits(2).says("circle");
    tree.file("ashlar-run.toml", RUNS.replace("[\"app\"]", "[\"lib\"]"));
    batch(&[]).exits(2).says("both make `lib`");
    tree.ashlar(&["run", "--batch", "gone.toml"]).exits(2).says("gone.toml");
}

#[test]
fn another_file_holds_runs_of_the_same_root() {
    let tree = tree();
    tree.file("sub/more.toml", "[run.x]\ninput = ['in']\noutput = ['x']\ncommand = 'cp in x'\n");
    tree.ashlar(&["run", "--batch", "sub/more.toml"]).good();
    assert_eq!(tree.read("x"), "1");
    tree.ashlar(&["-C", "sub", "run", "--batch", "more.toml"]).good().says("x: found");
}
