//! `ashlar image shell`: a person in the state after an instruction, before it, or in what it left
//! when it failed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ashlar_build::{Engine, Options, look_up, request, results_for};
use ashlar_dockerfile::{Network, Run as Command, RunMount, Seen};
use ashlar_execute::{Cancel, Request, Sandbox};
use ashlar_plan::{Access, Files, ImageWork, KeyInputs, Plan, Step, StepId, StepIndex, Want, Work};

use super::job::{Job, Lacks, Run, jobs};
use super::place::{Place, find};
use super::secrets::secrets;
use crate::args::Globals;
use crate::args::image::Shell;
use crate::exit::{Exit, Failed, exit_of_build};
use crate::remotes;
use crate::signals::cancel_only;
use crate::wiring::enter_namespace;

pub fn run(globals: &Globals, args: &Shell) -> Result<Exit, Failed> {
    let secrets = secrets(&args.secrets)?;
    if ashlar_execute::rights() == ashlar_execute::Rights::Plain {
        enter_namespace()?;
    }
    let job = Job::open(globals, &args.which, Want::Image, Lacks::Resolve)?;
    job.all_recorded()?;
    let place = find(&job, args.at, args.before)?;
    let (plan, step) = planned(&job, &place, args.before);
    let cancel = Cancel::new();
    // What runs in the foreground of the terminal gets them too, and the shell deals with them.
    cancel_only(&cancel);
    let opened = job.space.open_remotes()?;
    let how = Run {
        remotes: remotes::of_run(&opened, false),
        cancel: &cancel,
        secrets,
        grace: Duration::from_secs(5),
        deadline: None,
        send_until: None,
        keep_failed: true,
    };
    let entered = Entered { globals, args, job: &job, place: &place };
    job.with_engine(globals, &plan, how, |engine, sandbox| entered.enter(engine, sandbox, step))
}

/// The plan of what has to be there, and the step whose view the shell has: the instruction itself
/// or one that is only looked at and never run.
fn planned(job: &Job, place: &Place<'_>, before: bool) -> (Plan, StepIndex) {
    let mut plan = job.plan.plan.clone();
    let own = place.instruction.and_then(|(_, step)| plan.steps.get(step).map(|s| (step, s)));
    let step = match own {
        // A command is asked for as it is.
        Some((step, of)) if before && matches!(of.image(), Some(ImageWork::Run { .. })) => step,
        own => {
            let (layers, work) = match own {
                Some((step, of)) => {
                    let mut layers = of.layers.clone();
                    if !before {
                        layers.push(step);
                    }
                    (layers, view(job, of.image(), &place.seen))
                }
                None => (place.layers.clone(), view(job, None, &place.seen)),
            };
            let (inputs, key) = KeyInputs::default().seal("ashlar image shell");
            let name = format!("shell at line {}", place.line);
            plan.steps.push(Step {
                id: StepId { module: job.name.clone(), step: name },
                work: Work::Image(Arc::new(work)),
                key,
                inputs,
                layers,
                sources: Vec::new(),
                depends: Vec::new(),
            });
            plan.steps.len() - 1
        }
    };
    plan.targets = plan.steps[step].needs().collect();
    plan.targets.sort_unstable();
    plan.targets.dedup();
    (plan, step)
}

/// A command with the view of an instruction, or of what a command would see at its place.
fn view(job: &Job, of: Option<&ImageWork>, seen: &Seen) -> ImageWork {
    if let Some(ImageWork::Run { run, mounts, network }) = of {
        // What a checkpoint holds at the end is in the result, and would be hidden by an empty one.
        let is_there = |mount: &RunMount| !matches!(mount, RunMount::Checkpoint { .. });
        let pairs = run.mounts.iter().cloned().zip(mounts.iter().cloned());
        let (of, mounts): (Vec<RunMount>, Vec<Files>) =
            pairs.filter(|(mount, _)| is_there(mount)).unzip();
        return ImageWork::Run {
            run: Command { mounts: of, ..run.clone() },
            mounts,
            network: network.clone(),
        };
    }
    let run = Command {
        arguments: vec!["/bin/sh".to_owned()],
        script: None,
        env: seen.env.clone(),
        proxies: Vec::new(),
        directory: seen.directory.clone(),
        user: seen.user.clone(),
        network: Network::Unset,
        mounts: Vec::new(),
    };
    // The network is for whoever looks around, so there is nothing to pin.
    let network = if job.made.facts.network { Access::Machine } else { Access::None };
    ImageWork::Run { run, mounts: Vec::new(), network }
}

/// What a shell is opened with.
struct Entered<'a> {
    globals: &'a Globals,
    args: &'a Shell,
    job: &'a Job,
    place: &'a Place<'a>,
}

impl Entered<'_> {
    fn enter(
        &self,
        engine: &Engine<'_>,
        sandbox: &Sandbox,
        step: StepIndex,
    ) -> Result<Exit, Failed> {
        let (show, place) = (&self.job.show, self.place);
        if !look_up(engine.plan, engine.store, &engine.origins, &HashSet::new())?.run.is_empty() {
            let options = Options {
                jobs: jobs(self.globals),
                keep_going: false,
                rebuild: false,
                push_found: false,
                push_also: Vec::new(),
            };
            let journal = self.job.space.store.journal();
            let summary = ashlar_build::build(engine, journal, &options)?;
            if !summary.failures.is_empty() || summary.cancelled {
                if let Some((_, own)) = place.instruction
                    && !summary.cancelled
                    && summary.failures.iter().any(|f| f.id == engine.plan.steps[own].id)
                    && let Some(exit) = self.after_failure(engine, sandbox, own)?
                {
                    return Ok(exit);
                }
                show.summary(&summary);
                if let Some(line) = self.failed_at(engine, &summary) {
                    show.remark(&format!("a shell where it failed: --at {line}"));
                }
                return Ok(exit_of_build(&summary, false));
            }
        }
        let request = self.asked(engine, step)?;
        let when = if self.args.before { "before" } else { "after" };
        self.remark(when);
        Ok(ended(sandbox.shell(&request)?))
    }

    /// A shell in what the instruction left; `None` when it did not come to run.
    fn after_failure(
        &self,
        engine: &Engine<'_>,
        sandbox: &Sandbox,
        own: StepIndex,
    ) -> Result<Option<Exit>, Failed> {
        if !matches!(engine.plan.steps[own].image(), Some(ImageWork::Run { .. })) {
            return Ok(None);
        }
        let request = self.asked(engine, own)?;
        self.remark("that was left by the failure of");
        Ok(sandbox.shell_after_failure(&request)?.map(ended))
    }

    /// What is run instead of the command of a step.
    fn asked(&self, engine: &Engine<'_>, step: StepIndex) -> Result<Request, Failed> {
        let id = &engine.plan.steps[step].id;
        let results = results_for(engine, step)?.ok_or_else(|| {
            Failed::new(Exit::Store, format!("something that {id} needs is not in the store"))
        })?;
        let mut request = request(engine, step, &results)?
            .ok_or_else(|| Failed::usage(format!("{id} runs no command")))?;
        if self.args.command.is_empty() {
            let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
            let prompt = format!("line {}:\\w# ", self.place.line);
            request.command.environment.insert("TERM".to_owned(), term);
            request.command.environment.insert("PS1".to_owned(), prompt);
            let shell = "[ -x /bin/bash ] && exec /bin/bash --norc -i || exec /bin/sh -i";
            request.command.arguments = ["/bin/sh", "-c", shell].map(ToOwned::to_owned).to_vec();
        } else {
            request.command.arguments.clone_from(&self.args.command);
        }
        Ok(request)
    }

    fn remark(&self, when: &str) {
        self.job.show.leave();
        if self.args.command.is_empty() {
            let Place { line, text, .. } = self.place;
            self.job.show.remark(&format!("the state {when} line {line}: {text}"));
            self.job.show.remark("nothing that is done here is kept; `exit` leaves");
        }
        // Nor does the terminal's other signal end this program before the shell; where it cannot
        // be caught it does.
        let _ = signal_hook::flag::register(
            signal_hook::consts::SIGQUIT,
            Arc::new(AtomicBool::new(false)),
        );
    }

    /// The line of the first instruction that failed, when it is another one.
    fn failed_at(&self, engine: &Engine<'_>, summary: &ashlar_build::Summary) -> Option<usize> {
        let failed = summary.failures.first()?;
        let steps: BTreeMap<&StepId, StepIndex> =
            engine.plan.steps.iter().enumerate().map(|(index, step)| (&step.id, index)).collect();
        let step = *steps.get(&failed.id)?;
        let stages = self.job.made.image.stages.iter().zip(&self.job.plan.instructions);
        let mut all = stages.flat_map(|(stage, steps)| stage.instructions.iter().zip(steps));
        let (instruction, _) = all.find(|(_, own)| **own == step)?;
        let is_own = self.place.instruction.is_some_and(|(_, own)| own == step);
        (!is_own).then_some(instruction.line)
    }
}

fn ended(code: i32) -> Exit {
    Exit::Shell(u8::try_from(code).unwrap_or(255))
}
