//! `ashlar build`.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use ashlar_build::{Event, Memo, Options, Update, found, look_up};
use ashlar_execute::Cancel;
use ashlar_plan::plan;
use ashlar_recipe::Write;

use crate::args::{Build, Globals};
use crate::exit::{Exit, Failed, exit_of_build};
use crate::remotes;
use crate::show::Show;
use crate::signals::cancel_on_signals;
use crate::wiring::{Ground, Session, enter_namespace};

pub fn run(globals: &Globals, args: &Build) -> Result<Exit, Failed> {
    let began = SystemTime::now();
    let ground = Ground::open(globals)?;
    let show = Show::new(globals, &ground.store);
    let memo = ground.memo_name(&args.targets);
    if !args.rebuild
        && !args.require_push
        && let Some(targets) = ground.memo(&args.targets)
        && let Some(summary) =
            found(&*ground.store, ground.store.journal(), targets, &|event| show.event(event))?
    {
        show.summary(&summary);
        return Ok(Exit::Done);
    }
    let session = Session::load(ground)?;
    let targets = session.targets(&args.targets)?;
    let lock = if args.locked {
        session.complete(&targets)?
    } else {
        session.complete_lock(Some(&targets), &Update::Missing, &|text| show.remark(&text))?
    };
    let facts = session.facts(lock, &targets)?;
    let plan = plan(&session.project, &facts, &targets)?;
    for warning in session.warnings(&plan) {
        show.event(Event::Warning(warning));
    }
    let options = Options {
        jobs: session.jobs(),
        keep_going: args.keep_going,
        rebuild: args.rebuild,
        push_found: args.require_push,
        push_also: Vec::new(),
    };
    if ashlar_execute::rights() == ashlar_execute::Rights::Plain {
        // Entering a namespace takes longer than finding that there is nothing to build.
        let nothing = HashSet::new();
        let there = look_up(&plan, &*session.store, &session.origins()?, &nothing)?;
        if args.rebuild || !there.run.is_empty() {
            enter_namespace()?;
        }
    }
    let cancel = Cancel::new();
    let opened = remotes::open_used(&session)?;
    let sends = opened.iter().any(|remote| remote.write != Write::No);
    if args.require_push && !sends {
        return Err(Failed::usage("`--require-push`, and there is no remote that is written to")
            .help(remotes::to_write(&session.folder, &session.remotes, "NAME")));
    }
    cancel_on_signals(&cancel, if sends { ashlar_build::PATIENCE } else { Duration::ZERO });
    let tell = |event: Event| show.event(event);
    let output = show.on_output(globals);
    let run = remotes::of_run(&opened, args.require_remote);
    let summary =
        session.with_engine(&facts, &plan, run, &cancel, output, &tell, |engine, _| {
            Ok(ashlar_build::build(engine, session.store.journal(), &options)?)
        })?;
    let pulled = summary.remotes.iter().any(|tally| tally.pulled > 0);
    if summary.built + summary.cutoff > 0 || pulled {
        // Results count already; this only spares their verification after the next boot.
        if let Err(error) = session.store.sync() {
            show.event(Event::Warning(Failed::from(error).message));
        }
    }
    // What is in the store may be replaced by what this project does not take.
    if summary.hit == summary.modules
        && session.accepted()?.is_empty()
        && let Some(name) = memo
        && let Some(memo) = Memo::of(&session.project, &session.folder, &facts, &plan, began)
    {
        // Without it the next build looks at everything again: slower, never wrong.
        let _ = session.store.journal().remember(&name, &memo.encode());
    }
    for warning in session.store.take_warnings() {
        show.event(Event::Warning(warning));
    }
    show.summary(&summary);
    Ok(exit_of_build(&summary, args.require_push))
}
