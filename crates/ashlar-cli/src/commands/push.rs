//! `ashlar push`.

use ashlar_build::{Event, PATIENCE, Transfer};
use ashlar_execute::Cancel;
use ashlar_recipe::Write;
use serde_json::json;

use crate::args::{Globals, Push};
use crate::exit::{Exit, Failed};
use crate::remotes::{self, Opened};
use crate::show::{self, Show};
use crate::signals::cancel_on_signals;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Push) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let (facts, plan) = session.plan(&args.targets)?;
    for name in &args.to {
        let remote = remotes::named(&session, name)?;
        if remote.write == Write::No {
            return Err(Failed::usage(format!("remote {name} is not written to"))
                .help(remotes::to_write(&session.folder, std::slice::from_ref(remote), name)));
        }
    }
    let mut opened = remotes::open(&session, |remote| {
        remote.write != Write::No && (args.to.is_empty() || args.to.contains(&remote.name))
    })?;
    if opened.is_empty() {
        return Err(Failed::usage("there is no remote that is written to")
            .help(remotes::to_write(&session.folder, &session.remotes, "NAME")));
    }
    // What is there already shows when it is pushed: nothing is read.
    opened.iter_mut().for_each(|one: &mut Opened| one.read = false);
    let show = Show::new(globals, &session.store);
    let cancel = Cancel::new();
    cancel_on_signals(&cancel, PATIENCE);
    let tell = |event: Event| show.event(event);
    let output = show.on_output(globals);
    let run = remotes::of_run(&opened, false);
    let transfer =
        session.with_engine(&facts, &plan, run, &cancel, output, &tell, |engine, _| {
            Ok(ashlar_build::push(engine, session.store.journal())?)
        })?;
    show.transfer(&transfer);
    let unsent = transfer.remotes.iter().any(|tally| tally.failed + tally.unsent > 0);
    Ok(match (cancel.is_cancelled(), unsent) {
        (true, _) => Exit::Stopped,
        (false, true) => Exit::Store,
        (false, false) => missing(&transfer, "is not built as it is now", globals.json),
    })
}

/// Names what is missing; then the command has not done what it was asked for.
pub(super) fn missing(transfer: &Transfer, why: &str, json: bool) -> Exit {
    let alone = "is never shared: it sees this machine's own files, or is made from what does";
    let missing = transfer.missing.iter().map(|id| (id, why));
    let all = missing.chain(transfer.unshared.iter().map(|id| (id, alone)));
    for (id, why) in all {
        if json {
            show::line(&json!({
                "event": "missing", "module": id.module, "step": id.step, "message": why,
            }));
        } else {
            eprintln!("{id} {why}");
        }
    }
    if transfer.missing.is_empty() && transfer.unshared.is_empty() {
        Exit::Done
    } else {
        Exit::BuildFailed
    }
}
