//! `ashlar init`.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::args::{Globals, Init};
use crate::exit::{Exit, Failed};
use crate::show;

pub fn run(globals: &Globals, args: Init) -> Result<Exit, Failed> {
    let folder = std::path::absolute(&globals.project)
        .map_err(|e| Failed::usage(format!("{}: {e}", globals.project.display())))?;
    let name = args.name.or_else(|| folder.file_name().map(|n| n.to_string_lossy().into_owned()));
    let suite = args.suite.or_else(this_suite).unwrap_or_else(|| "bookworm".to_owned());
    let templates = ashlar_recipe::init(name.as_deref().unwrap_or("project"), &suite);
    for template in &templates {
        if folder.join(template.path).exists() {
            return Err(Failed::usage(format!("{} is there already", template.path))
                .help("`ashlar init` writes into a folder that has no project yet"));
        }
    }
    for template in &templates {
        write(&folder.join(template.path), &template.text)
            .map_err(|e| Failed::usage(format!("cannot write {}: {e}", template.path)))?;
        if !globals.json {
            eprintln!("wrote {}", template.path);
        }
    }
    if globals.json {
        let files: Vec<&str> = templates.iter().map(|template| template.path).collect();
        show::line(&json!({ "event": "init", "project": folder, "files": files }));
    } else if globals.project == Path::new(".") {
        eprintln!("now: ashlar build");
    } else {
        eprintln!("now: ashlar -C {} build", globals.project.display());
    }
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Never over a file that came to be meanwhile.
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}

/// The suite of this machine, where it is a Debian.
fn this_suite() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"').to_owned()))
    };
    (value("ID=").as_deref() == Some("debian")).then(|| value("VERSION_CODENAME="))?
}
