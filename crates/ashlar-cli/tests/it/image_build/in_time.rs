//! Builds end when they are told to or have to, whatever they are waiting for, and leave nothing half
//! made.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::registry::Options;
use ashlar_testbed::{Proxy, docker_registry};

use super::{Context, outcome, wait};
use crate::support::Ran;

/// What is long for a build of a moment that has some seconds, and shorter than the thirty that a
/// server has to answer.
const IN_TIME: Duration = Duration::from_secs(25);

/// A server that takes connections and says nothing: its address, and how many came.
fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            open.push(stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

/// What begins with `.ashlar-` in a folder.
fn half_made(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".ashlar-")).collect()
}

#[test]
fn nobody_who_says_nothing_holds_a_budget() {
    let (address, asked) = silent();
    let commit = "1".repeat(40);
    let sum = "2".repeat(64);
    for line in [
        format!("ADD --checksum=sha256:{sum} http://{address}/file /file"),
        format!("ADD http://{address}/some.git#{commit} /some"),
        format!("ADD git://{address}/some.git#{commit} /some"),
    ] {
        let before = asked.load(Ordering::SeqCst);
        let context = Context::new(&format!("{line}\nRUN echo one > /one\n"));
        let began = Instant::now();
        let ran = context.build(&["--budget", "4s"]).exits(5);
        assert!(began.elapsed() < IN_TIME, "{line}: {:?}", began.elapsed());
        assert!(asked.load(Ordering::SeqCst) > before, "{line}: nobody was asked");
        assert_eq!(ran.summary()["out_of_time"], true, "{line}: {}", ran.err);
        assert_eq!(outcome(&ran, "mkdir"), "built", "what finished is kept");
    }
}

#[test]
fn a_remote_that_says_nothing_does_not_hold_a_budget() {
    let (address, asked) = silent();
    let context = Context::new("RUN echo one > /one\n");
    let began = Instant::now();
    let remote = format!("team=http://{address}/cache");
    context.build(&["--remote", &remote, "--budget", "2s"]).exits(5);
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_registry_that_says_nothing_does_not_hold_a_budget() {
    let registry = docker_registry(&Options::default());
    let proxy = Proxy::http(registry.address());
    let made = Context::new("RUN busybox dd if=/dev/urandom of=/large bs=1M count=3\n");
    let base = format!("{}/some/base:1", proxy.host());
    made.build(&["--push", &base]).good();
    let remote = format!("team=oci://{}/images/cache", proxy.host());
    made.build(&["--remote", &remote, "--require-push"]).good();
    let budget = ["--budget", "2s", "--grace", "1", "--remote", &remote];
    let timed = |context: &Context, args: &[&str]| {
        let began = Instant::now();
        let ran = context.build(args).exits(5);
        // Seventeen: two, those of the grace, the ten to send, and the four until it is left. Whoever
        // waits for the server here takes nearly a minute.
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
        assert!(!proxy.requests().is_empty(), "nobody was asked");
        proxy.reset();
        ran
    };
    // In the midst of a layer of a base.
    let on_base = Context::new("RUN echo one > /one\n");
    on_base.0.file("Dockerfile", format!("FROM {base}\nRUN echo one > /one\n"));
    proxy.reset();
    proxy.add(Rule::on(
        "GET",
        "/v2/some/base/blobs/",
        Fault::Stall { way: Way::Down, after: 9000 },
    ));
    let ran = timed(&on_base, &budget[..4]);
    assert_eq!(ran.summary()["out_of_time"], true, "{}", ran.err);
    // Before anything is known of the base.
    proxy.add(Rule::on("*", "/v2/some/base/manifests/", Fault::Ask(Arc::new(silence))));
    timed(&on_base, &budget[..4]).says("out of time before anything was begun");
    // While results are brought.
    let other = made.elsewhere();
    proxy.add(Rule::on("GET", "/v2/images/cache/blobs/", Fault::Ask(Arc::new(silence))));
    timed(&other, &budget);
    proxy.clear();
    other.build(&["--remote", &remote]).good();
}

#[test]
fn what_is_copied_is_kept_while_the_base_is_on_its_way() {
    let registry = docker_registry(&Options::default());
    let proxy = Proxy::http(registry.address());
    let base = format!("{}/some/base:1", proxy.host());
    Context::new("RUN echo base > /base\n").build(&["--push", &base]).good();
    let context = Context::new("");
    let mounted = "RUN --mount=type=bind,source=m,target=/m cp /m/b /b\n";
    context.0.file("Dockerfile", format!("FROM {base}\nWORKDIR /w\nCOPY c /c\n{mounted}"));
    for name in ["c/a", "m/b", "unused"] {
        context.0.file(name, format!("this is {name}\n"));
    }
    proxy.add(Rule::on(
        "GET",
        "/v2/some/base/blobs/",
        Fault::Stall { way: Way::Down, after: 9000 },
    ));
    context.build(&["--budget", "6s", "--grace", "1"]).exits(5);
    let kept = |text: &str| {
        let hex = ashlar_object::Digest::of(text.as_bytes()).hex();
        context.0.store.join("blobs").join(&hex[..2]).join(hex).exists()
    };
    assert!(kept("this is c/a\n") && kept("this is m/b\n"));
    assert!(!kept("this is unused\n"), "nobody reads it");
    proxy.clear();
    assert_eq!(context.file(&[], "b"), "this is m/b\n");
}

/// The answer of who takes a request and says nothing for longer than anybody waits here.
fn silence(_: &ashlar_testbed::proxy::Request) -> Option<Answer> {
    std::thread::sleep(Duration::from_secs(25));
    None
}

#[test]
fn a_command_has_its_grace_when_a_signal_comes() {
    let context = Context::new(
        "RUN --mount=type=checkpoint,target=/w --mount=type=cache,target=/seen \
         if [ -e /w/ended ]; then cp /w/ended /result; exit 0; fi; \
         trap 'sleep 4; echo by itself > /w/ended; exit 1' TERM; \
         touch /seen/begun; while true; do sleep 0.1; done\n",
    );
    let child = context.begin(&["--grace", "20"]);
    wait("the command begins", || {
        let caches = std::fs::read_dir(context.0.store.join("caches"));
        let folders = caches.into_iter().flatten().flatten();
        folders.map(|folder| folder.path().join("begun")).any(|file| file.exists())
    });
    terminate(&child);
    Ran::of(&child.wait_with_output().unwrap()).exits(5);
    // Otherwise it would go on for ever.
    assert_eq!(context.file(&["--budget", "30s"], "result"), "by itself\n");
}

/// Where what a command left on another machine is not to be had in time, it does not begin: what it
/// left then would stand before that of the other machine.
#[test]
fn a_run_that_is_over_begins_nothing_and_leaves_checkpoints_as_they_are() {
    let registry = docker_registry(&Options::default());
    let proxy = Proxy::http(registry.address());
    let remote = format!("team=oci://{}/images/cache", proxy.host());
    let context = Context::new("");
    context.build(&["--remote", &remote, "--require-push"]).good();
    proxy.reset();
    context.write(
        "RUN --mount=type=checkpoint,target=/w if [ -e /w/half ]; then cp /w/half /result; exit 0; \
         fi; sleep 1; echo the first half > /w/half; sleep 600\n",
    );
    let stopped = ["--remote", &remote, "--budget", "5s", "--grace", "1"];
    context.build(&stopped).exits(5);
    let sent = proxy.requests_to("PUT", "/v2/images/cache/manifests/");
    let sent: Vec<String> = sent.into_iter().map(|request| request.path).collect();
    assert!(!sent.is_empty(), "the checkpoint is at the remote");

    let other = context.elsewhere();
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, left) = (Arc::clone(&asked), sent);
    let quiet = move |request: &ashlar_testbed::proxy::Request| {
        if left.contains(&request.path) {
            counted.fetch_add(1, Ordering::SeqCst);
            return silence(request);
        }
        None
    };
    proxy.reset();
    proxy.add(Rule::on("*", "/v2/images/cache/manifests/", Fault::Ask(Arc::new(quiet))));
    let ran = other.build(&stopped).exits(5);
    assert!(asked.load(Ordering::SeqCst) > 0, "the checkpoint is asked for");
    assert_eq!(outcome(&ran, "half"), "skipped");
    assert!(proxy.requests_to("PUT", "/").is_empty(), "nothing is left: {:?}", proxy.requests());
    proxy.clear();
    assert_eq!(other.file(&["--remote", &remote, "--budget", "30s"], "result"), "the first half\n");
}

fn terminate(child: &Child) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn a_signal_ends_a_push_that_hangs() {
    let (address, asked) = silent();
    let context = Context::new("RUN echo one > /one\n");
    context.build(&[]).good();
    let push = format!("{address}/some:tag");
    let child = context.begin(&["--push", &push]);
    wait("the registry is asked", || asked.load(Ordering::SeqCst) > 0);
    let began = Instant::now();
    terminate(&child);
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(5);
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert!(ran.err.contains("stopped while the image was written"), "{}", ran.err);
    // And so does a budget.
    let began = Instant::now();
    let ran = context.build(&["--push", &push, "--budget", "2s"]).exits(5);
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert!(ran.err.contains("out of time while the image was written"), "{}", ran.err);
    assert!(ran.err.contains("every instruction is kept"), "{}", ran.err);
}

/// A context whose image is built, and for each kind of output its name, its place and the folder
/// that this is in.
fn each_output(lines: &str, try_out: impl Fn(&Context, &str, &Path, &Path, [&str; 2])) {
    let context = Context::new(lines);
    context.build(&[]).good();
    let parent = context.beside("outputs");
    std::fs::create_dir(&parent).unwrap();
    for kind in ["rootfs", "oci", "docker-archive"] {
        let place = parent.join(kind);
        let output = format!("{kind}:{}", place.display());
        try_out(&context, kind, &place, &parent, ["--output", &output]);
    }
}

#[test]
fn outputs_are_not_begun_when_the_time_is_over() {
    each_output("RUN echo one > /one\n", |context, kind, place, parent, output| {
        // All of it is found, and then the time is over.
        let ran = context.build(&["--budget", "0s", output[0], output[1]]).exits(5);
        assert!(ran.err.contains("out of time"), "{}", ran.err);
        assert!(!place.exists(), "{kind}");
        assert!(half_made(parent).is_empty(), "{kind}");
        context.build(&output).good();
        assert!(place.exists(), "{kind}");
    });
}

#[test]
fn what_a_killed_writer_left_goes_with_the_next_one() {
    let lines = "RUN busybox dd if=/dev/urandom of=/large bs=1M count=300\n";
    each_output(lines, |context, kind, place, parent, output| {
        let mut child = context.begin(&output);
        wait("it is being written", || !half_made(parent).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!place.exists(), "{kind}: killed too late to prove anything");
        assert_eq!(half_made(parent).len(), 1, "{kind}");
        context.build(&output).good();
        assert!(half_made(parent).is_empty(), "{kind}: {:?}", half_made(parent));
        let size = Command::new("du").args(["-sm", "--apparent-size"]).arg(place).output().unwrap();
        let size = String::from_utf8(size.stdout).unwrap();
        let size: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
        assert!(size >= 300, "{kind}: {size} MiB");
    });
}
