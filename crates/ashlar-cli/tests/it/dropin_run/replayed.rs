//! What a command writes, and is shown again.

use std::io::Read as _;
use std::process::Stdio;

use super::Tree;

const OUT: [&str; 5] = ["-q", "--no-inputs", "-O", "out", "--"];
const SCRIPT: &str = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; touch out";

#[test]
fn both_outputs_are_shown_again_where_they_went() {
    let tree = Tree::new();
    let built = tree.run(&OUT[..4], SCRIPT).good();
    let found = tree.run(&OUT[..4], SCRIPT).good();
    assert_eq!((built.out.as_str(), found.out.as_str()), ("one\nthree\n", "one\nthree\n"));
    assert!(built.err.starts_with("two\n"), "{}", built.err);
    assert_eq!(found.err, "two\n");
    // In their order, where both go to one place.
    let mut command =
        tree.command("sh", &["-c", "exec \"$@\" 2>&1", "sh", crate::support::ASHLAR, "run"]);
    let output = command.args(OUT).args(["sh", "-c", SCRIPT]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\nthree\n");
}

#[test]
fn it_is_shown_while_the_command_runs() {
    let tree = Tree::new();
    tree.file("go", "");
    let script = "echo begun; while test -e go; do sleep 0.02; done; touch out";
    let mut command = tree.command(crate::support::ASHLAR, &["run"]);
    let mut child =
        command.args(OUT).args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut begun = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"begun\n");
    std::fs::remove_file(tree.path("go")).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn nothing_is_shown_again_when_that_is_not_wanted() {
    let tree = Tree::new();
    tree.run(&OUT[..4], SCRIPT).good();
    let quiet = ["--replay", "no", "-q", "--no-inputs", "-O", "out"];
    let found = tree.run(&quiet, SCRIPT).good();
    assert_eq!((found.out, found.err), (String::new(), String::new()));
}

#[test]
fn a_large_output_is_shown_again_byte_for_byte() {
    let tree = Tree::new();
    let script = "seq 1 200000; printf 'no end of line \\377'; touch out";
    let bytes = |_| {
        let mut command = tree.command(crate::support::ASHLAR, &["run"]);
        command.args(OUT).args(["sh", "-c", script]).output().unwrap().stdout
    };
    let [built, found] = [0, 1].map(bytes);
    assert!(built.len() > 1_000_000 && built.ends_with(b" \xff"));
    assert!(built == found);
}

#[test]
fn standard_input_is_closed_whatever_the_cache_is_for() {
    let tree = Tree::new();
    for mode in ["readwrite", "off", "read"] {
        let mut command = tree.command(crate::support::ASHLAR, &["run", "--cache", mode]);
        command.args(["--no-inputs", "-O", mode, "--", "sh", "-c"]);
        command.arg(format!("if read -r line; then exit 9; fi; touch {mode}"));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Nobody may read it, and then it may be closed.
        let _ = std::io::Write::write_all(&mut stdin, b"a line\n");
        assert!(child.wait().unwrap().success(), "{mode}");
        drop(stdin);
    }
}
