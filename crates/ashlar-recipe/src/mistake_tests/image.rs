//! Modules that are images.

use super::{GROUP, PROJECT, SCRIPT, refused};

#[test]
fn what_an_image_says() {
    refused(
        PROJECT,
        &[
            (
                "modules/a.toml",
                r#"[build]
kind = "image"
dockerfile = "../Dockerfile"
network = "defualt"
args = { "1" = "x" }
target = ""
"#,
            ),
            (
                "modules/b.toml",
                r#"[build]
kind = "image"
context = "/b"
steps = ["x"]
timeout = "1m"
"#,
            ),
        ],
        &[],
        r#"modules/a.toml:2:8: the image does not say where its files are
  kind = "image"
         ^^^^^^^
  help: write `context = "…"`: the folder that COPY and ADD read from

modules/a.toml:4:11: there is no network `defualt`
  network = "defualt"
            ^^^^^^^^^
  help: did you mean `default`?

modules/a.toml:5:10: `1` is not the name of a variable
  args = { "1" = "x" }
           ^^^
  help: letters, digits and `_`, and no digit first

modules/a.toml:6:10: `target` is empty
  target = ""
           ^^
  help: name a stage, or leave it out

modules/b.toml:3:11: `/b` is an absolute path
  context = "/b"
            ^^^^
  help: it is a path below the folder of `ashlar.toml`

modules/b.toml:4:9: a module of kind `image` has no `steps`
  steps = ["x"]
          ^^^^^
  help: what is run stands in its Dockerfile

modules/b.toml:5:11: a module of kind `image` has no `timeout`
  timeout = "1m"
            ^^^^
  help: what is run stands in its Dockerfile
"#,
    );
}

#[test]
fn what_an_image_has_no_use_for() {
    refused(
        PROJECT,
        &[(
            "modules/a.toml",
            r#"base = "debian"
tools = ["flex"]
env = { A = "b" }
[source]
path = "a"
[build]
kind = "image"
context = "a"
"#,
        )],
        &[],
        r#"modules/a.toml:1:8: a module of kind `image` has no `base`
  base = "debian"
         ^^^^^^^^
  help: its Dockerfile says what it begins with

modules/a.toml:2:10: a module of kind `image` has no `tools`
  tools = ["flex"]
           ^^^^^^
  help: an image has only `description`, `depends`, `salt` and `[build]`

modules/a.toml:3:9: a module of kind `image` has no `env`
  env = { A = "b" }
          ^
  help: values for its ARGs stand in `args` of `[build]`

modules/a.toml:4:1: a module of kind `image` has no `source`
  [source]
  ^^^^^^^^
  help: `context` names the folder of its files; what comes from elsewhere is a module of its own, for `COPY --from=module:NAME`
"#,
    );
}

#[test]
fn keys_of_images_elsewhere() {
    refused(
        PROJECT,
        &[("modules/a.toml", &format!("{SCRIPT}context = \"a\"\nargs = {{ A = \"b\" }}\n"))],
        &[],
        r#"modules/a.toml:4:11: `context` is for modules of kind `image`
  context = "a"
            ^^^
  help: leave it out

modules/a.toml:5:10: `args` is for modules of kind `image`
  args = { A = "b" }
           ^
  help: leave it out
"#,
    );
}

#[test]
fn only_images_and_groups_depend_on_images() {
    const IMAGE: &str = "[build]\nkind = \"image\"\ncontext = \"a\"\n";
    refused(
        PROJECT,
        &[
            ("modules/all.toml", &format!("depends = [\"image\"]\n{GROUP}")),
            ("modules/image.toml", IMAGE),
            ("modules/over.toml", &format!("depends = [\"all\"]\n{IMAGE}")),
            ("modules/user.toml", &format!("depends = [\"all\"]\n{SCRIPT}")),
        ],
        &[],
        r#"modules/user.toml:1:12: `image` is an image, and `user` is none
  depends = ["all"]
             ^^^^^
  help: leave it out: only images and groups depend on images
"#,
    );
}
