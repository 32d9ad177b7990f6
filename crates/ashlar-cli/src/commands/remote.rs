//! `ashlar remote`: what remotes there are, whether they answer, what they hold.

use std::fmt::Write as _;
use std::time::Duration;

use ashlar_execute::Cancel;
use ashlar_recipe::Write;
use ashlar_store::{Abilities, Limits, RemoteError, Watch};
use serde_json::json;

use super::store::n;
use crate::args::{Globals, Remote};
use crate::exit::{Exit, Failed};
use crate::remotes::{self, Opened};
use crate::show::transfer::Transfers;
use crate::show::{self, Paint, bytes};
use crate::signals::cancel_on_signals;
use crate::wiring::Session;

pub fn run(globals: &Globals, args: &Remote) -> Result<Exit, Failed> {
    let session = Session::open(globals)?;
    match args {
        Remote::List => {
            list(globals, &session);
            Ok(Exit::Done)
        }
        Remote::Test { names } => test(globals, &session, names),
        Remote::Stat { name } => stat(globals, &opened(&session, name)?),
        Remote::Gc { name, max_size, max_age } => {
            if max_size.is_none() && max_age.is_none() {
                return Err(Failed::usage("nothing says what may be removed")
                    .help(format!("ashlar remote gc {name} --max-size 200G --max-age 90d")));
            }
            let limits = Limits { max_size: *max_size, max_age: *max_age };
            collect(globals, &opened(&session, name)?, limits)
        }
    }
}

fn opened(session: &Session, name: &str) -> Result<Opened, Failed> {
    let wanted = remotes::named(session, name)?;
    let mut opened = remotes::open(session, |remote| remote.name == wanted.name)?;
    opened.pop().ok_or_else(|| Failed::usage(format!("there is no remote `{name}`")))
}

fn list(globals: &Globals, session: &Session) {
    let paint = Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let wide = session.remotes.iter().map(|remote| remote.name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for remote in &session.remotes {
        if globals.json {
            show::line(&json!({
                "event": "remote-list", "remote": remote.name, "url": remote.url, "read": remote.read,
                "write": match remote.write {
                    Write::No => json!(false),
                    Write::Yes => json!(true),
                    Write::Clean => json!("clean"),
                },
                "write_branches": remote.write_branches,
                "signed": !remote.require_signature.is_empty(),
            }));
            continue;
        }
        let padding = " ".repeat(wide - remote.name.len());
        let rights = match (remote.read, remote.write) {
            (false, Write::No) => "off",
            (true, Write::No) => "read",
            (true, Write::Yes) => "read, write",
            (true, Write::Clean) => "read, write clean",
            (false, Write::Yes) => "write",
            (false, Write::Clean) => "write clean",
        };
        let branches = match remote.write_branches.as_slice() {
            [] => String::new(),
            some => format!(", written to on {} only", some.join(", ")),
        };
        let signed = if remote.require_signature.is_empty() { "" } else { ", signed only" };
        let name = paint.bold(&remote.name);
        // Writing to a String cannot fail.
        let _infallible =
            writeln!(out, "{name}{padding}  {rights}{branches}{signed}  {}", remote.url);
    }
    if out.is_empty() && !globals.json {
        eprintln!("the project has no remotes: `[[remote]]` in ashlar.toml declares one");
    }
    show::print(&out);
}

fn test(globals: &Globals, session: &Session, names: &[String]) -> Result<Exit, Failed> {
    for name in names {
        remotes::named(session, name)?;
    }
    let all = remotes::open(session, |r| names.is_empty() || names.contains(&r.name))?;
    let mut exit = Exit::Done;
    for one in &all {
        let began = std::time::Instant::now();
        let answer = one.remote.test();
        let took = began.elapsed();
        if !good(one, &answer) {
            exit = Exit::Store;
        }
        let (name, place) = (one.remote.name(), one.remote.place());
        if globals.json {
            show::line(&tested(name, place, &answer, took));
        } else {
            let paint =
                Paint::new(globals.color, std::io::IsTerminal::is_terminal(&std::io::stdout()));
            show::print(&report(one, &answer, took, paint));
        }
    }
    Ok(exit)
}

/// Whether a remote allows what the project wants of it.
fn good(one: &Opened, answer: &Result<Abilities, RemoteError>) -> bool {
    answer.as_ref().is_ok_and(|able| {
        (able.read || !one.read) && (able.write.is_ok() || one.write == Write::No)
    })
}

fn tested(
    name: &str,
    place: &str,
    answer: &Result<Abilities, RemoteError>,
    took: Duration,
) -> serde_json::Value {
    let able = answer.as_ref().ok();
    let facts: serde_json::Map<String, serde_json::Value> = able
        .iter()
        .flat_map(|able| &able.facts)
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let write_refused = able.and_then(|able| able.write.as_ref().err());
    json!({
        "event": "remote-test", "remote": name, "place": place, "seconds": show::seconds(took),
        "read": able.is_some_and(|able| able.read),
        "write": able.is_some_and(|able| able.write.is_ok()),
        "write_refused": write_refused, "facts": facts,
        "message": answer.as_ref().err().map(|error| ashlar_build::chain(error)),
    })
}

fn report(
    one: &Opened,
    answer: &Result<Abilities, RemoteError>,
    took: Duration,
    paint: Paint,
) -> String {
    let head = format!("{} {}", paint.bold(one.remote.name()), one.remote.place());
    let able = match answer {
        Ok(able) => able,
        Err(error) => return format!("{head}\n  {}\n", paint.red(&ashlar_build::chain(error))),
    };
    let mut out = format!("{head}\n  answers in {} ms\n", took.as_millis());
    let wanted = |text: String, wanted: bool| if wanted { paint.red(&text) } else { text };
    out.push_str(&match able.read {
        true => "  can be read\n".to_owned(),
        false => wanted("  cannot be read\n".to_owned(), one.read),
    });
    out.push_str(&match &able.write {
        Ok(()) => "  can be written to\n".to_owned(),
        Err(why) => {
            let text = format!("  cannot be written to: {why}\n");
            wanted(text, one.write != Write::No)
        }
    });
    for (name, value) in &able.facts {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "  {name}: {value}");
    }
    out
}

fn stat(globals: &Globals, one: &Opened) -> Result<Exit, Failed> {
    let stat = one.remote.stat()?;
    let (name, place) = (one.remote.name(), one.remote.place());
    if globals.json {
        show::line(&json!({
            "event": "remote-stat", "remote": name, "place": place,
            "results": stat.results, "blobs": stat.blobs, "bytes": stat.bytes,
        }));
        return Ok(Exit::Done);
    }
    let unknown = || "unknown".to_owned();
    show::print(&format!(
        "{name} {place}\n  results  {}\n  blobs    {}\n  size     {}\n",
        stat.results,
        stat.blobs.map_or_else(unknown, |blobs| blobs.to_string()),
        stat.bytes.map_or_else(unknown, bytes),
    ));
    Ok(Exit::Done)
}

fn collect(globals: &Globals, one: &Opened, limits: Limits) -> Result<Exit, Failed> {
    let cancel = Cancel::new();
    cancel_on_signals(&cancel, Duration::ZERO);
    let transfers = Transfers::new(!globals.json);
    let go_on = || !cancel.is_cancelled();
    let warn = |text: String| transfers.say(&format!("warning: {text}"));
    let watch = Watch { go_on: &go_on, moved: &|_| {}, warn: &warn };
    let collected = one.remote.collect(limits, &watch)?;
    let name = one.remote.name();
    if globals.json {
        show::line(&json!({
            "event": "remote-gc", "remote": name, "results": collected.results,
            "blobs": collected.blobs, "freed": collected.bytes, "left": collected.left,
            "later": collected.later,
        }));
        return Ok(Exit::Done);
    }
    let left = collected.left.map(|left| format!(", {} left", bytes(left))).unwrap_or_default();
    let (results, blobs) = (n(collected.results, "result"), n(collected.blobs, "blob"));
    let size = bytes(collected.bytes);
    if collected.later {
        eprintln!("removed {results} from {name}: {blobs}, {size}, not needed any more{left}");
        if collected.bytes > 0 {
            eprintln!(
                "the registry frees the bytes at its own collection: `docker-registry \
                 garbage-collect CONFIG` where it runs, while nobody pushes"
            );
        }
    } else {
        eprintln!("removed {results} and {blobs} from {name}: {size} freed{left}");
    }
    if limits.max_size.zip(collected.left).is_some_and(|(max, left)| left > max) {
        eprintln!("what is left is too young to be removed, or needed by what is");
    }
    Ok(Exit::Done)
}
