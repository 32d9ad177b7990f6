//! What a module needs, for commands that look into its sandbox: a result that was brought from a
//! remote, or found, came without.

use std::collections::HashSet;

use ashlar_build::{Event, Options, look_up};
use ashlar_execute::Cancel;
use ashlar_plan::{Facts, Plan, StepIndex};

use crate::exit::{Exit, Failed, exit_of_build};
use crate::remotes;
use crate::show::Show;
use crate::wiring::Session;

/// Finds, brings or builds everything that a step needs, but not the step itself. Gives how the
/// program ends when that fails, which has been said then.
pub fn provide(
    session: &Session,
    facts: &Facts,
    plan: &Plan,
    step: StepIndex,
    cancel: &Cancel,
    show: &Show,
) -> Result<Option<Exit>, Failed> {
    let needs = Plan {
        targets: plan.steps[step].needs().chain(plan.mounts(step)).collect(),
        ..plan.clone()
    };
    if look_up(&needs, &*session.store, &session.origins()?, &HashSet::new())?.run.is_empty() {
        return Ok(None);
    }
    show.remark(&format!("building what {} needs", plan.steps[step].id.module));
    let options = Options {
        jobs: session.jobs(),
        keep_going: false,
        rebuild: false,
        push_found: false,
        push_also: Vec::new(),
    };
    let opened = remotes::open_used(session)?;
    let output = show.on_output(&session.globals);
    let tell = |event: Event| show.event(event);
    let run = remotes::of_run(&opened, false);
    let summary = session.with_engine(facts, &needs, run, cancel, output, &tell, |engine, _| {
        Ok(ashlar_build::build(engine, session.store.journal(), &options)?)
    })?;
    if summary.failures.is_empty() && !summary.cancelled {
        show.leave();
        return Ok(None);
    }
    show.summary(&summary);
    Ok(Some(exit_of_build(&summary, false)))
}
