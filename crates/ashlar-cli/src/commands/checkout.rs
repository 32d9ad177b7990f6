//! `ashlar checkout`.

use ashlar_store::{Checkout as How, Store as _, read_tree};
use serde_json::json;

use crate::args::{Checkout, Globals};
use crate::exit::{Exit, Failed};
use crate::show;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Checkout) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    let name = session.module(&args.module)?;
    let (_, plan) = session.plan(std::slice::from_ref(&args.module))?;
    let Some(index) = plan.modules.get(&name) else {
        return Err(Failed::usage(format!("{name} is a group: it has no files"))
            .help("check out its members one by one"));
    };
    let key = plan.steps[*index].key;
    let lacks = |what: &str| {
        Failed::new(Exit::BuildFailed, format!("{name} {what}"))
            .help(format!("`ashlar build {name}` makes it"))
    };
    let Some(found) = session.store.steps(&[key])?.pop().flatten() else {
        return Err(lacks("is not built as it is now"));
    };
    let Some(tree) = read_tree(&*session.store, &found.result.outputs)? else {
        return Err(lacks("was damaged in the store"));
    };
    let how = if args.link { How::Link } else { How::Copy };
    session.store.check_out(&tree, &args.dest, how, args.force)?;
    if globals.json {
        show::line(&json!({
            "event": "checkout", "module": name.as_str(), "dest": args.dest,
            "files": tree.len(), "bytes": tree.content_size(), "outputs": found.result.outputs.to_string(),
        }));
    } else {
        eprintln!("{name}: {} entries in {}", tree.len(), args.dest.display());
    }
    Ok(Exit::Done)
}
