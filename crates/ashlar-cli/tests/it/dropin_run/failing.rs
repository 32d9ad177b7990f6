//! Commands that fail, or do not make what they should.

use super::Tree;
use crate::never_lost::mounts::Mount;

#[test]
fn a_command_that_fails_keeps_nothing_and_what_was_there_comes_back() {
    let tree = Tree::new();
    let declared = ["-i", "in", "-O", "out", "-O", "lone"];
    let script = "mkdir out; cp in out/a; cp in lone; echo said; if grep -q bad in; then echo why >&2; exit 7; fi";
    tree.file("in", "good");
    assert_eq!(tree.outcome(&declared, script), "built");
    let before = tree.all();
    tree.file("in", "bad");
    for _ in 0..2 {
        let (ran, event) = tree.event(&declared, script);
        assert_eq!((&event["outcome"], &event["code"], ran.code), (&"failed".into(), &7.into(), 7));
        let mut now = tree.all();
        now.insert("in".to_owned(), before["in"].clone());
        assert_eq!(now, before);
    }
    let log = tree.ashlar(&["log", "--run", "out"]).good();
    assert_eq!(log.out, "said\nwhy\n");
    assert_eq!(tree.run(&declared, script).code, 7);
    // The result of before is still there.
    tree.file("in", "good");
    assert_eq!(tree.outcome(&declared, script), "hit");
}

#[test]
fn each_pattern_has_to_match() {
    let tree = Tree::new();
    tree.file("main.deb", "before");
    let declared = ["--no-inputs", "-O", "main.deb", "-O", "main-*.deb", "-O", "!main-x.deb"];
    for cache in ["readwrite", "read"] {
        let all = [&["--cache", cache], &declared[..]].concat();
        let ran = tree.run(&all, "echo x > main.deb; echo x > main-x.deb").exits(1);
        let ran = ran.says("nothing it made matches `main-*.deb`");
        assert!(ran.err.contains("help:"), "{}", ran.err);
        assert_eq!(tree.read("main.deb"), "before");
    }
    assert_eq!(tree.outcome(&declared, "echo x > main.deb; echo x > main-dbg.deb"), "built");
}

#[test]
fn a_command_that_writes_into_what_it_reads_is_not_kept_and_says_so() {
    let tree = Tree::new();
    tree.file("src/in", "1");
    let declared = ["-i", "src/**", "-O", "out"];
    for _ in 0..2 {
        let ran = tree.run(&declared, "cp src/in out; date +%N > src/stamp").good();
        ran.says("nothing is kept").says("src/stamp").says("--input '!PATTERN'");
    }
    std::fs::remove_file(tree.path("src/stamp")).unwrap();
    let declared = ["-i", "src/**", "-i", "!src/stamp", "-O", "out"];
    let script = "cp src/in out; date +%N > src/stamp";
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.outcome(&declared, script), "hit");
}

#[test]
fn committed_files_are_no_outputs_unless_they_are_named() {
    let tree = Tree::new();
    tree.file("src/a.c", "source");
    tree.file("src/generated.h", "old");
    tree.commit();
    let ran = tree.run(&["--no-inputs", "-O", "src/*"], "true").exits(2);
    ran.says("src/a.c").says("committed").says("help:");
    assert_eq!(tree.read("src/a.c"), "source");
    let declared = ["-i", "src/a.c", "-O", "src/generated.h"];
    assert_eq!(tree.outcome(&declared, "echo new > src/generated.h"), "built");
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let tree = Tree::new();
    tree.file("out", "before");
    let ran = tree.ashlar(&["run", "--no-inputs", "-O", "out", "--", "no-such-program"]).exits(3);
    ran.says("no-such-program");
    assert_eq!(tree.read("out"), "before");
    tree.run(&["--no-inputs", "-O", "out", "--tool", "no-such-tool"], "true")
        .exits(3)
        .says("no-such-tool");
}

#[test]
fn a_full_disk_of_the_store_costs_no_output() {
    let tree = Tree::new();
    for free in [0, 16 << 10, 300 << 10, 2 << 20] {
        let disk = tree.folder.path().join(format!("disk{free}"));
        let Some(_mount) = Mount::disk(&disk, 8 << 20) else { return };
        let mut tree = Tree { store: disk.join("store"), env: tree.env.clone(), ..Tree::new() };
        tree.env.clear();
        assert_eq!(tree.outcome(&["--no-inputs", "-O", "small"], "echo 1 > small"), "built");
        let room = rustix::fs::statvfs(&disk).unwrap();
        let bytes = (room.f_bavail * room.f_frsize).saturating_sub(free);
        std::fs::write(disk.join("filler"), vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
        let script = "echo begun; seq 1 100000; head -c 6000000 /dev/urandom > large; echo done";
        let ran = tree.run(&["--no-inputs", "-O", "large"], script).good();
        assert!(ran.err.contains("warning: "), "{free}: {}", ran.err);
        assert!(ran.out.starts_with("begun\n1\n") && ran.out.ends_with("100000\ndone\n"), "{free}");
        assert_eq!(tree.path("large").metadata().unwrap().len(), 6_000_000, "{free}");
        // What is there is found all the same.
        std::fs::remove_file(tree.path("small")).unwrap();
        tree.run(&["--no-inputs", "-O", "small"], "echo 1 > small").good();
        assert_eq!(tree.read("small"), "1\n");
        std::fs::remove_file(disk.join("filler")).unwrap();
        assert_eq!(
            tree.outcome(&["--no-inputs", "-O", "small"], "echo 1 > small"),
            "hit",
            "{free}"
        );
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_done_without() {
    let tree = Tree::new();
    std::fs::write(&tree.store, "no folder").unwrap();
    let ran = tree.run(&["--no-inputs", "-O", "out"], "echo 1 > out; exit 0").good();
    ran.says("warning: ").says("without the store");
    assert_eq!(tree.read("out"), "1\n");
    assert_eq!(tree.run(&["--no-inputs", "-O", "out"], "exit 5").code, 5);
    // Who asked for a proof does not get a build without one.
    tree.run(&["--trace", "fail", "--no-inputs", "-O", "out"], "true").exits(4);
}
