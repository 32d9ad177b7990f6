//! Sources.

use super::{PROJECT, refused};

#[test]
fn bad_sha256() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
url = "https://example.org/x.tar.gz"
sha256 = "abc"
"#,
        )],
        &[],
        r#"modules/a.toml:6:10: `abc` is not an SHA-256 sum
  sha256 = "abc"
           ^^^^^
  help: it has 64 hexadecimal digits; `sha256sum FILE` prints it
"#,
    );
}

#[test]
fn url_without_sha256() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
url = "https://example.org/x.tar.gz"
"#,
        )],
        &[],
        r#"modules/a.toml:5:7: the url source has no sha256
  url = "https://example.org/x.tar.gz"
        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  help: write `sha256 = "…"` with the sum that `sha256sum` prints for the file
"#,
    );
}

#[test]
fn bad_url() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
url = "ftp://example.org/x"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
"#,
        )],
        &[],
        r#"modules/a.toml:5:7: `ftp://example.org/x` is not an https://, http:// or file:// address
  url = "ftp://example.org/x"
        ^^^^^^^^^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn short_commit() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
git = "https://example.org/x.git"
commit = "main"
"#,
        )],
        &[],
        r#"modules/a.toml:6:10: `main` is not a full commit id
  commit = "main"
           ^^^^^^
  help: write all 40 (or 64) hexadecimal digits, as `git rev-parse` prints them: branches and tags move, short ids become ambiguous
"#,
    );
}

#[test]
fn git_without_commit() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
git = "https://example.org/x.git"
"#,
        )],
        &[],
        r#"modules/a.toml:5:7: the git source has no commit
  git = "https://example.org/x.git"
        ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  help: write `commit = "…"` with the full id that `git rev-parse` prints
"#,
    );
}

#[test]
fn source_with_two_origins() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
deb = "zlib"
path = "x"
"#,
        )],
        &[],
        r#"modules/a.toml:6:8: the source has both `deb` and `path`
  path = "x"
         ^^^
  modules/a.toml:5:7: `deb` is here
    deb = "zlib"
          ^^^^^^
  help: a second source is a second `[[source]]`
"#,
    );
}

#[test]
fn source_without_origin() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
into = "x"
"#,
        )],
        &[],
        r#"modules/a.toml:4:1: the source does not say where it comes from
  [source]
  ^^^^^^^^
  help: write one of `deb`, `url`, `git` and `path`
"#,
    );
}

#[test]
fn key_of_another_origin() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
deb = "zlib"
sha256 = "x"
"#,
        )],
        &[],
        r#"modules/a.toml:6:10: `sha256` is for `url` sources, and this is a `deb` source
  sha256 = "x"
           ^^^
  help: leave it out
"#,
    );
}

#[test]
fn into_escapes() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[source]
path = "x"
into = "../y"
"#,
        )],
        &[],
        r#"modules/a.toml:6:8: `../y` leads outside with `..`
  into = "../y"
         ^^^^^^
  help: `into` is a folder below `SRCDIR`
"#,
    );
}

#[test]
fn path_escapes() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[[source]]
path = "/etc"
[[source]]
path = "a/../../b"
into = "b"
"#,
        )],
        &[],
        r#"modules/a.toml:5:8: `/etc` is an absolute path
  path = "/etc"
         ^^^^^^
  help: paths are relative to the project

modules/a.toml:7:8: `a/../../b` leads outside with `..`
  path = "a/../../b"
         ^^^^^^^^^^^
  help: paths are relative to the project
"#,
    );
}

#[test]
fn sources_at_one_place() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "script"
steps = ["true"]
[[source]]
path = "x"
[[source]]
path = "y"
into = "."
"#,
        )],
        &[],
        r#"modules/a.toml:8:8: two sources go to the same place
  into = "."
         ^^^
  modules/a.toml:4:1: first here
    [[source]]
    ^^^^^^^^^^
  help: give one of them a folder of its own: `into = "dir"`
"#,
    );
}

#[test]
fn source_needed() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"[build]
kind = "autotools"
"#,
        )],
        &[],
        r#"modules/a.toml:2:8: a module of kind `autotools` needs a source
  kind = "autotools"
         ^^^^^^^^^^^
  help: write `[source]` with `deb`, `url`, `git` or `path`
"#,
    );
}
