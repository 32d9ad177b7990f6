//! `ashlar log`.

use ashlar_build::human_duration;
use ashlar_recipe::Kind;
use ashlar_store::{RecordedOutcome, StepRecord, Store as _, read};
use serde_json::json;

use crate::args::{Globals, Log};
use crate::exit::{Exit, Failed};
use crate::show;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Log) -> Result<Exit, Failed> {
    if let Some(run) = &args.run {
        return super::runs::log(globals, args.root.as_deref(), run, args.history);
    }
    let module = args.module.as_deref().unwrap_or_default();
    let session = Session::open(globals)?;
    let journal = session.store.journal();
    let project = &session.project.name;
    let is_base = module.starts_with("base:");
    if !is_base {
        let name = session.module(module)?;
        let found = ashlar_plan::find(&session.project, name.as_str())?;
        if found.build.kind == Kind::Group {
            return Err(Failed::usage(format!("{module} is a group: it has no log"))
                .help("ask for one of its members"));
        }
    }
    let step = if is_base && args.step == "build" { "base" } else { &args.step };
    let history = journal.history(project, module, step, 50)?;
    if args.history {
        list(globals, &history);
        return Ok(Exit::Done);
    }
    // What was built elsewhere, by another checkout or project, is found by the key.
    let by_key = || -> Option<ashlar_object::Digest> {
        let (_, plan) = session.plan(&[module.to_owned()]).ok()?;
        let step = plan.steps.iter().find(|s| s.id.module == module && s.id.step == step)?;
        let found = session.store.steps(&[step.key]).ok()?.pop()??;
        Some(found.result.log)
    };
    let recorded = history.iter().find_map(|record| record.log);
    // What failed before anything ran has no log; why it failed is all there is to say.
    if let Some(StepRecord { log: None, message: Some(message), .. }) = history.first() {
        if globals.json {
            show::line(&json!({
                "event": "log", "module": module, "step": step, "log": null, "text": message,
            }));
        } else {
            show::print(&format!("{message}\n"));
        }
        return Ok(Exit::Done);
    }
    let Some(log) = recorded.or_else(by_key) else {
        return Err(Failed::usage(format!("no log of {module} ({step}) is known"))
            .help(format!("`ashlar build {module}` makes one")));
    };
    let Some(bytes) = read(&*session.store, &log)? else {
        return Err(Failed::new(Exit::Store, "the log is no longer in the store"));
    };
    let text = String::from_utf8_lossy(&bytes);
    if globals.json {
        show::line(&json!({
            "event": "log", "module": module, "step": step, "log": log.to_string(),
            "text": text,
        }));
    } else {
        show::print(&text);
    }
    Ok(Exit::Done)
}

pub fn list(globals: &Globals, history: &[StepRecord]) {
    for record in history {
        let outcome = word(record.outcome);
        if globals.json {
            show::line(&json!({
                "outcome": outcome,
                "started": record.started.seconds,
                "seconds": show::seconds(record.took),
                "step_key": record.key.to_string(),
                "log": record.log.map(|log| log.to_string()),
                "message": record.message,
            }));
        } else {
            let why = record.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
            show::print(&format!(
                "{}  {:7}  {:>9}  {}{why}\n",
                show::when(record.started),
                outcome,
                human_duration(record.took),
                record.key.short()
            ));
        }
    }
}

/// The word for an outcome, the same as in the events of a build.
pub fn word(outcome: RecordedOutcome) -> &'static str {
    match outcome {
        RecordedOutcome::Hit => "hit",
        RecordedOutcome::Cutoff => "cutoff",
        RecordedOutcome::Built => "built",
        RecordedOutcome::Failed | RecordedOutcome::TimedOut => "failed",
    }
}
