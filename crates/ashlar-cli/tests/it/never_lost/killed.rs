//! `kill -9` at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::random::Random;
use super::running::Running;
use super::traces::{all_is_well, marked, no_workspace_left, nothing_left};
use crate::support::Project;

const KILLS: usize = 50;
/// After that many builds that nobody killed in time something is wrong with the test.
const TRIES: usize = 300;
const LAYERS: usize = 5;
const WIDTH: usize = 5;

fn name(number: usize) -> String {
    format!("m{number:02}")
}

/// Modules in layers, each over two of the layer beneath; quick ones and slow ones, with many
/// files and with large ones, with sources, with patches.
fn project() -> Project {
    let project = marked("ROUND = \"0\"\n");
    for number in 0..LAYERS * WIDTH {
        let name = name(number);
        let mut depends = Vec::new();
        if let Some(layer) = (number / WIDTH).checked_sub(1) {
            depends = [number % WIDTH, (number + 1) % WIDTH].map(|at| layer * WIDTH + at).to_vec();
        }
        let listed: Vec<String> =
            depends.iter().map(|d| format!("\"{}\"", self::name(*d))).collect();
        let read: String = depends.iter().map(|d| format!(" /share/{}", self::name(*d))).collect();
        let (source, more) = match number % WIDTH {
            0 => {
                project.file(&format!("src/{name}/text"), format!("text of {name}\n"));
                project.file(
                    &format!("patches/{name}.patch"),
                    format!(
                        "--- a/text\n+++ b/text\n@@ -1 +1 @@\n-text of {name}\n+patched {name}\n"
                    ),
                );
                let patched = format!(
                    "[source]\npath = \"src/{name}\"\npatches = [\"patches/{name}.patch\"]\n"
                );
                (patched, "cat text >> $file".to_owned())
            }
            1 => {
                project.file(&format!("src/{name}/text"), format!("text of {name}\n"));
                let plain = format!("[source]\npath = \"src/{name}\"\n");
                (plain, "cat text >> $file; chmod 755 $file; ln -s $file $file.link".to_owned())
            }
            2 => {
                let many = "i=0; mkdir $file.d; while [ $i -lt 150 ]; do \
                            echo $i $ROUND > $file.d/$i; i=$((i + 1)); done";
                (String::new(), many.to_owned())
            }
            3 => (String::new(), "head -c 4000000 /dev/zero | tr '\\0' 'z' > $file.z".to_owned()),
            _ => (String::new(), format!("sleep 0.{:02}", number * 7 % 20)),
        };
        project.module(
            &name,
            &format!(
                "depends = [{}]\n{source}[build]\nkind = \"script\"\nsteps = ['''\n\
                 mkdir $DESTDIR/share\nfile=$DESTDIR/share/{name}\n\
                 echo {name} $ROUND > $file\ncat /dev/null{read} >> $file\n\
                 sleep 0.0{}\n{more}\n''']\n",
                listed.join(", "),
                number % 4
            ),
        );
    }
    // Whatever a kill leaves of this would be seen for long.
    project.module("slow", "[build]\nkind = \"script\"\nsteps = ['sleep 300 & sleep 301']\n");
    project
}

/// Every file, link and mode below a folder.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(path) = todo.pop() {
        let facts = std::fs::symlink_metadata(&path).unwrap();
        let what = if facts.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if facts.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else {
            std::fs::read_to_string(&path).unwrap()
        };
        let mode = std::os::unix::fs::PermissionsExt::mode(&facts.permissions());
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        all.insert(name, format!("{mode:o} {what}"));
    }
    all
}

/// What builds have come to.
#[derive(Default)]
struct Finished {
    /// Keys of steps that some build said had ended well.
    keys: BTreeSet<String>,
    /// Those of them that make a module.
    modules: BTreeMap<String, String>,
}

impl Finished {
    /// Takes what a build said.
    fn take(&mut self, ran: &crate::support::Ran) {
        let mut now = Vec::new();
        for event in ran.events() {
            if event["event"] != "step" {
                continue;
            }
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            let (key, outcome) = (text("step_key"), text("outcome"));
            if self.keys.contains(&key) {
                assert_eq!(outcome, "hit", "it had finished before: {event}");
            }
            assert_ne!(outcome, "failed", "{event}");
            if outcome != "skipped" {
                now.push(key.clone());
                if event["step"] == "build" {
                    self.modules.insert(text("module"), key);
                }
            }
        }
        self.keys.extend(now);
    }
}

#[test]
fn fifty_kills_lose_nothing_and_leave_nothing() {
    let project = project();
    let modules: Vec<String> = (0..LAYERS * WIDTH).map(name).collect();
    let names: Vec<&str> = modules.iter().map(String::as_str).collect();
    let build = [&["build", "--json", "--jobs", "3"], &*names].concat();
    let with_slow = [&*build, &["slow"]].concat();
    let plan = [&["plan", "--json"], &*names].concat();

    let mut random = Random::new();
    let mut finished = Finished::default();
    let (mut kills, mut round, mut found_again) = (0, 0, 0);
    for _ in 0..TRIES {
        if kills == KILLS {
            break;
        }
        let slow = random.within(0..3) > 0;
        let running = Running::start(&project, if slow { &with_slow } else { &build });
        std::thread::sleep(Duration::from_millis(random.within(5..400)));
        running.signal(Signal::KILL);
        let ran = running.end();
        assert!([0, 128 + 9].contains(&ran.code), "{}: {}", ran.code, ran.err);
        kills += usize::from(ran.code != 0);
        nothing_left(&project, Duration::from_secs(2));
        finished.take(&ran);

        // A look at the plan: everything that ended is known, nothing was made half.
        let planned = project.run(&plan).good();
        assert_eq!(planned.err, "", "after a kill");
        let mut left = false;
        for event in planned.events() {
            left |= event["state"] != "hit";
            let module = event["module"].as_str().unwrap();
            if let Some(key) = finished.modules.get(module) {
                assert_eq!(event["step_key"], key.as_str());
                assert_eq!(event["state"], "hit", "{module} had finished: {event}");
                found_again += 1;
            }
        }
        no_workspace_left(&project);
        if !left {
            round += 1;
            finished.modules.clear();
            project.edit(
                "ashlar.toml",
                &format!("ROUND = \"{}\"", round - 1),
                &format!("ROUND = \"{round}\""),
            );
        }
    }
    assert_eq!(kills, KILLS, "too many builds ended before they were killed");
    assert!(found_again > KILLS, "the kills came too early to test anything");
    println!("{kills} kills in {round} rounds, {found_again} modules found again");

    // The last round to its end, beside a store that nobody disturbed.
    let ran = project.run(&build).good();
    finished.take(&ran);
    assert!(ran.modules().iter().all(|(_, outcome)| ["hit", "built"].contains(&outcome.as_str())));
    let calm = project.root.parent().unwrap().join("calm");
    let calm = calm.to_str().unwrap();
    project.run(&[&["--store", calm], &*build].concat()).good();
    let (one, two) = (project.root.join("one"), project.root.join("two"));
    for module in &modules {
        project.run(&["checkout", "--force", module, one.to_str().unwrap()]).good();
        project
            .run(&["--store", calm, "checkout", "--force", module, two.to_str().unwrap()])
            .good();
        assert_eq!(contents(&one), contents(&two), "{module}");
    }
    assert!(contents(&one).len() > 1);
    all_is_well(&project);
    no_workspace_left(&project);
}
