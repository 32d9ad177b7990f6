//! One step, from its key to its result.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use ashlar_execute::{Cancel, Executor, Jobs, Keep, Kept, Mount, Outcome, Request, Root, View};
use ashlar_object::{Action, ActionResult, Command, Digest, File, Meta, Node, Time, Tree};
use ashlar_plan::{Facts, Plan, Step, StepIndex, Work};
use ashlar_recipe::{Base, Kind, Module, Project};
use ashlar_source::{DigestFile, Fetcher};
use ashlar_store::{Found, LocalStore, Store, StoreError, put};

use crate::command;
use crate::ended::Ended;
use crate::event::{ErrorKind, Event, Failure, StepOutcome};
use crate::image::checkpoint::Begun;
use crate::image::{Building, Cache, Pinned, Ran};
use crate::origin::Origins;
use crate::remotes::{Ears, Remotes};
use crate::roots::Trees;
use crate::sources::source_tree;

/// How long a script may be, in bytes: Linux passes 128 KiB in one argument.
const LONGEST: usize = 120_000;

/// Everything that steps are run with.
pub struct Engine<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its folder.
    pub folder: &'a Path,
    /// What is known of its files.
    pub facts: &'a Facts,
    /// The plan.
    pub plan: &'a Plan,
    /// Where results are found and kept.
    pub store: &'a dyn Store,
    /// Where others find them.
    pub remotes: Remotes<'a>,
    /// On whose word the results in the store stand.
    pub origins: Origins<'a>,
    /// What digests files of the project.
    pub digest: DigestFile<'a>,
    /// The same store, where it is one that several processes share: for locks.
    pub local: Option<&'a LocalStore>,
    /// What runs commands.
    pub executor: &'a dyn Executor,
    /// What gets sources.
    pub fetcher: &'a Fetcher<'a>,
    /// The jobserver.
    pub jobs: &'a Jobs,
    /// Whether to stop.
    pub cancel: &'a Cancel,
    /// Whom to tell.
    pub tell: &'a (dyn Fn(Event) + Sync),
    /// What is added to owners of files on disk: see [`ashlar_store::OpenOptions`].
    pub owner_base: u32,
    /// Trees seen so far: begin with the default.
    pub trees: Trees,
    /// What images are made with, when the plan has steps of one.
    pub image: Option<&'a Building<'a>>,
    /// When the run has to be over: commands that are at work then are stopped, and count as not
    /// tried.
    pub deadline: Option<Instant>,
    /// Until when results are sent to remotes.
    pub send_until: Option<Instant>,
}

/// The results a step can use, by the place of the step that made them.
pub type Results = HashMap<StepIndex, Found>;

/// A step that is ready to be run or looked at: everything it will see.
pub(crate) struct Prepared {
    pub action: Digest,
    pub request: Option<Request>,
    /// For steps that run no command: what they make.
    pub made: Option<Kept>,
    /// Caches that are in use while it runs.
    pub held: Vec<Cache>,
    /// When its downloads are pinned.
    pub pinned: Option<Pinned>,
}

impl Prepared {
    /// A command of a module, or of what modules stand on.
    fn command(action: Digest, request: Request) -> Self {
        Self { action, request: Some(request), made: None, held: Vec::new(), pinned: None }
    }
}

impl Engine<'_> {
    /// Runs a step unless somebody else has meanwhile. `again` ignores what is kept; `held` says
    /// how many jobs the caller holds for a command that does not speak the jobserver's protocol;
    /// `shared` whether remotes may have its result.
    pub(crate) fn run(
        &self,
        index: StepIndex,
        results: &Results,
        again: bool,
        held: Option<usize>,
        shared: bool,
    ) -> Ended {
        let began = Instant::now();
        let started = now();
        let step = &self.plan.steps[index];
        let mut ended =
            self.try_run(step, index, results, again, held, shared).unwrap_or_else(|failure| {
                // What was stopped on the way to the command did not fail.
                let failure = Some(failure).filter(|failure| *failure != Failure::Stopped);
                let outcome =
                    if failure.is_some() { StepOutcome::Failed } else { StepOutcome::Skipped };
                Ended { outcome, failure, ..Ended::skipped(started) }
            });
        if ended.took.is_zero() && ended.outcome != StepOutcome::Hit {
            ended.took = began.elapsed();
        }
        ended
    }

    fn try_run(
        &self,
        step: &Step,
        index: StepIndex,
        results: &Results,
        again: bool,
        held: Option<usize>,
        shared: bool,
    ) -> Result<Ended, Failure> {
        let started = now();
        // Held until the result is kept: whoever waits for it finds the result.
        let _lock = match self.local {
            None => None,
            Some(local) => {
                let mut told = false;
                let lock = local.lock_step(&step.key, &mut || {
                    if !std::mem::replace(&mut told, true) {
                        (self.tell)(Event::Waiting { id: step.id.clone() });
                    }
                    !self.is_stopping()
                })?;
                if lock.is_none() {
                    return Ok(Ended::skipped(started));
                }
                lock
            }
        };
        if !again && let Some(Some(found)) = self.origins.steps(self.store, &[step.key])?.pop() {
            return Ok(Ended::found(StepOutcome::Hit, found, started));
        }
        let prepared = self.prepare(step, index, results)?;
        let inputs = self.origins.of_inputs(|input| self.plan.steps[input].key, results)?;
        let known = match again {
            true => None,
            false => self.known(&prepared.action, shared)?,
        };
        if let Some((from, result)) = known {
            // What the command makes does not depend on what is expected of it.
            if let Work::Build(module) = &step.work {
                let outputs = self.trees.read(self.store, result.outputs)?;
                let missing = crate::expect::unmatched(module, &outputs.tree);
                if !missing.is_empty() {
                    return Ok(Ended::failed(
                        prepared.action,
                        result.log,
                        Failure::Unmatched(missing),
                        Duration::ZERO,
                        started,
                    ));
                }
            }
            self.origins.led(&step.key, &prepared.action, &inputs)?;
            self.store.put_step(&step.key, &prepared.action)?;
            let found = Found { action: prepared.action, result };
            return Ok(Ended { from, ..Ended::found(StepOutcome::Cutoff, found, started) });
        }
        let _held = prepared.held;
        let (mut begun, mut recorded) = (Begun::default(), None);
        let (kept, log, began, took) = match (prepared.made, prepared.request) {
            (Some(made), _) => (made, Digest::EMPTY, started, Duration::ZERO),
            (None, Some(mut request)) => {
                request.held_jobs = held;
                // A command that goes on does not download again what it had.
                if !prepared.pinned.as_ref().is_some_and(Pinned::records) {
                    begun = self.begin_from(&prepared.action, &mut request, again, shared)?;
                }
                // A remote was perhaps not waited for, and may have the result or what the command
                // should go on from: what it left now would be taken for the latest.
                if self.is_stopping() {
                    return Ok(Ended::skipped(started));
                }
                let left = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
                request.timeout = match (request.timeout, left) {
                    (Some(own), Some(left)) => Some(own.min(left)),
                    (own, left) => own.or(left),
                };
                let ran = match &prepared.pinned {
                    Some(pinned) => self.run_pinned(step, &request, pinned)?,
                    None => Ran::plain(self.executor.run(&request, self.jobs, self.cancel)?),
                };
                recorded = ran.recorded;
                let finished = ran.finished;
                let checkpoints = self.keep_checkpoints(&prepared.action, &begun, &finished)?;
                let skipped =
                    || Ended { checkpoints: checkpoints.clone(), ..Ended::skipped(started) };
                let failed = |failure| Ended {
                    checkpoints: checkpoints.clone(),
                    ..Ended::failed(
                        prepared.action,
                        finished.log,
                        failure,
                        finished.took,
                        finished.started,
                    )
                };
                if let Some(failure) = ran.failure {
                    return Ok(failed(failure));
                }
                match finished.outcome {
                    Outcome::Succeeded(kept) => {
                        (kept, finished.log, finished.started, finished.took)
                    }
                    Outcome::Failed(code) => return Ok(failed(Failure::Exit(code))),
                    Outcome::TimedOut(_) if self.is_over() => return Ok(skipped()),
                    Outcome::TimedOut(after) => return Ok(failed(Failure::TimedOut(after))),
                    Outcome::Unkeepable(what) => return Ok(failed(Failure::Unkeepable(what))),
                    Outcome::Leak(leak) => return Ok(failed(crate::image::leaked(&leak))),
                    Outcome::Cancelled => return Ok(skipped()),
                }
            }
            (None, None) => (empty(self.store)?, Digest::EMPTY, started, Duration::ZERO),
        };
        if let Work::Build(module) = &step.work {
            let missing = crate::expect::unmatched(module, &kept.tree);
            if !missing.is_empty() {
                return Ok(Ended::failed(
                    prepared.action,
                    log,
                    Failure::Unmatched(missing),
                    took,
                    began,
                ));
            }
        }
        let result = ActionResult {
            outputs: kept.digest,
            root: kept.tree.root_digest(),
            log,
            started: began,
            took: if took.is_zero() { since(started) } else { took },
        };
        self.trees.know(&kept);
        let (key, action) =
            recorded.as_ref().map_or((step.key, prepared.action), |as_| (as_.key, as_.action));
        self.origins.led(&key, &action, &inputs)?;
        self.store.put_result(&action, &result)?;
        self.origins.made(&action, &result, &begun.trust)?;
        self.store.put_step(&key, &action)?;
        if let Some(recorded) = &recorded {
            self.write_pins(recorded)?;
        }
        let known_as = recorded.map(|as_| Box::new((as_.key, as_.inputs)));
        let ended = Ended::found(StepOutcome::Built, Found { action, result }, began);
        Ok(Ended { took, known_as, ..ended })
    }

    /// Whom remotes tell, and what stops them.
    pub(crate) fn ears(&self) -> Ears<'_> {
        Ears { tell: self.tell, cancel: self.cancel, deadline: self.deadline }
    }

    /// Whether nothing is to be waited for any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.cancel.is_cancelled() || self.is_over()
    }

    /// Whether the time of the run is over.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|end| Instant::now() >= end)
    }

    /// The result of an action, here or at a remote.
    fn known(
        &self,
        action: &Digest,
        shared: bool,
    ) -> Result<Option<(Option<usize>, ActionResult)>, Failure> {
        if let Some(result) = self.origins.result(self.store, action)? {
            return Ok(Some((None, result)));
        }
        if !shared || !self.remotes.any_readable() {
            return self.required().map(|()| None);
        }
        let ears = self.ears();
        let far = self.remotes.result(*action, self.store, &self.origins, ears)?;
        if far.is_none() {
            self.required()?;
        }
        Ok(far.map(|(from, found)| (Some(from), found.result)))
    }

    /// Fails where remotes are required and one is lost.
    fn required(&self) -> Result<(), Failure> {
        match self.remotes.lost().into_iter().next() {
            None => Ok(()),
            Some(message) => Err(Failure::Error { message, advice: None, kind: ErrorKind::Remote }),
        }
    }

    /// Everything a step will see: its action, and what the executor needs to run it.
    pub(crate) fn prepare(
        &self,
        step: &Step,
        index: StepIndex,
        results: &Results,
    ) -> Result<Prepared, Failure> {
        match &step.work {
            Work::Base(name) => self.prepare_base(step, name),
            Work::Unpack(name) => {
                let made = crate::sources::base(self, name)?;
                Ok(self.internal("unpack base", &made, made.clone()))
            }
            Work::Tools { packages, .. } => {
                let debs = self.debs(packages)?;
                self.prepare_install(
                    step,
                    results,
                    vec![Mount { tree: debs, at: "/build/debs".into() }],
                )
            }
            Work::Packages { of, .. } => {
                let mut mounts = Vec::new();
                for (number, step) in of.iter().enumerate() {
                    let tree = self.outputs(*step, results)?;
                    mounts.push(Mount { tree, at: format!("/build/debs/{number}") });
                }
                self.prepare_install(step, results, mounts)
            }
            Work::Source { module, source } => {
                let made = source_tree(self, module, *source)?;
                Ok(self.internal("source", &made, made.clone()))
            }
            Work::Build(module) if module.build.kind == Kind::Import => {
                let source = self.source(step, module, results)?.unwrap_or(empty(self.store)?);
                Ok(self.internal("import", &source, normalised(self.store, &source)?))
            }
            Work::Build(module) => self.prepare_build(step, index, module, results),
            Work::Image(work) => self.prepare_image(step, work, results),
        }
    }

    fn prepare_build(
        &self,
        step: &Step,
        index: StepIndex,
        module: &Module,
        results: &Results,
    ) -> Result<Prepared, Failure> {
        if let Some(phase) = module.build.phases.iter().find(|p| p.script.len() > LONGEST) {
            return Err(Failure::project(format!(
                "its script `{}` is longer than {LONGEST} bytes: put it into a file of the source",
                phase.name
            )));
        }
        let mut outputs = Vec::new();
        for mount in self.plan.mounts(index) {
            let name = self.plan.steps[mount].id.module.clone();
            outputs.push((name, self.outputs(mount, results)?));
        }
        let host = module
            .base
            .as_ref()
            .is_some_and(|base| matches!(self.project.bases.get(base), Some(Base::Host)));
        let layers = self.layers(step, module.base.as_deref(), results)?;
        let (layers, mut root) = self.trees.over(&layers, &outputs, &module.outputs.overlap)?;
        let source = self.source(step, module, results)?;
        if let Some(source) = &source {
            let at = ashlar_execute::SOURCE.trim_start_matches('/');
            root = root.overlaid(&source.tree.below(&at.parse().unwrap_or_default()));
        }
        let command = command::build(self.project, self.facts, module);
        let mut salt = module.salt.clone();
        if host {
            // The machine's own files are not in the input tree: their fingerprint stands in.
            for input in step.inputs.inputs() {
                if let ashlar_plan::InputName::Base(_) = input.name {
                    salt = format!("{salt}\0{}", input.value);
                }
            }
        }
        let action = self.action(&salt, &command, &root);
        let request = Request {
            label: step.id.to_string(),
            root: if host { Root::Host(layers) } else { Root::Layers(layers) },
            source,
            mounts: Vec::new(),
            command,
            keep: Keep::Outputs,
            timeout: module.build.timeout,
            many_ids: false,
            held_jobs: None,
            view: View::Module,
        };
        Ok(Prepared::command(action, request))
    }

    fn prepare_base(&self, step: &Step, name: &str) -> Result<Prepared, Failure> {
        let Some(Base::Debian { suite, variant, .. }) = self.project.bases.get(name) else {
            return Err(Failure::project(format!("the base `{name}` is not Debian's")));
        };
        // It runs on the machine's own files, so it is looked for there and nowhere else.
        let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        if !folders.iter().any(|folder| Path::new(folder).join("mmdebstrap").exists()) {
            return Err(Failure::Error {
                message: "`mmdebstrap` is not installed, which makes Debian bases".to_owned(),
                advice: Some("install it: `apt-get install mmdebstrap`".to_owned()),
                kind: ErrorKind::Machine,
            });
        }
        let ids = self.facts.lock.base.get(name).map(|b| b.packages.clone()).unwrap_or_default();
        let debs = self.debs(&ids)?;
        let command = command::base(self.facts, suite, variant);
        let root = debs.tree.below(&"build/debs".parse().unwrap_or_default());
        let action = self.action("", &command, &root);
        let request = Request {
            label: step.id.to_string(),
            root: Root::Host(Vec::new()),
            source: None,
            mounts: vec![Mount { tree: debs, at: "/build/debs".into() }],
            command,
            keep: Keep::Root,
            timeout: None,
            many_ids: true,
            held_jobs: None,
            view: View::Module,
        };
        Ok(Prepared::command(action, request))
    }

    fn prepare_install(
        &self,
        step: &Step,
        results: &Results,
        mounts: Vec<Mount>,
    ) -> Result<Prepared, Failure> {
        let base = match &step.work {
            Work::Tools { base, .. } | Work::Packages { base, .. } => Some(base.as_str()),
            _ => None,
        };
        let layers = self.layers(step, base, results)?;
        let mut root = self.trees.merged(&layers);
        for mount in &mounts {
            let at = mount.at.trim_start_matches('/').parse().unwrap_or_default();
            root = root.overlaid(&mount.tree.tree.below(&at));
        }
        let command = command::install(self.facts);
        let action = self.action("", &command, &root);
        let request = Request {
            label: step.id.to_string(),
            root: Root::Layers(layers),
            source: None,
            mounts,
            command,
            keep: Keep::Changes,
            timeout: None,
            many_ids: true,
            held_jobs: None,
            view: View::Module,
        };
        Ok(Prepared::command(action, request))
    }

    pub(crate) fn internal(&self, name: &str, of: &Kept, made: Kept) -> Prepared {
        let command = command::internal(name, &[]);
        Prepared {
            action: self.action("", &command, &of.tree),
            request: None,
            made: Some(made),
            held: Vec::new(),
            pinned: None,
        }
    }

    pub(crate) fn action(&self, salt: &str, command: &Command, root: &Tree) -> Digest {
        let action: Action =
            command::action(self.project, self.facts, salt, command, root.root_digest());
        action.digest()
    }

    /// What a step made, as it is in the store.
    pub(crate) fn outputs(&self, step: StepIndex, results: &Results) -> Result<Kept, Failure> {
        let found = results.get(&step).ok_or_else(|| {
            Failure::store(format!("the result of {} is not there", self.plan.steps[step].id))
        })?;
        Ok(self.trees.read(self.store, found.result.outputs)?)
    }

    /// The layers of a step's root, the lowest first.
    fn layers(
        &self,
        step: &Step,
        base: Option<&str>,
        results: &Results,
    ) -> Result<Vec<Kept>, Failure> {
        let mut layers = Vec::new();
        if let Some(Base::Path(path)) = base.and_then(|b| self.project.bases.get(b)) {
            layers.push(self.trees.folder(path, || crate::sources::folder_base(self, path))?);
        }
        for layer in &step.layers {
            layers.push(self.outputs(*layer, results)?);
        }
        Ok(layers)
    }

    /// All sources of a module as one tree.
    fn source(
        &self,
        step: &Step,
        module: &Module,
        results: &Results,
    ) -> Result<Option<Kept>, Failure> {
        let mut parts: Vec<(String, Kept)> = Vec::new();
        for (number, source) in module.sources.iter().enumerate() {
            let made = step.sources.iter().find(|(n, _)| *n == number);
            let kept = match made {
                Some((_, step)) => self.outputs(*step, results)?,
                None => source_tree(self, module, number)?,
            };
            parts.push((source.into.clone(), kept));
        }
        if parts.iter().all(|(into, _)| into.is_empty()) && parts.len() == 1 {
            return Ok(parts.pop().map(|(_, kept)| kept));
        }
        let tree = parts.iter().fold(Tree::default(), |below, (into, kept)| {
            below.overlaid(&kept.tree.below(&into.parse().unwrap_or_default()))
        });
        Ok((!parts.is_empty()).then(|| Kept { digest: tree.digest(), tree }))
    }

    /// Debian packages as a folder of files.
    fn debs(&self, ids: &[String]) -> Result<Kept, Failure> {
        let mut files = Vec::new();
        for id in ids {
            let file = self.facts.lock.package.get(id);
            files.push(
                file.ok_or_else(|| Failure::project(format!("the lock file has no `{id}`")))?,
            );
        }
        let digests = self.fetcher.fetch_debian_all(&files)?;
        let mut tree = Tree::default();
        for (file, digest) in files.iter().zip(digests) {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            let path = name.parse().map_err(|e| Failure::project(format!("{e}")))?;
            tree = tree.with(&path, Node::File(File::new(digest, Meta::FILE)));
        }
        let digest = put(self.store, &tree.encode())?;
        Ok(Kept { digest, tree })
    }
}

fn empty(store: &dyn Store) -> Result<Kept, StoreError> {
    let tree = Tree::default();
    Ok(Kept { digest: put(store, &tree.encode())?, tree })
}

/// A source tree as outputs.
fn normalised(store: &dyn Store, source: &Kept) -> Result<Kept, StoreError> {
    let digest = put(store, &source.tree.encode())?;
    Ok(Kept { digest, tree: source.tree.clone() })
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos() }
}

pub(crate) fn since(started: Time) -> Duration {
    let now = now();
    let nanos = |t: Time| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
    Duration::from_nanos(u64::try_from(nanos(now) - nanos(started)).unwrap_or_default())
}
