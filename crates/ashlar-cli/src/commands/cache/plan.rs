//! `ashlar cache plan`.

use ashlar_dropin::cache::{Mark, Planned, PlannedHit};
use serde_json::json;

use super::{Job, reference};
use crate::args::Globals;
use crate::args::cache::Plan;
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint, bytes, count};

pub fn run(globals: &Globals, args: &Plan) -> Result<Exit, Failed> {
    let job = Job::open(globals, &args.place)?;
    let plan = job.with(|space| {
        let files = space.key_files()?;
        space.plan(&files)
    })?;
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let mut wrong = false;
    let mut out = String::new();
    if !job.json {
        out = match &job.branch.name {
            Some(name) => format!("branch {name}, says {}\n", job.branch.from),
            None => {
                format!("no branch, says {}: scopes that need one are left out\n", job.branch.from)
            }
        };
    }
    for layer in &plan {
        let paths = layer.lacks_some() && !args.place.allow_missing;
        let key = !layer.key_unmatched.is_empty() && !args.place.allow_missing;
        let tracked = !layer.tracked.is_empty() && !args.allow_tracked;
        wrong |= paths || key || tracked;
        if job.json {
            line(layer, job.branch.name.as_deref());
        } else {
            out.push_str(&text(layer, paint));
        }
    }
    show::print(&out);
    Ok(if wrong { Exit::Usage } else { Exit::Done })
}

fn line(layer: &Planned, branch: Option<&str>) {
    let hit = layer.hit.as_ref().map(|hit| {
        json!({
            "scope": hit.scope, "mark": hit.mark.as_str(), "place": hit.place,
            "reference": reference(&layer.layer, &hit.key), "chosen": hit.chosen,
            "files": hit.change.map(|change| change.files),
            "bytes": hit.change.map(|change| change.moved_bytes),
            "kept": hit.change.map(|change| change.kept_files),
            "removed": hit.change.map(|change| change.removed),
        })
    });
    show::line(&json!({
        "event": "plan", "layer": layer.layer, "branch": branch, "hit": hit,
        "key_files": layer.key_files, "key_unmatched": layer.key_unmatched,
        "paths_unmatched": layer.paths_unmatched, "nothing_there": layer.nothing_there,
        "tracked": layer.tracked.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
    }));
}

fn text(layer: &Planned, paint: Paint) -> String {
    let state = match &layer.hit {
        None => paint.yellow("not kept"),
        Some(hit) => {
            let used = if hit.chosen { ", would be restored" } else { "" };
            let mark = match hit.mark {
                Mark::Complete => paint.green(hit.mark.as_str()),
                Mark::Partial => paint.yellow(hit.mark.as_str()),
            };
            format!("{mark} in {} ({}){used}", hit.scope, hit.place)
        }
    };
    let mut out = format!("{}: {state}\n", paint.bold(&layer.layer));
    if let Some(hit) = &layer.hit {
        out.push_str(&format!("  {}\n", change(hit)));
    }
    let files = count(layer.key_files, "file");
    out.push_str(&paint.dim(&format!("  the key is made of {files}\n")));
    let mut list = |what: &str, all: &[String]| {
        if !all.is_empty() {
            out.push_str(&format!("  {what}: {}\n", all.join(", ")));
        }
    };
    list(&paint.red("match nothing in the key"), &layer.key_unmatched);
    if layer.lacks_some() {
        list(&paint.red("match nothing in the paths"), &layer.paths_unmatched);
    }
    let tracked: Vec<String> =
        layer.tracked.iter().take(10).map(|path| path.display().to_string()).collect();
    let more = layer.tracked.len() - tracked.len();
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    list(&format!("{}{more}", paint.red("tracked by git")), &tracked);
    if layer.nothing_there {
        out.push_str(&paint.dim("  nothing of it is there now\n"));
    }
    out
}

fn change(hit: &PlannedHit) -> String {
    match &hit.change {
        None => "what would move shows when it is brought here".to_owned(),
        Some(change) => format!(
            "would write {} with {}; {} already there, {} to remove",
            count(usize::try_from(change.files).unwrap_or(usize::MAX), "file"),
            bytes(change.moved_bytes),
            change.kept_files,
            change.removed
        ),
    }
}
