//! `ashlar lock`.

use std::collections::BTreeSet;

use ashlar_build::Update;
use serde_json::json;

use crate::args::{Globals, Lock};
use crate::exit::{Exit, Failed};
use crate::show;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Lock) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let update = match &args.update {
        None => Update::Missing,
        Some(names) if names.is_empty() => Update::All,
        Some(names) => {
            let names: BTreeSet<_> = session.targets(names)?.into_iter().collect();
            for name in &names {
                ashlar_plan::find(&session.project, name.as_str())?;
            }
            Update::Modules(names)
        }
    };
    let before = session.lock()?;
    let after = session.complete_lock(None, &update, &|text| eprintln!("{text}"))?;
    let mut changes = Vec::new();
    for (name, source) in &after.source {
        let was = before.source.get(name).map(|s| s.version.as_str());
        if was != Some(&source.version) {
            changes.push((name.clone(), was.map(ToOwned::to_owned), source.version.clone()));
        }
    }
    let packages = after.package.keys().filter(|id| !before.package.contains_key(*id)).count();
    if globals.json {
        for (name, was, now) in &changes {
            show::line(&json!({ "event": "lock", "source": name, "was": was, "now": now }));
        }
        show::line(&json!({
            "event": "locked", "bases": after.base.len(), "sources": after.source.len(),
            "packages": after.package.len(), "new_packages": packages,
        }));
        return Ok(Exit::Done);
    }
    for (name, was, now) in &changes {
        match was {
            Some(was) => eprintln!("{name} {was} → {now}"),
            None => eprintln!("{name} {now}"),
        }
    }
    if before == after {
        eprintln!("{} is complete: nothing changed", ashlar_build::LOCK_FILE);
    } else {
        eprintln!(
            "wrote {}: {}, {}, {} ({packages} of them new)",
            ashlar_build::LOCK_FILE,
            show::count(after.base.len(), "base"),
            show::count(after.source.len(), "source"),
            show::count(after.package.len(), "package")
        );
    }
    Ok(Exit::Done)
}
