//! Stores that share results through a remote.

use std::time::Duration;

use ashlar_testbed::proxy::{Fault, Rule};
use ashlar_testbed::{Proxy, nginx, registry};
use rustix::process::Signal;
use serde_json::json;
use snapbox::str;

use super::{elsewhere, from, project, tally, with_folder};
use crate::never_lost::running::Running;
use crate::snapshot;
use crate::support::{Project, Ran};

/// Everything that two stores do with one remote.
fn share(project: &Project) {
    let ran = project.run(&["build", "--json"]).good();
    assert_eq!(tally(&ran, "team")["pushed"], 5);
    // The second one fetches only what the target needs: the target.
    let ran = elsewhere(project, "second", &["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:team", "{}", ran.out);
    let team = tally(&ran, "team");
    assert_eq!((&team["pulled"], &team["pushed"]), (&json!(1), &json!(0)));
    let log = elsewhere(project, "second", &["log", "app"]).good();
    assert_eq!(log.out, "==> step 1\n");
    // What it came from is not here, and is brought when a change needs it.
    project.edit("src/app/app.txt", "application", "changed");
    let ran = elsewhere(project, "second", &["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:- lib:team one:team two:team");
    // The change is there for the first one.
    let ran = project.run(&["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:team");
    assert!(project.output("app", "bin/app").starts_with("changed\n"));
    let ran = project.run(&["build", "--json"]).good();
    assert!(ran.summary()["hit"] == 5 && !from(&ran).contains("team"), "{}", ran.out);
}

#[test]
fn through_a_folder() {
    share(&with_folder());
}

#[test]
fn through_a_cache_of_a_build_farm() {
    let casd = ashlar_testbed::casd();
    share(&project(&format!("reapi://{}", casd.host()), ""));
}

#[test]
fn through_a_registry() {
    let registry = ashlar_testbed::docker_registry(&registry::Options::default());
    share(&project(&format!("oci://{}/firmware/results", registry.host()), ""));
}

#[test]
fn through_a_web_server() {
    let nginx = ashlar_testbed::nginx_dav(&nginx::Options::default());
    share(&project(&format!("{}/results", nginx.url()), ""));
}

#[test]
fn through_a_web_server_as_bazel_has_it() {
    let nginx = ashlar_testbed::nginx_dav(&nginx::Options::default());
    share(&project(&format!("{}/bazel", nginx.url()), "layout = \"bazel\"\n"));
}

#[test]
fn through_a_bucket() {
    let garage = ashlar_testbed::garage();
    let more = format!("endpoint = {:?}\nregion = {:?}\n", garage.endpoint(), garage.region());
    let mut project = project(&format!("s3://{}/results", garage.bucket()), &more);
    let key = garage.writer();
    for (name, value) in [("AWS_ACCESS_KEY_ID", key.id), ("AWS_SECRET_ACCESS_KEY", key.secret)] {
        project.env.push((name.to_owned(), value.to_owned()));
    }
    share(&project);
}

#[test]
fn what_people_read() {
    let project = with_folder();
    let ran = project.run(&["build", "-j1", "app"]).good();
    let (_, end) = ran.err.split_once("building app\n").unwrap();
    snapshot::eq(
        &project,
        end,
        str![[r#"
built app in [TIME]
pushed 4 results to team: [..]
4 modules: 4 built in [TIME]

"#]],
    );
    let ran = elsewhere(&project, "second", &["plan", "app", "beside"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
hit    app (team)
build  beside: never built (never timed)
1 to find, 1 to build; 1 step was never timed

"#]],
    );
    let ran = elsewhere(&project, "second", &["build", "-v", "app"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
pulling 1 result from team
hit app from team  [SHORT]
pulled 1 result from team: [..]
1 module: 1 hit in [TIME]: nothing had to be built

"#]],
    );
    let ran = elsewhere(&project, "second", &["why", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app would not be built: its result is there (built [WHEN], [TIME], from team)
no build with another key is known

"#]],
    );
    let ran = elsewhere(&project, "third", &["pull", "app", "--deps"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        // Two of them share a content. It is there already, or under way, when the second one asks.
        str![[r#"
pulling 4 results from team
pulled 4 results from team: [..]

"#]],
    );
    let ran = elsewhere(&project, "third", &["pull", "app", "--deps"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
4 results: nothing had to be moved

"#]],
    );
    let ran = elsewhere(&project, "third", &["push", "app"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
pushed 4 results to team: 0 bytes, 60 bytes were there already

"#]],
    );
    let ran = elsewhere(&project, "third", &["pull", "beside"]).exits(1);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
beside is at no remote that answers

"#]],
    );
}

#[test]
fn nothing_is_asked_when_everything_is_here() {
    let casd = ashlar_testbed::casd();
    let proxy = Proxy::tcp(casd.address());
    let project = project(&format!("reapi://{}", proxy.host()), "");
    project.run(&["build"]).good();
    // Once more for what is remembered of the files, which are too young at first.
    std::thread::sleep(Duration::from_millis(100));
    project.run(&["build"]).good();
    proxy.reset();
    proxy.refuse();
    let ran = project.run(&["build", "--require-remote"]).good();
    assert!(!ran.err.contains("team"), "{}", ran.err);
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn what_is_pushed_from_a_run_that_is_stopped() {
    let casd = ashlar_testbed::casd();
    let proxy = Proxy::tcp(casd.address());
    let project = project(&format!("reapi://{}", proxy.host()), "");
    project.module("slow", "[build]\nkind = \"script\"\nsteps = ['sleep 300']\n");
    // Slow enough for the signal to come first.
    proxy.add(Rule::connections(Fault::Delay(Duration::from_millis(100))));
    let mut running = Running::start(&project, &["build", "--json", "-j2", "lib", "slow"]);
    running.wait_for("end of lib", |e| e["event"] == "step" && e["module"] == "lib");
    running.signal(Signal::TERM);
    let ran = running.end().exits(5);
    assert_eq!(
        (&tally(&ran, "team")["pushed"], &tally(&ran, "team")["unsent"]),
        (&json!(1), &json!(0))
    );
    proxy.clear();
    let ran = elsewhere(&project, "second", &["build", "--json", "lib"]).good();
    assert_eq!(from(&ran), "lib:team");
}

#[test]
fn a_run_that_is_killed_leaves_nothing_half() {
    let casd = ashlar_testbed::casd();
    let proxy = Proxy::tcp(casd.address());
    let project = project(&format!("reapi://{}", proxy.host()), "");
    proxy.add(Rule::connections(Fault::Delay(Duration::from_millis(100))));
    let mut running = Running::start(&project, &["build", "--json", "app"]);
    running.wait_for("end of app", |e| e["event"] == "step" && e["module"] == "app");
    running.signal(Signal::KILL);
    running.end().exits(128 + 9);
    proxy.clear();
    // Nobody knows what arrived; `push` sends what did not.
    let ran = project.run(&["push", "--json", "app"]).good();
    assert_eq!(tally(&ran, "team")["pushed"], 4);
    let ran = elsewhere(&project, "second", &["build", "--json", "app"]).good();
    assert_eq!(from(&ran), "app:team");
}

#[test]
fn eight_at_once() {
    let project = with_folder();
    let stores: Vec<String> = (0..8).map(|n| format!("store-{n}")).collect();
    std::thread::scope(|scope| {
        for store in &stores {
            let project = &project;
            scope.spawn(move || {
                elsewhere(project, store, &["build", "--json", "--require-push"]).good()
            });
        }
    });
    let ran = elsewhere(&project, "ninth", &["build", "--json"]).good();
    assert_eq!(from(&ran), "app:team beside:team lib:team one:team two:team");
    for store in &stores {
        elsewhere(&project, store, &["store", "verify"]).good();
    }
}

#[test]
fn what_programs_read() {
    let project = with_folder();
    project.run(&["build"]).good();
    let ran = elsewhere(&project, "second", &["build", "--json", "app"]).good();
    let events = ran.events();
    assert_eq!(events[0], json!({ "event": "pull", "remote": "team", "results": 1 }));
    let team = tally(&ran, "team");
    let mut fields: Vec<&str> = team.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(
        fields.join(" "),
        "event failed gone pulled pulled_already pulled_bytes pushed pushed_already pushed_bytes \
         remote unclean unsent untrusted"
    );
    assert!(team["pulled_bytes"].as_u64().unwrap() > 0);
    assert_eq!(ran.summary()["hit"], 1, "the summary is last");
    let plan = elsewhere(&project, "third", &["plan", "--json", "app"]).good().events();
    assert_eq!((&plan[0]["state"], &plan[0]["where"]), (&json!("hit"), &json!("team")));
    let ran = elsewhere(&project, "third", &["pull", "--json", "app"]).good();
    assert_eq!(
        ran.events().pop().unwrap(),
        json!({ "event": "transfer", "results": 1, "here": 0, "missing": 0 })
    );
    let ran = elsewhere(&project, "fourth", &["push", "--json", "app"]).exits(1);
    let missing = ran.events().into_iter().find(|e| e["event"] == "missing").unwrap();
    assert_eq!((&missing["module"], &missing["step"]), (&json!("app"), &json!("build")));
    let ran = elsewhere(&project, "third", &["show", "--provenance", "--json", "app"]).good();
    let event = ran.events().pop().unwrap();
    assert_eq!(event["remote"], "team");
    let parameters = &event["statement"]["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!(parameters["module"], "app");
}

#[test]
fn only_what_is_committed_leaves() {
    let project = with_folder();
    project.edit("ashlar.toml", "write = true", "write = \"clean\"");
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(&project.root);
        git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
        assert!(git.output().unwrap().status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "x"]);
    project.file("src/lib/new.txt", "not committed\n");
    let ran: Ran = project.run(&["plan", "lib", "beside"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
build  lib: never built (never timed); stays here: src/lib/new.txt is not committed
build  beside: never built (never timed)
0 to find, 2 to build; 2 steps were never timed

"#]],
    );
    let ran = project.run(&["build", "-v", "-j1", "lib", "beside"]).good();
    ran.says("not pushed lib to team: src/lib/new.txt is not committed")
        .says("pushed 1 result to team")
        .says(
            "not pushed to team: 1 result made from files that are not committed (-v names them)",
        );
    git(&["add", "-A"]);
    git(&["commit", "-qm", "y"]);
    project.run(&["push", "lib", "beside"]).good().says("pushed 2 results to team");
}
