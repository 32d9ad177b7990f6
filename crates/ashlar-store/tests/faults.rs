//! What goes wrong on machines: full disks, read-only ones, killed and competing processes.
//!
//! Processes are this test program again, with what they do named in the environment.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ashlar_object::{ActionResult, Digest, StepKey, Time, Tree};
use ashlar_store::{
    Capture, Limits, LocalStore, OpenOptions, Store, StoreError, put, read, read_tree,
};

const OPTIONS: OpenOptions = OpenOptions { owner_base: 0, read_only: false };

fn open(path: &Path) -> LocalStore {
    LocalStore::open(path, OPTIONS).unwrap()
}

/// Something mounted, until dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a word to whoever reads the tests, where that is not allowed.
    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(at).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_path_buf()));
        }
        eprintln!("left out: mounting is not permitted here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

fn folder(at: &Path, files: &[(String, Vec<u8>)]) {
    for (name, content) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn result(store: &dyn Store, outputs: Digest, tree: &Tree) -> ActionResult {
    ActionResult {
        outputs,
        root: tree.root_digest(),
        log: put(store, b"log").unwrap(),
        started: Time { seconds: 0, nanos: 0 },
        took: Duration::from_secs(1),
    }
}

fn files_below(path: &Path) -> usize {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries.map(|e| if e.file_type().unwrap().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("small");
    let Some(_mounted) = Mounted::new(&["-t", "tmpfs", "-o", "size=8m", "none"], &at) else {
        return;
    };
    let store = open(&at.join("store"));
    let small = put(&store, b"small").unwrap();
    let before = files_below(&at);
    let big: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let failed = put(&store, &big);
    assert!(matches!(failed, Err(StoreError::Full { .. })), "{failed:?}");
    assert_eq!(files_below(&at), before);
    assert_eq!(store.missing(&[Digest::of(&big)]).unwrap().len(), 1);
    assert_eq!(read(&store, &small).unwrap().unwrap(), b"small");

    let source = dir.path().join("source");
    folder(&source, &[("a".into(), b"a".to_vec()), ("b".into(), big.clone())]);
    let failed = store.import_folder(&source, Capture::Outputs);
    assert!(matches!(failed, Err(StoreError::Full { .. })), "{failed:?}");
    // From another file system it is a copy, and what could not be kept stays where it is.
    let failed = store.keep_folder(&source, Capture::Outputs);
    assert!(matches!(failed, Err(StoreError::Full { .. })), "{failed:?}");
    assert_eq!(std::fs::read(source.join("b")).unwrap().len(), big.len());
    drop(store);
    let store = open(&at.join("store"));
    assert!(store.verify(false, &|_, _| {}).unwrap().is_clean());

    // Full to the last byte, and collecting still helps.
    let mut kept = Vec::new();
    for number in 0..200_u32 {
        let out = store.path().join("work").join(format!("out{number}"));
        // The disk may be full in the middle of what the build itself writes.
        std::fs::create_dir(&out).unwrap();
        let content = vec![number.to_le_bytes()[0]; 60_000 + number as usize];
        if std::fs::write(out.join("f"), content).is_err() {
            break;
        }
        let kept_one = store.keep_folder(&out, Capture::Outputs).and_then(|(outputs, tree)| {
            let action = Digest::of(&number.to_le_bytes());
            let result = ActionResult { log: put(&store, b"log")?, ..result_of(outputs, &tree) };
            store.put_result(&action, &result)?;
            Ok((action, result))
        });
        match kept_one {
            Ok(one) => kept.push(one),
            Err(StoreError::Full { .. }) => break,
            Err(e) => panic!("{e}"),
        }
        assert!(number < 199, "the disk should be full by now");
    }
    assert!(kept.len() > 20);
    for (action, result) in &kept {
        assert_eq!(store.result(action).unwrap().as_ref(), Some(result));
    }
    drop(store);
    let filler = std::fs::write(at.join("filler"), vec![1; 8 << 20]);
    assert!(filler.is_err());
    let store = open(&at.join("store"));
    let report = store.collect(Limits { max_size: Some(1 << 20), max_age: None }).unwrap();
    assert!(report.freed > 1 << 20, "{report:?}");
    assert!(put(&store, &vec![7; 500_000]).is_ok());
}

fn result_of(outputs: Digest, tree: &Tree) -> ActionResult {
    ActionResult {
        outputs,
        root: tree.root_digest(),
        log: Digest::EMPTY,
        started: Time { seconds: 0, nanos: 0 },
        took: Duration::from_secs(1),
    }
}

#[test]
fn a_store_that_turns_read_only_still_gives() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let Some(_mounted) = Mounted::new(&["-t", "tmpfs", "-o", "size=32m", "none"], &at) else {
        return;
    };
    let path = at.join("store");
    let store = open(&path);
    let out = at.join("out");
    folder(&out, &[("a".into(), b"a".to_vec())]);
    let (outputs, tree) = store.keep_folder(&out, Capture::Outputs).unwrap();
    let action = Digest::of(b"action");
    let result = result(&store, outputs, &tree);
    store.put_result(&action, &result).unwrap();
    let key = StepKey([1; 32]);
    store.put_step(&key, &action).unwrap();
    let remount = |options: &str| {
        let status = Command::new("mount").args(["-o", options]).arg(&at).status().unwrap();
        assert!(status.success());
    };
    // Beneath one that is open and idle, as when a disk reports errors. Files open for writing
    // would keep the kernel from doing so.
    drop(store);
    remount("remount,ro");
    let store = open(&path);
    assert!(store.is_read_only());
    assert_eq!(store.take_warnings().len(), 1);
    assert_eq!(store.steps(&[key]).unwrap()[0].as_ref().unwrap().result, result);
    assert_eq!(read_tree(&store, &outputs).unwrap(), Some(tree.clone()));
    assert!(store.stage(&outputs, &tree).is_ok());
    assert!(matches!(put(&store, b"more"), Err(StoreError::ReadOnly { .. })));
    assert!(store.verify(true, &|_, _| {}).unwrap().is_clean());
    drop(store);
    remount("remount,rw");
    // Also where a killed process has left the log of the index behind.
    let mut child = process("keep", &path, 0).spawn().unwrap();
    let keys: Vec<_> = (0..3).map(self::key).collect();
    while open(&path).steps(&keys).unwrap().contains(&None) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(path.join("index.sqlite-wal").exists());
    remount("remount,ro");
    assert!(!open(&path).steps(&keys).unwrap().contains(&None));
    remount("remount,rw");
    let store = open(&path);
    assert!(!store.is_read_only());
    put(&store, b"more").unwrap();
}

#[test]
fn more_links_than_a_file_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let out = dir.path().join("out");
    folder(&out, &[("shared".into(), b"shared".to_vec()), ("full".into(), b"1".to_vec())]);
    let (digest, tree) = store.keep_folder(&out, Capture::Outputs).unwrap();
    let shared = Digest::of(b"shared");
    let blob =
        |digest: &Digest| store.path().join("blobs").join(&digest.hex()[..2]).join(digest.hex());
    let links = dir.path().join("links");
    std::fs::create_dir(&links).unwrap();
    let mut count = 0;
    let more = |count: &mut u64| {
        *count += 1;
        std::fs::hard_link(blob(&shared), links.join(count.to_string())).is_ok()
    };
    while more(&mut count) {
        if count > 70_000 {
            eprintln!("left out: this file system has no such limit");
            return;
        }
    }
    let inode = std::fs::metadata(blob(&shared)).unwrap().ino();
    let files = [("shared".into(), b"shared".to_vec()), ("full".into(), b"2".to_vec())];
    folder(&out, &files);
    let (other_digest, other) = store.keep_folder(&out, Capture::Outputs).unwrap();
    for (digest, tree) in [(&digest, &tree), (&other_digest, &other)] {
        let staged = open(store.path()).stage(digest, tree).unwrap();
        assert_eq!(std::fs::metadata(staged.path().join("shared")).unwrap().len(), 6);
    }
    assert_ne!(std::fs::metadata(blob(&shared)).unwrap().ino(), inode);
    assert!(store.verify(false, &|_, _| {}).unwrap().is_clean());
}

// ---- other processes ----

const ROLE: &str = "ASHLAR_STORE_TEST_ROLE";
const STORE: &str = "ASHLAR_STORE_TEST_STORE";
const NUMBER: &str = "ASHLAR_STORE_TEST_NUMBER";

fn process(role: &str, store: &Path, number: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "in_another_process", "--nocapture"])
        .env(ROLE, role)
        .env(STORE, store)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::null());
    command
}

/// No test by itself: what [`process`] runs.
#[test]
fn in_another_process() {
    let (Ok(role), Some(store)) = (std::env::var(ROLE), std::env::var_os(STORE)) else { return };
    let number: u32 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let store = open(Path::new(&store));
    match role.as_str() {
        "keep" => keep_for_ever(&store, number),
        "overlap" => build_overlapping(&store, number),
        "collect" => collect_until_told(&store),
        other => panic!("{other}"),
    }
}

fn content(module: u32, file: u32) -> Vec<u8> {
    format!("module {module} file {}", file / 2).into_bytes().repeat(1 + (file as usize % 7) * 100)
}

fn action(module: u32) -> Digest {
    Digest::of(format!("action {module}").as_bytes())
}

fn key(module: u32) -> StepKey {
    StepKey(Digest::of(format!("key {module}").as_bytes()).hash)
}

fn build(store: &LocalStore, module: u32, files: u32) -> Result<(), StoreError> {
    let workspace = store.workspace("module")?;
    let out = workspace.path().join("out");
    let files: Vec<_> =
        (0..files).map(|file| (format!("d{}/f{file}", file % 5), content(module, file))).collect();
    folder(&out, &files);
    let (outputs, tree) = store.keep_folder(&out, Capture::Outputs)?;
    let staged = store.stage(&outputs, &tree)?;
    for (name, content) in &files {
        assert!(std::fs::read(staged.path().join(name)).unwrap() == *content, "{name}");
    }
    store.put_result(&action(module), &result(store, outputs, &tree))?;
    store.put_step(&key(module), &action(module))
}

fn keep_for_ever(store: &LocalStore, from: u32) {
    for module in from.. {
        build(store, module, 60).unwrap();
    }
}

const MODULES: u32 = 12;

fn build_overlapping(store: &LocalStore, number: u32) {
    for round in 0..3 * MODULES {
        let module = (round * 5 + number) % MODULES;
        let lock = store.lock_step(&key(module), &mut || true).unwrap().unwrap();
        match &store.steps(&[key(module)]).unwrap()[0] {
            None => {
                // Made before any work is done, so that two at once would meet.
                let marker = store.path().join(format!("building-{module}"));
                std::fs::File::create_new(&marker).unwrap();
                build(store, module, 40).unwrap();
                std::fs::remove_file(marker).unwrap();
            }
            Some(found) => {
                // A hit is as good as its blobs, also beside collection.
                let tree = read_tree(store, &found.result.outputs).unwrap().unwrap();
                let staged = store.stage(&found.result.outputs, &tree).unwrap();
                let path = staged.path().join("d1/f1");
                assert!(std::fs::read(path).unwrap() == content(module, 1));
            }
        }
        drop(lock);
    }
}

fn collect_until_told(store: &LocalStore) {
    while !store.path().join("stop").exists() {
        store.collect(Limits { max_size: Some(0), max_age: None }).unwrap();
    }
}

#[test]
fn killed_processes_leave_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(open(&path));
    let mut found_so_far = 0;
    for round in 0..20_u32 {
        let mut child = process("keep", &path, found_so_far).spawn().unwrap();
        // From before it has begun to well into its work.
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&path);
        assert_eq!(files_below(&path.join("work")), 0, "left-overs are swept");
        let keys: Vec<_> = (0..found_so_far + 200).map(key).collect();
        let found = store.steps(&keys).unwrap();
        let count = found.iter().take_while(|f| f.is_some()).count();
        assert!(count >= found_so_far as usize, "what was finished is found again");
        for found in found.iter().flatten().skip(found_so_far as usize) {
            let tree = read_tree(&store, &found.result.outputs).unwrap().unwrap();
            store.stage(&found.result.outputs, &tree).unwrap();
            assert_eq!(tree.len(), 65);
        }
        found_so_far = u32::try_from(count).unwrap();
    }
    let store = open(&path);
    let report = store.verify(false, &|_, _| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(found_so_far > 0, "no process came far enough to try anything");
}

#[test]
fn processes_build_the_same_while_one_collects() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(open(&path));
    // What nobody has used lately, to have something to collect.
    {
        let store = open(&path);
        for module in 100..130 {
            build(&store, module, 40).unwrap();
        }
    }
    let mut collector = process("collect", &path, 0).spawn().unwrap();
    let spawn = |number| process("overlap", &path, number).spawn().unwrap();
    let builders: Vec<_> = (0..5).map(spawn).collect();
    let good = builders.into_iter().map(|mut child| child.wait().unwrap().success());
    let good: Vec<bool> = good.collect();
    std::fs::write(path.join("stop"), "").unwrap();
    assert!(collector.wait().unwrap().success());
    assert_eq!(good, [true; 5]);
    let store = open(&path);
    let report = store.verify(false, &|_, _| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
    // Alone, everything goes.
    let report = store.collect(Limits { max_size: Some(0), max_age: None }).unwrap();
    assert_eq!(report.left, 0, "{report:?}");
}
