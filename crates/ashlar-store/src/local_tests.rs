use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use ashlar_object::{Dir, Extra, MOMENT, Meta, Node, Time};
use rustix::fs::XattrFlags;
use tempfile::TempDir;

use super::*;
use crate::{put, read, read_tree};

/// A store in a folder of its own, with room beside it.
pub(super) struct Fixture {
    pub folder: TempDir,
    pub store: LocalStore,
}

pub(super) const ROOT: OpenOptions = OpenOptions { owner_base: 0, read_only: false };

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store"), ROOT).unwrap();
        Self { folder, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn again(&self) -> LocalStore {
        LocalStore::open(self.store.path(), ROOT).unwrap()
    }

    /// Ends everything this process holds of the store and opens it anew.
    pub fn reopen(self) -> Self {
        let Self { folder, store } = self;
        drop(store);
        let store = LocalStore::open(&folder.path().join("store"), ROOT).unwrap();
        Self { folder, store }
    }

    pub fn folder(&self, files: &[(&str, &str, u32)]) -> PathBuf {
        let folder = self.path("folder");
        write_all(&folder, files);
        folder
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.store.path().join("blobs").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// A result whose tree has the one file `bin/tool`.
    pub fn result(&self, content: &str) -> (Digest, ActionResult, Tree) {
        let folder = self.folder(&[("bin/tool", content, 0o644)]);
        let (outputs, tree) = self.store.keep_folder(&folder, Capture::Outputs).unwrap();
        let result = ActionResult {
            outputs,
            root: tree.root_digest(),
            log: put(&self.store, format!("log of {content}").as_bytes()).unwrap(),
            started: Time { seconds: MOMENT, nanos: 0 },
            took: Duration::from_secs(1),
        };
        let action = Digest::of(format!("action {content}").as_bytes());
        self.store.put_result(&action, &result).unwrap();
        (action, result, tree)
    }
}

fn write_all(folder: &Path, files: &[(&str, &str, u32)]) {
    fs::create_dir_all(folder).unwrap();
    for (path, content, mode) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// What is done to a file or folder, and a word for it.
type Change = (&'static str, fn(&Path));

/// Changes the content of a file so that its stat data shows nothing but a change time.
fn rot(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::open(path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
}

/// Whether files can be given to others, here or in a user namespace.
fn is_superuser() -> bool {
    crate::facts::Owners::new(0).can_give()
}

fn no_progress(_: u64, _: u64) {}

#[test]
fn only_who_asks_for_it_gets_a_result_that_lacks_something() {
    let fixture = Fixture::new();
    let (action, result, _) = fixture.result("1");
    let key = StepKey([7; 32]);
    fixture.store.put_step(&key, &action).unwrap();
    fs::remove_file(fixture.blob(&Digest::of(b"1"))).unwrap();
    assert_eq!(fixture.store.steps(&[key]).unwrap(), [None]);
    let unchecked = fixture.store.steps_unchecked(&[key, StepKey([8; 32])]).unwrap();
    assert_eq!(unchecked, [Some(Found { action, result }), None]);
}

#[test]
fn results_are_found_by_others_at_once_and_later() {
    let fixture = Fixture::new();
    let other = fixture.again();
    let (action, result, _) = fixture.result("1");
    let key = StepKey([7; 32]);
    fixture.store.put_step(&key, &action).unwrap();
    let found = Found { action, result };
    assert_eq!(other.steps(&[key]).unwrap(), [Some(found.clone())]);
    drop(other);
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.steps(&[key]).unwrap(), [Some(found)]);
    assert_eq!(fixture.store.take_warnings(), [""; 0]);
}

#[test]
fn a_kept_folder_becomes_the_staged_tree() {
    let fixture = Fixture::new();
    let folder = fixture.folder(&[("bin/tool", "#!", 0o755), ("conf", "c", 0o644)]);
    let inode = fs::metadata(&folder).unwrap().ino();
    let (digest, tree) = fixture.store.keep_folder(&folder, Capture::Outputs).unwrap();
    let staged = fixture.store.stage(&digest, &tree).unwrap();
    assert_eq!(fs::metadata(staged.path()).unwrap().ino(), inode);
    // What was moved looks to a second process as if it had been staged.
    let other = fixture.again();
    let again = other.stage(&digest, &tree).unwrap();
    assert_eq!(fs::metadata(again.path()).unwrap().ino(), inode);
    assert_eq!(other.take_warnings(), [""; 0]);
    let blob = fixture.blob(&Digest::of(b"c"));
    assert_eq!(
        fs::metadata(&blob).unwrap().ino(),
        fs::metadata(staged.path().join("conf")).unwrap().ino()
    );
    assert_eq!(fs::metadata(&blob).unwrap().mtime(), MOMENT);
    assert_eq!(fs::metadata(staged.path().join("bin")).unwrap().mtime(), MOMENT);
}

#[test]
fn a_folder_is_kept_by_whatever_path() {
    let fixture = Fixture::new();
    let link = fixture.path("link");
    std::os::unix::fs::symlink("folder", &link).unwrap();
    for path in [link, fixture.path("folder/."), fixture.path("folder/")] {
        let folder = fixture.folder(&[("a", "a", 0o644)]);
        let (digest, tree) = fixture.store.keep_folder(&path, Capture::Outputs).unwrap();
        assert!(!folder.join("a").exists());
        let staged = fixture.again().stage(&digest, &tree).unwrap();
        assert!(fs::symlink_metadata(staged.path()).unwrap().is_dir());
        assert_eq!(fs::read(staged.path().join("a")).unwrap(), b"a");
    }
}

#[test]
fn a_staged_tree_has_modes_owners_times_and_marks() {
    let fixture = Fixture::new();
    put(&fixture.store, b"x").unwrap();
    let file = |meta: Meta| Node::File(ashlar_object::File::new(Digest::of(b"x"), meta));
    let owned = Extra { uid: 3, gid: 4, ..Extra::default() };
    let late = Extra { mtime: Some(Time { seconds: 5, nanos: 6 }), ..Extra::default() };
    let marked =
        Extra { xattrs: [("user.a".to_owned(), b"b".to_vec())].into(), ..Extra::default() };
    let hiding = Dir::new(BTreeMap::new(), Meta { mode: 0o700, extra: None }, true);
    let tree = Tree::default()
        .with(&"plain".parse().unwrap(), file(Meta::FILE))
        .with(&"tool".parse().unwrap(), file(Meta::EXECUTABLE))
        .with(&"suid".parse().unwrap(), file(Meta::new(0o4755, owned)))
        .with(&"late".parse().unwrap(), file(Meta::new(0o644, late)))
        .with(&"marked".parse().unwrap(), file(Meta::new(0o644, marked)))
        .with(&"gone".parse().unwrap(), Node::Whiteout)
        .with(&"hiding".parse().unwrap(), Node::Dir(Arc::new(hiding)));
    let digest = put(&fixture.store, &tree.encode()).unwrap();
    let staged = fixture.store.stage(&digest, &tree).unwrap();
    let look = |name: &str| fs::symlink_metadata(staged.path().join(name)).unwrap();
    assert_eq!(look("plain").mode() & 0o7777, 0o644);
    assert_eq!(look("tool").mode() & 0o7777, 0o755);
    assert_ne!(look("plain").ino(), look("tool").ino());
    assert_eq!(look("suid").mode() & 0o7777, 0o4755);
    assert_eq!((look("late").mtime(), look("late").mtime_nsec()), (5, 6));
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(staged.path().join("marked"), "user.a", &mut value).unwrap();
    assert_eq!(&value[..length], b"b");
    assert!(look("gone").file_type().is_char_device());
    assert_eq!(look("gone").rdev(), 0);
    assert_eq!(look("hiding").mode() & 0o7777, 0o700);
    let length =
        rustix::fs::getxattr(staged.path().join("hiding"), "user.overlay.opaque", &mut value);
    assert_eq!(&value[..length.unwrap()], b"y");
    if is_superuser() {
        assert_eq!((look("suid").uid(), look("suid").gid()), (3, 4));
    }
    // And captured as a layer, it is the same tree again.
    drop(staged);
    let copy = fixture.path("copy");
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(fixture.store.path().join("trees").join(digest.hex()))
        .arg(&copy)
        .status();
    assert!(status.unwrap().success());
    let without_times = tree.with(&"late".parse().unwrap(), file(Meta::FILE));
    let (_, captured) = fixture.store.keep_folder(&copy, Capture::Layer).unwrap();
    // Only the superuser can have given a file to somebody.
    let suid = "suid".parse().unwrap();
    let expected = match without_times.get(&suid) {
        Some(Node::File(suid_file)) if !is_superuser() => {
            let meta = Meta { extra: None, ..suid_file.meta.clone() };
            without_times.with(&suid, file(meta))
        }
        _ => without_times,
    };
    assert_eq!(captured, expected);
}

#[test]
fn a_layer_keeps_whiteouts_owners_and_what_overlays_mark() {
    let fixture = Fixture::new();
    let probe = rustix::fs::setxattr(fixture.folder.path(), "trusted.a", b"", XattrFlags::empty());
    if probe.is_err() || !is_superuser() {
        eprintln!("left out: needs the machine's superuser");
        return;
    }
    let folder = fixture.folder(&[("etc/shadow", "s", 0o640), ("usr/b", "b", 0o644)]);
    std::os::unix::fs::chown(folder.join("etc/shadow"), Some(0), Some(42)).unwrap();
    let mark = |path: &str, name: &str| {
        rustix::fs::setxattr(folder.join(path), name, b"y", XattrFlags::empty()).unwrap();
    };
    mark("usr", "trusted.overlay.opaque");
    mark("etc", "trusted.overlay.impure");
    mark("usr/b", "trusted.overlay.origin");
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("gone"), kind, rustix::fs::Mode::empty(), 0)
        .unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let (digest, tree) = fixture.store.keep_folder(&folder, Capture::Layer).unwrap();
    let get = |path: &str| tree.get(&path.parse().unwrap());
    assert_eq!(get("gone"), Some(&Node::Whiteout));
    assert_eq!(get("fifo"), None);
    assert!(matches!(get("usr"), Some(Node::Dir(dir)) if dir.is_opaque()));
    assert!(matches!(get("etc"), Some(Node::Dir(dir)) if !dir.is_opaque()));
    assert!(matches!(get("usr/b"), Some(Node::File(file)) if file.meta == Meta::FILE));
    assert!(
        matches!(get("etc/shadow"), Some(Node::File(f)) if f.meta.owner() == (0, 42) && f.meta.mode == 0o640)
    );
    // Adopted as it is, it has lost what is not in the tree and has the mark in the other form.
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    let names = |path: &str| {
        let mut buffer = [0; 1024];
        let length = rustix::fs::listxattr(staged.path().join(path), &mut buffer[..]).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!(names("usr"), "user.overlay.opaque\0");
    assert_eq!(names("etc"), "");
    assert_eq!(names("usr/b"), "");
    assert!(!staged.path().join("fifo").exists());
}

#[test]
fn the_devices_of_a_root_are_left_out() {
    let fixture = Fixture::new();
    let folder = fixture.folder(&[("dev/null", "not one", 0o644), ("usr/dev/x", "x", 0o644)]);
    let (digest, tree) = fixture.store.keep_folder(&folder, Capture::Root).unwrap();
    assert!(tree.get(&"dev/null".parse().unwrap()).is_none());
    assert!(tree.get(&"dev".parse().unwrap()).is_some());
    assert!(tree.get(&"usr/dev/x".parse().unwrap()).is_some());
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    assert_eq!(fs::read_dir(staged.path().join("dev")).unwrap().count(), 0);
}

#[test]
fn files_with_a_second_name_are_copied() {
    let fixture = Fixture::new();
    let folder = fixture.folder(&[("a", "shared", 0o644), ("odd", "odd", 0o600)]);
    fs::hard_link(folder.join("a"), fixture.path("outside")).unwrap();
    fs::hard_link(folder.join("odd"), fixture.path("odd outside")).unwrap();
    let (digest, tree) = fixture.store.keep_folder(&folder, Capture::Outputs).unwrap();
    fs::write(fixture.path("outside"), "changed").unwrap();
    fs::write(fixture.path("odd outside"), "changed").unwrap();
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    assert_eq!(fs::read(staged.path().join("a")).unwrap(), b"shared");
    assert_eq!(fs::read(staged.path().join("odd")).unwrap(), b"odd");
    assert_eq!(read(&fixture.store, &Digest::of(b"shared")).unwrap().unwrap(), b"shared");
}

#[test]
fn a_check_out_is_there_whole_or_not_at_all() {
    let fixture = Fixture::new();
    let folder =
        fixture.folder(&[("bin/tool", "t", 0o755), ("odd", "odd", 0o600), ("z", "z", 0o644)]);
    std::os::unix::fs::symlink("tool", folder.join("bin/link")).unwrap();
    let (_, tree) = fixture.store.keep_folder(&folder, Capture::Outputs).unwrap();
    for how in [Checkout::Copy, Checkout::Link] {
        let dest = fixture.path(&format!("{how:?}/deep/dest"));
        let check_out = |force| fixture.store.check_out(&tree, &dest, how, force);
        check_out(false).unwrap();
        let inode = fs::metadata(dest.join("z")).unwrap().ino();
        let is_link = inode == fs::metadata(fixture.blob(&Digest::of(b"z"))).unwrap().ino();
        assert_eq!(is_link, how == Checkout::Link);
        assert_eq!(fs::metadata(dest.join("odd")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_link(dest.join("bin/link")).unwrap(), Path::new("tool"));
        assert!(matches!(check_out(false), Err(StoreError::Occupied { path }) if path == dest));
        fs::write(dest.join("more"), "").unwrap();
        check_out(true).unwrap();
        assert!(!dest.join("more").exists());
        fs::remove_dir_all(&dest).unwrap();
        fs::create_dir(&dest).unwrap();
        check_out(false).unwrap();
        assert!(dest.join("z").exists());
    }
    let file = fixture.path("a file");
    fs::write(&file, "mine").unwrap();
    let onto = |force| fixture.store.check_out(&tree, &file, Checkout::Copy, force);
    assert!(matches!(onto(false), Err(StoreError::Occupied { .. })));
    onto(true).unwrap();
    assert!(file.join("z").exists());

    rot(&fixture.blob(&Digest::of(b"z")));
    let beside = fixture.path("beside");
    fs::create_dir(&beside).unwrap();
    let dest = beside.join("dest");
    let failed = fixture.store.check_out(&tree, &dest, Checkout::Copy, false);
    assert!(matches!(failed, Err(StoreError::Missing(digest)) if digest == Digest::of(b"z")));
    assert_eq!(fs::read_dir(&beside).unwrap().count(), 0);
}

#[test]
fn an_edited_link_does_not_spoil_the_store() {
    let fixture = Fixture::new();
    let (action, _, tree) = fixture.result("before");
    let dest = fixture.path("dest");
    fixture.store.check_out(&tree, &dest, Checkout::Link, false).unwrap();
    // In place and with the same length, as an editor may.
    fs::write(dest.join("bin/tool"), "BEFORE").unwrap();
    assert_eq!(fixture.store.result(&action).unwrap(), None);
    assert_eq!(fixture.again().missing(&[Digest::of(b"before")]).unwrap().len(), 1);
}

#[test]
fn steps_are_locked_one_by_one() {
    let fixture = Fixture::new();
    let key = StepKey([1; 32]);
    let lock = |store: &LocalStore| store.lock_step(&key, &mut || false).unwrap();
    let held = lock(&fixture.store).unwrap();
    assert!(lock(&fixture.store).is_none());
    assert!(lock(&fixture.again()).is_none());
    let other = StepKey([2; 32]);
    assert!(fixture.store.lock_step(&other, &mut || false).unwrap().is_some());
    drop(held);
    assert!(lock(&fixture.again()).is_some());
    let left = fs::read_dir(fixture.store.path().join("locks")).unwrap();
    let left = left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("step"));
    assert_eq!(left.count(), 0);
}

#[test]
fn only_one_of_many_has_a_step() {
    let fixture = Fixture::new();
    let key = StepKey([1; 32]);
    let inside = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering;
                for _ in 0..20 {
                    let lock = fixture.store.lock_step(&key, &mut || true).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
}

#[test]
fn workspaces_go_and_left_overs_are_swept() {
    let fixture = Fixture::new();
    let workspace = fixture.store.workspace("net/lldpd/build").unwrap();
    let path = workspace.path().to_path_buf();
    write_all(&path, &[("deep/file", "", 0o000)]);
    fs::set_permissions(path.join("deep"), fs::Permissions::from_mode(0o000)).unwrap();
    // What a killed process left has no lock.
    let dead = fixture.store.path().join("work/dead");
    write_all(&dead, &[("a/b", "", 0o644)]);
    let other = fixture.again();
    assert!(path.exists());
    assert!(!dead.exists());
    drop(other);
    drop(workspace);
    assert!(!path.exists());
}

#[test]
fn a_newer_store_is_refused() {
    let fixture = Fixture::new();
    fs::write(fixture.store.path().join("format"), "2\n").unwrap();
    let opened = LocalStore::open(fixture.store.path(), ROOT);
    assert!(matches!(opened, Err(StoreError::Newer { found: 2, known: 1, .. })));
}

#[test]
fn a_read_only_store_gives_and_takes_nothing() {
    let fixture = Fixture::new();
    let (action, result, tree) = fixture.result("1");
    let options = OpenOptions { read_only: true, ..ROOT };
    let store = LocalStore::open(fixture.store.path(), options).unwrap();
    assert!(store.is_read_only());
    assert_eq!(store.result(&action).unwrap(), Some(result.clone()));
    assert_eq!(read_tree(&store, &result.outputs).unwrap(), Some(tree.clone()));
    let staged = store.stage(&result.outputs, &tree).unwrap();
    assert!(staged.path().join("bin/tool").exists());
    store.check_out(&tree, &fixture.path("out"), Checkout::Copy, false).unwrap();
    assert!(matches!(put(&store, b"more"), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.put_result(&action, &result), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.workspace("x"), Err(StoreError::ReadOnly { .. })));
    let folder = fixture.folder(&[("a", "a", 0o644)]);
    let kept = store.keep_folder(&folder, Capture::Outputs);
    assert!(matches!(kept, Err(StoreError::ReadOnly { .. })));
    assert!(folder.join("a").exists());
    store.journal().remember("a", b"b").unwrap();
    assert_eq!(store.journal().recall("a").unwrap(), None);
    let nowhere = LocalStore::open(&fixture.path("nowhere"), options);
    assert!(nowhere.is_err());
}

#[test]
fn importing_again_reads_only_what_changed() {
    let fixture = Fixture::new();
    let folder = fixture.folder(&[("a", "1", 0o644), ("b/c", "2", 0o755)]);
    let (first, _) = fixture.store.import_folder(&folder, Capture::Outputs).unwrap();
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"1");
    assert_eq!(fixture.store.import_folder(&folder, Capture::Outputs).unwrap().0, first);
    // At once and of the same length: the clock may not have moved on.
    for number in 2..20 {
        fs::write(folder.join("a"), format!("{}", number % 10)).unwrap();
        let (_, tree) = fixture.store.import_folder(&folder, Capture::Outputs).unwrap();
        let expected = Digest::of(format!("{}", number % 10).as_bytes());
        assert!(tree.blobs().contains(&expected), "{number}");
    }
    // A blob that is known to the cache and gone from the store comes back.
    std::thread::sleep(Duration::from_millis(50));
    fixture.store.import_folder(&folder, Capture::Outputs).unwrap();
    fs::remove_file(fixture.blob(&Digest::of(b"9"))).unwrap();
    fixture.store.import_folder(&folder, Capture::Outputs).unwrap();
    assert_eq!(fixture.store.missing(&[Digest::of(b"9")]).unwrap(), []);
}

#[path = "collect_tests.rs"]
mod collecting;
#[path = "damage_tests.rs"]
mod damaged;

/// `cp -p a b` refuses two names of one inode, and `tar` and `cp -a` make hard links of them.
#[test]
fn equal_files_of_one_tree_are_files_of_their_own() {
    use std::os::unix::fs::MetadataExt as _;
    let fresh = tempfile::tempdir().unwrap();
    let options = OpenOptions { owner_base: 0, read_only: false };
    let store = LocalStore::open(&fresh.path().join("store"), options).unwrap();
    let inodes = |folder: &Path| {
        let mut inodes: Vec<u64> = ["a", "b", "c", "empty", "hollow"]
            .iter()
            .map(|name| fs::metadata(folder.join(name)).unwrap().ino())
            .collect();
        inodes.sort_unstable();
        inodes.dedup();
        inodes.len()
    };
    for round in 0..2 {
        let workspace = store.workspace("equal").unwrap();
        let folder = workspace.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("round"), format!("{round}")).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.join(name), "equal").unwrap();
        }
        for name in ["empty", "hollow"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let (digest, tree) = store.keep_folder(&folder, Capture::Outputs).unwrap();
        let moved = store.stage(&digest, &tree).unwrap();
        assert_eq!(inodes(moved.path()), 5, "moved in");
        let path = moved.path().to_owned();
        drop(moved);
        fs::remove_dir_all(&path).unwrap();
        let laid = store.stage(&digest, &tree).unwrap();
        assert_eq!(inodes(laid.path()), 5, "laid out");
        let dest = fresh.path().join(format!("linked-{round}"));
        store.check_out(&tree, &dest, Checkout::Link, false).unwrap();
        assert_eq!(inodes(&dest), 5, "checked out");
    }
}
