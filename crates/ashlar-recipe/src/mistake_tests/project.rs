//! The project file and `--option`.

use super::{PROJECT, refused};

#[test]
fn project_without_name() {
    refused(
        "[env]\n",
        &[],
        &[],
        r#"ashlar.toml:1:1: the project has no name
  [env]
  ^
  help: write `[project]` and below it `name = "…"`
"#,
    );
}

#[test]
fn bad_project_name() {
    refused(
        "[project]\nname = \"my project\"\n",
        &[],
        &[],
        r#"ashlar.toml:2:8: `my project` is not a plain name
  name = "my project"
         ^^^^^^^^^^^^
  help: letters, digits, `.`, `_`, `+` and `-`, a letter or digit first
"#,
    );
}

#[test]
fn bad_options() {
    refused(
        r#"[project]
name = "p"
[options.a]
[options.b]
type = "boolean"
[options.c]
type = "bool"
default = "true"
[options.d]
type = "enum"
[options.e]
type = "enum"
values = ["x", "y"]
default = "z"
[options.f]
type = "string"
default = true
[options.g]
type = "bool"
values = ["x"]
[options.with-x]
type = "bool"
[options.with_x]
type = "bool"
[options."a b"]
type = "bool"
"#,
        &[],
        &[],
        r#"ashlar.toml:3:10: option `a` has no type
  [options.a]
           ^
  help: write `type = "bool"`, `"enum"` or `"string"`

ashlar.toml:5:8: unknown type `boolean` of an option
  type = "boolean"
         ^^^^^^^^^
  help: types are `bool`, `enum` and `string`

ashlar.toml:8:11: the default of `c` must be `true` or `false`
  default = "true"
            ^^^^^^
  help: write it without quotes

ashlar.toml:10:8: option `d` is an enum without values
  type = "enum"
         ^^^^^^
  help: write `values = ["…", "…"]`

ashlar.toml:14:11: the default of `e` is not one of its values
  default = "z"
            ^^^
  help: values are `x` and `y`

ashlar.toml:17:11: the default of `f` must be a text
  default = true
            ^^^^
  help: write `"true"`, or `type = "bool"`

ashlar.toml:20:10: an option of type `bool` has no values
  values = ["x"]
           ^^^^^
  help: write `type = "enum"`, or leave `values` out

ashlar.toml:23:10: options `with-x` and `with_x` share a variable
  [options.with_x]
           ^^^^^^ steps see both as `OPTION_WITH_X`
  ashlar.toml:21:10: `with-x` is declared here
    [options.with-x]
             ^^^^^^
  help: rename one of them

ashlar.toml:25:10: `a b` is not a plain name
  [options."a b"]
           ^^^^^
  help: letters, digits, `.`, `_`, `+` and `-`, a letter or digit first
"#,
    );
}

#[test]
fn bad_bases() {
    refused(
        r#"[project]
name = "p"
[base.a]
[base.b]
suite = "x"
host = true
[base.c]
path = "/x"
[base.d]
archive = "../x"
packages = ["x"]
[base.e]
suite = "a b"
packages = ["-x"]
"#,
        &[],
        &[],
        r#"ashlar.toml:3:7: base `a` says nothing about where it comes from
  [base.a]
        ^
  help: write one of `suite`, `path`, `archive` or `host = true`

ashlar.toml:6:8: base `b` has both `suite` and `host`
  host = true
         ^^^^
  ashlar.toml:5:9: `suite` is here
    suite = "x"
            ^^^
  help: a base comes from one place

ashlar.toml:8:8: `/x` is an absolute path
  path = "/x"
         ^^^^
  help: paths are relative to the project

ashlar.toml:10:11: `../x` leads outside with `..`
  archive = "../x"
            ^^^^^^
  help: paths are relative to the project

ashlar.toml:11:12: `packages` is for Debian bases only
  packages = ["x"]
             ^^^^^
  help: a Debian base has a `suite`

ashlar.toml:13:9: `a b` is not a plain word
  suite = "a b"
          ^^^^^
  help: for instance `bookworm`

ashlar.toml:14:13: `-x` is not the name of a Debian package
  packages = ["-x"]
              ^^^^
"#,
    );
}

#[test]
fn bad_option_values() {
    refused(
        PROJECT,
        &[],
        &[("debug", "maybe"), ("level", "mid"), ("levle", "low"), ("quux", "x")],
        r#"`--option debug=maybe`: there is no such value
  help: values are `true` and `false`

`--option level=mid`: there is no such value
  help: values are `low` and `high`

`--option levle=low`: there is no such option
  help: did you mean `level`?

`--option quux=x`: there is no such option
  help: declared are `debug` and `level`
"#,
    );
}
