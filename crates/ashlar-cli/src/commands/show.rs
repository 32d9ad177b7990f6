//! `ashlar show`: everything that is known of a module.

use ashlar_build::human_duration;
use ashlar_object::Node;
use ashlar_plan::Step;
use ashlar_store::{Found, RemoteError, read_tree};
use serde_json::json;

use crate::args::{Globals, Show};
use crate::exit::{Exit, Failed};
use crate::remotes;
use crate::show::{self, Paint};
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Show) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let name = session.module(&args.module)?;
    let (_, plan) = session.plan(std::slice::from_ref(&args.module))?;
    let module = &session.project.modules[&name];
    let depends: Vec<&str> = module.depends.iter().map(ashlar_recipe::ModuleName::as_str).collect();
    let Some(index) = plan.modules.get(&name) else {
        if globals.json {
            show::line(&json!({
                "module": name.as_str(), "kind": "group", "description": module.description,
                "file": module.file, "depends": depends,
            }));
        } else {
            let mut rows = Rows::new(globals, name.as_str(), &module.description);
            rows.row("file", &module.file.display().to_string());
            rows.row("kind", "group");
            rows.row("depends", &depends.join(" "));
            show::print(&rows.out);
        }
        return Ok(Exit::Done);
    };
    let step = &plan.steps[*index];
    let journal = session.store.journal();
    let found = session.found(&step.key)?;
    if args.provenance {
        return provenance(globals, &session, step, found.as_ref());
    }
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
            "seconds": found.as_ref().map(|f| show::seconds(f.result.took)),
            "log": found.as_ref().map(|f| f.result.log.to_string()),
            "inputs": inputs,
            "files": args.files.then_some(files),
            "durations": history.iter().map(|r| show::seconds(r.took)).collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(globals, name.as_str(), &module.description);
    rows.row("file", &module.file.display().to_string());
    rows.row("kind", module.build.kind.as_str());
    rows.row("base", module.base.as_deref().unwrap_or_default());
    rows.row("depends", &depends.join(" "));
    rows.row("step key", &step.key.to_string());
    match &found {
        None => rows.row("state", "not built as it is now"),
        Some(found) => {
            rows.row("state", "built");
            rows.row("action", &found.action.to_string());
            rows.row("outputs", &found.result.outputs.to_string());
            let took = human_duration(found.result.took);
            rows.row("built", &format!("{} in {took}", show::when(found.result.started)));
        }
    }
    if let Some(tree) = &outputs {
        let entries = if tree.len() == 1 { "entry" } else { "entries" };
        rows.row("holds", &format!("{} {entries}, {} bytes", tree.len(), tree.content_size()));
    }
    for (number, input) in step.inputs.inputs().iter().enumerate() {
        let value = input.value.to_string();
        let mut lines = value.lines();
        let first = lines.next().unwrap_or("nothing");
        let more = if lines.next().is_some() { " …" } else { "" };
        let label = if number == 0 { "inputs" } else { "" };
        rows.row(label, &format!("{}: {first}{more}", input.name));
    }
    for (number, record) in history.iter().enumerate() {
        let label = if number == 0 { "history" } else { "" };
        let took = human_duration(record.took);
        let outcome = super::log::word(record.outcome);
        rows.row(label, &format!("{} {outcome} in {took}", show::when(record.started)));
    }
    let mut out = rows.out;
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
                Node::Fifo(_) => format!("FIFO {:>10} {}\n", "", entry.path),
                Node::Whiteout => format!("gone {:>10} {}\n", "", entry.path),
            };
            out.push_str(&line);
        });
    }
    show::print(&out);
    Ok(Exit::Done)
}

/// The statement that a remote has beside the result.
fn provenance(
    globals: &Globals,
    session: &Session,
    step: &Step,
    found: Option<&Found>,
) -> Result<Exit, Failed> {
    let name = &step.id.module;
    let opened = remotes::open(session, |remote| remote.read)?;
    if opened.is_empty() {
        return Err(Failed::usage("there is no remote that is read")
            .help("provenance is kept at remotes: `[[remote]]` in ashlar.toml"));
    }
    let mut errors: Vec<RemoteError> = Vec::new();
    for one in &opened {
        let found = match found {
            Some(found) => Ok(Some(found.clone())),
            None => one.remote.steps(&[step.key]).map(|mut found| found.pop().flatten()),
        };
        let statement = match found {
            Ok(Some(found)) => one.remote.provenance(&found),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        // Why what stands there is not shown.
        for warning in one.remote.take_warnings() {
            eprintln!("warning: {warning}");
        }
        let bytes = match statement {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let remote = one.remote.name();
        let statement: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
            Failed::new(Exit::Store, format!("what {remote} says of {name} is no JSON: {error}"))
        })?;
        if globals.json {
            show::line(&json!({
                "event": "provenance", "module": name, "remote": remote, "statement": statement,
            }));
        } else {
            show::print(&format!("{statement:#}\n"));
        }
        return Ok(Exit::Done);
    }
    match errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => {
            Err(Failed::new(Exit::BuildFailed, format!("no remote says how {name} came to be"))
                .help(format!("`ashlar push {name}` leaves it there with the result")))
        }
    }
}

/// A name and what is known of it, one fact a line.
struct Rows {
    paint: Paint,
    out: String,
}

impl Rows {
    fn new(globals: &Globals, name: &str, description: &str) -> Self {
        let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
        let colon = if description.is_empty() { "" } else { ": " };
        Self { paint, out: format!("{}{colon}{description}\n", paint.bold(name)) }
    }

    fn row(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            self.out.push_str(&format!("{} {text}\n", self.paint.dim(&format!("{label:>12}"))));
        }
    }
}
