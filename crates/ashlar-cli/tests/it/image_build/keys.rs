//! What is in keys and what is not.

use ashlar_testbed::nginx::Options;
use ashlar_testbed::nginx_dav;

use super::{Context, outcome};

const LINES: &str =
    "COPY in /in\nRUN cat /in/* > /all\nRUN wc -c < /all > /size || cat /all > /size\n";

fn context() -> Context {
    let context = Context::new(LINES);
    context.0.file("in/a", "a\n");
    context.0.file("in/b", "b\n");
    context
}

#[test]
fn two_fresh_machines_make_the_same_image_under_the_same_keys() {
    let one = context();
    let two = one.elsewhere();
    assert_eq!(one.digest(), two.digest());
    let keys = |context: &Context| -> Vec<String> {
        let events = context.build(&[]).good().events();
        let steps = events.iter().filter(|event| event["event"] == "step");
        let mut keys: Vec<_> = steps.map(|step| step["step_key"].to_string()).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&one), keys(&two));
}

#[test]
fn equal_content_cuts_off_what_follows() {
    let context = context();
    context.write("COPY in /in\nRUN cat /in/* > /all; rm -r /in\nRUN touch /last\n");
    context.build(&[]).good();
    // The file moves; what the command leaves is the same.
    std::fs::rename(context.0.root.join("in/b"), context.0.root.join("in/c")).unwrap();
    let ran = context.build(&[]).good();
    assert_eq!(outcome(&ran, "COPY in"), "built");
    assert_eq!(outcome(&ran, "rm -r /in"), "built");
    assert_eq!(outcome(&ran, "/last"), "cutoff");
}

#[test]
fn an_edit_in_the_middle_does_again_only_what_follows() {
    let context = context();
    context.build(&[]).good();
    context.write(&LINES.replace("cat /in/* > /all", "cat /in/* /in/* > /all"));
    let ran = context.build(&[]).good();
    assert_eq!(outcome(&ran, "COPY in"), "hit");
    assert_eq!(outcome(&ran, "/in/* /in/*"), "built");
    assert_eq!(outcome(&ran, "/size"), "built");
    // Back again, nothing is done.
    context.write(LINES);
    assert_eq!(context.build(&[]).good().summary()["built"], 0);
}

#[test]
fn what_a_command_cannot_see_is_not_in_its_key() {
    let context = context();
    context.write("ARG LATE=1\nCOPY in /in\nRUN cat /in/* > /all\n");
    context.build(&[]).good();
    // Comments, names of stages, labels and what is not copied.
    context.write("# new\nCOPY in /in\nLABEL a=b\nRUN cat /in/* > /all\n");
    context.0.file("elsewhere", "x");
    assert_eq!(context.build(&[]).good().summary()["built"], 1, "the argument is seen no more");
    context.write("COPY in /in\nLABEL a=c\nRUN cat /in/* > /all\nCMD [\"x\"]\n");
    assert_eq!(context.build(&[]).good().summary()["built"], 0);
    // A mode is content.
    context.0.chmod("in/a", 0o600);
    assert_eq!(outcome(&context.build(&[]).good(), "COPY in"), "built");
}

#[test]
fn arguments_and_variables_that_are_seen_are_in_the_key() {
    let context = Context::new("ARG A=1\nENV B=2\nRUN echo $A $B > /ab\n");
    assert_eq!(context.file(&[], "ab"), "1 2\n");
    assert_eq!(context.file(&["--build-arg", "A=3"], "ab"), "3 2\n");
    assert_eq!(context.file(&[], "ab"), "1 2\n");
    let ran = context.build(&["--build-arg", "A=3"]).good();
    assert_eq!(ran.summary()["built"], 0);
}

#[test]
fn stages_that_are_not_needed_are_not_built() {
    let context = Context::new(
        "FROM system AS not\nRUN exit 1\nFROM system AS one\nRUN echo 1 > /n\n\
         FROM system\nCOPY --from=one /n /n\n",
    );
    assert_eq!(context.file(&[], "n"), "1\n");
    context.build(&["--target", "not"]).exits(1);
}

#[test]
fn stages_that_do_not_wait_for_one_another_run_together() {
    // Each waits for the other, through a cache.
    let meet = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,target=/seen touch /seen/{own}; n=0; \
             while [ ! -e /seen/{other} ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || exit 1; \
             done; touch /{own}\n"
        )
    };
    let context = Context::new(&format!(
        "FROM system AS one\n{}FROM system AS two\n{}FROM system\nCOPY --from=one /a /\n\
         COPY --from=two /b /\n",
        meet("a", "b"),
        meet("b", "a"),
    ));
    context.build(&["-j", "2"]).good();
}

#[test]
fn what_is_added_from_elsewhere_is_known_by_its_sum() {
    let context = Context::new("");
    let server = nginx_dav(&Options::default());
    let put = |name: &str, text: &str| {
        std::fs::write(context.beside(name), text).unwrap();
        let done = std::process::Command::new("curl")
            .args(["-fsS", "-T"])
            .arg(context.beside(name))
            .arg(format!("{}/{name}", server.url()))
            .status()
            .unwrap();
        assert!(done.success());
    };
    put("file", "from elsewhere\n");
    put("other", "something else\n");
    let sum = ashlar_object::Digest::of(b"from elsewhere\n").hex();
    let add = |sum: &str, name: &str| {
        let url = format!("{}/{name}", server.url());
        context.write(&format!("ADD --checksum=sha256:{sum} --chmod=640 {url} /there/\n"));
    };
    add(&sum, "file");
    assert_eq!(context.file(&[], "there/file"), "from elsewhere\n");
    let asked = server.access_log().lines().count();
    assert_eq!(context.file(&["--rebuild"], "there/file"), "from elsewhere\n");
    assert_eq!(server.access_log().lines().count(), asked, "it is here now");
    add(&sum.replace(&sum[..2], "00"), "other");
    context.build(&[]).exits(1);
}
