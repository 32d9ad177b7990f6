//! A tree over what is there: replaced, kept, removed, dated, finished after a kill.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use ashlar_object::{Node, RelPath};
use ashlar_store::{Capture, OpenOptions, Store};

use super::finish::Op;
use super::*;

struct World {
    dir: tempfile::TempDir,
    store: LocalStore,
    stat: StatCache,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("store"), OpenOptions::default()).unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, store, stat: StatCache::in_memory() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// What a script makes in an empty folder, as a tree.
    fn tree(&self, script: &str) -> Tree {
        let from = tempfile::tempdir_in(self.dir.path()).unwrap();
        sh(from.path(), script);
        self.store.import_folder(from.path(), Capture::Snapshot).unwrap().1
    }

    fn put(&self, times: Times) -> Put<'_> {
        let root = Box::leak(self.root().into_boxed_path());
        Put { store: &self.store, root, stat: &self.stat, times, starts: &[], last: &[] }
    }

    fn place(&self, tree: &Tree) -> Placed {
        self.put(Times::Fresh).place(tree, &|_| false, &|_| false).unwrap()
    }

    fn sh(&self, script: &str) {
        sh(&self.root(), script);
    }

    fn meta(&self, path: &str) -> std::fs::Metadata {
        self.root().join(path).symlink_metadata().unwrap()
    }
}

fn sh(dir: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(dir);
    // Tests that were started by a make are no part of it: a make within one says more.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Everything in a folder: kind, mode and content.
fn all(root: &Path) -> BTreeMap<PathBuf, (char, u32, Vec<u8>)> {
    fn below(root: &Path, at: &Path, into: &mut BTreeMap<PathBuf, (char, u32, Vec<u8>)>) {
        for entry in root.join(at).read_dir().unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let meta = root.join(&path).symlink_metadata().unwrap();
            let mode = meta.mode() & 0o7777;
            if meta.is_dir() {
                into.insert(path.clone(), ('d', mode, Vec::new()));
                below(root, &path, into);
            } else if meta.is_symlink() {
                let to = root.join(&path).read_link().unwrap();
                into.insert(path, ('l', 0, to.into_os_string().into_encoded_bytes()));
            } else {
                let content = std::fs::read(root.join(&path)).unwrap();
                into.insert(path, ('f', mode, content));
            }
        }
    }
    let mut into = BTreeMap::new();
    below(root, Path::new(""), &mut into);
    into
}

const MIXED: &str = "mkdir -p a/b c; echo 1 >a/b/file; echo 2 >a/tool; chmod 755 a/tool; \
    echo 3 >c/odd; chmod 600 c/odd; ln -s ../elsewhere a/link; : >empty; mkdir closed; \
    echo 4 >closed/in; chmod 555 closed; mkdir -p 1/2; echo 5 >1/2/3";

#[test]
fn an_empty_root_gets_everything() {
    let world = World::new();
    let tree = world.tree(MIXED);
    let placed = world.place(&tree);
    assert_eq!((placed.files, placed.kept_files, placed.removed), (7, 0, 0));
    let again = tempfile::tempdir().unwrap();
    sh(again.path(), MIXED);
    assert_eq!(all(&world.root()), all(again.path()));
    assert_eq!(world.meta("a/b/file").nlink(), 1);
}

#[test]
fn what_is_there_is_replaced_whatever_it_is() {
    let world = World::new();
    let tree = world.tree(MIXED);
    // A link to a folder, a folder for a file, a file for a folder, another link, another content
    // and another mode.
    world.sh(
        "mkdir -p ../outside a/tool/deep a/link; echo x >../outside/file; ln -s ../outside c; \
        echo f >a/b; echo x >a/tool/deep/x; echo 4 >1; ln -s nowhere empty",
    );
    world.place(&tree);
    let again = tempfile::tempdir().unwrap();
    sh(again.path(), MIXED);
    assert_eq!(all(&world.root()), all(again.path()));
    assert_eq!(all(&world.dir.path().join("outside")).len(), 1);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let world = World::new();
    let tree = world.tree(MIXED);
    world.place(&tree);
    let before = world.meta("a/tool").ino();
    world.sh("echo changed >a/b/file");
    let placed = world.place(&tree);
    assert_eq!((placed.files, placed.kept_files, placed.moved_bytes), (1, 6, 2));
    assert_eq!(world.meta("a/tool").ino(), before);
    assert_eq!(std::fs::read(world.root().join("a/b/file")).unwrap(), b"1\n");
}

#[test]
fn stale_files_of_the_result_go_and_nothing_else() {
    let world = World::new();
    let tree = world.tree("mkdir -p build; echo 1 >build/new");
    world.sh("mkdir -p build/old/deep other build/mixed; echo x >build/old/deep/x; \
        echo s >other/mine; echo t >build/mixed/tracked; echo u >build/mixed/stale; echo m >top");
    let owned = |path: &Path| path.starts_with("build") || path.starts_with("gone/x");
    let spare = |path: &Path| path == Path::new("build/mixed/tracked");
    world.sh("mkdir gone; echo x >gone/x; echo y >gone/y");
    let starts = [PathBuf::from("gone/x")];
    let put = Put { starts: &starts, ..world.put(Times::Fresh) };
    let placed = put.place(&tree, &owned, &spare).unwrap();
    let left: Vec<_> = all(&world.root()).into_keys().map(|p| p.display().to_string()).collect();
    let expected = ["build", "build/mixed", "build/mixed/tracked", "build/new", "gone", "gone/y"];
    assert_eq!(left, [&expected[..], &["other", "other/mine", "top"]].concat());
    assert_eq!(placed.removed, 5);
}

#[test]
fn a_folder_that_holds_what_must_stay_is_in_the_way() {
    let world = World::new();
    let tree = world.tree("echo 1 >file");
    world.sh("mkdir file; echo x >file/tracked");
    let spare = |path: &Path| path == Path::new("file/tracked");
    let error = world.put(Times::Fresh).place(&tree, &|_| true, &spare).unwrap_err();
    assert!(matches!(error, PlaceError::InTheWay { .. }), "{error}");
    assert_eq!(all(&world.root()).len(), 2);
}

#[test]
fn a_blob_that_is_gone_or_damaged_changes_nothing() {
    let world = World::new();
    let tree = world.tree("echo 1 >a; head -c 100000 /dev/zero >b; echo 3 >c");
    world.sh("echo mine >a; mkdir d");
    let before = all(&world.root());
    let Some(Node::File(file)) = tree.get(&"b".parse_path()) else { panic!("no b") };
    let hex = file.digest.hex();
    let blob = world.store.path().join("blobs").join(&hex[..2]).join(&hex);
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[5000] ^= 1;
    let time = std::fs::metadata(&blob).unwrap().modified().unwrap();
    std::fs::write(&blob, bytes).unwrap();
    std::fs::File::options().write(true).open(&blob).unwrap().set_modified(time).unwrap();
    for _ in 0..2 {
        let error = world.put(Times::Fresh).place(&tree, &|_| true, &|_| false).unwrap_err();
        assert!(matches!(error, PlaceError::Missing(digest) if digest == file.digest), "{error}");
        assert_eq!(all(&world.root()), before);
    }
}

trait ParsePath {
    fn parse_path(&self) -> RelPath;
}

impl ParsePath for str {
    fn parse_path(&self) -> RelPath {
        RelPath::parse(self.as_bytes()).unwrap()
    }
}

#[test]
fn the_order_of_times_is_kept_and_all_are_newer() {
    let world = World::new();
    let tree = world.tree(
        "echo s >stamp; echo o >object; echo e >equal; touch -d 2001-01-01 object; \
         touch -d 2002-01-01 stamp equal; ln -s x link; touch -h -d 2000-06-01 link",
    );
    world.sh("echo source >source; cp source object");
    let time = |path: &str| (world.meta(path).mtime(), world.meta(path).mtime_nsec());
    let source = time("source");
    let ordered = Times::Ordered { sources: None };
    world.put(ordered).place(&tree, &|_| false, &|_| false).unwrap();
    assert!(source < time("link") && time("link") < time("object"));
    assert!(time("object") < time("stamp") && time("stamp") == time("equal"));
    let later = world.dir.path().join("later");
    std::fs::write(&later, "").unwrap();
    let later = later.metadata().unwrap();
    assert!(time("stamp") <= (later.mtime(), later.mtime_nsec()));

    // In place, in order and newer than the sources: nothing is dated.
    let settled = time("object");
    let newest = Time { seconds: source.0, nanos: u32::try_from(source.1).unwrap() };
    let times = Times::Ordered { sources: Some(newest) };
    world.put(times).place(&tree, &|_| false, &|_| false).unwrap();
    assert_eq!(time("object"), settled);
    // A checkout made the sources newer, or somebody touched one file: all are dated again.
    for script in ["touch source", "touch object"] {
        std::thread::sleep(std::time::Duration::from_millis(20));
        world.sh(script);
        let source = time("source");
        let newest = Time { seconds: source.0, nanos: u32::try_from(source.1).unwrap() };
        let times = Times::Ordered { sources: Some(newest) };
        let placed = world.put(times).place(&tree, &|_| false, &|_| false).unwrap();
        assert_eq!((placed.files, placed.kept_files), (0, 4));
        assert!(source < time("object") && time("object") < time("stamp"), "{script}");
        assert!(time("stamp") == time("equal"));
    }
}

/// A make that finds restored outputs over a fresh checkout has nothing to do, and after a change
/// it does what depends on the change only.
#[test]
fn make_is_satisfied_with_what_was_placed() {
    let world = World::new();
    let makefile = "all: out/b\nout/a: src\n\tcat src >out/a\nout/b: out/a src2\n\
        \tcat out/a src2 >out/b\n";
    world.sh(&format!("printf '{makefile}' >Makefile; echo 1 >src; echo 2 >src2; mkdir out; make"));
    let kept = world.store.import_folder(&world.root().join("out"), Capture::Snapshot).unwrap().1;
    let tree = kept.below(&"out".parse_path());
    // A checkout after the build.
    world.sh("rm -r out; touch Makefile src src2; touch -d '+1 hour' future; rm future");
    let times = Times::Ordered { sources: None };
    world.put(times).place(&tree, &|_| false, &|_| false).unwrap();
    world.sh("make -q");
    world.sh("touch src2; test \"$(make -n)\" = 'cat out/a src2 >out/b'; make; make -q");
}

#[test]
fn new_files_need_not_be_read_again() {
    let world = World::new();
    let tree = world.tree(&format!("{MIXED}; sleep 0.05"));
    std::thread::sleep(std::time::Duration::from_millis(10));
    let times = Times::Ordered { sources: None };
    world.put(times).place(&tree, &|_| false, &|_| false).unwrap();
    let path = world.root().join("a/b/file");
    // What was written so quickly may be read once; what was written slowly is known.
    let known = world.stat.known(&path, &path.symlink_metadata().unwrap());
    let Some(Node::File(file)) = tree.get(&"a/b/file".parse_path()) else { panic!("no file") };
    assert!(known.is_none() || known == Some(file.digest));
    // And a change is seen in any case.
    world.sh("printf '9\\n' >a/b/file");
    let meta = path.symlink_metadata().unwrap();
    assert_eq!(world.stat.digest_file(&path, &meta).unwrap(), Digest::of(b"9\n"));
}

/// Stops after each number of steps; whoever comes next finishes it.
#[test]
fn what_was_stopped_anywhere_is_finished_by_the_next() {
    let old = "mkdir -p a/b c; echo old >a/b/file; ln -s old link; echo x >stale; mkdir tool; \
        echo y >tool/y";
    let new = "mkdir -p a/b c d; echo new >a/b/file; echo z >d/z; echo l >link; echo t >tool; \
        echo last >c/last";
    for stop in 0.. {
        let world = World::new();
        world.sh(old);
        let tree = world.tree(new);
        let root = world.root();
        let last = [PathBuf::from("c/last")];
        let put = Put { last: &last, ..world.put(Times::Fresh) };
        let plan = found::look(&put, &root, &tree, &|_| true, &|_| false).unwrap();
        let area = Area::make(&root, &plan.tops()).unwrap();
        let moments = Moments::begin(&tree, Times::Fresh);
        let staged = stage::stage(&put, None, &root, &area, &plan, &moments, &|_| false).unwrap();
        assert!(matches!(staged.ops.last(), Some(Op::Put { path, .. }) if *path == last[0]));
        area.note(&staged.ops).unwrap();
        finish::run(&root, &staged.ops[..stop.min(staged.ops.len())], false).unwrap();
        drop(area);
        assert!(root.read_dir().unwrap().any(|e| e.unwrap().file_name().as_bytes()[0] == b'.'));
        // Somebody else, with nothing to place.
        world.place(&Tree::default());
        let again = tempfile::tempdir().unwrap();
        sh(again.path(), new);
        assert_eq!(all(&root), all(again.path()), "stopped after {stop}");
        if stop > staged.ops.len() {
            break;
        }
    }
}

#[test]
fn leftovers_without_a_note_are_removed_and_bad_notes_do_no_harm() {
    let world = World::new();
    world.sh(
        "mkdir -p .ashlar-place.1/new .ashlar-place.2 .ashlar-place.3 ../outside; echo x >keep; \
        printf 'ashlar-place-1\\0away\\0keep\\0' >.ashlar-place.2/note; echo y >../outside/y; \
        printf 'ashlar-place-1\\0away\\0../outside\\0keep2\\0end\\0' >.ashlar-place.3/note",
    );
    world.place(&Tree::default());
    assert_eq!(all(&world.root()).into_keys().collect::<Vec<_>>(), [PathBuf::from("keep")]);
    assert!(world.dir.path().join("outside/y").exists());
}

/// A process is killed at random moments while it replaces one tree by another; what is there
/// after the next placing is one of them, whole.
#[test]
fn a_kill_at_any_moment_leaves_one_of_the_two() {
    let world = World::new();
    let make = |what: &str| {
        format!(
            "for d in 1 2 3 4 5 6 7 8; do mkdir -p d$d; for f in 1 2 3 4 5 6 7 8 9 10; do \
            echo {what} >d$d/f$f-$((d % 2)); done; done; mkdir {what}; echo {what} >{what}/x"
        )
    };
    let trees = [world.tree(&make("one")), world.tree(&make("two"))];
    let hexes: Vec<String> = trees
        .iter()
        .map(|tree| ashlar_store::put(&world.store, &tree.encode()).unwrap().to_string())
        .collect();
    world.place(&trees[0]);
    let wanted: Vec<_> = ["one", "two"]
        .map(|what| {
            let dir = tempfile::tempdir().unwrap();
            sh(dir.path(), &make(what));
            all(dir.path())
        })
        .into();
    let this = std::env::current_exe().unwrap();
    let mut seen = [0; 2];
    for round in 0..24_u64 {
        let mut child = Command::new(&this)
            .args(["--ignored", "--exact", "place::tests::inner_places_in_turn"])
            .env("ASHLAR_TEST_PLACES", world.dir.path())
            .env("ASHLAR_TEST_TREES", hexes.join(" "))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(20_000 + round * 1_370 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        world.place(&Tree::default());
        let found = all(&world.root());
        let which = wanted.iter().position(|tree| *tree == found);
        seen[which.expect("neither the one nor the other")] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
#[ignore = "run by the one before, in a process that is killed"]
fn inner_places_in_turn() {
    let (Some(dir), Ok(trees)) =
        (std::env::var_os("ASHLAR_TEST_PLACES"), std::env::var("ASHLAR_TEST_TREES"))
    else {
        return;
    };
    let dir = PathBuf::from(dir);
    let store = LocalStore::open(&dir.join("store"), OpenOptions::default()).unwrap();
    let stat = StatCache::in_memory();
    let trees: Vec<Tree> = trees
        .split(' ')
        .map(|digest| ashlar_store::read_tree(&store, &digest.parse().unwrap()).unwrap().unwrap())
        .collect();
    let root = dir.join("root");
    let times = Times::Fresh;
    let put = Put { store: &store, root: &root, stat: &stat, times, starts: &[], last: &[] };
    for tree in trees.iter().cycle() {
        put.place(tree, &|_| true, &|_| false).unwrap();
    }
}

#[test]
fn two_at_once_come_one_after_the_other() {
    let world = World::new();
    let trees =
        [world.tree(MIXED), world.tree("mkdir -p a c; echo x >a/b; echo y >c/odd; echo z >1")];
    std::thread::scope(|scope| {
        for tree in trees.iter().cycle().take(8) {
            scope.spawn(|| {
                let stat = StatCache::in_memory();
                let root = world.root();
                let put = Put { root: &root, stat: &stat, ..world.put(Times::Fresh) };
                for _ in 0..5 {
                    put.place(tree, &|_| true, &|_| false).unwrap();
                }
            });
        }
    });
    let found = all(&world.root());
    let whole = trees.iter().any(|tree| {
        let fresh = World::new();
        let put = Put { store: &world.store, ..fresh.put(Times::Fresh) };
        put.place(tree, &|_| true, &|_| false).unwrap();
        all(&fresh.root()) == found
    });
    assert!(whole, "{found:?}");
}

#[test]
fn a_closed_folder_is_opened_and_closed_again() {
    let world = World::new();
    let tree = world.tree(&MIXED.replace("echo 4", "echo 44"));
    world.sh(MIXED);
    world.place(&tree);
    assert_eq!(std::fs::read(world.root().join("closed/in")).unwrap(), b"44\n");
    assert_eq!(world.meta("closed").permissions().mode() & 0o7777, 0o555);
}

/// A tree whose contents are in another store.
struct Far {
    _dir: tempfile::TempDir,
    store: LocalStore,
    tree: Tree,
    found: Found,
}

fn far(script: &str) -> Far {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&dir.path().join("store"), OpenOptions::default()).unwrap();
    let from = tempfile::tempdir_in(dir.path()).unwrap();
    sh(from.path(), script);
    let (outputs, tree) = store.import_folder(from.path(), Capture::Snapshot).unwrap();
    let (root, started) = (tree.root_digest(), Time { seconds: 0, nanos: 0 });
    let took = std::time::Duration::ZERO;
    let result = ashlar_object::ActionResult { outputs, root, log: Digest::EMPTY, started, took };
    let found = Found { action: Digest::of(b"action"), result };
    Far { _dir: dir, store, tree, found }
}

const TWICE: &str = "mkdir -p a b; echo 1 >a/one; echo 1 >b/one; chmod 4755 b/one; echo 2 >a/two; \
    : >a/empty; echo 3 >kept; head -c 9000000 /dev/zero >b/large";

impl Far {
    /// Brings what is lacking, with or without saying beforehand what it is.
    fn bring(&self, into: &dyn Store, named: bool, but: Option<Digest>) -> bool {
        let all: Vec<Digest> =
            self.tree.blobs().into_iter().chain([self.found.result.log]).collect();
        for digest in into.missing(&all).unwrap() {
            if Some(digest) == but {
                continue;
            }
            let mut bytes = self.store.open(&digest).unwrap().unwrap();
            let came = match named {
                true => into.put_checked(&digest, false, &mut bytes),
                false => into.put(&mut bytes),
            };
            assert_eq!(came.unwrap(), digest);
        }
        true
    }
}

#[test]
fn contents_from_far_come_right_into_their_places() {
    for named in [true, false] {
        let (world, far) = (World::new(), far(TWICE));
        world.sh("echo 3 >kept");
        let here = world.store.put(&mut &b"2\n"[..]).unwrap();
        let bring = |into: &dyn Store| Ok(far.bring(into, named, None));
        let put = world.put(Times::Fresh);
        let placed =
            put.place_from_far(&far.found, &bring, &far.tree, &|_| false, &|_| false).unwrap();
        assert_eq!((placed.files, placed.kept_files), (5, 1));
        let again = tempfile::tempdir().unwrap();
        sh(again.path(), TWICE);
        assert_eq!(all(&world.root()), all(again.path()));
        assert_eq!(world.meta("b/one").nlink(), 1);
        // Nothing but what was there is in the store.
        let mut not_kept = far.tree.blobs();
        not_kept.retain(|digest| *digest != Digest::EMPTY && *digest != here);
        assert_eq!(world.store.missing(&not_kept).unwrap(), not_kept);
        // It is remembered which content is where.
        let meta = world.meta("b/large");
        let path = world.root().join("b/large");
        assert_eq!(world.stat.digest_file(&path, &meta).unwrap().size, 9_000_000);
    }
}

#[test]
fn when_not_all_comes_from_far_nothing_changes() {
    let (world, far) = (World::new(), far(TWICE));
    world.sh("echo old >kept; mkdir a; echo old >a/two");
    let before = all(&world.root());
    let lost = Digest::of(b"1\n");
    let bring = |into: &dyn Store| Ok(far.bring(into, true, Some(lost)));
    let put = world.put(Times::Fresh);
    let error = put.place_from_far(&far.found, &bring, &far.tree, &|_| true, &|_| false);
    assert!(matches!(error, Err(PlaceError::Missing(digest)) if digest == lost), "{error:?}");
    assert_eq!(all(&world.root()), before);

    // Nor when whoever brings it says so after some have come.
    let bring = |into: &dyn Store| {
        far.bring(into, true, Some(lost));
        Ok(false)
    };
    let error = put.place_from_far(&far.found, &bring, &far.tree, &|_| true, &|_| false);
    assert!(matches!(error, Err(PlaceError::Missing(_))), "{error:?}");
    assert_eq!(all(&world.root()), before);
}

#[test]
fn a_content_that_came_wrong_may_come_once_more() {
    let (world, far) = (World::new(), far(TWICE));
    let first = std::sync::atomic::AtomicBool::new(true);
    let bring = |into: &dyn Store| {
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            let one = Digest::of(b"1\n");
            assert!(into.put_checked(&one, false, &mut Broken(1)).is_err());
        }
        Ok(far.bring(into, true, None))
    };
    let put = world.put(Times::Fresh);
    put.place_from_far(&far.found, &bring, &far.tree, &|_| false, &|_| false).unwrap();
    let again = tempfile::tempdir().unwrap();
    sh(again.path(), TWICE);
    assert_eq!(all(&world.root()), all(again.path()));
}

/// Gives so many bytes, then fails.
struct Broken(usize);

impl io::Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0 -= 1;
        buffer[0] = b'x';
        Ok(1)
    }
}
