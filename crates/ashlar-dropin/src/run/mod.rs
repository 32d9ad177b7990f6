//! One command, kept by all that can change what it makes.
//!
//! | module | what lives there |
//! |---|---|
//! | `component` | the pieces of a key, and what differs between two |
//! | `gather` | what they are on disk now |
//! | `made` | what is remembered of runs between them |
//! | `batch` | the order of several |
//! | `find`, `make`, `send` | a run that is found; one that is not; leaving results elsewhere |
//! | `child` | a command's output, shown, kept and shown again |
//! | `aside` | what was made earlier, out of the way while a command runs |
//! | `outputs` | what a command makes: found, kept, opened again |
//! | `jobserver` | the jobs that a make around several runs allows |
//! | `undeclared` | what a command touched and did not declare |
//! | `sandbox` | a command that sees what is declared, and nothing else |
//! | `error` | why it cannot be done |

mod aside;
mod batch;
mod child;
mod component;
mod error;
mod find;
mod gather;
mod jobserver;
mod made;
mod make;
mod outputs;
mod sandbox;
mod send;
mod undeclared;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ashlar_build::Direct;
use ashlar_execute::Cancel;
use ashlar_object::{Digest, StepKey, Time};
use ashlar_recipe::Declaration;
use ashlar_source::Globs;
use ashlar_store::{LocalStore, StatCache, StepLock, Store as _};

pub use batch::{OrderError, order};
pub use component::{Component, Difference, Kind, differences};
pub use error::RunError;
pub use jobserver::{Jobserver, Turn};
pub use made::{Last, Said, all, last};
pub use undeclared::{Tracing, Undeclared, Watching, learned};

use component::{decode, key_of};
use gather::{Gather, Gathered, LEFT_OUT};

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
    /// Whether all of that goes to standard error, because programs read standard output.
    pub on_error: bool,
    /// Whether what was made earlier stays in its place while the command runs.
    pub keep_outputs: bool,
    /// Whether common files are in the key.
    pub common: bool,
    /// How the command is traced.
    pub watching: &'a Watching,
    /// Whether it sees only what is declared.
    pub sandbox: bool,
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
    /// The command touched this and did not declare it.
    Undeclared(Vec<Undeclared>),
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
    /// What it touched and did not declare, where it was traced.
    pub undeclared: Vec<Undeclared>,
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
    /// The command was told to stop, and said that it succeeded: nobody knows with what.
    Stopped,
}

/// What is found out about a run before anything is done.
struct Known {
    globs: Globs,
    gathered: Gathered,
    key: StepKey,
}

/// A run that has to be made.
struct Missed {
    known: Known,
    last: Option<Last>,
    reason: Vec<Difference>,
    _held: Vec<Option<StepLock>>,
}

/// What came of looking for a run.
enum Looked {
    Found(Report),
    Missed(Box<Missed>),
}

/// The variable that tells a command which runs it is inside of: they hold locks.
const INSIDE: &str = "ASHLAR_INSIDE";

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
        let lock = made::lock_name(self.root, name);
        let inside = std::env::var(INSIDE).unwrap_or_default();
        if inside.split(',').any(|one| one == lock.short()) {
            return Err(RunError::Inside);
        }
        aside::recover(self.root)?;
        let stat = self.stat(name);
        let looked = self.find_or_lock(name, declaration, &lock, &stat);
        let report = match looked {
            Ok(Looked::Found(report)) => report,
            Ok(Looked::Missed(missed)) => self.make(name, declaration, &missed, &stat)?,
            // A cache that does not work is no reason to build nothing.
            Err(error) if error.is_of_store() && !self.needs_store() => {
                let why = ashlar_build::chain(&error);
                (self.tell)(Note::Warning(format!("{why}: the command runs without the store")));
                self.bare(declaration)?
            }
            Err(error) => return Err(error),
        };
        self.save(&stat);
        Ok(report)
    }

    /// Whether what is asked for cannot be had without a store.
    fn needs_store(&self) -> bool {
        self.sandbox || matches!(self.watching.tracing, Tracing::Fail | Tracing::Learn)
    }

    /// Finds a run; else nobody touches its files any more, and nobody makes the same elsewhere.
    fn find_or_lock(
        &self,
        name: &str,
        declaration: &Declaration,
        lock: &StepKey,
        stat: &StatCache,
    ) -> Result<Looked, RunError> {
        // Also who finds it puts files in their places, where a command may be at work.
        let mut held = vec![self.lock(lock)?.0];
        let mut known = self.look(declaration, stat)?;
        let last = last(self.store.journal(), self.root, name)?;
        if let Some(report) = self.hit(name, declaration, &known, last.as_ref(), stat)? {
            return Ok(Looked::Found(report));
        }
        let reason = self.reason(last.as_ref(), &known.gathered.components)?;
        (self.tell)(Note::Miss(reason.clone()));
        let (key_lock, waited) = self.lock(&known.key)?;
        held.push(key_lock);
        // Who had the lock may have kept it a moment before we had it.
        let kept = self.read && self.store.steps(&[known.key])?.iter().any(Option::is_some);
        if waited || kept {
            known = self.look(declaration, stat)?;
            if let Some(report) = self.hit(name, declaration, &known, last.as_ref(), stat)? {
                return Ok(Looked::Found(report));
            }
        }
        Ok(Looked::Missed(Box::new(Missed { known, last, reason, _held: held })))
    }

    /// Takes a lock, if the store has locks; whether it had to be waited for.
    fn lock(&self, key: &StepKey) -> Result<(Option<StepLock>, bool), RunError> {
        if self.store.is_read_only() {
            return Ok((None, false));
        }
        let mut waited = false;
        let mut waiting = || {
            if !std::mem::replace(&mut waited, true) {
                (self.tell)(Note::Waiting);
            }
            !self.cancel.is_cancelled()
        };
        let held = self.store.lock_step(key, &mut waiting)?.ok_or(RunError::Stopped)?;
        Ok((Some(held), waited))
    }

    /// What went well; the rest is told as a warning.
    fn or_warn<T, E: Into<RunError>>(&self, what: &str, result: Result<T, E>) -> Option<T> {
        let error = match result {
            Ok(done) => return Some(done),
            Err(error) => error.into(),
        };
        (self.tell)(Note::Warning(format!("{what}: {}", ashlar_build::chain(&error))));
        None
    }

    /// Where output is shown.
    fn show(&self) -> child::Show {
        if self.on_error { child::Show::OnError } else { child::Show::Apart }
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
        let before = self.before(Some(&last))?;
        // Left out the last time, they are no difference now.
        let left_out = |one: &Component| {
            one.kind == Kind::Common && one.name == LEFT_OUT && one.value.is_empty()
        };
        let common = self.common && !before.iter().flatten().any(left_out);
        let known = Self { common, ..*self }.look(&declaration, &stat)?;
        let now = &known.gathered.components;
        let differences = before.map(|before| differences(&before, now)).unwrap_or_default();
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
        let before = self.before(last)?;
        Ok(before.map(|before| differences(&before, components)).unwrap_or_default())
    }

    /// What a run had the last time, where that is known.
    fn before(&self, last: Option<&Last>) -> Result<Option<Vec<Component>>, RunError> {
        let digest = last.and_then(|last| last.pieces.as_ref()?.parse::<Digest>().ok());
        let Some(digest) = digest else { return Ok(None) };
        let bytes = ashlar_store::read(self.store, &digest)?;
        Ok(bytes.and_then(|bytes| decode(&bytes)))
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
