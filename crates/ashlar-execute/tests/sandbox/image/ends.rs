//! How commands in images end.

use std::time::{Duration, Instant};

use ashlar_execute::{Cancel, Executor as _, Finished, Mounted, Outcome, Owner, Request};

use super::{base, content, mount, on, run, view};
use crate::fixture::{Fixture, paths, processes};

/// A shell that leaves its work to others, one of which tidies up when it is told to.
const TIDY: &str = "cd /work
    (trap 'sleep 0.3; echo tidy >end; exit 1' TERM; echo begun >begin; while :; do sleep 0.05; done) &
    (trap '' TERM; sleep 271.5) &
    wait; wait; sleep 271.5";

fn tidy(fixture: &Fixture, grace: Duration) -> Request {
    let mut asked = on(base(fixture), TIDY);
    let made = Owner::FOLDER;
    view(&mut asked).mounts = vec![mount("/work", Mounted::Checkpoint { seed: None, made })];
    view(&mut asked).grace = grace;
    asked
}

fn left(finished: &Finished) -> Vec<String> {
    paths(&finished.checkpoints[0].kept.tree)
}

#[test]
fn everybody_has_time_to_tidy_up_when_the_time_is_over() {
    let fixture = Fixture::new();
    let mut asked = tidy(&fixture, Duration::from_millis(1500));
    asked.timeout = Some(Duration::from_millis(800));
    let begun = Instant::now();
    let finished = fixture.try_run(&asked).unwrap();
    assert!(matches!(finished.outcome, Outcome::TimedOut(_)), "{:?}", finished.outcome);
    assert_eq!(left(&finished), ["begin", "end"]);
    assert_eq!(content(&fixture, &finished.checkpoints[0].kept.tree, "end"), "tidy\n");
    // One of them does not listen, and has all the time there is.
    assert!(begun.elapsed() >= Duration::from_millis(2300), "{:?}", begun.elapsed());
    fixture.assert_nothing_left();
}

#[test]
fn a_cancelled_command_ends_as_soon_as_all_have() {
    let fixture = Fixture::new();
    let mut asked = tidy(&fixture, Duration::from_secs(60));
    asked.command.arguments[2] = TIDY.replace("trap '' TERM; sleep", "sleep");
    let cancel = Cancel::new();
    let other = cancel.clone();
    let begun = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(800));
        other.cancel();
    });
    let finished = fixture.sandbox.run(&asked, &fixture.jobs, &cancel).unwrap();
    stopper.join().unwrap();
    assert!(matches!(finished.outcome, Outcome::Cancelled), "{:?}", finished.outcome);
    assert_eq!(left(&finished), ["begin", "end"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn without_grace_everything_is_killed_at_once() {
    let fixture = Fixture::new();
    let mut asked = tidy(&fixture, Duration::ZERO);
    asked.command.arguments[2] = TIDY.replace("271.5", "273.5");
    asked.timeout = Some(Duration::from_millis(800));
    let begun = Instant::now();
    let finished = fixture.try_run(&asked).unwrap();
    assert!(matches!(finished.outcome, Outcome::TimedOut(_)), "{:?}", finished.outcome);
    assert_eq!(left(&finished), ["begin"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(processes("sleep 273.5"), Vec::<String>::new());
}

#[test]
fn what_is_left_in_the_background_ends_with_the_command() {
    let fixture = Fixture::new();
    let begun = Instant::now();
    fixture.output(&run(&fixture, "sleep 272.5 & setsid sleep 272.5 & exit 0"));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(processes("sleep 272.5"), Vec::<String>::new());
    fixture.assert_nothing_left();
}

#[test]
fn codes_and_signals() {
    let fixture = Fixture::new();
    for (script, code) in [("exit 9", 9), ("kill -9 $$", 137), ("kill $$; sleep 9", 143)] {
        let (outcome, log) = fixture.run(&run(&fixture, script));
        assert!(matches!(outcome, Outcome::Failed(found) if found == code), "{outcome:?} {log}");
    }
}

/// The workspace, mounts and processes go when the process that runs the build is killed: the
/// helper is what dies with it.
#[test]
fn a_command_dies_with_its_build() {
    let fixture = Fixture::new();
    let store = fixture.folder.path().join("other");
    let mut process = std::process::Command::new(crate::fixture::helper())
        .args(["run-image", store.to_str().unwrap(), "echo up; sleep 274.5 & sleep 274.5"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "up\n");
    process.kill().unwrap();
    process.wait().unwrap();
    let begun = Instant::now();
    while !processes("sleep 274.5").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", processes("sleep 274.5"));
        std::thread::sleep(Duration::from_millis(20));
    }
}
