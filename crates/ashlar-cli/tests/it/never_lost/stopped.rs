//! SIGINT and SIGTERM.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::running::{PATIENCE, Running};
use super::traces::{left_by, marked, no_workspace_left, nothing_left};
use crate::support::{Project, Ran};

/// How long stopping may take.
const SECONDS: Duration = Duration::from_secs(5);

/// A quick module, and two that go on for long and do not want to be stopped.
fn project() -> Project {
    let project = marked("");
    project
        .module("quick", "[build]\nkind = \"script\"\nsteps = ['echo quick > $DESTDIR/quick']\n");
    for name in ["slow/one", "slow/two"] {
        project.module(
            name,
            // With its name in the script: two modules that do the same are one step.
            &format!(
                "depends = [\"quick\"]\n[build]\nkind = \"script\"\nsteps = ['''\n\
                 : {name}\ntrap '' INT TERM HUP\n(sleep 300; echo never) &\n\
                 setsid sleep 301 &\nsleep 302\n''']\n"
            ),
        );
    }
    project.link("rootfs/bin/setsid", "busybox");
    project
        .module("after", "depends = [\"slow/one\"]\n[build]\nkind = \"script\"\nsteps = [':']\n");
    project
}

/// Starts a build, and stops it when the quick module is done and the slow ones are under way.
fn stopped(project: &Project, stop: &dyn Fn(&Running)) -> Ran {
    let args = ["build", "--json", "--jobs", "2", "after", "slow/two"];
    let mut running = Running::start(project, &args);
    running.wait_for("end of quick", |e| e["event"] == "step" && e["module"] == "quick");
    let until = Instant::now() + PATIENCE;
    while left_by(project).iter().filter(|line| line.ends_with("sleep 302 ")).count() < 2 {
        assert!(Instant::now() < until, "the slow modules do not run");
        std::thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    stop(&running);
    let ran = running.end();
    assert!(begun.elapsed() < SECONDS, "it took {:?}", begun.elapsed());
    // Nothing, at once: who sees the program end may take the disk away.
    nothing_left(project, Duration::ZERO);
    no_workspace_left(project);
    ran
}

#[test]
fn a_signal_stops_the_build_and_what_finished_is_kept() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let project = project();
        let ran = stopped(&project, &|running| running.signal(signal)).exits(5);
        let outcome = |module: &str| {
            let all = ran.modules();
            all.iter().find(|(name, _)| name == module).unwrap().1.clone()
        };
        assert_eq!(outcome("quick"), "built");
        for skipped in ["slow/one", "slow/two", "after"] {
            assert_eq!(outcome(skipped), "skipped", "{signal:?}");
        }
        assert_eq!(ran.summary()["failed"], 0);
        assert_eq!(project.outcomes(&["quick"]), "quick:hit");
        // What was stopped did not fail.
        assert_eq!(project.why("slow/one")["failures"], 0);
        project.run(&["store", "verify"]).good();
    }
}

#[test]
fn an_interrupt_from_the_terminal_reaches_everything_and_changes_nothing() {
    let project = project();
    let ran = stopped(&project, &|running| running.signal_group(Signal::INT)).exits(5);
    assert_eq!(ran.summary()["failed"], 0, "{}", ran.out);
    assert_eq!(project.outcomes(&["quick"]), "quick:hit");
    assert_eq!(project.why("slow/one")["failures"], 0);
}

#[test]
fn people_are_told_that_nothing_is_lost() {
    let project = project();
    let running = Running::start(&project, &["build", "after"]);
    let until = Instant::now() + PATIENCE;
    while !left_by(&project).iter().any(|line| line.ends_with("sleep 302 ")) {
        assert!(Instant::now() < until, "the slow module does not run");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::INT);
    running
        .end()
        .exits(5)
        .says("built quick")
        .says("stopped: everything that finished is kept, and the next build goes on from there");
}

#[test]
fn a_server_that_says_nothing_keeps_nobody() {
    use std::os::unix::process::CommandExt as _;
    let build = "[build]\nkind = \"import\"\n";
    for source in ["git = \"git://ADDRESS/x\"\ncommit", "url = \"http://ADDRESS/x\"\nsha256"] {
        // One for each: somebody who was stopped may have come twice.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let id = "1".repeat(if source.starts_with("git") { 40 } else { 64 });
        let source = format!("[source]\n{} = \"{id}\"\n", source.replace("ADDRESS", &address));
        let project = Project::empty();
        project.module("silent", &format!("{source}{build}"));
        let mut command = project.command(&["build", "silent"]);
        let mut running = command.process_group(0).spawn().unwrap();
        // Somebody has come to fetch, and is told nothing.
        let (_held, _) = listener.accept().unwrap();
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let status = running.wait().unwrap();
        assert_eq!(status.code(), Some(5), "{source}");
        assert!(begun.elapsed() < SECONDS + SECONDS, "it took {:?}", begun.elapsed());
        // Its children are in its group: git, where it was started.
        let until = Instant::now() + PATIENCE;
        while rustix::process::test_kill_process_group(pid).is_ok() {
            assert!(Instant::now() < until, "something that was started is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
