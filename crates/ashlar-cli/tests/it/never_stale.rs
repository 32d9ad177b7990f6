//! Everything that can change a result changes its key, and nothing else does; `why` names it.

use crate::support::Project;

#[test]
fn from_branch_a_to_b_to_a_gives_a() {
    let project = Project::sample();
    assert_eq!(project.outcomes(&["app"]), "app:built lib:built one:built two:built");
    let a = project.output("app", "bin/app");
    project.edit("src/app/app.txt", "application", "branch b");
    assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit");
    assert!(project.output("app", "bin/app").starts_with("branch b"));
    project.edit("src/app/app.txt", "branch b", "application");
    assert_eq!(project.outcomes(&["app"]), "app:hit");
    assert_eq!(project.output("app", "bin/app"), a);
}

#[test]
fn each_change_of_a_source_changes_exactly_its_module() {
    let project = Project::sample();
    project.file("src/app/tool.sh", "#!/bin/sh\n");
    project.link("src/app/link", "app.txt");
    let mut keys = vec![project.key("app")];
    let lib = project.key("lib");
    project.build(&["app"]);
    let mut changed = |what: &str, named: &str| {
        project.names("app", named);
        let key = project.key("app");
        assert!(!keys.contains(&key), "{what} gave an earlier key");
        keys.push(key);
        assert_eq!(project.key("lib"), lib, "{what} changed the key of lib");
        assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit", "{what}");
    };
    project.chmod("src/app/tool.sh", 0o755);
    changed("chmod +x", "file tool.sh");
    std::fs::rename(project.root.join("src/app/tool.sh"), project.root.join("src/app/renamed.sh"))
        .unwrap();
    changed("a rename", "file renamed.sh");
    project.file("src/app/untracked", "new\n");
    changed("a new untracked file", "file untracked");
    project.link("src/app/link", "renamed.sh");
    changed("a changed link target", "file link");
    project.edit("src/app/app.txt", "application", "APPLICATION");
    changed("content of equal length", "file app.txt");
    std::fs::remove_file(project.root.join("src/app/untracked")).unwrap();
    project.file("src/app/other", "x");
    changed("a removed file", "file untracked");
}

#[test]
fn an_edit_within_the_same_timestamp_is_seen() {
    let project = Project::sample();
    project.build(&["app"]);
    // Same length, and the time set back: size and mtime say nothing.
    let path = project.root.join("src/lib/lib.txt");
    for text in ["LIBRARY\n", "lIBRARY\n", "liBRARY\n"] {
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        project.build(&["app"]);
        assert!(project.output("app", "bin/app").contains(text.trim()));
    }
}

#[test]
fn files_that_git_ignores_are_in_no_key() {
    let project = Project::sample();
    let git = |args: &[&str]| {
        let done = std::process::Command::new("git")
            .args(args)
            .current_dir(&project.root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    project.file(".gitignore", "*.o\n");
    let key = project.key("app");
    project.file("src/app/app.o", "object\n");
    assert_eq!(project.key("app"), key);
    project.file("src/app/app.c", "code\n");
    assert_ne!(project.key("app"), key);
}

#[test]
fn options_environment_common_files_base_and_salts_are_named() {
    let project = Project::sample();
    project.file("common/functions.sh", "f() { :; }\n");
    project.file(
        "ashlar.toml",
        "[project]\nname = \"sample\"\nsalt = \"\"\ncommon = [\"common/*.sh\"]\n[env]\nV = \"1\"\n\
         [options.debug]\ntype = \"bool\"\ndefault = false\n[options.unused]\ntype = \"bool\"\ndefault = false\n\
         [base.busybox]\npath = \"rootfs\"\n",
    );
    project.module(
        "app",
        "uses = [\"debug\"]\nsalt = \"1\"\nenv = { CFLAGS = \"-O2\" }\n[build]\nkind = \"script\"\n\
         steps = ['mkdir -p $DESTDIR/bin; echo $OPTION_DEBUG $CFLAGS $V > $DESTDIR/bin/app']\n",
    );
    let both = ["app", "beside"];
    project.build(&both);
    assert_eq!(project.output("app", "bin/app"), "false -O2 1\n");
    assert_eq!(project.outcomes(&both), "app:hit beside:hit");
    // Only what uses an option is built again for it.
    assert_eq!(project.outcomes(&["-o", "debug=true", "app", "beside"]), "app:built beside:hit");
    assert_eq!(project.outcomes(&["-o", "unused=true", "app", "beside"]), "app:hit beside:hit");
    assert_eq!(project.outcomes(&both), "app:hit beside:hit", "flavours live side by side");

    let step = |file: &str, from: &str, to: &str, named: &str, expected: &str| {
        project.edit(file, from, to);
        project.names("app", named);
        assert_eq!(project.outcomes(&both), expected, "{named}");
    };
    step("modules/app.toml", "-O2", "-O3", "environment CFLAGS", "app:built beside:hit");
    step("modules/app.toml", "salt = \"1\"", "salt = \"2\"", "module salt", "app:built beside:hit");
    step("ashlar.toml", "V = \"1\"", "V = \"2\"", "environment V", "app:built beside:built");
    step("ashlar.toml", "salt = \"\"", "salt = \"x\"", "project salt", "app:built beside:built");
    step(
        "common/functions.sh",
        ":",
        "true",
        "common file common/functions.sh",
        "app:built beside:built",
    );
    step(
        "rootfs/etc/passwd",
        "::/",
        "::/root",
        "base busybox > file etc/passwd",
        "app:built beside:built",
    );
    step("modules/app.toml", "echo", "echo again", "script step 1", "app:built beside:hit");
}

#[test]
fn patches_and_their_order() {
    let project = Project::empty();
    project.file("src/file", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n");
    let patch = |from: &str, to: &str, line: usize, before: &str, after: &str| {
        format!(
            "--- a/file\n+++ b/file\n@@ -{line},3 +{line},3 @@\n {before}\n-{from}\n+{to}\n {after}\n"
        )
    };
    project.file("patches/a.patch", patch("two", "TWO", 1, "one", "three"));
    project.file("patches/b.patch", patch("nine", "NINE", 8, "eight", "ten"));
    project.module(
        "app",
        "[source]\npath = \"src\"\npatches = [\"patches/a.patch\", \"patches/b.patch\"]\n[build]\nkind = \"script\"\nsteps = ['cp file $DESTDIR/file']\n",
    );
    assert_eq!(project.outcomes(&["app"]), "app:built");
    assert!(project.output("app", "file").contains("TWO\n"));
    // The other order gives the same tree: the source step runs again, the build is cut off.
    project.edit(
        "modules/app.toml",
        "\"patches/a.patch\", \"patches/b.patch\"",
        "\"patches/b.patch\", \"patches/a.patch\"",
    );
    project.names("app", "patch order");
    assert_eq!(project.outcomes(&["app"]), "app:cutoff");
    project.edit("patches/b.patch", "NINE", "nueve");
    project.names("app", "patch patches/b.patch");
    assert_eq!(project.outcomes(&["app"]), "app:built");
    assert!(project.output("app", "file").contains("nueve\n"));
}

#[test]
fn a_change_that_does_not_reach_the_outputs_is_cut_off() {
    let project = Project::sample();
    project.build(&["app", "beside"]);
    project.file("src/lib/lib.txt", "# a comment\nlibrary\n");
    assert_eq!(
        project.outcomes(&["app", "beside"]),
        "app:cutoff beside:hit lib:built one:cutoff two:cutoff"
    );
    // What was cut off is found by its own key the next time.
    assert_eq!(project.outcomes(&["app", "beside"]), "app:hit beside:hit");
}

#[test]
fn two_checkouts_share_keys_and_results() {
    let one = Project::sample();
    let mut two = Project::sample();
    two.store.clone_from(&one.store);
    assert_eq!(one.key("app"), two.key("app"));
    one.build(&["app"]);
    let ran = two
        .command(&["build", "--json", "app"])
        .env("HOME", "/nonexistent")
        .env("USER", "somebody")
        .env("LOGNAME", "somebody")
        .output()
        .unwrap();
    let modules = crate::support::Ran::of(&ran).good().modules();
    assert_eq!(modules, [("app".to_owned(), "hit".to_owned())]);
}

#[test]
fn the_environment_of_the_caller_is_not_seen() {
    let project = Project::empty();
    project.module(
        "env",
        "[build]\nkind = \"script\"\nsteps = ['env | sort > $DESTDIR/env; id >> $DESTDIR/env; date +%Z >> $DESTDIR/env']\n",
    );
    let ran = project
        .command(&["build", "env"])
        .env("SECRET_TOKEN", "hunter2")
        .env("TZ", "Asia/Tokyo")
        .output()
        .unwrap();
    crate::support::Ran::of(&ran).good();
    let seen = project.output("env", "env");
    assert!(!seen.contains("hunter2") && !seen.contains("Tokyo"), "{seen}");
    assert!(seen.contains("uid=0(root)") && seen.contains("UTC"), "{seen}");
    assert!(
        seen.contains("SRCDIR=/build/src\n") && seen.contains("DESTDIR=/build/dest\n"),
        "{seen}"
    );
}

#[test]
fn modules_that_use_an_option_see_it_and_others_do_not() {
    let project = Project::sample();
    project.edit(
        "ashlar.toml",
        "[base",
        "[options.with-tls]\ntype = \"enum\"\nvalues = [\"no\", \"yes\"]\ndefault = \"no\"\n[base",
    );
    let script =
        "[build]\nkind = \"script\"\nsteps = ['echo ${OPTION_WITH_TLS-unset} > $DESTDIR/seen']\n";
    project.module("uses", &format!("uses = [\"with-tls\"]\n{script}"));
    project.module("ignores", script);
    project.build(&["uses", "ignores", "-o", "with-tls=yes"]);
    assert_eq!(project.run(&["build", "-o", "with-tls=maybe", "uses"]).code, 2);
    assert_eq!(project.outcomes(&["uses", "ignores"]), "ignores:hit uses:built");
    assert_eq!(project.output("uses", "seen"), "no\n");
    assert_eq!(project.output("ignores", "seen"), "unset\n");
}

#[test]
fn what_is_expected_is_checked_also_where_the_action_is_known() {
    let project = Project::empty();
    let module = |expect: &str| {
        format!(
            "[build]\nkind = \"script\"\nsteps = ['echo hi > $DESTDIR/a']\n[outputs]\nexpect = [\"{expect}\"]\n"
        )
    };
    project.module("a", &module("a"));
    assert_eq!(project.outcomes(&["a"]), "a:built");
    project.module("a", &module("elsewhere"));
    for _ in 0..2 {
        project.run(&["build", "a"]).exits(1).says("elsewhere");
    }
    project.module("a", &module("?"));
    assert_eq!(project.outcomes(&["a"]), "a:cutoff");
}

#[test]
fn the_order_of_sources_and_of_dependencies_is_in_the_key() {
    let project = Project::empty();
    project.file("one/sub/f", "one\n");
    project.file("two/f", "two\n");
    let sources = ["[[source]]\npath = \"one\"\n", "[[source]]\npath = \"two\"\ninto = \"sub\"\n"];
    let build = "[build]\nkind = \"script\"\nsteps = ['cat sub/f > $DESTDIR/f']\n";
    project.module("m", &format!("{}{}{build}", sources[0], sources[1]));
    project.build(&["m"]);
    assert_eq!(project.output("m", "f"), "two\n");
    project.module("m", &format!("{}{}{build}", sources[1], sources[0]));
    project.build(&["m"]);
    assert_eq!(project.output("m", "f"), "one\n");

    for (name, mode) in [("open", "755"), ("shut", "700")] {
        let text = format!(
            "[build]\nkind = \"script\"\nsteps = ['mkdir -m {mode} $DESTDIR/data; echo {name} > $DESTDIR/data/{name}']\n"
        );
        project.module(name, &text);
    }
    let user = |first: &str, second: &str| {
        let text = format!(
            "depends = [\"{first}\", \"{second}\"]\n[build]\nkind = \"script\"\nsteps = ['ls -ld /data > $DESTDIR/mode']\n"
        );
        project.module("user", &text);
        project.build(&["user"]);
        project.output("user", "mode")
    };
    assert!(user("open", "shut").starts_with("drwx------"));
    assert!(user("shut", "open").starts_with("drwxr-xr-x"));
}

#[test]
fn a_memo_of_an_earlier_build_hides_nothing() {
    let project = Project::sample();
    project.build(&["app"]);
    // Files must be older than the grain of their times to be remembered.
    std::thread::sleep(std::time::Duration::from_millis(120));
    let remembered = || {
        for _ in 0..2 {
            assert_eq!(project.outcomes(&["app"]), "app:hit");
        }
    };
    remembered();
    project.file("src/app/new", "x");
    assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit");
    std::thread::sleep(std::time::Duration::from_millis(120));
    remembered();
    project.module("broken", "kind = 1\n");
    project.run(&["build", "app"]).exits(2);
    std::fs::remove_file(project.root.join("modules/broken.toml")).unwrap();
    remembered();
    project.edit("modules/lib.toml", "usr/lib/lib.txt", "usr/lib/lib.txt; true");
    assert_eq!(project.outcomes(&["app"]), "app:cutoff lib:built one:cutoff two:cutoff");
    std::thread::sleep(std::time::Duration::from_millis(120));
    remembered();
    // What is gone from the store is built again, memo or not.
    for blob in project.blobs() {
        std::fs::remove_file(blob).unwrap();
    }
    assert!(project.outcomes(&["app"]).starts_with("app:built"));
}
