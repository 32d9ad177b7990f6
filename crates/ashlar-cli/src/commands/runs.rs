//! What is known of the commands that `ashlar run` keeps: why, log, figures.

use std::path::Path;
use std::time::Duration;

use ashlar_build::{Direct, Ears, Event, Origins, human_duration};
use ashlar_dropin::run::{Last, Runner, Watching, all, last};
use ashlar_execute::Cancel;
use ashlar_object::{Digest, Time};
use ashlar_store::read;
use serde_json::json;

use crate::args::Globals;
use crate::exit::{Exit, Failed};
use crate::workspace::Workspace;
use crate::{remotes, show};

/// `ashlar why --run NAME`.
pub fn why(globals: &Globals, root: Option<&Path>, name: &str) -> Result<Exit, Failed> {
    let workspace = Workspace::open(globals, root)?;
    let cancel = Cancel::new();
    let opened = workspace.open_remotes()?;
    let far = remotes::of_run(&opened, false);
    let origins = Origins::new(workspace.store.journal(), workspace.accepted()?);
    let tell = |event: Event| {
        if let Event::Warning(text) = event {
            eprintln!("warning: {text}");
        }
    };
    let ears = Ears { tell: &tell, cancel: &cancel, deadline: None };
    let runner = Runner {
        store: &workspace.store,
        direct: Direct { store: &*workspace.store, origins: &origins, remotes: &far, ears },
        root: &workspace.root,
        read: true,
        write: false,
        replay: false,
        live: false,
        on_error: false,
        keep_outputs: false,
        common: true,
        watching: &Watching::default(),
        sandbox: false,
        cancel: &cancel,
        tell: &|_| {},
    };
    let why = runner.why(name).map_err(|error| super::run::failed(Some(name), error))?;
    let why = why.ok_or_else(|| unknown(&workspace, name))?;
    if globals.json {
        show::line(&json!({
            "event": "why", "run": name, "key": why.key.to_string(), "from": why.place,
            "last": why.last.outcome,
            "reason": why.last.reason,
            "changes": why.differences.iter().map(|one| json!({
                "kind": one.kind.word(), "name": one.name, "was": one.was, "is": one.is,
            })).collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    let mut out = match &why.place {
        Some(place) => format!("{name} would not be run: its result is there ({place})\n"),
        None => format!("{name} would be run: nothing is kept under its key {}\n", why.key.short()),
    };
    for difference in &why.differences {
        out.push_str(&format!("  {difference}\n"));
    }
    if why.differences.is_empty() {
        let at = show::when(Time { seconds: why.last.at, nanos: 0 });
        let how = match why.last.outcome.as_str() {
            "hit" => "found",
            "failed" => "run, and failed",
            _ => "run",
        };
        out.push_str(&format!("  nothing changed since it was {how} ({at})\n"));
        for reason in &why.last.reason {
            out.push_str(&format!("  the last time it was run because: {reason}\n"));
        }
    }
    show::print(&out);
    Ok(Exit::Done)
}

/// `ashlar log --run NAME`.
pub fn log(
    globals: &Globals,
    root: Option<&Path>,
    name: &str,
    history: bool,
) -> Result<Exit, Failed> {
    let workspace = Workspace::open(globals, root)?;
    let journal = workspace.store.journal();
    if history {
        let project = workspace.root.display().to_string();
        super::log::list(globals, &journal.history(&project, name, "run", 50)?);
        return Ok(Exit::Done);
    }
    let known = last(journal, &workspace.root, name)?.ok_or_else(|| unknown(&workspace, name))?;
    let digest = known.log.as_ref().and_then(|text| text.parse::<Digest>().ok());
    let bytes = match digest {
        Some(digest) => read(&*workspace.store, &digest)?,
        None => None,
    };
    let Some(bytes) = bytes else {
        return Err(Failed::new(Exit::Store, "the log is no longer in the store"));
    };
    let text = String::from_utf8_lossy(&bytes);
    if globals.json {
        show::line(&json!({ "event": "log", "run": name, "outcome": known.outcome, "text": text }));
    } else {
        show::print(&text);
    }
    Ok(Exit::Done)
}

/// `ashlar stat`.
pub fn stat(globals: &Globals, root: Option<&Path>, run: Option<&str>) -> Result<Exit, Failed> {
    let workspace = Workspace::open(globals, root)?;
    let mut known = all(workspace.store.journal(), &workspace.root)?;
    if let Some(run) = run {
        known.retain(|(name, _)| name == run);
        if known.is_empty() {
            return Err(unknown(&workspace, run));
        }
    }
    let sum = |of: fn(&Last) -> u64| known.iter().map(|(_, last)| of(last)).sum::<u64>();
    let (hits, misses) = (sum(|last| last.hits), sum(|last| last.misses));
    let (saved, spent) = (sum(|last| last.saved_ms), sum(|last| last.spent_ms));
    if globals.json {
        for (name, last) in &known {
            show::line(&json!({
                "event": "run-stat", "run": name, "hits": last.hits, "misses": last.misses,
                "seconds_saved": show::seconds(Duration::from_millis(last.saved_ms)),
                "seconds_spent": show::seconds(Duration::from_millis(last.spent_ms)),
                "last": last.outcome, "reason": last.reason,
            }));
        }
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    let wide = known.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(4);
    out.push_str(&format!(
        "{:wide$}  {:>6}  {:>6}  {:>12}  last\n",
        "run", "hits", "misses", "saved"
    ));
    for (name, last) in &known {
        let saved = human_duration(Duration::from_millis(last.saved_ms));
        out.push_str(&format!(
            "{name:wide$}  {:>6}  {:>6}  {saved:>12}  {}\n",
            last.hits, last.misses, last.outcome
        ));
    }
    let rate = match hits + misses {
        0 => String::new(),
        all => format!(" ({:.0} %)", 100.0 * hits as f64 / all as f64),
    };
    out.push_str(&format!(
        "{hits} hits{rate}, {misses} misses; saved {}, spent {}\n",
        human_duration(Duration::from_millis(saved)),
        human_duration(Duration::from_millis(spent))
    ));
    show::print(&out);
    Ok(Exit::Done)
}

fn unknown(workspace: &Workspace, name: &str) -> Failed {
    let failed = Failed::usage(format!("nothing is known of a run `{name}` here"));
    let known = all(workspace.store.journal(), &workspace.root).unwrap_or_default();
    let near = ashlar_recipe::nearest(name, known.iter().map(|(name, _)| name.as_str()));
    failed.help(match near {
        Some(near) => format!("did you mean `{near}`? `ashlar stat` shows all"),
        None => "`ashlar stat` shows all".to_owned(),
    })
}
