//! A whole build with a store in memory and an executor of a few lines, without a sandbox or a
//! disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ashlar_build::{
    Engine, Event, Folder, Keys, Options, Origins, Remotes, Shared, StepOutcome, Summary, Transfer,
    Trees, build, facts,
};
use ashlar_execute::{
    Cancel, ExecuteError, Executor, Finished, Jobs, Kept, Outcome, Request, Root,
};
use ashlar_object::{Digest, File, Meta, Node, Time, Tree};
use ashlar_plan::plan;
use ashlar_recipe::{Lock, ModuleName, Write, load};
use ashlar_source::{Apt, Fetcher, digest_file};
use ashlar_store::{Journal, MemoryRemote, MemoryStore, Remote as _, Store, put};

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
            let file = Node::File(File::new(digest, Meta::FILE));
            let name = request.label.parse().unwrap();
            let tree = Tree::default().with(&name, file);
            Outcome::Succeeded(Kept { digest: put(self.store, &tree.encode())?, tree })
        };
        let started = Time { seconds: 1_700_000_000, nanos: 0 };
        Ok(Finished {
            outcome,
            log,
            started,
            took: Duration::from_secs(2),
            checkpoints: Vec::new(),
            leaks: Vec::new(),
        })
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub store: MemoryStore,
    pub journal: Journal,
}

/// What came of a build.
pub struct Seen {
    pub summary: Summary,
    /// Module and outcome in the order in which they were told.
    pub ended: Vec<(String, StepOutcome)>,
    /// Where hits came from, by module.
    pub from: BTreeMap<String, String>,
    pub warnings: Vec<String>,
    pub ran: Vec<String>,
}

/// Gets the name of a module, and what stops the run.
pub type Began<'a> = dyn Fn(&str, &Cancel) + Sync + 'a;

/// The remotes of a run, and what is to happen to it.
#[derive(Default)]
pub struct Beside<'a> {
    pub remotes: Vec<(&'a MemoryRemote, bool, Write)>,
    pub required: bool,
    /// The keys that remotes require, by name, and which of them sign.
    pub keys: BTreeMap<&'a str, Keys>,
    pub signs: Vec<&'a str>,
    /// What the project takes from its own store.
    pub accepted: Vec<Keys>,
    /// Called when a step begins.
    pub began: Option<&'a Began<'a>>,
    /// Called when a step has ended, before its result is sent.
    pub ended: Option<&'a Began<'a>>,
}

impl World {
    pub fn new(modules: &[(&str, &str)]) -> Self {
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

    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn module(&self, name: &str, text: &str) {
        let (depends, script) = text.split_once(':').unwrap();
        let depends: Vec<String> = depends.split_whitespace().map(|d| format!("\"{d}\"")).collect();
        let text = format!(
            "depends = [{}]\n[build]\nkind = \"script\"\nsteps = ['{}']\n",
            depends.join(", "),
            script.trim()
        );
        self.write(&format!("modules/{name}.toml"), &text);
    }

    /// Commits everything as it is.
    pub fn commit(&self) {
        for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "x"]] {
            let mut git = std::process::Command::new("git");
            git.arg("-C").arg(self.folder.path());
            git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
            assert!(git.output().unwrap().status.success());
        }
    }

    pub fn build(&self, targets: &[&str], options: &Options) -> Seen {
        self.build_beside(targets, options, &Beside::default())
    }

    pub fn build_beside(&self, targets: &[&str], options: &Options, beside: &Beside<'_>) -> Seen {
        let fake = Fake { store: &self.store, ran: Mutex::default() };
        let (ended, from) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
        let warnings = Mutex::new(Vec::new());
        let cancel = Cancel::new();
        let tell = |event: Event| match event {
            Event::Ended(report) => {
                if let Some(ended) = beside.ended {
                    ended(&report.id.module, &cancel);
                }
                let id = report.id.to_string();
                from.lock().unwrap().extend(report.from.map(|from| (id.clone(), from)));
                ended.lock().unwrap().push((id, report.outcome));
            }
            Event::Started { id } => {
                if let Some(began) = beside.began {
                    began(&id.module, &cancel);
                }
            }
            Event::Warning(text) => warnings.lock().unwrap().push(text),
            _ => {}
        };
        let summary = self.with_engine(targets, beside, &fake, &cancel, &tell, |engine| {
            build(engine, &self.journal, options).unwrap()
        });
        let ended = std::mem::take(&mut *ended.lock().unwrap());
        let from = std::mem::take(&mut *from.lock().unwrap());
        let warnings = std::mem::take(&mut *warnings.lock().unwrap());
        let ran = std::mem::take(&mut *fake.ran.lock().unwrap());
        Seen { summary, ended, from, warnings, ran }
    }

    pub fn push(&self, targets: &[&str], beside: &Beside<'_>) -> Transfer {
        self.transfer(targets, beside, |engine| ashlar_build::push(engine, &self.journal).unwrap())
    }

    pub fn pull(&self, targets: &[&str], beside: &Beside<'_>, beneath: bool) -> Transfer {
        self.transfer(targets, beside, |engine| {
            ashlar_build::pull(engine, &self.journal, beneath).unwrap()
        })
    }

    fn transfer(
        &self,
        targets: &[&str],
        beside: &Beside<'_>,
        work: impl FnOnce(&Engine<'_>) -> Transfer,
    ) -> Transfer {
        let fake = Fake { store: &self.store, ran: Mutex::default() };
        self.with_engine(targets, beside, &fake, &Cancel::new(), &|_| {}, work)
    }

    fn with_engine<T>(
        &self,
        targets: &[&str],
        beside: &Beside<'_>,
        fake: &Fake<'_>,
        cancel: &Cancel,
        tell: &(dyn Fn(Event) + Sync),
        work: impl FnOnce(&Engine<'_>) -> T,
    ) -> T {
        let root: &Path = self.folder.path();
        let loader = Folder(root);
        let project = load(&loader, &[]).unwrap_or_else(|e| panic!("{e}"));
        let targets: Vec<_> = targets.iter().map(|t| ModuleName::new(t).unwrap()).collect();
        let facts = facts(&project, root, Lock::default(), &targets, &digest_file).unwrap();
        let plan = plan(&project, &facts, &targets).unwrap();
        let apt = Apt::new(root.join("apt"));
        let none = |_: &[u8; 32]| None;
        let nothing = |_: &[u8; 32], _: Digest| {};
        let fetcher = Fetcher::new(&self.store, root.join("fetch"), true, &apt, &none, &nothing);
        let jobs = Jobs::new(1).unwrap();
        let store: &dyn Store = &self.store;
        let none_required = Keys::new();
        let shared = beside.remotes.iter().map(|(remote, read, write)| Shared {
            remote: *remote,
            read: *read,
            write: *write,
            keys: beside.keys.get(remote.name()).unwrap_or(&none_required),
            signs: beside.signs.contains(&remote.name()),
        });
        let engine = Engine {
            project: &project,
            folder: root,
            facts: &facts,
            plan: &plan,
            store,
            remotes: Remotes::new(shared.collect(), beside.required),
            origins: Origins::new(&self.journal, beside.accepted.clone()),
            digest: &digest_file,
            local: None,
            executor: fake,
            fetcher: &fetcher,
            jobs: &jobs,
            cancel,
            tell,
            owner_base: 0,
            trees: Trees::default(),
            image: None,
            deadline: None,
            send_until: None,
        };
        work(&engine)
    }
}

pub fn one_at_a_time() -> Options {
    Options { jobs: 1, keep_going: false, rebuild: false, push_found: false, push_also: Vec::new() }
}

pub fn sorted(seen: &Seen) -> BTreeMap<String, StepOutcome> {
    seen.ended.iter().cloned().collect()
}
