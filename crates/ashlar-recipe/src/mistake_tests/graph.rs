//! Modules that do not fit together.

use super::{GROUP, PROJECT, SCRIPT, refused};

#[test]
fn missing_module() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"depends = ["net/snmp", "zlib", "quux"]
[build]
kind = "group"
"#,
            ),
            ("modules/net/net-snmp.toml", GROUP),
            ("modules/net/snpm.toml", GROUP),
            ("modules/core/zlib.toml", GROUP),
        ],
        &[],
        r#"modules/a.toml:1:12: there is no module `net/snmp`
  depends = ["net/snmp", "zlib", "quux"]
             ^^^^^^^^^^
  help: did you mean `net/snpm`?

modules/a.toml:1:24: there is no module `zlib`
  depends = ["net/snmp", "zlib", "quux"]
                         ^^^^^^
  help: did you mean `core/zlib`?

modules/a.toml:1:32: there is no module `quux`
  depends = ["net/snmp", "zlib", "quux"]
                                 ^^^^^^
  help: it would be in `modules/quux.toml`
"#,
    );
}

#[test]
fn module_named_outside() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"depends = ["../x"]
[build]
kind = "group"
"#,
        )],
        &[],
        r#"modules/a.toml:1:12: `../x` cannot be a module
  depends = ["../x"]
             ^^^^^^
  help: no part of a module name begins with a dot or a dash
"#,
    );
}

#[test]
fn cycle() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"depends = ["b"]
[build]
kind = "group"
"#,
            ),
            (
                "modules/b.toml",
                r#"depends = ["c"]
[build]
kind = "group"
"#,
            ),
            (
                "modules/c.toml",
                r#"depends = ["d", "a"]
[build]
kind = "group"
"#,
            ),
            ("modules/d.toml", GROUP),
        ],
        &[],
        r#"modules/a.toml:1:12: modules depend on each other in a cycle: a -> b -> c -> a
  depends = ["b"]
             ^^^ `a` needs `b`
  modules/b.toml:1:12: `b` needs `c`
    depends = ["c"]
               ^^^
  modules/c.toml:1:17: `c` needs `a`
    depends = ["d", "a"]
                    ^^^
  help: take one of these out, or split a module in two
"#,
    );
}

#[test]
fn two_cycles() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"depends = ["b"]
[build]
kind = "group"
"#,
            ),
            (
                "modules/b.toml",
                r#"depends = ["a"]
[build]
kind = "group"
"#,
            ),
            (
                "modules/x.toml",
                r#"depends = ["y"]
[build]
kind = "group"
"#,
            ),
            (
                "modules/y.toml",
                r#"depends = ["x", "a"]
[build]
kind = "group"
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:1:12: modules depend on each other in a cycle: a -> b -> a
  depends = ["b"]
             ^^^ `a` needs `b`
  modules/b.toml:1:12: `b` needs `a`
    depends = ["a"]
               ^^^
  help: take one of these out, or split a module in two

modules/x.toml:1:12: modules depend on each other in a cycle: x -> y -> x
  depends = ["y"]
             ^^^ `x` needs `y`
  modules/y.toml:1:12: `y` needs `x`
    depends = ["x", "a"]
               ^^^
  help: take one of these out, or split a module in two
"#,
    );
}

#[test]
fn depends_on_itself() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"depends = ["a"]
[build]
kind = "group"
"#,
        )],
        &[],
        r#"modules/a.toml:1:12: `a` depends on itself
  depends = ["a"]
             ^^^
  help: leave it out
"#,
    );
}

#[test]
fn depends_twice() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"depends = ["b", "c", "b"]
[build]
kind = "group"
"#,
            ),
            ("modules/b.toml", GROUP),
            ("modules/c.toml", GROUP),
        ],
        &[],
        r#"modules/a.toml:1:22: `b` is named twice
  depends = ["b", "c", "b"]
                       ^^^
  modules/a.toml:1:12: first here
    depends = ["b", "c", "b"]
               ^^^
  help: leave one of them out
"#,
    );
}

#[test]
fn default_targets() {
    refused(
        r#"[project]
name = "p"
default = ["aa", "b"]
"#,
        &[("modules/a.toml", GROUP)],
        &[],
        r#"ashlar.toml:3:12: there is no module `aa`
  default = ["aa", "b"]
             ^^^^
  help: did you mean `a`?

ashlar.toml:3:18: there is no module `b`
  default = ["aa", "b"]
                   ^^^
  help: it would be in `modules/b.toml`
"#,
    );
}

#[test]
fn empty_default() {
    refused(
        r#"[project]
name = "p"
default = []
"#,
        &[("modules/a.toml", GROUP)],
        &[],
        r#"ashlar.toml:3:11: `default` names no module
  default = []
            ^^
  help: name a module, or leave `default` out to build all of them
"#,
    );
}

#[test]
fn unknown_base() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"base = "debain"
[build]
kind = "script"
steps = ["true"]
"#,
            ),
            (
                "modules/b.toml",
                r#"base = "alpine"
[build]
kind = "script"
steps = ["true"]
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:1:8: there is no base `debain`
  base = "debain"
         ^^^^^^^^
  help: did you mean `debian`?

modules/b.toml:1:8: there is no base `alpine`
  base = "alpine"
         ^^^^^^^^
  help: declared are `debian`
"#,
    );
}

#[test]
fn no_base_declared() {
    refused(
        "[project]\nname = \"p\"\n",
        &[("modules/a.toml", SCRIPT)],
        &[],
        r#"modules/a.toml:2:8: there is no base to build on
  kind = "script"
         ^^^^^^^^
  help: declare one in `ashlar.toml`, for instance `[base.debian]` with `suite = "bookworm"`
"#,
    );
}

#[test]
fn base_left_open() {
    refused(
        r#"[project]
name = "p"
[base.debian]
suite = "bookworm"
[options.debug]
type = "bool"
[options.level]
type = "enum"
values = ["low", "high"]
[base.busybox]
path = "rootfs"
"#,
        &[("modules/a.toml", SCRIPT)],
        &[],
        r#"modules/a.toml:2:8: the project has several bases, and this module names none
  kind = "script"
         ^^^^^^^^
  help: write `base = "…"` at its top (`busybox` and `debian`), or call one of them `default`
"#,
    );
}

#[test]
fn unknown_option() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"uses = ["debgu", "tracing"]
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:9: there is no option `debgu`
  uses = ["debgu", "tracing"]
          ^^^^^^^
  help: did you mean `debug`?

modules/a.toml:1:18: there is no option `tracing`
  uses = ["debgu", "tracing"]
                   ^^^^^^^^^
  help: declare it in `ashlar.toml`: `[options.NAME]` with a `type`
"#,
    );
}

/// The walk comes to `c` first, and still the cycle is told from its first module.
#[test]
fn cycle_entered_in_the_middle() {
    let needs = |other: &str| format!("depends = [\"{other}\"]\n{GROUP}");
    refused(
        PROJECT,
        &[
            ("modules/a.toml", &needs("c")),
            ("modules/b.toml", &needs("c")),
            ("modules/c.toml", &needs("b")),
        ],
        &[],
        r#"modules/b.toml:1:12: modules depend on each other in a cycle: b -> c -> b
  depends = ["c"]
             ^^^ `b` needs `c`
  modules/c.toml:1:12: `c` needs `b`
    depends = ["b"]
               ^^^
  help: take one of these out, or split a module in two
"#,
    );
}
