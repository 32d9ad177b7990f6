//! `ashlar image build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ashlar_build::{
    Event, ExportError, Exporting, Failure, Options, Origins, StepReport, Summary, export,
    write_rootfs,
};
use ashlar_execute::{Cancel, Secret};
use ashlar_object::{StepKey, Tree};
use ashlar_pack::image::{Compression, Writing};
use ashlar_plan::{Plan, StepIndex, Want};
use ashlar_recipe::Write;
use ashlar_store::{Found, ImageTarget, Images as _, LayerSource, Watch, read_tree};
use serde_json::json;

use super::job::{Job, Lacks, Run, jobs};
use super::secrets::secrets;
use super::survey::lines;
use crate::args::Globals;
use crate::args::image::{Build, Packing, TIMES};
use crate::exit::{Exit, Failed, exit_of_build};
use crate::remotes;
use crate::show;
use crate::signals::{cancel_with_grace, end_after};
use crate::wiring::enter_namespace;

/// For how long at least what waits is still sent when the time is over and what was at work has
/// ended. It is a twentieth of a longer budget.
const LEAST_TO_SEND: Duration = Duration::from_secs(10);

pub fn run(globals: &Globals, args: &Build) -> Result<Exit, Failed> {
    // What is done before anything is built counts as well.
    let deadline = args.budget.map(|budget| Instant::now() + budget);
    let begun = Arc::new(AtomicBool::new(false));
    if let (Some(deadline), Some(last)) = (deadline, send_until(args, deadline)) {
        end_after(deadline, last, &begun);
    }
    let secrets = secrets(&args.secrets)?;
    let time = time(args)?;
    let (targets, folders) = targets(globals, args)?;
    let want = if folders.is_empty() { Want::Image } else { Want::Files };
    if ashlar_execute::rights() == ashlar_execute::Rights::Plain {
        enter_namespace()?;
    }
    let mut job = Job::open(globals, &args.which, want, Lacks::Resolve)?;
    begun.store(true, Ordering::SeqCst);
    let cancel = Cancel::new();
    let opened = remotes::until(job.space.open_remotes()?, &cancel, deadline);
    let sends = opened.iter().any(|remote| remote.write != Write::No);
    if args.require_push && !sends {
        return Err(Failed::usage("`--require-push`, and there is no remote that is written to")
            .help(remotes::to_write(&job.space.folder, &job.space.remotes, "NAME")));
    }
    let grace = Duration::from_secs(args.grace);
    let patience = if sends { ashlar_build::PATIENCE } else { Duration::ZERO };
    cancel_with_grace(&cancel, grace, patience);
    let how = How { globals, args, opened: &opened, cancel: &cancel, secrets, deadline };
    let summary = build(&how, &mut job, want)?;
    job.show.summary(&summary);
    for place in failed_at(&job, &summary) {
        job.show.remark(&place);
    }
    let exit = exit_of_build(&summary, args.require_push);
    if exit != Exit::Done {
        return Ok(exit);
    }
    let go_on = || !cancel.is_cancelled() && deadline.is_none_or(|end| Instant::now() < end);
    let how = Exporting { writing: writing(args, time), go_on: &go_on };
    match write(globals, &job, &targets, &folders, &how) {
        // Whatever it was in the midst of.
        Err(error) if error.exit == Exit::Stopped => {
            let why = if cancel.is_cancelled() { "stopped" } else { "out of time" };
            Err(Failed::new(Exit::Stopped, format!("{why} while the image was written")).help(
                "every instruction is kept; the same command goes on with the image that is missing",
            ))
        }
        other => other.map(|()| exit),
    }
}

/// How steps are run.
struct How<'a> {
    globals: &'a Globals,
    args: &'a Build,
    opened: &'a [remotes::Opened],
    cancel: &'a Cancel,
    secrets: BTreeMap<String, Secret>,
    deadline: Option<Instant>,
}

impl How<'_> {
    fn run(&self, job: &Job, plan: &Plan, options: &Options) -> Result<Summary, Failed> {
        let how = Run {
            remotes: remotes::of_run(self.opened, self.args.require_remote),
            cancel: self.cancel,
            secrets: self.secrets.clone(),
            grace: Duration::from_secs(self.args.grace),
            deadline: self.deadline,
            send_until: send_until(self.args, self.deadline),
            keep_failed: false,
        };
        let journal = job.space.store.journal();
        job.with_engine(self.globals, plan, how, |engine, _| {
            Ok(ashlar_build::build(engine, journal, options)?)
        })
    }
}

/// What has finished by the end of the budget is worth some more time: without it the next machine
/// would do it again.
fn send_until(args: &Build, deadline: Option<Instant>) -> Option<Instant> {
    let grace = Duration::from_secs(args.grace);
    let more = args.budget.map(|budget| grace + (budget / 20).max(LEAST_TO_SEND));
    deadline.zip(more).map(|(end, more)| end + more)
}

fn build(how: &How<'_>, job: &mut Job, want: Want) -> Result<Summary, Failed> {
    let (globals, args) = (how.globals, how.args);
    let options = |rebuild: bool, push_also: &[StepKey]| Options {
        jobs: jobs(globals),
        keep_going: args.keep_going,
        rebuild,
        push_found: args.require_push,
        push_also: push_also.to_vec(),
    };
    let recorded = job
        .record_pins(want, |job, plan, fresh, again| how.run(job, plan, &options(again, fresh)))?;
    let mut earlier = recorded.earlier;
    let last = match recorded.done {
        true => how.run(job, &job.plan.plan, &options(args.rebuild, &recorded.fresh))?,
        false => earlier.pop().unwrap_or_default(),
    };
    let summary = earlier.iter().fold(last, Summary::after);
    let store = &job.space.store;
    let tell = |event: Event| job.show.event(event);
    let pulled = summary.remotes.iter().any(|tally| tally.pulled > 0);
    let ends = how.cancel.is_cancelled() || how.deadline.is_some_and(|end| Instant::now() >= end);
    if (summary.built + summary.cutoff > 0 || pulled) && !ends {
        // Results count already; this only spares their verification after the next boot. Who has to
        // end does not wait for a disk.
        if let Err(error) = store.sync() {
            tell(Event::Warning(Failed::from(error).message));
        }
    }
    // A cache that cannot be written only costs time.
    if let Err(error) = job.stat.save()
        && globals.verbose > 0
    {
        tell(Event::Warning(format!("the stat cache was not saved: {error}")));
    }
    Ok(summary)
}

/// Where the instructions are that failed, and how to look at what those left whose commands did.
fn failed_at(job: &Job, summary: &Summary) -> Vec<String> {
    let of = |report: &StepReport| {
        let step = job.plan.plan.steps.iter().position(|step| step.id == report.id)?;
        let stages = job.made.image.stages.iter().zip(&job.plan.instructions);
        let mut all = stages.flat_map(|(stage, steps)| stage.instructions.iter().zip(steps));
        let (instruction, _) = all.find(|(_, one)| **one == step)?;
        let place = format!("{}:{}", job.shown, lines(instruction));
        Some(match report.failure {
            Some(Failure::Exit(_)) => format!(
                "{place}: `ashlar image shell --at {}` with the same arguments opens a shell in what \
                 it left",
                instruction.line
            ),
            _ => place,
        })
    };
    summary.failures.iter().filter_map(of).collect()
}

/// The time that an image has, where one is said. A variable without a text says none.
fn time(args: &Build) -> Result<Option<i64>, Failed> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if args.timestamp.is_some() {
        return Ok(args.timestamp);
    }
    let Some(text) = std::env::var_os(NAME).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let time = text.to_str().and_then(|text| text.parse().ok());
    time.filter(|time| TIMES.contains(time)).map(Some).ok_or_else(|| {
        let text = text.to_string_lossy();
        Failed::usage(format!("{NAME}={text} in the environment is no time that an image can have"))
            .help("a number of seconds since 1970, or nothing")
    })
}

fn writing(args: &Build, time: Option<i64>) -> Writing {
    let mut writing = Writing {
        compression: match args.compression {
            Packing::Gzip => Compression::Gzip,
            Packing::Zstd => Compression::Zstd,
        },
        ..Writing::default()
    };
    if let Some(time) = time {
        writing.time = time;
    }
    writing
}

/// Writes the image where it is wanted.
fn write(
    globals: &Globals,
    job: &Job,
    targets: &[ImageTarget],
    folders: &[PathBuf],
    how: &Exporting<'_>,
) -> Result<(), Failed> {
    let go_on = how.go_on;
    if targets.is_empty() && folders.is_empty() {
        return Ok(());
    }
    let store = &job.space.store;
    let keys: Vec<_> = job.plan.plan.steps.iter().map(|step| step.key).collect();
    let all =
        Origins::new(store.journal(), job.space.accepted()?).steps_unchecked(&**store, &keys)?;
    let found = |step: StepIndex| -> Option<Found> { all.get(step).cloned().flatten() };
    for folder in folders {
        let layers = &job.plan.stages[job.made.image.target];
        let mut tree = Tree::default();
        for step in layers {
            let gone = || {
                let id = &job.plan.plan.steps[*step].id;
                Failed::new(Exit::Store, format!("the layer of {id} is not in the store any more"))
            };
            let outputs = found(*step).ok_or_else(gone)?.result.outputs;
            tree = tree.overlaid(&read_tree(&**store, &outputs)?.ok_or_else(gone)?);
        }
        write_rootfs(store, &tree, folder, how.writing.time, go_on)
            .map_err(|error| unwritten(&error))?;
    }
    if targets.is_empty() {
        return Ok(());
    }
    let exported = export(store, &job.made.image, &job.plan, &job.bases, &found, how);
    let exported = exported.map_err(|error| unwritten(&error))?;
    let layers: Arc<dyn LayerSource> = Arc::new(Layers(Arc::clone(store)));
    let warn = |text: String| job.show.event(Event::Warning(text));
    let watch = Watch { go_on, warn: &warn, ..Watch::NOBODY };
    let images = [exported.image];
    for target in targets {
        let published = job.images.publish(target, &images, &layers, &watch)?;
        let (bytes, already) = (published.moved.bytes, published.moved.already);
        if globals.json {
            show::line(&json!({
                "event": "image", "reference": published.reference,
                "digest": format!("sha256:{}", published.digest.hex()),
                "bytes": bytes, "already": already,
            }));
        } else {
            let moved = show::bytes(bytes);
            job.show.remark(&format!("{}: {moved} written", published.reference));
            show::print(&format!("sha256:{}\n", published.digest.hex()));
        }
    }
    Ok(())
}

fn unwritten(error: &ExportError) -> Failed {
    let exit = if matches!(error, ExportError::Stopped) { Exit::Stopped } else { Exit::Store };
    Failed::new(exit, ashlar_build::chain(error))
}

struct Layers(Arc<ashlar_store::LocalStore>);

impl LayerSource for Layers {
    fn open_layer(
        &self,
        layer: &ashlar_object::Digest,
    ) -> Result<Option<Box<dyn std::io::Read + Send>>, ashlar_store::StoreError> {
        self.0.open_layer(layer)
    }
}

/// Where the image is wanted.
fn targets(globals: &Globals, args: &Build) -> Result<(Vec<ImageTarget>, Vec<PathBuf>), Failed> {
    let (mut all, mut folders) = (Vec::new(), Vec::new());
    for text in args.outputs.iter().chain(&args.pushes) {
        if let Some(folder) = text.strip_prefix("rootfs:") {
            folders.push(empty_folder(text, &globals.project.join(folder), folder.is_empty())?);
            continue;
        }
        let mut target = ImageTarget::parse(text, args.which.registry.as_deref())?;
        if let (ImageTarget::Archive { file, name: None }, Some(tag)) = (&target, &args.which.tag) {
            let named = format!("docker-archive:{}:{tag}", file.display());
            target = ImageTarget::parse(&named, None)?;
        }
        let target = target.below(&globals.project);
        target.check()?;
        all.push(target);
    }
    Ok((all, folders))
}

/// Where the files of an image can be left, said before anything is built.
fn empty_folder(text: &str, folder: &Path, unnamed: bool) -> Result<PathBuf, Failed> {
    let wrong = |why: &str| {
        Failed::usage(format!("`{text}`: {why}"))
            .help("--output rootfs:FOLDER, which is made, or is there and empty")
    };
    if unnamed {
        return Err(wrong("it names no folder"));
    }
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(false) => Err(wrong("the folder is not empty")),
        // Through links to where it is: a link is not replaced.
        Ok(true) => folder.canonicalize().map_err(|error| wrong(&error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(folder.to_owned()),
        Err(error) => Err(wrong(&error.to_string())),
    }
}
