//! `ashlar cache skip-if-hit`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::json;

use super::{Job, github_output, reference, unwritable};
use crate::args::Globals;
use crate::args::cache::SkipIfHit;
use crate::exit::{Exit, Failed};
use crate::show;

pub fn run(globals: &Globals, args: &SkipIfHit) -> Result<Exit, Failed> {
    let job = Job::open(globals, &args.place)?;
    let files = job.key_files()?;
    let hit = job.with(|space| space.full_hit(&args.layer, &files))?;
    let found = hit.as_ref().map(|(found, place)| (reference(&args.layer, &found.key), place));
    if job.json {
        show::line(&json!({
            "event": "skip-if-hit", "layer": args.layer, "hit": hit.is_some(),
            "reference": found.as_ref().map(|(reference, _)| reference),
            "scope": hit.as_ref().map(|(found, _)| &found.scope),
            "place": found.as_ref().map(|(_, place)| place),
        }));
    }
    let Some((reference, place)) = found else {
        if let Some(path) = &args.result
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(unwritable(path, &error));
        }
        github_output("hit=false\n")?;
        if !job.json {
            job.show.remark(&format!("layer {} is not kept yet", args.layer));
        }
        let Some((program, rest)) = args.command.split_first() else {
            return Ok(Exit::BuildFailed);
        };
        // Nothing of ours is needed from here on; the command takes our place.
        drop(job);
        let mut command = Command::new(program);
        if globals.json {
            command.stdout(super::to_stderr()?);
        }
        let error = command.args(rest).current_dir(&globals.project).exec();
        let shown = program.display();
        return Err(Failed::new(Exit::Machine, format!("cannot run {shown}: {error}")));
    };
    if let Some(path) = &args.result {
        std::fs::write(path, &reference).map_err(|e| unwritable(path, &e))?;
    }
    github_output(&format!("hit=true\nreference={reference}\n"))?;
    if !job.json {
        job.show.remark(&format!("layer {} is kept ({place}): nothing to do", args.layer));
    }
    Ok(Exit::Done)
}
