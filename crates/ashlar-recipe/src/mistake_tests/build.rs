//! Kinds and what they take.

use super::{GROUP, PROJECT, refused};

#[test]
fn unknown_kind() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"[build]
kind = "autotool"
"#,
            ),
            (
                "modules/b.toml",
                r#"[build]
kind = "bazel"
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:2:8: there is no kind `autotool`
  kind = "autotool"
         ^^^^^^^^^^
  help: did you mean `autotools`?

modules/b.toml:2:8: there is no kind `bazel`
  kind = "bazel"
         ^^^^^^^
  help: kinds are `script`, `make`, `autotools`, `cmake`, `meson`, `deb`, `import`, `image` and `group`
"#,
    );
}

#[test]
fn no_kind() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"description = "x"
"#,
            ),
            (
                "modules/b.toml",
                r#"[build]
steps = ["x"]
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:1:1: the module does not say of which kind it is
  description = "x"
  ^
  help: write `[build]` and below it `kind = "…"`: `script`, `make`, `autotools`, `cmake`, `meson`, `deb`, `import`, `image` and `group`

modules/b.toml:1:1: the module does not say of which kind it is
  [build]
  ^^^^^^^
  help: write `[build]` and below it `kind = "…"`: `script`, `make`, `autotools`, `cmake`, `meson`, `deb`, `import`, `image` and `group`
"#,
    );
}

#[test]
fn bad_timeout() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
timeout = "30 minutes"
"#,
        )],
        &[],
        r#"modules/a.toml:4:11: `30 minutes` is not a time span
  timeout = "30 minutes"
            ^^^^^^^^^^^^
  help: for instance `90s`, `30m` or `1h30m`
"#,
    );
}

#[test]
fn environment() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[env]
DESTDIR = "x"
OPTION_DEBUG = "1"
"A-B" = "x"
SOURCE_DATE_EPOCH = "now"
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:2:1: `DESTDIR` is set by Ashlar
  DESTDIR = "x"
  ^^^^^^^
  help: choose another name

modules/a.toml:3:1: `OPTION_DEBUG` is set by Ashlar
  OPTION_DEBUG = "1"
  ^^^^^^^^^^^^
  help: declare an option in `ashlar.toml` and name it in `uses`

modules/a.toml:4:1: `A-B` is not the name of a variable
  "A-B" = "x"
  ^^^^^
  help: letters, digits and `_`, and no digit first

modules/a.toml:5:21: `SOURCE_DATE_EPOCH` is a number of seconds since 1970
  SOURCE_DATE_EPOCH = "now"
                      ^^^^^
"#,
    );
}

#[test]
fn group_with_more() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"salt = "x"
tools = ["flex"]
[source]
path = "x"
[build]
kind = "group"
steps = ["x"]
timeout = "3s"
[outputs]
expect = ["x"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:8: a module of kind `group` has no `salt`
  salt = "x"
         ^^^
  help: a group has only `description` and `depends`

modules/a.toml:2:10: a module of kind `group` has no `tools`
  tools = ["flex"]
           ^^^^^^
  help: a group has only `description` and `depends`

modules/a.toml:3:1: a module of kind `group` has no `source`
  [source]
  ^^^^^^^^
  help: a group has only `description` and `depends`

modules/a.toml:7:9: a module of kind `group` has no `steps`
  steps = ["x"]
          ^^^^^
  help: it runs no commands

modules/a.toml:8:11: a module of kind `group` has no `timeout`
  timeout = "3s"
            ^^^^
  help: it runs no commands

modules/a.toml:10:11: a module of kind `group` has no `outputs`
  expect = ["x"]
            ^^^
  help: a group has only `description` and `depends`
"#,
    );
}

#[test]
fn import_with_more() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"base = "debian"
depends = ["b"]
[build]
kind = "import"
compile = "make"
"#,
            ),
            ("modules/b.toml", GROUP),
        ],
        &[],
        r#"modules/a.toml:1:8: a module of kind `import` has no `base`
  base = "debian"
         ^^^^^^^^
  help: an import has only `description`, `salt`, `source` and `outputs`

modules/a.toml:2:12: a module of kind `import` has no `depends`
  depends = ["b"]
             ^^^
  help: an import has only `description`, `salt`, `source` and `outputs`

modules/a.toml:4:8: a module of kind `import` needs a source
  kind = "import"
         ^^^^^^^^
  help: write `[source]` with `deb`, `url`, `git` or `path`

modules/a.toml:5:11: a module of kind `import` has no `compile`
  compile = "make"
            ^^^^^^
  help: it runs no commands
"#,
    );
}

#[test]
fn script_without_steps() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"[build]
kind = "script"
"#,
            ),
            (
                "modules/b.toml",
                r#"[build]
kind = "script"
steps = []
"#,
            ),
            (
                "modules/c.toml",
                r#"[build]
kind = "script"
steps = [" ", { name = "x\ny", run = "true" }]
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:2:8: the script has no steps
  kind = "script"
         ^^^^^^^^
  help: write `steps = ["…"]`

modules/b.toml:3:9: the script has no steps
  steps = []
          ^^
  help: write at least one

modules/c.toml:3:10: the step does nothing
  steps = [" ", { name = "x\ny", run = "true" }]
           ^^^
  help: write a script, or leave it out

modules/c.toml:3:24: the name of a step is one short line
  steps = [" ", { name = "x\ny", run = "true" }]
                         ^^^^^^
"#,
    );
}

#[test]
fn script_with_steps_and_phases() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
compile = "make"
steps = ["x"]
"#,
        )],
        &[],
        r#"modules/a.toml:3:11: a script has either `steps` or `configure`, `compile`, `install`
  compile = "make"
            ^^^^^^
  help: make this one of the steps
"#,
    );
}

#[test]
fn steps_of_another_kind() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[source]
path = "x"
[build]
kind = "make"
steps = ["x"]
configure = ["--x"]
profiles = ["x"]
"#,
        )],
        &[],
        r#"modules/a.toml:5:9: a module of kind `make` has no `steps`
  steps = ["x"]
          ^^^^^
  help: replace `configure`, `compile` or `install` with a text, or take kind `script`

modules/a.toml:6:13: kind `make` has no `configure` command to add to
  configure = ["--x"]
              ^^^^^^^
  help: a list adds arguments; write a text, which is the whole script

modules/a.toml:7:12: `profiles` is for modules of kind `deb`
  profiles = ["x"]
             ^^^^^
  help: leave it out
"#,
    );
}

#[test]
fn deb_without_its_source() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"[build]
kind = "deb"
"#,
            ),
            (
                "modules/b.toml",
                r#"[source]
path = "x"
into = "y"
[build]
kind = "deb"
options = ["parallel=4", "a b"]
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:2:8: a module of kind `deb` needs a source
  kind = "deb"
         ^^^^^
  help: write `[source]` with `deb`, `url`, `git` or `path`

modules/b.toml:5:8: a module of kind `deb` has exactly one source in `SRCDIR` itself
  kind = "deb"
         ^^^^^
  help: it is the one with the folder `debian`; other sources go `into` folders beside it

modules/b.toml:6:12: how many jobs run is not part of a module
  options = ["parallel=4", "a b"]
             ^^^^^^^^^^^^
  help: leave it out

modules/b.toml:6:26: `a b` is not a plain word
  options = ["parallel=4", "a b"]
                           ^^^^^
"#,
    );
}

#[test]
fn deb_outputs_of_another_kind() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[outputs]
derived = ["x"]
"#,
        )],
        &[],
        r#"modules/a.toml:5:11: `main`, `derived` and `extra` are for modules of kind `deb`
  derived = ["x"]
            ^^^^^
  help: they name Debian packages; name files in `expect`
"#,
    );
}

#[test]
fn bad_globs() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[outputs]
expect = ["/usr/bin/x", "usr/[a", "../x", "{a"]
"#,
        )],
        &[],
        r#"modules/a.toml:5:11: `/usr/bin/x` is an absolute path
  expect = ["/usr/bin/x", "usr/[a", "../x", "{a"]
            ^^^^^^^^^^^^
  help: write it without the leading slash

modules/a.toml:5:25: `usr/[a` has a `[` without `]`
  expect = ["/usr/bin/x", "usr/[a", "../x", "{a"]
                          ^^^^^^^^
  help: it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`

modules/a.toml:5:35: `../x` leads outside with `..`
  expect = ["/usr/bin/x", "usr/[a", "../x", "{a"]
                                    ^^^^^^
  help: it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`

modules/a.toml:5:43: `{a` has a `{` without `}`
  expect = ["/usr/bin/x", "usr/[a", "../x", "{a"]
                                            ^^^^
  help: it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`
"#,
    );
}

#[test]
fn tools_on_another_base() {
    refused(
        r#"[project]
name = "p"
[base.host]
host = true
"#,
        &[(
            "modules/a.toml",
            r#"tools = ["flex"]
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:10: tools cannot be added to base `host`
  tools = ["flex"]
           ^^^^^^
  help: tools are Debian packages; take a base with a `suite`
"#,
    );
}

#[test]
fn bad_package_names() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"tools = ["Flex", "--yes"]
[build]
kind = "script"
steps = ["true"]
[source]
deb = "z lib"
"#,
        )],
        &[],
        r#"modules/a.toml:1:10: `Flex` is not the name of a Debian package
  tools = ["Flex", "--yes"]
           ^^^^^^

modules/a.toml:1:18: `--yes` is not the name of a Debian package
  tools = ["Flex", "--yes"]
                   ^^^^^^^

modules/a.toml:6:7: `z lib` is not the name of a Debian package
  deb = "z lib"
        ^^^^^^^
  help: `deb` is the name of a Debian source package
"#,
    );
}
