//! `ashlar image why`: which instruction misses first, and what differs from the nearest earlier
//! build.

use ashlar_build::{State, Why};
use ashlar_dockerfile::Instruction;
use ashlar_plan::{StepIndex, Want};
use serde_json::json;

use super::job::{Job, Lacks};
use super::survey::{self, Survey, WORDS, lines, shown, stage_name};
use crate::args::Globals;
use crate::args::image::Which;
use crate::commands::why::{flatten, head, tell};
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint};

/// An instruction that misses, and how many of its stage miss with it.
struct Miss<'a> {
    stage: String,
    instruction: &'a Instruction,
    step: StepIndex,
    more: usize,
}

pub fn run(globals: &Globals, which: &Which) -> Result<Exit, Failed> {
    let job = Job::open(globals, which, Want::Image, Lacks::Refuse)?;
    let survey = Survey::of(&job)?;
    let misses = misses(&job, &survey);
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let mut out = String::new();
    for miss in &misses {
        let why = survey::why(&job, miss.step)?;
        match globals.json {
            true => line(miss, &why),
            false => told(miss, &why, paint, &mut out),
        }
    }
    if misses.is_empty() {
        match globals.json {
            true => show::line(&json!({ "state": "hit" })),
            false => out.push_str("nothing would be built: all that the target needs is there\n"),
        }
    }
    show::print(&out);
    Ok(Exit::Done)
}

/// The first instruction of each stage that misses, in the order of the file: a stage is made from
/// those above it, so what misses first comes before what misses only because of it.
fn misses<'a>(job: &'a Job, survey: &Survey) -> Vec<Miss<'a>> {
    let mut found = Vec::new();
    for (stage, steps) in job.made.image.stages.iter().zip(&job.plan.instructions) {
        let mut missing =
            stage.instructions.iter().zip(steps).filter(|(_, s)| survey.lookup.run.contains(s));
        let Some((instruction, step)) = missing.next() else { continue };
        if found.iter().any(|miss: &Miss<'_>| miss.step == *step) {
            continue;
        }
        let more = missing.count();
        found.push(Miss { stage: stage_name(stage), instruction, step: *step, more });
    }
    found
}

fn told(miss: &Miss<'_>, why: &Why, paint: Paint, out: &mut String) {
    let Miss { stage, instruction, more, .. } = miss;
    out.push_str(&format!("{stage}, line {}\n", lines(instruction)));
    out.push_str(&head(&shown(&instruction.text), why, paint));
    for cause in &why.causes {
        tell(cause, 1, WORDS, paint, out);
    }
    match more {
        0 => {}
        1 => out.push_str("1 more of this stage follows\n"),
        n => out.push_str(&format!("{n} more of this stage follow\n")),
    }
}

fn line(miss: &Miss<'_>, why: &Why) {
    let mut changes = Vec::new();
    flatten(&why.causes, "", WORDS, &mut changes);
    show::line(&json!({
        "state": match why.state { State::Hit => "hit", State::Build => "build" },
        "stage": miss.stage,
        "line": miss.instruction.line,
        "instruction": miss.instruction.text,
        "step_key": why.key.to_string(),
        "failures": why.failures,
        "earlier": why.earlier.as_ref().map(|record| json!({
            "instruction": record.step, "step_key": record.key.to_string(),
        })),
        "changes": changes,
        "follow": miss.more,
    }));
}
