//! `ashlar cache restore`.

use std::time::Duration;

use ashlar_dropin::cache::{KeyFiles, Mark, Restored};
use serde_json::json;

use super::{Job, reference};
use crate::args::Globals;
use crate::args::cache::Restore;
use crate::exit::{Exit, Failed};
use crate::show::{self, bytes, count};

pub fn run(globals: &Globals, args: &Restore) -> Result<Exit, Failed> {
    let job = Job { keep: args.keep_here, ..Job::open(globals, &args.place)? };
    job.stop_on_signals(Duration::ZERO);
    let Some(text) = &args.reference else {
        let files = job.key_files()?;
        let restored = restore(&job, &files, args.clean)?;
        let complete = restored.is_some_and(|restored| restored.mark == Some(Mark::Complete));
        return Ok(if args.require && !complete { Exit::BuildFailed } else { Exit::Done });
    };
    let (layer, key) = text
        .trim()
        .split_once('@')
        .and_then(|(layer, key)| Some((layer, key.parse().ok()?)))
        .ok_or_else(|| {
            Failed::usage(format!("`{text}` is no reference"))
                .help("LAYER@KEY, as `ashlar cache skip-if-hit` writes it")
        })?;
    match job.with(|space| space.restore_exactly(layer, &key))? {
        Some(restored) => {
            said(&job, Some(&restored));
            Ok(Exit::Done)
        }
        None => Err(Failed::new(Exit::BuildFailed, format!("{} is nowhere", text.trim()))
            .help("it may have been removed since, or it is at a remote that is not read here")),
    }
}

/// Restores the first layer that hits, and says so.
pub(super) fn restore(
    job: &Job,
    files: &[KeyFiles],
    clean: bool,
) -> Result<Option<Restored>, Failed> {
    let restored = job.with(|space| space.restore(files, clean, &|text| job.warn(&text)))?;
    said(job, restored.as_ref());
    Ok(restored)
}

fn said(job: &Job, restored: Option<&Restored>) {
    let Some(Restored { layer, scope, mark, place, key, placed }) = restored else {
        if job.json {
            show::line(&json!({ "event": "restore", "layer": null, "branch": job.branch.name }));
        } else {
            job.show.remark("no layer hits: nothing was restored");
        }
        return;
    };
    if job.json {
        show::line(&json!({
            "event": "restore", "layer": layer, "scope": scope,
            "mark": mark.map(Mark::as_str), "place": place, "reference": reference(layer, key),
            "branch": job.branch.name, "files": placed.files, "bytes": placed.moved_bytes,
            "kept": placed.kept_files, "removed": placed.removed,
        }));
        return;
    }
    let partial = if *mark == Some(Mark::Partial) { "what a job left of " } else { "" };
    let scope = scope.as_ref().map(|scope| format!("{scope}, ")).unwrap_or_default();
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    job.show.remark(&format!(
        "restored {partial}layer {layer} ({scope}{place}): {} written, {}; {} there already, {} \
         removed",
        count(number(placed.files), "file"),
        bytes(placed.moved_bytes),
        placed.kept_files,
        placed.removed,
    ));
}
