//! Several at once.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Tree;
use crate::support::{ASHLAR, Ran};

fn start(tree: &Tree, args: &[&str], script: &str) -> Child {
    let mut command = tree.command(ASHLAR, &[&["run"], args, &["--", "sh", "-c", script]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_same_in_one_tree_or_two_is_made_once() {
    let tree = Tree::new();
    let other = tree.beside();
    for tree in [&tree, &other] {
        tree.file("in", "1");
    }
    let script = format!("echo x >> {}; sleep 0.7; cp in out", tree.counter());
    let declared = ["-i", "in", "-O", "out"];
    let all: Vec<Child> =
        [&tree, &other, &tree, &other].map(|tree| start(tree, &declared, &script)).into();
    let mut said = String::new();
    for child in all {
        said += &Ran::of(&child.wait_with_output().unwrap()).good().err;
    }
    assert_eq!(tree.count(), 1, "{said}");
    assert_eq!(said.matches("out: found").count(), 3, "{said}");
    assert!(said.contains("waiting"), "{said}");
    assert_eq!((tree.read("out"), other.read("out")), ("1".to_owned(), "1".to_owned()));
}

/// A hit of another flavour must not put its files where a command is at work.
#[test]
fn a_hit_waits_for_a_command_of_the_same_name() {
    let tree = Tree::new();
    let script =
        |text: &str| format!("mkdir out; echo {text} > out/a; sleep 0.6; echo {text} > out/b");
    let declared = ["--no-inputs", "-O", "out"];
    tree.run(&declared, &script("one")).good();
    let child = start(&tree, &declared, &script("two"));
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(tree.path("out/a")).is_ok_and(|text| text == "two\n") {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(tree.outcome(&declared, &script("one")), "hit");
    Ran::of(&child.wait_with_output().unwrap()).good();
    assert_eq!((tree.read("out/a"), tree.read("out/b")), ("one\n".to_owned(), "one\n".to_owned()));
    assert_eq!(tree.outcome(&declared, &script("two")), "hit");
    assert_eq!((tree.read("out/a"), tree.read("out/b")), ("two\n".to_owned(), "two\n".to_owned()));
}

#[test]
fn a_run_that_runs_itself_is_an_error_and_no_wait() {
    let tree = Tree::new();
    let inner = format!("{ASHLAR} run --no-inputs -O out -- touch out");
    tree.run(&["--no-inputs", "-O", "out"], &inner).exits(2).says("runs itself").says("--name");
    tree.run(&["--no-inputs", "--name", "outer", "-O", "out"], &inner).good();
}

/// Jobs of a make within a make, counted by those who run at the same time.
const JOBS: &str = "all: $(addprefix job,1 2 3 4 5 6)\njob%:\n\t@mkdir running/$$$$; ls running | wc -l >> seen; sleep 0.3; rmdir running/$$$$; touch $@\n";

fn most(tree: &Tree) -> usize {
    tree.read("seen").lines().map(|line| line.trim().parse().unwrap()).max().unwrap()
}

#[test]
fn the_jobserver_of_make_reaches_the_command() {
    let tree = Tree::new();
    std::fs::create_dir(tree.path("running")).unwrap();
    tree.file("inner.mk", JOBS);
    let ours = format!("{ASHLAR} run -i inner.mk -O 'job*'");
    // What is marked with a plus, or names $(MAKE), is handed the jobserver.
    tree.file("Makefile", format!("all:\n\t@{ours} -- $(MAKE) -f inner.mk\n"));
    let ran = Ran::of(&tree.command("make", &["-j3"]).output().unwrap()).good();
    assert!(!ran.err.contains("jobserver"), "{}", ran.err);
    let most = most(&tree);
    assert!((2..=3).contains(&most), "{most} at once");
    tree.file("seen", "");
    for number in 1..=6 {
        std::fs::remove_file(tree.path(&format!("job{number}"))).unwrap();
    }
    Ran::of(&tree.command("make", &["-j3"]).output().unwrap()).good().says("found");
    assert_eq!(tree.read("seen"), "");
}

#[test]
fn a_batch_takes_jobs_of_make_and_no_more() {
    let tree = Tree::new();
    std::fs::create_dir(tree.path("running")).unwrap();
    let mut runs = String::new();
    for number in 1..=8 {
        runs += &format!(
            "[run.job{number}]\nno_inputs = true\noutput = ['job{number}']\ncommand = '''mkdir running/$$; \
             ls running | wc -l >> seen; sleep 0.2; rmdir running/$$; touch job{number}'''\n"
        );
    }
    tree.file("ashlar-run.toml", &runs);
    tree.file("Makefile", format!("all:\n\t+@{ASHLAR} run -j8 --batch ashlar-run.toml\n"));
    Ran::of(&tree.command("make", &["-j3"]).output().unwrap()).good();
    let most = most(&tree);
    assert!((2..=3).contains(&most), "{most} at once");
}
