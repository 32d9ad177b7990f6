//! Commands of images whose downloads are recorded: what of it is in keys.
//!
//! A command that was recorded has each of its downloads in its key, with status, content and what
//! else of the answer it can see; so the key is complete, and a download that changed changes the
//! keys of the commands that use it and no other. Contents are a step of their own, by their digests
//! alone: it is found at remotes, or fetched again, when the command has to run.
//!
//! A command that is still to be recorded has no complete key. It is run for itself, before anything
//! that needs it ([`ImagePlan::to_record`]), and its result is kept under the key that it has then
//! ([`recorded`]).

use std::collections::HashSet;
use std::sync::Arc;

use ashlar_dockerfile::{Base, Image, Run};
use ashlar_object::{CanonicalHasher, StepKey};
use ashlar_recipe::{Pin, PinnedRun};

use crate::{FORMAT, ImagePlan, ImageWork, InputName, KeyInputs, StepIndex, Value};

/// What a command can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// The machine's network.
    Machine,
    /// The machine's network through a proxy that records what comes. The block is that of the file
    /// of pins, still without downloads.
    Recorded(Arc<PinnedCommand>),
    /// What was recorded, and nothing else.
    Replayed {
        /// What it is.
        command: Arc<PinnedCommand>,
        /// The step that gets the contents, if there are any.
        contents: Option<StepIndex>,
    },
}

/// A command by its id in a file of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedCommand {
    /// The id: see [`pinned_command`].
    pub id: String,
    /// Its block.
    pub run: PinnedRun,
}

/// The name of the input that says that downloads are not known.
const DOWNLOADS: &str = "downloads";

/// A command as files of pins know it, without downloads. Its id is made of what decides what it
/// asks for: what its stage begins with, the platform, the command itself and its variables; not of
/// the instructions between, which are edited while the versions of packages are to stay.
#[must_use]
pub fn pinned_command(
    image: &Image,
    stage: usize,
    platform: String,
    text: &str,
    run: &Run,
) -> PinnedCommand {
    let from = begins_with(image, stage);
    let mut hasher = CanonicalHasher::new("ashlar pinned command");
    hasher.text(&from).text(&platform).number(run.arguments.len() as u64);
    for argument in &run.arguments {
        hasher.text(argument);
    }
    hasher.number(u64::from(run.script.is_some()));
    if let Some(script) = &run.script {
        hasher.text(&script.path).text(&script.content);
    }
    for (name, value) in &run.env {
        hasher.text(name).text(value);
    }
    let id = StepKey(hasher.finish()).to_string();
    let id = id.get(..16).unwrap_or(&id).to_owned();
    let run = PinnedRun { from, platform, command: text.to_owned(), gets: Vec::new() };
    PinnedCommand { id, run }
}

/// What a stage begins with, through other stages.
fn begins_with(image: &Image, stage: usize) -> String {
    match image.stages.get(stage).map(|stage| &stage.base) {
        Some(Base::Stage(other)) => begins_with(image, *other),
        Some(Base::Image { reference, .. }) => reference.clone(),
        Some(Base::Module(name)) => format!("module:{name}"),
        Some(Base::Debian(name)) => format!("base:{name}"),
        Some(Base::Scratch) | None => "scratch".to_owned(),
    }
}

/// Adds to the inputs of a command that its downloads are not known.
pub(crate) fn unknown_downloads(inputs: &mut KeyInputs) {
    inputs.text(InputName::Source(DOWNLOADS.to_owned()), "not recorded");
}

/// Adds the downloads of a command to its inputs.
pub(crate) fn downloads(gets: &[Pin], inputs: &mut KeyInputs) {
    for pin in gets {
        let name = format!("download {} {}", pin.method(), pin.url);
        inputs.text(InputName::Source(name), pin.answer());
    }
}

/// The inputs and the key of a command whose downloads were not known, now that they are.
#[must_use]
pub fn recorded(unknown: &KeyInputs, gets: &[Pin]) -> (KeyInputs, StepKey) {
    let mut inputs = KeyInputs::default();
    for input in unknown.inputs() {
        if !matches!(&input.name, InputName::Source(name) if name == DOWNLOADS) {
            inputs.add(input.name.clone(), input.value.clone());
        }
    }
    downloads(gets, &mut inputs);
    inputs.seal("ashlar image step")
}

/// The inputs and the key of the step that gets the contents of downloads; `None` when there are
/// none.
#[must_use]
pub fn contents(gets: &[Pin]) -> Option<(KeyInputs, StepKey)> {
    let mut sums: Vec<&String> = gets.iter().filter_map(|pin| pin.sha256.as_ref()).collect();
    sums.sort();
    sums.dedup();
    if sums.is_empty() {
        return None;
    }
    let mut inputs = KeyInputs::default();
    inputs.text(InputName::Format, FORMAT);
    for sum in sums {
        let short = sum.get(..12).unwrap_or(sum);
        inputs.add(InputName::Source(format!("content {short}")), Value::Sha256(sum.clone()));
    }
    Some(inputs.seal("ashlar image downloads"))
}

impl ImageWork {
    /// The command that it is in a file of pins, when its downloads are still to be recorded.
    #[must_use]
    pub fn to_record(&self) -> Option<&Arc<PinnedCommand>> {
        match self {
            Self::Run { network: Access::Recorded(command), .. } => Some(command),
            _ => None,
        }
    }
}

impl ImagePlan {
    /// The commands that the targets need, whose downloads are to be recorded, and that need none
    /// such themselves: what is to be run first.
    #[must_use]
    pub fn to_record(&self) -> Vec<StepIndex> {
        let steps = &self.plan.steps;
        let is_one = |step: StepIndex| steps[step].image().and_then(ImageWork::to_record).is_some();
        // Steps stand after those they need.
        let mut needs_one = Vec::with_capacity(steps.len());
        for step in steps {
            let needs = step.needs().any(|need| is_one(need) || needs_one[need]);
            needs_one.push(needs);
        }
        let mut seen: HashSet<StepIndex> = self.plan.targets.iter().copied().collect();
        let mut todo: Vec<StepIndex> = self.plan.targets.clone();
        while let Some(step) = todo.pop() {
            todo.extend(steps[step].needs().filter(|need| seen.insert(*need)));
        }
        (0..steps.len()).filter(|s| seen.contains(s) && is_one(*s) && !needs_one[*s]).collect()
    }
}
