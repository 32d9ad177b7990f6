//! `ashlar cache save`.

use ashlar_dropin::cache::{KeyFiles, Mark, Saved, SavedLayer, Saving};
use ashlar_recipe::Write;
use serde_json::json;

use super::{Job, SENDING, reference};
use crate::args::Globals;
use crate::args::cache::{Keep, Save};
use crate::exit::{Exit, Failed};
use crate::show::{self, bytes, count};

pub fn run(globals: &Globals, args: &Save) -> Result<Exit, Failed> {
    let job = Job::open(globals, &args.place)?;
    job.stop_on_signals(SENDING);
    let files = job.key_files()?;
    save(&job, &files, &args.keep, args.partial)
}

/// Saves what is not kept yet, and says so.
pub(super) fn save(
    job: &Job,
    files: &[KeyFiles],
    keep: &Keep,
    partial: bool,
) -> Result<Exit, Failed> {
    let how =
        Saving { partial, allow_missing: job.allow_missing, allow_tracked: keep.allow_tracked };
    let mut said = false;
    let mut waiting = || {
        if !said {
            job.show.remark("another job saves the same layer: waiting for it");
            said = true;
        }
        !job.cancel.is_cancelled()
    };
    let saved = job.with(|space| space.save(files, how, &mut waiting))?;
    saved.iter().for_each(|layer| tell(job, layer));
    let wanted = job.opened.iter().filter(|one| one.write != Write::No).count();
    let lacking = saved.iter().any(|one| one.saved != Saved::Nothing && one.sent < wanted);
    Ok(match (job.cancel.is_cancelled(), keep.require_push && lacking) {
        (true, _) => Exit::Stopped,
        (false, true) => Exit::Store,
        (false, false) => Exit::Done,
    })
}

fn tell(job: &Job, SavedLayer { layer, key, mark, saved, sent }: &SavedLayer) {
    let (outcome, place, size) = match saved {
        Saved::Exists(place) => ("exists", Some(place), None),
        Saved::Kept { files, bytes } => ("kept", None, Some((*files, *bytes))),
        Saved::Nothing => ("nothing", None, None),
    };
    if job.json {
        show::line(&json!({
            "event": "save", "layer": layer, "outcome": outcome, "mark": mark.as_str(),
            "place": place, "reference": reference(layer, key), "remotes": sent,
            "files": size.map(|(files, _)| files), "bytes": size.map(|(_, bytes)| bytes),
        }));
        return;
    }
    let partial = if *mark == Mark::Partial { "what is there of " } else { "" };
    job.show.remark(&match saved {
        Saved::Exists(place) => format!("layer {layer} is kept already ({place})"),
        Saved::Kept { files, bytes: size } => format!(
            "kept {partial}layer {layer}: {}, {}",
            count(usize::try_from(*files).unwrap_or(usize::MAX), "file"),
            bytes(*size)
        ),
        Saved::Nothing => format!("nothing of layer {layer} is there yet"),
    });
}
