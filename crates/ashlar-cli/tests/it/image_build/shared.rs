//! Several machines: what one finished, another finds.

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;

use super::{Context, outcome};

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
        let layout = context.beside(how);
        let output = format!("oci:{}:1", layout.display());
        context.build(&["--output", &output, "--compression", how]).good();
        let copied = context.beside(&format!("{how}.copied"));
        let done = std::process::Command::new("skopeo")
            .args(["copy", "--quiet", &output, &format!("dir:{}", copied.display())])
            .status()
            .expect("skopeo is installed");
        assert!(done.success(), "{how}");
    }
    let archive = format!("docker-archive:{}:tools:1", context.beside("tools.tar").display());
    context.build(&["--output", &archive]).good();
    let said = std::process::Command::new("skopeo")
        .args([
            "inspect",
            "--config",
            &format!("docker-archive:{}", context.beside("tools.tar").display()),
        ])
        .output()
        .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(config["config"]["User"], "7");
}
