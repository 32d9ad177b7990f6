//! Files that are not what they should be: exit code 2, with the place.

use snapbox::str;

use super::{says, with};
use crate::support::Project;

#[test]
fn an_unknown_key_is_told_with_the_nearest() {
    let project = with("[build]\nkind = \"script\"\nstepz = [\"true\"]\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:3:1: unknown key `stepz` in [build]
  stepz = ["true"]
  ^^^^^
  help: did you mean `steps`?

"#]],
    );
    let project = with("timeout = \"1s\"\n[build]\nkind = \"script\"\nsteps = [\"true\"]\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:1: unknown key `timeout`
  timeout = "1s"
  ^^^^^^^
  help: `timeout` belongs in `[build]`

"#]],
    );
    let project = with("[bild]\nkind = \"script\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:2: unknown key `bild`
  [bild]
   ^^^^
  help: did you mean `build`?

"#]],
    );
    let project = Project::sample();
    project.edit("ashlar.toml", "name", "nmae");
    says(
        &project,
        2,
        str![[r#"
error: ashlar.toml:2:1: unknown key `nmae` in [project]
  nmae = "sample"
  ^^^^
  help: did you mean `name`?

"#]],
    );
}

#[test]
fn wrong_types_are_told_all_at_once() {
    let project = with("depends = \"lib\"\n[build]\nkind = 3\nsteps = [1]\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:11: `depends` must be a list of texts
  depends = "lib"
            ^^^^^ this is a text
  help: write it in brackets: ["…"]

error: modules/x.toml:3:8: `kind` must be a text
  kind = 3
         ^ this is a number
  help: write it in quotes: "3"

error: modules/x.toml:4:10: `steps` must be a text
  steps = [1]
           ^ this is a number
  help: write it in quotes: "1"

"#]],
    );
    let project = with("[build]\nkind = \"scripts\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:2:8: there is no kind `scripts`
  kind = "scripts"
         ^^^^^^^^^
  help: did you mean `script`?

"#]],
    );
    let project = with("[build]\nkind = \"script\"\ntimeout = \"soon\"\nsteps = ['true']\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:3:11: `soon` is not a time span
  timeout = "soon"
            ^^^^^^
  help: for instance `90s`, `30m` or `1h30m`

"#]],
    );
}

#[test]
fn text_that_is_no_toml() {
    let project = with("[build\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:7: this is not TOML: unclosed table, expected `]`
  [build
        ^

"#]],
    );
    let project = with("[build]\nkind = \"script\"\nkind = \"make\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:3:1: this is not TOML: duplicate key
  kind = "make"
  ^^^^
  help: a key, and a table, stands once in a file

"#]],
    );
    let project = with("");
    project.file("modules/x.toml", b"description = \"\xff\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:16: the file is not UTF-8 text
  description = "�"
                 ^ these bytes are not
  help: save it as UTF-8

"#]],
    );
    project.file("modules/x.toml", b"a\0b");
    project.run(&["list"]).exits(2).says("modules/x.toml:1:");
    project.file("modules/x.toml", b"description = \"\x1b[2J\x1b]0;owned\x07\"\n[buld]\n");
    let ran = project.run(&["list"]).exits(2);
    assert!(!ran.err.contains('\x1b'), "nothing reaches the terminal raw: {:?}", ran.err);
}

#[test]
fn missing_modules_and_bases_are_told_with_the_nearest() {
    let script = "[build]\nkind = \"script\"\nsteps = ['true']\n";
    let project = with(&format!("depends = [\"libb\"]\n{script}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:12: there is no module `libb`
  depends = ["libb"]
             ^^^^^^
  help: did you mean `lib`?

"#]],
    );
    let project = with(&format!("base = \"bussybox\"\n{script}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:8: there is no base `bussybox`
  base = "bussybox"
         ^^^^^^^^^^
  help: did you mean `busybox`?

"#]],
    );
    let project = with(&format!("uses = [\"debug\"]\n{script}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:9: there is no option `debug`
  uses = ["debug"]
          ^^^^^^^
  help: declare it in `ashlar.toml`: `[options.NAME]` with a `type`

"#]],
    );
    let project = Project::sample();
    project.edit("ashlar.toml", "\"sample\"\n", "\"sample\"\ndefault = [\"ap\"]\n");
    says(
        &project,
        2,
        str![[r#"
error: ashlar.toml:3:12: there is no module `ap`
  default = ["ap"]
             ^^^^
  help: did you mean `app`?

"#]],
    );
    project.file("ashlar.toml", "");
    project.run(&["build"]).exits(2).says("ashlar.toml:1:1: the project has no name");
}

#[test]
fn cycles_are_printed() {
    let project = with("depends = [\"y\"]\n[build]\nkind = \"group\"\n");
    project.module("y", "depends = [\"lib\", \"z\"]\n[build]\nkind = \"group\"\n");
    project.module("z", "depends = [\"x\"]\n[build]\nkind = \"group\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:12: modules depend on each other in a cycle: x -> y -> z -> x
  depends = ["y"]
             ^^^ `x` needs `y`
  modules/y.toml:1:19: `y` needs `z`
    depends = ["lib", "z"]
                      ^^^
  modules/z.toml:1:12: `z` needs `x`
    depends = ["x"]
               ^^^
  help: take one of these out, or split a module in two

"#]],
    );
    let project = with("depends = [\"x\"]\n[build]\nkind = \"group\"\n");
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:1:12: `x` depends on itself
  depends = ["x"]
             ^^^
  help: leave it out

"#]],
    );
}

#[test]
fn missing_files_are_told_where_they_are_named() {
    let import = "[build]\nkind = \"import\"\n";
    let project = with(&format!("[source]\npath = \"src/none\"\n{import}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:2:8: src/none does not exist
  path = "src/none"
         ^^^^^^^^^^
  help: names of files are relative to the folder of `ashlar.toml`

"#]],
    );
    let project =
        with(&format!("[source]\npath = \"src/lib\"\npatches = [\"no/*.patch\"]\n{import}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:3:12: nothing in the project matches `no/*.patch`
  patches = ["no/*.patch"]
             ^^^^^^^^^^^^
  help: names of files are relative to the folder of `ashlar.toml`

"#]],
    );
    let project = with(&format!("[source]\npath = '../outside'\n{import}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:2:8: `../outside` leads outside with `..`
  path = '../outside'
         ^^^^^^^^^^^^
  help: paths are relative to the project

"#]],
    );
    let project = with(&format!("[source]\npath = \"/etc\"\n{import}"));
    says(
        &project,
        2,
        str![[r#"
error: modules/x.toml:2:8: `/etc` is an absolute path
  path = "/etc"
         ^^^^^^
  help: paths are relative to the project

"#]],
    );
    let project = with("[build]\nkind = \"script\"\nsteps = ['true']\n");
    project.edit("ashlar.toml", "\"rootfs\"", "\"rootfz/\"");
    says(
        &project,
        2,
        str![[r#"
error: ashlar.toml:4:8: rootfz does not exist
  path = "rootfz/"
         ^^^^^^^^^
  help: names of files are relative to the folder of `ashlar.toml`

"#]],
    );
    project.edit("ashlar.toml", "path = \"rootfz/\"", "archive = \"none.tar\"");
    project.run(&["build", "lib"]).exits(2).says("ashlar.toml:4:11: ").says("none.tar");
    let project = with("[build]\nkind = \"group\"\n");
    project.edit("ashlar.toml", "\"sample\"\n", "\"sample\"\ncommon = [\"common/*.sh\"]\n");
    says(
        &project,
        2,
        str![[r#"
error: ashlar.toml:3:11: nothing in the project matches `common/*.sh`
  common = ["common/*.sh"]
            ^^^^^^^^^^^^^
  help: names of files are relative to the folder of `ashlar.toml`

"#]],
    );
}

#[test]
fn what_is_wrong_elsewhere_does_not_matter() {
    let project = with("[source]\npath = \"src/none\"\n[build]\nkind = \"import\"\n");
    assert_eq!(project.outcomes(&["lib"]), "lib:built");
    project.run(&["why", "lib"]).good();
    project.run(&["plan", "x"]).exits(2).says("modules/x.toml:2:8");
}

#[test]
fn files_that_cannot_be_modules() {
    let project = Project::sample();
    project.file("modules/big.toml", vec![b'#'; 10_000_000]);
    says(
        &project,
        2,
        str![[r#"
error: `modules/big.toml` is 9.5 MiB large
  help: a project or module file has at most 4 MiB; is it one?

"#]],
    );
    project.file(
        "modules/big.toml",
        format!("description = \"\"\"\n{}\"\"\"\n", "a".repeat(10_000_000)),
    );
    let ran = project.run(&["list"]).exits(2);
    assert!(ran.err.len() < 1000, "a large file is not repeated");
    std::fs::remove_file(project.root.join("modules/big.toml")).unwrap();
    project.link("modules/dangling.toml", "nowhere");
    says(
        &project,
        2,
        str![[r#"
error: cannot read `modules/dangling.toml`: No such file or directory (os error 2)

"#]],
    );
    std::fs::remove_file(project.root.join("modules/dangling.toml")).unwrap();
    project.file("modules/file", "not a module\n");
    project.file("modules/.hidden.toml", "[[[");
    project.run(&["list"]).good();
}

#[test]
fn a_lock_file_that_is_none() {
    let project = Project::sample();
    project.file("ashlar.lock", "version = 1\n[base.x]\nnonsense = true\n");
    let ran = project.run(&["build", "lib"]).exits(2);
    ran.says("ashlar.lock:");
    project.file("ashlar.lock", "version = 99\n");
    let ran = project.run(&["build", "lib"]).exits(2);
    ran.says("ashlar.lock:");
}
