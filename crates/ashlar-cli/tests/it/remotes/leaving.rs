//! What is left at a remote, what is not, and what is said about it.

use std::path::PathBuf;
use std::process::Command;

use ashlar_object::Digest;
use serde_json::json;

use super::{elsewhere, from, project, tally, with_folder};
use crate::support::{Project, Ran};

const APP: &str = "application\nlibrary\nlibrary\nlibrary\n";

/// Where a content is kept in the store.
fn blob(project: &Project, content: &str) -> PathBuf {
    let hex = Digest::of(content.as_bytes()).hex();
    let is_it = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&hex);
    project.blobs().iter().find(is_it).expect("the content is in the store").clone()
}

/// Changes a content in the store, so that nothing but the content shows it.
fn damage(project: &Project, content: &str) {
    let path = blob(project, content);
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, content.replacen("app", "APP", 1)).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
}

fn damaged_contents_stay_here(project: &Project) {
    let quiet = ["build", "app", "--remote", "team=off"];
    project.run(&quiet).good();
    damage(project, APP);
    let ran = project.run(&["push", "app"]).exits(4);
    assert!(ran.err.contains("not pushed to team: 1 result, because it failed"), "{}", ran.err);
    let hex = Digest::of(APP.as_bytes()).hex();
    let said = format!("{hex} is damaged (its content is another) and is not used any more");
    assert!(ran.err.contains(&said), "{}", ran.err);
    // It is out of use, and kept for whoever wants to know.
    let aside: Vec<String> = std::fs::read_dir(project.store.join("quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(aside.iter().any(|name| name.contains(&hex)), "{aside:?}");
    // Nobody finds anything of it; what it was built on is there, and all right.
    elsewhere(project, "second", &["pull", "app"]).exits(1);
    elsewhere(project, "second", &["pull", "lib", "one", "two"]).good();
    elsewhere(project, "second", &["store", "verify"]).good();
    // What is needed is built again, and then there is nothing wrong with it.
    project.run(&quiet).good();
    project.run(&["push", "app"]).good();
    let ran = elsewhere(project, "third", &["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:team");
    elsewhere(project, "third", &["store", "verify"]).good();
}

#[test]
fn damaged_contents_are_not_left_in_a_folder() {
    damaged_contents_stay_here(&with_folder());
}

#[test]
fn damaged_contents_are_not_left_at_a_farm() {
    let casd = ashlar_testbed::casd();
    damaged_contents_stay_here(&project(&format!("reapi://{}", casd.host()), ""));
}

#[test]
fn provenance_says_who_built() {
    let project = with_folder();
    let build = |builder: Option<&str>, store: &str, target: &str| {
        let mut command = project.command(&["build", target]);
        command.env("ASHLAR_STORE", project.root.parent().unwrap().join(store));
        match builder {
            Some(builder) => command.env("ASHLAR_BUILDER", builder),
            None => command.env_remove("ASHLAR_BUILDER"),
        };
        Ran::of(&command.output().unwrap()).good();
    };
    let builder = |target: &str| {
        let ran = elsewhere(&project, "reader", &["build", target]).good();
        assert!(ran.err.contains("1 hit"), "{}", ran.err);
        let args = ["show", "--provenance", "--json", target];
        let event = elsewhere(&project, "reader", &args).good().events().pop().unwrap();
        event["statement"]["predicate"]["runDetails"]["builder"]["id"].clone()
    };
    build(Some("https://ci.example/nightly"), "ci", "lib");
    build(None, "laptop", "beside");
    build(Some(""), "laptop", "one");
    assert_eq!(builder("lib"), "https://ci.example/nightly");
    let version = format!("ashlar/{}", env!("CARGO_PKG_VERSION"));
    for target in ["beside", "one"] {
        assert!(builder(target).as_str().unwrap().contains(&version), "{}", builder(target));
    }
    // What the project says counts where nobody says anything else.
    project.edit(
        "ashlar.toml",
        "name = \"sample\"",
        "name = \"sample\"\nbuilder = \"https://us.example\"",
    );
    build(None, "project", "two");
    assert_eq!(builder("two"), "https://us.example");
    build(Some("https://ci.example/nightly"), "project", "app");
    assert_eq!(builder("app"), "https://ci.example/nightly");
}

#[test]
fn a_plan_says_what_is_wrong_with_a_remote() {
    let project = with_folder();
    project.run(&["build"]).good();
    let cache = project.root.parent().unwrap().join("cache");
    for tag in std::fs::read_dir(cache.join("tags")).unwrap() {
        let path = tag.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("step-") {
            std::fs::write(path, "{}").unwrap();
        }
    }
    let ran = elsewhere(&project, "second", &["plan", "lib"]).good();
    assert!(ran.out.contains("build  lib: never built"), "{}", ran.out);
    assert_eq!(ran.err.matches("warning: remote team: ").count(), 1, "{}", ran.err);
    let ran = elsewhere(&project, "second", &["plan", "--json", "lib"]).good();
    let warning = ran.events().into_iter().find(|event| event["event"] == "warning");
    let said = ran.err.contains("remote team: ") || warning.is_some();
    assert!(said, "{}{}", ran.out, ran.err);
    // One that does not answer is said as well, and the plan is made without it.
    let text = project.read("ashlar.toml").replace("dir:../cache", "oci://127.0.0.1:1/x/y");
    project.file("ashlar.toml", format!("{text}timeout = \"1s\"\n"));
    let ran = elsewhere(&project, "second", &["plan", "lib"]).good();
    assert_eq!(ran.err.matches("remote team is not used any more").count(), 1, "{}", ran.err);
    assert!(ran.out.contains("build  lib: never built"), "{}", ran.out);
}

#[test]
fn a_push_that_may_not_send_says_so() {
    let project = with_folder();
    project.edit("ashlar.toml", "write = true", "write = \"clean\"");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&project.root);
        git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
        assert!(git.output().unwrap().status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "x"]);
    project.file("src/lib/new.txt", "not committed\n");
    project.run(&["build"]).good();
    // What stays here by rule is said; nothing failed.
    let ran = project.run(&["push", "-v", "lib"]).good();
    let ran = ran.says("not pushed lib to team: src/lib/new.txt is not committed");
    let ran = ran.says("not pushed to team: 1 result made from files that are not committed");
    assert!(!ran.err.contains("failed"), "{}", ran.err);
    let ran = project.run(&["push", "--json", "app"]).good();
    let team = tally(&ran, "team");
    // All that is made from it as well.
    assert_eq!((&team["pushed"], &team["unclean"]), (&json!(0), &json!(4)), "{team}");
    elsewhere(&project, "second", &["pull", "app"]).exits(1);
    // Where it must arrive, this is no failure either: it is by rule that it does not.
    let ran = project.run(&["build", "--require-push", "lib"]).good();
    ran.says("not committed");
    // What may never be shared is not what was asked for.
    let own = with_folder();
    own.edit("ashlar.toml", "path = \"rootfs\"", "host = true");
    let ran = own.run(&["push", "beside"]).exits(1);
    ran.says("beside is never shared: it sees this machine's own files");
}
