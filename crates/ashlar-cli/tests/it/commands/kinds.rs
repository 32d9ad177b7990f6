//! Kinds of modules, sources and bases, each built once.

use std::process::Command;

use super::sample;
use crate::support::Project;

/// Runs a program that has to succeed, and gives what it printed.
#[track_caller]
fn made(project: &Project, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(&project.root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_import_copies_its_sources() {
    let project = Project::empty();
    // Neither imports nor groups need a base.
    project.file("ashlar.toml", "[project]\nname = \"sample\"\n");
    project.file("one/run", "#!/bin/sh\n");
    project.chmod("one/run", 0o755);
    project.link("one/link", "run");
    project.file("two/deep/file", "two\n");
    project.module(
        "files",
        "[[source]]\npath = \"one\"\n[[source]]\npath = \"two\"\ninto = \"usr/share/two\"\n[build]\nkind = \"import\"\n",
    );
    project.module("group", "depends = [\"files\"]\n[build]\nkind = \"group\"\n");
    assert_eq!(project.outcomes(&["group"]), "files:built");
    assert_eq!(project.output("files", "usr/share/two/deep/file"), "two\n");
    assert_eq!(project.output("files", "link"), "#!/bin/sh\n");
    let files = project.run(&["show", "--files", "files"]).good().out;
    assert!(
        files.contains("\n0755         10 run\n") && files.contains(" link -> run\n"),
        "{files}"
    );
    project.file("two/deep/file", "changed\n");
    project.names("files", "source two in usr/share/two > file deep/file");
    assert_eq!(project.outcomes(&["group"]), "files:built");
}

#[test]
fn sources_side_by_side_are_seen_in_one_folder() {
    let project = Project::empty();
    project.file("main/file", "main\n");
    project.file("vendor/file", "vendor\n");
    project.file("patches/v.patch", "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-vendor\n+patched\n");
    project.module(
        "both",
        "[[source]]\npath = \"main\"\n[[source]]\npath = \"vendor\"\ninto = \"third/party\"\npatches = [\"patches/*.patch\"]\n[build]\nkind = \"script\"\nsteps = ['cat file third/party/file > $DESTDIR/all']\n",
    );
    project.build(&["both"]);
    assert_eq!(project.output("both", "all"), "main\npatched\n");
    assert_eq!(project.read("vendor/file"), "vendor\n", "a build never edits a project");
}

#[test]
fn files_at_addresses() {
    let project = Project::empty();
    project.file("tree-1.0/file", "archived\n");
    project.file("single.txt", "single\n");
    let url = |name: &str| format!("file://{}/{name}", project.root.display());
    let sum =
        |name: &str| made(&project, "sha256sum", &[name]).split(' ').next().unwrap().to_owned();
    for (name, args) in [
        ("a.tar.gz", &["czf", "a.tar.gz", "tree-1.0"][..]),
        ("a.tar.xz", &["cJf", "a.tar.xz", "tree-1.0"]),
        ("a.tar.bz2", &["cjf", "a.tar.bz2", "tree-1.0"]),
        ("a.tar.zst", &["--zstd", "-cf", "a.tar.zst", "tree-1.0"]),
    ] {
        made(&project, "tar", args);
        project.module(
            "archive",
            &format!(
                "[source]\nurl = \"{}\"\nsha256 = \"{}\"\n[build]\nkind = \"script\"\nsteps = ['cat file > $DESTDIR/file']\n",
                url(name),
                sum(name)
            ),
        );
        project.build(&["archive"]);
        assert_eq!(project.output("archive", "file"), "archived\n", "{name}");
    }
    project.module(
        "single",
        &format!(
            "[source]\nurl = \"{}\"\nsha256 = \"{}\"\nmirrors = [\"{}\"]\n[build]\nkind = \"import\"\n",
            url("not-there/single.txt"),
            sum("single.txt"),
            url("single.txt")
        ),
    );
    project.build(&["single"]);
    assert_eq!(project.output("single", "single.txt"), "single\n");
    // What was fetched once is not fetched again, also for another module.
    std::fs::remove_file(project.root.join("single.txt")).unwrap();
    let text = project.read("modules/single.toml");
    project.module(
        "again",
        &text.replace("\"import\"", "\"script\"\nsteps = ['cat single.txt > $DESTDIR/x']"),
    );
    assert_eq!(project.outcomes(&["--offline", "again"]), "again:built");
}

#[test]
fn a_commit_of_a_repository() {
    let project = Project::empty();
    project.file("repository/file", "first\n");
    let repository = project.root.join("repository");
    let git = |args: &[&str]| {
        let repository = repository.to_str().unwrap();
        let who = ["-C", repository, "-c", "user.name=n", "-c", "user.email=e@example.org"];
        made(&project, "git", &[&who[..], args].concat()).trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    let first = git(&["rev-parse", "HEAD"]);
    std::fs::write(repository.join("file"), "second\n").unwrap();
    git(&["commit", "--quiet", "-a", "-m", "second"]);
    let second = git(&["rev-parse", "HEAD"]);
    let module = |commit: &str| {
        project.module(
            "git",
            &format!(
                "[source]\ngit = \"{}\"\ncommit = \"{commit}\"\n[build]\nkind = \"script\"\nsteps = ['cat file > $DESTDIR/file; ls -a > $DESTDIR/names']\n",
                repository.display()
            ),
        );
    };
    module(&first);
    project.build(&["git"]);
    assert_eq!(project.output("git", "file"), "first\n");
    assert!(!project.output("git", "names").contains(".git\n"), "the history is no source");
    module(&second);
    project.names("git", &format!("source {}", repository.display()));
    project.build(&["git"]);
    assert_eq!(project.output("git", "file"), "second\n");
    module(&first);
    std::fs::remove_dir_all(&repository).unwrap();
    assert_eq!(project.outcomes(&["git"]), "git:hit");
    assert_eq!(
        project.outcomes(&["--offline", "--rebuild", "git"]),
        "git:built",
        "the tree is kept"
    );
}

#[test]
fn a_base_from_an_archive() {
    let project = sample();
    made(&project, "tar", &["--zstd", "-cf", "rootfs.tar.zst", "-C", "rootfs", "."]);
    project.edit("ashlar.toml", "path = \"rootfs\"", "archive = \"rootfs.tar.zst\"");
    std::fs::remove_dir_all(project.root.join("rootfs")).unwrap();
    project.build(&["app"]);
    assert_eq!(project.outcomes(&["app"]), "app:hit");
    assert!(project.output("app", "bin/app").starts_with("application\n"));
    project.file("rootfs.tar.zst", "not an archive");
    let ran = project.run(&["build", "app"]).exits(1);
    ran.says("rootfs.tar.zst");
}

#[test]
fn the_machine_itself_is_seen_and_not_touched() {
    let project = sample();
    project.edit("ashlar.toml", "path = \"rootfs\"", "host = true");
    let marker = format!("/usr/ashlar-test-{}", std::process::id());
    project.module(
        "host",
        &format!(
            "[build]\nkind = \"script\"\nsteps = ['test -e /etc/os-release; test ! -e {}; if echo x > {marker}; then echo written; else echo refused; fi', 'echo x > $DESTDIR/x']\n",
            project.root.display()
        ),
    );
    let ran = project.run(&["build", "host"]).good();
    assert!(ran.err.starts_with("warning: host see this machine's own files"), "{}", ran.err);
    assert!(!std::path::Path::new(&marker).exists());
    assert_eq!(project.outcomes(&["host"]), "host:hit");
}
