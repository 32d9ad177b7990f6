//! A project in a folder of its own, and the program run over it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program under test.
pub const ASHLAR: &str = env!("CARGO_BIN_EXE_ashlar");

/// A project with a store of its own. Its base is busybox, so that a build takes milliseconds.
pub struct Project {
    _folder: tempfile::TempDir,
    pub root: PathBuf,
    pub store: PathBuf,
    /// Variables that the program gets besides.
    pub env: Vec<(String, String)>,
}

/// What the program did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Project {
    /// A project without modules.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("ashlar-test-").tempdir().unwrap();
        let root = folder.path().join("project");
        let store = folder.path().join("store");
        std::fs::create_dir(&root).unwrap();
        let project = Self { _folder: folder, root, store, env: Vec::new() };
        project.file(
            "ashlar.toml",
            "[project]\nname = \"sample\"\n[base.busybox]\npath = \"rootfs\"\n",
        );
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("the Debian package busybox-static is installed");
        project.file("rootfs/etc/passwd", "root:x:0:0::/:/bin/sh\n");
        std::fs::create_dir_all(project.root.join("rootfs/bin")).unwrap();
        std::fs::copy(busybox, project.root.join("rootfs/bin/busybox")).unwrap();
        for tool in [
            "sh",
            "cat",
            "cp",
            "mkdir",
            "sleep",
            "env",
            "ls",
            "printf",
            "sort",
            "head",
            "sha256sum",
            "find",
            "id",
            "touch",
            "chmod",
            "ln",
            "rm",
            "mv",
            "sed",
            "grep",
            "tr",
            "date",
            "dd",
            "kill",
        ] {
            project.link(&format!("rootfs/bin/{tool}"), "busybox");
        }
        project
    }

    /// A library, two users of it and an application over both; one module beside them.
    pub fn sample() -> Self {
        let project = Self::empty();
        project.file("src/lib/lib.txt", "library\n");
        project.file("src/app/app.txt", "application\n");
        project.module(
            "lib",
            "[source]\npath = \"src/lib\"\n[build]\nkind = \"script\"\nsteps = ['mkdir -p $DESTDIR/usr/lib; cat lib.txt | grep -v \"^#\" > $DESTDIR/usr/lib/lib.txt']\n",
        );
        for user in ["one", "two"] {
            project.module(
                user,
                &format!(
                    "depends = [\"lib\"]\n[build]\nkind = \"script\"\nsteps = ['mkdir -p $DESTDIR/usr/share; cat /usr/lib/lib.txt > $DESTDIR/usr/share/{user}']\n"
                ),
            );
        }
        project.module(
            "app",
            "depends = [\"one\", \"two\"]\n[source]\npath = \"src/app\"\n[build]\nkind = \"script\"\nsteps = ['mkdir -p $DESTDIR/bin; cat app.txt /usr/share/one /usr/share/two /usr/lib/lib.txt > $DESTDIR/bin/app']\n[outputs]\nexpect = [\"bin/app\"]\n",
        );
        project.module(
            "beside",
            "[build]\nkind = \"script\"\nsteps = ['echo beside > $DESTDIR/beside']\n",
        );
        project
    }

    /// Writes a file of the project.
    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a module.
    pub fn module(&self, name: &str, text: &str) {
        self.file(&format!("modules/{name}.toml"), text);
    }

    /// Makes a symbolic link in place of what was there.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound),
        }
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// Changes a file of the project.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}:\n{text}");
        self.file(path, text.replacen(from, to, 1));
    }

    /// Reads a file of the project.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap()
    }

    /// Sets the mode of a file.
    pub fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.root.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// The program with arguments, over this project and its store.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ASHLAR);
        command
            .args(args)
            .current_dir(&self.root)
            .env("ASHLAR_STORE", &self.store)
            .env_remove("NO_COLOR")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// Builds and gives the outcome of each module, in the order of their names.
    pub fn build(&self, args: &[&str]) -> Vec<(String, String)> {
        let mut all = vec!["build", "--json"];
        all.extend(args);
        let ran = self.run(&all).good();
        ran.modules()
    }

    /// The outcome of each module of a build as `module:outcome`.
    pub fn outcomes(&self, args: &[&str]) -> String {
        let all =
            self.build(args).into_iter().map(|(module, outcome)| format!("{module}:{outcome}"));
        all.collect::<Vec<_>>().join(" ")
    }

    /// A file of a module's outputs, checked out.
    pub fn output(&self, module: &str, file: &str) -> String {
        let dest = self.root.parent().unwrap().join("out");
        self.run(&["checkout", "--force", module, dest.to_str().unwrap()]).good();
        std::fs::read_to_string(dest.join(file)).unwrap()
    }

    /// `why` as JSON.
    pub fn why(&self, module: &str) -> Value {
        serde_json::from_str(&self.run(&["why", "--json", module]).good().out).unwrap()
    }

    /// The inputs that `why` names, the root causes included.
    pub fn reasons(&self, module: &str) -> Vec<String> {
        let why = self.why(module);
        why["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["input"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Whether `why` names an input, however far behind.
    pub fn names(&self, module: &str, input: &str) {
        let reasons = self.reasons(module);
        assert!(reasons.iter().any(|r| r.ends_with(input)), "{input} is not among {reasons:?}");
    }

    /// The step key of a module.
    pub fn key(&self, module: &str) -> String {
        self.why(module)["step_key"].as_str().unwrap().to_owned()
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
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let code = std::os::unix::process::ExitStatusExt::signal(&output.status)
            .map_or_else(|| output.status.code().unwrap(), |signal| 128 + signal);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It exited with 0.
    #[track_caller]
    pub fn good(self) -> Self {
        self.exits(0)
    }

    /// It exited with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Its standard error has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in:\n{}", self.err);
        self
    }

    /// The JSON objects on standard output.
    pub fn events(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last object, of a build the summary.
    pub fn summary(&self) -> Value {
        let summary = self.events().pop().unwrap();
        assert_eq!(summary["event"], "summary");
        summary
    }

    /// Module and outcome of every build step.
    pub fn modules(&self) -> Vec<(String, String)> {
        let mut modules: Vec<_> = self
            .events()
            .iter()
            .filter(|e| e["event"] == "step" && e["step"] == "build")
            .map(|e| {
                (
                    e["module"].as_str().unwrap().to_owned(),
                    e["outcome"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        modules.sort();
        modules
    }
}
