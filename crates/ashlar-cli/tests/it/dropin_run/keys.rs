//! What is in a key, and what is not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::Tree;
use crate::support::{ASHLAR, Ran};

#[test]
fn a_clean_checkout_counts_by_its_commit_and_a_changed_one_by_its_files() {
    let tree = Tree::new();
    tree.file("lib/a", "1");
    tree.file("other", "1");
    tree.file(".gitignore", "/out\n");
    tree.commit();
    let (declared, script) = (["--git", "lib", "-O", "out"], "cat lib/* > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    // A commit elsewhere does not count.
    tree.file("other", "2");
    tree.commit();
    assert_eq!(tree.outcome(&declared, script), "hit");
    for (path, text) in [("lib/a", "2"), ("lib/untracked", "3")] {
        tree.file(path, text);
        assert_eq!(tree.outcome(&declared, script), "built", "{path}");
        assert_eq!(tree.outcome(&declared, script), "hit", "{path}");
        assert!(tree.read("out").contains(text));
    }
    tree.commit();
    assert_eq!(tree.outcome(&declared, script), "built");
    tree.git(&["checkout", "--quiet", "HEAD~1"]);
    assert_eq!(tree.outcome(&declared, script), "hit");
    assert_eq!(tree.read("out"), "1");
}

#[test]
fn a_submodule_counts_by_what_it_is_at() {
    let library = Tree::new();
    library.file("a", "1");
    library.commit();
    let tree = Tree::new();
    tree.file(".gitignore", "/out\n");
    tree.commit();
    tree.git(&["submodule", "--quiet", "add", library.root.to_str().unwrap(), "lib"]);
    tree.commit();
    let (declared, script) = (["--git", "lib", "-O", "out"], "cat lib/a > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.outcome(&declared, script), "hit");
    tree.file("lib/a", "2");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.read("out"), "2");
    library.file("a", "3");
    library.commit();
    tree.git(&["-C", "lib", "checkout", "--quiet", "a"]);
    tree.git(&["-C", "lib", "pull", "--quiet"]);
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.read("out"), "3");
    tree.file("lib/a", "1");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.read("out"), "1");
}

#[test]
fn what_other_runs_made_is_followed_and_equal_results_cut_off() {
    let tree = Tree::new();
    tree.file("in", "1 # a comment");
    let lib = || tree.outcome(&["-i", "in", "-O", "lib"], "sed 's/ *#.*//' in > lib");
    let app = || tree.outcome(&["--uses", "lib", "-O", "app"], "cp lib app");
    assert_eq!((lib(), app()), ("built".to_owned(), "built".to_owned()));
    // Made anew and equal: nobody behind it is made again.
    tree.file("in", "1 # another comment");
    assert_eq!((lib(), app()), ("built".to_owned(), "hit".to_owned()));
    tree.file("in", "2");
    assert_eq!((lib(), app()), ("built".to_owned(), "built".to_owned()));
    // Somebody else's file counts by its content.
    tree.file("lib", "by hand");
    assert_eq!((app(), tree.read("app")), ("built".to_owned(), "by hand".to_owned()));
    tree.file("in", "1 # a comment");
    assert_eq!((lib(), app()), ("hit".to_owned(), "hit".to_owned()));
    assert_eq!(tree.read("app"), "1");
    std::fs::remove_file(tree.path("lib")).unwrap();
    tree.run(&["--uses", "lib", "-O", "app"], "cp lib app").exits(2).says("`lib`").says("help:");
}

#[test]
fn variables_flags_and_the_command_count() {
    let mut tree = Tree::new();
    let declared = ["--no-inputs", "--env", "MODE", "--flag", "asan=n", "-O", "out"];
    let script = "echo \"$MODE $OTHER\" > out";
    assert_eq!(tree.outcome(&declared, script), "built");
    tree.set("OTHER", "1");
    assert_eq!(tree.outcome(&declared, script), "hit");
    // Not set, empty, and set are three things.
    for value in ["", "1", "2"] {
        tree.set("MODE", value);
        assert_eq!(tree.outcome(&declared, script), "built", "{value}");
        assert_eq!(tree.outcome(&declared, script), "hit", "{value}");
    }
    let other = ["--no-inputs", "--env", "MODE", "--flag", "asan=y", "-O", "out"];
    assert_eq!(tree.outcome(&other, script), "built");
    assert_eq!(tree.outcome(&declared, "echo 'another' > out"), "built");
    assert_eq!(tree.outcome(&[&declared[..], &["-O", "ou*"]].concat(), script), "built");
}

#[test]
fn a_secret_counts_and_appears_nowhere() {
    let mut tree = Tree::new();
    let declared = ["--no-inputs", "--secret", "TOKEN", "-O", "out"];
    let script = "test -n \"$TOKEN\" && date +%N > out";
    let mut seen = String::new();
    for (value, outcome) in
        [("the-value-of-it", "built"), ("another-value", "built"), ("the-value-of-it", "hit")]
    {
        tree.set("TOKEN", value);
        let ran = tree.run(&[&["--json"], &declared[..]].concat(), script).good();
        assert_eq!(ran.events().pop().unwrap()["outcome"], outcome);
        seen += &(ran.out + &ran.err);
    }
    for args in
        [&["why", "--run", "out"][..], &["why", "--run", "out", "--json"], &["log", "--run", "out"]]
    {
        let ran = tree.ashlar(args).good();
        seen += &(ran.out + &ran.err);
    }
    assert!(!seen.contains("the-value") && !seen.contains("another-value"), "{seen}");
    let grep = tree.command("grep", &["-rlaF", "-e", "the-value-of-it", "-e", "another-value"]);
    let grep = { grep }.arg(&tree.store).arg(&tree.root).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
}

#[test]
fn a_tool_counts_by_its_content_wherever_it_is() {
    let mut tree = Tree::new();
    let path = std::env::var("PATH").unwrap();
    let tool = |folder: &str, text: &str| {
        tree.file(&format!("{folder}/tool"), format!("#!/bin/sh\necho {text}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tree.path(&format!("{folder}/tool")), mode).unwrap();
        format!("{}:{path}", tree.path(folder).display())
    };
    let (one, moved, other) = (tool("a", "1"), tool("b", "1"), tool("c", "2"));
    let declared = ["--no-inputs", "--tool", "tool", "-O", "out"];
    for (path, outcome) in [(one, "built"), (moved, "hit"), (other, "built")] {
        tree.set("PATH", &path);
        assert_eq!(tree.outcome(&declared, "tool > out"), outcome);
    }
    assert_eq!(tree.read("out"), "2\n");
}

#[test]
fn a_version_counts_even_behind_a_wrapper_that_stays_the_same() {
    let mut tree = Tree::new();
    for (name, text) in [("bin/cc", "exec real \"$@\""), ("bin/real", "echo 1.0")] {
        tree.file(name, format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(tree.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", tree.path("bin").display(), std::env::var("PATH").unwrap());
    tree.set("PATH", &path);
    let declared = ["--no-inputs", "--tool-version", "cc", "-O", "out"];
    assert_eq!(tree.outcome(&declared, "cc > out"), "built");
    // Another program that says the same of itself.
    tree.file("bin/cc", "#!/bin/sh\n# moved\nexec real \"$@\"\n");
    assert_eq!(tree.outcome(&declared, "cc > out"), "hit");
    tree.file("bin/real", "#!/bin/sh\necho 2.0\n");
    assert_eq!(tree.outcome(&declared, "cc > out"), "built");
    assert_eq!(tree.read("out"), "2.0\n");
    tree.file("bin/real", "#!/bin/sh\nexit 1\n");
    tree.run(&declared, "cc > out").exits(3).says("--version");
}

#[test]
fn links_count_with_what_they_lead_to() {
    let tree = Tree::new();
    tree.file("real/a", "1");
    std::fs::create_dir_all(tree.path("in")).unwrap();
    symlink("../real/a", tree.path("in/file")).unwrap();
    symlink("../real", tree.path("in/folder")).unwrap();
    symlink("nowhere", tree.path("in/dangling")).unwrap();
    let (declared, script) = (["-i", "in/**", "-O", "out"], "cat in/file in/folder/a > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.outcome(&declared, script), "hit");
    tree.file("real/a", "2");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.read("out"), "22");
    tree.file("real/b", "new in the folder");
    assert_eq!(tree.outcome(&declared, script), "built");
    std::fs::remove_file(tree.path("in/dangling")).unwrap();
    symlink("elsewhere", tree.path("in/dangling")).unwrap();
    assert_eq!(tree.outcome(&declared, script), "built");
}

#[test]
fn five_thousand_inputs_count_each() {
    let tree = Tree::new();
    for number in 0..5000 {
        tree.file(&format!("in/{}/{number}", number % 50), format!("{number}"));
    }
    let (declared, script) = (["-i", "in", "-O", "out"], "cat in/*/* | cksum > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    assert_eq!(tree.outcome(&declared, script), "hit");
    tree.file("in/7/4957", "other");
    assert_eq!(tree.outcome(&declared, script), "built");
    std::fs::rename(tree.path("in/7/4957"), tree.path("in/7/renamed")).unwrap();
    assert_eq!(tree.outcome(&declared, script), "built");
}

/// Bytes that are no text must not be taken for others that look like them.
#[test]
fn names_and_values_that_are_no_text_are_told_apart() {
    let tree = Tree::new();
    let run = |value: &[u8]| {
        let mut command =
            tree.command(ASHLAR, &["run", "--json", "--env", "V", "-i", "in", "-O", "out"]);
        command.args(["--", "sh", "-c", "touch out"]).env("V", OsStr::from_bytes(value));
        let ran = Ran::of(&command.output().unwrap()).good();
        ran.events().pop().unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    tree.file("in/file", "x");
    let values =
        [&b"\xff"[..], b"\xfe", b"bytes \\xff", b"\\xff", "\u{fffd}".as_bytes(), b"\xff\xff"];
    for value in values {
        assert_eq!(run(value), "built", "{}", value.escape_ascii());
        assert_eq!(run(value), "hit", "{}", value.escape_ascii());
    }
    // The same file under each of the names.
    let mut before = tree.path("in/file");
    for name in values {
        let now = tree.path("in").join(OsStr::from_bytes(name));
        std::fs::rename(&before, &now).unwrap();
        assert_eq!(run(b"same"), "built", "{}", name.escape_ascii());
        before = now;
    }
}

/// Two links whose names are no text, each with an end of its own.
#[test]
fn links_with_names_that_are_no_text_each_count() {
    let tree = Tree::new();
    std::fs::create_dir_all(tree.path("in")).unwrap();
    for name in [&b"\xfe"[..], b"\xff"] {
        let end = if name == b"\xfe" { "one" } else { "two" };
        tree.file(end, "1");
        symlink(tree.path(end), tree.path("in").join(OsStr::from_bytes(name))).unwrap();
    }
    let (declared, script) = (["-i", "in", "-O", "out"], "cat in/* > out");
    assert_eq!(tree.outcome(&declared, script), "built");
    for end in ["one", "two"] {
        tree.file(end, "2");
        assert_eq!(tree.outcome(&declared, script), "built", "{end}");
    }
    assert_eq!(tree.read("out"), "22");
}
