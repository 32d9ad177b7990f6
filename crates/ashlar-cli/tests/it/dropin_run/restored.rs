//! What a hit leaves in the tree.

use std::time::Duration;

use super::Tree;
use crate::support::Ran;

const OUT: [&str; 5] = ["--no-inputs", "-O", "out", "-O", "lone*"];

const SCRIPT: &str = "mkdir -p out/deep/empty out/bin; echo text > out/file; echo run > out/bin/run; \
    chmod 755 out/bin/run; chmod 600 out/file; ln -s ../file out/bin/link; ln -s nowhere out/dangling; \
    ln -s deep out/folder; chmod 700 out/deep; echo lone > lone.1";

#[test]
fn files_modes_links_and_folders_come_back_as_they_were() {
    let tree = Tree::new();
    assert_eq!(tree.outcome(&OUT, SCRIPT), "built");
    let made = tree.all();
    assert!(made["out/file"].starts_with("600 ") && made["out/deep"].starts_with("700"));
    std::fs::remove_dir_all(tree.path("out")).unwrap();
    std::fs::remove_file(tree.path("lone.1")).unwrap();
    assert_eq!(tree.outcome(&OUT, SCRIPT), "hit");
    assert_eq!(tree.all(), made);
}

#[test]
fn whatever_is_in_the_place_of_an_output_is_replaced() {
    let tree = Tree::new();
    assert_eq!(tree.outcome(&OUT, SCRIPT), "built");
    let made = tree.all();
    let remove = |path: &str| {
        let path = tree.path(path);
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    };
    // A folder where a file belongs, a file where a folder belongs, links where either does.
    remove("out/file");
    tree.file("out/file/in/it", "x");
    remove("out/deep");
    tree.file("out/deep", "x");
    remove("out/folder");
    tree.file("out/folder", "x");
    remove("out/bin");
    let elsewhere = tree.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, tree.path("out/bin")).unwrap();
    remove("out/dangling");
    tree.file("out/dangling/x", "x");
    assert_eq!(tree.outcome(&OUT, SCRIPT), "hit");
    assert_eq!(tree.all(), made);
    assert_eq!(std::fs::read_dir(elsewhere).unwrap().count(), 0);
    // Other content, other modes.
    tree.file("out/file", "edited");
    std::fs::set_permissions(
        tree.path("out/bin/run"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(tree.outcome(&OUT, SCRIPT), "hit");
    assert_eq!(tree.all(), made);
}

#[test]
fn what_matches_and_is_not_of_the_result_is_removed_and_nothing_else() {
    let tree = Tree::new();
    tree.file("beside", "mine");
    tree.file("other/out", "mine");
    assert_eq!(tree.outcome(&OUT, SCRIPT), "built");
    let made = tree.all();
    tree.file("out/stale", "x");
    tree.file("out/deep/stale/x", "x");
    tree.file("lone.0.of.an.earlier.version", "x");
    assert_eq!(tree.outcome(&OUT, SCRIPT), "hit");
    assert_eq!(tree.all(), made);
    // Nor does a command find them, or are they taken for its own.
    tree.file("out/stale", "x");
    tree.file("lone.0", "x");
    let other = format!("test ! -e out && test ! -e lone.0 && {{ {SCRIPT}; }}");
    assert_eq!(tree.outcome(&OUT, &other), "built");
    assert_eq!(tree.all(), made);
}

#[test]
fn make_is_satisfied_with_what_is_found() {
    let tree = Tree::new();
    tree.file(
        "Makefile",
        "all: two\none: in\n\t@$(ASHLAR) run -q -i in -O one -- cp in one\n\
         two: one\n\t@$(ASHLAR) run -q --uses one -O two -- cp one two\n",
    );
    tree.file("in", "1");
    let make = |question: &[&str]| {
        let mut command = tree.command("make", question);
        Ran::of(&command.arg(format!("ASHLAR={}", crate::support::ASHLAR)).output().unwrap())
    };
    make(&[]).good();
    for path in ["one", "two"] {
        std::fs::remove_file(tree.path(path)).unwrap();
    }
    // The source is newer than what is kept.
    std::thread::sleep(Duration::from_millis(20));
    tree.file("in", "1");
    make(&[]).good();
    make(&["--question"]).good();
    assert_eq!(tree.read("two"), "1");
    let age = tree.path("two").metadata().unwrap().modified().unwrap().elapsed();
    // A clock may lie a tick ahead of that of the file system.
    assert!(age.unwrap_or_default() < Duration::from_secs(60));
    // What is in its place already is dated as well.
    let old = std::time::SystemTime::now() - Duration::from_secs(1000);
    for path in ["one", "two"] {
        std::fs::File::options()
            .append(true)
            .open(tree.path(path))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    assert_eq!(make(&["--question"]).code, 1);
    make(&[]).good();
    make(&["--question"]).good();
}

#[test]
fn a_second_checkout_finds_it_wherever_it_is() {
    let tree = Tree::new();
    tree.file("sub/in", "1");
    let (declared, script) = (["-i", "sub/**", "-O", "sub/out"], "cat sub/in > sub/out");
    assert_eq!(tree.outcome(&declared, script), "built");
    let other = tree.beside();
    other.file("sub/in", "1");
    assert_eq!(other.outcome(&declared, script), "hit");
    assert_eq!(other.read("sub/out"), "1");
    // Paths are those of the current folder; the command runs there.
    let below = |tree: &Tree| {
        let args =
            ["-C", "sub", "run", "--json", "-i", "in", "-O", "../low", "--", "cp", "in", "../low"];
        let ran = tree.ashlar(&args).good();
        ran.events().pop().unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!((below(&tree), below(&other)), ("built".to_owned(), "hit".to_owned()));
    assert_eq!(other.read("low"), "1");
}

#[test]
fn a_folder_with_special_characters_is_meant_as_it_is_called() {
    let tree = Tree::new();
    tree.file("a[1]/in", "1");
    tree.file("a1/in", "2");
    let run = || {
        let args =
            ["-C", "a[1]", "run", "--json", "-i", "in", "-O", "out", "--", "cp", "in", "out"];
        let ran = tree.ashlar(&args).good();
        ran.events().pop().unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!((run(), run()), ("built".to_owned(), "hit".to_owned()));
    tree.file("a1/in", "3");
    assert_eq!(run(), "hit");
    tree.file("a[1]/in", "4");
    assert_eq!(run(), "built");
    assert_eq!(tree.read("a[1]/out"), "4");
}
