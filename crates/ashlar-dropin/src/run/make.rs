//! A run that is not found: the command, and keeping what it makes.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ashlar_execute::trace::{Touched, Trace};
use ashlar_object::{Action, ActionResult, Digest, Platform, StepKey, Tree};
use ashlar_recipe::Declaration;
use ashlar_source::Globs;
use ashlar_store::{RecordedOutcome, StatCache, StepRecord, Store as _};

use super::aside::Aside;
use super::child::{Show, Told};
use super::component::{differences, key_of};
use super::made::{self, Last, Said};
use super::sandbox::Cell;
use super::{
    INSIDE, Known, Missed, Note, Outcome, Report, RunError, Runner, Tracing, child, millis, now,
    outputs, undeclared,
};

/// How warnings begin after which the next run is no hit.
const NOT_KEPT: &str = "nothing is kept";

/// How a command ended.
struct Ended {
    code: i32,
    told: Told,
    touched: Vec<Touched>,
    took: Duration,
}

impl Runner<'_> {
    /// Runs the command, and keeps what it makes. Once it has succeeded nothing that the store
    /// cannot do fails the run: what was made is there.
    pub(super) fn make(
        &self,
        name: &str,
        declaration: &Declaration,
        missed: &Missed,
        stat: &StatCache,
    ) -> Result<Report, RunError> {
        let Missed { known, last, reason, .. } = missed;
        let cell = match self.sandbox {
            true => Some(Cell::new(self.store, self.root, declaration, &known.gathered)?),
            false => None,
        };
        let aside = match self.keep_outputs || cell.is_some() {
            true => None,
            false => Some(self.aside(&known.globs)?),
        };
        let mut log = self.log_file()?;
        let started = now();
        let command = match &cell {
            Some(cell) => cell.command(declaration)?,
            None => self.prepared(declaration)?,
        };
        let ended = self.command(name, command, &mut log)?;
        let log = self.keep_log(&mut log, &ended);
        let pieces = self.keep_pieces(&known.gathered.components);
        let pieces = self.or_warn("what it was made from is not noted", pieces).flatten();
        let mut note = last.clone().unwrap_or_default();
        note.misses += 1;
        note.spent_ms += millis(ended.took);
        note.key = known.key.to_string();
        note.declaration = Said::of(declaration);
        note.log = log.map(|log| log.to_string());
        note.reason = reason.iter().map(ToString::to_string).collect();
        note.at = started.seconds;
        note.pieces = pieces;
        "failed".clone_into(&mut note.outcome);
        let mut record = StepRecord {
            project: self.root.display().to_string(),
            module: name.to_owned(),
            step: "run".to_owned(),
            key: known.key,
            action: None,
            outcome: RecordedOutcome::Failed,
            from: None,
            started,
            took: ended.took,
            log,
            inputs: note.pieces.as_ref().and_then(|text| text.parse().ok()),
            message: None,
        };
        let made_in = cell.as_ref().map_or(self.root, Cell::path);
        let mut report = Report {
            outcome: Outcome::Built,
            key: known.key,
            took: ended.took,
            kept: false,
            undeclared: Vec::new(),
        };
        // Whatever is wrong with what it made: it goes, and what was there before comes back.
        match self.judge(declaration, known, made_in, &ended, &mut report) {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                drop(aside);
                record.message = Some(format!("the command ended with {}", ended.code));
                report.outcome = outcome;
                self.write_down(name, &note, &record);
                return Ok(report);
            }
            Err(error) => {
                drop(aside);
                record.message = Some(error.to_string());
                self.write_down(name, &note, &record);
                return Err(error);
            }
        }
        if let Some(aside) = aside {
            aside.forget();
        }
        let traced = self.watching.tracing != Tracing::Off && report.undeclared.is_empty();
        let streams = &ended.told.streams;
        let keeps = self.write && !self.store.is_read_only();
        let kept = if let Some(cell) = &cell {
            let kept = outputs::keep(self.store, cell.path(), &known.globs, stat, streams, traced)?;
            self.put(declaration, known, &kept.outputs, stat)?;
            Some(kept)
        } else if keeps {
            let kept = outputs::keep(self.store, self.root, &known.globs, stat, streams, traced);
            self.or_warn(NOT_KEPT, kept)
        } else {
            None
        };
        "built".clone_into(&mut note.outcome);
        record.outcome = RecordedOutcome::Built;
        // What is declared from the next time on has another key then.
        let learns = self.watching.tracing == Tracing::Learn && !report.undeclared.is_empty();
        if let (Some(kept), Some(log), true) = (kept, log, keeps && !learns) {
            let result = ActionResult {
                outputs: kept.digest,
                root: kept.root,
                log,
                started,
                took: ended.took,
            };
            let action = action_of(declaration, &known.key);
            let done = self.keep(name, declaration, known, stat, &action, &result, &kept.outputs);
            report.kept = self.or_warn(NOT_KEPT, done).unwrap_or(false);
            if report.kept {
                record.action = Some(action);
                self.write_down(name, &note, &record);
                self.send(name, known, action, &result)?;
                return Ok(report);
            }
        }
        self.write_down(name, &note, &record);
        Ok(report)
    }

    /// Runs the command although the store cannot be used: nothing is found and nothing kept.
    pub(super) fn bare(&self, declaration: &Declaration) -> Result<Report, RunError> {
        let globs = Globs::new(&declaration.output).map_err(|e| RunError::Source(e.into()))?;
        let aside = match self.keep_outputs {
            true => None,
            false => Some(self.aside(&globs)?),
        };
        let mut log = self.log_file()?;
        let ended = self.command("", self.prepared(declaration)?, &mut log)?;
        let took = ended.took;
        let key = StepKey([0; 32]);
        let outcome = Outcome::Built;
        let mut report = Report { outcome, key, took, kept: false, undeclared: Vec::new() };
        if let Some(outcome) = self.outcome(&ended) {
            report.outcome = outcome;
            return Ok(report);
        }
        let patterns = outputs::unmatched(self.root, &globs)?;
        if !patterns.is_empty() {
            return Err(RunError::NotMade { patterns });
        }
        if let Some(aside) = aside {
            aside.forget();
        }
        Ok(report)
    }

    /// What is wrong with how a command ended, or with what it made: `None` when nothing is.
    fn judge(
        &self,
        declaration: &Declaration,
        known: &Known,
        made_in: &Path,
        ended: &Ended,
        report: &mut Report,
    ) -> Result<Option<Outcome>, RunError> {
        if let Some(outcome) = self.outcome(ended) {
            return Ok(Some(outcome));
        }
        let undeclared = undeclared::undeclared(
            self.root,
            declaration,
            &known.gathered,
            &known.globs,
            self.watching,
            ended.touched.clone(),
        )?;
        if !undeclared.is_empty() {
            (self.tell)(Note::Undeclared(undeclared.clone()));
            report.undeclared.clone_from(&undeclared);
            if self.watching.tracing == Tracing::Fail {
                return Err(RunError::Undeclared { found: undeclared });
            }
        }
        let patterns = outputs::unmatched(made_in, &known.globs)?;
        if patterns.is_empty() { Ok(None) } else { Err(RunError::NotMade { patterns }) }
    }

    /// How it ended, if not well.
    fn outcome(&self, ended: &Ended) -> Option<Outcome> {
        match ended.code {
            0 if self.cancel.is_cancelled() => Some(Outcome::Stopped),
            0 => None,
            code => Some(Outcome::Failed(code)),
        }
    }

    fn aside<'a>(&'a self, globs: &'a Globs) -> Result<Aside<'a>, RunError> {
        // Several runs of one process begin in the same moment.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Aside::set(self.root, globs, &format!("{}.{count}.{}", std::process::id(), now().nanos))
    }

    /// A file for the log: in the store, or where other programs have theirs.
    fn log_file(&self) -> Result<File, RunError> {
        if let Some(scratch) = self.store.scratch()
            && let Ok(file) = child::log_file(&scratch)
        {
            return Ok(file);
        }
        let folder = std::env::temp_dir();
        child::log_file(&folder).map_err(RunError::io("make a log in", &folder))
    }

    /// Shows the log, where that was not done, and keeps it.
    fn keep_log(&self, log: &mut File, ended: &Ended) -> Option<Digest> {
        if !self.live {
            let shown = child::rewind(log)
                .and_then(|()| child::replay(log, Some(&ended.told.streams), self.show()));
            self.or_warn(
                "its output cannot be shown",
                shown.map_err(RunError::io("read", self.root)),
            );
        }
        if let Some(error) = &ended.told.lost {
            (self.tell)(Note::Warning(format!("{NOT_KEPT}: the log cannot be written: {error}")));
            return None;
        }
        if self.store.is_read_only() {
            return None;
        }
        let kept = child::rewind(log)
            .map_err(RunError::io("read", self.root))
            .and_then(|()| Ok(self.store.put(log)?));
        self.or_warn("the log is not kept", kept)
    }

    /// Keeps a result under its key, unless what it was made from has changed meanwhile.
    #[expect(clippy::too_many_arguments, reason = "all that a result consists of")]
    fn keep(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        stat: &StatCache,
        action: &Digest,
        result: &ActionResult,
        outputs: &Tree,
    ) -> Result<bool, RunError> {
        // What it was made from must still be that: else nobody knows what it was made from.
        let mut now = self.gather(declaration, &known.globs, stat)?.components;
        if key_of(&mut now) == known.key {
            self.direct.keep(&known.key, action, result)?;
            self.note_made(name, outputs)?;
            return Ok(true);
        }
        let changed = differences(&known.gathered.components, &now);
        let which: Vec<String> = changed.iter().take(3).map(ToString::to_string).collect();
        (self.tell)(Note::Warning(format!(
            "{NOT_KEPT}: while it ran, what it reads changed ({}). If the command itself writes \
             there, leave that out: --input '!PATTERN'",
            which.join("; ")
        )));
        Ok(false)
    }

    fn write_down(&self, name: &str, note: &Last, record: &StepRecord) {
        let journal = self.store.journal();
        let written =
            journal.record(record).and_then(|()| made::remember(journal, self.root, name, note));
        self.or_warn("the figures of this run are not kept", written);
    }

    /// Runs the command until it ends. With a trace, what it touched.
    fn command(&self, name: &str, mut command: Command, log: &mut File) -> Result<Ended, RunError> {
        let around = std::env::var(INSIDE).map(|names| names + ",").unwrap_or_default();
        command.env(INSIDE, around + &made::lock_name(self.root, name).short());
        // A command whose log nobody reads any more would go on beside the next one.
        ashlar_execute::end_with_us(&mut command);
        let begun = Instant::now();
        let show = if self.live { self.show() } else { Show::Nothing };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_owned();
        let failed = |source| RunError::Program { name: shown(&program), source };
        let ended = AtomicBool::new(false);
        let (over, log) = (&ended, Mutex::new(log));
        let (status, told) = std::thread::scope(|scope| {
            let (mut reader, mut stopper) = (None, None);
            let mut started = |child: &mut Child| {
                if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
                    let log = &log;
                    reader = Some(scope.spawn(move || {
                        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                        child::tee(out, err, &mut log, over, show)
                    }));
                }
                let pid = child.id();
                stopper = Some(scope.spawn(move || self.stop_when_told(pid, over)));
            };
            let status = self.watched(command, &failed, &mut started);
            ended.store(true, Ordering::Release);
            if let Some(stopper) = stopper {
                stopper.thread().unpark();
            }
            let told = reader.map(|reader| {
                reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (status, told)
        });
        let (status, touched) = status?;
        let told = told.unwrap_or_else(|| Ok(Told::default()));
        let told = told.map_err(RunError::io("read the output of a command in", self.root))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Ended { code, told, touched, took: begun.elapsed() })
    }

    /// Waits for a command, and looks at what it touches where that is wanted.
    fn watched(
        &self,
        mut command: Command,
        failed: &dyn Fn(std::io::Error) -> RunError,
        started: &mut dyn FnMut(&mut Child),
    ) -> Result<(ExitStatus, Vec<Touched>), RunError> {
        if self.watching.tracing == Tracing::Off {
            let mut child = command.spawn().map_err(failed)?;
            started(&mut child);
            return Ok((child.wait().map_err(failed)?, Vec::new()));
        }
        let below = match self.watching.system {
            true => Vec::new(),
            false => vec![self.root.canonicalize().map_err(RunError::io("find", self.root))?],
        };
        let trace = Trace { below, helper: self.watching.helper.clone() };
        Ok(trace.run(command, started)?)
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
