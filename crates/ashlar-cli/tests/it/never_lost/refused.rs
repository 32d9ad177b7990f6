//! Stores that cannot be written to, or not be used at all.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::mounts::Mount;
use super::traces::all_is_well;
use crate::support::{ASHLAR, Project, Ran};

#[test]
fn a_store_turned_read_only_gives_what_it_has() {
    let project = Project::sample();
    project.build(&["app", "beside"]);
    let app = project.output("app", "bin/app");
    let key = project.key("app");
    let Some(read_only) = Mount::read_only(&project.store) else { return };

    let ran = project.run(&["build", "--json", "app"]).good();
    assert_eq!(ran.modules(), [("app".to_owned(), "hit".to_owned())]);
    ran.says("cannot be written to").says("what is in it is used, and nothing is kept");
    assert_eq!(project.output("app", "bin/app"), app);
    assert_eq!(project.key("app"), key);
    for args in [&["plan", "app"][..], &["log", "app"], &["show", "app"], &["store", "stat"]] {
        project.run(args).good();
    }
    project.run(&["store", "verify"]).good().says("all is well");
    project.run(&["store", "gc", "--max-size", "0"]).exits(4).says("cannot be written to");

    // What must be built cannot be, and says why; what is there beside it is found.
    project.edit("src/app/app.txt", "application", "changed");
    let ran = project.run(&["build", "--json", "--keep-going", "app", "beside"]).exits(4);
    let modules = ran.modules();
    assert!(modules.contains(&("beside".to_owned(), "hit".to_owned())), "{modules:?}");
    assert!(modules.contains(&("app".to_owned(), "failed".to_owned())), "{modules:?}");
    let ran = project.run(&["build", "app"]).exits(4);
    ran.says("failed app").says("cannot be written to").says("--store DIR or ASHLAR_STORE");
    assert!(!project.root.join("store").exists());

    drop(read_only);
    assert_eq!(
        project.outcomes(&["app", "beside"]),
        "app:built beside:hit lib:hit one:hit two:hit"
    );
    assert!(project.output("app", "bin/app").starts_with("changed"));
    all_is_well(&project);
}

#[test]
fn a_read_only_store_serves_several_at_once() {
    let project = Project::sample();
    project.build(&["app"]);
    let Some(_read_only) = Mount::read_only(&project.store) else { return };
    let all: Vec<_> = (0..4).map(|_| project.command(&["build", "--json", "app"])).collect();
    let all: Vec<_> = all
        .into_iter()
        .map(|mut c| {
            c.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            c.spawn().unwrap()
        })
        .collect();
    for child in all {
        let ran = Ran::of(&child.wait_with_output().unwrap()).good();
        assert_eq!(ran.modules(), [("app".to_owned(), "hit".to_owned())]);
    }
}

#[test]
fn the_store_of_somebody_else_gives_what_it_has() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root can be somebody else");
        return;
    }
    let project = Project::sample();
    project.build(&["app"]);
    // Nobody may come here without this, nor to where the program lies.
    let folder = project.root.parent().unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.join("ashlar");
    std::fs::copy(ASHLAR, &program).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(args)
            .current_dir(&project.root)
            .env("ASHLAR_STORE", &project.store)
            .env("HOME", "/nonexistent");
        Ran::of(&command.output().unwrap())
    };
    let ran = nobody(&["build", "--json", "app"]).good().says("cannot be written to");
    assert_eq!(ran.modules(), [("app".to_owned(), "hit".to_owned())]);
    nobody(&["plan", "app"]).good();
    project.edit("src/app/app.txt", "application", "changed");
    let ran = nobody(&["build", "app"]);
    // Which of the two obstacles is met first depends on the machine.
    assert!([3, 4].contains(&ran.code), "{}: {}", ran.code, ran.err);
    assert!(ran.err.contains("help: "), "{}", ran.err);
    assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit");
}

#[test]
fn places_that_cannot_be_a_store_are_named() {
    let project = Project::sample();
    project.file("file", "not a folder\n");
    let file = project.root.join("file");
    for store in [file.clone(), file.join("below"), "/proc/ashlar".into(), "/dev/null".into()] {
        let store = store.to_str().unwrap();
        for args in [&["build", "app"][..], &["plan", "app"], &["store", "stat"]] {
            project.run(&[&["--store", store], args].concat()).exits(4).says(store);
        }
    }
    assert_eq!(project.read("file"), "not a folder\n");
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let project = Project::sample();
    project.build(&["app"]);
    std::fs::write(project.store.join("format"), "2\n").unwrap();
    let before = listing(&project.store);
    for args in [
        &["build", "app"][..],
        &["build", "--rebuild", "app"],
        &["plan", "app"],
        &["checkout", "app", "out"],
        &["store", "stat"],
        &["store", "verify", "--repair"],
        &["store", "gc", "--max-size", "0"],
    ] {
        let ran = project.run(args).exits(4);
        ran.says("has format 2, and this version knows up to 1").says("use the newer program");
    }
    assert_eq!(listing(&project.store), before);
    std::fs::write(project.store.join("format"), "1\n").unwrap();
    assert_eq!(project.outcomes(&["app"]), "app:hit");
}

/// Every path below a folder, with size and time.
fn listing(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(path) = todo.pop() {
        let facts = std::fs::symlink_metadata(&path).unwrap();
        all.push(format!("{} {} {:?}", path.display(), facts.len(), facts.modified().unwrap()));
        if facts.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}
