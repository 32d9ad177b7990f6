//! For people: plain lines, and on a terminal the running steps with a bar below them.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ashlar_build::{Event, Failure, StepOutcome, StepReport, Summary, Transfer, human_duration};
use ashlar_plan::StepId;
use ashlar_store::{LocalStore, read};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{LOST, Paint, transfer};
use crate::args::Globals;

/// How many lines of a failed log are shown.
const TAIL: usize = 20;
/// How many characters of a line of output are shown.
const WIDTH: usize = 1000;

/// Lines on standard error; standard output stays for what a command was asked for.
pub struct Text {
    paint: Paint,
    verbose: bool,
    /// What is built: `module`.
    noun: &'static str,
    /// Whether something was said after the last failure.
    buried: AtomicBool,
    store: Arc<LocalStore>,
    /// There when standard error is a terminal.
    live: Option<Live>,
}

struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    running: Mutex<HashMap<StepId, ProgressBar>>,
    transfers: transfer::Transfers,
}

impl Text {
    pub fn new(globals: &Globals, store: Arc<LocalStore>) -> Self {
        Self::of(globals, store, "module")
    }

    /// For what is built, by its name for one.
    pub fn of(globals: &Globals, store: Arc<LocalStore>, noun: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let live = (terminal && globals.verbose == 0).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let bar = all.add(ProgressBar::new(0));
            let transfers = transfer::Transfers::beside(all.clone());
            Live { all, bar, running: Mutex::new(HashMap::new()), transfers }
        });
        Self {
            paint: Paint::new(globals.color, terminal),
            verbose: globals.verbose > 0,
            noun,
            buried: AtomicBool::new(false),
            store,
            live,
        }
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        self.buried.store(true, Ordering::Relaxed);
        match &self.live {
            // When the terminal is gone there is nobody to tell.
            Some(live) => drop(live.all.println(text)),
            None => eprintln!("{text}"),
        }
    }

    pub fn remark(&self, text: &str) {
        self.say(text);
    }

    pub fn output(&self, label: &str, bytes: &[u8]) {
        for line in printable(bytes).lines() {
            let label = self.paint.dim(&format!("{label}:"));
            self.say(&format!("{label} {}", shortened(line)));
        }
    }

    pub fn event(&self, event: Event) {
        match event {
            Event::Planned { steps, modules, forecast } => {
                let time = match (forecast.elapsed, forecast.unknown) {
                    (Duration::ZERO, _) => String::new(),
                    (time, 0) => format!(", about {}", roughly(time)),
                    (time, n) => format!(
                        ", about {} ({n} {} never timed)",
                        roughly(time),
                        if n == 1 { "step was" } else { "steps were" }
                    ),
                };
                self.say(&format!("{} to build{time}", count(modules, self.noun)));
                if let Some(live) = &self.live {
                    live.bar.set_style(style("{bar:30} {pos}/{len} steps  {elapsed}{msg}"));
                    live.bar.set_length(steps as u64);
                    if !forecast.elapsed.is_zero() {
                        live.bar.set_message(format!(" of about {}", roughly(forecast.elapsed)));
                    }
                    live.bar.enable_steady_tick(Duration::from_millis(200));
                }
            }
            Event::Started { id } => match &self.live {
                Some(live) => self.begin(live, id, ""),
                None => self.say(&format!("{} {id}", self.paint.dim("building"))),
            },
            Event::Waiting { id } => match &self.live {
                Some(live) => self.begin(live, id, ": it is being built already"),
                None => self
                    .say(&format!("{} {id}: it is being built already", self.paint.dim("waiting"))),
            },
            Event::Ended(report) => self.ended(&report),
            Event::Pulling { remote, results } => {
                let results = count(results, "result");
                self.say(&format!("{} {results} from {remote}", self.paint.dim("pulling")));
            }
            Event::Pushing { remote, results } => {
                let results = count(results, "result");
                self.say(&format!("{} {results} to {remote}", self.paint.dim("pushing")));
            }
            Event::Moving { remote, way, moved } => {
                if let Some(live) = &self.live {
                    live.transfers.moved(&remote, way, moved);
                }
            }
            Event::Unclean { id, remote, why } | Event::Untrusted { id, remote, why }
                if self.verbose =>
            {
                self.say(&format!("{} {id} to {remote}: {why}", self.paint.dim("not pushed")));
            }
            Event::Unclean { .. } | Event::Untrusted { .. } => {}
            Event::Warning(text) => self.say(&format!("{} {text}", self.paint.yellow("warning:"))),
        }
    }

    fn begin(&self, live: &Live, id: StepId, more: &str) {
        let mut running = live.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = running.get(&id) {
            bar.set_message(format!("{id}{more}"));
            return;
        }
        let bar = live.all.insert_before(&live.bar, ProgressBar::new_spinner());
        bar.set_style(style("  {elapsed:>5} {msg}"));
        bar.set_message(format!("{id}{more}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        running.insert(id, bar);
    }

    fn ended(&self, report: &StepReport) {
        if let Some(live) = &self.live {
            let mut running = live.running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(bar) = running.remove(&report.id) {
                bar.finish_and_clear();
                live.all.remove(&bar);
            }
            // Hits that are told before the plan are not among the steps of the bar.
            if live.bar.length().unwrap_or_default() > 0 {
                live.bar.inc(1);
            }
        }
        let id = &report.id;
        let took = human_duration(report.took);
        match report.outcome {
            StepOutcome::Hit if self.verbose => {
                let from = report.from.as_deref().filter(|from| *from != "local");
                let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
                self.say(&format!(
                    "{} {id}{from}  {}",
                    self.paint.green("hit"),
                    self.paint.dim(&report.key.short())
                ));
            }
            StepOutcome::Hit => {}
            StepOutcome::Cutoff => self.say(&format!(
                "{} {id}: what it needs came out equal",
                self.paint.green("cut off")
            )),
            StepOutcome::Built => {
                self.say(&format!("{} {id} in {took}", self.paint.green("built")));
            }
            StepOutcome::Skipped if self.verbose => {
                self.say(&format!("{} {id}", self.paint.yellow("skipped")));
            }
            StepOutcome::Skipped => {}
            // Its source failed, and that was told.
            StepOutcome::Failed if report.failure.is_none() => {}
            StepOutcome::Failed => self.failed(report, &took),
        }
    }

    fn failed(&self, report: &StepReport, took: &str) {
        let id = &report.id;
        let reason = report.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut text = format!("{} {id} after {took}: {reason}", self.paint.red("failed"));
        if let Some(tail) = report.log.and_then(|log| self.tail(&log)) {
            for line in tail {
                text.push_str(&format!("\n  {} {line}", self.paint.dim("|")));
            }
        }
        if let Some(Failure::Error { advice: Some(advice), .. }) = &report.failure {
            text.push_str(&format!("\n  help: {advice}"));
        }
        if let Some(Failure::Overlap { path, .. }) = &report.failure {
            text.push_str(&format!(
                "\n  help: allow it with `overlap = [\"{path}\"]` under [outputs] of {}",
                id.module
            ));
        }
        if report.log.is_some() && self.noun == "module" {
            let step =
                if id.step == "build" { String::new() } else { format!(" --step '{}'", id.step) };
            text.push_str(&format!("\n  the whole log: ashlar log {}{step}", id.module));
            if report.is_module {
                text.push_str(&format!("\n  a shell in its sandbox: ashlar shell {}", id.module));
            }
        }
        self.say(&text);
        self.buried.store(false, Ordering::Relaxed);
    }

    fn tail(&self, log: &ashlar_object::Digest) -> Option<Vec<String>> {
        let bytes = read(&*self.store, log).ok()??;
        let text = printable(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        Some(lines[from..].iter().map(|line| shortened(line)).collect())
    }

    pub fn transfer(&self, transfer: &Transfer) {
        self.clear();
        let lines =
            transfer.remotes.iter().flat_map(|tally| transfer::lines(tally, transfer::PUSH));
        let lines: Vec<String> = lines.collect();
        for line in &lines {
            eprintln!("{line}");
        }
        if lines.is_empty() && transfer.missing.is_empty() {
            eprintln!("{}: nothing had to be moved", count(transfer.results, "result"));
        }
    }

    pub fn summary(&self, summary: &Summary) {
        self.clear();
        let mut parts = Vec::new();
        for (count, word) in [
            (summary.built, "built"),
            (summary.hit, if summary.hit == 1 { "hit" } else { "hits" }),
            (summary.cutoff, "cut off"),
            (summary.failed, "failed"),
            (summary.skipped, if summary.cancelled { "not finished" } else { "not tried" }),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
        let total = count(summary.modules, self.noun);
        let took = human_duration(summary.took);
        let line = format!("{total}: {parts} in {took}");
        let later = if self.noun == "module" { transfer::PUSH } else { transfer::PUSH_IMAGE };
        for line in summary.remotes.iter().flat_map(|tally| transfer::lines(tally, later)) {
            eprintln!("{line}");
        }
        let all_hits = summary.modules > 0 && summary.hit == summary.modules;
        let pulled = summary.remotes.iter().any(|tally| tally.pulled > 0);
        let line = match (all_hits, pulled) {
            (false, _) => line,
            (true, false) => format!("{line}: nothing had to be done"),
            (true, true) => format!("{line}: nothing had to be built"),
        };
        eprintln!(
            "{}",
            if summary.failures.is_empty() && summary.lost.is_empty() {
                self.paint.green(&line)
            } else {
                self.paint.red(&line)
            }
        );
        for text in &summary.lost {
            eprintln!("{} {text}\n  help: {LOST}", self.paint.red("error:"));
        }
        if summary.out_of_time {
            eprintln!(
                "out of time: everything that finished is kept, and the next build goes on from there"
            );
        } else if summary.cancelled {
            eprintln!(
                "stopped: everything that finished is kept, and the next build goes on from there"
            );
        } else if !summary.failures.is_empty() {
            // What went on after a failure may have scrolled it away.
            let buried = self.buried.load(Ordering::Relaxed) || summary.failures.len() > 1;
            for report in summary.failures.iter().filter(|_| buried) {
                let reason = report.failure.as_ref().map(ToString::to_string).unwrap_or_default();
                let reason = reason.lines().take(2).collect::<Vec<_>>().join(" ");
                eprintln!("{} {}: {reason}", self.paint.red("failed"), report.id);
            }
        }
    }

    /// The terminal is somebody else's from now on.
    pub fn leave(&self) {
        self.clear();
    }

    /// Takes away what is running and the bar: a build that was stopped has both still.
    fn clear(&self) {
        let Some(live) = &self.live else { return };
        live.transfers.clear();
        let mut running = live.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in running.drain() {
            bar.finish_and_clear();
            live.all.remove(&bar);
        }
        live.bar.finish_and_clear();
    }
}

/// `1 module`, `3 modules`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Output of a build without what a terminal would act on: it could wipe lines and lie about them.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// A line as far as anybody reads it: some commands print megabytes without an end of line.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

/// A forecast, no more exact than forecasts are.
pub fn roughly(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => "a second".to_owned(),
        1000..10_000 => format!("{:.0} s", time.as_secs_f64()),
        _ => human_duration(time),
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; the default style is no worse than none.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
