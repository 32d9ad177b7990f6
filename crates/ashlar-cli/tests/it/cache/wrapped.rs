//! `ashlar cache wrap`: exit codes and signals.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Space;
use crate::support::Ran;

#[test]
fn the_exit_code_is_that_of_the_command() {
    let space = Space::new();
    space.run(&["wrap", "--", "sh", "-c", "make; exit 9"]).exits(9);
    space.run(&["wrap", "--", "sh", "-c", "kill -9 $$"]).exits(137);
    space.run(&["wrap", "--", "nothing-that-is-installed"]).exits(3).says("cannot run");
    let ran = space.run(&["wrap", "--", "make"]).good();
    assert!(ran.err.contains("kept layer modules"), "{}", ran.err);
    space.run(&["wrap", "--", "false"]).exits(1).says("layer modules is kept already");
}

#[test]
fn with_json_standard_output_is_for_programs() {
    let space = Space::new();
    let ran = space.run(&["wrap", "--json", "--", "make"]).good();
    let events = ran.events();
    assert!(events.iter().any(|event| event["event"] == "save"), "{}", ran.out);
    assert!(ran.err.contains("mkdir -p packages"), "{}", ran.err);
    let ran = space.run(&["skip-if-hit", "base", "--json", "--branch", "x", "--", "echo", "said"]);
    assert_eq!(ran.good().events().len(), 1);
}

fn start(space: &Space, args: &[&str]) -> Child {
    let mut command = space.command(&[&["cache", "wrap"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

fn wait_for(space: &Space, file: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while !space.root.join(file).exists() {
        assert!(Instant::now() < until, "no {file}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_cancelled_job_keeps_what_it_did() {
    for (which, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let space = Space::new();
        let script = "trap 'echo told >build/told; kill $!; exit 1' TERM INT; \
            make build/base/.built build/mid/.built; touch ready; sleep 60 & wait";
        let child = start(&space, &["--", "sh", "-c", script]);
        wait_for(&space, "ready");
        signal(&child, which);
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert!(ran.code == 1 || ran.code == code, "{}\n{}", ran.code, ran.err);
        let ran = ran.says("kept what is there of layer modules");
        assert!(!ran.err.contains("kept layer"), "{}", ran.err);
        // The command was told first, and what it did then is there as well.
        let next = space.checkout();
        assert_eq!((next.restored().0, next.restored().1), ("modules".into(), "partial".into()));
        assert!(next.root.join("build/told").exists());
        next.job().good();
        assert_eq!(next.log(), ["built top", "downloaded top", "patched top"]);
    }
}

#[test]
fn a_command_that_does_not_listen_is_ended() {
    let space = Space::new();
    let script = "trap '' TERM; make; touch ready; while :; do sleep 1; done";
    let begun = Instant::now();
    let child = start(&space, &["--grace", "1", "--", "sh", "-c", script]);
    wait_for(&space, "ready");
    signal(&child, Signal::TERM);
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(137);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(ran.err.contains("kept what is there of layer modules"), "{}", ran.err);
    assert_eq!(space.checkout().restored().1, "partial");
}

/// A command that succeeds although it was told to stop has not done all that it should have.
#[test]
fn success_after_a_signal_is_no_success() {
    let space = Space::new();
    let script = "trap 'exit 0' TERM; make; touch ready; while :; do sleep 0.1; done";
    let child = start(&space, &["--", "sh", "-c", script]);
    wait_for(&space, "ready");
    signal(&child, Signal::TERM);
    Ran::of(&child.wait_with_output().unwrap()).exits(143);
    assert_eq!(space.checkout().restored().1, "partial");
}
