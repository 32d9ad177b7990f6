//! `ashlar check`: is a module reproducible?

use ashlar_build::{Event, Remotes, reproduce, results_for};
use ashlar_execute::Cancel;
use ashlar_object::{ChangeKind, Node};
use serde_json::json;

use super::needs;
use crate::args::{Globals, Module};
use crate::exit::{Exit, Failed};
use crate::show::{self, Show};
use crate::signals::cancel_on_signals;
use crate::wiring::{Session, enter_namespace};

pub fn run(globals: &Globals, args: &Module) -> Result<Exit, Failed> {
    enter_namespace()?;
    let session = Session::open(globals)?;
    let name = session.module(&args.module)?;
    let (facts, plan) = session.plan(std::slice::from_ref(&args.module))?;
    let Some(index) = plan.modules.get(&name).copied() else {
        return Err(Failed::usage(format!("{name} is a group: it has no outputs")));
    };
    let not_built = |what: &str| {
        Failed::new(Exit::BuildFailed, what).help(format!("`ashlar build {name}` first"))
    };
    let Some(kept) = session.found(&plan.steps[index].key)? else {
        return Err(not_built(&format!(
            "{name} is not built as it is now, so there is nothing to compare with"
        )));
    };
    let show = Show::new(globals, &session.store);
    let cancel = Cancel::new();
    cancel_on_signals(&cancel, std::time::Duration::ZERO);
    let tell = |event: Event| show.event(event);
    let output = show.on_output(globals);
    if let Some(exit) = needs::provide(&session, &facts, &plan, index, &cancel, &show)? {
        return Ok(exit);
    }
    show.remark(&format!("building {name} again"));
    let none = Remotes::default();
    let result = session.with_engine(&facts, &plan, none, &cancel, output, &tell, |engine, _| {
        let Some(results) = results_for(engine, index)? else {
            return Err(not_built(&format!("something that {name} needs is not in the store")));
        };
        Ok(reproduce(engine, index, &kept, &results)?)
    });
    if cancel.is_cancelled() {
        return Ok(Exit::Stopped);
    }
    let result = result?;
    if globals.json {
        let files: Vec<_> = result
            .differences
            .iter()
            .map(|c| json!({ "path": c.path.to_string(), "kind": words(c.kind) }))
            .collect();
        show::line(&json!({
            "event": "check", "module": name.as_str(), "same": result.differences.is_empty(),
            "kept": result.kept.to_string(), "now": result.now.to_string(), "differences": files,
        }));
    } else if result.differences.is_empty() {
        eprintln!("{name} came out the same, byte for byte ({})", result.kept.short());
    } else {
        let mut out = String::new();
        for change in &result.differences {
            let size = |node: &Option<Node>| match node {
                Some(Node::File(file)) => format!("{} bytes", file.digest.size),
                _ => "-".to_owned(),
            };
            out.push_str(&format!(
                "{:8} {} ({} → {})\n",
                words(change.kind),
                change.path,
                size(&change.was),
                size(&change.now)
            ));
        }
        show::print(&out);
        eprintln!(
            "{name} is not reproducible: {}",
            show::count(result.differences.len(), "difference")
        );
    }
    Ok(if result.differences.is_empty() { Exit::Done } else { Exit::BuildFailed })
}

fn words(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Content => "content",
        ChangeKind::Meta => "mode",
        ChangeKind::Target => "target",
        ChangeKind::Kind => "kind",
    }
}
