//! A full disk.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mounts::Mount;
use super::traces::{all_is_well, marked, no_workspace_left, nothing_left};
use crate::support::{Project, Ran};

const DISK: u64 = 16 << 20;

/// A chain of modules; each makes something of another size.
fn project() -> Project {
    let project = marked("");
    let mut depends = "";
    for (name, script) in [
        ("a", "echo a > $DESTDIR/a"),
        ("b", "cat /a > $DESTDIR/b; head -c 900000 /dev/zero | tr '\\0' b > $DESTDIR/large"),
        (
            "c",
            "cat /b > $DESTDIR/c; mkdir $DESTDIR/d; for i in 1 2 3 4 5 6 7 8 9; do head -c ${i}0000 /dev/zero | tr '\\0' $i > $DESTDIR/d/$i; done",
        ),
        ("d", "cat /c > $DESTDIR/e"),
    ] {
        project.module(
            name,
            &format!("{depends}[build]\nkind = \"script\"\nsteps = ['''{script}''']\n"),
        );
        depends = match name {
            "a" => "depends = [\"a\"]\n",
            "b" => "depends = [\"b\"]\n",
            _ => "depends = [\"c\"]\n",
        };
    }
    project
}

/// Fills the disk until so much is free.
fn fill(store: &Path, free: u64) -> PathBuf {
    let path = store.parent().unwrap().join("filler");
    let facts = rustix::fs::statvfs(store).unwrap();
    let now = facts.f_bavail * facts.f_frsize;
    let mut file = std::fs::File::create(&path).unwrap();
    let bytes = usize::try_from(now.saturating_sub(free)).unwrap();
    file.write_all(&vec![0xa5; bytes]).unwrap();
    path
}

/// Keys of steps that ended well.
fn finished(ran: &Ran) -> BTreeSet<String> {
    ran.events()
        .iter()
        .filter(|e| e["event"] == "step")
        .filter(|e| ["hit", "built", "cutoff"].contains(&e["outcome"].as_str().unwrap()))
        .map(|e| e["step_key"].as_str().unwrap().to_owned())
        .collect()
}

/// The project on a small disk of its own, which is gone with the second value.
fn on_small_disk() -> Option<(Project, Mount)> {
    let mut project = project();
    let disk = project.root.parent().unwrap().join("disk");
    let mount = Mount::disk(&disk, DISK)?;
    project.store = disk.join("store");
    std::fs::create_dir(&project.store).unwrap();
    Some((project, mount))
}

#[test]
fn whatever_room_is_left_nothing_is_wrong_and_nothing_is_lost() {
    let args = ["build", "--json", "d"];
    let mut ends = Vec::new();
    // Of a store that is new, and of one that has something.
    for (begun, free) in [
        (false, 0),
        (false, 8 << 10),
        (false, 64 << 10),
        (false, 200 << 10),
        (false, 1 << 20),
        (false, 3 << 20),
        (true, 0),
        (true, 4 << 10),
        (true, 16 << 10),
        (true, 32 << 10),
        (true, 64 << 10),
        (true, 128 << 10),
        (true, 256 << 10),
        (true, 512 << 10),
        (true, 950 << 10),
        (true, 1000 << 10),
        (true, 1100 << 10),
        (true, 1300 << 10),
        (true, 1500 << 10),
        (true, 2 << 20),
        (true, 4 << 20),
    ] {
        let Some((project, _disk)) = on_small_disk() else { return };
        if begun {
            project.build(&["a"]);
        }
        let filler = fill(&project.store, free);
        let at = format!("with {free} bytes free of {} store", if begun { "a" } else { "a new" });
        let ran = project.run(&args);
        ends.push((begun, free, ran.code));
        assert!(!ran.err.contains("panicked"), "{at}: {}", ran.err);
        match ran.code {
            0 => {}
            4 => assert!(
                ran.err.contains("is full") || ran.out.contains("is full"),
                "{at}: {ran}",
                ran = ran.out.clone() + &ran.err
            ),
            code => panic!("{at}: exit {code}\n{}\n{}", ran.out, ran.err),
        }
        nothing_left(&project, Duration::ZERO);
        let done = finished(&ran);
        if begun && ran.events().iter().any(|e| e["event"] == "summary") {
            assert_eq!(ran.modules()[0], ("a".to_owned(), "hit".to_owned()), "{at}");
        }

        std::fs::remove_file(filler).unwrap();
        let ran = project.run(&args).good();
        for event in ran.events().iter().filter(|e| e["event"] == "step") {
            if done.contains(event["step_key"].as_str().unwrap()) {
                assert_eq!(event["outcome"], "hit", "{at}: {event}");
            }
        }
        for (module, file, expected) in [
            ("a", "a", "a\n".to_owned()),
            ("b", "large", "b".repeat(900_000)),
            ("c", "d/9", "9".repeat(90_000)),
            ("d", "e", "a\n".to_owned()),
        ] {
            project.build(&[module]);
            assert!(project.output(module, file) == expected, "{at}: {file} of {module}");
        }
        all_is_well(&project);
        no_workspace_left(&project);
    }
    println!("{ends:?}");
    assert!(ends.iter().any(|(_, _, code)| *code == 4), "the disk was never full");
    assert!(ends.iter().any(|(begun, _, code)| *begun && *code == 0), "the disk was always full");
}

#[test]
fn what_is_there_is_used_although_the_disk_is_full() {
    let Some((project, _disk)) = on_small_disk() else { return };
    project.build(&["d"]);
    fill(&project.store, 0);
    assert_eq!(project.outcomes(&["d"]), "d:hit");
    assert_eq!(project.output("d", "e"), "a\n");
    let plan = project.run(&["plan", "d"]).good().out;
    assert!(plan.contains("nothing to build"), "{plan}");
    // And room can be made, with the means that the message names.
    project.edit("modules/d.toml", "/e", "/f");
    let ran = project.run(&["build", "d"]).exits(4);
    ran.says("the disk of the store is full").says("ashlar store gc --max-size");
    project.run(&["store", "gc", "--max-size", "0"]).good();
    project.run(&["build", "a"]).good();
    assert_eq!(project.output("a", "a"), "a\n");
    no_workspace_left(&project);
}

#[test]
fn a_command_that_fills_the_disk_fails_for_that_reason() {
    let Some((project, _disk)) = on_small_disk() else { return };
    project.module(
        "huge",
        "depends = [\"a\"]\n[build]\nkind = \"script\"\n\
         steps = ['head -c 40000000 /dev/zero > $DESTDIR/huge']\n",
    );
    let ran = project.run(&["build", "huge"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    ran.says("the disk of the store is full");
    assert_eq!(project.outcomes(&["a"]), "a:hit");
    // It did not fail for what it is.
    assert_eq!(project.why("huge")["failures"], 0);
    no_workspace_left(&project);
}
