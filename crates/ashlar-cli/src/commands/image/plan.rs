//! `ashlar image plan`: what would be done, how long it would take, and whether that fits a budget.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use ashlar_build::{Alike, alike, human_duration};
use ashlar_plan::{ImageWork, StepIndex, Want, forecast, within};
use ashlar_store::Timing;
use serde_json::{Value, json};

use super::job::{Job, Lacks, jobs};
use super::pins::network;
use super::survey::{self, Survey, WORDS, base_layer, from, lines, shown, stage_name};
use crate::args::Globals;
use crate::args::image::Plan;
use crate::commands::why::reason_in;
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint};

pub fn run(globals: &Globals, args: &Plan) -> Result<Exit, Failed> {
    let job = Job::open(globals, &args.which, Want::Image, Lacks::Refuse)?;
    let survey = Survey::of(&job)?;
    let timings = timings(&job, &survey)?;
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let never: Vec<StepIndex> =
        survey.lookup.run.iter().filter(|step| !timings.contains_key(step)).copied().collect();
    let journal = job.space.store.journal();
    let guesses = alike(&job.plan.plan, &never, &job.project.name, journal)?;
    let (timings, guesses) = (&timings, &guesses);
    let list = List { globals, job: &job, survey: &survey, timings, guesses, paint };
    let mut total = Total::default();
    let mut out = String::new();
    let mut got = HashSet::new();
    for number in 0..job.made.image.stages.len() {
        list.stage(number, &mut got, &mut total, &mut out)?;
    }
    let end = list.end(&total, args.budget);
    match globals.json {
        true => show::line(&end.json()),
        false => {
            out.push_str(&end.text());
            show::print(&out);
        }
    }
    Ok(Exit::Done)
}

/// How long what has to be done took before.
fn timings(job: &Job, survey: &Survey) -> Result<HashMap<StepIndex, Timing>, Failed> {
    let steps = &job.plan.plan.steps;
    let name = |step: &StepIndex| {
        let id = &steps[*step].id;
        (id.module.as_str(), id.step.as_str())
    };
    let names: Vec<(&str, &str)> = survey.lookup.run.iter().map(name).collect();
    let known = job.space.store.journal().timings(&names)?;
    let timing = |step: &StepIndex| {
        let id = &steps[*step].id;
        Some((*step, *known.get(&(id.module.clone(), id.step.clone()))?))
    };
    Ok(survey.lookup.run.iter().filter_map(timing).collect())
}

#[derive(Default)]
struct Total {
    hits: usize,
    builds: usize,
    bytes: u64,
    /// Whether something has to come of which nobody knows how much it is.
    more: bool,
}

struct List<'a> {
    globals: &'a Globals,
    job: &'a Job,
    survey: &'a Survey,
    timings: &'a HashMap<StepIndex, Timing>,
    /// For what was never timed with its text.
    guesses: &'a HashMap<StepIndex, Alike>,
    paint: Paint,
}

impl List<'_> {
    /// A stage: its `FROM`, then a line for each instruction.
    fn stage(
        &self,
        number: usize,
        got: &mut HashSet<StepIndex>,
        total: &mut Total,
        out: &mut String,
    ) -> Result<(), Failed> {
        let (job, survey) = (self.job, self.survey);
        let stage = &job.made.image.stages[number];
        let (name, from) = (stage_name(stage), from(job, stage));
        let own = &job.plan.instructions[number];
        let below: Vec<StepIndex> =
            job.plan.stages[number].iter().filter(|step| !own.contains(step)).copied().collect();
        let bytes = self.fetched(&below, got);
        total.bytes += bytes;
        let is_layer = |step: &&StepIndex| base_layer(job, **step).is_some();
        let looked = |step: &StepIndex| {
            survey.lookup.run.contains(step) || survey.lookup.found.contains_key(step)
        };
        let layers = below.iter().filter(is_layer).count();
        let state = match (layers, bytes) {
            (0, _) => "hit",
            (_, 1..) => "fetch",
            _ if below.iter().filter(is_layer).any(looked) => "hit",
            _ => "unneeded",
        };
        if self.globals.json {
            show::line(&json!({
                "state": state, "stage": name, "line": stage.line, "instruction": from,
                "bytes": bytes,
            }));
        } else {
            out.push_str(&format!("{}: {from}", self.paint.bold(&name)));
            if bytes > 0 {
                let layers = show::count(layers, "layer");
                out.push_str(&format!(" ({layers}, {} to fetch)", show::bytes(bytes)));
            }
            out.push('\n');
        }
        for (instruction, step) in stage.instructions.iter().zip(own) {
            let mut line = self.instruction(*step, got, total)?;
            line.network = network(job.plan.plan.steps[*step].image());
            if self.globals.json {
                show::line(&json!({
                    "state": line.state,
                    "where": line.place,
                    "reason": line.reason,
                    "forecast_seconds": line.forecast(|timing| timing.median),
                    "forecast_90_seconds": line.forecast(|timing| timing.ninety),
                    "timed": line.timing.filter(|_| line.like.is_none()).map_or(0, |t| t.builds),
                    "forecast_from": line.like,
                    "stage": name,
                    "line": instruction.line,
                    "last_line": instruction.last_line,
                    "instruction": instruction.text,
                    "bytes": line.bytes,
                    "network": line.network.0,
                    "downloads": line.network.1,
                    "step_key": job.plan.plan.steps[*step].key.to_string(),
                }));
                continue;
            }
            let at = lines(instruction);
            out.push_str(&format!("  {} {at:>5}  {}", self.word(&line), shown(&instruction.text)));
            out.push_str(&format!(" ({})\n", line.remarks().join("; ")));
        }
        Ok(())
    }

    fn word(&self, line: &Line<'_>) -> String {
        match line.state {
            "hit" => self.paint.green("hit  "),
            "build" => self.paint.yellow("build"),
            _ => self.paint.dim("-    "),
        }
    }

    fn instruction(
        &self,
        step: StepIndex,
        got: &mut HashSet<StepIndex>,
        total: &mut Total,
    ) -> Result<Line<'_>, Failed> {
        if let Some(place) = self.survey.place(step) {
            let bytes = self.survey.bytes(step);
            total.hits += 1;
            total.bytes += bytes.unwrap_or_default();
            total.more |= bytes.is_none();
            return Ok(Line { place: Some(place), bytes, ..Line::new("hit") });
        }
        if !self.survey.lookup.run.contains(&step) {
            return Ok(Line { bytes: Some(0), ..Line::new("unneeded") });
        }
        total.builds += 1;
        let needs: Vec<StepIndex> = self.job.plan.plan.steps[step].needs().collect();
        let bytes = self.fetched(&needs, got);
        total.bytes += bytes;
        let reason = reason_in(&survey::why(self.job, step)?, WORDS);
        let like = self.guesses.get(&step);
        let timing = self.timing(step);
        let like = like.map(|alike| alike.text.as_str());
        Ok(Line { reason: Some(reason), timing, like, bytes: Some(bytes), ..Line::new("build") })
    }

    /// How long a step takes, or one does that it is like.
    fn timing(&self, step: StepIndex) -> Option<Timing> {
        let guess = || self.guesses.get(&step).map(|alike| alike.timing);
        self.timings.get(&step).copied().or_else(guess)
    }

    /// The bytes of those layers of bases among these that have to be fetched. Each is counted
    /// once.
    fn fetched(&self, steps: &[StepIndex], got: &mut HashSet<StepIndex>) -> u64 {
        let mut bytes = 0;
        for step in steps.iter().filter(|step| self.survey.lookup.run.contains(step)) {
            if let Some((base, layer)) = base_layer(self.job, *step)
                && got.insert(*step)
            {
                let image = self.job.bases.get(base);
                let layer = image.and_then(|image| image.layers.get(layer));
                bytes += layer.map_or(0, |layer| layer.digest.size);
            }
        }
        bytes
    }

    fn end(&self, total: &Total, budget: Option<Duration>) -> End {
        let (plan, run) = (&self.job.plan.plan, &self.survey.lookup.run);
        let workers = jobs(self.globals);
        let median = |step: StepIndex| self.timing(step).map(|timing| timing.median);
        let ninety = |step: StepIndex| self.timing(step).map(|timing| timing.ninety);
        let all = forecast(plan, run, &median, workers);
        let instructions: BTreeSet<StepIndex> =
            run.iter().filter(|step| plan.is_target(**step)).copied().collect();
        let guessed = instructions.iter().filter(|s| self.guesses.contains_key(s)).count();
        let never = instructions.iter().filter(|step| median(**step).is_none()).count();
        let elapsed_90 = forecast(plan, run, &ninety, workers).elapsed;
        let budget = budget.map(|budget| {
            // As a build does it: what is only like something that takes too long is begun.
            let expected = |step: StepIndex| {
                median(step).filter(|took| !self.guesses.contains_key(&step) || *took <= budget)
            };
            let done = within(plan, run, &expected, workers, budget);
            let last = done.iter().rev().find(|step| instructions.contains(step));
            let left: Vec<&StepIndex> =
                instructions.iter().filter(|step| !done.contains(step)).collect();
            // What goes on where it was stopped gets done in the end.
            let goes_on =
                |step: StepIndex| plan.steps[step].image().is_some_and(ImageWork::goes_on);
            let long =
                left.iter().find(|s| expected(***s).is_some_and(|t| t > budget) && !goes_on(***s));
            Budget {
                budget,
                likely: elapsed_90 <= budget,
                left: left.len(),
                after: last.map(|step| self.at(*step)),
                long: long.map(|step| self.at(**step)),
            }
        });
        End {
            hits: total.hits,
            builds: total.builds,
            bytes: total.bytes,
            more: total.more,
            elapsed: all.elapsed,
            elapsed_90,
            guessed,
            never,
            workers,
            budget,
        }
    }

    /// Where the instruction of a step stands, and its text.
    fn at(&self, step: StepIndex) -> At {
        let stages = self.job.made.image.stages.iter().zip(&self.job.plan.instructions);
        for (stage, steps) in stages {
            if let Some(place) = steps.iter().position(|own| *own == step)
                && let Some(instruction) = stage.instructions.get(place)
            {
                let (line, text) = (instruction.line, shown(&instruction.text));
                return At { stage: stage_name(stage), line, text };
            }
        }
        At { stage: String::new(), line: 0, text: self.job.plan.plan.steps[step].id.to_string() }
    }
}

/// What is said of an instruction.
struct Line<'a> {
    state: &'static str,
    place: Option<&'a str>,
    reason: Option<String>,
    timing: Option<Timing>,
    /// The earlier instruction that the timing is of, where it is not its own.
    like: Option<&'a str>,
    bytes: Option<u64>,
    /// What its network is, and how many downloads are pinned.
    network: (&'static str, usize),
}

impl Line<'_> {
    fn new(state: &'static str) -> Self {
        Self {
            state,
            place: None,
            reason: None,
            timing: None,
            like: None,
            bytes: None,
            network: ("none", 0),
        }
    }

    fn forecast(&self, of: impl Fn(Timing) -> Duration) -> Option<f64> {
        match (self.state, self.timing) {
            ("build", timing) => timing.map(|timing| show::seconds(of(timing))),
            _ => Some(0.0),
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut all = Vec::new();
        match self.state {
            "hit" => all.push(self.place.unwrap_or_default().to_owned()),
            "build" => {
                all.extend(self.reason.clone());
                all.push(match self.timing {
                    None => "never timed".to_owned(),
                    Some(Timing { median, ninety, .. }) => format!(
                        "{}median {}, 90th percentile {}",
                        if self.like.is_some() { "never timed; like an earlier one: " } else { "" },
                        human_duration(median),
                        human_duration(ninety)
                    ),
                });
            }
            _ => all.push("nothing that is built needs it".to_owned()),
        }
        match self.bytes {
            None => all.push("of unknown size".to_owned()),
            Some(0) => {}
            Some(bytes) => all.push(format!("{} to fetch", show::bytes(bytes))),
        }
        match self.network {
            ("unpinned", _) => all.push("its network is not pinned".to_owned()),
            ("unrecorded", _) => all.push("its downloads are to be recorded".to_owned()),
            ("pinned", count) => all.push(format!("{} pinned", show::count(count, "download"))),
            _ => {}
        }
        all
    }
}

/// An instruction by its place.
struct At {
    stage: String,
    line: usize,
    text: String,
}

impl At {
    fn json(&self) -> Value {
        json!({ "stage": self.stage, "line": self.line, "instruction": self.text })
    }
}

/// How far a run with a budget gets.
struct Budget {
    budget: Duration,
    /// Whether it fits with the 90th percentiles, too.
    likely: bool,
    /// How many instructions are left then.
    left: usize,
    /// The last one that finishes.
    after: Option<At>,
    /// One that no run with this budget finishes.
    long: Option<At>,
}

struct End {
    hits: usize,
    builds: usize,
    bytes: u64,
    more: bool,
    elapsed: Duration,
    elapsed_90: Duration,
    /// How many instructions are taken to need as long as others that they are like.
    guessed: usize,
    never: usize,
    workers: usize,
    budget: Option<Budget>,
}

impl End {
    fn json(&self) -> Value {
        let mut line = json!({
            "event": "total",
            "hit": self.hits,
            "build": self.builds,
            "forecast_seconds": show::seconds(self.elapsed),
            "forecast_90_seconds": show::seconds(self.elapsed_90),
            "estimated": self.guessed,
            "never_timed": self.never,
            "bytes": self.bytes,
        });
        if let Some(budget) = &self.budget {
            line["budget_seconds"] = json!(show::seconds(budget.budget));
            line["fits"] = json!(budget.left == 0);
            line["fits_90"] = json!(budget.left == 0 && budget.likely);
            line["left"] = json!(budget.left);
            line["stops_after"] =
                json!(budget.after.as_ref().filter(|_| budget.left > 0).map(At::json));
            line["too_long"] = json!(budget.long.as_ref().map(At::json));
        }
        line
    }

    fn text(&self) -> String {
        let mut text = format!("{} to find, ", self.hits);
        match self.builds {
            0 => text.push_str("nothing to build"),
            n => text.push_str(&format!("{n} to build")),
        }
        if !self.elapsed.is_zero() {
            text.push_str(&format!(
                ", in about {} with {} (90th percentiles: {})",
                show::roughly(self.elapsed),
                show::count(self.workers, "job"),
                show::roughly(self.elapsed_90),
            ));
        }
        match self.guessed {
            0 => {}
            1 => text.push_str("; 1 instruction was edited and counts as before"),
            n => text.push_str(&format!("; {n} instructions were edited and count as before")),
        }
        match self.never {
            0 => {}
            1 => text.push_str("; 1 instruction was never timed"),
            n => text.push_str(&format!("; {n} instructions were never timed")),
        }
        if self.bytes > 0 || self.more {
            let least = if self.more { "at least " } else { "" };
            text.push_str(&format!("; {least}{} to fetch", show::bytes(self.bytes)));
        }
        text.push('\n');
        if let Some(budget) = &self.budget {
            text.push_str(&budget.text(self.never));
        }
        text
    }
}

impl Budget {
    fn text(&self, never: usize) -> String {
        let budget = human_duration(self.budget);
        let of_known = if never > 0 { ", as far as it was timed" } else { "" };
        let mut text = match (self.left, &self.after) {
            (0, _) if self.likely => format!("it fits {budget}{of_known}\n"),
            (0, _) => format!("it fits {budget}{of_known}, but not with the 90th percentiles\n"),
            (left, Some(At { line, text, .. })) => {
                let left = show::count(left, "instruction");
                format!(
                    "it does not fit {budget}: a run would stop after line {line} ({text}), with \
                     {left} left for the next one\n"
                )
            }
            (left, None) => {
                let left = show::count(left, "instruction");
                format!("it does not fit {budget}: a run would finish none of {left}\n")
            }
        };
        if let Some(At { line, text: instruction, .. }) = &self.long {
            text.push_str(&format!(
                "line {line} ({instruction}) alone takes longer than that: give more time, divide \
                 it, or let it go on where it was stopped with --mount=type=checkpoint\n"
            ));
        }
        text
    }
}
