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

/// Six pieces of work, one after another, of which each is done once. The time has the command
/// begin one more: what was stopped in the middle is done again.
const PIECES: &str = "RUN --mount=type=checkpoint,target=/work \
    cd /work; for n in 1 2 3 4 5 6; do [ -e $n ] || { sleep 1; touch $n; echo $n >> order; }; \
    done; cp order /order\n";

#[test]
fn what_does_not_fit_into_the_time_comes_to_an_end_on_ever_new_machines() {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    let mut machine = Context::new(PIECES);
    let mut runs = 1;
    while machine.build(&["--remote", &remote, "--budget", "3s", "--grace", "1"]).code == 5 {
        runs += 1;
        assert!(runs < 7, "it never ends");
        machine = machine.elsewhere();
    }
    assert!(runs > 1, "it was never stopped");
    assert_eq!(machine.file(&[], "order"), "1\n2\n3\n4\n5\n6\n");
    // What was left on the way is a result of nothing.
    let next = machine.elsewhere();
    next.write(&PIECES.replace("cp order", "cat order; cp order"));
    let ran = next.build(&["--remote", &remote, "--budget", "2s", "--grace", "1"]).exits(5);
    assert_eq!(outcome(&ran, "cat order"), "skipped");
}

#[test]
fn what_fails_after_it_went_on_begins_anew() {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    let context = Context::new(
        "RUN --mount=type=checkpoint,target=/work --mount=type=cache,target=/seen \
         cd /work; ls >> /seen/list; echo -- >> /seen/list; [ ! -e half ]; touch half; exit 3\n",
    );
    for _ in 0..3 {
        context.build(&["--remote", &remote]).exits(1);
    }
    let caches = std::fs::read_dir(context.0.store.join("caches")).unwrap().flatten();
    let lists = caches.map(|folder| std::fs::read_to_string(folder.path().join("list")).unwrap());
    assert_eq!(lists.collect::<String>(), "--\nhalf\n--\n--\n");
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
