//! Projects with remotes, over real places and servers.

mod asking;
mod failing;
mod faults;
mod firmware;
mod leaving;
mod proxies;
mod sharing;
mod signed;

use crate::support::{Project, Ran};

/// A project that names one remote, `team`.
fn project(url: &str, more: &str) -> Project {
    let project = Project::sample();
    let text = project.read("ashlar.toml");
    project.file(
        "ashlar.toml",
        format!("{text}[[remote]]\nname = \"team\"\nurl = \"{url}\"\nwrite = true\n{more}"),
    );
    project
}

/// A project with a folder beside it as its remote.
fn with_folder() -> Project {
    project("dir:../cache", "")
}

/// Runs the program with another store, as another machine would.
fn elsewhere(project: &Project, store: &str, args: &[&str]) -> Ran {
    let store = project.root.parent().unwrap().join(store);
    Ran::of(&project.command(args).env("ASHLAR_STORE", store).output().unwrap())
}

/// Where the modules of a build came from, as `module:from`.
fn from(ran: &Ran) -> String {
    let all = ran.events();
    let steps = all.iter().filter(|e| e["event"] == "step" && e["step"] == "build");
    let mut from: Vec<String> = steps
        .map(|e| {
            let from = e["from"].as_str().unwrap_or("-");
            format!("{}:{from}", e["module"].as_str().unwrap())
        })
        .collect();
    from.sort();
    from.join(" ")
}

/// What a command had to do with a remote.
fn tally(ran: &Ran, remote: &str) -> serde_json::Value {
    let all = ran.events();
    all.into_iter()
        .find(|e| e["event"] == "remote" && e["remote"] == remote)
        .unwrap_or_else(|| panic!("nothing of {remote} in:\n{}", ran.out))
}
