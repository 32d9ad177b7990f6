//! `ashlar store`: figures, checks, collection.

use ashlar_build::{collect_caches, human_duration};
use ashlar_store::Limits;
use serde_json::json;

use crate::args::{Globals, Store};
use crate::exit::{Exit, Failed};
use crate::images::caches;
use crate::show::{self, bytes};
use crate::wiring::{enter_namespace, open_store};

pub fn run(globals: &Globals, args: &Store) -> Result<Exit, Failed> {
    match args {
        Store::Stat => stat(globals),
        Store::Verify { repair } => {
            enter_namespace()?;
            verify(globals, *repair)
        }
        Store::Gc { max_size, max_age } => {
            if max_size.is_none() && max_age.is_none() {
                return Err(Failed::usage("nothing says what may be removed")
                    .help("ashlar store gc --max-size 10G --max-age 30d"));
            }
            enter_namespace()?;
            collect(globals, Limits { max_size: *max_size, max_age: *max_age })
        }
    }
}

fn stat(globals: &Globals) -> Result<Exit, Failed> {
    let store = open_store(globals)?;
    let stat = store.stat()?;
    let totals = store.journal().totals()?;
    if globals.json {
        show::line(&json!({
            "event": "store", "path": store.path(), "read_only": store.is_read_only(),
            "bytes": stat.bytes, "blobs": stat.blobs, "trees": stat.trees, "results": stat.results,
            "quarantined": stat.quarantined, "hits": totals.hits, "misses": totals.misses,
            "seconds_saved": show::seconds(totals.saved),
        }));
        return Ok(Exit::Done);
    }
    let rate = match totals.hits + totals.misses {
        0 => String::new(),
        all => format!(" ({:.0} %)", 100.0 * totals.hits as f64 / all as f64),
    };
    let mut out = format!("{}\n", store.path().display());
    out.push_str(&format!("  size         {}\n", bytes(stat.bytes)));
    out.push_str(&format!("  results      {}\n", stat.results));
    out.push_str(&format!("  blobs        {}\n", stat.blobs));
    out.push_str(&format!("  staged trees {}\n", stat.trees));
    out.push_str(&format!("  quarantined  {}\n", stat.quarantined));
    out.push_str(&format!("  hits         {}{rate}\n", totals.hits));
    out.push_str(&format!("  misses       {}\n", totals.misses));
    out.push_str(&format!("  time saved   {}\n", human_duration(totals.saved)));
    show::print(&out);
    Ok(Exit::Done)
}

fn verify(globals: &Globals, repair: bool) -> Result<Exit, Failed> {
    let store = open_store(globals)?;
    let bar = indicatif::ProgressBar::new(0);
    if globals.json || !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let report = store.verify(repair, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let bad = report.damaged.len() + report.incomplete.len();
    if globals.json {
        show::line(&json!({
            "event": "verify", "blobs": report.blobs, "bytes": report.bytes, "repaired": repair,
            "damaged": report.damaged.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "incomplete": report.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    } else {
        for digest in &report.damaged {
            show::print(&format!("damaged    blob {}\n", digest.hex()));
        }
        for digest in &report.incomplete {
            show::print(&format!("incomplete result of action {}\n", digest.hex()));
        }
        let what = match (bad, repair) {
            (0, _) => "all is well".to_owned(),
            (n, true) => format!("{n} put aside; the next build makes them again"),
            (n, false) => format!("{n} damaged; `ashlar store verify --repair` puts them aside"),
        };
        eprintln!("checked {}, {}: {what}", n(report.blobs, "blob"), bytes(report.bytes));
    }
    Ok(if bad == 0 || repair { Exit::Done } else { Exit::Store })
}

fn collect(globals: &Globals, limits: Limits) -> Result<Exit, Failed> {
    let store = open_store(globals)?;
    let report = store.collect(limits)?;
    let caches = match limits.max_age {
        None => 0,
        Some(age) => {
            let folder = caches(&store);
            collect_caches(&folder, age).map_err(|error| {
                let message =
                    format!("the caches in {} cannot be removed: {error}", folder.display());
                Failed::new(Exit::Store, message)
            })?
        }
    };
    if globals.json {
        show::line(&json!({
            "event": "gc", "results": report.results, "blobs": report.blobs, "trees": report.trees,
            "freed": report.freed, "left": report.left, "caches": caches,
        }));
    } else {
        eprintln!(
            "removed {}, {} and {}: {} freed, {} left",
            n(report.results, "result"),
            n(report.blobs, "blob"),
            n(report.trees, "staged tree"),
            bytes(report.freed),
            bytes(report.left)
        );
        if caches > 0 {
            eprintln!("removed {} of `RUN --mount=type=cache`", show::count(caches, "folder"));
        }
        if limits.max_size.is_some_and(|max| report.left > max) {
            eprintln!("what is left is in use or needed by what is in use");
        }
    }
    Ok(Exit::Done)
}

pub(super) fn n(number: u64, noun: &str) -> String {
    show::count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}
