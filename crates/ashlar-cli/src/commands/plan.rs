//! `ashlar plan`: what would happen and why.

use std::collections::HashSet;
use std::time::Duration;

use ashlar_build::{
    Bring, Ears, Event, human_duration, look_far, shared_steps, unclean_steps, why,
};
use ashlar_execute::Cancel;
use ashlar_plan::{Plan, StepIndex, forecast};
use ashlar_recipe::Write;
use serde_json::json;

use super::why::reason;
use crate::args::{Globals, Targets};
use crate::exit::{Exit, Failed};
use crate::remotes;
use crate::show::{self, Paint, Show};
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Targets) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let (facts, plan) = session.plan(&args.targets)?;
    let (opened, cancel) = (remotes::open_used(&session)?, Cancel::new());
    let run = remotes::of_run(&opened, false);
    let show = Show::new(globals, &session.store);
    let tell = |event: Event| show.event(event);
    let ears = Ears { tell: &tell, cancel: &cancel, deadline: None };
    let shared = shared_steps(&session.project, &plan);
    let nothing = HashSet::new();
    let origins = session.origins()?;
    let store = &*session.store;
    let lookup = look_far(&plan, store, &origins, &nothing, &run, &shared, Bring::Nothing, ears)?;
    // Nothing is brought, so this is where remotes say what they came upon.
    for one in &opened {
        for text in one.remote.take_warnings() {
            tell(Event::Warning(format!("remote {}: {text}", one.remote.name())));
        }
    }
    // Only where it decides about anything: git is asked for it.
    let clean = opened.iter().any(|one| one.write == Write::Clean) && !lookup.run.is_empty();
    let unclean = match clean {
        true => unclean_steps(&session.project, &session.folder, &facts, &plan, None),
        false => Vec::new(),
    };
    let names: Vec<(&str, &str)> = lookup.run.iter().map(|s| name(&plan, *s)).collect();
    let durations = session.store.journal().durations(&names)?;
    let recorded = |step: StepIndex| -> Option<Duration> {
        let id = &plan.steps[step].id;
        durations.get(&(id.module.clone(), id.step.clone())).copied()
    };
    let disk = session.trees_on_disk();
    let mut steps: Vec<StepIndex> = lookup.found.keys().chain(&lookup.run).copied().collect();
    steps.sort_unstable();
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let mut out = String::new();
    for step in steps {
        let hit = lookup.found.contains_key(&step);
        let from = match lookup.far.get(&step) {
            Some(far) => opened[*far].remote.name(),
            None => "local",
        };
        let stays = unclean.get(step).and_then(Option::as_ref).filter(|_| !hit && shared[step]);
        let of = &plan.steps[step];
        if !of.is_build() && (hit || globals.json) {
            continue;
        }
        let reason = if hit {
            "the key is known".to_owned()
        } else {
            let tree = |digest: &ashlar_object::Digest| disk.get(digest).cloned();
            let project = &session.project.name;
            reason(&why(&plan, step, project, store, store.journal(), &origins, &tree)?)
        };
        let seconds = if hit { Some(Duration::ZERO) } else { recorded(step) };
        if globals.json {
            let mut line = json!({
                "module": of.id.module,
                "state": if hit { "hit" } else { "build" },
                "where": hit.then_some(from),
                "reason": reason,
                "forecast_seconds": seconds.map(show::seconds),
                "step_key": of.key.to_string(),
            });
            if clean {
                line["unclean"] = json!(stays);
            }
            show::line(&line);
        } else if hit {
            out.push_str(&format!("{}    {} ({from})\n", paint.green("hit"), of.id));
        } else {
            let time = seconds.map_or_else(|| "never timed".to_owned(), human_duration);
            let stays = stays.map(|why| format!("; stays here: {why}")).unwrap_or_default();
            let build = paint.yellow("build");
            out.push_str(&format!("{build}  {}: {reason} ({time}){stays}\n", of.id));
        }
    }
    if !globals.json {
        out.push_str(&total(&plan, &lookup, &recorded, session.jobs()));
        show::print(&out);
    }
    Ok(Exit::Done)
}

fn name(plan: &Plan, step: StepIndex) -> (&str, &str) {
    let id = &plan.steps[step].id;
    (&id.module, &id.step)
}

fn total(
    plan: &Plan,
    lookup: &ashlar_build::Lookup,
    recorded: &dyn Fn(StepIndex) -> Option<Duration>,
    jobs: usize,
) -> String {
    let modules = |steps: &mut dyn Iterator<Item = StepIndex>| {
        steps.filter(|s| plan.steps[*s].is_build()).count()
    };
    let hits = modules(&mut lookup.found.keys().copied());
    let builds = modules(&mut lookup.run.iter().copied());
    if lookup.run.is_empty() {
        return format!("{hits} to find, nothing to build\n");
    }
    let forecast = forecast(plan, &lookup.run, recorded, jobs);
    let mut text = format!("{hits} to find, {builds} to build");
    if !forecast.elapsed.is_zero() {
        text.push_str(&format!(
            ", in about {} with {jobs} jobs (the longest chain takes {})",
            show::roughly(forecast.elapsed),
            show::roughly(forecast.critical_path),
        ));
    }
    match forecast.unknown {
        0 => {}
        1 => text.push_str("; 1 step was never timed"),
        n => text.push_str(&format!("; {n} steps were never timed")),
    }
    text.push('\n');
    text
}
