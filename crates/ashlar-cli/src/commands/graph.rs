//! `ashlar graph`.

use std::collections::BTreeMap;

use crate::args::{Globals, Targets};
use crate::exit::{Exit, Failed};
use crate::show;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Targets) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let targets = session.targets(&args.targets)?;
    let targets = if targets.is_empty() { session.project.default.clone() } else { targets };
    // What is built is green; where the lock file is not complete, nothing is known of that.
    let mut colours = BTreeMap::new();
    if let Ok((_, plan)) = session.plan(&args.targets) {
        let keys: Vec<_> = plan.modules.values().map(|step| plan.steps[*step].key).collect();
        let found = ashlar_store::Store::steps(&*session.store, &keys)?;
        for (name, found) in plan.modules.keys().zip(found) {
            colours.insert(
                name.to_string(),
                if found.is_some() { "palegreen" } else { "lightyellow" },
            );
        }
    }
    show::print(&ashlar_plan::dot(&session.project, &targets, &colours)?);
    Ok(Exit::Done)
}
