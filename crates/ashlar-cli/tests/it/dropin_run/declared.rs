//! Declarations that are not right, and what is said about them.

use super::Tree;

#[test]
fn mistakes_are_named_with_what_to_do() {
    let tree = Tree::new();
    tree.file("in", "1");
    for (declared, message, advice) in [
        (&["-i", "src/[", "-O", "out"][..], "`src/[` is not a glob", ""),
        (&["-i", "in", "-O", "out/{a"], "`out/{a` is not a glob", ""),
        (&["-i", "in", "-O", "../out"], "is not inside the project", ""),
        (&["-i", "in", "-O", "/out"], "is not inside the project", ""),
        (&["-i", "gone", "-O", "out"], "nothing matches the input `gone`", "--maybe"),
        (
            &["-i", "in", "--common", "x/*", "-O", "out"],
            "nothing matches the common `x/*`",
            "--maybe",
        ),
        (&["--uses", "gone", "-O", "out"], "`gone`, which it uses, is not there", "make it first"),
        (&["-O", "out"], "nothing is declared that the command reads", "--no-inputs"),
        (&["-i", "in"], "nothing is declared that the command makes", "--output"),
        (&["-i", "in", "-O", "out", "--cache", "reed"], "`reed` says nothing", "readwrite"),
        (&["-i", "out", "-O", "out"], "nothing matches the input `out`", "--maybe"),
        (&["--git", "gone", "-i", "in", "-O", "out"], "gone", ""),
    ] {
        let ran = tree.run(declared, "touch ran").exits(2).says(message).says(advice);
        assert!(!tree.path("ran").exists(), "{declared:?}: {}", ran.err);
    }
    tree.ashlar(&["run", "-i", "in", "-O", "out"]).exits(2).says("no command").says("after `--`");
    // What may be absent may be there later.
    let (declared, script) =
        (["--no-inputs", "--maybe", "config", "-O", "out"], "cat config > out || :");
    assert_eq!(tree.outcome(&declared, script), "built");
    tree.file("config", "1");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.read("out"), "1");
}

#[test]
fn mistakes_in_the_file_are_named_with_their_places() {
    let tree = Tree::new();
    for (text, said) in [
        ("[run.x]\ninputs = []\n", "ashlar-run.toml:2:1: unknown key `inputs`"),
        ("[run.x]\ninput = 'a'\n", "ashlar-run.toml:2:"),
        ("[cache]\n'x/*' = 'reed'\n", "ashlar-run.toml:2:"),
        ("[runs.x]\n", "ashlar-run.toml:1:"),
        ("[run.x\n", "ashlar-run.toml:1:"),
    ] {
        tree.file("ashlar-run.toml", text);
        tree.run(&["--no-inputs", "-O", "out"], "touch out").exits(2).says(said);
        tree.ashlar(&["run", "--batch", "ashlar-run.toml"]).exits(2).says(said);
    }
    tree.file("ashlar-run.toml", "[run.x]\ncommand = 'true'\ninput = ['a[']\noutput = ['b']\n");
    tree.ashlar(&["run", "--batch", "ashlar-run.toml"])
        .exits(2)
        .says("ashlar-run.toml:3:10: `a[` in `input` has a `[` without `]`");
}

#[test]
fn the_file_and_the_command_line_are_one_declaration() {
    let tree = Tree::new();
    tree.file("in", "1");
    tree.file("more", "1");
    tree.file("ashlar-run.toml", "[defaults]\nflag = ['all=1']\n[run.out]\ninput = ['more']\n");
    let (declared, script) = (["-i", "in", "-O", "out"], "cat in more > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    tree.file("more", "2");
    assert_eq!(tree.outcome(&declared, script), "built");
    tree.file("ashlar-run.toml", "[defaults]\nflag = ['all=2']\n[run.out]\ninput = ['more']\n");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.outcome(&declared, script), "hit");
}

#[test]
fn the_schema_knows_the_file() {
    let tree = Tree::new();
    let schema: serde_json::Value =
        serde_json::from_str(&tree.ashlar(&["schema", "run"]).good().out).unwrap();
    let run = &schema["properties"]["run"]["additionalProperties"];
    assert_eq!(run["properties"]["uses"]["type"], "array");
    assert_eq!(run["additionalProperties"], false);
}
