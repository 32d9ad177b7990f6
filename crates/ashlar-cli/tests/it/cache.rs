//! `ashlar cache` around real makes in real checkouts.

mod ci;
mod far;
mod heads;
mod layers;
mod mistakes;
mod whole;
mod wrapped;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{ASHLAR, Ran};

/// A tree of three modules as a makefile of stamps builds it: downloaded, patched, built. It would
/// ask a question if it had to patch what is patched.
const MAKEFILE: &str = r#"MODULES = base mid top
all: $(MODULES:%=build/%/.built)
packages/%.tar: modules/%
	mkdir -p packages
	tar cf $@.part modules/$*
	mv $@.part $@
	echo "downloaded $*" >>log
build/%/.patched: packages/%.tar patches/%.patch
	@test ! -e build/$*/applied || { echo "asked $*" >>log; exit 3; }
	mkdir -p build/$*
	tar xf packages/$*.tar -C build/$*
	cat patches/$*.patch >>build/$*/modules/$*
	touch build/$*/applied
	echo "patched $*" >>log
	touch $@
build/%/.built: build/%/.patched
	test ! -e fail-$*
	cp build/$*/modules/$* build/$*/out
	echo "built $*" >>log
	touch $@
.SECONDARY:
"#;

const LAYERS: &str = r#"version = "1"
[layer.modules]
key = ["modules/**", "patches/**", "Makefile"]
paths = ["packages", "build"]
[layer.middle]
key = ["modules/base", "modules/mid", "patches/base*", "patches/mid*", "Makefile"]
paths = ["packages/base*", "packages/mid*", "build/base", "build/mid"]
[layer.base]
key = ["modules/base", "patches/base*", "Makefile"]
paths = ["packages/base*", "build/base"]
[scope]
read = ["branch:${branch}", "branch:main"]
write = "branch:${branch}"
"#;

/// Checkouts of one repository, and a store.
struct Space {
    dir: tempfile::TempDir,
    /// Where commands run.
    root: PathBuf,
    store: PathBuf,
    checkouts: AtomicUsize,
}

impl Space {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ashlar-test-").tempdir().unwrap();
        let root = dir.path().join("origin");
        let store = dir.path().join("store");
        let space = Self { dir, root, store, checkouts: AtomicUsize::new(0) };
        space.file("Makefile", MAKEFILE);
        space.file("ashlar-cache.toml", LAYERS);
        space.file(".gitignore", "/packages\n/build\n/log\n");
        for module in ["base", "mid", "top"] {
            space.file(&format!("modules/{module}"), &format!("{module} 1\n"));
            space.file(&format!("patches/{module}.patch"), &format!("patch of {module}\n"));
        }
        space.sh("git init -q -b main .");
        space.commit();
        space
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap()
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let done = Command::new("sh").args(["-ec", script]).current_dir(&self.root).output();
        let ran = Ran::of(&done.unwrap()).good();
        ran.out
    }

    fn commit(&self) {
        self.sh("git add -A; git -c user.name=x -c user.email=x@example.org commit -qm x");
    }

    /// A fresh checkout, as the next job has it: all of its files are of now.
    fn checkout(&self) -> Self {
        let number = self.checkouts.fetch_add(1, Ordering::Relaxed);
        let root = self.dir.path().join(format!("checkout{number}"));
        let cloned = Command::new("git").args(["clone", "-q"]).arg(&self.root).arg(&root).status();
        assert!(cloned.unwrap().success());
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let (store, checkouts) = (self.store.clone(), AtomicUsize::new(0));
        Self { dir, root, store, checkouts }
    }

    /// The program, without what the CI that runs these tests may say.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ASHLAR);
        command.args(args).current_dir(&self.root).env("ASHLAR_STORE", &self.store);
        for name in ["GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "JENKINS_URL", "GITHUB_OUTPUT"] {
            command.env_remove(name);
        }
        command.env_remove("MAKEFLAGS").env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(&[&["cache"], args].concat()).output().unwrap())
    }

    /// A whole job: restore, make, save.
    fn job(&self) -> Ran {
        self.run(&["wrap", "--", "make"])
    }

    /// What make did, sorted.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    }

    /// The layer that a restore takes and how much it writes.
    #[track_caller]
    fn restored(&self) -> (String, String, u64) {
        let event = self.event(&["restore", "--json"]);
        let text = |key: &str| event[key].as_str().unwrap_or("-").to_owned();
        (text("layer"), text("mark"), event["files"].as_u64().unwrap_or_default())
    }

    /// The last event of a command.
    #[track_caller]
    fn event(&self, args: &[&str]) -> Value {
        self.run(args).good().events().into_iter().rfind(|event| event["event"] == args[0]).unwrap()
    }

    /// The outcome of saving each layer.
    #[track_caller]
    fn saved(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["save", "--json"], args].concat()).good();
        let events = ran.events();
        let saves = events.iter().filter(|event| event["event"] == "save");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let each = saves.map(|e| format!("{}:{}", text(&e["layer"]), text(&e["outcome"])));
        each.collect::<Vec<_>>().join(" ")
    }

    /// The blob of a file.
    fn blob(&self, path: &str) -> PathBuf {
        let sum = self.sh(&format!("sha256sum {path}"));
        let hash = &sum[..64];
        self.store.join("blobs").join(&hash[..2]).join(hash)
    }

    /// Another content of the same size and time: what a bad disk leaves.
    fn flip(&self, path: &str) {
        let blob = self.blob(path);
        let time = blob.metadata().unwrap().modified().unwrap();
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
        std::fs::File::options().write(true).open(&blob).unwrap().set_modified(time).unwrap();
    }
}

/// Everything in a folder but git's: kind, mode, content.
fn all(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut into = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(at) = todo.pop() {
        for entry in root.join(&at).read_dir().unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let meta = root.join(&path).symlink_metadata().unwrap();
            if path == Path::new(".git") {
                continue;
            } else if meta.is_dir() {
                into.insert(path.clone(), (meta.mode(), Vec::new()));
                todo.push(path);
            } else {
                let content = std::fs::read(root.join(&path)).unwrap();
                into.insert(path, (meta.mode(), content));
            }
        }
    }
    into
}
