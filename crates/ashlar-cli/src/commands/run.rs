//! `ashlar run`.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use ashlar_build::{Direct, Ears, Event, Origins, chain, human_duration};
use ashlar_dropin::run::{
    Jobserver, Note, OrderError, Outcome, Report, RunError, Runner, Tracing, Undeclared, Watching,
    learned, order,
};
use ashlar_execute::Cancel;
use ashlar_execute::trace::TraceError;
use ashlar_object::{CanonicalHasher, StepKey};
use ashlar_recipe::{Declaration, LEARNED_FILE, RUNS_FILE, Runs, parse_runs};
use serde_json::json;

use crate::args::Globals;
use crate::args::run::{Declared, Run, TraceHow, YesNo};
use crate::exit::{Exit, Failed};
use crate::workspace::Workspace;
use crate::{remotes, show, signals};

/// So many undeclared files are named to people.
const SHOWN: usize = 40;

pub fn run(globals: &Globals, args: &Run) -> Result<Exit, Failed> {
    // Before anything is opened.
    let makeflags = std::env::var("MAKEFLAGS").unwrap_or_default();
    let jobserver = args.batch.as_ref().and_then(|_| Jobserver::of(&makeflags));
    let mode = Mode::parse(&args.cache)?;
    if args.batch.is_none() {
        if args.command.is_empty() {
            return Err(Failed::usage("there is no command to run").help("write it after `--`"));
        }
        if mode.is_off() {
            return Err(without(globals, &args.command));
        }
    }
    let workspace = match Workspace::open(globals, args.root.as_deref()) {
        Ok(workspace) => workspace,
        // A cache that does not work is no reason to build nothing.
        Err(failed) if failed.exit == Exit::Store && args.batch.is_none() && !args.is_strict() => {
            eprintln!("warning: {}: the command runs without the store", failed.message);
            return Err(without(globals, &args.command));
        }
        Err(failed) => return Err(failed),
    };
    let mut runs = read(&workspace.root.join(RUNS_FILE), RUNS_FILE)?;
    let learned = read(&workspace.root.join(LEARNED_FILE), LEARNED_FILE)?;
    let wanted = match &args.batch {
        Some(file) => {
            let at = globals.project.join(file);
            if !at.is_file() {
                return Err(Failed::usage(format!("{} is not there", at.display())));
            }
            if at.canonicalize().ok() != workspace.root.join(RUNS_FILE).canonicalize().ok() {
                runs = read(&at, &file.display().to_string())?;
            }
            args.names.clone()
        }
        None => {
            let own = declaration(&workspace, &args.declared, &args.command)?;
            let name = args.name.clone().or_else(|| own.output.first().cloned());
            let name = name.ok_or_else(|| failed(None, RunError::NoOutputs))?;
            runs.runs.entry(name.clone()).or_default().add(own);
            runs.runs.retain(|other, _| *other == name);
            vec![name]
        }
    };
    for (name, run) in &mut runs.runs {
        let mut whole = runs.defaults.clone();
        whole.add(std::mem::take(run));
        if let Some(more) = learned.runs.get(name) {
            whole.add(more.clone());
        }
        *run = whole;
    }
    let own = Mode::of_project(&runs)?;
    let rights = |name: &str| mode.of(name).and(own.of(name));
    go(globals, args, &workspace, &rights, &runs, &wanted, jobserver.as_ref())
}

/// Runs what is wanted and says how it ended.
fn go(
    globals: &Globals,
    args: &Run,
    workspace: &Workspace,
    rights: &(dyn Fn(&str) -> Rights + Sync),
    runs: &Runs,
    wanted: &[String],
    jobserver: Option<&Jobserver>,
) -> Result<Exit, Failed> {
    let order = order(&runs.runs, wanted).map_err(|error| {
        let failed = Failed::usage(error.to_string());
        let names = runs.runs.keys().map(String::as_str);
        match &error {
            OrderError::Unknown { name } => match ashlar_recipe::nearest(name, names) {
                Some(near) => failed.help(format!("did you mean `{near}`?")),
                None => failed,
            },
            OrderError::Circle { .. } | OrderError::Both { .. } => failed,
        }
    })?;
    let cancel = Cancel::new();
    signals::cancel_only(&cancel);
    let opened = workspace.open_remotes()?;
    let far = remotes::of_run(&opened, false);
    let origins = Origins::new(workspace.store.journal(), workspace.accepted()?);
    let tell = |event: Event| {
        if let Event::Warning(text) = event {
            eprintln!("warning: {text}");
        }
    };
    let ears = Ears { tell: &tell, cancel: &cancel, deadline: None };
    let direct = Direct { store: &*workspace.store, origins: &origins, remotes: &far, ears };
    let several = order.len() > 1;
    let watching = watching(args, workspace)?;
    let one = |name: &str| -> Result<Report, Failed> {
        let rights = rights(name);
        let runner = Runner {
            store: &workspace.store,
            direct,
            root: &workspace.root,
            read: rights.read,
            write: rights.write,
            replay: args.replay == YesNo::Yes,
            live: !several,
            on_error: globals.json,
            keep_outputs: args.keep_outputs,
            common: !args.no_common,
            watching: &watching,
            sandbox: args.sandbox,
            cancel: &cancel,
            tell: &|note| say(globals, name, &note),
        };
        let report =
            runner.run(name, &runs.runs[name]).map_err(|error| failed(Some(name), error))?;
        end(globals, args, name, &report);
        if watching.tracing == Tracing::Learn && !report.undeclared.is_empty() {
            learn(workspace, name, &report.undeclared)?;
        }
        Ok(report)
    };
    if let ([name], false) = (wanted, several) {
        let report = one(name)?;
        return Ok(exit_of(&report));
    }
    let jobs = globals
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let state = Mutex::new((BTreeSet::<&str>::new(), BTreeSet::<&str>::new(), None));
    let change = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(order.len()) {
            scope.spawn(|| {
                loop {
                    let mut now = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let next = loop {
                        let (begun, done, end) = &*now;
                        if end.is_some() || begun.len() == order.len() {
                            return;
                        }
                        let ready = order.iter().find(|(name, before)| {
                            !begun.contains(**name) && before.is_subset(done)
                        });
                        match ready {
                            Some((name, _)) => break *name,
                            None => {
                                now = change.wait(now).unwrap_or_else(PoisonError::into_inner);
                            }
                        }
                    };
                    now.0.insert(next);
                    drop(now);
                    // Who is stopped while it waits finds that out by itself.
                    let turn = jobserver.and_then(|jobserver| jobserver.turn(&cancel));
                    let ended = one(next);
                    drop(turn);
                    let mut now = state.lock().unwrap_or_else(PoisonError::into_inner);
                    match ended {
                        Ok(report)
                            if matches!(report.outcome, Outcome::Failed(_) | Outcome::Stopped) =>
                        {
                            now.2.get_or_insert(Ok(exit_of(&report)));
                        }
                        Ok(_) => {
                            now.1.insert(next);
                        }
                        Err(failed) => {
                            now.2.get_or_insert(Err(failed));
                        }
                    }
                    change.notify_all();
                }
            });
        }
    });
    let (_, _, end) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    end.unwrap_or(Ok(Exit::Done))
}

/// How commands are traced.
fn watching(args: &Run, workspace: &Workspace) -> Result<Watching, Failed> {
    let tracing = match args.trace {
        None | Some(TraceHow::Off) => return Ok(Watching::default()),
        Some(TraceHow::Warn) => Tracing::Warn,
        Some(TraceHow::Fail) => Tracing::Fail,
        Some(TraceHow::Learn) => Tracing::Learn,
    };
    let helper = std::env::current_exe()
        .map_err(|e| Failed::usage(format!("the path of this program is unknown: {e}")))?;
    let here = plain(&workspace.below.to_string_lossy());
    let ignore = args.ignore.iter().map(|glob| below_root(workspace, &here, glob)).collect();
    // Where the kernel shows itself is no file, and the store is ours.
    let mut own: Vec<PathBuf> = ["/proc", "/dev", "/sys"].iter().map(PathBuf::from).collect();
    own.extend(workspace.store.path().canonicalize());
    Ok(Watching { tracing, system: args.trace_system, ignore, helper, own })
}

/// Declares what a run was seen to touch.
fn learn(workspace: &Workspace, name: &str, found: &[Undeclared]) -> Result<(), Failed> {
    let path = workspace.root.join(LEARNED_FILE);
    // Others of the same makefile learn at the same time.
    let mut hasher = CanonicalHasher::new("ashlar run learned");
    hasher.bytes(workspace.root.as_os_str().as_encoded_bytes());
    let _lock = match workspace.store.is_read_only() {
        true => None,
        false => workspace.store.lock_step(&StepKey(hasher.finish()), &mut || true)?,
    };
    let mut runs = read(&path, LEARNED_FILE)?;
    runs.runs.entry(name.to_owned()).or_default().add(learned(found));
    let early = workspace.root.join(format!(".ashlar-learned.{}", std::process::id()));
    let written =
        std::fs::write(&early, runs.learned_text()).and_then(|()| std::fs::rename(&early, &path));
    written.map_err(|e| Failed::usage(format!("cannot write {}: {e}", path.display())))?;
    eprintln!("{name}: {} more declared in {LEARNED_FILE}", found.len());
    Ok(())
}

fn exit_of(report: &Report) -> Exit {
    match report.outcome {
        Outcome::Stopped => Exit::Stopped,
        Outcome::Failed(code) => Exit::Shell(u8::try_from(code).unwrap_or(1)),
        Outcome::Hit(_) | Outcome::Built => Exit::Done,
    }
}

/// Becomes the command. Returns only when that cannot be.
fn without(globals: &Globals, command: &[String]) -> Failed {
    let [program, arguments @ ..] = command else {
        return Failed::usage("there is no command to run").help("write it after `--`");
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(&globals.project).stdin(std::process::Stdio::null());
    let error = command.exec();
    Failed::new(Exit::Machine, format!("the program `{program}` cannot be used: {error}"))
}

fn say(globals: &Globals, name: &str, note: &Note) {
    match note {
        Note::Waiting => eprintln!("{name}: the same is being made elsewhere; waiting"),
        Note::Undeclared(found) if globals.json => {
            for one in found {
                show::line(&json!({
                    "event": "undeclared", "name": name, "path": one.path.to_string_lossy(),
                    "touch": one.word(),
                }));
            }
        }
        Note::Undeclared(found) => {
            for one in found.iter().take(SHOWN) {
                eprintln!("{name}: {} {}, which is not declared", one.word(), one.path.display());
            }
            if found.len() > SHOWN {
                eprintln!("{name}: and {} more; --json shows all", found.len() - SHOWN);
            }
        }
        Note::Warning(text) => eprintln!("warning: {name}: {text}"),
        Note::Miss(differences) if globals.json || differences.is_empty() => {}
        Note::Miss(differences) => {
            let shown: Vec<String> = differences.iter().take(3).map(ToString::to_string).collect();
            let more = match differences.len() {
                0..=3 => String::new(),
                many => format!("; and {} more", many - 3),
            };
            eprintln!("{name}: {}{more}", shown.join("; "));
        }
    }
}

fn end(globals: &Globals, args: &Run, name: &str, report: &Report) {
    if globals.json {
        let (outcome, from, code) = match &report.outcome {
            Outcome::Hit(from) => ("hit", Some(from), 0),
            Outcome::Built => ("built", None, 0),
            Outcome::Failed(code) => ("failed", None, *code),
            Outcome::Stopped => ("stopped", None, i32::from(Exit::Stopped.code())),
        };
        show::line(&json!({
            "event": "run", "name": name, "outcome": outcome, "from": from, "code": code,
            "key": report.key.to_string(), "seconds": show::seconds(report.took),
            "kept": report.kept,
        }));
        return;
    }
    match &report.outcome {
        Outcome::Hit(from) if !args.quiet => {
            eprintln!("{name}: found ({from}), saves {}", human_duration(report.took));
        }
        Outcome::Hit(_) => {}
        Outcome::Built if report.kept => {
            eprintln!("{name}: made in {} and kept", human_duration(report.took));
        }
        Outcome::Built => {
            eprintln!("{name}: made in {}, not kept", human_duration(report.took));
        }
        Outcome::Stopped => eprintln!("{name}: stopped, not kept"),
        Outcome::Failed(code) => {
            eprintln!("{name}: failed with {code}; `ashlar log --run '{name}'` shows its output");
        }
    }
}

/// An error of a run as people see it.
pub fn failed(name: Option<&str>, error: RunError) -> Failed {
    let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
    let message = format!("{name}{}", chain(&error));
    let help = error.advice();
    let exit = match error {
        RunError::NoInputs
        | RunError::NoOutputs
        | RunError::NoCommand
        | RunError::NoMatch { .. }
        | RunError::NotThere { .. }
        | RunError::Tracked { .. }
        | RunError::Inside => Exit::Usage,
        RunError::Stopped => Exit::Stopped,
        RunError::Program { .. } => Exit::Machine,
        RunError::NotMade { .. } | RunError::Undeclared { .. } => Exit::BuildFailed,
        RunError::Trace(TraceError::Lacks { ref advice, .. }) => {
            return Failed::new(Exit::Machine, message).help(advice.clone());
        }
        RunError::Trace(_) => Exit::Machine,
        RunError::Source(error) => {
            let failed = Failed::from(error);
            return Failed { message: format!("{name}{}", failed.message), ..failed };
        }
        RunError::Store(error) => {
            let failed = Failed::from(error);
            return Failed { message: format!("{name}{}", failed.message), ..failed };
        }
        RunError::Damaged(_) | RunError::Io { .. } | RunError::Place(_) => Exit::Store,
    };
    let failed = Failed::new(exit, message);
    match help {
        Some(help) => failed.help(help),
        None => failed,
    }
}

/// A file of runs; one that is not there is empty.
fn read(path: &Path, name: &str) -> Result<Runs, Failed> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(parse_runs(name, &bytes)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Runs::default()),
        Err(e) => Err(Failed::usage(format!("{}: {e}", path.display()))),
    }
}

/// What was typed, with paths below the root.
fn declaration(
    workspace: &Workspace,
    typed: &Declared,
    command: &[String],
) -> Result<Declaration, Failed> {
    let Some(here) = workspace.below.to_str() else {
        let message = format!("the name of {} is no text", workspace.below.display());
        return Err(Failed::usage(message).help("run it from the folder above"));
    };
    let paths = |all: &[String]| all.iter().map(|one| below_root(workspace, here, one)).collect();
    // The folders on the way are meant as they are called.
    let here = plain(here);
    let globs = |all: &[String]| all.iter().map(|one| below_root(workspace, &here, one)).collect();
    let typed = typed.clone();
    Ok(Declaration {
        command: command.to_vec(),
        directory: workspace.below.to_str().map(ToOwned::to_owned),
        input: globs(&typed.input),
        maybe: globs(&typed.maybe),
        no_inputs: typed.no_inputs,
        common: globs(&typed.common),
        env: typed.env,
        secret: typed.secret,
        flag: typed.flag,
        tool: typed.tool,
        tool_version: typed.tool_version,
        uses: paths(&typed.uses),
        git: paths(&typed.git),
        output: globs(&typed.output),
    })
}

/// A text as a glob that matches nothing else.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if "*?[]{}\\".contains(character) {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

/// A path or glob as it is below the root; what is outside of it stays a whole path.
fn below_root(workspace: &Workspace, here: &str, typed: &str) -> String {
    let (not, path) = typed.strip_prefix('!').map_or(("", typed), |rest| ("!", rest));
    let mut whole = PathBuf::new();
    for part in workspace.root.join(here).join(path).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    let whole = whole.strip_prefix(&workspace.root).map(Path::to_owned).unwrap_or(whole);
    format!("{not}{}", whole.display())
}

/// What may be done with the cache, for runs by their names.
struct Mode {
    all: Rights,
    some: Vec<(ashlar_source::Globs, Rights)>,
}

/// What may be done with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    read: bool,
    write: bool,
}

impl Rights {
    /// What both allow.
    fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write }
    }

    fn parse(text: &str) -> Result<Self, Failed> {
        match text.trim() {
            "off" => Ok(Self { read: false, write: false }),
            "read" => Ok(Self { read: true, write: false }),
            "write" => Ok(Self { read: false, write: true }),
            "readwrite" | "" => Ok(Self { read: true, write: true }),
            other => Err(Failed::usage(format!("`{other}` says nothing of the cache"))
                .help("off, read, write or readwrite; `PATTERN=read` for some runs")),
        }
    }
}

impl Mode {
    fn parse(text: &str) -> Result<Self, Failed> {
        let mut mode = Self { all: Rights::parse("")?, some: Vec::new() };
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                Some((pattern, rights)) => mode.add(pattern, rights)?,
                None => mode.all = Rights::parse(part)?,
            }
        }
        Ok(mode)
    }

    fn add(&mut self, pattern: &str, rights: &str) -> Result<(), Failed> {
        let globs = ashlar_source::Globs::new(&[pattern.trim()])
            .map_err(|error| Failed::usage(format!("`{pattern}`: {error}")))?;
        self.some.push((globs, Rights::parse(rights)?));
        Ok(())
    }

    /// What the project says.
    fn of_project(runs: &Runs) -> Result<Self, Failed> {
        let mut mode = Self::parse("")?;
        for (pattern, rights) in &runs.cache {
            mode.add(pattern, rights)?;
        }
        Ok(mode)
    }

    /// Whether it is off for every run.
    fn is_off(&self) -> bool {
        self.some.is_empty() && !self.all.read && !self.all.write
    }

    fn of(&self, name: &str) -> Rights {
        let some = self.some.iter().find(|(globs, _)| globs.is_match(Path::new(name)));
        some.map_or(self.all, |(_, rights)| *rights)
    }
}
