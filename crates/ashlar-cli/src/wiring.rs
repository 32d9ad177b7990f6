//! All wiring: which store, which sandbox, which project. Nothing here decides anything about
//! builds.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::SystemTime;

use ashlar_build::{
    Engine, Event, Folder, Keys, Memo, Origins, Remotes, Trees, Update, bases_of, complete,
    facts_below, find_project, missing_below, missing_in_lock, read_lock, write_lock,
};
use ashlar_execute::{Cancel, Jobs, OnOutput, Rights, Sandbox, SandboxOptions, rights};
use ashlar_object::{CanonicalHasher, Digest, StepKey, Tree};
use ashlar_plan::{Facts, Plan, plan};
use ashlar_recipe::{Lock, ModuleName, Origin, Project};
use ashlar_source::{Apt, Fetcher, path_tree};
use ashlar_store::{Found, LocalStore, OpenOptions, StatCache};

use crate::args::Globals;
use crate::exit::{Exit, Failed};
use crate::images::Images;

/// The first of the user ids that stand for those inside sandboxes when the machine's root runs
/// the program: the beginning of the range that systemd sets aside for containers
/// (<https://systemd.io/UIDS-GIDS/>).
const CONTAINER_IDS: u32 = 524_288;

/// The owner on disk of what is root's inside.
pub fn owner_base() -> u32 {
    match rights() {
        Rights::RealRoot => CONTAINER_IDS,
        Rights::Namespace { .. } | Rights::Plain => 0,
    }
}

/// Opens the store and prints what people should know of it.
pub fn open_store(globals: &Globals) -> Result<Arc<LocalStore>, Failed> {
    let path = store_path(globals)?;
    let options = OpenOptions { owner_base: owner_base(), read_only: false };
    let store = LocalStore::open(&path, options)?;
    show_warnings(&store);
    Ok(Arc::new(store))
}

/// The store, if there is one: for what is a help and no need.
pub fn store_if_any(globals: &Globals) -> Option<Arc<LocalStore>> {
    let path = store_path(globals).ok()?;
    path.join("format").is_file().then(|| open_store(globals).ok())?
}

pub fn show_warnings(store: &LocalStore) {
    for warning in store.take_warnings() {
        eprintln!("warning: {warning}");
    }
}

fn store_path(globals: &Globals) -> Result<PathBuf, Failed> {
    let path = match &globals.store {
        Some(path) if path.as_os_str().is_empty() => {
            return Err(Failed::usage("the store has an empty name").help("--store DIR"));
        }
        Some(path) => path.clone(),
        None => {
            let absolute =
                |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
            match absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            {
                Some(cache) => cache.join("ashlar"),
                None => {
                    return Err(Failed::usage(
                        "neither HOME nor XDG_CACHE_HOME says where the store is",
                    )
                    .help("--store DIR or ASHLAR_STORE"));
                }
            }
        }
    };
    std::path::absolute(&path).map_err(|e| Failed::usage(format!("{}: {e}", path.display())))
}

/// The variables that change the rights of remotes, with their values.
pub fn remote_variables() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    let all = std::env::vars_os().filter_map(text);
    all.filter(|(name, _)| name.starts_with("ASHLAR_REMOTE_")).collect()
}

/// Where things are, before anything of the project is read.
pub struct Ground {
    pub globals: Globals,
    pub store: Arc<LocalStore>,
    pub folder: PathBuf,
    options: Vec<(String, String)>,
}

impl Ground {
    /// Finds the project that the current folder, or `-C`, is in, and opens the store.
    pub fn open(globals: &Globals) -> Result<Self, Failed> {
        let folder = find_project(&globals.project)?;
        let store = open_store(globals)?;
        Self::of(globals, store, folder)
    }

    /// The project in a folder.
    pub fn of(globals: &Globals, store: Arc<LocalStore>, folder: PathBuf) -> Result<Self, Failed> {
        let mut options = Vec::new();
        for option in &globals.options {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                Failed::usage(format!("`{option}` does not set an option"))
                    .help("--option NAME=VALUE")
            })?;
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self { globals: globals.clone(), store, folder, options })
    }

    /// The keys of the targets, when an earlier build wrote down what it looked at and all of it
    /// is as it was.
    pub fn memo(&self, targets: &[String]) -> Option<Vec<(String, StepKey)>> {
        let bytes = self.store.journal().recall(&self.memo_name(targets)?).ok()??;
        let memo = Memo::decode(&bytes)?;
        // Loading the cache takes longer than all the rest where no source is a folder.
        let stat = LazyLock::new(|| self.store.stat_cache(&self.folder));
        let digest = |path: &Path, meta: &std::fs::Metadata| stat.digest_file(path, meta);
        memo.targets(&self.folder, &digest)
    }

    /// Under which name the memo of these targets is kept: everything but files that decides what
    /// their keys are, this program among it.
    pub fn memo_name(&self, targets: &[String]) -> Option<String> {
        let program = std::fs::metadata(std::env::current_exe().ok()?).ok()?;
        let changed = program.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let mut hasher = CanonicalHasher::new("ashlar memo");
        hasher.bytes(self.folder.as_os_str().as_encoded_bytes());
        hasher.text(env!("ASHLAR_COMMIT")).number(program.len()).text(&format!("{changed:?}"));
        for (name, value) in &self.options {
            hasher.text(name).text(value);
        }
        hasher.number(self.options.len() as u64);
        // No remote is asked when everything is here; but a wrong name is to be an error.
        let mut rights = remote_variables();
        rights.sort();
        for (name, value) in &rights {
            hasher.text(name).text(value);
        }
        hasher.number(rights.len() as u64);
        for remote in &self.globals.remotes {
            hasher.text(remote);
        }
        hasher.number(self.globals.remotes.len() as u64);
        for target in targets {
            hasher.text(target);
        }
        Some(format!("memo:{}", StepKey(hasher.finish())))
    }
}

/// A project, its store, and what is known of its files.
pub struct Session {
    pub globals: Globals,
    pub store: Arc<LocalStore>,
    pub folder: PathBuf,
    pub project: Project,
    /// The remotes as the environment and the command line leave them.
    pub remotes: Vec<ashlar_recipe::Remote>,
    /// The modules that are images, when somebody asked for them.
    images: OnceLock<Images>,
    pub stat: StatCache,
}

impl Drop for Session {
    /// What the store met on the way: damage, an index begun anew.
    fn drop(&mut self) {
        show_warnings(&self.store);
    }
}

impl Session {
    /// Opens the project that the current folder, or `-C`, is in.
    pub fn open(globals: &Globals) -> Result<Self, Failed> {
        Self::load(Ground::open(globals)?)
    }

    /// Reads the project.
    pub fn load(ground: Ground) -> Result<Self, Failed> {
        let Ground { globals, store, folder, options } = ground;
        let loader = Folder(&folder);
        let mut project = ashlar_recipe::load(&loader, &options)
            .map_err(|problems| problems.with_sources(&loader))?;
        if let Some(builder) = std::env::var("ASHLAR_BUILDER").ok().filter(|b| !b.is_empty()) {
            project.builder = Some(builder);
        }
        let declared = project.remotes.clone();
        let variables = remote_variables();
        let remotes = ashlar_recipe::override_remotes(declared, variables, &globals.remotes)?;
        let remotes = crate::remotes::as_branch_may(&folder, remotes);
        let stat = store.stat_cache(&folder);
        let images = OnceLock::new();
        Ok(Self { globals, store, folder, project, remotes, images, stat })
    }

    /// Where signatures are required of everything that comes from elsewhere: by which keys.
    pub fn accepted(&self) -> Result<Vec<Keys>, Failed> {
        crate::remotes::accepted(&self.folder, &self.remotes)
    }

    /// On whose word the results in the store stand, and whose word this project takes.
    pub fn origins(&self) -> Result<Origins<'_>, Failed> {
        Ok(Origins::new(self.store.journal(), self.accepted()?))
    }

    /// The result in the store for a key, if there is one that this project takes.
    pub fn found(&self, key: &StepKey) -> Result<Option<Found>, Failed> {
        Ok(self.origins()?.steps(&*self.store, &[*key])?.pop().flatten())
    }

    /// How many jobs run at once.
    pub fn jobs(&self) -> usize {
        self.globals.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            usize::from,
        )
    }

    /// Module names as typed.
    pub fn targets(&self, names: &[String]) -> Result<Vec<ModuleName>, Failed> {
        names.iter().map(|name| self.module(name)).collect()
    }

    /// One module name as typed; that it exists is for the plan to say.
    pub fn module(&self, name: &str) -> Result<ModuleName, Failed> {
        ModuleName::new(name).map_err(|e| {
            Failed::usage(format!("`{name}`: {e}")).help("`ashlar list` shows all modules")
        })
    }

    /// The lock file as it is.
    pub fn lock(&self) -> Result<Lock, Failed> {
        Ok(read_lock(&self.folder)?.unwrap_or_default())
    }

    /// The lock file, which has to have everything that these targets need.
    pub fn complete(&self, targets: &[ModuleName]) -> Result<Lock, Failed> {
        let lock = self.lock()?;
        let missing = self.missing(&lock, Some(targets))?;
        has_all(lock, &missing)
    }

    /// As [`Self::complete`], for what an image names.
    pub fn complete_below(&self, modules: &[ModuleName], bases: &[String]) -> Result<Lock, Failed> {
        let lock = self.lock()?;
        let missing = missing_below(&self.project, &lock, modules, bases);
        has_all(lock, &missing)
    }

    /// The lock file, completed if something is missing: that is what makes a first build of a
    /// fresh clone work. With `targets`, only what they need has to be there; what is resolved
    /// then is everything. An update resolves anew what the lock file has.
    pub fn complete_lock(
        &self,
        targets: Option<&[ModuleName]>,
        update: &Update,
        tell: &dyn Fn(String),
    ) -> Result<Lock, Failed> {
        let missing = self.missing(&self.lock()?, targets)?;
        let bases = match targets {
            Some(targets) => bases_of(&self.images(targets)?.modules),
            // Dockerfiles that are no modules may name any.
            None => self.project.bases.keys().cloned().collect(),
        };
        self.locked(&missing, &bases, update, tell)
    }

    /// What the lock file lacks for these targets, or for the whole project.
    fn missing(&self, lock: &Lock, targets: Option<&[ModuleName]>) -> Result<Vec<String>, Failed> {
        let Some(targets) = targets else {
            return Ok(missing_in_lock(&self.project, lock, None));
        };
        let bases = bases_of(&self.images(targets)?.modules);
        let targets = if targets.is_empty() { &self.project.default } else { targets };
        Ok(missing_below(&self.project, lock, targets, &bases))
    }

    /// The modules that are images among those that the targets reach. It is asked for once.
    pub fn images(&self, targets: &[ModuleName]) -> Result<&Images, Failed> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let targets = if targets.is_empty() { &self.project.default } else { targets };
        let images = Images::of(self, targets)?;
        Ok(self.images.get_or_init(|| images))
    }

    /// As [`Self::complete_lock`], for what an image names.
    pub fn complete_lock_below(
        &self,
        modules: &[ModuleName],
        bases: &[String],
        tell: &dyn Fn(String),
    ) -> Result<Lock, Failed> {
        let missing = missing_below(&self.project, &self.lock()?, modules, bases);
        self.locked(&missing, bases, &Update::Missing, tell)
    }

    fn locked(
        &self,
        missing: &[String],
        bases: &[String],
        update: &Update,
        tell: &dyn Fn(String),
    ) -> Result<Lock, Failed> {
        let had = read_lock(&self.folder)?;
        let lock = had.clone().unwrap_or_default();
        if missing.is_empty() && *update == Update::Missing {
            return Ok(lock);
        }
        if self.globals.offline {
            return Err(ashlar_build::LockError::Offline(missing.to_vec()).into());
        }
        tell(match missing.len() {
            0 => "resolving anew".to_owned(),
            1 => format!("resolving {}", missing[0]),
            n => format!(
                "resolving {} and {} more for {}",
                missing[0],
                n - 1,
                ashlar_build::LOCK_FILE
            ),
        });
        let new = self.with_fetcher(|apt, fetcher| {
            Ok(complete(&self.project, &lock, apt, fetcher, update, bases)?)
        })?;
        if had.as_ref() != Some(&new) {
            write_lock(&self.folder, &new)?;
        }
        Ok(new)
    }

    /// Everything that the keys of targets depend on.
    pub fn facts(&self, lock: Lock, targets: &[ModuleName]) -> Result<Facts, Failed> {
        let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
        let images = self.images(targets)?;
        let targets = if targets.is_empty() { &self.project.default } else { targets };
        let bases = bases_of(&images.modules);
        let mut facts = facts_below(&self.project, &self.folder, lock, targets, &bases, &digest)?;
        images.add_to(&mut facts);
        // A cache that cannot be written only costs time.
        if let Err(error) = self.stat.save()
            && self.globals.verbose > 0
        {
            eprintln!("warning: the stat cache was not saved: {error}");
        }
        Ok(facts)
    }

    /// Everything that the keys of what an image names depend on.
    pub fn facts_below(
        &self,
        lock: Lock,
        modules: &[ModuleName],
        bases: &[String],
    ) -> Result<Facts, Failed> {
        let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
        Ok(facts_below(&self.project, &self.folder, lock, modules, bases, &digest)?)
    }

    /// The plan for targets, with the facts it was made from, as far as the lock file goes.
    pub fn plan(&self, targets: &[String]) -> Result<(Facts, Plan), Failed> {
        let targets = self.targets(targets)?;
        let facts = self.facts(self.complete(&targets)?, &targets)?;
        let plan = plan(&self.project, &facts, &targets)?;
        Ok((facts, plan))
    }

    /// The trees of `path` sources and bases, and the parts of contexts that images read, as they
    /// are on disk now, by digest: what the store may not have.
    pub fn trees_on_disk(&self) -> HashMap<Digest, Tree> {
        let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
        let mut paths: Vec<&Path> = Vec::new();
        for base in self.project.bases.values() {
            if let ashlar_recipe::Base::Path(path) = base {
                paths.push(path);
            }
        }
        for source in self.project.modules.values().flat_map(|module| &module.sources) {
            if let Origin::Path { path } = &source.origin {
                paths.push(path);
            }
        }
        // What cannot be read was an error when the facts were gathered.
        let trees = paths.into_iter().filter_map(|p| path_tree(&self.folder, p, &digest).ok());
        let images = self.images.get().into_iter().flat_map(|images| &images.modules);
        let parts = images.flat_map(|image| image.made.parts());
        trees.chain(parts).map(|tree| (tree.digest(), tree)).collect()
    }

    /// Warnings about the project that every build repeats.
    pub fn warnings(&self, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        let host =
            |name: &str| matches!(self.project.bases.get(name), Some(ashlar_recipe::Base::Host));
        let on_host: Vec<&str> = plan
            .steps
            .iter()
            .filter(|step| match &step.work {
                ashlar_plan::Work::Build(module) => module.base.as_deref().is_some_and(host),
                _ => false,
            })
            .map(|step| step.id.module.as_str())
            .collect();
        if let Some(first) = on_host.first() {
            let more = match on_host.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            warnings.push(format!(
                "{first}{more} see this machine's own files: what changes there unseen can make a result stale, and results stay on this machine"
            ));
        }
        warnings
    }

    /// Calls `work` with an engine that can run steps.
    #[expect(clippy::too_many_arguments, reason = "wiring: each is passed on as it is")]
    pub fn with_engine<T>(
        &self,
        facts: &Facts,
        plan: &Plan,
        remotes: Remotes<'_>,
        cancel: &Cancel,
        on_output: OnOutput,
        tell: &(dyn Fn(Event) + Sync),
        work: impl FnOnce(&Engine<'_>, &Sandbox) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let owner_base = owner_base();
        let helper = std::env::current_exe()
            .map_err(|e| Failed::usage(format!("the path of this program is unknown: {e}")))?;
        let options = SandboxOptions { owner_base, helper, keep_failed: false, on_output };
        let sandbox = Sandbox::new(Arc::clone(&self.store), options);
        let jobs = Jobs::new(self.jobs())?;
        let origins = self.origins()?;
        let digest = |path: &Path, meta: &std::fs::Metadata| self.stat.digest_file(path, meta);
        let images = self.images.get();
        let building = images.and_then(|images| images.building(&self.store));
        let stop = || cancel.is_cancelled();
        self.with_fetcher(|_, fetcher| {
            let fetcher = fetcher.until(&stop);
            let engine = Engine {
                project: &self.project,
                folder: &self.folder,
                facts,
                plan,
                store: &*self.store,
                remotes,
                origins,
                digest: &digest,
                local: Some(&self.store),
                executor: &sandbox,
                fetcher: &fetcher,
                jobs: &jobs,
                cancel,
                tell,
                owner_base,
                trees: Trees::default(),
                image: building.as_ref(),
                deadline: None,
                send_until: None,
            };
            work(&engine, &sandbox)
        })
    }

    /// Calls `work` with what gets sources.
    fn with_fetcher<T>(
        &self,
        work: impl FnOnce(&Apt, &Fetcher<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        with_fetcher(&self.store, self.globals.offline, work)
    }
}

/// The lock file when nothing is missing from it.
fn has_all(lock: Lock, missing: &[String]) -> Result<Lock, Failed> {
    if missing.is_empty() {
        return Ok(lock);
    }
    let message = format!("the lock file has no {}", missing.join(", no "));
    Err(Failed::usage(message).help("run `ashlar lock`"))
}

/// Calls `work` with what gets sources into a store.
pub fn with_fetcher<T>(
    store: &LocalStore,
    offline: bool,
    work: impl FnOnce(&Apt, &Fetcher<'_>) -> Result<T, Failed>,
) -> Result<T, Failed> {
    // Its state lies in the store, so that all projects share one index.
    let apt = Apt::new(store.path().join("apt"));
    let name = |hash: &[u8; 32]| format!("sha256:{}", Digest { hash: *hash, size: 0 }.hex());
    let recall = |hash: &[u8; 32]| {
        let bytes = store.journal().recall(&name(hash)).ok()??;
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    };
    let remember = |hash: &[u8; 32], digest: Digest| {
        // What is not remembered is fetched again: slower, never wrong.
        let _ = store.journal().remember(&name(hash), digest.to_string().as_bytes());
    };
    let scratch = store.path().join("fetch");
    work(&apt, &Fetcher::new(store, scratch, offline, &apt, &recall, &remember))
}

/// An ordinary user becomes root of a user namespace of their own before anything is built: this
/// program is started again inside one. Returns only when that is not needed.
pub fn enter_namespace() -> Result<(), Failed> {
    if rights() != Rights::Plain {
        return Ok(());
    }
    let mut command = ashlar_execute::reexec_command()?;
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    let message = format!("cannot start {}: {error}", command.get_program().display());
    Err(Failed::new(Exit::Machine, message).help("install the package util-linux"))
}
