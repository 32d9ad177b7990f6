//! `ashlar checkout`.

use std::path::{Path, PathBuf};

use ashlar_store::{Checkout as How, read_tree};
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
    if plan.steps[*index].image().is_some() {
        return Err(Failed::usage(format!("{name} is an image: its files lie in layers")).help(
            format!("`ashlar image build --module {name} --output rootfs:DIR` writes them"),
        ));
    }
    let key = plan.steps[*index].key;
    let lacks = |what: &str| {
        Failed::new(Exit::BuildFailed, format!("{name} {what}"))
            .help(format!("`ashlar build {name}` makes it"))
    };
    let Some(found) = session.found(&key)? else {
        return Err(lacks("is not built as it is now"));
    };
    let Some(tree) = read_tree(&*session.store, &found.result.outputs)? else {
        return Err(lacks("was damaged in the store"));
    };
    if args.force {
        refuse_precious(&session, &args.dest)?;
    }
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

/// `--force` replaces a folder with all that is in it: never one that holds the project, the
/// store, the home of whoever runs this, or the folder they are in.
fn refuse_precious(session: &Session, dest: &Path) -> Result<(), Failed> {
    let Ok(dest) = dest.canonicalize() else { return Ok(()) };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let precious = [
        ("the project", Some(session.folder.clone())),
        ("the store", Some(session.store.path().to_owned())),
        ("the home folder", home),
        ("the current folder", here),
    ];
    for (what, path) in precious {
        let path = path.and_then(|path| path.canonicalize().ok());
        if path.is_some_and(|path| path.starts_with(&dest)) {
            let message = format!("{} is or holds {what}, which is not replaced", dest.display());
            return Err(Failed::usage(message).help("name a folder of its own"));
        }
    }
    Ok(())
}
