//! One command, kept by all that can change what it makes.
//!
//! | module | what lives there |
//! |---|---|
//! | `component` | the pieces of a key, and what differs between two |
//! | `gather` | what they are on disk now |
//! | `made` | what is remembered of runs between them |
//! | `batch` | the order of several |
//! | `child` | a command's output, shown, kept and shown again |
//! | `outputs` | what a command makes: set aside, kept, found again |
//! | `error` | why it cannot be done |

mod batch;
mod child;
mod component;
mod error;
mod gather;
mod made;
mod outputs;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ashlar_build::{Direct, Hit};
use ashlar_execute::Cancel;
use ashlar_object::{Action, ActionResult, Digest, Node, Platform, StepKey, Time, Tree};
use ashlar_recipe::Declaration;
use ashlar_source::Globs;
use ashlar_store::{
    LocalStore, Publication, RecordedOutcome, StatCache, StepRecord, Store as _, StoreError,
};

pub use batch::{OrderError, order};
pub use component::{Component, Difference, Kind, differences};
pub use error::RunError;
pub use made::{Last, Said, all, last};

use crate::place::{PlaceError, Put, Times};
use component::{decode, encode, key_of};
use gather::{Gather, Gathered};
use made::Made;

/// What all runs of one process share.
pub struct Runner<'a> {
    /// The store on this machine.
    pub store: &'a LocalStore,
    /// Looking up and leaving results, here and at remotes.
    pub direct: Direct<'a>,
    /// The root of the project, an absolute path.
    pub root: &'a Path,
    /// Whether results are looked for.
    pub read: bool,
    /// Whether they are kept.
    pub write: bool,
    /// Whether the output of a command that is not run is shown again.
    pub replay: bool,
    /// Whether the output of a command is shown while it runs; else when it has ended.
    pub live: bool,
    /// Whether what was made earlier stays in its place while the command runs.
    pub keep_outputs: bool,
    /// Whether common files are in the key.
    pub common: bool,
    /// Stops the command.
    pub cancel: &'a Cancel,
    /// Told what people should know while it goes on.
    pub tell: &'a (dyn Fn(Note) + Sync),
}

/// What people should know while a run goes on.
#[derive(Clone, Debug)]
pub enum Note {
    /// The same is being made elsewhere, and waited for.
    Waiting,
    /// It is not found, and why: what is different from the last time.
    Miss(Vec<Difference>),
    /// Something is not as it should be.
    Warning(String),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// How.
    pub outcome: Outcome,
    /// Its key.
    pub key: StepKey,
    /// How long the command took, now or when it was run.
    pub took: Duration,
    /// Whether its result is kept.
    pub kept: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was found, at this place.
    Hit(String),
    /// The command was run and succeeded.
    Built,
    /// The command was run and ended with this code; 128 and more for signals.
    Failed(i32),
}

/// What is found out about a run before anything is done.
struct Known {
    globs: Globs,
    gathered: Gathered,
    key: StepKey,
}

impl Runner<'_> {
    /// Finds what a command made, or runs it and keeps what it makes.
    ///
    /// # Errors
    /// When the declaration does not hold, or something cannot be read, kept or restored. A command
    /// that fails is none.
    pub fn run(&self, name: &str, declaration: &Declaration) -> Result<Report, RunError> {
        if declaration.command.is_empty() {
            return Err(RunError::NoCommand);
        }
        if declaration.output.is_empty() {
            return Err(RunError::NoOutputs);
        }
        let stat = self.stat(name);
        let mut known = self.look(declaration, &stat)?;
        let last = last(self.store.journal(), self.root, name)?;
        if let Some(report) = self.hit(name, declaration, &known, last.as_ref(), &stat)? {
            self.save(&stat);
            return Ok(report);
        }
        let reason = self.reason(last.as_ref(), &known.gathered.components)?;
        (self.tell)(Note::Miss(reason.clone()));
        // Nobody else touches these files, and nobody makes the same elsewhere.
        let locks = [made::lock_name(self.root, name), known.key];
        let mut held = Vec::new();
        if !self.store.is_read_only() {
            let mut waited = false;
            for lock in &locks {
                let mut waiting = || {
                    if !std::mem::replace(&mut waited, true) {
                        (self.tell)(Note::Waiting);
                    }
                    !self.cancel.is_cancelled()
                };
                held.push(self.store.lock_step(lock, &mut waiting)?);
            }
            if waited {
                known = self.look(declaration, &stat)?;
                if let Some(report) = self.hit(name, declaration, &known, last.as_ref(), &stat)? {
                    self.save(&stat);
                    return Ok(report);
                }
            }
        }
        let report = self.make(name, declaration, &known, last.as_ref(), &reason, &stat)?;
        self.save(&stat);
        Ok(report)
    }

    /// What the key of a run would be now, and what is different from the last time.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub fn why(&self, name: &str) -> Result<Option<Why>, RunError> {
        let Some(last) = last(self.store.journal(), self.root, name)? else {
            return Ok(None);
        };
        let declaration = last.declaration.clone().declaration();
        let stat = self.stat(name);
        let known = self.look(&declaration, &stat)?;
        let differences = self.reason(Some(&last), &known.gathered.components)?;
        let found = self.direct.find(&[known.key])?.pop().flatten();
        let place = found.map(|hit| self.direct.place(&hit));
        Ok(Some(Why { key: known.key, place, differences, last }))
    }

    fn stat(&self, name: &str) -> StatCache {
        // One for each run: those of one makefile are started by the hundred, and each would read
        // and write what all of them know.
        self.store.stat_cache(&self.root.join(".ashlar-run").join(name))
    }

    fn save(&self, stat: &StatCache) {
        if let Err(error) = stat.save() {
            (self.tell)(Note::Warning(format!("the stat cache was not saved: {error}")));
        }
    }

    fn look(&self, declaration: &Declaration, stat: &StatCache) -> Result<Known, RunError> {
        let globs = Globs::new(&declaration.output).map_err(|e| RunError::Source(e.into()))?;
        let mut gathered = self.gather(declaration, &globs, stat)?;
        let key = key_of(&mut gathered.components);
        Ok(Known { globs, gathered, key })
    }

    fn gather(
        &self,
        declaration: &Declaration,
        outputs: &Globs,
        stat: &StatCache,
    ) -> Result<Gathered, RunError> {
        let (root, journal, common) = (self.root, self.store.journal(), self.common);
        Gather { root, declaration, outputs, stat, journal, common }.all()
    }

    /// What is different from what a run had the last time.
    fn reason(
        &self,
        last: Option<&Last>,
        components: &[Component],
    ) -> Result<Vec<Difference>, RunError> {
        let digest = last.and_then(|last| last.pieces.as_ref()?.parse::<Digest>().ok());
        let Some(digest) = digest else { return Ok(Vec::new()) };
        let bytes = ashlar_store::read(self.store, &digest)?;
        let before = bytes.and_then(|bytes| decode(&bytes));
        Ok(before.map(|before| differences(&before, components)).unwrap_or_default())
    }

    /// Restores what is kept, if it is.
    fn hit(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        last: Option<&Last>,
        stat: &StatCache,
    ) -> Result<Option<Report>, RunError> {
        if !self.read {
            return Ok(None);
        }
        let Some(hit) = self.direct.find(&[known.key])?.pop().flatten() else { return Ok(None) };
        if !self.direct.bring(&known.key, &hit)? {
            return Ok(None);
        }
        match self.restore(declaration, known, &hit, stat) {
            Ok(outputs) => {
                self.note_hit(name, declaration, known, last, &hit, &outputs)?;
                let outcome = Outcome::Hit(self.direct.place(&hit));
                let took = hit.found.result.took;
                Ok(Some(Report { outcome, key: known.key, took, kept: true }))
            }
            // What is gone or damaged is a miss.
            Err(RunError::Place(PlaceError::Missing(_)))
            | Err(RunError::Store(StoreError::Missing(_)))
            | Err(RunError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn restore(
        &self,
        declaration: &Declaration,
        known: &Known,
        hit: &Hit,
        stat: &StatCache,
    ) -> Result<Tree, RunError> {
        let result = &hit.found.result;
        let whole = ashlar_store::read_tree(self.store, &result.outputs)?
            .ok_or(StoreError::Missing(result.outputs))?;
        let (outputs, streams) = outputs::open(self.store, &whole)?;
        let mut log = match self.replay {
            true => Some(self.store.open(&result.log)?.ok_or(StoreError::Missing(result.log))?),
            false => None,
        };
        let owned = |path: &Path| known.globs.is_match(path);
        let spare = |path: &Path| gather::is_ours(path);
        let last: Vec<PathBuf> =
            declaration.output.first().map(PathBuf::from).into_iter().collect();
        let put = Put {
            store: self.store,
            root: self.root,
            stat,
            times: Times::Fresh,
            starts: &known.globs.starts(),
            last: &last,
        };
        put.place(&outputs, &owned, &spare)?;
        if let Some(log) = &mut log
            && let Err(error) = child::replay(log, streams.as_ref())
        {
            (self.tell)(Note::Warning(format!("its output cannot be shown: {error}")));
        }
        Ok(outputs)
    }

    fn note_hit(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        last: Option<&Last>,
        hit: &Hit,
        outputs: &Tree,
    ) -> Result<(), RunError> {
        let (result, key) = (&hit.found.result, known.key.to_string());
        self.store.journal().note_hits(1, result.took)?;
        let mut note = last.cloned().unwrap_or_default();
        if note.key != key || note.outcome == "failed" {
            self.note_made(name, outputs)?;
            note.declaration = Said::of(declaration);
            note.log = Some(result.log.to_string());
            note.pieces = self.keep_pieces(&known.gathered.components)?;
            note.reason.clear();
        }
        note.key = key;
        note.hits += 1;
        note.saved_ms += millis(result.took);
        "hit".clone_into(&mut note.outcome);
        note.at = now().seconds;
        Ok(made::remember(self.store.journal(), self.root, name, &note)?)
    }

    fn keep_pieces(&self, components: &[Component]) -> Result<Option<String>, StoreError> {
        if self.store.is_read_only() {
            return Ok(None);
        }
        ashlar_store::put(self.store, &encode(components)).map(|digest| Some(digest.to_string()))
    }

    /// Notes which files this run made, for those that use them.
    fn note_made(&self, name: &str, outputs: &Tree) -> Result<(), StoreError> {
        let mut files = Vec::new();
        outputs.walk(|entry| {
            if let Node::File(file) = entry.node {
                files.push((entry.path.to_string(), file.digest));
            }
        });
        let whole = outputs.digest();
        for (path, content) in files {
            let made = Made { content, outputs: whole, run: name.to_owned() };
            made::note(self.store.journal(), self.root, &path, &made)?;
        }
        Ok(())
    }

    /// Runs the command, and keeps what it makes.
    fn make(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        last: Option<&Last>,
        reason: &[Difference],
        stat: &StatCache,
    ) -> Result<Report, RunError> {
        let keeps = self.write && !self.store.is_read_only();
        let serial = format!("{}.{}", std::process::id(), now().nanos);
        let aside = match self.keep_outputs {
            true => None,
            false => Some(outputs::Aside::set(self.root, &known.globs, &serial)?),
        };
        let scratch = self.store.scratch().unwrap_or_else(std::env::temp_dir);
        let mut log = child::log_file(&scratch).map_err(RunError::io("make a log in", &scratch))?;
        let (begun, started) = (Instant::now(), now());
        let (status, streams) = self.command(declaration, &mut log)?;
        let took = begun.elapsed();
        if !self.live {
            let shown =
                child::rewind(&mut log).and_then(|()| child::replay(&mut log, Some(&streams)));
            shown.map_err(RunError::io("read the log in", &scratch))?;
        }
        let log = if self.store.is_read_only() {
            None
        } else {
            child::rewind(&mut log).map_err(RunError::io("read the log in", &scratch))?;
            Some(self.store.put(&mut log)?)
        };
        let mut report = Report { outcome: Outcome::Built, key: known.key, took, kept: false };
        let mut note = last.cloned().unwrap_or_default();
        note.misses += 1;
        note.spent_ms += millis(took);
        note.key = known.key.to_string();
        note.declaration = Said::of(declaration);
        note.log = log.map(|log| log.to_string());
        note.reason = reason.iter().map(ToString::to_string).collect();
        note.at = started.seconds;
        note.pieces = self.keep_pieces(&known.gathered.components)?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let mut record = StepRecord {
            project: self.root.display().to_string(),
            module: name.to_owned(),
            step: "run".to_owned(),
            key: known.key,
            action: None,
            outcome: RecordedOutcome::Failed,
            from: None,
            started,
            took,
            log,
            inputs: note.pieces.as_ref().and_then(|text| text.parse().ok()),
            message: None,
        };
        if code != 0 {
            // What was there before comes back.
            drop(aside);
            record.message = Some(format!("the command ended with {code}"));
            report.outcome = Outcome::Failed(code);
            "failed".clone_into(&mut note.outcome);
            self.write_down(name, &note, &record)?;
            return Ok(report);
        }
        let kept = if keeps {
            Some(outputs::keep(self.store, self.root, &known.globs, stat, &streams))
        } else {
            None
        };
        let kept = match kept {
            Some(Err(error @ RunError::NotMade { .. })) => {
                drop(aside);
                record.message = Some(error.to_string());
                "failed".clone_into(&mut note.outcome);
                self.write_down(name, &note, &record)?;
                return Err(error);
            }
            Some(kept) => Some(kept?),
            None => None,
        };
        if let Some(aside) = aside {
            aside.forget();
        }
        "built".clone_into(&mut note.outcome);
        record.outcome = RecordedOutcome::Built;
        if let (Some(kept), Some(log)) = (kept, log) {
            // What it was made from must still be that: else nobody knows what it was made from.
            let mut now = self.gather(declaration, &known.globs, stat)?.components;
            if key_of(&mut now) == known.key {
                let result =
                    ActionResult { outputs: kept.digest, root: kept.root, log, started, took };
                let action = action_of(declaration, &known.key);
                self.direct.keep(&known.key, &action, &result)?;
                record.action = Some(action);
                self.note_made(name, &kept.outputs)?;
                report.kept = true;
                self.write_down(name, &note, &record)?;
                self.send(name, known, action, &result)?;
                return Ok(report);
            }
            let changed = differences(&known.gathered.components, &now);
            let which: Vec<String> = changed.iter().take(3).map(ToString::to_string).collect();
            (self.tell)(Note::Warning(format!(
                "nothing is kept: while it ran, what it reads changed ({}). If the command itself \
                 writes there, leave that out: --input '!PATTERN'",
                which.join("; ")
            )));
        }
        self.write_down(name, &note, &record)?;
        Ok(report)
    }

    fn write_down(&self, name: &str, note: &Last, record: &StepRecord) -> Result<(), StoreError> {
        self.store.journal().record(record)?;
        made::remember(self.store.journal(), self.root, name, note)
    }

    /// Runs the command until it ends.
    fn command(
        &self,
        declaration: &Declaration,
        log: &mut std::fs::File,
    ) -> Result<(ExitStatus, child::Streams), RunError> {
        let mut command = self.prepared(declaration)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_owned();
        let failed = |source| RunError::Program { name: shown(&program), source };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(std::io::Error::other("its output cannot be read")));
        };
        let ended = AtomicBool::new(false);
        let (status, streams) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| child::tee(out, err, log, &ended, self.live));
            let (pid, over) = (child.id(), &ended);
            let stopper = scope.spawn(move || self.stop_when_told(pid, over));
            let status = child.wait();
            ended.store(true, Ordering::Release);
            stopper.thread().unpark();
            let streams = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (status, streams)
        });
        let streams = streams.map_err(RunError::io("write the log of", self.root))?;
        Ok((status.map_err(failed)?, streams))
    }

    fn prepared(&self, declaration: &Declaration) -> Result<Command, RunError> {
        let (program, arguments) = declaration.command.split_first().ok_or(RunError::NoCommand)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder(declaration));
        Ok(command)
    }

    fn folder(&self, declaration: &Declaration) -> PathBuf {
        match declaration.directory.as_deref() {
            None | Some("") => self.root.to_owned(),
            Some(below) => self.root.join(below),
        }
    }

    /// Hands on that we are to stop. The terminal tells the whole group by itself; others tell us
    /// alone.
    fn stop_when_told(&self, pid: u32, ended: &AtomicBool) {
        while !ended.load(Ordering::Acquire) {
            if self.cancel.is_cancelled() {
                if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
                {
                    // It may have ended by itself.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Leaves a result at the remotes that are written to.
    fn send(
        &self,
        name: &str,
        known: &Known,
        action: Digest,
        result: &ActionResult,
    ) -> Result<(), RunError> {
        let publication = Publication {
            keys: vec![known.key],
            action,
            result: result.clone(),
            lineage: format!("run {name}"),
            earlier: Vec::new(),
            provenance: None,
        };
        let mut unclean = || self.unclean(&known.gathered);
        self.direct.send(&publication, &mut unclean);
        Ok(())
    }

    /// Why what a run was made from is not committed: its files, or those of runs it uses.
    fn unclean(&self, gathered: &Gathered) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut files: BTreeSet<PathBuf> = gathered.files.clone();
        let mut todo: Vec<String> = gathered.made_by.iter().cloned().collect();
        while let Some(run) = todo.pop() {
            if !seen.insert(run.clone()) {
                continue;
            }
            let pieces = (last(self.store.journal(), self.root, &run).ok().flatten())
                .and_then(|last| last.pieces?.parse::<Digest>().ok())
                .and_then(|digest| ashlar_store::read(self.store, &digest).ok().flatten())
                .and_then(|bytes| decode(&bytes));
            let Some(pieces) = pieces else {
                return Some(format!("nothing is known of what {run} was made from"));
            };
            for piece in pieces {
                match piece.kind {
                    Kind::Input | Kind::Common | Kind::Git => {
                        files.insert(PathBuf::from(piece.name));
                    }
                    Kind::Uses => match made::made(self.store.journal(), self.root, &piece.name) {
                        Ok(Some(made)) if piece.value == made.content.hex() => todo.push(made.run),
                        _ => {
                            files.insert(PathBuf::from(piece.name));
                        }
                    },
                    _ => {}
                }
            }
        }
        ashlar_build::uncommitted(self.root, files.iter().map(PathBuf::as_path))
    }
}

/// Why a run would be found or not.
#[derive(Clone, Debug)]
pub struct Why {
    /// The key as it would be now.
    pub key: StepKey,
    /// Who has its result.
    pub place: Option<String>,
    /// What is different from the last time.
    pub differences: Vec<Difference>,
    /// What is remembered of the last time.
    pub last: Last,
}

/// The action that a key stands for.
fn action_of(declaration: &Declaration, key: &StepKey) -> Digest {
    let command = ashlar_object::Command {
        arguments: declaration.command.clone(),
        working_directory: declaration.directory.clone().unwrap_or_default(),
        output_paths: declaration.output.clone(),
        ..ashlar_object::Command::default()
    };
    let action = Action {
        command: command.digest(),
        input_root: Tree::default().root().digest(),
        // Everything that can change the result is in the key.
        salt: key.0.to_vec(),
        platform: Platform::default(),
    };
    action.digest()
}

fn shown(text: &OsString) -> String {
    text.to_string_lossy().into_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
