//! Steps that run `make` share the jobs of the build.

use std::fs;

use ashlar_execute::{Cancel, Executor as _, Jobs, Outcome, Root};
use ashlar_store::Capture;

use crate::fixture::{Fixture, request};

/// Every recipe says in the log when it begins and ends, and the times tell how many ran at once.
const MAKEFILE: &str = "
all: $(addprefix job,1 2 3 4 5 6 7 8 9 10)
	$(MAKE) -j8 -C sub
job%:
	@echo begin `date +%s%N`; sleep 0.15; echo end `date +%s%N`
.PHONY: all
";
const SUB: &str = "
all: $(addprefix job,1 2 3 4 5 6)
job%:
	@echo begin `date +%s%N`; sleep 0.15; echo end `date +%s%N`
.PHONY: all
";

#[test]
fn two_makes_never_run_more_than_all_jobs() {
    let fixture = Fixture::new();
    let source = fixture.tree(Capture::Outputs, |folder| {
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("Makefile"), MAKEFILE).unwrap();
        fs::write(folder.join("sub/Makefile"), SUB).unwrap();
    });
    let total = 4;
    let jobs = Jobs::new(total).unwrap();
    let logs: Vec<String> = std::thread::scope(|scope| {
        let run = |script: &'static str| {
            let (fixture, jobs, source) = (&fixture, &jobs, source.clone());
            scope.spawn(move || {
                let cancel = Cancel::new();
                let _token = jobs.acquire(&cancel).unwrap();
                let mut asked = request(Root::Host(Vec::new()), script);
                asked.source = Some(source);
                let finished = fixture.sandbox.run(&asked, jobs, &cancel).unwrap();
                let log = fixture.text(&finished.log);
                assert!(matches!(finished.outcome, Outcome::Succeeded(_)), "{log}");
                log
            })
        };
        let running = [run("make -j8"), run("make --jobs=8 -k")];
        running.map(|thread| thread.join().unwrap()).into()
    });
    let mut events: Vec<(u64, i32)> = Vec::new();
    for log in &logs {
        assert!(!log.contains("jobserver"), "{log}");
        for line in log.lines() {
            if let Some(at) = line.strip_prefix("begin ") {
                events.push((at.parse().unwrap(), 1));
            } else if let Some(at) = line.strip_prefix("end ") {
                events.push((at.parse().unwrap(), -1));
            }
        }
    }
    assert_eq!(events.len(), 2 * 2 * 16);
    events.sort_unstable();
    let (mut running, mut most) = (0, 0);
    for (_, change) in events {
        running += change;
        most = most.max(running);
    }
    assert!(most <= i32::try_from(total).unwrap(), "{most} jobs ran at once");
    assert!(most > 2, "the makes did not share their jobs: {most} at once");
    // And all came back.
    assert_eq!(jobs.acquire_many(99, &Cancel::new()).unwrap().count(), total);
}

#[test]
fn a_step_that_holds_its_jobs_is_told_their_number_and_offered_no_others() {
    let fixture = Fixture::new();
    let mut asked = fixture.request("echo \"$JOBS ${MAKEFLAGS-none}\"");
    asked.held_jobs = Some(3);
    assert_eq!(fixture.output(&asked), "3 none\n");
}
