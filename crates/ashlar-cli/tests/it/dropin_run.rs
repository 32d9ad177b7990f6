//! `ashlar run` over small trees: what is restored, what is in the key, what is shared, what goes
//! wrong around it.

mod asking;
mod batch;
mod declared;
mod failing;
mod keys;
mod policy;
mod replayed;
mod restored;
mod stopped;
mod together;
mod traced;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use crate::support::{ASHLAR, Ran};

/// A tree with a store.
struct Tree {
    folder: Arc<tempfile::TempDir>,
    root: PathBuf,
    store: PathBuf,
    env: BTreeMap<String, String>,
}

impl Tree {
    /// An empty tree with an empty store.
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ashlar-test-").tempdir().unwrap();
        let (root, store) = (folder.path().join("tree"), folder.path().join("store"));
        let tree = Self { folder: Arc::new(folder), root, store, env: BTreeMap::new() };
        // It says where the root is.
        tree.file("ashlar-run.toml", "");
        tree
    }

    /// Another checkout with the same store, where nothing is yet.
    fn beside(&self) -> Self {
        let root = self.folder.path().join("another one");
        let (folder, store, env) = (Arc::clone(&self.folder), self.store.clone(), self.env.clone());
        let tree = Self { folder, root, store, env };
        tree.file("ashlar-run.toml", "");
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[track_caller]
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// A program in the tree, without what the environment of the tests says to make and us.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let ours = ["MAKE", "MFLAGS", "GIT_", "ASHLAR"];
            if name.to_str().is_some_and(|name| ours.iter().any(|one| name.starts_with(one))) {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(&self.root).env("ASHLAR_STORE", &self.store);
        command.envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Our program.
    fn ashlar(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(ASHLAR, args).output().unwrap())
    }

    /// `ashlar run` with these declarations, over a script.
    fn run(&self, declared: &[&str], script: &str) -> Ran {
        self.ashlar(&[&["run"], declared, &["--", "sh", "-c", script]].concat())
    }

    /// The same as programs see it: how it ended, `hit` or `built`; with 0.
    #[track_caller]
    fn outcome(&self, declared: &[&str], script: &str) -> String {
        let ran = self.run(&[&["--json"], declared].concat(), script).good();
        ran.events().pop().unwrap()["outcome"].as_str().unwrap().to_owned()
    }

    /// How it ended, with the event.
    fn event(&self, declared: &[&str], script: &str) -> (Ran, Value) {
        let ran = self.run(&[&["--json"], declared].concat(), script);
        let event = ran.events().into_iter().rfind(|event| event["event"] == "run");
        (ran, event.unwrap_or_default())
    }

    #[track_caller]
    fn git(&self, args: &[&str]) {
        let mut command = self.command("git", &["-c", "user.name=x", "-c", "user.email=x@y"]);
        command.args(["-c", "protocol.file.allow=always"]).args(args);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        Ran::of(&command.output().unwrap()).good();
    }

    #[track_caller]
    fn commit(&self) {
        if !self.path(".git").exists() {
            self.git(&["init", "--quiet"]);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=x"]);
    }

    /// Everything in the tree: names, kinds, modes, contents.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        list(&self.root, &self.root, &mut all);
        all
    }

    /// Where scripts count how often they were run: outside of the tree.
    fn counter(&self) -> String {
        self.folder.path().join("count").to_str().unwrap().to_owned()
    }

    fn count(&self) -> usize {
        std::fs::read_to_string(self.counter()).unwrap_or_default().lines().count()
    }
}

fn list(root: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = meta.mode() & 0o7777;
        if meta.is_symlink() {
            all.insert(name, format!("-> {}", std::fs::read_link(&path).unwrap().display()));
        } else if meta.is_dir() {
            all.insert(name, format!("{mode:o}/"));
            list(root, &path, all);
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            all.insert(name, format!("{mode:o} {text}"));
        }
    }
}
