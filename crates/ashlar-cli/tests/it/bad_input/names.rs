//! Names of modules, in folders and on the command line.

use std::os::unix::ffi::OsStrExt as _;

use snapbox::str;

use super::with;
use crate::snapshot;
use crate::support::Project;

#[test]
fn files_with_names_that_no_module_has() {
    let project = Project::sample();
    for name in ["sp ace", "a/b c", "ünï", "new\nline"] {
        project.module(name, "[build]\nkind = \"group\"\n");
        let ran = project.run(&["list"]).exits(2);
        assert!(ran.err.contains("cannot be a module"), "{name:?}: {}", ran.err);
        assert!(!ran.err.contains("new\nline"), "{}", ran.err);
        std::fs::remove_file(project.root.join(format!("modules/{name}.toml"))).unwrap();
    }
    // Hidden files and folders are nobody's modules.
    project.module("..x", "[build]\nkind = \"group\"\n");
    project.module(".git/x", "[build]\nkind = \"group\"\n");
    assert!(!project.run(&["list"]).good().out.contains(".x"));
}

#[test]
fn names_that_are_no_text() {
    let project = Project::sample();
    let name = std::ffi::OsStr::from_bytes(b"modules/n\xffx.toml");
    std::fs::write(project.root.join(name), "[build]\nkind = \"group\"\n").unwrap();
    let ran = project.run(&["list"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: cannot read `modules`: the name of `modules/n�x.toml` is not UTF-8: rename it

"#]],
    );
    std::fs::remove_file(project.root.join(name)).unwrap();
    // In sources they are as good as others.
    let name = std::ffi::OsStr::from_bytes(b"src/lib/\xff\xfe");
    std::fs::write(project.root.join(name), "odd\n").unwrap();
    project.module("odd", "[source]\npath = \"src/lib\"\n[build]\nkind = \"import\"\n");
    assert_eq!(project.outcomes(&["odd"]), "odd:built");
    let dest = project.root.parent().unwrap().join("out");
    project.run(&["checkout", "odd", dest.to_str().unwrap()]).good();
    assert!(dest.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")).exists());
    // The command line takes them as arguments, and says that there is no such module.
    let mut command = project.command(&["build"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn names_on_the_command_line() {
    let project = with("[build]\nkind = \"group\"\n");
    for (name, expected) in [
        ("../x", "error: `../x`: no part of a module name begins with a dot or a dash\n"),
        (
            "modules/../x",
            "error: `modules/../x`: no part of a module name begins with a dot or a dash\n",
        ),
        ("..x", "error: `..x`: no part of a module name begins with a dot or a dash\n"),
        ("/etc/passwd", "error: `/etc/passwd`: a module name has no empty part between slashes\n"),
        ("", "error: ``: a module name cannot be empty\n"),
        ("nothing-like-it", "error: there is no module `nothing-like-it`\n"),
        ("besid", "error: there is no module `besid`\n  help: did you mean `beside`?"),
    ] {
        for command in ["build", "plan", "why", "show", "graph", "check", "shell"] {
            let ran = project.run(&[command, name]).exits(2);
            assert!(ran.err.starts_with(expected), "{command} {name}: {}", ran.err);
            assert!(ran.err.contains("\n  help: "), "{command} {name}: {}", ran.err);
        }
        project.run(&["log", name]).exits(2).says("help: ");
        project.run(&["checkout", name, "out"]).exits(2);
    }
    assert!(!project.root.join("out").exists());
}
