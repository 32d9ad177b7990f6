//! What counts as what: inputs, what is looked for in vain, the command's own work.

use std::fs;
use std::os::unix::fs::symlink;

use ashlar_execute::trace::Touch;

use crate::fixture::{Fixture, assert_touched};

#[test]
fn files_that_are_read_and_looked_for() {
    let it = Fixture::new();
    it.write("sub/in", "x");
    it.write("other", "never touched");
    assert_touched(
        it.sh("cat sub/in; test -e none || cat none/deep/file || true; test -d sub; ls sub"),
        &["read sub/in", "absent none", "absent none/deep/file", "listed sub"],
    );
}

#[test]
fn what_a_command_made_itself_is_no_input() {
    let it = Fixture::new();
    it.write("in", "x");
    it.write("stale", "old");
    let mut lines = it.sh("cp in out; cat out > stale; cat stale; rm out; test ! -e out
         mkdir -p a/b; echo > a/b/c; cat a/b/c; ls a a/b; test ! -e a/b/d; mv a z; cat z/b/c; ls z
         ln -s in link; test -L link; mv link other; cat other; echo > f; mv f g; cat g; ln g h; cat h");
    assert!(!lines.iter().any(|line| line == "absent a/b/d"), "{lines:?}");
    // Whether cp and its like look at what they are about to make is theirs.
    lines.retain(|line| !line.starts_with("absent"));
    let made = ["out", "stale", "a", "a/b", "a/b/c", "z", "link", "other", "f", "g", "h"];
    let made: Vec<String> = made.iter().map(|name| format!("wrote {name}")).collect();
    let expected: Vec<&str> = made.iter().map(String::as_str).chain(["read in"]).collect();
    assert_touched(lines, &expected);
}

#[test]
fn what_stays_in_a_file_is_an_input() {
    let it = Fixture::new();
    it.write("log", "old\n");
    it.write("both", "old\n");
    it.write("stamp", "old\n");
    assert_touched(
        it.sh("echo new >> log; echo new 1<> both; touch stamp"),
        &["read log", "wrote log", "read both", "wrote both", "wrote stamp"],
    );
    assert_touched(it.sh("touch stamp; cat stamp"), &["wrote stamp", "read stamp"]);
}

#[test]
fn links_are_inputs_beside_what_they_lead_to() {
    let it = Fixture::new();
    it.write("real/file", "x");
    symlink("real", it.path.join("folder")).unwrap();
    symlink("folder/file", it.path.join("link")).unwrap();
    symlink("nowhere", it.path.join("dangling")).unwrap();
    assert_touched(
        it.sh("cat link; readlink dangling; cat folder/../link; cat dangling || true"),
        &["read link", "read folder", "read real/file", "read dangling", "absent nowhere"],
    );
}

#[test]
fn a_link_that_is_changed_leads_elsewhere() {
    let it = Fixture::new();
    it.write("one", "1");
    it.write("two", "2");
    symlink("one", it.path.join("link")).unwrap();
    symlink("two", it.path.join("other")).unwrap();
    let lines = it.sh("cat link; mv other link; cat link");
    for line in ["read one", "read two", "read link", "wrote link"] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
}

#[test]
fn files_in_a_folder_that_was_moved_are_inputs_where_they_were() {
    let it = Fixture::new();
    it.write("a/in", "x");
    it.write("b/in", "y");
    // Swapped, and read under each other's names.
    let mut lines = it.sh("mv a t; mv b a; mv t b; echo > b/new; cat b/in b/new; ls a");
    lines.retain(|line| !line.starts_with("absent"));
    assert_touched(
        lines,
        &["listed a", "listed b", "read a/in", "wrote a", "wrote b", "wrote b/new", "wrote t"],
    );
    // And back again, as if nothing had been.
    let lines = it.sh("mv a t; mv t a; cat a/in");
    assert!(lines.iter().any(|line| line == "read a/in"), "{lines:?}");
}

#[test]
fn relative_names_after_a_change_of_folder() {
    let it = Fixture::new();
    it.write("one/two/in", "x");
    assert_touched(
        it.sh("cd one; cat two/in; (cd two; cat in; cat ../none || true); cat ./two/../missing || true"),
        &["read one/two/in", "absent one/none", "absent one/missing"],
    );
}

#[test]
fn scripts_and_what_runs_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let it = Fixture::new();
    it.write("runner", "#!/bin/sh\nexec /bin/sh \"$@\"\n");
    it.write("script", &format!("#!{}/runner\necho\n", it.path.display()));
    for name in ["runner", "script"] {
        fs::set_permissions(it.path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let lines = it.sh("./script; PATH=$PWD/bin:$PWD script");
    for line in ["ran script", "ran runner", "read script", "read runner"] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
    assert!(lines.iter().any(|one| one == "absent bin/script"), "{lines:?}");
}

#[test]
fn everything_when_no_folder_is_named() {
    let it = Fixture::new();
    it.write("in", "x");
    let mut trace = it.trace();
    trace.below.clear();
    let mut command = it.command("/bin/sh");
    command.args(["-c", "cat in"]);
    let (status, touched) = trace.run(command, &mut |_| {}).unwrap();
    assert!(status.success());
    let has = |path: &std::path::Path, touch| {
        let path = fs::canonicalize(path).unwrap();
        touched.iter().any(|one| one.path == path && one.touch == touch)
    };
    assert!(has(&it.path.join("in"), Touch::Read));
    assert!(has("/bin/sh".as_ref(), Touch::Ran));
    assert!(has("/bin/cat".as_ref(), Touch::Ran));
    assert!(has("/etc/ld.so.cache".as_ref(), Touch::Read));
    // The loader, which the kernel opens by itself.
    assert!(touched.iter().any(|one| {
        one.touch == Touch::Ran
            && one.path.file_name().unwrap().to_str().unwrap().starts_with("ld-")
    }));
    assert!(!touched.iter().any(|one| one.path.starts_with("/proc")));
}

#[test]
fn names_by_way_of_proc_lead_to_the_files_of_whoever_asks() {
    let it = Fixture::new();
    it.write("a/in", "x");
    it.write("b/in", "y");
    assert_touched(
        it.sh("cd a; cat /proc/self/cwd/in; cd ../b; cat /proc/self/cwd/in; cat /dev/stdin < in; \
               echo | cat /dev/fd/0"),
        &["read a/in", "read b/in"],
    );
}
