//! `ashlar-cache.toml`.

use crate::{Cache, CacheLayer, Problems, parse_cache};

fn read(text: &str) -> Result<Cache, Problems> {
    parse_cache("ashlar-cache.toml", text.as_bytes())
}

fn refused(text: &str, expected: &str) {
    assert_eq!(read(text).unwrap_err().render_plain(), expected);
}

#[test]
fn all_keys_with_layers_in_the_order_of_the_file() {
    let cache = read(
        r#"version = "2"
[layer.modules]
key = ["modules/**", "!modules/**/*.md"]
paths = ["packages", "build"]
env = ["CC", "ARCH", "CC"]
[layer.coreboot]
key = ["modules/coreboot*"]
paths = ["build/*/coreboot-*"]
[layer.a]
key = ["x"]
paths = ["y"]
[scope]
read = ["branch:${branch}", "branch:${base}", "main"]
write = "branch:${branch}"
"#,
    )
    .unwrap();
    let names: Vec<&str> = cache.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["modules", "coreboot", "a"]);
    assert_eq!(
        cache.layer("modules"),
        Some(&CacheLayer {
            name: "modules".to_owned(),
            key: vec!["modules/**".to_owned(), "!modules/**/*.md".to_owned()],
            paths: vec!["packages".to_owned(), "build".to_owned()],
            env: vec!["ARCH".to_owned(), "CC".to_owned()],
        })
    );
    assert_eq!(cache.version, "2");
    let scopes = |branch, base| -> Vec<Option<String>> {
        cache.scope.read.iter().map(|name| name.of(branch, base)).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let both = scopes(Some("pr-5"), Some("main"));
    assert_eq!(both, [text("branch:pr-5"), text("branch:main"), text("main")]);
    assert_eq!(scopes(None, None), [None, None, text("main")]);
    assert_eq!(cache.scope.write.of(Some("x"), None), text("branch:x"));
    assert_eq!(cache.scope.write.written(), "branch:${branch}");
}

#[test]
fn without_scopes_there_is_one() {
    let cache = read("[layer.a]\nkey = [\"x\"]\npaths = [\"y\"]\n").unwrap();
    assert_eq!(cache.scope.write.of(None, None).as_deref(), Some("all"));
    assert_eq!(cache.scope.read, [cache.scope.write]);
}

#[test]
fn layers_lack_something() {
    refused(
        "",
        "ashlar-cache.toml:1:1: there is no layer\n  help: write `[layer.NAME]`, and below it `key = [\"…\"]` and `paths = [\"…\"]`\n",
    );
    refused(
        "[layer.a]\nkey = []\n",
        "ashlar-cache.toml:1:8: layer `a` has no key\n  [layer.a]\n         ^\n  help: write `key = [\"…\"]`: globs of the files that decide what is in it\n\nashlar-cache.toml:1:8: layer `a` keeps nothing\n  [layer.a]\n         ^\n  help: write `paths = [\"…\"]`: the folders that are kept\n",
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    refused(
        "[layer.a]\nkeys = [\"x\"]\nkey = [\"x\"]\npaths = [\"y\"]\n",
        "ashlar-cache.toml:2:1: unknown key `keys` in [layer.NAME]\n  keys = [\"x\"]\n  ^^^^\n  help: did you mean `key`?\n",
    );
    refused(
        "[layers.a]\nkey = [\"x\"]\n",
        "ashlar-cache.toml:1:2: unknown key `layers`\n  [layers.a]\n   ^^^^^^\n  help: did you mean `layer`?\n",
    );
}

#[test]
fn globs_that_cannot_be_meant() {
    let with = |paths: &str| format!("[layer.a]\nkey = [\"x\"]\npaths = [{paths}]\n");
    refused(
        &with("\"/build\", \"../x\""),
        "ashlar-cache.toml:3:10: `/build` is an absolute path\n  paths = [\"/build\", \"../x\"]\n           ^^^^^^^^\n  help: paths are relative to the folder of this file\n\nashlar-cache.toml:3:20: `../x` leads outside with `..`\n  paths = [\"/build\", \"../x\"]\n                     ^^^^^^\n  help: it is a glob of paths: `*`, `**`, `?`, `[a-z]`, `{a,b}`\n",
    );
    refused(
        &with("\"**\""),
        "ashlar-cache.toml:3:10: `**` names the whole workspace\n  paths = [\"**\"]\n           ^^^^\n  help: name the folders that are meant\n",
    );
    refused(
        &with("\"!x\", \"y\""),
        "ashlar-cache.toml:3:10: there is nothing yet that `!x` could take back\n  paths = [\"!x\", \"y\"]\n           ^^^^\n  help: a glob after `!` takes back what those before matched\n",
    );
}

#[test]
fn scopes_that_cannot_be_meant() {
    let with = |scope: &str| format!("[layer.a]\nkey = [\"x\"]\npaths = [\"y\"]\n[scope]\n{scope}");
    refused(
        &with("read = [\"${brnch}\"]\nwrite = \"${branch\"\n"),
        "ashlar-cache.toml:5:9: `${brnch}` is not known\n  read = [\"${brnch}\"]\n          ^^^^^^^^^^\n  help: did you mean `${branch}`?\n\nashlar-cache.toml:6:9: `${branch` has a `${` without `}`\n  write = \"${branch\"\n          ^^^^^^^^^^\n  help: write `${branch}` or `${base}`\n",
    );
    refused(
        &with(""),
        "ashlar-cache.toml:4:1: `[scope]` does not say where to look\n  [scope]\n  ^^^^^^^\n  help: write `read = [\"branch:${branch}\", \"branch:main\"]`\n\nashlar-cache.toml:4:1: `[scope]` does not say where to keep what is saved\n  [scope]\n  ^^^^^^^\n  help: write `write = \"branch:${branch}\"`\n",
    );
}
