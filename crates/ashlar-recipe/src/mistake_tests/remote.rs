//! `[[remote]]`.

use super::{files, refused};
use crate::{Layout, Remote, Token, Write, load};

fn with(remotes: &str) -> String {
    format!("[project]\nname = \"p\"\n{remotes}")
}

#[test]
fn all_keys_in_their_order() {
    let text = with(
        r#"[[remote]]
name = "near"
url = "dir:/srv/cache"
write = true
[[remote]]
name = "team"
url = "oci://127.0.0.1:5000/firmware/all"
write = "clean"
write_branches = ["main", "release/*"]
read = false
ca = "/etc/ca.pem"
certificate = "client.pem"
key = "client.key"
token_env = "TEAM_TOKEN"
require_signature = ["keys/one.pub", "/keys/two.pub"]
sign = "~/sign.key"
timeout = "1m30s"
[[remote]]
name = "bazel"
url = "http://cache.example:8080/x"
layout = "bazel"
insecure = true
token_file = "token"
[[remote]]
name = "bucket"
url = "s3://bucket/some/prefix"
endpoint = "http://127.0.0.1:3900"
region = "garage"
[[remote]]
name = "farm"
url = "reapi://[::1]:8980/some/instance"
"#,
    );
    let project = load(&files(&text, &[]), &[]).unwrap();
    let expected = [
        Remote { write: Write::Yes, ..Remote::new("near", "dir:/srv/cache") },
        Remote {
            read: false,
            write: Write::Clean,
            write_branches: vec!["main".to_owned(), "release/*".to_owned()],
            ca: Some("/etc/ca.pem".into()),
            certificate: Some(("client.pem".into(), "client.key".into())),
            token: Some(Token::Env("TEAM_TOKEN".to_owned())),
            require_signature: vec!["keys/one.pub".into(), "/keys/two.pub".into()],
            sign: Some("~/sign.key".into()),
            timeout: std::time::Duration::from_secs(90),
            ..Remote::new("team", "oci://127.0.0.1:5000/firmware/all")
        },
        Remote {
            layout: Layout::Bazel,
            insecure: true,
            token: Some(Token::File("token".into())),
            ..Remote::new("bazel", "http://cache.example:8080/x")
        },
        Remote {
            endpoint: Some("http://127.0.0.1:3900".to_owned()),
            region: Some("garage".to_owned()),
            ..Remote::new("bucket", "s3://bucket/some/prefix")
        },
        Remote::new("farm", "reapi://[::1]:8980/some/instance"),
    ];
    assert_eq!(project.remotes, expected);
}

#[test]
fn credentials_are_refused_and_not_shown() {
    let text = with(
        r#"[[remote]]
name = "one"
url = "https://me:hunter2@cache.example/x"
[[remote]]
name = "two"
url = "https://cache.example/x?token=hunter2"
[[remote]]
name = "three"
url = "reapis://cache.example:443"
token = "hunter2"
[[remote]]
name = "four"
url = "oci://cache.example/x"
token_env = "hunter2 hunter2"
[[remote]]
name = "five"
url = "s3://bucket"
endpoint = "https://me:hunter2@cache.example"
"#,
    );
    let problems = load(&files(&text, &[]), &[]).unwrap_err();
    let shown = problems.render_plain();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn branches_that_write() {
    let wrong = |lines: &str| {
        let text = with(&format!("[[remote]]\nname = \"a\"\nurl = \"dir:/srv\"\n{lines}\n"));
        load(&files(&text, &[]), &[]).unwrap_err().render_plain()
    };
    let clean = "write = \"clean\"\n";
    for (lines, place, what) in [
        ("write_branches = [\"main\"]".to_owned(), "ashlar.toml:6:", "is not written to"),
        (format!("{clean}write_branches = []"), "ashlar.toml:7:", "names no branch"),
        (format!("{clean}write_branches = [\"main\", \"\"]"), "ashlar.toml:7:27", "is empty"),
        (format!("{clean}write_branches = [\"a b\"]"), "ashlar.toml:7:", "blanks"),
        (
            format!("{clean}write_branches = [\"refs/heads/main\"]"),
            "ashlar.toml:7:",
            "without `refs/heads/`",
        ),
        (format!("{clean}write_branches = \"main\""), "ashlar.toml:7:", "list"),
        (format!("{clean}write_branch = [\"main\"]"), "ashlar.toml:7:", "`write_branches`"),
    ] {
        let shown = wrong(&lines);
        assert!(shown.contains(place) && shown.contains(what), "{place} {what}: {shown}");
    }
}

#[test]
fn names_and_addresses() {
    refused(
        &with(
            r#"[[remote]]
url = "dir:/srv"
[[remote]]
name = "my cache"
url = "dir:/srv"
[[remote]]
name = "local"
url = "dir:/srv"
[[remote]]
name = "a-b"
url = "dir:/srv"
[[remote]]
name = "A_b"
url = "dir:/srv"
[[remote]]
name = "nothing"
[[remote]]
name = "c"
url = "https://me:word@host/x"
[[remote]]
name = "d"
url = "grpcs://host:1"
[[remote]]
name = "e"
url = "oci://host"
[[remote]]
name = "f"
url = "reapi://host/x"
[[remote]]
name = "g"
url = "/srv/cache"
"#,
        ),
        &[],
        &[],
        r#"ashlar.toml:3:1: a remote has no name
  [[remote]]
  ^^^^^^^^^^
  help: write `name = "…"` below `[[remote]]`

ashlar.toml:6:8: `my cache` is not the name of a remote
  name = "my cache"
         ^^^^^^^^^^
  help: letters, digits, `-` and `_`

ashlar.toml:9:8: `local` is what the store of this machine is called
  name = "local"
         ^^^^^^^
  help: choose another name

ashlar.toml:15:8: remotes `a-b` and `A_b` share a variable
  name = "A_b"
         ^^^^^ `ASHLAR_REMOTE_A_B` changes its rights
  ashlar.toml:12:8: `a-b` is here
    name = "a-b"
           ^^^^^
  help: rename one of them

ashlar.toml:18:8: remote `nothing` has no address
  name = "nothing"
         ^^^^^^^^^
  help: write `url = "…"`: dir:PATH, https://…, s3://…, oci://… or reapi://…

ashlar.toml:20:8: the address of remote `c` has credentials in it
  name = "c"
         ^^^
  help: they would be read by everybody who reads the project: use `token_env`, `token_file`, the auth file of the registry, or the variables of the S3 client

ashlar.toml:24:7: the address of remote `d` has no scheme that is known
  url = "grpcs://host:1"
        ^^^^^^^^^^^^^^^^
  help: write `reapis://HOST:PORT`

ashlar.toml:27:7: the address of remote `e` names no repository
  url = "oci://host"
        ^^^^^^^^^^^^
  help: write `oci://HOST[:PORT]/REPOSITORY`

ashlar.toml:30:7: the address of remote `f` names no port
  url = "reapi://host/x"
        ^^^^^^^^^^^^^^^^
  help: write `reapi://HOST:PORT` or `reapi://HOST:PORT/INSTANCE`

ashlar.toml:33:7: the address of remote `g` has no scheme that is known
  url = "/srv/cache"
        ^^^^^^^^^^^^
  help: addresses are dir:PATH, https://…, s3://…, oci://… and reapi://…
"#,
    );
}

#[test]
fn values_and_keys_that_do_not_belong() {
    refused(
        &with(
            r#"[[remote]]
name = "a"
url = "dir:/srv"
write = "true"
endpoint = "http://x"
token_env = "X"
[[remote]]
name = "b"
url = "http://x/y"
layout = "bazle"
sign = "key"
timeout = "soon"
[[remote]]
name = "c"
url = "http://x/y"
layout = "bazel"
require_signature = []
write = "dirty"
certificate = "x.pem"
"#,
        ),
        &[],
        &[],
        r#"ashlar.toml:6:9: `write` must be `false`, `true` or `"clean"`
  write = "true"
          ^^^^^^
  help: write it without quotes

ashlar.toml:7:12: `endpoint` means nothing for this kind of remote
  endpoint = "http://x"
             ^^^^^^^^^^
  help: it is for s3://

ashlar.toml:8:13: `token_env` means nothing for this kind of remote
  token_env = "X"
              ^^^
  help: it is for https://, oci:// and reapis://

ashlar.toml:12:10: unknown layout `bazle` of a remote
  layout = "bazle"
           ^^^^^^^
  help: layouts are `oci` and `bazel`

ashlar.toml:14:11: `soon` is not a time span
  timeout = "soon"
            ^^^^^^
  help: for instance `30s` or `2m`

ashlar.toml:19:21: `require_signature` means nothing for the layout `bazel`
  require_signature = []
                      ^^
  help: signatures stand beside manifests, which it does not have

ashlar.toml:19:21: `require_signature` names no key
  require_signature = []
                      ^^
  help: name the files of public keys, or leave it out to take anything

ashlar.toml:20:9: `write` must be `false`, `true` or `"clean"`
  write = "dirty"
          ^^^^^^^
  help: `clean` lets only results leave whose files are committed

ashlar.toml:21:15: a certificate without its key
  certificate = "x.pem"
                ^^^^^^^
  help: write `key = "FILE"`
"#,
    );
}

#[test]
fn shape_of_a_remote() {
    refused(
        &with("[[remote]]\nname = \"a\"\ntokenenv = \"x\"\ntoken = \"x\"\nread = \"yes\"\n"),
        &[],
        &[],
        r#"ashlar.toml:3:1: `token` does not stand in a project file
  [[remote]]
  ^^^^^^^^^^
  help: everybody reads it: `token_env` names a variable, `token_file` a file

ashlar.toml:5:1: unknown key `tokenenv` in [[remote]]
  tokenenv = "x"
  ^^^^^^^^
  help: did you mean `token_env`?

ashlar.toml:7:8: `read` must be `true` or `false`
  read = "yes"
         ^^^^^ this is a text
"#,
    );
}

#[test]
fn one_table() {
    refused(
        &with("[remote]\nname = \"a\"\n"),
        &[],
        &[],
        r#"ashlar.toml:3:1: `remote` must be a list of tables
  [remote]
  ^^^^^^^^ this is a table
  help: write `[[remote]]`, once for each
"#,
    );
}
