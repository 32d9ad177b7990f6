//! What people and programs see of a build.

mod json;
mod text;
pub mod transfer;

use std::io::Write as _;
use std::sync::Arc;

use ashlar_build::{Event, Summary, Transfer};
use ashlar_execute::OnOutput;
use ashlar_store::LocalStore;

use crate::args::{Color, Globals};

pub use json::{Json, seconds};
pub use text::{Text, count, roughly};

/// What is to be done when a remote that has to be there is not.
pub const LOST: &str = "without `--require-remote` it is built here";

/// How a build is shown.
pub enum Show {
    /// For people: lines, and on a terminal what is running at the bottom.
    Text(Arc<Text>),
    /// For programs.
    Json(Json),
}

impl Show {
    /// What the arguments ask for.
    pub fn new(globals: &Globals, store: &Arc<LocalStore>) -> Self {
        if globals.json {
            Self::Json(Json)
        } else {
            Self::Text(Arc::new(Text::new(globals, Arc::clone(store))))
        }
    }

    /// As [`Show::new`], for builds of something else than modules, by its name for one.
    pub fn of(globals: &Globals, store: &Arc<LocalStore>, noun: &'static str) -> Self {
        match Self::new(globals, store) {
            Self::Text(_) => Self::Text(Arc::new(Text::of(globals, Arc::clone(store), noun))),
            json => json,
        }
    }

    /// Something happened.
    pub fn event(&self, event: Event) {
        match self {
            Self::Text(text) => text.event(event),
            Self::Json(json) => json.event(event),
        }
    }

    /// A remark that is no event of the build.
    pub fn remark(&self, text: &str) {
        match self {
            Self::Text(show) => show.remark(text),
            Self::Json(_) => eprintln!("{text}"),
        }
    }

    /// The terminal is somebody else's from now on: nothing is drawn there any more.
    pub fn leave(&self) {
        if let Self::Text(text) = self {
            text.leave();
        }
    }

    /// The build is over.
    pub fn summary(&self, summary: &Summary) {
        match self {
            Self::Text(text) => text.summary(summary),
            Self::Json(json) => json.summary(summary),
        }
    }

    /// A transfer without a build is over.
    pub fn transfer(&self, transfer: &Transfer) {
        match self {
            Self::Text(text) => text.transfer(transfer),
            Self::Json(_) => {
                transfer.remotes.iter().for_each(|tally| line(&transfer::event(tally)));
                line(&serde_json::json!({
                    "event": "transfer", "results": transfer.results, "here": transfer.here,
                    "missing": transfer.missing.len(),
                }));
            }
        }
    }

    /// What is done with the output of builds as it comes.
    pub fn on_output(&self, globals: &Globals) -> OnOutput {
        match self {
            Self::Text(text) if globals.verbose > 0 => {
                let text = Arc::clone(text);
                Arc::new(move |label, bytes| text.output(label, bytes))
            }
            Self::Text(_) | Self::Json(_) => Arc::new(|_, _| {}),
        }
    }
}

/// The keys that a line begins with, in this order, so that lines are read by people as well. The
/// others follow by name.
const FIRST: [&str; 14] = [
    "event",
    "remote",
    "module",
    "step",
    "outcome",
    "state",
    "where",
    "reason",
    "forecast_seconds",
    "from",
    "seconds",
    "step_key",
    "action",
    "modules",
];

/// Prints one JSON object as a line. A reader that went away ends the program quietly, as it
/// ends other programs.
pub fn line(value: &serde_json::Value) {
    print(&format!("{}\n", ordered(value)));
}

fn ordered(value: &serde_json::Value) -> String {
    let Some(object) = value.as_object() else { return value.to_string() };
    let place = |key: &String| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len());
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by_key(|(key, _)| place(key));
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{}:{value}", serde_json::json!(key))).collect();
    format!("{{{}}}", entries.join(","))
}

/// Prints text on standard output, with the same end when nobody reads it.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("error: cannot write to standard output: {error}");
        std::process::exit(4);
    }
}

/// Bytes as people say them.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// As the arguments and the environment want it, for a stream that is a terminal or not.
    pub fn new(color: Color, is_terminal: bool) -> Self {
        Self(match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        })
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Good news.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Bad news.
    pub fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Something to look at.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// A name.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Something less important.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

/// A moment as people write it, in their own time zone.
pub fn when(time: ashlar_object::Time) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or_default();
    match jiff::Timestamp::new(time.seconds, nanos) {
        Ok(stamp) => {
            let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => "at an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_begin_with_what_they_are() {
        let value =
            json!({ "b\"": [1, { "event": 2 }], "a": null, "module": "x", "event": "step" });
        let text = ordered(&value);
        assert_eq!(text, r#"{"event":"step","module":"x","a":null,"b\"":[1,{"event":2}]}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
