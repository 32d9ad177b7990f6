//! `ashlar remote`, the rights of remotes, and what is wrong with them.

use snapbox::str;

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;

use super::{elsewhere, from, project, with_folder};
use crate::snapshot;

#[test]
fn rights_as_written_and_as_changed() {
    let project = project(
        "dir:../cache",
        "[[remote]]\nname = \"far-away\"\nurl = \"oci://registry.example/firmware\"\nread = false\n\
         write = \"clean\"\nrequire_signature = [\"team.pub\"]\n",
    );
    let ran = project.run(&["remote", "list"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
team      read, write  dir:../cache
far-away  write clean, signed only  oci://registry.example/firmware

"#]],
    );
    let mut command =
        project.command(&["remote", "list", "--remote", "team=read", "--remote", "x=dir:/x"]);
    command.env("ASHLAR_REMOTE_FAR_AWAY", "readwrite").env("ASHLAR_REMOTE_TEAM", "off");
    let ran = crate::support::Ran::of(&command.output().unwrap()).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
team      read  dir:../cache
far-away  read, write clean, signed only  oci://registry.example/firmware
x         read, write  dir:/x

"#]],
    );
    let json = project.run(&["remote", "list", "--json", "--remote", "team=write"]).good().events();
    assert_eq!(
        json[0],
        serde_json::json!({
            "event": "remote-list", "remote": "team", "url": "dir:../cache", "read": false,
            "write": true, "write_branches": [], "signed": false,
        })
    );
    assert_eq!(json[1]["write"], "clean");
}

#[test]
fn mistakes() {
    let project = with_folder();
    for (args, said) in [
        (&["build", "--remote", "taem=read"][..], "`taem` stands for no remote"),
        (&["build", "--remote", "team=reed"], "--remote team has a value that means nothing"),
        (&["build", "--remote", "team"], "a `--remote` says nothing of a remote"),
        (&["remote", "stat", "taem"], "there is no remote `taem`\n  help: did you mean `team`?"),
        (&["remote", "gc", "team"], "nothing says what may be removed"),
        (&["push", "--remote", "team=read"], "there is no remote that is written to"),
        (&["push", "--to", "team", "--remote", "team=read"], "remote team is not written to"),
        (&["pull", "--from", "team", "--remote", "team=off"], "remote team is not read"),
        (&["pull", "--remote", "team=off"], "there is no remote that is read"),
    ] {
        project.run(args).exits(2).says(said);
    }
    let mut command = project.command(&["build"]);
    let ran = command.env("ASHLAR_REMOTE_TEEM", "off").output().unwrap();
    crate::support::Ran::of(&ran).exits(2).says("did you mean `ASHLAR_REMOTE_TEAM`?");
}

#[test]
fn what_a_folder_holds() {
    let project = with_folder();
    let ran = project.run(&["remote", "test"]).good();
    assert!(ran.out.contains("can be written to"), "{}", ran.out);
    project.run(&["build"]).good();
    let stat = project.run(&["remote", "stat", "team", "--json"]).good().events().pop().unwrap();
    assert_eq!(stat["results"], 5);
    assert!(stat["bytes"].as_u64().unwrap() > 0, "{stat}");
    let ran = project.run(&["remote", "gc", "team", "--max-size", "1G"]).good();
    assert!(ran.err.starts_with("removed 0 results and 0 blobs from team"), "{}", ran.err);
}

#[test]
fn a_registry_is_collected() {
    let mut registry = docker_registry(&Options { delete: true, ..Options::default() });
    let project = project(&format!("oci://{}/firmware/results", registry.host()), "");
    project.run(&["build"]).good();
    // All is younger than an hour.
    let ran = project.run(&["remote", "gc", "team", "--max-size", "1"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
removed 0 results from team: 0 blobs, 0 bytes, not needed any more, [..] left
what is left is too young to be removed, or needed by what is

"#]],
    );
    // Trees that no result leads to go at once.
    let tags = "docker/registry/v2/repositories/firmware/results/_manifests/tags";
    for tag in std::fs::read_dir(registry.data().join(tags)).unwrap() {
        let path = tag.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("tree-") && !name.starts_with("near-") {
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
    let args = ["remote", "gc", "team", "--max-age", "90d"];
    let ran = project.run(&args).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
removed 0 results from team: [..] blobs, [..], not needed any more, 0 bytes left
the registry frees the bytes at its own collection: `docker-registry garbage-collect CONFIG` where it runs, while nobody pushes

"#]],
    );
    // What is built upon such a place is whole.
    registry.collect_garbage();
    project.run(&["push", "--json"]).good();
    let ran = elsewhere(&project, "second", &["build", "--json"]).good();
    assert_eq!(from(&ran), "app:team beside:team lib:team one:team two:team");
    let args = [&args[..], &["--json"]].concat();
    let gc = project.run(&args).good().events().pop().unwrap();
    assert_eq!((&gc["results"], &gc["later"]), (&0.into(), &true.into()), "{gc}");
}

#[test]
fn a_registry_that_removes_nothing_says_who_can_change_that() {
    let registry = docker_registry(&Options::default());
    let project = project(&format!("oci://{}/firmware/results", registry.host()), "");
    let ran = project.run(&["remote", "gc", "team", "--max-age", "90d"]);
    assert_ne!(ran.code, 0);
    ran.says("let the registry's administrator enable deletion");
}
