//! Signals, and kills at any moment.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Tree;
use crate::support::{ASHLAR, Ran};

/// Starts a run, and waits until its script has made the file `begun`: before anything else, but
/// after it has set a trap.
fn begun(tree: &Tree, declared: &[&str], script: &str) -> Child {
    let script = match script.split_once(" TERM; ") {
        Some((trap, rest)) => format!("{trap} TERM; touch begun; {rest}"),
        None => format!("touch begun; {script}"),
    };
    let args = [&["run"], declared, &["--", "sh", "-c", &script]].concat();
    let mut command = tree.command(ASHLAR, &args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| tree.path("begun").exists());
    std::fs::remove_file(tree.path("begun")).unwrap();
    child
}

#[track_caller]
fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "it takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

const OUT: [&str; 5] = ["--no-inputs", "-O", "out", "-O", "lone"];

#[test]
fn a_signal_is_handed_on_and_the_code_is_that_of_the_command() {
    let tree = Tree::new();
    tree.file("out/a", "before");
    let trap = "trap 'echo told; exit 9' TERM; mkdir out; while :; do sleep 0.02; done";
    let child = begun(&tree, &OUT, trap);
    signal(&child, Signal::TERM);
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(9);
    assert_eq!(ran.out, "told\n");
    assert_eq!(tree.read("out/a"), "before");
    // Without a trap: as a shell says it.
    let child = begun(&tree, &OUT, "exec sleep 30");
    signal(&child, Signal::TERM);
    Ran::of(&child.wait_with_output().unwrap()).exits(128 + 15);
    assert_eq!(tree.read("out/a"), "before");
}

#[test]
fn who_is_stopped_and_says_that_all_is_well_is_not_kept() {
    let tree = Tree::new();
    tree.file("lone", "before");
    let trap = "trap 'touch out lone; exit 0' TERM; while :; do sleep 0.02; done";
    let child = begun(&tree, &OUT, trap);
    signal(&child, Signal::TERM);
    Ran::of(&child.wait_with_output().unwrap()).exits(5);
    assert_eq!(tree.read("lone"), "before");
    assert!(!tree.path("out").exists());
}

#[test]
fn who_waits_for_another_can_be_stopped() {
    let tree = Tree::new();
    let first = begun(&tree, &OUT, "while test ! -e go; do sleep 0.02; done; touch out lone");
    let args = [&["run"], &OUT[..], &["--", "touch", "out", "lone"]].concat();
    let mut command = tree.command(ASHLAR, &args);
    let mut second = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 5];
    std::io::Read::read_exact(second.stderr.as_mut().unwrap(), &mut word).unwrap();
    signal(&second, Signal::TERM);
    assert_eq!(second.wait().unwrap().code(), Some(5));
    tree.file("go", "");
    Ran::of(&first.wait_with_output().unwrap()).good();
}

#[test]
fn a_kill_while_the_command_runs_leaves_nothing_half() {
    let tree = Tree::new();
    tree.file("out/a", "before");
    tree.file("lone", "before");
    let slow = "mkdir out; echo half > out/b; exec sleep 30";
    let child = begun(&tree, &OUT, slow);
    until(|| tree.path("out/b").exists());
    signal(&child, Signal::KILL);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    assert!(!tree.path("lone").exists());
    // Whatever is run next in that root puts right what was set aside.
    assert_eq!(tree.outcome(&["--no-inputs", "-O", "other"], "cp lone other"), "built");
    assert_eq!((tree.read("lone"), tree.read("other")), ("before".to_owned(), "before".to_owned()));
    assert_eq!(tree.read("out/a"), "before");
    let hidden = |tree: &Tree| tree.all().keys().any(|name| name.starts_with(".ashlar-"));
    assert!(!hidden(&tree), "{:?}", tree.all());
    // Nothing was kept of it, and nobody holds its lock.
    let script = "touch begun; mkdir out; echo half > out/b; exec sleep 30";
    let (ran, event) =
        tree.event(&OUT, &script.replace("exec sleep 30", "echo whole > out/a; touch lone"));
    assert_eq!((ran.good().code, &event["outcome"]), (0, &"built".into()));
    assert_eq!(tree.read("out/a"), "whole\n");
    tree.ashlar(&["store", "verify"]).good();
}

#[test]
fn kills_at_any_moment_leave_whole_results_or_none() {
    let tree = Tree::new();
    tree.file("in", "0");
    let script = "mkdir out; for i in 1 2 3 4 5 6 7 8 9; do cp in out/$i; done; cp in lone";
    let declared = ["-i", "in", "-O", "out", "-O", "lone"];
    for round in 0..24_u64 {
        // Half of the time what is found is put in its place.
        tree.file("in", format!("{}", round / 2));
        let args = [&["run"], &declared[..], &["--", "sh", "-c", script]].concat();
        let mut command = tree.command(ASHLAR, &args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 3 % 50));
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        // What the shell of a killed run does to its end is over.
        std::thread::sleep(Duration::from_millis(40));
        tree.run(&declared, script).good();
        let value = tree.read("in");
        assert_eq!(tree.read("lone"), value);
        for number in 1..=9 {
            assert_eq!(tree.read(&format!("out/{number}")), value, "round {round}");
        }
        assert_eq!(tree.all().len(), 13, "{:?}", tree.all());
    }
    tree.ashlar(&["store", "verify"]).good();
}
