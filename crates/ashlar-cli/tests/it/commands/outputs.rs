//! `checkout`, `shell` and `check`: what a module made, and the place where it is made.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use snapbox::str;

use super::sample;
use crate::snapshot;
use crate::support::Project;

#[test]
fn checkout_gives_plain_files() {
    let project = sample();
    let dest = project.root.parent().unwrap().join("out");
    let to = dest.to_str().unwrap();
    project.run(&["checkout", "app", to]).exits(1).says("`ashlar build app` makes it");
    assert!(!dest.exists());
    project.build(&["app"]);
    let ran = project.run(&["checkout", "app", to]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
app: 2 entries in [ROOT]/out

"#]],
    );
    assert_eq!(std::fs::read_to_string(dest.join("bin/app")).unwrap().lines().count(), 4);
    // The files are the caller's own: another hand may edit them.
    std::fs::write(dest.join("bin/app"), "edited").unwrap();
    let ran = project.run(&["checkout", "app", to]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: [ROOT]/out is there already and is not empty
  help: `--force` replaces what is there

"#]],
    );
    assert_eq!(std::fs::read_to_string(dest.join("bin/app")).unwrap(), "edited");
    std::fs::write(dest.join("other"), "").unwrap();
    project.run(&["checkout", "--force", "app", to]).good();
    assert_ne!(std::fs::read_to_string(dest.join("bin/app")).unwrap(), "edited");
    assert!(!dest.join("other").exists(), "what was there is replaced, not added to");
    assert_eq!(project.outcomes(&["app"]), "app:hit");
    project.run(&["checkout", "all", to]).exits(2).says("all is a group");
}

#[test]
fn checkout_keeps_modes_and_links() {
    let project = Project::empty();
    project.module(
        "modes",
        "[build]\nkind = \"script\"\nsteps = ['cd $DESTDIR; echo x > plain; echo y > run; chmod 755 run; ln -s run link; mkdir -p empty; echo z > odd; chmod 4711 odd']\n",
    );
    project.build(&["modes"]);
    let dest = project.root.parent().unwrap().join("out");
    for link in [&[][..], &["--link"][..]] {
        let mut args = vec!["checkout", "--force", "modes", dest.to_str().unwrap()];
        args.extend(link);
        project.run(&args).good();
        let mode = |name: &str| dest.join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode("plain"), mode("run"), mode("empty"), mode("odd")],
            [0o644, 0o755, 0o755, 0o4711]
        );
        assert_eq!(std::fs::read_link(dest.join("link")).unwrap().to_str(), Some("run"));
        let linked = dest.join("plain").metadata().unwrap().nlink() > 1;
        assert_eq!(linked, !link.is_empty());
    }
}

#[test]
fn checkout_is_whole_or_not_at_all() {
    let project = Project::empty();
    project.module(
        "two",
        "[build]\nkind = \"script\"\nsteps = ['echo first > $DESTDIR/a; echo second > $DESTDIR/z']\n",
    );
    project.build(&["two"]);
    let content = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    let blob = project.blobs().into_iter().find(|path| content(path) == b"second\n").unwrap();
    std::fs::remove_file(blob).unwrap();
    let dest = project.root.parent().unwrap().join("out");
    let ran = project.run(&["checkout", "two", dest.to_str().unwrap()]);
    assert_ne!(ran.code, 0, "{}", ran.err);
    assert!(!dest.exists(), "half of it is there");
    std::fs::create_dir(&dest).unwrap();
    std::fs::write(dest.join("mine"), "mine").unwrap();
    assert_ne!(project.run(&["checkout", "--force", "two", dest.to_str().unwrap()]).code, 0);
    let names: Vec<_> = std::fs::read_dir(&dest).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["mine"], "what was there stays when nothing better can be had");
    assert_eq!(project.outcomes(&["two"]), "two:built");
    project.run(&["checkout", "--force", "two", dest.to_str().unwrap()]).good();
}

#[test]
fn a_shell_sees_what_the_build_sees() {
    let project = sample();
    // What it needs is built first.
    let ran = project.run(&[
        "shell",
        "app",
        "--",
        "sh",
        "-c",
        "pwd; cat app.txt /usr/share/one; echo $DESTDIR; exit 9",
    ]);
    let ran = ran.exits(9).says("building what app needs");
    assert_eq!(ran.out, "/build/src\napplication\nlibrary\n/build/dest\n");
    // A failed module has its sandbox too.
    project.run(&["build", "bad"]).exits(1);
    let ran = project.run(&["shell", "bad", "--", "cat", "/usr/lib/lib.txt"]).good();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("library\n", ""));
    assert_eq!(project.run(&["shell", "bad", "--", "false"]).code, 1);
    project
        .run(&["shell", "bad", "--", "no-such-program"])
        .exits(127)
        .says("no-such-program: not found");
    project.run(&["shell", "all", "--", "true"]).exits(2).says("all is a group: it has no sandbox");
    // Nothing that is done there is kept.
    project
        .run(&["shell", "app", "--", "sh", "-c", "echo x > $DESTDIR/x; echo y > app.txt"])
        .good();
    project.build(&["app"]);
    assert!(project.output("app", "bin/app").starts_with("application\n"));
    assert_eq!(project.read("src/app/app.txt"), "application\n");
}

#[test]
fn check_compares_bytes() {
    let project = sample();
    project.run(&["check", "app"]).exits(1).says("nothing to compare with");
    project.build(&["app", "random"]);
    let ran = project.run(&["check", "app"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
building app again
app came out the same, byte for byte ([SHORT])

"#]],
    );
    let ran = project.run(&["check", "random"]).exits(1);
    snapshot::eq(
        &project,
        &format!("{}{}", ran.out, ran.err),
        str![[r#"
content  uuid (37 bytes → 37 bytes)
building random again
random is not reproducible: 1 difference

"#]],
    );
    let ran = project.run(&["check", "--json", "random"]).exits(1);
    let event = ran.events().pop().unwrap();
    assert_eq!(event["same"], false);
    assert_eq!(event["differences"], serde_json::json!([{ "kind": "content", "path": "uuid" }]));
    // What was kept stays: a check replaces nothing.
    let before = project.output("random", "uuid");
    project.run(&["check", "random"]).exits(1);
    assert_eq!(project.output("random", "uuid"), before);
    project.run(&["check", "all"]).exits(2);
}

#[test]
fn forcing_replaces_nothing_precious() {
    let project = Project::sample();
    project.build(&["lib"]);
    let parent = project.root.parent().unwrap().to_str().unwrap().to_owned();
    let store = project.store.to_str().unwrap().to_owned();
    for dest in [".", &parent, &store] {
        project.run(&["checkout", "--force", "lib", dest]).exits(2).says("is not replaced");
    }
    assert!(project.root.join("ashlar.toml").exists());
    assert_eq!(project.outcomes(&["lib"]), "lib:hit");
}
