//! `init`, `lock`, and the options that say which project, which store, how many jobs.

use snapbox::str;

use super::sample;
use crate::snapshot;
use crate::support::Project;

/// An empty folder beside a store.
fn nothing() -> Project {
    let project = Project::empty();
    std::fs::remove_dir_all(&project.root).unwrap();
    std::fs::create_dir(&project.root).unwrap();
    project
}

#[test]
fn init_writes_a_project_and_never_over_one() {
    let project = nothing();
    let ran = project.run(&["init", "--suite", "bookworm"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
wrote ashlar.toml
wrote modules/hello.toml
wrote src/hello/hello.c
now: ashlar build

"#]],
    );
    assert!(project.read("ashlar.toml").contains("name = \"project\"\n"));
    assert!(project.read("ashlar.toml").contains("suite = \"bookworm\"\n"));
    assert_eq!(project.run(&["list"]).good().out, "hello  script     Says hello\n");
    let before = project.read("modules/hello.toml");
    let ran = project.run(&["init"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: ashlar.toml is there already
  help: `ashlar init` writes into a folder that has no project yet

"#]],
    );
    assert_eq!(project.read("modules/hello.toml"), before);
    let ran = project.run(&["-C", "deeper/still", "init", "--name", "other"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
wrote ashlar.toml
wrote modules/hello.toml
wrote src/hello/hello.c
now: ashlar -C deeper/still build

"#]],
    );
    assert!(project.read("deeper/still/ashlar.toml").contains("name = \"other\"\n"));
}

#[test]
fn what_is_not_locked_is_named() {
    let project = nothing();
    project.run(&["init", "--suite", "bookworm"]).good();
    for args in [&["plan"][..], &["why", "hello"], &["build", "--locked"]] {
        let ran = project.run(args).exits(2);
        snapshot::eq(
            &project,
            &ran.err,
            str![[r#"
error: the lock file has no base debian
  help: run `ashlar lock`

"#]],
        );
    }
    for args in [&["--offline", "build"][..], &["--offline", "lock"]] {
        let ran = project.run(args).exits(2);
        snapshot::eq(
            &project,
            &ran.err,
            str![[r#"
error: this run is offline, and the lock file lacks base debian
  help: run `ashlar lock` with network

"#]],
        );
    }
    // What needs no keys works all the same.
    let graph = project.run(&["graph"]).good().out;
    assert!(graph.contains("\"hello\" [label=\"hello\"];"), "{graph}");
    assert!(!project.root.join("ashlar.lock").exists());
}

#[test]
fn the_module_of_init_builds_on_another_base() {
    let project = nothing();
    project.run(&["init"]).good();
    let base = Project::empty();
    let copied = std::process::Command::new("cp")
        .args(["-a", "rootfs"])
        .arg(&project.root)
        .current_dir(&base.root)
        .status()
        .unwrap();
    assert!(copied.success());
    let text = project.read("ashlar.toml");
    let (head, tail) = text.split_once("[base.debian]").unwrap();
    project.file(
        "ashlar.toml",
        format!("{head}[base.busybox]\npath = \"rootfs/\"\n{}", tail.split_once("\n\n").unwrap().1),
    );
    // Busybox has no compiler: the step that calls it is all that is changed.
    project.edit("modules/hello.toml", "\"make hello\"", "\"cp hello.c hello\"");
    project.edit("modules/hello.toml", "install -D hello", "mkdir -p $DESTDIR/usr/bin; cp hello");
    assert_eq!(project.outcomes(&[]), "hello:built");
    assert_eq!(project.outcomes(&[]), "hello:hit");
}

#[test]
fn a_project_without_names_to_resolve_has_nothing_to_lock() {
    let project = sample();
    let ran = project.run(&["lock"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
ashlar.lock is complete: nothing changed

"#]],
    );
    let ran = project.run(&["--json", "lock"]).good();
    assert_eq!(
        ran.events(),
        [
            serde_json::json!({ "event": "locked", "bases": 0, "sources": 0, "packages": 0, "new_packages": 0 })
        ]
    );
    project.run(&["lock", "--update", "nope"]).exits(2).says("there is no module `nope`");
}

#[test]
fn the_project_is_found_from_below_and_by_name() {
    let project = sample();
    let mut command = project.command(&["list"]);
    let below = command.current_dir(project.root.join("src/app")).output().unwrap();
    assert!(below.status.success());
    let root = project.root.to_str().unwrap();
    for name in [&["-C", root][..], &["--project", root]] {
        let mut args = name.to_vec();
        args.push("list");
        let ran = project.command(&args).current_dir("/").output().unwrap();
        assert_eq!(ran.stdout, below.stdout);
        // Global options go behind the command as well.
        args.rotate_right(1);
        let ran = project.command(&args).current_dir("/").output().unwrap();
        assert_eq!(ran.stdout, below.stdout);
    }
    let ran = project.run(&["-C", "/nonexistent", "list"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: cannot use /nonexistent: No such file or directory (os error 2)

"#]],
    );
}

#[test]
fn the_store_is_an_option_a_variable_or_in_the_cache() {
    let project = sample();
    let folder = project.root.parent().unwrap();
    let cache = folder.join("cache");
    let path = |args: &[&str], set: &[(&str, &str)]| {
        let mut command = project.command(&[&["store", "stat", "--json"], args].concat());
        command.env_remove("ASHLAR_STORE").env_remove("XDG_CACHE_HOME").env("HOME", folder);
        command.envs(set.iter().copied());
        let ran = crate::support::Ran::of(&command.output().unwrap()).good();
        ran.events()[0]["path"].as_str().unwrap().to_owned()
    };
    let in_folder = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    assert_eq!(path(&[], &[]), in_folder(".cache/ashlar"));
    assert_eq!(
        path(&[], &[("XDG_CACHE_HOME", cache.to_str().unwrap())]),
        in_folder("cache/ashlar")
    );
    let named = in_folder("named");
    assert_eq!(path(&[], &[("ASHLAR_STORE", &named)]), named);
    let option = in_folder("option");
    assert_eq!(path(&["--store", &option], &[("ASHLAR_STORE", &named)]), option);
}

#[test]
fn jobs_are_seen_inside() {
    let project = Project::empty();
    project.module(
        "jobs",
        "[build]\nkind = \"script\"\nsteps = ['echo $JOBS', 'echo x > $DESTDIR/x']\n",
    );
    project.run(&["build", "--jobs", "3"]).good();
    let log = project.run(&["log", "jobs"]).good().out;
    assert!(log.contains("\n3\n"), "{log}");
    // Their number is in no key.
    assert_eq!(project.outcomes(&["-j", "1"]), "jobs:hit");
}
