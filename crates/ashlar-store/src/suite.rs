//! The contract's own tests, for every implementation of [`Store`].
//!
//! Each case is a function that gets a store nobody else uses; [`all`] runs them with a store
//! each. They panic when a promise is not kept.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_object::{ActionResult, Digest, MOMENT, Meta, Node, StepKey, Time, Tree};

use crate::{Capture, Store, StoreError, put, read, read_tree};

/// Runs every case with a new store.
///
/// # Panics
/// When a promise of the contract is not kept.
pub fn all<S: Store>(new: impl Fn() -> S) {
    blobs_are_found_by_their_digest(&new());
    nothing_is_kept_when_reading_fails(&new());
    great_blobs_are_whole(&new());
    folders_become_trees(&new());
    outputs_are_normalised(&new());
    snapshots_keep_times(&new());
    what_cannot_be_kept_is_refused(&new());
    image_layers_have_hard_links(&new());
    the_same_folder_is_the_same_tree(&new());
    results_need_their_blobs(&new());
    steps_lead_to_results(&new());
}

/// A folder for the files of a case.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ashlar-suite-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn folder(&self, files: &[(&str, &str, u32)]) -> PathBuf {
        let folder = self.0.join("folder");
        std::fs::create_dir(&folder).unwrap();
        for (path, content, mode) in files {
            write(&folder.join(path), content, *mode);
        }
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-overs of a test are for whoever cleans the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, content: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn file<'a>(tree: &'a Tree, path: &str) -> &'a ashlar_object::File {
    match tree.get(&path.parse().unwrap()) {
        Some(Node::File(file)) => file,
        other => panic!("{path}: {other:?}"),
    }
}

/// A result whose tree has one file.
fn some_result(store: &dyn Store, content: &str) -> ActionResult {
    let scratch = Scratch::new();
    let folder = scratch.folder(&[("usr/bin/tool", content, 0o755)]);
    let (outputs, tree) = store.keep_folder(&folder, Capture::Outputs).unwrap();
    ActionResult {
        outputs,
        root: tree.root_digest(),
        log: put(store, format!("log of {content}").as_bytes()).unwrap(),
        started: Time { seconds: MOMENT, nanos: 1 },
        took: Duration::from_millis(1500),
    }
}

fn blobs_are_found_by_their_digest(store: &dyn Store) {
    let there = Digest::of(b"stone");
    let other = Digest::of(b"other");
    assert_eq!(store.missing(&[there, Digest::EMPTY, other]).unwrap(), [there, other]);
    assert!(store.open(&there).unwrap().is_none());
    assert_eq!(put(store, b"stone").unwrap(), there);
    assert_eq!(put(store, b"stone").unwrap(), there);
    assert_eq!(store.missing(&[other, there, Digest::EMPTY]).unwrap(), [other]);
    assert_eq!(read(store, &there).unwrap().as_deref(), Some(&b"stone"[..]));
    assert_eq!(read(store, &Digest::EMPTY).unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(put(store, b"").unwrap(), Digest::EMPTY);
    // The size is part of the digest.
    let wrong = Digest { size: 4, ..there };
    assert_eq!(store.missing(&[wrong]).unwrap(), [wrong]);
    assert_eq!(read(store, &wrong).unwrap(), None);
}

fn nothing_is_kept_when_reading_fails(store: &dyn Store) {
    struct Failing(u64);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the line is down"));
            }
            let count = buffer.len().min(usize::try_from(self.0).unwrap());
            buffer[..count].fill(b'x');
            self.0 -= count as u64;
            Ok(count)
        }
    }
    for size in [0, 1, 3_000_000] {
        assert!(matches!(store.put(&mut Failing(size)), Err(StoreError::Io { .. })));
        let digest = Digest::of(&vec![b'x'; usize::try_from(size).unwrap()]);
        assert_eq!(store.missing(&[digest]).unwrap().is_empty(), size == 0);
    }
}

fn great_blobs_are_whole(store: &dyn Store) {
    for size in [(256 << 10) - 1, 256 << 10, (256 << 10) + 1, 5_000_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[i as usize % 3]).collect();
        let digest = put(store, &bytes).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert!(read(store, &digest).unwrap() == Some(bytes), "{size}");
    }
}

fn folders_become_trees(store: &dyn Store) {
    let scratch = Scratch::new();
    let folder = scratch.folder(&[
        ("bin/tool", "#!", 0o755),
        ("etc/conf", "a=1", 0o644),
        ("etc/copy", "a=1", 0o644),
        ("etc/secret", "s", 0o600),
        ("empty", "", 0o644),
    ]);
    std::os::unix::fs::symlink("tool", folder.join("bin/link")).unwrap();
    std::fs::create_dir(folder.join("void")).unwrap();
    let (digest, tree) = store.keep_folder(&folder, Capture::Outputs).unwrap();
    let left = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the folder is gone or empty");
    assert_eq!(tree.digest(), digest);
    assert_eq!(read_tree(store, &digest).unwrap().as_ref(), Some(&tree));
    assert_eq!(file(&tree, "bin/tool").meta, Meta::EXECUTABLE);
    assert_eq!(file(&tree, "etc/conf").meta, Meta::FILE);
    assert_eq!(file(&tree, "etc/conf"), file(&tree, "etc/copy"));
    assert_eq!(file(&tree, "etc/secret").meta.mode, 0o600);
    assert_eq!(file(&tree, "empty").digest, Digest::EMPTY);
    assert!(
        matches!(tree.get(&"void".parse().unwrap()), Some(Node::Dir(d)) if d.entries().is_empty())
    );
    let link = tree.get(&"bin/link".parse().unwrap());
    assert!(matches!(link, Some(Node::Symlink(link)) if &*link.target == b"tool"));
    assert_eq!(store.missing(&tree.blobs()).unwrap(), []);
    assert_eq!(read(store, &Digest::of(b"#!")).unwrap().as_deref(), Some(&b"#!"[..]));
}

fn outputs_are_normalised(store: &dyn Store) {
    let keep = |time: u64| {
        let scratch = Scratch::new();
        let folder = scratch.folder(&[("a/b", "b", 0o644)]);
        let time = std::time::UNIX_EPOCH + Duration::from_secs(time);
        for path in ["a/b", "a"] {
            std::fs::File::open(folder.join(path)).unwrap().set_modified(time).unwrap();
        }
        store.keep_folder(&folder, Capture::Outputs).unwrap().0
    };
    assert_eq!(keep(1_000_000_000), keep(1_100_000_000));
}

fn snapshots_keep_times(store: &dyn Store) {
    let scratch = Scratch::new();
    let folder = scratch.folder(&[("a", "a", 0o644)]);
    let time = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 250_000_000);
    std::fs::File::open(folder.join("a")).unwrap().set_modified(time).unwrap();
    let (_, tree) = store.keep_folder(&folder, Capture::Snapshot).unwrap();
    let extra = file(&tree, "a").meta.extra.clone().unwrap();
    assert_eq!(extra.mtime, Some(Time { seconds: 1_000_000_000, nanos: 250_000_000 }));
    assert_eq!((extra.uid, extra.gid), (0, 0));
    // Of a checkpoint they are kept as well, after which nothing is there of the folder itself.
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a"), "a").unwrap();
    std::fs::File::open(folder.join("a")).unwrap().set_modified(time).unwrap();
    let (_, tree) = store.keep_folder(&folder, Capture::Checkpoint).unwrap();
    assert_eq!(file(&tree, "a").meta.extra.clone().unwrap().mtime, extra.mtime);
}

fn what_cannot_be_kept_is_refused(store: &dyn Store) {
    let scratch = Scratch::new();
    let folder = scratch.folder(&[("run/a", "a", 0o644)]);
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("run/socket")).unwrap();
    match store.keep_folder(&folder, Capture::Outputs) {
        Err(StoreError::Unkeepable { path, what }) => {
            assert_eq!((path, what), (folder.join("run/socket"), "a socket"));
        }
        other => panic!("{other:?}"),
    }
    // A layer is what was left of a running system, and has such things.
    let (_, tree) = store.keep_folder(&folder, Capture::Layer).unwrap();
    assert_eq!(tree.len(), 2);
    let nowhere = store.keep_folder(&scratch.0.join("nowhere"), Capture::Outputs);
    assert!(matches!(nowhere, Err(StoreError::Io { .. })));
}

fn image_layers_have_hard_links(store: &dyn Store) {
    let keep = |how| {
        let scratch = Scratch::new();
        let folder = scratch.folder(&[("a", "one", 0o644), ("b", "one", 0o644)]);
        std::fs::create_dir(folder.join("c")).unwrap();
        std::fs::hard_link(folder.join("b"), folder.join("c/d")).unwrap();
        store.keep_folder(&folder, how).unwrap().1
    };
    let names: Vec<Vec<String>> = keep(Capture::ImageLayer)
        .links()
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(names, [["b", "c/d"]]);
    assert!(!keep(Capture::Layer).has_links());
    assert!(keep(Capture::Checkpoint).has_links());
}

fn the_same_folder_is_the_same_tree(store: &dyn Store) {
    let keep = || {
        let scratch = Scratch::new();
        let folder = scratch.folder(&[("x", "same", 0o644), ("y", "same", 0o755)]);
        store.keep_folder(&folder, Capture::Outputs).unwrap()
    };
    assert_eq!(keep(), keep());
}

fn results_need_their_blobs(store: &dyn Store) {
    let action = Digest::of(b"action");
    assert_eq!(store.result(&action).unwrap(), None);
    let result = some_result(store, "1");
    store.put_result(&action, &result).unwrap();
    assert_eq!(store.result(&action).unwrap(), Some(result.clone()));
    let newer = some_result(store, "2");
    store.put_result(&action, &newer).unwrap();
    assert_eq!(store.result(&action).unwrap(), Some(newer));

    let nowhere = Digest::of(b"nowhere");
    for bad in [
        ActionResult { outputs: nowhere, ..result.clone() },
        ActionResult { log: nowhere, ..result.clone() },
    ] {
        let other = Digest::of(b"other action");
        match store.put_result(&other, &bad) {
            Err(StoreError::Missing(digest)) => assert_eq!(digest, nowhere),
            done => panic!("{done:?}"),
        }
        assert_eq!(store.result(&other).unwrap(), None);
    }
    let no_tree = put(store, b"\xff\xff no tree").unwrap();
    let bad = ActionResult { outputs: no_tree, ..result };
    assert!(matches!(store.put_result(&nowhere, &bad), Err(StoreError::Tree(..))));
}

fn steps_lead_to_results(store: &dyn Store) {
    let keys: Vec<StepKey> =
        (0..500_u16).map(|number| StepKey(Digest::of(&number.to_le_bytes()).hash)).collect();
    assert_eq!(store.steps(&[]).unwrap(), []);
    assert!(store.steps(&keys).unwrap().iter().all(Option::is_none));
    let mut expected = vec![None; keys.len()];
    for index in [0, 7, 249, 250, 499] {
        let action = Digest::of(format!("action {index}").as_bytes());
        let result = some_result(store, &index.to_string());
        store.put_result(&action, &result).unwrap();
        store.put_step(&keys[index], &action).unwrap();
        expected[index] = Some(crate::Found { action, result });
    }
    assert!(store.steps(&keys).unwrap() == expected);
    // A key can be pointed elsewhere.
    let other = expected[7].clone().unwrap();
    store.put_step(&keys[0], &other.action).unwrap();
    assert_eq!(store.steps(&keys[..1]).unwrap(), [Some(other)]);
}
