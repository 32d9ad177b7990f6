//! `ashlar show`: everything that is known of a module.

use ashlar_build::human_duration;
use ashlar_object::Node;
use ashlar_store::{Store as _, read_tree};
use serde_json::json;

use crate::args::{Globals, Show};
use crate::exit::{Exit, Failed};
use crate::show::{self, Paint};
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Show) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let name = session.module(&args.module)?;
    let (_, plan) = session.plan(std::slice::from_ref(&args.module))?;
    let module = &session.project.modules[&name];
    let depends: Vec<&str> = module.depends.iter().map(|d| d.as_str()).collect();
    let Some(index) = plan.modules.get(&name) else {
        if globals.json {
            show::line(&json!({ "module": name.as_str(), "kind": "group", "depends": depends }));
        } else {
            show::print(&format!("{name}: a group\ndepends: {}\n", depends.join(" ")));
        }
        return Ok(Exit::Done);
    };
    let step = &plan.steps[*index];
    let journal = session.store.journal();
    let found = session.store.steps(&[step.key])?.pop().flatten();
    let history = journal.history(&session.project.name, name.as_str(), "build", 10)?;
    let outputs = match &found {
        Some(found) => read_tree(&*session.store, &found.result.outputs)?,
        None => None,
    };
    if globals.json {
        let inputs: Vec<_> = step
            .inputs
            .inputs()
            .iter()
            .map(|input| json!({ "input": input.name.to_string(), "value": serde_json::to_value(&input.value).unwrap_or_default() }))
            .collect();
        let mut files = Vec::new();
        if let Some(tree) = &outputs {
            tree.walk(|entry| {
                if let Node::File(file) = entry.node {
                    files.push(json!({
                        "path": entry.path.to_string(), "digest": file.digest.to_string(),
                        "mode": format!("{:04o}", file.meta.mode),
                    }));
                }
            });
        }
        show::line(&json!({
            "module": name.as_str(),
            "kind": module.build.kind.as_str(),
            "description": module.description,
            "file": module.file,
            "depends": depends,
            "step_key": step.key.to_string(),
            "action": found.as_ref().map(|f| f.action.to_string()),
            "state": if found.is_some() { "hit" } else { "build" },
            "outputs": found.as_ref().map(|f| f.result.outputs.to_string()),
            "seconds": found.as_ref().map(|f| f.result.took.as_secs_f64()),
            "log": found.as_ref().map(|f| f.result.log.to_string()),
            "inputs": inputs,
            "files": args.files.then_some(files),
            "durations": history.iter().map(|r| r.took.as_secs_f64()).collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let mut out = format!("{}: {}\n", paint.bold(name.as_str()), module.description);
    let mut row = |label: &str, text: String| {
        if !text.is_empty() {
            out.push_str(&format!("{} {text}\n", paint.dim(&format!("{label:>12}"))));
        }
    };
    row("file", module.file.display().to_string());
    row("kind", module.build.kind.as_str().to_owned());
    row("base", module.base.clone().unwrap_or_default());
    row("depends", depends.join(" "));
    row("step key", step.key.to_string());
    match &found {
        None => row("state", "not built as it is now".to_owned()),
        Some(found) => {
            row("state", "built".to_owned());
            row("action", found.action.to_string());
            row("outputs", found.result.outputs.to_string());
            row(
                "built",
                format!(
                    "{} in {}",
                    show::when(found.result.started),
                    human_duration(found.result.took)
                ),
            );
        }
    }
    if let Some(tree) = &outputs {
        row("holds", format!("{} entries, {} bytes", tree.len(), tree.content_size()));
    }
    for (number, input) in step.inputs.inputs().iter().enumerate() {
        let value = input.value.to_string();
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        let more = if lines.next().is_some() { " …" } else { "" };
        row(if number == 0 { "inputs" } else { "" }, format!("{}: {first}{more}", input.name));
    }
    for (number, record) in history.iter().enumerate() {
        row(
            if number == 0 { "history" } else { "" },
            format!(
                "{} {:?} in {}",
                show::when(record.started),
                record.outcome,
                human_duration(record.took)
            )
            .to_lowercase(),
        );
    }
    if let (true, Some(tree)) = (args.files, &outputs) {
        tree.walk(|entry| {
            let line = match entry.node {
                Node::Dir(_) => return,
                Node::File(file) => {
                    format!("{:04o} {:>10} {}\n", file.meta.mode, file.digest.size, entry.path)
                }
                Node::Symlink(link) => {
                    format!(
                        "link {:>10} {} -> {}\n",
                        "",
                        entry.path,
                        String::from_utf8_lossy(&link.target)
                    )
                }
                Node::Whiteout => format!("gone {:>10} {}\n", "", entry.path),
            };
            out.push_str(&line);
        });
    }
    show::print(&out);
    Ok(Exit::Done)
}
