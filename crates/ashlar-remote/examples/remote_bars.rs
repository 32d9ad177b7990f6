//! Measures a remote: first push, next revision, nothing to do, pull into an empty store.
//!
//! `remote_bars FOLDER ROOT URL`: works in FOLDER with copies of the file tree ROOT. Prints a table
//! of seconds, bytes, and the most memory that the process has had so far.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ashlar_object::{ActionResult, Digest, StepKey, Time, Tree};
use ashlar_remote::{Definition, open};
use ashlar_store::{
    Capture, Found, LocalStore, Moved, OpenOptions, Publication, Remote, Store as _, Watch, put,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, root, url] = &arguments[..] else {
        eprintln!("usage: remote_bars FOLDER ROOT URL");
        return ExitCode::from(2);
    };
    match measure(Path::new(folder), Path::new(root), url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remote_bars: {error}");
            ExitCode::FAILURE
        }
    }
}

fn connect(url: &str) -> Result<Box<dyn Remote>, Failure> {
    Ok(open(&Definition::new("it", url, Duration::from_secs(60)))?)
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// Seconds of processor time so far. The kernel counts in hundredths.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn line(what: &str, begun: Instant, content: u64, moved: Moved) {
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{what:28} {took:8.3} s {:8.1} MiB/s of content {:12} bytes {:6} blobs {:5} MiB at most, \
         {:.2} s of processors so far",
        content as f64 / took / f64::from(1 << 20),
        moved.bytes,
        moved.blobs,
        memory(),
        processor()
    );
}

fn measure(folder: &Path, root: &Path, url: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let here = LocalStore::open(&folder.join("here"), OpenOptions::default())?;
    let copied = folder.join("copy");
    let copy = || -> Result<(), Failure> {
        let status = Command::new("cp").arg("-a").arg(root).arg(&copied).status()?;
        if status.success() { Ok(()) } else { Err("cp failed".into()) }
    };
    copy()?;
    let (first, tree) = here.keep_folder(&copied, Capture::Root)?;
    copy()?;
    // A package: 110 new files, 4 MB together.
    std::fs::create_dir_all(copied.join("new"))?;
    for number in 0..110_u64 {
        let mut state = number + 1;
        let bytes: Vec<u8> = (0..36_400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                b"abcdefghijklmnop"[usize::try_from(state % 16).unwrap_or(0)]
            })
            .collect();
        std::fs::write(copied.join(format!("new/{number}")), bytes)?;
    }
    let (second, revised) = here.keep_folder(&copied, Capture::Root)?;
    println!("{} entries, {} MiB; before: {} MiB", tree.len(), tree.content_size() >> 20, memory());

    let log = put(&here, b"a log")?;
    let publication =
        |name: &str, outputs: Digest, tree: &Tree, earlier: Vec<Digest>| Publication {
            keys: vec![StepKey(Digest::of(name.as_bytes()).hash)],
            action: Digest::of(format!("action {name}").as_bytes()),
            result: ActionResult {
                outputs,
                root: tree.root_digest(),
                log,
                started: Time { seconds: 0, nanos: 0 },
                took: Duration::from_secs(1),
            },
            lineage: "root".to_owned(),
            earlier,
            provenance: None,
        };
    let one = publication("one", first, &tree, Vec::new());
    let two = publication("two", second, &revised, vec![first]);
    for (what, publication, tree) in [
        ("first push", &one, &tree),
        ("push of the same", &one, &tree),
        ("push of the next revision", &two, &revised),
        ("push of the same", &two, &revised),
    ] {
        let remote = connect(url)?;
        let begun = Instant::now();
        let pushed = remote.push(&here, std::slice::from_ref(publication), &Watch::NOBODY);
        let moved = pushed.into_iter().next().ok_or("no answer")??;
        line(what, begun, tree.content_size(), moved);
    }

    let there = LocalStore::open(&folder.join("there"), OpenOptions::default())?;
    let remote = connect(url)?;
    let begun = Instant::now();
    let keys = [two.keys[0]];
    let found: Found = remote.steps(&keys)?.pop().flatten().ok_or("it is not found")?;
    line("look-up", begun, 0, Moved::default());
    let warn = |text: String| eprintln!("{text}");
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let pull = |what: &str| -> Result<Instant, Failure> {
        let begun = Instant::now();
        let pulled = remote.pull(&there, std::slice::from_ref(&found), &watch)?;
        let moved = pulled.into_iter().next().flatten().ok_or("it cannot be brought")?;
        line(what, begun, revised.content_size(), moved);
        Ok(begun)
    };
    let begun = pull("pull into an empty store")?;
    there.put_result(&found.action, &found.result)?;
    let staged = there.stage(&found.result.outputs, &revised)?;
    line("the same and stage", begun, revised.content_size(), Moved::default());
    drop(staged);
    pull("pull with nothing missing")?;
    Ok(())
}
