//! What happens to long builds, each time on a machine that has nothing but a registry.

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::{Options, Registry};

use super::{Context, outcome, wait};
use crate::support::Ran;

const LINES: &str = "RUN echo one > /one\nRUN echo two > /two\nRUN echo three > /three\n";

/// A registry, and how it is said to be the remote.
fn team() -> (Registry, String) {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    (registry, remote)
}

/// Bytes that were left at the remote.
fn sent(ran: &Ran) -> u64 {
    let events = ran.events();
    let tally = events.iter().rev().find(|event| event["event"] == "remote").unwrap();
    tally["pushed_bytes"].as_u64().unwrap()
}

#[test]
fn a_killed_build_is_resumed_on_another_machine() {
    let (_registry, remote) = team();
    let waits = "RUN echo one > /one\n\
        RUN --mount=type=cache,target=/seen touch /seen/begun; sleep 60\n";
    let one = Context::new(waits);
    let mut child = one.begin(&["--remote", &remote]);
    wait("what was finished is at the registry", || {
        let other = one.elsewhere();
        other.write("RUN echo one > /one\n");
        let plan = other.0.run(&["image", "plan", "--json", "--remote", &remote, "."]).good();
        !plan.out.contains("\"state\":\"build\"")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let two = one.elsewhere();
    two.write("RUN echo one > /one\nRUN echo two > /two\n");
    let ran = two.build(&["--remote", &remote]).good();
    assert_eq!(outcome(&ran, "one"), "hit");
    assert_eq!(outcome(&ran, "two"), "built");
}

#[test]
fn an_edit_in_the_middle_keeps_what_comes_before_it_on_another_machine() {
    let (_registry, remote) = team();
    let one = Context::new(LINES);
    one.build(&["--remote", &remote, "--require-push"]).good();
    let two = one.elsewhere();
    two.write(&LINES.replace("echo two", "echo edited"));
    let ran = two.build(&["--remote", &remote]).good();
    assert_eq!(outcome(&ran, "one"), "hit");
    assert_eq!(outcome(&ran, "edited"), "built");
    assert_eq!(outcome(&ran, "three"), "built");
    // An edit that makes the same files is the end of what is done again.
    let three = one.elsewhere();
    three.write(&LINES.replace("echo two", "echo   two"));
    let ran = three.build(&["--remote", &remote]).good();
    assert_eq!(outcome(&ran, "echo   two"), "built");
    assert_eq!(outcome(&ran, "three"), "cutoff");
}

#[test]
fn two_machines_have_one_image_and_build_it_once() {
    let (_registry, remote) = team();
    let one = Context::new(LINES);
    one.build(&["--remote", &remote, "--require-push"]).good();
    let two = one.elsewhere();
    assert_eq!(two.build(&["--remote", &remote]).good().summary()["built"], 0);
    assert_eq!(two.digest(), one.digest());
}

#[test]
fn a_package_more_sends_its_own_files_and_not_the_others() {
    let (_registry, remote) = team();
    let context = Context::new("COPY packages /usr\n");
    let noise = |seed: u64, size: usize| -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..size).map(|_| next()).collect()
    };
    std::fs::create_dir(context.0.root.join("packages")).unwrap();
    for number in 0..20u8 {
        let file = context.0.root.join(format!("packages/{number}"));
        std::fs::write(file, noise(number.into(), 200_000)).unwrap();
    }
    let first = sent(&context.build(&["--remote", &remote, "--require-push"]).good());
    assert!(first > 4_000_000, "{first}");
    let next = context.elsewhere();
    std::fs::write(next.0.root.join("packages/more"), noise(99, 30_000)).unwrap();
    let second = sent(&next.build(&["--remote", &remote, "--require-push"]).good());
    assert!((30_000..80_000).contains(&second), "{second}");
}

#[test]
fn a_registry_that_was_away_gets_later_what_it_lacks() {
    let context = Context::new(LINES);
    let gone = "team=oci://127.0.0.1:1/images/cache";
    let ran = context.build(&["--remote", gone]).good();
    assert!(ran.err.contains("team") || ran.out.contains("team"), "{}\n{}", ran.err, ran.out);
    let (_registry, remote) = team();
    let ran = context.build(&["--remote", &remote, "--require-push"]).good();
    assert_eq!(ran.summary()["built"], 0);
    let two = context.elsewhere();
    assert_eq!(two.build(&["--remote", &remote]).good().summary()["built"], 0);
}

/// Ten pieces of work of which three are done at a time; the rest of the time it waits.
const PIECES: &str = "RUN --mount=type=checkpoint,target=/work \
    cd /work; for n in 0 1 2 3 4 5 6 7 8 9; do [ -e $n ] || { \
    [ ${done:-0} -lt 3 ] || sleep 60; touch $n; echo $n >> order; done=$((done + 1)); }; \
    done; cp order /order\n";

#[test]
fn what_does_not_fit_into_the_time_comes_to_an_end_on_ever_new_machines() {
    let (_registry, remote) = team();
    let mut machine = Context::new(PIECES);
    let mut runs = 1;
    while machine.build(&["--remote", &remote, "--budget", "4s", "--grace", "1"]).code == 5 {
        runs += 1;
        assert!(runs <= 4, "it never ends");
        machine = machine.elsewhere();
    }
    assert_eq!(runs, 4);
    assert_eq!(machine.file(&[], "order"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    // What was left on the way is a result of nothing.
    let next = machine.elsewhere();
    next.write(&PIECES.replace("cp order", "cat order; cp order"));
    let ran = next.build(&["--remote", &remote, "--budget", "3s", "--grace", "1"]).exits(5);
    assert_eq!(outcome(&ran, "cat order"), "skipped");
}

#[test]
fn what_fails_after_it_went_on_begins_anew() {
    let (_registry, remote) = team();
    let context = Context::new(
        "RUN --mount=type=checkpoint,target=/work --mount=type=cache,target=/seen \
         cd /work; ls >> /seen/list; echo -- >> /seen/list; [ ! -e half ]; touch half; exit 3\n",
    );
    for _ in 0..3 {
        context.build(&["--remote", &remote]).exits(1);
    }
    let caches = std::fs::read_dir(context.0.store.join("caches")).unwrap().flatten();
    // Beside each folder is the file that is locked while it is in use.
    let lists = caches.filter_map(|one| std::fs::read_to_string(one.path().join("list")).ok());
    assert_eq!(lists.collect::<String>(), "--\nhalf\n--\n--\n");
}
