//! Failures, kills, signals and budgets: each finished instruction is there afterwards.

use rustix::process::{Pid, Signal, kill_process};

use super::{Context, outcome, wait};
use crate::support::Ran;

#[test]
fn a_failure_keeps_all_before_it() {
    let context = Context::new("RUN echo one > /one\nRUN echo two > /two; exit 3\nRUN true\n");
    let failed = context.build(&[]).exits(1);
    assert_eq!(outcome(&failed, "one"), "built");
    assert_eq!(outcome(&failed, "two"), "failed");
    assert_eq!(outcome(&failed, "true"), "skipped");
    assert!(failed.err.contains("Dockerfile:5: `ashlar image shell --at 5`"), "{}", failed.err);
    context.write("RUN echo one > /one\nRUN echo two > /two\nRUN true\n");
    let fixed = context.build(&[]).good();
    assert_eq!(outcome(&fixed, "one"), "hit");
    assert_eq!(outcome(&fixed, "two"), "built");
    let again = context.build(&[]).good();
    assert_eq!(again.summary()["built"], 0);
    // What failed once is never a hit.
    context.write("RUN echo one > /one\nRUN echo two > /two; exit 3\nRUN true\n");
    assert_eq!(outcome(&context.build(&[]).exits(1), "two"), "failed");
}

/// Commands that wait say so by a file of the machine, in a cache.
const WAITS: &str = "RUN echo one > /one\n\
    RUN --mount=type=cache,target=/seen touch /seen/begun; sleep 60\n";

fn begun(context: &Context) -> bool {
    let caches = context.0.store.join("caches");
    let folders = std::fs::read_dir(caches).into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join("begun")).any(|file| file.exists())
}

#[test]
fn a_kill_keeps_all_before_it() {
    let context = Context::new(WAITS);
    let mut child = context.begin(&[]);
    wait("the second command begins", || begun(&context));
    child.kill().unwrap();
    child.wait().unwrap();
    context.write("RUN echo one > /one\nRUN echo two > /two\n");
    let next = context.build(&[]).good();
    assert_eq!(outcome(&next, "one"), "hit");
    assert_eq!(outcome(&next, "two"), "built");
}

#[test]
fn a_signal_stops_it_and_keeps_all_before_it() {
    let context = Context::new(WAITS);
    let child = context.begin(&["--grace", "1"]);
    wait("the second command begins", || begun(&context));
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(5);
    assert_eq!(outcome(&ran, "one"), "built");
    context.write("RUN echo one > /one\n");
    assert_eq!(outcome(&context.build(&[]).good(), "one"), "hit");
}

#[test]
fn a_budget_stops_in_time_and_the_next_run_goes_on() {
    let context = Context::new("RUN sleep 1; echo one > /one\nRUN sleep 60\n");
    let ran = context.build(&["--budget", "3s", "--grace", "1"]).exits(5);
    assert_eq!(outcome(&ran, "one"), "built");
    assert_eq!(outcome(&ran, "sleep 60"), "skipped");
    assert_eq!(ran.summary()["out_of_time"], true);
    assert!(ran.summary()["seconds"].as_f64().unwrap() < 20.0);
    // What took longer before than what is left is not begun.
    context.write("RUN sleep 1; echo one > /one\nRUN sleep 3\n");
    context.build(&[]).good();
    context.write("RUN sleep 1; echo one > /one\nRUN touch /new\nRUN sleep 3\n");
    let ran = context.build(&["--budget", "2s"]).exits(5);
    assert_eq!(outcome(&ran, "/new"), "built");
    assert_eq!(outcome(&ran, "sleep 3"), "skipped");
    let begun = |event: &serde_json::Value| {
        event["event"] == "start" && event["step"].as_str().unwrap().contains("sleep 3")
    };
    assert!(!ran.events().iter().any(begun), "{}", ran.out);
}

#[test]
fn a_checkpoint_lets_the_same_command_go_on() {
    let steps = "RUN --mount=type=checkpoint,target=/work \
        cd /work; for n in 1 2 3 4 5 6; do [ -e $n ] || { sleep 1; touch $n; echo $n >> order; }; \
        done; cp order /order\n";
    let context = Context::new(steps);
    let mut runs = 0;
    while context.build(&["--budget", "4s", "--grace", "1"]).code == 5 {
        runs += 1;
        assert!(runs < 6, "it never ends");
    }
    assert!((1..=4).contains(&runs), "{runs} runs stopped");
    assert_eq!(context.file(&[], "order"), "1\n2\n3\n4\n5\n6\n");
    // It is no hit for anything else.
    context.write(&steps.replace("cp order", "cat order; cp order"));
    let ran = context.build(&["--budget", "3s", "--grace", "1"]).exits(5);
    assert_eq!(outcome(&ran, "cat order"), "skipped");
}

#[test]
fn secrets_are_seen_and_never_kept() {
    let context = Context::new(
        "RUN --mount=type=secret,id=token,required=true sha256sum /run/secrets/token > /sum\n",
    );
    context.0.file("token", "a secret of some length\n");
    std::fs::write(context.0.root.join(".dockerignore"), "token\n").unwrap();
    let told = |args: &[&str]| {
        let all: Vec<&str> = ["image", "build"].into_iter().chain(args.iter().copied()).collect();
        context.0.run(&[&all[..], &["."]].concat())
    };
    told(&[]).exits(2).says("--secret id=token,src=FILE");
    let secret = ["--secret", "id=token,src=token"];
    let sum = context.file(&secret, "sum");
    // Its value is in no key.
    context.0.file("token", "another secret of some length\n");
    assert_eq!(context.file(&secret, "sum"), sum);
    for kept in ["cp /run/secrets/token /here", "tr s z < /run/secrets/token | tr z s > /tmp/x"] {
        context.write(&format!("RUN --mount=type=secret,id=token {kept}\n"));
        told(&secret).exits(1).says("the secret `token` is in /");
    }
    context.write(
        "RUN --mount=type=checkpoint,target=/build --mount=type=secret,id=token \
         cat /run/secrets/token > /build/left; exit 1\n",
    );
    told(&secret).exits(1).says("the secret `token` is in /build/left");
    // Nothing of what was refused has come into the store, and no folder of it was left.
    let holding = std::process::Command::new("grep")
        .args(["--recursive", "--text", "--files-with-matches", "another secret of some"])
        .arg(&context.0.store)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&holding.stdout), "");
    assert_ne!(holding.status.code(), Some(0));
    context.write("RUN --mount=type=secret,id=token mkdir \"/tmp/$(cat /run/secrets/token)\"\n");
    told(&secret).exits(1).says("the secret `token` is in /tmp/…");
    let named = std::process::Command::new("find")
        .arg(&context.0.store)
        .args(["-name", "*another secret*"])
        .output()
        .unwrap();
    assert!(named.stdout.is_empty(), "{named:?}");
}

#[test]
fn a_cache_can_begin_with_files_of_a_stage() {
    let mount = "--mount=type=cache,target=/cache,from=seed,source=/seed";
    let lines = |word: &str, more: &str| {
        format!(
            "FROM system AS seed\n\
             RUN mkdir -p /seed/deep && echo {word} > /seed/file && chown 7:8 /seed/file && \
             chmod 4755 /seed/file && chmod 1777 /seed/deep\n\
             FROM system\n\
             RUN {mount} busybox stat -c %a:%u:%g /cache/deep /cache/file > /seen && \
             cat /cache/file >> /seen && echo more >> /cache/file\n\
             RUN {mount} cat /cache/file > /second {more}\n"
        )
    };
    let context = Context::new(&lines("begun", ""));
    assert_eq!(context.file(&[], "seen"), "1777:0:0\n4755:7:8\nbegun\n");
    assert_eq!(context.file(&[], "second"), "begun\nmore\n");
    // What commands wrote stays, the files of the stage do not change.
    context.write(&lines("begun", "&& echo and >> /cache/file && cat /cache/file > /second"));
    assert_eq!(context.file(&[], "second"), "begun\nmore\nand\n");
    // Other files begin another cache.
    context.write(&lines("other", ""));
    assert_eq!(context.file(&[], "second"), "other\nmore\n");
    // What nobody uses any more can go, and is begun again.
    let gone = context.0.run(&["store", "gc", "--json", "--max-age", "0s"]).good().events();
    assert_eq!(gone[0]["caches"], 2);
    context.write(&lines("other", "&& true"));
    assert_eq!(context.file(&[], "second"), "other\nmore\n");
    // A file is no beginning.
    context.write(&lines("other", "").replace("source=/seed", "source=/seed/file"));
    context.0.run(&["image", "build", "."]).exits(2).says("`/seed/file`, which is no folder");
}
