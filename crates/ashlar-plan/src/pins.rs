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

use ashlar_dockerfile::{Base, Image, Instruction, Run, Work};
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
/// asks for: what its stage begins with, the platform, the command itself, its variables, folder and
/// user, and how many that are the same stand before it; not of the other instructions between, which
/// are edited while the versions of packages are to stay. `place` is the number of its stage and its
/// own there.
#[must_use]
pub fn pinned_command(
    image: &Image,
    place: (usize, usize),
    platform: String,
    text: &str,
    run: &Run,
) -> PinnedCommand {
    let from = begins_with(image, place.0);
    let mut hasher = CanonicalHasher::new("ashlar pinned command");
    hasher.text(&from).text(&platform).number(run.arguments.len() as u64);
    for argument in &run.arguments {
        hasher.text(argument);
    }
    hasher.number(u64::from(run.script.is_some()));
    if let Some(script) = &run.script {
        hasher.text(&script.path).text(&script.content);
    }
    hasher.number(run.env.len() as u64);
    for (name, value) in &run.env {
        hasher.text(name).text(value);
    }
    hasher.text(&run.directory).text(user(run));
    hasher.number(alike_before(image, place, run));
    let id = StepKey(hasher.finish()).to_string();
    let id = id.get(..16).unwrap_or(&id).to_owned();
    let run = PinnedRun { from, platform, command: text.to_owned(), gets: Vec::new() };
    PinnedCommand { id, run }
}

fn user(run: &Run) -> &str {
    run.user.as_deref().unwrap_or("root")
}

/// How many commands that are the same stand before one, in its stage and those that lie below it:
/// what such a command asks for may depend on what it found.
fn alike_before(image: &Image, place: (usize, usize), run: &Run) -> u64 {
    let is_alike = |one: &Instruction| match &one.work {
        Work::Run(other) => {
            (&other.arguments, &other.script, &other.env, &other.directory, user(other))
                == (&run.arguments, &run.script, &run.env, &run.directory, user(run))
        }
        _ => false,
    };
    let (mut count, mut below) = (0, Some(place));
    while let Some((stage, end)) = below
        && let Some(stage) = image.stages.get(stage)
    {
        count += stage.instructions.iter().take(end).filter(|one| is_alike(one)).count() as u64;
        below = match stage.base {
            Base::Stage(other) => Some((other, usize::MAX)),
            _ => None,
        };
    }
    count
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

#[cfg(test)]
mod tests {
    use ashlar_dockerfile::{Configuration, Platform, Request, evaluate, parse};

    use super::*;

    #[test]
    fn the_same_words_elsewhere_are_another_command() {
        let text = "FROM debian:12 AS one\nWORKDIR /a\nRUN get\nRUN get\nWORKDIR /b\nRUN get\n\
                    USER me\nRUN get\nFROM one AS two\nUSER root\nRUN get\nFROM debian:12\n\
                    WORKDIR /a\nCOPY --from=two /x .\nRUN get\n";
        let dockerfile = parse("Dockerfile", text).unwrap();
        let platform = Platform::linux("amd64");
        let request = Request {
            target: None,
            args: &Default::default(),
            platform: platform.clone(),
            build_platform: platform,
        };
        let image = evaluate(&dockerfile, &request, &mut |_| Ok(Configuration::default())).unwrap();
        let mut ids = Vec::new();
        for (number, stage) in image.stages.iter().enumerate() {
            for (place, one) in stage.instructions.iter().enumerate() {
                if let Work::Run(run) = &one.work {
                    let platform = stage.platform.to_string();
                    let command = pinned_command(&image, (number, place), platform, &one.text, run);
                    ids.push(command.id);
                }
            }
        }
        let last = ids.pop().unwrap();
        assert_eq!(last, ids[0], "stages that are alike share what they download");
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), count), (5, 5));
    }
}
