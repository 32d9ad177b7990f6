//! Workspaces that share layers through remotes.

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;
use serde_json::Value;

use super::{Space, all};

/// A remote in ashlar.toml, which has nothing else.
fn shared(url: &str) -> Space {
    let space = Space::new();
    let remote = format!("[[remote]]\nname = \"team\"\nurl = \"{url}\"\nwrite = true\n");
    space.file("ashlar.toml", &format!("[project]\nname = \"firmware\"\n{remote}"));
    space.commit();
    space
}

/// The same checkout on another machine.
fn elsewhere(space: &Space) -> Space {
    let mut next = space.checkout();
    next.store = next.dir.path().join("store");
    next
}

fn tally(space: &Space, args: &[&str]) -> Value {
    let ran = space.run(args).good();
    let events = ran.events();
    events.into_iter().rfind(|event| event["event"] == "remote").unwrap()
}

/// What a restore says, and how many bytes came for it.
fn moved(space: &Space, args: &[&str]) -> (Value, u64) {
    let events = space.run(args).good().events();
    let of = |name: &str| events.iter().rfind(|event| event["event"] == name).cloned();
    let came = of("remote").map_or(0, |remote| remote["pulled_bytes"].as_u64().unwrap());
    (of("restore").unwrap(), came)
}

fn lost_bytes(space: &Space) -> Value {
    space.read("build/top/out").len().into()
}

fn share(url: &str) {
    let space = shared(url);
    space.sh("make");
    let ran = space.run(&["save", "--json", "--require-push"]).good();
    let all_sent = |e: &Value| e["event"] != "save" || e["remotes"] == 1;
    assert!(ran.events().iter().all(all_sent), "{}", ran.out);
    // Unchanged, it is asked and sent nothing.
    let unchanged = tally(&space, &["save", "--json"]);
    assert_eq!((&unchanged["pushed"], &unchanged["pushed_bytes"]), (&0.into(), &0.into()));

    let next = elsewhere(&space);
    let hit = next.run(&["skip-if-hit", "modules", "--json"]).good();
    assert_eq!(hit.events().last().unwrap()["hit"], true, "{}", hit.out);
    let pulled = tally(&next, &["plan", "--json"]);
    assert_eq!(pulled["pulled"], 0, "to know that it is there moves nothing");
    let event = next.event(&["restore", "--json"]);
    assert_eq!((&event["layer"], &event["place"]), (&"modules".into(), &"team".into()));
    assert_eq!(all(&next.root.join("build")), all(&space.root.join("build")));
    next.sh("make -q");
    // Now it is in its place, and only there: nothing of it moves again.
    let (again, moved) = moved(&next, &["restore", "--json"]);
    assert_eq!((&again["place"], &again["files"]), (&"team".into(), &0.into()));
    assert_eq!(moved, 0);
    // What is lost comes back alone.
    next.sh("rm build/top/out");
    let lost = next.event(&["restore", "--json"]);
    assert_eq!((&lost["files"], &lost["bytes"]), (&1.into(), &lost_bytes(&space)));
    assert_eq!(all(&next.root.join("build")), all(&space.root.join("build")));
    assert_eq!(next.saved(&[]), "modules:exists middle:exists base:exists");
    // With --keep it is in the store too.
    let kept = elsewhere(&space);
    let event = kept.event(&["restore", "--json", "--keep"]);
    assert_eq!(&event["place"], "team");
    kept.sh("rm -r build");
    let event = kept.event(&["restore", "--json"]);
    assert_eq!(&event["place"], "local");
    assert_eq!(all(&kept.root.join("build")), all(&space.root.join("build")));

    // What another machine adds is found here.
    next.file("modules/top", "top 2\n");
    next.run(&["wrap", "--clean", "--", "make"]).good();
    let third = space.checkout();
    third.file("modules/top", "top 2\n");
    let event = third.event(&["restore", "--json"]);
    assert_eq!((&event["layer"], &event["place"]), (&"modules".into(), &"team".into()));
    assert_eq!(third.read("build/top/out"), "top 2\npatch of top\n");
}

#[test]
fn through_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    share(&format!("dir:{}", dir.path().display()));
}

#[test]
fn through_a_registry() {
    let registry = docker_registry(&Options::default());
    share(&format!("oci://{}/firmware/cache", registry.host()));
}

#[test]
fn a_reference_is_enough_for_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let space = shared(&format!("dir:{}", dir.path().display()));
    space.job().good();
    let reference = space.event(&["skip-if-hit", "modules", "--json"])["reference"].clone();
    let next = elsewhere(&space);
    next.run(&["restore", "--ref", reference.as_str().unwrap()]).good().says("(team)");
    assert_eq!(all(&next.root.join("build")), all(&space.root.join("build")));
}

#[test]
fn a_remote_that_is_down_costs_a_warning() {
    let space = shared("oci://127.0.0.1:1/nothing");
    let ran = space.job().good();
    assert!(ran.err.contains("warning: "), "{}", ran.err);
    assert_eq!(space.log().len(), 9);
    space.checkout().job().good().says("restored layer modules");
    space.run(&["save", "--require-push"]).exits(4);
}

/// A layer that is here and was not sent is sent by the next save.
#[test]
fn what_could_not_be_sent_is_sent_later() {
    let dir = tempfile::tempdir().unwrap();
    let space = shared(&format!("dir:{}", dir.path().display()));
    space.sh("make");
    space.run(&["save", "--remote", "team=off"]).good();
    assert_eq!(elsewhere(&space).restored().0, "-");
    space.run(&["save", "--require-push"]).good();
    assert_eq!(elsewhere(&space).restored().0, "modules");
}

#[test]
fn what_is_not_committed_stays_here_where_only_clean_results_leave() {
    let dir = tempfile::tempdir().unwrap();
    let space = shared(&format!("dir:{}", dir.path().display()));
    let text = space.read("ashlar.toml");
    space.file("ashlar.toml", &text.replace("write = true", "write = \"clean\""));
    space.file("modules/top", "not committed\n");
    space.job().good();
    let mut next = elsewhere(&space);
    next.file("modules/top", "not committed\n");
    // The smaller layers are made of what is committed.
    assert_eq!(next.restored().0, "middle");
    next = space.checkout();
    next.file("modules/top", "not committed\n");
    assert_eq!(next.restored().0, "modules");
}
