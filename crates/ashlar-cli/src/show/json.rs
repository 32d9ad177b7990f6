//! One JSON object a line.

use ashlar_build::{Event, StepReport, Summary};
use serde_json::{Value, json};

use super::line;

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
            Event::Warning(text) => line(&json!({ "event": "warning", "message": text })),
        }
    }

    pub fn summary(&self, summary: &Summary) {
        line(&json!({
            "event": "summary",
            "modules": summary.modules,
            "hit": summary.hit,
            "cutoff": summary.cutoff,
            "built": summary.built,
            "failed": summary.failed,
            "skipped": summary.skipped,
            "seconds": seconds(summary.took),
        }));
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
