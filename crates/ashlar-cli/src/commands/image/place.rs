//! From a line of a Dockerfile to an instruction.

use std::sync::Arc;

use ashlar_dockerfile::{Configuration, Instruction, Seen, Setting, Stage};
use ashlar_plan::StepIndex;

use super::job::Job;
use super::survey::{from, shown, stage_name};
use crate::exit::Failed;

/// A place in a Dockerfile.
pub struct Place<'a> {
    /// The first line of what stands there.
    pub line: usize,
    /// What stands there, for people.
    pub text: String,
    /// The instruction and its step; `None` for the beginning of a stage, and for an instruction
    /// that changes no files.
    pub instruction: Option<(&'a Instruction, StepIndex)>,
    /// The layers below it.
    pub layers: Vec<StepIndex>,
    /// What a command sees in the state that is asked for.
    pub seen: Arc<Seen>,
}

/// What stands at a line in one of the stages that the target needs: an instruction, of which it may
/// be any line, or a `FROM`. Of several (what a base does at the `FROM`) the
/// first where the place is the state before it, else the last.
pub fn find(job: &Job, line: usize, before: bool) -> Result<Place<'_>, Failed> {
    let mut found = Vec::new();
    for (number, stage) in job.made.image.stages.iter().enumerate() {
        let steps = &job.plan.instructions[number];
        for (instruction, step) in stage.instructions.iter().zip(steps) {
            if (instruction.line..=instruction.last_line).contains(&line) {
                found.push(at(job, instruction, *step));
            }
        }
        let setting = stage.settings.iter().find(|one| (one.line..=one.last_line).contains(&line));
        if let Some(setting) = setting.filter(|_| found.is_empty()) {
            return Ok(set(job, number, setting, before));
        }
        if found.is_empty() && stage.line == line {
            if before {
                return Err(Failed::usage(format!("there is nothing before line {line}")).help(
                    "without `--before` it is the state after it: what the stage begins with",
                ));
            }
            return Ok(beginning(job, number, stage));
        }
    }
    let found = if before { found.into_iter().next() } else { found.pop() };
    found.ok_or_else(|| nothing(job, line))
}

fn at<'a>(job: &'a Job, instruction: &'a Instruction, step: StepIndex) -> Place<'a> {
    Place {
        line: instruction.line,
        text: shown(&instruction.text),
        instruction: Some((instruction, step)),
        layers: job.plan.plan.steps[step].layers.clone(),
        seen: Arc::clone(&instruction.seen),
    }
}

/// Nothing is done there: the files are those of the instruction before it.
fn set<'a>(job: &'a Job, number: usize, setting: &'a Setting, before: bool) -> Place<'a> {
    let own = &job.plan.instructions[number];
    let later = own.get(setting.after..).unwrap_or_default();
    let layers = job.plan.stages[number].iter().filter(|step| !later.contains(step));
    Place {
        line: setting.line,
        text: shown(&setting.text),
        instruction: None,
        layers: layers.copied().collect(),
        seen: Arc::clone(if before { &setting.before } else { &setting.seen }),
    }
}

fn beginning<'a>(job: &'a Job, number: usize, stage: &'a Stage) -> Place<'a> {
    let own = &job.plan.instructions[number];
    let below = job.plan.stages[number].iter().filter(|step| !own.contains(step));
    let mut configuration = stage.base_configuration.clone();
    if configuration.variable("PATH").is_none() {
        configuration.set_variable("PATH", Configuration::DEFAULT_PATH);
    }
    let directory = configuration.working_directory.unwrap_or_else(|| "/".to_owned());
    Place {
        line: stage.line,
        text: from(job, stage),
        instruction: None,
        layers: below.copied().collect(),
        seen: Arc::new(Seen { env: configuration.env, directory, user: configuration.user }),
    }
}

/// That there is nothing at a line, and what is near it.
fn nothing(job: &Job, line: usize) -> Failed {
    let stages = &job.made.image.stages;
    let mut all: Vec<(usize, String)> = Vec::new();
    for stage in stages {
        all.push((stage.line, format!("{} of {}", from(job, stage), stage_name(stage))));
        all.extend(stage.instructions.iter().map(|one| (one.line, shown(&one.text))));
        all.extend(stage.settings.iter().map(|one| (one.line, shown(&one.text))));
    }
    all.sort();
    let said = |(line, text): &(usize, String)| format!("line {line} ({text})");
    let above = all.iter().rev().find(|(at, _)| *at < line).map(said);
    let below = all.iter().find(|(at, _)| *at > line).map(said);
    let near: Vec<String> = above.into_iter().chain(below).collect();
    let target = stages.get(job.made.image.target).map(stage_name).unwrap_or_default();
    Failed::usage(format!(
        "no instruction stands at line {line}, in what {target} needs; near it {} {}",
        if near.len() == 1 { "is" } else { "are" },
        near.join(" and "),
    ))
    .help("--at one of these; `--target STAGE` picks another stage")
}
