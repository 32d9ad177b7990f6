//! What moves between the store and remotes: bars while it does, one line when it is over.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ashlar_build::{Tally, Way};
use ashlar_store::Moved;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{bytes, count};

/// A bar for each remote and direction in which something moves.
pub struct Transfers {
    all: MultiProgress,
    bars: Mutex<HashMap<(Arc<str>, Way), Bar>>,
}

struct Bar {
    bar: ProgressBar,
    already: u64,
}

impl Transfers {
    /// Bars of their own on standard error, when that is a terminal and `wanted`.
    pub fn new(wanted: bool) -> Self {
        let target = match wanted && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        Self::beside(MultiProgress::with_draw_target(target))
    }

    /// Bars beside others.
    pub fn beside(all: MultiProgress) -> Self {
        Self { all, bars: Mutex::default() }
    }

    /// Something moved.
    pub fn moved(&self, remote: &Arc<str>, way: Way, moved: Moved) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let bar = self.all.add(ProgressBar::no_length());
            bar.set_style(style());
            bar.set_prefix(match way {
                Way::Pull => format!("from {remote}"),
                Way::Push => format!("to {remote}"),
            });
            bar.enable_steady_tick(Duration::from_millis(200));
            Bar { bar, already: 0 }
        };
        let bar = bars.entry((Arc::clone(remote), way)).or_insert_with(new);
        bar.already += moved.already;
        bar.bar.inc(moved.bytes);
        if bar.already > 0 {
            bar.bar.set_message(format!(", {} there already", bytes(bar.already)));
        }
    }

    /// A line above the bars.
    pub fn say(&self, text: &str) {
        if self.all.is_hidden() {
            eprintln!("{text}");
        } else {
            // When the terminal is gone there is nobody to tell.
            drop(self.all.println(text));
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        for (_, bar) in self.bars.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            bar.bar.finish_and_clear();
            self.all.remove(&bar.bar);
        }
    }
}

fn style() -> ProgressStyle {
    // The template is a constant; the default style is no worse than none.
    ProgressStyle::with_template("  {prefix}: {bytes} in {elapsed} ({bytes_per_sec}){msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What sends later what could not be sent, where modules were built.
pub const PUSH: &str = "`ashlar push` sends what is missing";

/// The same where an image was.
pub const PUSH_IMAGE: &str = "the next build with --require-push sends what is missing";

/// What there was to do with a remote, in lines for people. `later` says what sends what could not
/// be sent.
pub fn lines(tally: &Tally, later: &str) -> Vec<String> {
    let remote = &tally.remote;
    let moved = |moved: Moved| {
        let already = match moved.already {
            0 => String::new(),
            size => format!(", {} were there already", bytes(size)),
        };
        format!("{}{already}", bytes(moved.bytes))
    };
    let mut lines = Vec::new();
    if tally.pulled > 0 {
        let results = count(tally.pulled, "result");
        lines.push(format!("pulled {results} from {remote}: {}", moved(tally.pulled_bytes)));
    }
    if tally.pushed > 0 {
        let results = count(tally.pushed, "result");
        lines.push(format!("pushed {results} to {remote}: {}", moved(tally.pushed_bytes)));
    }
    for (results, why, then) in [
        (tally.unclean, " made from files that are not committed (-v names them)", None),
        (
            tally.untrusted,
            " on the word of remotes that it does not vouch for (-v names them)",
            None,
        ),
        (tally.unsent, ", because the run was stopped; ", Some(later)),
        (tally.failed, ", because it failed; ", Some(later)),
    ] {
        if results > 0 {
            let (results, then) = (count(results, "result"), then.unwrap_or_default());
            lines.push(format!("not pushed to {remote}: {results}{why}{then}"));
        }
    }
    lines
}

/// The same for programs.
pub fn event(tally: &Tally) -> Value {
    json!({
        "event": "remote", "remote": tally.remote,
        "pulled": tally.pulled, "pulled_bytes": tally.pulled_bytes.bytes,
        "pulled_already": tally.pulled_bytes.already,
        "pushed": tally.pushed, "pushed_bytes": tally.pushed_bytes.bytes,
        "pushed_already": tally.pushed_bytes.already,
        "failed": tally.failed, "unsent": tally.unsent, "unclean": tally.unclean,
        "untrusted": tally.untrusted,
        "gone": tally.gone,
    })
}
