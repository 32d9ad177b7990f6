//! What is there of an image, here and at remotes, and what of each instruction people read.

use std::collections::{HashMap, HashSet};

use ashlar_build::{Bring, Direct, Ears, Event, Hit, Lookup, Why, look_far, shared_steps};
use ashlar_dockerfile::{Base, Instruction, Stage};
use ashlar_execute::Cancel;
use ashlar_object::Digest;
use ashlar_plan::{ImageWork, InputName, StepIndex};
use ashlar_store::Store as _;

use super::job::Job;
use crate::commands::why::Words;
use crate::exit::Failed;
use crate::remotes;

/// What looking up an image showed. Nothing was brought but trees.
pub struct Survey {
    pub lookup: Lookup,
    /// The names of the remotes.
    remotes: Vec<String>,
    /// For each hit that is at a remote how many bytes of content this machine lacks of it. What
    /// several of them have is counted with the first. Those that cannot be told are not in it.
    lacking: HashMap<StepIndex, u64>,
}

impl Survey {
    /// Looks up all that the target needs.
    pub fn of(job: &Job) -> Result<Self, Failed> {
        let (opened, cancel) = (job.space.open_remotes()?, Cancel::new());
        let run = remotes::of_run(&opened, false);
        let tell = |event: Event| job.show.event(event);
        let ears = Ears { tell: &tell, cancel: &cancel, deadline: None };
        let (plan, store) = (&job.plan.plan, &*job.space.store);
        let (origins, nothing) = (job.origins()?, HashSet::new());
        let shared = shared_steps(&job.project, plan);
        let lookup =
            look_far(plan, store, &origins, &nothing, &run, &shared, Bring::Nothing, ears)?;
        let mut far: Vec<(StepIndex, usize)> = lookup.far.iter().map(|(s, at)| (*s, *at)).collect();
        far.sort_unstable();
        let hit = |(step, remote): &(StepIndex, usize)| {
            let found = lookup.found.get(step)?.clone();
            Some(Hit { found, remote: Some(*remote) })
        };
        let hits: Vec<Hit> = far.iter().filter_map(hit).collect();
        let direct = Direct { store, origins: &origins, remotes: &run, ears };
        let (mut lacking, mut counted) = (HashMap::new(), HashSet::<Digest>::new());
        for ((step, _), tree) in far.iter().zip(direct.trees(&hits)?) {
            let Some(tree) = tree else { continue };
            let mut new = tree.blobs();
            new.retain(|digest| counted.insert(*digest));
            lacking.insert(*step, store.missing(&new)?.iter().map(|digest| digest.size).sum());
        }
        // Nothing is brought, so this is where remotes say what they came upon.
        for one in &opened {
            for text in one.remote.take_warnings() {
                tell(Event::Warning(format!("remote {}: {text}", one.remote.name())));
            }
        }
        let remotes = opened.iter().map(|one| one.remote.name().to_owned()).collect();
        Ok(Self { lookup, remotes, lacking })
    }

    /// Where the result of a step is: `local` or the name of a remote; `None` when it is nowhere,
    /// or was not looked for.
    pub fn place(&self, step: StepIndex) -> Option<&str> {
        self.lookup.found.get(&step)?;
        Some(match self.lookup.far.get(&step) {
            Some(remote) => self.remotes.get(*remote).map_or("?", String::as_str),
            None => "local",
        })
    }

    /// How many bytes have to come for a hit; `None` when that cannot be told.
    pub fn bytes(&self, step: StepIndex) -> Option<u64> {
        match self.lookup.far.contains_key(&step) {
            true => self.lacking.get(&step).copied(),
            false => Some(0),
        }
    }
}

/// The layer of a base that a step gets, by the base and its place in it.
pub fn base_layer(job: &Job, step: StepIndex) -> Option<(usize, usize)> {
    match job.plan.plan.steps.get(step)?.image()? {
        ImageWork::Layer { base, layer } => Some((*base, *layer)),
        ImageWork::Run { .. }
        | ImageWork::Downloads(_)
        | ImageWork::Copy { .. }
        | ImageWork::Folder { .. }
        | ImageWork::Whole { .. } => None,
    }
}

/// What people call a stage.
pub fn stage_name(stage: &Stage) -> String {
    stage.name.clone().unwrap_or_else(|| format!("stage {}", stage.number))
}

/// What a stage begins with, as it is written.
pub fn from(job: &Job, stage: &Stage) -> String {
    match &stage.base {
        Base::Scratch => "FROM scratch".to_owned(),
        Base::Stage(other) => match job.made.image.stages.get(*other) {
            Some(other) => format!("FROM {}", stage_name(other)),
            None => "FROM".to_owned(),
        },
        Base::Module(name) => format!("FROM module:{name}"),
        Base::Debian(name) => format!("FROM base:{name}"),
        Base::Image { reference, .. } => format!("FROM {reference}"),
    }
}

/// The text of an instruction as far as anybody reads it in a list.
pub fn shown(text: &str) -> String {
    const WIDTH: usize = 72;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// The lines of an instruction.
pub fn lines(instruction: &Instruction) -> String {
    match instruction.line == instruction.last_line {
        true => instruction.line.to_string(),
        false => format!("{}-{}", instruction.line, instruction.last_line),
    }
}

/// Why an instruction would be carried out.
pub fn why(job: &Job, step: StepIndex) -> Result<Why, Failed> {
    let (plan, store) = (&job.plan.plan, &*job.space.store);
    let part = |digest: &Digest| job.made.part(digest).or_else(|| job.on_disk(digest));
    let (journal, origins) = (store.journal(), job.origins()?);
    let project = &job.project.name;
    Ok(ashlar_build::why_instruction(plan, step, project, store, journal, &origins, &part)?)
}

/// The words of Dockerfiles for what is in keys.
pub const WORDS: Words = Words { name, text };

fn name(input: &InputName) -> String {
    let numbered = |text: &str, before: &str| {
        let rest = text.strip_prefix(before)?;
        let number: usize = rest.parse().ok()?;
        Some(number + 1)
    };
    match input {
        InputName::Architecture => "platform".to_owned(),
        InputName::Script(name) if name.starts_with("argument ") => "command".to_owned(),
        InputName::Base(name) if name == "below" => "what lies below".to_owned(),
        InputName::Base(name) => match numbered(name, "layer ") {
            Some(number) => format!("layer {number} of the base"),
            None => input.to_string(),
        },
        InputName::Source(name) => match name.as_str() {
            "files" => "files".to_owned(),
            "layer" => "content of the layer".to_owned(),
            other => other.to_owned(),
        },
        InputName::Layout(name) => match name.as_str() {
            "folder" => "working folder".to_owned(),
            "copy" => "what is written".to_owned(),
            other => other.to_owned(),
        },
        other => other.to_string(),
    }
}

/// A command by its parts, a line each; what is put together of several things with spaces.
fn text(input: &InputName, text: &str) -> String {
    match input {
        InputName::Script(_) => {
            let parts = text.replace(" && ", " &&\n").replace("; ", ";\n");
            let lines: Vec<&str> = parts.lines().map(str::trim).collect();
            lines.join("\n")
        }
        InputName::Layout(_) => text.replace('\0', " ").trim().to_owned(),
        _ => text.to_owned(),
    }
}
