//! How long a command that does nothing takes: `overhead ROOT-FOLDER [RUNS [image]]`, as root, with
//! a Debian root whose owners begin at 524288; with `image` it is one in an image. Prints the median
//! and the extremes in milliseconds.

use std::path::Path;
use std::process::{Command as Process, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use ashlar_execute::{
    Cancel, Executor as _, Jobs, Keep, Kept, Outcome, Request, Root, Sandbox, SandboxOptions, View,
    internal_sandbox,
};
use ashlar_object::Command;
use ashlar_store::{Capture, LocalStore, OpenOptions, Store as _};

const BASE: u32 = 524_288;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "internal-sandbox") {
        return internal_sandbox();
    }
    let Some(folder) = arguments.first() else { return ExitCode::from(2) };
    let runs = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(40);
    let image = arguments.get(2).is_some_and(|third| third == "image");
    match measure(Path::new(folder), runs, image) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path, runs: usize, image: bool) -> Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let copy = place.path().join("copy");
    Process::new("cp").arg("-a").arg(folder).arg(&copy).status()?;
    let options = OpenOptions { owner_base: BASE, read_only: false };
    let store = Arc::new(LocalStore::open(&place.path().join("store"), options)?);
    let (digest, tree) = store.keep_folder(&copy, Capture::Root)?;
    println!("{} entries", tree.len());
    let options = SandboxOptions {
        owner_base: BASE,
        helper: std::env::current_exe()?,
        keep_failed: false,
        on_output: Arc::new(|_, _| {}),
    };
    let sandbox = Sandbox::new(store, options);
    let request = Request {
        label: "overhead".into(),
        root: Root::Layers(vec![Kept { digest, tree }]),
        source: None,
        mounts: Vec::new(),
        command: Command { arguments: vec!["/bin/true".into()], ..Command::default() },
        keep: if image { Keep::Changes } else { Keep::Outputs },
        timeout: None,
        many_ids: false,
        held_jobs: None,
        view: if image { View::Image(Box::default()) } else { View::Module },
    };
    let jobs = Jobs::new(2)?;
    let mut times = Vec::new();
    for run in 0..=runs {
        let begun = Instant::now();
        let finished = sandbox.run(&request, &jobs, &Cancel::new())?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        if !matches!(finished.outcome, Outcome::Succeeded(_)) {
            return Err(format!("{:?}", finished.outcome).into());
        }
        if run == 0 {
            println!("first: {took:.1} ms");
        } else {
            times.push(took);
        }
    }
    times.sort_by(f64::total_cmp);
    if let [first, .., last] = times[..] {
        println!("again: {:.1} ms ({first:.1} to {last:.1})", times[times.len() / 2]);
    }
    Ok(())
}
