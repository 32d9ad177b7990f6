//! `--pin`: the file of pins that an image is built with, and commands that are recorded before
//! anything that needs them.

use std::path::Path;
use std::sync::Arc;

use ashlar_build::{Pinning, Summary};
use ashlar_object::StepKey;
use ashlar_plan::{Access, ImageWork, Plan, StepIndex, Want};
use ashlar_recipe::{PINS_FILE, Pins};
use ashlar_source::Proxies;

use super::job::Job;
use super::survey::lines;
use crate::args::image::{PinMode, Which};
use crate::exit::{Exit, Failed};

/// The file of pins of an image.
pub struct Pinned {
    /// What is in it, as far as it counts.
    pub pins: Pins,
    pub mode: PinMode,
    pub shown: String,
    pub file: std::path::PathBuf,
    /// What is written to it.
    pub pinning: Arc<Pinning>,
}

impl Pinned {
    /// Reads the file, if one is wanted. `shown` says what people call a file.
    pub fn open(
        which: &Which,
        dockerfile: &Path,
        here: impl Fn(&Path) -> Result<std::path::PathBuf, Failed>,
        shown: impl Fn(&Path) -> String,
        args: &std::collections::BTreeMap<String, String>,
    ) -> Result<Option<Self>, Failed> {
        let Some(written) = &which.pin else { return Ok(None) };
        let file = match written {
            None => dockerfile.with_file_name(PINS_FILE),
            Some(written) => here(written)?,
        };
        let shown = shown(&file);
        let pins = match std::fs::read_to_string(&file) {
            Ok(text) => Pins::parse(&shown, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Pins::default(),
            Err(e) => return Err(Failed::usage(format!("cannot read {shown}: {e}"))),
        };
        let pins = match which.pin_mode {
            PinMode::Record | PinMode::Replay => pins,
            // What it has is written over, command by command.
            PinMode::Update => Pins::default(),
        };
        let value = |name: &str| args.get(name).cloned().or_else(|| std::env::var(name).ok());
        let pinning = Pinning::new(file.clone(), shown.clone(), Proxies::new(value));
        let pinning = Arc::new(pinning);
        Ok(Some(Self { pins, mode: which.pin_mode, shown, file, pinning }))
    }
}

/// What recording commands came to.
pub struct Recorded {
    /// Whether all that the targets need is recorded now.
    pub done: bool,
    /// The keys of what was recorded last, which remotes do not have yet.
    pub fresh: Vec<StepKey>,
    /// The summaries of all runs that it took.
    pub earlier: Vec<Summary>,
}

impl Job {
    /// Calls `run` with plans of commands that are to be recorded, those that others need first, and
    /// plans anew with what came. `run` is also given the keys of what remotes do not have yet, and
    /// whether the targets are to be run whatever is found.
    pub fn record_pins(
        &mut self,
        want: Want,
        mut run: impl FnMut(&Self, &Plan, &[StepKey], bool) -> Result<Summary, Failed>,
    ) -> Result<Recorded, Failed> {
        let mut all = Recorded { done: true, fresh: Vec::new(), earlier: Vec::new() };
        loop {
            let targets = self.plan.to_record();
            let (Some(first), Some(pinned)) = (targets.first(), &self.pinned) else {
                return Ok(all);
            };
            if pinned.mode == PinMode::Replay {
                let message =
                    format!("{} has no block for {}", pinned.shown, self.instruction(*first));
                return Err(Failed::usage(message)
                    .help("record it: the same build without `--pin-mode replay`"));
            }
            let pinning = Arc::clone(&pinned.pinning);
            let before = pinning.recorded();
            let plan = Plan { targets, ..self.plan.plan.clone() };
            let summary = run(self, &plan, &all.fresh, true)?;
            all.done = summary.failed + summary.skipped == 0
                && !summary.cancelled
                && summary.lost.is_empty();
            let cancelled = summary.cancelled;
            all.earlier.push(summary);
            let recorded = pinning.recorded();
            if let Some(pins) = &mut self.made.facts.pins {
                pins.runs.extend(recorded.clone());
            }
            self.plan_again(want)?;
            let is_new = |id: &str| recorded.get(id) != before.get(id);
            let steps = self.recorded_steps(&is_new);
            all.fresh = steps.iter().map(|step| self.plan.plan.steps[*step].key).collect();
            if all.done {
                continue;
            }
            if !steps.is_empty() && !cancelled {
                // What was recorded beside a failure is found, and left at remotes.
                let plan = Plan { targets: steps, ..self.plan.plan.clone() };
                all.earlier.insert(0, run(self, &plan, &all.fresh, false)?);
            }
            return Ok(all);
        }
    }

    /// The steps of commands with these ids, and of their contents.
    fn recorded_steps(&self, is_new: &dyn Fn(&str) -> bool) -> Vec<StepIndex> {
        let mut found = Vec::new();
        for (index, step) in self.plan.plan.steps.iter().enumerate() {
            if let Some(ImageWork::Run { network: Access::Replayed { command, contents }, .. }) =
                step.image()
                && is_new(&command.id)
            {
                found.push(index);
                found.extend(*contents);
            }
        }
        found
    }

    /// Fails when commands that the targets need are still to be recorded.
    pub fn all_recorded(&self) -> Result<(), Failed> {
        match self.plan.to_record().first() {
            None => Ok(()),
            Some(step) => Err(Failed::new(
                Exit::Usage,
                format!("the downloads of {} are not recorded yet", self.instruction(*step)),
            )
            .help("`ashlar image build --pin` records them")),
        }
    }

    /// Line and text of the instruction of a step.
    fn instruction(&self, step: usize) -> String {
        let stages = self.made.image.stages.iter().zip(&self.plan.instructions);
        let mut all = stages.flat_map(|(stage, steps)| stage.instructions.iter().zip(steps));
        all.find(|(_, own)| **own == step).map_or_else(String::new, |(instruction, _)| {
            format!("line {} ({})", lines(instruction), super::survey::shown(&instruction.text))
        })
    }
}

/// What is said of the network of an instruction, and of how many downloads are pinned.
pub fn network(work: Option<&ImageWork>) -> (&'static str, usize) {
    match work {
        Some(ImageWork::Run { network: Access::Machine, .. }) => ("unpinned", 0),
        Some(ImageWork::Run { network: Access::Recorded(_), .. }) => ("unrecorded", 0),
        Some(ImageWork::Run { network: Access::Replayed { command, .. }, .. }) => {
            ("pinned", command.run.gets.len())
        }
        _ => ("none", 0),
    }
}
