//! A store of its own for each test, a small root made of busybox, requests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ashlar_execute::{
    Cancel, ExecuteError, Executor as _, Finished, Jobs, Keep, Kept, Outcome, Request, Root,
    Sandbox, SandboxOptions, View,
};
use ashlar_object::{Command, Digest, Tree};
use ashlar_store::{Capture, LocalStore, OpenOptions, Store as _, read};
use tempfile::TempDir;

pub const BASE: u32 = 524_288;

/// The program that is started as helper.
pub fn helper() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ashlar-sandbox-helper"))
}

pub struct Fixture {
    // Dropped before the folder it lies in.
    pub sandbox: Sandbox,
    pub store: Arc<LocalStore>,
    pub jobs: Jobs,
    pub streamed: Arc<Mutex<Vec<u8>>>,
    pub folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests run as root");
        let folder = TempDir::new().unwrap();
        let options = OpenOptions { owner_base: BASE, read_only: false };
        let store = Arc::new(LocalStore::open(&folder.path().join("store"), options).unwrap());
        let streamed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&streamed);
        let options = SandboxOptions {
            owner_base: BASE,
            helper: helper(),
            keep_failed: false,
            on_output: Arc::new(move |_, lines| sink.lock().unwrap().extend_from_slice(lines)),
        };
        let sandbox = Sandbox::new(Arc::clone(&store), options);
        Self { sandbox, store, jobs: Jobs::new(2).unwrap(), streamed, folder }
    }

    /// Keeps a folder that `fill` fills, owned by root inside.
    pub fn tree(&self, how: Capture, fill: impl FnOnce(&Path)) -> Kept {
        let folder = TempDir::new_in(self.folder.path()).unwrap();
        let path = folder.path().join("tree");
        fs::create_dir(&path).unwrap();
        fill(&path);
        let owner = format!("{BASE}:{BASE}");
        let status = Process::new("chown").args(["-hR", &owner]).arg(&path).status().unwrap();
        assert!(status.success());
        let (digest, tree) = self.store.keep_folder(&path, how).unwrap();
        Kept { digest, tree }
    }

    /// A root with busybox and nothing else.
    pub fn busybox(&self) -> Kept {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists())
            .expect("the package busybox-static is installed");
        self.tree(Capture::Root, |root| {
            for folder in ["bin", "etc", "usr", "usr/lib", "var"] {
                fs::create_dir(root.join(folder)).unwrap();
            }
            fs::copy(busybox, root.join("bin/busybox")).unwrap();
            let names = Process::new(busybox).arg("--list").output().unwrap().stdout;
            for name in String::from_utf8(names).unwrap().lines() {
                if name != "busybox" {
                    symlink("busybox", root.join("bin").join(name)).unwrap();
                }
            }
            fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        })
    }

    /// A script on the busybox root.
    pub fn request(&self, script: &str) -> Request {
        request(Root::Layers(vec![self.busybox()]), script)
    }

    pub fn try_run(&self, request: &Request) -> Result<Finished, ExecuteError> {
        self.sandbox.run(request, &self.jobs, &Cancel::new())
    }

    /// How it ended, and its log.
    pub fn run(&self, request: &Request) -> (Outcome, String) {
        let finished = self.try_run(request).unwrap();
        (finished.outcome, self.text(&finished.log))
    }

    /// The log of a script that must succeed.
    #[track_caller]
    pub fn output(&self, request: &Request) -> String {
        let (outcome, log) = self.run(request);
        assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}\n{log}");
        log
    }

    /// What a script that must succeed leaves.
    #[track_caller]
    pub fn kept(&self, request: &Request) -> Tree {
        match self.run(request) {
            (Outcome::Succeeded(kept), _) => kept.tree,
            (other, log) => panic!("{other:?}\n{log}"),
        }
    }

    pub fn text(&self, digest: &Digest) -> String {
        String::from_utf8(read(&*self.store, digest).unwrap().unwrap()).unwrap()
    }

    /// No process on the machine has a mount of this store.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let here = self.folder.path().to_str().unwrap();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            assert!(!mounts.contains(here), "{}: {mounts}", entry.path().display());
        }
    }
}

pub fn request(root: Root, script: &str) -> Request {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let environment = [("HOME", "/build/home"), ("PATH", path), ("TZ", "UTC"), ("LC_ALL", "C")];
    Request {
        label: "module/step".into(),
        root,
        source: None,
        mounts: Vec::new(),
        command: Command {
            arguments: ["sh", "-euc", script].map(str::to_owned).to_vec(),
            environment: environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            working_directory: "build/src".into(),
            output_paths: Vec::new(),
        },
        keep: Keep::Outputs,
        timeout: Some(Duration::from_secs(120)),
        many_ids: false,
        held_jobs: None,
        view: View::Module,
    }
}

/// The paths of a tree, one a line.
pub fn paths(tree: &Tree) -> Vec<String> {
    let mut paths = Vec::new();
    tree.walk(|entry| paths.push(entry.path.to_string()));
    paths
}

/// The processes of this machine whose command line contains a text.
pub fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push(line);
        }
    }
    found
}
