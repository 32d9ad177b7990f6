//! A copy of `examples/makefile` with a store, and make run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ashlar_testbed::program;

use crate::support::{ASHLAR, Ran};

/// The tree as it is in the repository.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/makefile");

/// What all are called when each is found.
pub const ALL_FOUND: &str = "ledd:hit libportname:hit portctl:hit";
/// What all are called when each is built.
pub const ALL_BUILT: &str = "ledd:built libportname:built portctl:built";

/// A checkout.
pub struct Tree {
    folder: Arc<tempfile::TempDir>,
    pub root: PathBuf,
    pub store: PathBuf,
    /// Variables that make and all it runs get besides.
    pub env: BTreeMap<String, String>,
}

/// What make did: which package was found, which was built.
pub struct Made {
    pub ran: Ran,
    /// `ledd:built libportname:hit …`, sorted.
    pub outcomes: String,
}

impl Tree {
    /// A checkout with a store of its own.
    pub fn new() -> Self {
        assert!(program("quilt").is_file());
        let folder = tempfile::Builder::new().prefix("ashlar-test-").tempdir().unwrap();
        let root = folder.path().join("checkout");
        let store = folder.path().join("store");
        copy(Path::new(EXAMPLE), &root);
        Self { folder: Arc::new(folder), root, store, env: BTreeMap::new() }
    }

    /// Another checkout of the example, with the same store.
    pub fn beside(&self, name: &str) -> Self {
        let root = self.folder.path().join(name).join("a checkout");
        copy(Path::new(EXAMPLE), &root);
        let (store, env) = (self.store.clone(), self.env.clone());
        Self { folder: Arc::clone(&self.folder), root, store, env }
    }

    /// Sets a variable for make and all it runs.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// A program that is run in the tree, without what the caller's environment says to make, git
    /// and us.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let ours = |name: &str| {
            ["MAKE", "MFLAGS", "GIT_", "ASHLAR", "QUILT_", "CI"].iter().any(|p| name.starts_with(p))
                || ["platform", "LED_PROFILE", "ENABLE_ASAN", "BLDENV", "NO_COLOR"].contains(&name)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .current_dir(&self.root)
            .env("ASHLAR_STORE", &self.store)
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// Make with the program under test.
    pub fn make_command(&self, args: &[&str]) -> Command {
        let mut all = vec!["RUN_OPTIONS=--json"];
        all.extend(args);
        let mut command = self.command("make", &all);
        command.arg(format!("ASHLAR={ASHLAR}"));
        command
    }

    /// Runs make to its end, however that is.
    pub fn make_any(&self, args: &[&str]) -> Made {
        Made::of(Ran::of(&self.make_command(args).output().unwrap()))
    }

    /// Runs make, which succeeds.
    #[track_caller]
    pub fn make(&self, args: &[&str]) -> Made {
        let made = self.make_any(args);
        Made { ran: made.ran.good(), ..made }
    }

    /// The outcomes of one flavour, or of others with the arguments.
    #[track_caller]
    pub fn vs(&self, args: &[&str]) -> String {
        let mut all = vec!["platform=vs"];
        all.extend(args);
        self.make(&all).outcomes
    }

    /// Our own program in the tree.
    pub fn ashlar(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(ASHLAR, args).output().unwrap())
    }

    /// Git in the tree.
    #[track_caller]
    pub fn git(&self, args: &[&str]) {
        let mut command =
            self.command("git", &["-c", "user.name=x", "-c", "user.email=x@localhost"]);
        command.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        Ran::of(&command.output().unwrap()).good();
    }

    /// Makes a repository of the tree, with one commit on the branch `main`.
    pub fn commit_all(&self) {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=all"]);
    }

    /// Writes a file of the tree.
    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Changes a file of the tree.
    #[track_caller]
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.root.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
        self.file(path, text.replacen(from, to, 1));
    }

    /// Removes all that was made.
    pub fn clean(&self) {
        std::fs::remove_dir_all(self.root.join("target")).unwrap();
    }

    /// The path of a package that was made; `package` has no version.
    #[track_caller]
    pub fn deb(&self, flavour: &str, package: &str) -> PathBuf {
        let folder = self.root.join(format!("target/{flavour}/debs"));
        let begin = format!("{package}_");
        let mut found = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        found
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&begin))
            .unwrap_or_else(|| panic!("{} has no {package}", folder.display()))
    }

    /// The files made, by their names, with their contents.
    pub fn debs(&self, flavour: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.root.join(format!("target/{flavour}/debs"));
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        files
            .map(|file| {
                let name = file.file_name().into_string().unwrap();
                (name, std::fs::read(file.path()).unwrap())
            })
            .collect()
    }

    /// A package's files, unpacked.
    #[track_caller]
    pub fn unpack(&self, flavour: &str, packages: &[&str]) -> tempfile::TempDir {
        let to = tempfile::tempdir_in(self.folder.path()).unwrap();
        for package in packages {
            let deb = self.deb(flavour, package);
            let mut command = Command::new(program("dpkg-deb"));
            command.arg("--extract").arg(deb).arg(to.path());
            Ran::of(&command.output().unwrap()).good();
        }
        to
    }

    /// What the light daemon that was made says.
    #[track_caller]
    pub fn ledd(&self, flavour: &str) -> String {
        let root = self.unpack(flavour, &["ledd"]);
        let mut command = Command::new(root.path().join("usr/sbin/ledd"));
        Ran::of(&command.output().unwrap()).good().out
    }

    /// What the port tool that was made says, with the library that was made.
    #[track_caller]
    pub fn portctl(&self, flavour: &str) -> String {
        let root = self.unpack(flavour, &["portctl", "libportname"]);
        let mut command = Command::new(root.path().join("usr/bin/portctl"));
        command.arg("1").env("LD_LIBRARY_PATH", root.path().join("usr/lib"));
        Ran::of(&command.output().unwrap()).good().out
    }

    /// Every blob of the store with its path.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let mut blobs = Vec::new();
        for folder in std::fs::read_dir(self.store.join("blobs")).unwrap() {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                blobs.push(file.unwrap().path());
            }
        }
        blobs.sort();
        blobs
    }

    /// Nothing in the store is wrong, and nothing hidden was left in the tree.
    #[track_caller]
    pub fn all_is_well(&self) {
        self.ashlar(&["store", "verify"]).good().says("all is well");
        let left: Vec<String> = std::fs::read_dir(&self.root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(".ashlar"))
            .collect();
        assert!(left.is_empty(), "left in the tree: {left:?}");
    }
}

impl Made {
    pub fn of(ran: Ran) -> Self {
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        let mut outcomes: Vec<String> = ran
            .out
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|event| event["event"] == "run")
            .map(|event| {
                let (name, outcome) = (event["name"].as_str(), event["outcome"].as_str());
                let (_, package) = name.unwrap().split_once('/').unwrap();
                format!("{package}:{}", outcome.unwrap())
            })
            .collect();
        outcomes.sort();
        Self { ran, outcomes: outcomes.join(" ") }
    }
}

/// Copies a folder with modes and links, but not what git does not have.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, at) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(path).unwrap(), at).unwrap();
        } else if kind.is_file() {
            std::fs::copy(path, at).unwrap();
        } else if entry.file_name() != "target" {
            copy(&path, &at);
        }
    }
}
