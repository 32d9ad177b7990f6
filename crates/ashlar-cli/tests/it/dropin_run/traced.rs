//! Files that a command touches and does not declare; a command that sees nothing else.

use super::Tree;
use crate::support::Ran;

/// Whether commands can be traced and shut in here at all.
fn can(tree: &Tree, how: &[&str]) -> bool {
    let all = [how, &["--no-inputs", "-O", "probe"]].concat();
    let ran = tree.run(&all, "touch probe");
    if ran.code == 3 {
        println!("skipped: {}", ran.err);
    }
    ran.code != 3
}

/// What was named: `reads a.h`, …
fn named(ran: &Ran) -> Vec<String> {
    let events = ran.events();
    let undeclared = events.iter().filter(|event| event["event"] == "undeclared");
    undeclared
        .map(|one| format!("{} {}", one["touch"].as_str().unwrap(), one["path"].as_str().unwrap()))
        .collect()
}

fn trace(tree: &Tree, how: &[&str], script: &str) -> Ran {
    tree.run(&[&["--json", "-O", "out"], how].concat(), script)
}

#[test]
fn undeclared_files_are_named() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file("src/a.c", "1");
    tree.file("src/a.h", "1");
    let script =
        "cat src/a.c src/a.h > out; test -e config; echo tmp > tmp; cat tmp >> out; rm tmp; true";
    let ran = trace(&tree, &["--trace=warn", "-i", "src/*.c"], script).good();
    assert_eq!(named(&ran), ["looks for config", "reads src/a.h"]);
    // Whoever only warns is given what is kept.
    let ran = trace(&tree, &["--trace=warn", "-i", "src/*.c"], script).good();
    assert_eq!(ran.events().pop().unwrap()["outcome"], "hit");
    // People read it too.
    let text = tree.run(&["--trace=fail", "-i", "src/*.c", "-O", "out"], script).exits(1);
    text.says("out: reads src/a.h, which is not declared")
        .says("touched 2 files")
        .says("--trace=learn");
    let all = ["--trace=fail", "-i", "src/*", "--maybe", "config"];
    assert!(named(&trace(&tree, &all, script).good()).is_empty());
    // What was looked at without a finding is a hit for everybody.
    let ran = trace(&tree, &all, script).good();
    assert_eq!(ran.events().pop().unwrap()["outcome"], "hit");
}

#[test]
fn a_ci_job_fails_keeps_nothing_and_takes_nothing_unproved() {
    let mut tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file("in", "1");
    tree.file("hidden", "1");
    tree.file("out", "before");
    let script = "cat in hidden > out";
    tree.set("ASHLAR_TRACE", "fail");
    for _ in 0..2 {
        trace(&tree, &["-i", "in"], script).exits(1);
        assert_eq!(tree.read("out"), "before");
    }
    // Kept by somebody who does not trace: no proof.
    tree.env.clear();
    assert_eq!(tree.outcome(&["-i", "in", "-O", "out"], script), "built");
    assert_eq!(tree.outcome(&["-i", "in", "-O", "out"], script), "hit");
    tree.set("ASHLAR_TRACE", "fail");
    trace(&tree, &["-i", "in"], script).exits(1);
    let ran = trace(&tree, &["-i", "in", "--ignore", "hid*"], script).good();
    assert!(named(&ran).is_empty());
}

#[test]
fn what_is_learned_is_declared_from_then_on() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file("in", "1");
    tree.file("a [b]{c}*.h", "1");
    tree.file("a b.h", "1");
    let script = "cat in 'a [b]{c}*.h' > out; cat absent >> out 2>/dev/null; true";
    let learn = ["--trace=learn", "-i", "in"];
    trace(&tree, &learn, script).good();
    let learned = tree.read("ashlar-run.learned.toml");
    assert!(learned.contains("absent") && !learned.contains("a b.h"), "{learned}");
    let outcome = || tree.outcome(&["-i", "in", "-O", "out"], script);
    assert_eq!((outcome(), outcome()), ("built".to_owned(), "hit".to_owned()));
    tree.file("a b.h", "2");
    assert_eq!(outcome(), "hit");
    tree.file("a [b]{c}*.h", "2");
    assert_eq!(outcome(), "built");
    assert_eq!(tree.read("out"), "12");
    tree.file("absent", "3");
    assert_eq!(outcome(), "built");
    assert!(named(&trace(&tree, &["--trace=fail", "-i", "in"], script).good()).is_empty());
}

#[test]
fn several_learn_at_once_and_nothing_is_lost() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    std::thread::scope(|scope| {
        for number in 0..6 {
            let tree = &tree;
            tree.file(&format!("h{number}"), "1");
            scope.spawn(move || {
                let out = format!("out{number}");
                tree.run(
                    &["--trace=learn", "--no-inputs", "-O", &out],
                    &format!("cat h{number} > {out}"),
                )
                .good();
            });
        }
    });
    let learned = tree.read("ashlar-run.learned.toml");
    assert!((0..6).all(|number| learned.contains(&format!("\"h{number}\""))), "{learned}");
}

/// Object files that make asks for before they are made are the command's own.
#[test]
fn what_a_make_asks_for_and_makes_is_no_input() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file(
        "Makefile",
        "out: a.o\n\tcat $^ > $@\na.o: a.c\n\tcp $< $@\n.SUFFIXES:\nMAKEFLAGS += -rR\n",
    );
    tree.file("a.c", "1");
    let how =
        ["--trace=warn", "-i", "a.c", "-i", "Makefile", "--ignore", "RCS", "--ignore", "SCCS"];
    let ran = trace(&tree, &how, "make").good();
    assert!(!named(&ran).iter().any(|one| one.ends_with("a.o")), "{:?}", named(&ran));
}

#[test]
fn generated_files_that_git_ignores_are_named_although_a_glob_matches() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file(".gitignore", "*.gen.h\n/out\n/probe\n");
    tree.file("src/a.c", "1");
    tree.file("src/b.gen.h", "1");
    tree.commit();
    let script = "cat src/a.c src/b.gen.h > out";
    let ran = trace(&tree, &["--trace=fail", "-i", "src/**"], script).exits(1);
    assert_eq!(named(&ran), ["reads src/b.gen.h"]);
    let named_in_full = ["--trace=fail", "-i", "src/**", "-i", "src/b.gen.h"];
    assert!(named(&trace(&tree, &named_in_full, script).good()).is_empty());
    tree.file("src/b.gen.h", "2");
    trace(&tree, &named_in_full, script).good();
    assert_eq!(tree.read("out"), "12");
}

#[test]
fn static_programs_and_threads_are_seen() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    tree.file("in", "1");
    let ran = trace(&tree, &["--trace=warn", "--no-inputs"], "busybox cat in > out").good();
    assert_eq!(named(&ran), ["reads in"]);
    tree.file(
        "threads.c",
        "#include <pthread.h>\n#include <stdio.h>\n\
         static void *f(void *p) { FILE *i = fopen(p, \"r\"); if (i) fclose(i); return 0; }\n\
         int main(void) { pthread_t t[2]; pthread_create(t, 0, f, \"one\"); \
         pthread_create(t + 1, 0, f, \"two\"); pthread_join(t[0], 0); pthread_join(t[1], 0); \
         return fclose(fopen(\"out\", \"w\")); }\n",
    );
    let built =
        tree.command("gcc", &["-pthread", "-o", "../threads", "threads.c"]).status().unwrap();
    assert!(built.success());
    tree.file("one", "1");
    let ran = trace(&tree, &["--trace=warn", "--no-inputs"], "exec ../threads").good();
    assert_eq!(named(&ran), ["reads one", "looks for two"]);
}

#[test]
fn files_outside_are_named_when_that_is_asked_for() {
    let tree = Tree::new();
    if !can(&tree, &["--trace=warn"]) {
        return;
    }
    let outside = tree.folder.path().canonicalize().unwrap().join("outside.h");
    std::fs::write(&outside, "1").unwrap();
    let script = "cat ../outside.h > out";
    let ran = trace(&tree, &["--trace=fail", "--no-inputs"], script).good();
    assert!(named(&ran).is_empty());
    let wanted = format!("reads {}", outside.display());
    std::fs::remove_dir_all(&tree.store).unwrap();
    let ran = trace(&tree, &["--trace=warn", "--trace-system", "--no-inputs"], script).good();
    assert!(named(&ran).contains(&wanted), "{:?}", named(&ran));
    let path = outside.to_str().unwrap();
    let ran = trace(&tree, &["--trace=warn", "--trace-system", "-i", path], script).good();
    assert!(!named(&ran).contains(&wanted), "{:?}", named(&ran));
    std::fs::write(&outside, "2").unwrap();
    assert_eq!(tree.outcome(&["-i", path, "-O", "out"], script), "built");
}

#[test]
fn a_sandbox_shows_what_is_declared_and_nothing_else() {
    let mut tree = Tree::new();
    if !can(&tree, &["--sandbox"]) {
        return;
    }
    tree.file("src/in", "1");
    tree.file("src/hidden", "1");
    std::os::unix::fs::symlink("in", tree.path("src/link")).unwrap();
    tree.set("SECRET_THING", "1");
    let declared = ["--sandbox", "-i", "src/in", "-i", "src/link", "-O", "out", "-O", "made/*"];
    let script = "test ! -e src/hidden && test -z \"$SECRET_THING\" && cat src/in src/link > out && mkdir -p made && \
                  ls src | sort > made/list";
    tree.file("made/stale", "x");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(
        (tree.read("out"), tree.read("made/list")),
        ("11".to_owned(), "in\nlink\n".to_owned())
    );
    assert!(!tree.path("made/stale").exists());
    assert_eq!(tree.outcome(&declared, script), "hit");
    // What it writes elsewhere is gone, and what it was given is not changed.
    let script = "echo changed > src/in; echo x > beside; mkdir -p made; touch out made/x";
    tree.run(&declared, script).good();
    assert_eq!(tree.read("src/in"), "1");
    assert!(!tree.path("beside").exists());
    // A command that fails leaves all as it was.
    let before = tree.all();
    tree.run(&declared, "echo half > out; exit 4").exits(4);
    assert_eq!(tree.all(), before);
    tree.ashlar(&["run", "--sandbox", "--trace=warn", "-O", "x", "--", "true"]).exits(2);
}
