//! `ashlar image build`: what finished is never done again, whatever happened since.

mod asking;
mod commands;
mod edges;
mod in_time;
mod kept;
mod keys;
mod machines;
mod modules;
mod pins;
mod recipes;
mod shared;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Project, Ran};

/// A context whose Dockerfile begins with a small system.
struct Context(Project);

const HEAD: &str =
    "FROM scratch AS system\nCOPY rootfs /\nRUN [\"/bin/mkdir\", \"-p\", \"/tmp\"]\n";

impl Context {
    /// The Dockerfile goes on with these lines.
    fn new(lines: &str) -> Self {
        let context = Self(Project::empty());
        std::fs::remove_file(context.0.root.join("ashlar.toml")).unwrap();
        context.write(lines);
        context
    }

    /// Other lines after the small system.
    fn write(&self, lines: &str) {
        self.0.file("Dockerfile", format!("{HEAD}{lines}"));
    }

    /// The same files on another machine, with other times.
    fn elsewhere(&self) -> Self {
        let other = Self(Project::empty());
        let copied = std::process::Command::new("cp")
            .args(["-rT"])
            .args([&self.0.root, &other.0.root])
            .status()
            .unwrap();
        assert!(copied.success());
        std::fs::remove_file(other.0.root.join("ashlar.toml")).ok();
        other
    }

    fn build(&self, args: &[&str]) -> Ran {
        let mut all = vec!["image", "build", "--json"];
        all.extend(args);
        all.push(".");
        self.0.run(&all)
    }

    /// Builds in the background.
    fn begin(&self, args: &[&str]) -> Child {
        let mut all = vec!["image", "build", "--json"];
        all.extend(args);
        all.push(".");
        self.0.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A folder beside the project.
    fn beside(&self, name: &str) -> PathBuf {
        self.0.root.parent().unwrap().join(name)
    }

    /// Builds and reads a file of the image.
    fn file(&self, args: &[&str], path: &str) -> String {
        let folder = tempfile::tempdir_in(self.0.root.parent().unwrap()).unwrap();
        let output = format!("rootfs:{}", folder.path().join("files").display());
        let mut all = vec!["--output", &output];
        all.extend(args);
        self.build(&all).good();
        std::fs::read_to_string(folder.path().join("files").join(path)).unwrap()
    }

    /// The digest of the image.
    fn digest(&self) -> String {
        let folder = tempfile::tempdir_in(self.0.root.parent().unwrap()).unwrap();
        let output = format!("oci:{}", folder.path().join("layout").display());
        let events = self.build(&["--output", &output]).good().events();
        let image = events.iter().find(|event| event["event"] == "image").unwrap();
        image["digest"].as_str().unwrap().to_owned()
    }
}

/// The outcome of each instruction by its text.
fn outcomes(ran: &Ran) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ran.events()
        .iter()
        .filter(|event| event["event"] == "step")
        .map(|event| {
            let step = text(&event["step"]);
            let (_, instruction) = step.split_once(": ").unwrap_or(("", &step));
            (instruction.to_owned(), text(&event["outcome"]))
        })
        .collect()
}

/// The outcome of the instruction that has this in it.
#[track_caller]
fn outcome(ran: &Ran, part: &str) -> String {
    let all = outcomes(ran);
    let found = all.iter().find(|(step, _)| step.contains(part));
    found.unwrap_or_else(|| panic!("{part} is not among {all:?}\n{}", ran.err)).1.clone()
}

/// Waits until something is so.
fn wait(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
