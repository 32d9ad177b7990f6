//! Files whose shape is wrong.

use super::{GROUP, PROJECT, refused};

#[test]
fn unknown_key() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"dependss = ["b"]
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:1: unknown key `dependss`
  dependss = ["b"]
  ^^^^^^^^
  help: did you mean `depends`?
"#,
    );
}

#[test]
fn unknown_key_without_a_near_one() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[outputs]
qqqqqq = 1
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:2:1: unknown key `qqqqqq` in [outputs]
  qqqqqq = 1
  ^^^^^^
  help: known are: expect, overlap, main, derived, extra
"#,
    );
}

#[test]
fn key_of_another_table() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"kind = "script"
[build]
depends = ["b"]
[outputs]
timeout = "3s"
"#,
        )],
        &[],
        r#"modules/a.toml:1:1: unknown key `kind`
  kind = "script"
  ^^^^
  help: `kind` belongs in `[build]`

modules/a.toml:3:1: unknown key `depends` in [build]
  depends = ["b"]
  ^^^^^^^
  help: `depends` stands at the top of the file, above the first `[table]`

modules/a.toml:5:1: unknown key `timeout` in [outputs]
  timeout = "3s"
  ^^^^^^^
  help: `timeout` belongs in `[build]`
"#,
    );
}

#[test]
fn several_problems_at_once() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"base = 3
tools = "flex"
[build]
kind = ["a"]
steps = "x"
[source]
unpack = "true"
strip = -1
"#,
        )],
        &[],
        r#"modules/a.toml:1:8: `base` must be a text
  base = 3
         ^ this is a number
  help: write it in quotes: "3"

modules/a.toml:2:9: `tools` must be a list of texts
  tools = "flex"
          ^^^^^^ this is a text
  help: write it in brackets: ["…"]

modules/a.toml:4:8: `kind` must be a text
  kind = ["a"]
         ^^^^^ this is a list
  help: write a text, without the brackets

modules/a.toml:5:9: `steps` must be a list of texts
  steps = "x"
          ^^^ this is a text
  help: write it in brackets: ["…"]

modules/a.toml:7:10: `unpack` must be `true` or `false`
  unpack = "true"
           ^^^^^^ this is a text
  help: write it without quotes

modules/a.toml:8:9: `strip` must be a number from 0 to 99
  strip = -1
          ^^ this is a number
"#,
    );
}

#[test]
fn table_expected() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"source = "x"
build = 1
env = ["A"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:10: `source` must be a table
  source = "x"
           ^^^ this is a text
  help: write `[source]` on a line of its own, its keys below

modules/a.toml:2:9: `build` must be a table
  build = 1
          ^ this is a number
  help: write `[build]` on a line of its own, its keys below

modules/a.toml:3:7: `env` must be a table
  env = ["A"]
        ^^^^^ this is a list
  help: write `[env]` on a line of its own, its keys below
"#,
    );
}

#[test]
fn wrong_type_in_a_list() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"depends = ["b", 3, true]
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:17: `depends` must be a list of texts
  depends = ["b", 3, true]
                  ^ this is a number
  help: write it in quotes: "3"

modules/a.toml:1:20: `depends` must be a list of texts
  depends = ["b", 3, true]
                     ^^^^ this is `true` or `false`
  help: write it in quotes: "true"
"#,
    );
}

#[test]
fn syntax() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"base = debian
"#,
        )],
        &[],
        r#"modules/a.toml:1:8: this is not TOML: string values must be quoted, expected literal string
  base = debian
         ^^^^^^
  help: texts stand in quotes: `key = "text"`
"#,
    );
}

#[test]
fn unfinished() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"depends = ["b"
[build]
kind = "script"
"#,
        )],
        &[],
        r#"modules/a.toml:2:1: this is not TOML: missing comma between array elements, expected `,`
  [build]
  ^
"#,
    );
}

#[test]
fn duplicate_key() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"base = "a"
base = "b"
"#,
        )],
        &[],
        r#"modules/a.toml:2:1: this is not TOML: duplicate key
  base = "b"
  ^^^^
  help: a key, and a table, stands once in a file
"#,
    );
}

#[test]
fn duplicate_table() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "group"
[build]
"#,
        )],
        &[],
        r#"modules/a.toml:3:2: this is not TOML: duplicate key
  [build]
   ^^^^^
  help: a key, and a table, stands once in a file
"#,
    );
}

#[test]
fn nul_character() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"description = "a\u0000b"
[build]
kind = "script"
steps = ["true"]
"#,
        )],
        &[],
        r#"modules/a.toml:1:15: `description` contains a NUL character
  description = "a\u0000b"
                ^^^^^^^^^^
"#,
    );
}

#[test]
fn step_with_an_unknown_key() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = [{ nam = "x", run = "true" }]
"#,
        )],
        &[],
        r#"modules/a.toml:3:12: unknown key `nam` in steps
  steps = [{ nam = "x", run = "true" }]
             ^^^
  help: did you mean `name`?
"#,
    );
}

#[test]
fn project_key() {
    refused(
        r#"[project]
nam = "x"
[bases.debian]
[base.x]
suit = "y"
[options.o]
typ = "bool"
"#,
        &[],
        &[],
        r#"ashlar.toml:2:1: unknown key `nam` in [project]
  nam = "x"
  ^^^
  help: did you mean `name`?

ashlar.toml:3:2: unknown key `bases`
  [bases.debian]
   ^^^^^
  help: did you mean `base`?

ashlar.toml:5:1: unknown key `suit` in [base.NAME]
  suit = "y"
  ^^^^
  help: did you mean `suite`?

ashlar.toml:7:1: unknown key `typ` in [options.NAME]
  typ = "bool"
  ^^^
  help: did you mean `type`?
"#,
    );
}

#[test]
fn odd_file_names() {
    refused(
        PROJECT,
        &[
            ("modules/../x.toml", GROUP),
            ("modules/.hidden.toml", GROUP),
            ("modules/a b.toml", GROUP),
            ("modules/c\n.toml", GROUP),
        ],
        &[],
        r#"`modules/../x.toml` cannot be a module
  help: no part of a module name begins with a dot or a dash; rename the file, or move it out of `modules/`

`modules/.hidden.toml` cannot be a module
  help: no part of a module name begins with a dot or a dash; rename the file, or move it out of `modules/`

`modules/a b.toml` cannot be a module
  help: a module name has letters, digits, `.`, `_`, `+`, `-` and `/` only; rename the file, or move it out of `modules/`

`modules/c\n.toml` cannot be a module
  help: a module name has letters, digits, `.`, `_`, `+`, `-` and `/` only; rename the file, or move it out of `modules/`
"#,
    );
}
