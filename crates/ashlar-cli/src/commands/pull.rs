//! `ashlar pull`.

use std::time::Duration;

use ashlar_build::Event;
use ashlar_execute::Cancel;

use super::push::missing;
use crate::args::{Globals, Pull};
use crate::exit::{Exit, Failed};
use crate::remotes;
use crate::show::Show;
use crate::signals::cancel_on_signals;
use crate::wiring::{Session, enter_namespace};

pub fn run(globals: &Globals, args: &Pull) -> Result<Exit, Failed> {
    enter_namespace()?;
    let session = Session::open(globals)?;
    let (facts, plan) = session.plan(&args.targets)?;
    for name in &args.from {
        if !remotes::named(&session, name)?.read {
            return Err(Failed::usage(format!("remote {name} is not read"))
                .help(format!("`read` in ashlar.toml, or --remote {name}=read")));
        }
    }
    let opened = remotes::open(&session, |remote| {
        remote.read && (args.from.is_empty() || args.from.contains(&remote.name))
    })?;
    if opened.is_empty() {
        return Err(Failed::usage("there is no remote that is read")
            .help("write `[[remote]]` into ashlar.toml, or --remote NAME=ADDRESS"));
    }
    let show = Show::new(globals, &session.store);
    let cancel = Cancel::new();
    cancel_on_signals(&cancel, Duration::ZERO);
    let tell = |event: Event| show.event(event);
    let output = show.on_output(globals);
    // Whoever asks for a remote wants to know that it does not answer.
    let run = remotes::of_run(&opened, true);
    let transfer =
        session.with_engine(&facts, &plan, run, &cancel, output, &tell, |engine, _| {
            Ok(ashlar_build::pull(engine, session.store.journal(), args.deps)?)
        })?;
    session.store.sync()?;
    for text in &transfer.lost {
        show.event(Event::Warning(text.clone()));
    }
    show.transfer(&transfer);
    if cancel.is_cancelled() {
        return Ok(Exit::Stopped);
    }
    let missing = missing(&transfer, "is at no remote that answers", globals.json);
    Ok(if missing != Exit::Done && !transfer.lost.is_empty() { Exit::Store } else { missing })
}
