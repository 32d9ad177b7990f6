//! One JSON object a line.

use ashlar_build::{Event, StepReport, Summary};
use serde_json::{Value, json};

use super::{LOST, line};

/// For programs.
pub struct Json;

impl Json {
    pub fn event(&self, event: Event) {
        match event {
            Event::Planned { steps, modules, forecast } => line(&json!({
                "event": "plan", "steps": steps, "modules": modules,
                "forecast_seconds": seconds(forecast.elapsed), "unknown": forecast.unknown,
            })),
            Event::Started { id } => {
                line(&json!({ "event": "start", "module": id.module, "step": id.step }));
            }
            Event::Waiting { id } => {
                line(&json!({ "event": "wait", "module": id.module, "step": id.step }));
            }
            Event::Ended(report) => line(&step(&report)),
            Event::Pulling { remote, results } => {
                line(&json!({ "event": "pull", "remote": remote, "results": results }));
            }
            Event::Pushing { remote, results } => {
                line(&json!({ "event": "push", "remote": remote, "results": results }));
            }
            // Programs get the sums, in the events of remotes.
            Event::Moving { .. } => {}
            Event::Unclean { id, remote, why } => line(&json!({
                "event": "unclean", "module": id.module, "step": id.step, "remote": remote,
                "message": why,
            })),
            Event::Untrusted { id, remote, why } => line(&json!({
                "event": "untrusted", "module": id.module, "step": id.step, "remote": remote,
                "message": why,
            })),
            Event::Warning(text) => line(&json!({ "event": "warning", "message": text })),
        }
    }

    pub fn summary(&self, summary: &Summary) {
        summary.remotes.iter().for_each(|tally| line(&super::transfer::event(tally)));
        for message in &summary.lost {
            line(&json!({ "event": "error", "message": message, "help": LOST, "exit": 4 }));
        }
        let mut all = json!({
            "event": "summary",
            "modules": summary.modules,
            "hit": summary.hit,
            "cutoff": summary.cutoff,
            "built": summary.built,
            "failed": summary.failed,
            "skipped": summary.skipped,
            "seconds": seconds(summary.took),
        });
        if summary.out_of_time {
            all["out_of_time"] = json!(true);
        }
        line(&all);
    }
}

fn step(report: &StepReport) -> Value {
    let mut value = json!({
        "event": "step",
        "module": report.id.module,
        "step": report.id.step,
        "outcome": report.outcome.as_str(),
        "from": report.from,
        "seconds": seconds(report.took),
        "step_key": report.key.to_string(),
        "action": report.action.map(|a| a.to_string()),
    });
    if let Some(log) = report.log {
        value["log"] = json!(log.to_string());
    }
    if let Some(failure) = &report.failure {
        value["message"] = json!(failure.to_string());
    }
    value
}

/// Seconds to the millisecond: more digits would only look exact.
pub fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
