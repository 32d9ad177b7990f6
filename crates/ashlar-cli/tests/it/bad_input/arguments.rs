//! The command line.

use snapbox::str;

use crate::snapshot;
use crate::support::Project;

#[test]
fn wrong_values() {
    let project = Project::sample();
    for args in [
        &["build", "--jobs", "0"][..],
        &["build", "-j", "many"],
        &["build", "--jobs", "99999"],
        &["build", "--nonsense"],
        &["bild"],
        &["why"],
        &["why", "lib", "app"],
        &["--color", "blue", "list"],
        &["store"],
        &["store", "gc", "--max-age", "1y"],
        &["--store", "", "list"],
        &["schema", "modules"],
    ] {
        let ran = project.run(args).exits(2);
        assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
    let ran = project.run(&["build", "--jobs", "0"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: invalid value '0' for '--jobs <N>': 0 is not in 1..=4096

For more information, try '--help'.

"#]],
    );
}

#[test]
fn options_of_the_project() {
    let project = Project::sample();
    let ran = project.run(&["build", "-o", "debug=true"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: `--option debug=true`: there is no such option
  help: the project declares none

"#]],
    );
    project.edit(
        "ashlar.toml",
        "[base",
        "[options.debug]\ntype = \"bool\"\ndefault = false\n[base",
    );
    for (option, expected) in [
        (
            "debug=maybe",
            str![[r#"
error: `--option debug=maybe`: there is no such value
  help: values are `true` and `false`

"#]],
        ),
        (
            "debg=true",
            str![[r#"
error: `--option debg=true`: there is no such option
  help: did you mean `debug`?

"#]],
        ),
        (
            "debug",
            str![[r#"
error: `debug` does not set an option
  help: --option NAME=VALUE

"#]],
        ),
    ] {
        let ran = project.run(&["build", "-o", option]).exits(2);
        snapshot::eq(&project, &ran.err, expected);
    }
}

#[test]
fn no_project_and_no_target() {
    let project = Project::empty();
    let ran = project.run(&["build"]);
    assert!(ran.code == 0 || ran.code == 2, "{}", ran.err);
    std::fs::remove_file(project.root.join("ashlar.toml")).unwrap();
    let ran = project.run(&["build"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: there is no `ashlar.toml` in [ROOT]/project or above
  help: `ashlar init` makes one here; `-C DIR` names another folder

"#]],
    );
    let ran = project.run(&["--json", "plan"]).exits(2);
    assert_eq!(ran.events()[0]["exit"], 2);
}

#[test]
fn stores_that_cannot_be() {
    let project = Project::sample();
    for store in ["/dev/null", "/proc/ashlar", "ashlar.toml"] {
        let ran = project.run(&["--store", store, "build", "lib"]).exits(4);
        assert!(ran.err.starts_with("error: ") && ran.err.contains(store), "{}", ran.err);
    }
    assert!(project.read("ashlar.toml").contains("sample"));
}
