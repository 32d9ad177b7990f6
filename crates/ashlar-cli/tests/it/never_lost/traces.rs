//! What a build may leave behind: processes, mounts, folders.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::Project;

/// A project whose sandboxes can be told from those of all other tests: the folder of the test is
/// in the environment of every command. What is beside `[env]` may follow.
pub fn marked(more: &str) -> Project {
    let project = Project::empty();
    let mark = mark(&project);
    project.file(
        "ashlar.toml",
        format!(
            "[project]\nname = \"sample\"\n[base.busybox]\npath = \"rootfs\"\n\
             [env]\nMARK = \"{mark}\"\n{more}"
        ),
    );
    project
}

fn mark(project: &Project) -> String {
    project.root.parent().unwrap().to_str().unwrap().to_owned()
}

/// Processes that a build of this project left, or that are in a mount name space with one of its
/// overlays: such a name space lives as long as a process is in it, so this finds mounts as well.
pub fn left_by(project: &Project) -> Vec<String> {
    let mark = mark(project);
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().parse::<u32>().is_err() {
            continue;
        }
        // A process that ends meanwhile, or a zombie, has nothing to read, and holds nothing.
        let read = |file: &str| std::fs::read(path.join(file)).unwrap_or_default();
        let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
        let inside = text("environ").split('\0').any(|entry| entry == format!("MARK={mark}"));
        let there =
            std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(Path::new(&mark)));
        let mounted = text("mountinfo")
            .lines()
            .any(|line| line.contains(" - overlay ") && line.contains(&mark));
        if inside || there || mounted {
            let command = text("cmdline").replace('\0', " ");
            left.push(format!(
                "{} (environment {inside}, folder {there}, mounts {mounted}): {command}",
                path.display()
            ));
        }
    }
    left
}

/// Waits until nothing is left.
#[track_caller]
pub fn nothing_left(project: &Project, within: Duration) {
    let until = Instant::now() + within;
    loop {
        let left = left_by(project);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left after {within:?}:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// No process has a private folder in the store any more.
#[track_caller]
pub fn no_workspace_left(project: &Project) {
    let left: Vec<_> = std::fs::read_dir(project.store.join("work"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "left in work/: {left:?}");
}

/// The store says of itself that all is well, and nothing was ever put aside.
#[track_caller]
pub fn all_is_well(project: &Project) {
    project.run(&["store", "verify"]).good().says("all is well");
    let aside: Vec<_> = std::fs::read_dir(project.store.join("quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(aside.is_empty(), "in quarantine: {aside:?}");
}
