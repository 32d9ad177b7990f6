//! A run that is not found: the command, and keeping what it makes.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ashlar_execute::trace::{Touched, Trace};
use ashlar_object::{Action, ActionResult, Digest, Platform, StepKey, Tree};
use ashlar_recipe::Declaration;
use ashlar_store::{RecordedOutcome, StatCache, StepRecord, Store as _, StoreError};

use super::component::{Difference, differences, key_of};
use super::made::{self, Last, Said};
use super::sandbox::Cell;
use super::{
    Known, Note, Outcome, Report, RunError, Runner, Tracing, child, millis, now, outputs,
    undeclared,
};

impl Runner<'_> {
    /// Runs the command, and keeps what it makes.
    pub(super) fn make(
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
        let cell = match self.sandbox {
            true => Some(Cell::new(self.store, self.root, declaration, &known.gathered)?),
            false => None,
        };
        let aside = match self.keep_outputs || cell.is_some() {
            true => None,
            false => Some(outputs::Aside::set(self.root, &known.globs, &serial)?),
        };
        let scratch = self.store.scratch().unwrap_or_else(std::env::temp_dir);
        let mut log = child::log_file(&scratch).map_err(RunError::io("make a log in", &scratch))?;
        let (begun, started) = (Instant::now(), now());
        let command = match &cell {
            Some(cell) => cell.command(declaration)?,
            None => self.prepared(declaration)?,
        };
        let (status, streams, touched) = self.command(command, &mut log)?;
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
        let mut report = Report {
            outcome: Outcome::Built,
            key: known.key,
            took,
            kept: false,
            undeclared: Vec::new(),
        };
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
        let undeclared = undeclared::undeclared(
            self.root,
            declaration,
            &known.gathered,
            &known.globs,
            self.watching,
            touched,
        )?;
        if !undeclared.is_empty() {
            (self.tell)(Note::Undeclared(undeclared.clone()));
            report.undeclared.clone_from(&undeclared);
            if self.watching.tracing == Tracing::Fail {
                // What the command made stays, for whoever wants to look; it is not kept.
                if let Some(aside) = aside {
                    aside.forget();
                }
                let error = RunError::Undeclared { found: undeclared };
                record.message = Some(error.to_string());
                "failed".clone_into(&mut note.outcome);
                self.write_down(name, &note, &record)?;
                return Err(error);
            }
        }
        let traced = self.watching.tracing != Tracing::Off && undeclared.is_empty();
        let made_in = cell.as_ref().map_or(self.root, Cell::path);
        let kept = match keeps || cell.is_some() {
            true => Some(outputs::keep(self.store, made_in, &known.globs, stat, &streams, traced)),
            false => None,
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
        if let (Some(_), Some(kept)) = (&cell, &kept) {
            self.put(declaration, known, &kept.outputs, stat)?;
        }
        "built".clone_into(&mut note.outcome);
        record.outcome = RecordedOutcome::Built;
        // What is declared from the next time on has another key then.
        let learns = self.watching.tracing == Tracing::Learn && !report.undeclared.is_empty();
        if let (Some(kept), Some(log), true) = (kept, log, keeps && !learns) {
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

    /// Runs the command until it ends. With a trace, what it touched.
    fn command(
        &self,
        mut command: Command,
        log: &mut std::fs::File,
    ) -> Result<(ExitStatus, child::Streams, Vec<Touched>), RunError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_owned();
        let failed = |source| RunError::Program { name: shown(&program), source };
        let ended = AtomicBool::new(false);
        let (over, log) = (&ended, Mutex::new(log));
        let (status, streams) = std::thread::scope(|scope| {
            let (mut reader, mut stopper) = (None, None);
            let mut started = |child: &mut Child| {
                if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
                    let log = &log;
                    reader = Some(scope.spawn(move || {
                        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                        child::tee(out, err, &mut log, over, self.live)
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
            let streams = reader.map(|reader| {
                reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (status, streams)
        });
        let (status, touched) = status?;
        let streams = streams.unwrap_or_else(|| Ok(child::Streams::default()));
        let streams = streams.map_err(RunError::io("write the log of", self.root))?;
        Ok((status, streams, touched))
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
