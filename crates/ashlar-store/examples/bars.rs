//! Measures the store against the programs that do the same work without one.
//!
//! `bars FOLDER ROOT`: works in FOLDER, with copies of the file tree ROOT. Run it as root when
//! the owners in ROOT matter. Prints a table of seconds, the best of three for what repeats.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ashlar_object::{ActionResult, Digest, StepKey, Time};
use ashlar_store::{Capture, Checkout, LocalStore, OpenOptions, Store, put};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder, root] = &arguments[..] else {
        eprintln!("usage: bars FOLDER ROOT");
        return ExitCode::from(2);
    };
    match trees(Path::new(folder), Path::new(root)).and_then(|()| steps(Path::new(folder))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bars: {e}");
            ExitCode::FAILURE
        }
    }
}

fn timed<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Duration), Failure> {
    let begun = Instant::now();
    let done = run()?;
    Ok((done, begun.elapsed()))
}

fn line(what: &str, took: Duration, other: Option<(&str, Duration)>) {
    let took = took.as_secs_f64();
    match other {
        None => println!("{what:44} {took:9.4}"),
        Some((name, other)) => {
            let other = other.as_secs_f64();
            println!("{what:44} {took:9.4}   {name} {other:.4}   ratio {:.2}", took / other);
        }
    }
}

fn shell(script: &str) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let status = Command::new("sh").args(["-euc", script]).status()?;
    if !status.success() {
        return Err(format!("`{script}` failed").into());
    }
    Ok(begun.elapsed())
}

fn settle() -> Result<(), Failure> {
    // What one measurement has left to be written is not the next one's to pay.
    shell("sync").map(drop)
}

fn trees(folder: &Path, root: &Path) -> Result<(), Failure> {
    let work = folder.join("work");
    let path = |name: &str| work.join(name);
    let show = |name: &str| path(name).display().to_string();
    shell(&format!("rm -rf {0}; mkdir -p {0}", work.display()))?;
    let options = OpenOptions { owner_base: 524_288, read_only: false };
    let open = |name: &str| LocalStore::open(&path(name), options);

    let copy = shell(&format!("cp -a {} {}", root.display(), show("plain")))?;
    shell(&format!("cp -a {} {}", root.display(), show("step")))?;
    settle()?;
    let hash = shell(&format!(
        "find {} -type f -print0 | xargs -0 -P2 -n 200 sha256sum > /dev/null",
        show("plain")
    ))?;
    let link = shell(&format!("cp -al {} {}", show("plain"), show("linked")))?;

    let store = open("store")?;
    let ((digest, tree), keep) = timed(|| Ok(store.keep_folder(&path("step"), Capture::Root)?))?;
    line("keep_folder", keep, Some(("find | xargs -P2 sha256sum", hash)));
    let (_, first) = timed(|| Ok(store.stage(&digest, &tree)?))?;
    line("stage at once after keeping", first, None);
    drop(store);
    settle()?;
    for _ in 0..3 {
        let (store, took) = timed(|| Ok(open("store")?))?;
        line("open", took, None);
        let (_, took) = timed(|| Ok(store.stage(&digest, &tree)?))?;
        line("stage again, in a new process", took, None);
        let (_, took) = timed(|| Ok(store.stage(&digest, &tree)?))?;
        line("stage again, in the same process", took, None);
    }
    let store = open("store")?;
    let (_, took) = timed(|| Ok(store.sync()?))?;
    line("sync", took, None);

    let ((), took) =
        timed(|| Ok(store.check_out(&tree, &path("out-link"), Checkout::Link, false)?))?;
    line("check_out link", took, Some(("cp -al", link)));
    settle()?;
    let ((), took) =
        timed(|| Ok(store.check_out(&tree, &path("out-copy"), Checkout::Copy, false)?))?;
    line("check_out copy", took, Some(("cp -a", copy)));
    settle()?;

    let other = open("store2")?;
    let ((digest2, tree2), took) =
        timed(|| Ok(other.import_folder(&path("plain"), Capture::Root)?))?;
    line("import_folder", took, Some(("cp -a", copy)));
    settle()?;
    let (_, took) = timed(|| Ok(other.stage(&digest2, &tree2)?))?;
    line("stage the first time", took, Some(("cp -al", link)));
    if digest2 != digest {
        println!("the imported tree differs from the kept one");
    }
    shell(&format!(
        "head -c 4000000 /dev/urandom > {0}/new; for i in 1 2 3 4 5; do echo $i > {0}/etc/n$i; done",
        show("plain")
    ))?;
    let (_, took) = timed(|| Ok(other.import_folder(&path("plain"), Capture::Root)?))?;
    line("import_folder again, 4 MB changed", took, None);
    let (_, took) = timed(|| Ok(other.import_folder(&path("plain"), Capture::Root)?))?;
    line("import_folder again, nothing changed", took, None);
    let (report, took) = timed(|| Ok(other.verify(false, &|_, _| {})?))?;
    line("verify", took, None);
    println!("  {report:?}");
    let (report, took) = timed(|| Ok(open("store2")?.collect(ashlar_store::Limits::default())?))?;
    line("collect beside a live process", took, None);
    println!("  {report:?}");
    drop(other);
    let (report, took) = timed(|| Ok(open("store2")?.collect(ashlar_store::Limits::default())?))?;
    line("collect everything", took, None);
    println!("  {report:?}");
    Ok(())
}

fn steps(folder: &Path) -> Result<(), Failure> {
    let path = folder.join("work").join("store3");
    let options = OpenOptions { owner_base: 524_288, read_only: false };
    let store = LocalStore::open(&path, options)?;
    let mut keys = Vec::new();
    for number in 0..30_000_u32 {
        let workspace = store.workspace("bars")?;
        let out = workspace.path().join("out");
        std::fs::create_dir(&out)?;
        std::fs::write(out.join("file"), number.to_le_bytes())?;
        let (outputs, tree) = store.keep_folder(&out, Capture::Outputs)?;
        let action = Digest::of(&number.to_le_bytes());
        let log = put(&store, format!("log {number}").as_bytes())?;
        let result = ActionResult {
            outputs,
            root: tree.root_digest(),
            log,
            started: Time { seconds: 0, nanos: 0 },
            took: Duration::from_secs(1),
        };
        store.put_result(&action, &result)?;
        let key = StepKey(Digest::of(format!("key {number}").as_bytes()).hash);
        store.put_step(&key, &action)?;
        keys.push(key);
    }
    drop(store);
    for count in [1_000, 30_000] {
        for _ in 0..3 {
            let (store, opened) = timed(|| Ok(LocalStore::open(&path, options)?))?;
            let (found, took) = timed(|| Ok(store.steps(&keys[..count])?))?;
            assert!(found.iter().all(Option::is_some));
            line("open", opened, None);
            line(&format!("steps, {count} keys"), took, None);
        }
    }
    Ok(())
}
