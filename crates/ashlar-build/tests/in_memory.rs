//! A whole build with a store in memory and an executor of a few lines: what is looked up, what is
//! run and in which order, without a sandbox or a disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ashlar_build::{
    Engine, Event, Folder, Options, Remotes, StepOutcome, Summary, Trees, build, facts,
};
use ashlar_execute::{
    Cancel, ExecuteError, Executor, Finished, Jobs, Kept, Outcome, Request, Root,
};
use ashlar_object::{Digest, File, Meta, Node, Time, Tree};
use ashlar_plan::plan;
use ashlar_recipe::{Lock, ModuleName, load};
use ashlar_source::{Apt, Fetcher, digest_file};
use ashlar_store::{Journal, MemoryStore, Store, put};

/// "Runs" a module: its only output is a file of its name, holding the script and what the
/// dependencies' files hold, comments left out. A script with `fail` in it fails.
struct Fake<'a> {
    store: &'a MemoryStore,
    ran: Mutex<Vec<String>>,
}

impl Executor for Fake<'_> {
    fn run(&self, request: &Request, _: &Jobs, _: &Cancel) -> Result<Finished, ExecuteError> {
        self.ran.lock().unwrap().push(request.label.clone());
        let script = request.command.arguments.last().cloned().unwrap_or_default();
        let mut content = script.split('#').next().unwrap_or_default().trim().to_owned();
        let (Root::Layers(layers) | Root::Host(layers)) = &request.root;
        for layer in layers {
            layer.tree.walk(|entry| {
                if let Node::File(file) = entry.node {
                    content.push_str(&format!(" {}={}", entry.path, file.digest.short()));
                }
            });
        }
        let log = put(self.store, format!("log of {}", request.label).as_bytes())?;
        let outcome = if script.contains("fail") {
            Outcome::Failed(3)
        } else {
            let digest = put(self.store, content.as_bytes())?;
            let file = Node::File(File { digest, meta: Meta::FILE });
            let name = request.label.parse().unwrap();
            let tree = Tree::default().with(&name, file);
            Outcome::Succeeded(Kept { digest: put(self.store, &tree.encode())?, tree })
        };
        let started = Time { seconds: 1_700_000_000, nanos: 0 };
        Ok(Finished { outcome, log, started, took: Duration::from_secs(2) })
    }
}

struct World {
    folder: tempfile::TempDir,
    store: MemoryStore,
    journal: Journal,
}

struct Seen {
    summary: Summary,
    /// Module and outcome in the order in which they were told.
    ended: Vec<(String, StepOutcome)>,
    ran: Vec<String>,
}

impl World {
    fn new(modules: &[(&str, &str)]) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            store: MemoryStore::new(),
            journal: Journal::in_memory().unwrap(),
        };
        world.write("ashlar.toml", "[project]\nname = \"fake\"\n[base.none]\npath = \"root\"\n");
        world.write("root/here", "");
        for (name, text) in modules {
            world.module(name, text);
        }
        world
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn module(&self, name: &str, text: &str) {
        let (depends, script) = text.split_once(':').unwrap();
        let depends: Vec<String> = depends.split_whitespace().map(|d| format!("\"{d}\"")).collect();
        let text = format!(
            "depends = [{}]\n[build]\nkind = \"script\"\nsteps = ['{}']\n",
            depends.join(", "),
            script.trim()
        );
        self.write(&format!("modules/{name}.toml"), &text);
    }

    fn build(&self, targets: &[&str], options: &Options) -> Seen {
        let root: &Path = self.folder.path();
        let loader = Folder(root);
        let project = load(&loader, &[]).unwrap_or_else(|e| panic!("{e}"));
        let targets: Vec<_> = targets.iter().map(|t| ModuleName::new(t).unwrap()).collect();
        let facts = facts(&project, root, Lock::default(), &targets, &digest_file).unwrap();
        let plan = plan(&project, &facts, &targets).unwrap();
        let fake = Fake { store: &self.store, ran: Mutex::default() };
        let ended = Mutex::new(Vec::new());
        let tell = |event: Event| {
            if let Event::Ended(report) = event {
                ended.lock().unwrap().push((report.id.to_string(), report.outcome));
            }
        };
        let apt = Apt::new(root.join("apt"));
        let none = |_: &[u8; 32]| None;
        let nothing = |_: &[u8; 32], _: Digest| {};
        let fetcher = Fetcher::new(&self.store, root.join("fetch"), true, &apt, &none, &nothing);
        let (jobs, cancel) = (Jobs::new(options.jobs).unwrap(), Cancel::new());
        let store: &dyn Store = &self.store;
        let engine = Engine {
            project: &project,
            folder: root,
            facts: &facts,
            plan: &plan,
            store,
            local: None,
            executor: &fake,
            fetcher: &fetcher,
            jobs: &jobs,
            cancel: &cancel,
            tell: &tell,
            owner_base: 0,
            remotes: Remotes::default(),
            trees: Trees::default(),
        };
        let summary = build(&engine, &self.journal, options).unwrap();
        let ended = std::mem::take(&mut *ended.lock().unwrap());
        let ran = std::mem::take(&mut *fake.ran.lock().unwrap());
        Seen { summary, ended, ran }
    }
}

fn one_at_a_time() -> Options {
    Options { jobs: 1, keep_going: false, rebuild: false }
}

fn sorted(seen: &Seen) -> BTreeMap<String, StepOutcome> {
    seen.ended.iter().cloned().collect()
}

#[test]
fn a_hit_prunes_all_that_only_led_to_it() {
    let world = World::new(&[("a", ": one"), ("b", "a: two"), ("c", "b: three"), ("d", ": four")]);
    let first = world.build(&["c", "d"], &one_at_a_time());
    assert_eq!((first.summary.modules, first.summary.built), (4, 4));
    let second = world.build(&["c", "d"], &one_at_a_time());
    assert_eq!((second.summary.modules, second.summary.hit), (2, 2));
    assert_eq!(second.ran, Vec::<String>::new());
}

#[test]
fn what_comes_out_equal_cuts_off_what_follows() {
    let world = World::new(&[("a", ": one"), ("b", "a: two"), ("c", "b: three")]);
    world.build(&["c"], &one_at_a_time());
    world.module("a", ": one # a comment");
    let seen = world.build(&["c"], &one_at_a_time());
    assert_eq!(seen.ran, ["a"]);
    let expected =
        [("a", StepOutcome::Built), ("b", StepOutcome::Cutoff), ("c", StepOutcome::Cutoff)];
    assert_eq!(sorted(&seen), expected.map(|(m, o)| (m.to_owned(), o)).into());
    world.module("a", ": other");
    assert_eq!(world.build(&["c"], &one_at_a_time()).ran, ["a", "b", "c"]);
}

#[test]
fn a_failure_is_remembered_and_never_a_hit() {
    let world = World::new(&[("a", ": fail"), ("b", "a: two"), ("c", ": three")]);
    let options = Options { keep_going: true, ..one_at_a_time() };
    let seen = world.build(&["b", "c"], &options);
    assert_eq!((seen.summary.failed, seen.summary.skipped, seen.summary.built), (1, 1, 1));
    let again = world.build(&["b", "c"], &options);
    assert_eq!((again.summary.failed, again.summary.hit), (1, 1));
    let key = again.summary.failures[0].key;
    assert_eq!(world.journal.failures(&key).unwrap(), 2);
    // Without --keep-going nothing is begun after the failure.
    let world = World::new(&[("a", ": fail"), ("b", "a: two"), ("c", "b: three")]);
    let seen = world.build(&["c"], &one_at_a_time());
    assert_eq!(seen.ran, ["a"]);
    assert_eq!((seen.summary.failed, seen.summary.skipped), (1, 2));
}

#[test]
fn the_longest_chain_goes_first() {
    let world = World::new(&[
        ("short", ": 1"),
        ("x", ": 2"),
        ("y", "x: 3"),
        ("z", "y: 4"),
        ("all", "short z: 5"),
    ]);
    let seen = world.build(&["all"], &one_at_a_time());
    assert_eq!(seen.ran[..2], ["x", "y"]);
}

#[test]
fn rebuilding_a_target_finds_what_it_needs() {
    let world = World::new(&[("a", ": one"), ("b", "a: two")]);
    world.build(&["b"], &one_at_a_time());
    let options = Options { rebuild: true, ..one_at_a_time() };
    let seen = world.build(&["b"], &options);
    assert_eq!(seen.ran, ["b"]);
    assert_eq!((seen.summary.built, seen.summary.hit), (1, 1));
}
