//! Remotes that are not there, refuse, or go away.

use std::time::{Duration, Instant};

use ashlar_testbed::buildgrid::{BuildGrid, Options, Tls};
use serde_json::json;
use snapbox::str;

use super::{elsewhere, from, project, tally};
use crate::snapshot;
use crate::support::{Project, Ran};

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("reapi://{}", listener.local_addr().unwrap())
}

#[test]
fn a_build_goes_on_without_a_dead_remote() {
    let project = project(&nobody(), "timeout = \"2s\"\n");
    let began = Instant::now();
    let ran = project.run(&["build", "-j1", "lib"]).good();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
warning: remote team is not used any more in this run: reapi://127.0.0.1:[PORT] does not answer: [..]
1 module to build
building lib
built lib in [TIME]
not pushed to team: 1 result, because it failed; `ashlar push` sends what is missing
1 module: 1 built in [TIME]

"#]],
    );
    let ran = project.run(&["build", "--json", "one"]).good();
    let team = tally(&ran, "team");
    assert!(team["gone"].as_str().unwrap().contains("does not answer"), "{team}");
    assert_eq!(team["failed"], 1);
}

#[test]
fn required_remotes_that_are_dead() {
    let project = project(&nobody(), "timeout = \"2s\"\n");
    let ran = project.run(&["build", "-j1", "--require-remote", "one"]).exits(4);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
2 modules: 2 not tried in [TIME]
error: remote team cannot be read: reapi://127.0.0.1:[PORT] does not answer: [..]
  help: without `--require-remote` it is built here

"#]],
    );
    assert_eq!(project.run(&["store", "stat", "--json"]).good().events()[0]["results"], 0);
    let ran = project.run(&["build", "--json", "--require-remote", "lib"]).exits(4);
    assert_eq!(ran.summary()["skipped"], 1);
    let ran = project.run(&["build", "-j1", "--require-push", "lib"]).exits(4);
    ran.says("built lib").says("not pushed to team: 1 result, because it failed");
    // What did not get there the first time is not forgotten, not even where nothing is to be done.
    std::thread::sleep(Duration::from_millis(100));
    project.run(&["build", "--remote", "team=off", "lib"]).good();
    project.run(&["build", "lib"]).good();
    project.run(&["build", "--require-push", "lib"]).exits(4).says("not pushed to team");
    project.run(&["build", "--require-push", "--remote", "team=read", "lib"]).exits(2);
    project.run(&["push", "lib"]).exits(4);
    project.run(&["pull", "one"]).exits(4);
    project.run(&["remote", "test"]).exits(4);
    // Whoever does not need it says so.
    project.run(&["build", "--require-remote", "--remote", "team=off", "one"]).good();
}

/// A server that lets nobody in without its token.
fn guarded() -> (BuildGrid, Project) {
    let grid = ashlar_testbed::buildgrid::buildgrid_with(&Options {
        tls: Tls::Server,
        token: true,
        ..Options::default()
    });
    let ca = grid.certificates().unwrap().authority();
    let more = format!("ca = {ca:?}\ntoken_env = \"TEAM_TOKEN\"\ntimeout = \"5s\"\n");
    let project = project(&format!("reapis://{}", grid.host()), &more);
    (grid, project)
}

#[test]
fn a_token_opens_and_is_never_shown() {
    let (grid, project) = guarded();
    let run = |token: &str, store: &str, args: &[&str]| {
        let store = project.root.parent().unwrap().join(store);
        let mut command = project.command(args);
        command.env("ASHLAR_STORE", store).env("TEAM_TOKEN", token);
        let ran = Ran::of(&command.output().unwrap());
        assert!(!ran.out.contains(token) && !ran.err.contains(token), "{}{}", ran.out, ran.err);
        ran
    };
    let good = grid.token();
    run(&good, "first", &["build", "--json", "--require-push", "app"]).good();
    let ran = run(&good, "second", &["build", "--json", "-v", "app"]).good();
    assert_eq!(from(&ran), "app:team");
    run(&good, "second", &["remote", "test"]).good();
    // One that is not let in is told, and does not rebuild in silence where that is not wanted.
    let bad = grid.expired_token();
    let ran = run(&bad, "third", &["build", "-v", "app"]).good();
    ran.says("remote team is not read any more in this run").says("built app");
    let ran = run(&bad, "fourth", &["build", "--json", "--require-remote", "app"]).exits(4);
    assert_eq!(ran.summary()["built"], json!(0));
    run(&bad, "fourth", &["remote", "test", "--json"]).exits(4);
    for token in [&good, &bad] {
        let mut grep = std::process::Command::new("grep");
        let found = grep.args(["-rqF", token]).arg(project.root.parent().unwrap()).status();
        assert_eq!(found.unwrap().code(), Some(1), "it is nowhere on the disk");
    }
    let missing = elsewhere(&project, "fifth", &["build", "app"]).exits(2);
    missing.says("remote team: the variable TEAM_TOKEN holds no token");
}
