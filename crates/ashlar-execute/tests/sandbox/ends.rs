//! How commands end, and that nothing is left of them.

use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use ashlar_execute::{Cancel, ExecuteError, Executor as _, Outcome, Root};

use crate::fixture::{Fixture, helper, processes, request};

/// A script that leaves processes which do not hear of signals, in sessions of their own, and
/// whose command lines can be recognised.
fn stubborn(mark: &str) -> String {
    format!(
        "trap '' TERM INT HUP
         for n in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; while :; do sleep {mark}; done' & done
         setsid setsid sleep {mark} </dev/null >/dev/null 2>&1 &
         echo started; sleep {mark}"
    )
}

#[test]
fn codes_and_signals() {
    let fixture = Fixture::new();
    for (script, code) in [
        ("exit 1", 1),
        ("exit 42", 42),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("no-such", 127),
    ] {
        let (outcome, _) = fixture.run(&fixture.request(script));
        assert!(matches!(outcome, Outcome::Failed(c) if c == code), "{script}: {outcome:?}");
    }
    fixture.assert_nothing_left();
}

#[test]
fn the_log_is_kept_and_streamed_on_failure_too() {
    let fixture = Fixture::new();
    let (outcome, log) =
        fixture.run(&fixture.request("echo out; echo err >&2; printf end; exit 3"));
    assert!(matches!(outcome, Outcome::Failed(3)));
    assert_eq!(log, "out\nerr\nend");
    assert_eq!(*fixture.streamed.lock().unwrap(), b"out\nerr\nend");
}

#[test]
fn a_long_log_is_bounded() {
    let fixture = Fixture::new();
    let script = "echo first; yes 0123456789012345678901234567890123456789 | head -c 60000000; echo; echo last; exit 1";
    let (outcome, log) = fixture.run(&fixture.request(script));
    assert!(matches!(outcome, Outcome::Failed(1)));
    assert!(log.starts_with("first\n") && log.ends_with("\nlast\n"));
    assert!(log.contains("bytes of output are left out here]"));
    assert!(log.len() > 32 << 20 && log.len() < 33 << 20, "{}", log.len());
}

#[test]
fn a_time_out_ends_everything() {
    let fixture = Fixture::new();
    let mut asked = fixture.request(&stubborn("7101"));
    asked.timeout = Some(Duration::from_millis(700));
    let begun = Instant::now();
    let (outcome, log) = fixture.run(&asked);
    assert!(matches!(outcome, Outcome::TimedOut(after) if after == Duration::from_millis(700)));
    assert!(begun.elapsed() < Duration::from_millis(2200), "{:?}", begun.elapsed());
    assert_eq!(log, "started\n");
    assert_eq!(processes("sleep 7101"), Vec::<String>::new());
    fixture.assert_nothing_left();
}

#[test]
fn cancelling_ends_everything() {
    let fixture = Fixture::new();
    let asked = fixture.request(&stubborn("7102"));
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| fixture.sandbox.run(&asked, &fixture.jobs, &cancel));
        while fixture.streamed.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(processes("sleep 7102").len() > 1);
        let begun = Instant::now();
        cancel.cancel();
        let finished = running.join().unwrap().unwrap();
        assert!(matches!(finished.outcome, Outcome::Cancelled));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    });
    assert_eq!(processes("sleep 7102"), Vec::<String>::new());
    fixture.assert_nothing_left();
    // What was cancelled before it began does not begin.
    let finished = fixture.sandbox.run(&asked, &fixture.jobs, &cancel).unwrap();
    assert!(matches!(finished.outcome, Outcome::Cancelled));
}

#[test]
fn what_a_command_leaves_running_ends_with_it() {
    let fixture = Fixture::new();
    let asked = fixture.request(
        "setsid sh -c 'trap \"\" TERM HUP; sleep 7103; echo late >/build/dest/late' & echo done",
    );
    let begun = Instant::now();
    assert_eq!(fixture.output(&asked), "done\n");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(processes("sleep 7103"), Vec::<String>::new());
}

#[test]
fn nothing_outlives_a_killed_build() {
    let fixture = Fixture::new();
    for wait in (0..24).chain([30, 400]) {
        let mut build = Process::new(helper())
            .arg("run")
            .arg(fixture.folder.path().join("other"))
            .arg(stubborn("7104"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        build.kill().unwrap();
        build.wait().unwrap();
        let mark = fixture.folder.path().to_str().unwrap();
        let begun = Instant::now();
        loop {
            let left = [processes("sleep 7104"), processes(mark)].concat();
            if left.is_empty() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    fixture.assert_nothing_left();
}

#[test]
fn a_helper_that_is_none_is_an_error() {
    let fixture = Fixture::new();
    for program in ["/nonexistent", "/bin/true"] {
        let options = ashlar_execute::SandboxOptions {
            owner_base: crate::fixture::BASE,
            helper: program.into(),
            keep_failed: false,
            on_output: std::sync::Arc::new(|_, _| {}),
        };
        let sandbox = ashlar_execute::Sandbox::new(fixture.store.clone(), options);
        let result = sandbox.run(&fixture.request("true"), &fixture.jobs, &Cancel::new());
        assert!(
            matches!(result, Err(ExecuteError::Sandbox(_) | ExecuteError::Workspace { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn a_directory_that_is_not_there_is_no_failure_of_the_command() {
    let fixture = Fixture::new();
    let mut asked = request(Root::Layers(vec![fixture.busybox()]), "true");
    asked.command.working_directory = "no/such".into();
    let result = fixture.try_run(&asked);
    assert!(
        matches!(&result, Err(ExecuteError::Sandbox(text)) if text.contains("no/such")),
        "{result:?}"
    );
    fixture.assert_nothing_left();
}

#[test]
fn the_machines_root_never_becomes_root_inside() {
    let fixture = Fixture::new();
    let options = ashlar_execute::SandboxOptions {
        owner_base: 0,
        helper: helper(),
        keep_failed: false,
        on_output: std::sync::Arc::new(|_, _| {}),
    };
    let sandbox = ashlar_execute::Sandbox::new(fixture.store.clone(), options);
    let result = sandbox.run(&fixture.request("true"), &fixture.jobs, &Cancel::new());
    assert!(matches!(result, Err(ExecuteError::Sandbox(_))), "{result:?}");
}

#[test]
fn folders_of_failures_stay_when_asked_for() {
    let fixture = Fixture::new();
    let options = ashlar_execute::SandboxOptions {
        owner_base: crate::fixture::BASE,
        helper: helper(),
        keep_failed: true,
        on_output: std::sync::Arc::new(|_, _| {}),
    };
    let sandbox = ashlar_execute::Sandbox::new(fixture.store.clone(), options);
    for script in ["echo x >/build/src/left; exit 1", "echo x >/build/src/left"] {
        sandbox.run(&fixture.request(script), &fixture.jobs, &Cancel::new()).unwrap();
    }
    let folders = sandbox.failed_folders();
    assert_eq!(folders.len(), 1);
    assert!(folders[0].join("src/left").exists());
    drop(sandbox);
    assert!(!folders[0].exists());
}
