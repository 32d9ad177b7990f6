//! `ashlar cache`.

mod plan;
mod restore;
mod save;
mod skip;
mod wrap;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ashlar_build::{Direct, Ears, Event, Origins, PATIENCE, Tally, chain};
use ashlar_dropin::cache::{Branch, CacheError, KeyFiles, Workspace};
use ashlar_dropin::place::PlaceError;
use ashlar_execute::Cancel;
use ashlar_object::StepKey;
use ashlar_recipe::{CACHE_FILE, parse_cache};
use ashlar_source::SourceError;
use ashlar_store::StatCache;

use crate::args::Globals;
use crate::args::cache::{Cache, Where};
use crate::exit::{Exit, Failed};
use crate::remotes::{self, Opened};
use crate::show::{self, Show, transfer};
use crate::signals::cancel_on_signals;
use crate::workspace;

pub fn run(globals: &Globals, args: &Cache) -> Result<Exit, Failed> {
    match args {
        Cache::Plan(args) => plan::run(globals, args),
        Cache::Restore(args) => restore::run(globals, args),
        Cache::Save(args) => save::run(globals, args),
        Cache::SkipIfHit(args) => skip::run(globals, args),
        Cache::Wrap(args) => wrap::run(globals, args),
    }
}

/// A workspace with all that its commands need.
struct Job {
    space: workspace::Workspace,
    config: ashlar_recipe::Cache,
    branch: Branch,
    stat: StatCache,
    opened: Vec<Opened>,
    show: Show,
    cancel: Cancel,
    json: bool,
    allow_missing: bool,
    /// Whether what comes from remotes is kept here.
    keep: bool,
}

impl Job {
    fn open(globals: &Globals, place: &Where) -> Result<Self, Failed> {
        let space = workspace::Workspace::open(globals, place.root.as_deref())?;
        let file = match &place.file {
            Some(file) => globals.project.join(file),
            None => space.root.join(CACHE_FILE),
        };
        let bytes = std::fs::read(&file).map_err(|error| {
            let failed = Failed::usage(format!("cannot read {}: {error}", file.display()));
            match error.kind() {
                std::io::ErrorKind::NotFound => failed.help(
                    "write `[layer.NAME]` with `key` and `paths` into it; --file names another",
                ),
                _ => failed,
            }
        })?;
        let shown = file.file_name().map_or(CACHE_FILE.into(), |name| name.to_string_lossy());
        let config = parse_cache(&shown, &bytes)?;
        let variable = |name: &str| std::env::var(name).ok();
        let mut branch = Branch::detect(&variable, &space.root);
        if let Some(name) = &place.branch {
            branch = Branch { name: Some(name.clone()), from: "--branch", ..branch };
        }
        if place.base.is_some() {
            branch.base.clone_from(&place.base);
        }
        let stat = space.store.stat_cache(&space.root);
        let opened = space.open_remotes()?;
        let show = Show::new(globals, &space.store);
        let (json, allow_missing) = (globals.json, place.allow_missing);
        let cancel = Cancel::new();
        let keep = false;
        Ok(Self { space, config, branch, stat, opened, show, cancel, json, allow_missing, keep })
    }

    /// Lets a signal stop it.
    fn stop_on_signals(&self, sending: Duration) {
        cancel_on_signals(&self.cancel, sending);
    }

    /// Does something with the workspace, and says what there was to do with remotes.
    fn with<T>(
        &self,
        work: impl FnOnce(&Workspace<'_>) -> Result<T, CacheError>,
    ) -> Result<T, Failed> {
        let (done, tallies) = self.inside(work)?;
        for tally in tallies {
            if self.json {
                show::line(&transfer::event(&tally));
            } else {
                transfer::lines(&tally, transfer::PUSH)
                    .iter()
                    .for_each(|line| self.show.remark(line));
            }
        }
        // A cache that cannot be written only costs time.
        if let Err(error) = self.stat.save() {
            self.warn(&format!("the stat cache was not saved: {error}"));
        }
        done.map_err(failed)
    }

    fn inside<T>(
        &self,
        work: impl FnOnce(&Workspace<'_>) -> Result<T, CacheError>,
    ) -> Result<(Result<T, CacheError>, Vec<Tally>), Failed> {
        let run = remotes::of_run(&self.opened, false);
        let origins = Origins::new(self.space.store.journal(), self.space.accepted()?);
        let tell = |event: Event| self.show.event(event);
        let ears = Ears { tell: &tell, cancel: &self.cancel, deadline: None };
        let store = &*self.space.store;
        let direct = Direct { store, origins: &origins, remotes: &run, ears };
        let env = |name: &str| std::env::var_os(name);
        let done = work(&Workspace {
            root: &self.space.root,
            config: &self.config,
            branch: &self.branch,
            env: &env,
            direct,
            local: store,
            stat: &self.stat,
            keep: self.keep,
        });
        Ok((done, run.tallies()))
    }

    /// The files of the keys; that every glob matches something is an error unless it is allowed.
    fn key_files(&self) -> Result<Vec<KeyFiles>, Failed> {
        let (files, _) = self.inside(|space| {
            let files = space.key_files()?;
            if !self.allow_missing {
                space.keys_match(&files)?;
            }
            Ok(files)
        })?;
        files.map_err(failed)
    }

    fn warn(&self, text: &str) {
        self.show.event(Event::Warning(text.to_owned()));
    }
}

/// The way a result is called between jobs.
fn reference(layer: &str, key: &StepKey) -> String {
    format!("{layer}@{key}")
}

/// Adds lines to the outputs of a step of a GitHub workflow, if this is one.
fn github_output(lines: &str) -> Result<(), Failed> {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let written = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(lines.as_bytes()));
    written.map_err(|e| unwritable(Path::new(&path), &e))
}

/// Where a command writes when standard output is for programs.
fn to_stderr() -> Result<Stdio, Failed> {
    let copied = std::io::stderr().as_fd().try_clone_to_owned();
    copied.map(Stdio::from).map_err(|e| Failed::new(Exit::Machine, format!("standard error: {e}")))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failed {
    Failed::usage(format!("cannot write {}: {error}", path.display()))
}

/// What an error of the library means.
fn failed(error: CacheError) -> Failed {
    let help = error.advice();
    let message = chain(&error);
    let exit = match error {
        CacheError::Unmatched { .. }
        | CacheError::Tracked { .. }
        | CacheError::Changed { .. }
        | CacheError::NoBranch { .. }
        | CacheError::NoLayer { .. } => Exit::Usage,
        CacheError::Stopped => Exit::Stopped,
        CacheError::Files(SourceError::Store(_)) => Exit::Store,
        CacheError::Files(_) => Exit::Usage,
        CacheError::Place(PlaceError::Store(error)) | CacheError::Store(error) => {
            return error.into();
        }
        CacheError::Place(PlaceError::InTheWay { .. }) => Exit::Usage,
        CacheError::Place(_) => Exit::Store,
    };
    Failed { help, ..Failed::new(exit, message) }
}

const SENDING: Duration = PATIENCE;
