//! Steps that fail: remembered, explained, and never a hit.

use std::time::{Duration, Instant};

use super::traces::{marked, no_workspace_left, nothing_left};
use crate::support::Project;

fn script(project: &Project, name: &str, more: &str, script: &str) {
    project
        .module(name, &format!("{more}[build]\nkind = \"script\"\nsteps = ['''\n{script}\n''']\n"));
}

#[test]
fn a_failure_is_remembered_with_its_log_and_is_never_a_hit() {
    let project = marked("");
    script(&project, "lib", "", "echo lib > $DESTDIR/lib");
    script(&project, "bad", "depends = [\"lib\"]\n", "echo what went wrong >&2; exit 7");
    for time in 1..=3 {
        let ran = project.run(&["build", "bad"]).exits(1);
        let ran = ran.says("its command exited with 7").says("what went wrong");
        ran.says("ashlar log bad");
        assert!(project.run(&["log", "bad"]).good().out.contains("what went wrong"));
        let said = if time == 1 {
            "failed once with these very inputs".to_owned()
        } else {
            format!("failed {time} times with these very inputs")
        };
        for command in ["why", "plan"] {
            let out = project.run(&[command, "bad"]).good().out;
            assert!(out.contains(&said), "{command} does not say {said:?}:\n{out}");
        }
        assert_eq!(project.why("bad")["failures"], time);
    }
    let ran = project.run(&["build", "--json", "bad"]).exits(1);
    assert_eq!(ran.modules(), [("bad", "failed"), ("lib", "hit")].map(owned));
    project.run(&["checkout", "bad", "out"]).exits(1).says("bad is not built as it is now");

    // Other inputs have not failed yet; and what is right at last is kept.
    project.edit("modules/bad.toml", "exit 7", "echo good > $DESTDIR/bad");
    assert_eq!(project.why("bad")["failures"], 0);
    let plan = project.run(&["plan", "bad"]).good().out;
    assert!(!plan.contains("failed"), "{plan}");
    assert_eq!(project.outcomes(&["bad"]), "bad:built lib:hit");
    assert_eq!(project.output("bad", "bad"), "good\n");
    assert_eq!(project.outcomes(&["bad"]), "bad:hit");

    // It is said as well where there was a build before, beside what has changed since.
    project.edit("modules/bad.toml", "echo good", "false; echo good");
    project.run(&["build", "bad"]).exits(1);
    let plan = project.run(&["plan", "bad"]).good().out;
    assert!(plan.contains("script step 1") && plan.contains("; failed once with"), "{plan}");
}

fn owned((module, outcome): (&str, &str)) -> (String, String) {
    (module.to_owned(), outcome.to_owned())
}

#[test]
fn what_does_not_depend_on_a_failure_goes_on_and_is_kept() {
    let project = marked("");
    script(&project, "bad", "", "exit 1");
    script(&project, "above", "depends = [\"bad\"]\n", ":");
    // It begins before the failure is known, and ends after it.
    script(&project, "beside", "", "sleep 1; echo beside > $DESTDIR/beside");
    script(&project, "late", "depends = [\"beside\"]\n", "echo late > $DESTDIR/late");
    let ran = project.run(&["build", "--json", "--jobs", "2", "above", "beside", "late"]).exits(1);
    assert_eq!(
        ran.modules(),
        [("above", "skipped"), ("bad", "failed"), ("beside", "built"), ("late", "skipped")]
            .map(owned)
    );
    let args = ["build", "--json", "--jobs", "2", "--keep-going", "above", "beside", "late"];
    assert_eq!(
        project.run(&args).exits(1).modules(),
        [("above", "skipped"), ("bad", "failed"), ("beside", "hit"), ("late", "built")].map(owned)
    );
    assert_eq!(project.outcomes(&["late"]), "late:hit");
}

#[test]
fn a_step_that_takes_too_long_is_killed_and_says_so() {
    let project = marked("");
    script(
        &project,
        "slow",
        "",
        "echo begun\ntrap '' TERM\n(sleep 300) &\nwhile :; do sleep 301; done",
    );
    project.edit("modules/slow.toml", "kind", "timeout = \"1s\"\nkind");
    let begun = Instant::now();
    let ran = project.run(&["build", "slow"]).exits(1).says("it took longer than 1.00 s");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    nothing_left(&project, Duration::ZERO);
    no_workspace_left(&project);
    ran.says("begun");
    assert!(project.run(&["log", "slow"]).good().out.contains("begun"));
    let history = project.run(&["log", "--history", "slow"]).good().out;
    assert!(history.contains("it took longer than"), "{history}");
    assert_eq!(project.why("slow")["failures"], 1);
    project.run(&["build", "slow"]).exits(1);
}

#[test]
fn a_step_that_makes_less_than_it_promised_fails() {
    let project = marked("");
    script(&project, "less", "", "echo x > $DESTDIR/x");
    let text = project.read("modules/less.toml");
    project.module("less", &format!("{text}[outputs]\nexpect = [\"x\", \"y/*\"]\n"));
    project.run(&["build", "less"]).exits(1).says("nothing in the outputs matches `y/*`");
    project.run(&["build", "less"]).exits(1);
    assert_eq!(project.why("less")["failures"], 2);
    // What cannot be kept is not kept in part.
    script(&project, "fifo", "", "echo x > $DESTDIR/x; mkfifo $DESTDIR/pipe");
    project.link("rootfs/bin/mkfifo", "busybox");
    project.run(&["build", "fifo"]).exits(1).says("its outputs cannot be kept: pipe is a FIFO");
    project.run(&["build", "fifo"]).exits(1);
    project.run(&["store", "verify"]).good();
}
