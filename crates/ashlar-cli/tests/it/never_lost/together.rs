//! Many processes at once, and collection beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::traces::{all_is_well, marked, no_workspace_left, nothing_left};
use crate::support::{Project, Ran};

const PROCESSES: usize = 8;
const MODULES: usize = 12;

fn name(number: usize) -> String {
    format!("m{number:02}")
}

/// Every module stands on two before it, so that all targets overlap. Each says when it began and
/// when it ended, by the clock that all sandboxes share.
fn project() -> Project {
    let project = marked("ROUND = \"0\"\n");
    for number in 0..MODULES {
        let name = name(number);
        let depends: Vec<String> =
            [1, 3].iter().filter_map(|back| number.checked_sub(*back)).map(self::name).collect();
        let listed: Vec<String> = depends.iter().map(|d| format!("\"{d}\"")).collect();
        let read: String = depends.iter().map(|d| format!(" /share/{d}")).collect();
        project.module(
            &name,
            &format!(
                "depends = [{}]\n[build]\nkind = \"script\"\nsteps = ['''\n\
                 echo \"begin {name} $(cat /proc/uptime)\"\n\
                 mkdir $DESTDIR/share\necho {name} $ROUND > $DESTDIR/share/{name}\n\
                 cat /dev/null{read} | sort -u >> $DESTDIR/share/{name}\nsleep 0.05\n\
                 echo \"end {name} $(cat /proc/uptime)\"\n''']\n",
                listed.join(", ")
            ),
        );
    }
    project
}

/// What a module's file has in it.
fn expected(number: usize, round: usize) -> String {
    // Everything before it is behind it, except where a chain of ones and threes cannot reach;
    // there is no such place.
    let below: BTreeSet<String> = [1, 3]
        .iter()
        .filter_map(|back| number.checked_sub(*back))
        .flat_map(|number| {
            let text = expected(number, round);
            text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let mut text = format!("{} {round}\n", name(number));
    for line in below {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The targets of one process: some of the upper modules, others for each process.
fn targets(process: usize) -> Vec<String> {
    (0..3).map(|more| name(MODULES - 1 - (process + more * 2) % 6)).collect()
}

/// Runs the builds of all processes at once.
fn build_all(project: &Project, args: &[&str]) -> Vec<Ran> {
    let running: Vec<_> = (0..PROCESSES)
        .map(|process| {
            let mut command = project.command(args);
            command.args(targets(process));
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            let child = command.spawn().unwrap();
            // Read while it runs: a pipe that is full would stop it.
            std::thread::spawn(move || Ran::of(&child.wait_with_output().unwrap()))
        })
        .collect();
    running.into_iter().map(|thread| thread.join().unwrap().good()).collect()
}

fn check_outputs(project: &Project, round: usize) {
    for number in 0..MODULES {
        let name = name(number);
        project.build(&[&name]);
        assert_eq!(project.output(&name, &format!("share/{name}")), expected(number, round));
    }
}

#[test]
fn eight_processes_build_each_step_once() {
    let project = project();
    let all = build_all(&project, &["build", "--json", "--jobs", "2"]);
    let mut built: BTreeMap<String, usize> = BTreeMap::new();
    let mut waited = 0;
    for ran in &all {
        assert_eq!(ran.summary()["failed"], 0);
        waited += ran.events().iter().filter(|e| e["event"] == "wait").count();
        for event in ran.events().iter().filter(|e| e["event"] == "step") {
            let outcome = event["outcome"].as_str().unwrap();
            assert!(["built", "hit"].contains(&outcome), "{event}");
            let key = event["step_key"].as_str().unwrap().to_owned();
            *built.entry(key).or_default() += usize::from(outcome == "built");
        }
    }
    assert_eq!(built.len(), MODULES);
    assert!(built.values().all(|times| *times == 1), "{built:?}");
    assert!(waited > 0, "no process ever met another");
    check_outputs(&project, 0);
    all_is_well(&project);
    no_workspace_left(&project);
}

/// When builds of a module began and ended, in hundredths of a second, by what `-v` shows.
fn spans(all: &[Ran]) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut spans: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for ran in all {
        let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
        for line in ran.err.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, what @ ("begin" | "end"), module, time, _] = words[..] else { continue };
            let time = time.replace('.', "").parse().unwrap();
            if what == "begin" {
                begun.insert(module, time);
            } else {
                let begun = begun.remove(module).expect("what ends has begun");
                spans.entry(module.to_owned()).or_default().push((begun, time));
            }
        }
        assert!(begun.is_empty(), "{begun:?} have no end: {}", ran.err);
    }
    spans
}

#[test]
fn eight_processes_beside_collection_get_what_is_right() {
    let project = project();
    let stop = AtomicBool::new(false);
    let (collections, removed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let ran = project.run(&["--json", "store", "gc", "--max-size", "1K"]).good();
                let report = ran.events().remove(0);
                let results = report["results"].as_u64().unwrap() as usize;
                removed.fetch_add(results, Ordering::Relaxed);
                collections.fetch_add(1, Ordering::Relaxed);
            }
        });
        // What panics here must not leave the other thread waiting.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..8 {
                // Half of the rounds find what the one before has left, as far as it is there.
                let salt = round / 2;
                if round % 2 == 0 && round > 0 {
                    project.edit(
                        "ashlar.toml",
                        &format!("ROUND = \"{}\"", salt - 1),
                        &format!("ROUND = \"{salt}\""),
                    );
                }
                let all = build_all(&project, &["build", "-v", "--jobs", "2"]);
                for (module, mut spans) in spans(&all) {
                    spans.sort_unstable();
                    for pair in spans.windows(2) {
                        assert!(pair[0].1 <= pair[1].0, "{module} twice at once: {spans:?}");
                    }
                }
                // Now and then nobody holds anything, and collection takes it all.
                std::thread::sleep(Duration::from_millis(40));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    let (collections, removed) = (collections.into_inner(), removed.into_inner());
    println!("{collections} collections removed {removed} results");
    assert!(collections > 8 && removed > MODULES, "{collections} removed {removed}");
    nothing_left(&project, Duration::ZERO);
    check_outputs(&project, 3);
    all_is_well(&project);
    no_workspace_left(&project);
}
