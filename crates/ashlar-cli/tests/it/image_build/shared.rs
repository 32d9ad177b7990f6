//! Several machines: what one finished, another finds.

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;

use super::{Context, outcome};
use crate::support::Ran;

const LINES: &str = "RUN echo one > /one\nRUN echo two > /two\nRUN echo three > /three\n";

#[test]
fn a_failed_build_is_resumed_on_another_machine() {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    let one = Context::new(&LINES.replace("three > /three", "three > /three; exit 1"));
    one.build(&["--remote", &remote, "--require-push"]).exits(1);
    let two = one.elsewhere();
    two.write(LINES);
    let ran = two.build(&["--remote", &remote]).good();
    assert_eq!(outcome(&ran, "one"), "hit");
    assert_eq!(outcome(&ran, "two"), "hit");
    assert_eq!(outcome(&ran, "three"), "built");
    // And a third one builds nothing, and has the same files.
    let three = two.elsewhere();
    let ran = three.build(&["--remote", &remote]).good();
    assert_eq!(ran.summary()["built"], 0);
    assert_eq!(three.file(&[], "two"), "two\n");
    assert_eq!(three.digest(), two.digest());
}

#[test]
fn a_registry_that_is_down_fails_nothing() {
    let context = Context::new(LINES);
    let remote = "team=oci://127.0.0.1:1/images/cache";
    let ran = context.build(&["--remote", remote]).good();
    assert_eq!(outcome(&ran, "three"), "built");
    assert!(ran.err.contains("team") || ran.out.contains("team"), "{}\n{}", ran.err, ran.out);
    context.build(&["--remote", remote, "--require-push", "--rebuild"]).exits(4);
}

#[test]
fn what_could_not_be_sent_goes_with_the_next_build_that_requires_it() {
    let context = Context::new(LINES);
    let place = context.beside("remote");
    let remote = format!("team=dir:{}", place.display());
    // A file is in its place.
    std::fs::write(&place, "").unwrap();
    let ran = context.0.run(&["image", "build", "--remote", &remote, "."]).good();
    let said = "the next build with --require-push sends what is missing";
    assert!(ran.err.contains(said), "{}", ran.err);
    std::fs::remove_file(&place).unwrap();
    // The advice is good: another machine has everything afterwards.
    let ran = context.build(&["--remote", &remote, "--require-push"]).good();
    assert_eq!(ran.summary()["built"], 0);
    let ran = context.elsewhere().build(&["--remote", &remote]).good();
    assert_eq!(ran.summary()["built"], 0);
}

#[test]
fn an_image_at_a_registry_is_the_base_of_another() {
    let registry = docker_registry(&Options::default());
    let reference = format!("{}/base:1", registry.host());
    let base = Context::new("ENV GREETING=hello\nRUN echo base > /base\n");
    base.build(&["--push", &reference]).good();
    let again = base.build(&["--push", &reference]).good().events();
    let image = again.iter().find(|event| event["event"] == "image").unwrap();
    assert_eq!(image["bytes"], 0, "nothing moves a second time");

    let context = Context::new("");
    context
        .0
        .file("Dockerfile", format!("FROM {reference}\nRUN echo $GREETING $(cat /base) > /all\n"));
    assert_eq!(context.file(&[], "all"), "hello base\n");
    // By a digest that it has not, it is refused.
    let wrong = format!("{}@sha256:{}", reference, "0".repeat(64));
    context.0.file("Dockerfile", format!("FROM {wrong}\nRUN true\n"));
    context.build(&[]).exits(2);
}

#[test]
fn others_read_what_is_written() {
    let context = Context::new("RUN echo one > /one && ln /one /two && rm /bin/dd\nUSER 7\n");
    for how in ["gzip", "zstd"] {
        let layout = context.beside(&format!("out/{how}"));
        let output = format!("oci:{}:1", layout.display());
        context.build(&["--output", &output, "--compression", how]).good();
        let copied = context.beside(&format!("{how}.copied"));
        let done = std::process::Command::new("skopeo")
            .args(["copy", "--quiet", &output, &format!("dir:{}", copied.display())])
            .status()
            .expect("skopeo is installed");
        assert!(done.success(), "{how}");
    }
    let archive =
        format!("docker-archive:{}:tools:1", context.beside("made/with/it/tools.tar").display());
    context.build(&["--output", &archive]).good();
    let said = std::process::Command::new("skopeo")
        .args([
            "inspect",
            "--config",
            &format!("docker-archive:{}", context.beside("made/with/it/tools.tar").display()),
        ])
        .output()
        .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(config["config"]["User"], "7");
    // An archive is called by what the image is called, unless it says otherwise.
    let plain = context.beside("plain.tar");
    let output = format!("docker-archive:{}", plain.display());
    context.build(&["--output", &output, "-t", "team/tools:2"]).good();
    let list = std::process::Command::new("tar")
        .args(["-xOf", plain.to_str().unwrap(), "manifest.json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list[0]["RepoTags"][0].as_str().unwrap().ends_with("team/tools:2"), "{list}");
}

#[test]
fn branches_share_what_is_alike_and_only_some_of_them_write() {
    let place = tempfile::tempdir().unwrap();
    let context = Context::new(LINES);
    context.0.file(
        "ashlar.toml",
        format!(
            "[project]\nname = \"p\"\n[[remote]]\nname = \"team\"\nurl = \"dir:{}\"\n\
             write = true\nwrite_branches = [\"main\", \"release/*\"]\n",
            place.path().display()
        ),
    );
    let project = std::fs::read(context.0.root.join("ashlar.toml")).unwrap();
    let on = |context: &Context, branch: &str, args: &[&str]| {
        std::fs::write(context.0.root.join("ashlar.toml"), &project).unwrap();
        let mut command = context.0.command(args);
        Ran::of(&command.env("ASHLAR_BRANCH", branch).output().unwrap())
    };
    let build = ["image", "build", "--json", "."];
    let push = ["image", "build", "--json", "--require-push", "."];
    on(&context, "main", &push).good();

    // Another branch has everything up to what it edits, and leaves nothing, whatever it asks for.
    let topic = context.elsewhere();
    topic.write(&format!("{LINES}RUN echo four > /four\n"));
    let ran = on(&topic, "topic", &build).good();
    assert_eq!((outcome(&ran, "three"), outcome(&ran, "four")), ("hit".into(), "built".into()));
    let asked = ["image", "build", "--require-push", "--remote", "team=readwrite", "."];
    on(&topic, "topic", &asked).exits(2).says(
        "remote team is written to on the branches main, release/* only, and this is topic, says \
         ASHLAR_BRANCH",
    );
    let listed = on(&topic, "topic", &["remote", "list", "--json"]).good().events();
    assert_eq!((&listed[0]["read"], &listed[0]["write"]), (&true.into(), &false.into()));
    assert_eq!(listed[0]["write_branches"][1], "release/*");
    let shown = on(&topic, "pr-7", &["remote", "list"]).good().out;
    assert!(shown.contains("read, written to on main, release/* only"), "{shown}");
    let other = topic.elsewhere();
    let ran = on(&other, "main", &build).good();
    assert_eq!((outcome(&ran, "three"), outcome(&ran, "four")), ("hit".into(), "built".into()));

    // What a branch that may write has left, all have.
    let ran = on(&topic.elsewhere(), "release/1", &build).good();
    assert_eq!(outcome(&ran, "four"), "hit");
}
