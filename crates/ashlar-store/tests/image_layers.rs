//! Layers of images: what a command left in the upper directory of an overlay, with files that have
//! several names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ashlar_object::{Digest, Node, Tree};
use ashlar_store::{Capture, Checkout, LocalStore, OpenOptions, Store, StoreError};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    store: LocalStore,
    base: u32,
}

fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

impl Fixture {
    fn new(base: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { owner_base: base, read_only: false };
        let store = LocalStore::open(&folder.path().join("store"), options).unwrap();
        Self { folder, store, base }
    }

    /// Another process, as it were, which trusts nothing that this one has seen.
    fn again(&self) -> LocalStore {
        let options = OpenOptions { owner_base: self.base, read_only: false };
        LocalStore::open(self.store.path(), options).unwrap()
    }

    fn upper(&self) -> PathBuf {
        let upper = self.folder.path().join("upper");
        for (path, content, mode) in [
            ("usr/bin/perl", "perl", 0o755),
            ("usr/bin/su", "su", 0o4755),
            ("usr/bin/equal", "perl", 0o755),
            ("var/games/score", "", 0o2664),
        ] {
            let path = upper.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(upper.join("var/games"), fs::Permissions::from_mode(0o3775)).unwrap();
        fs::hard_link(upper.join("usr/bin/perl"), upper.join("usr/bin/perl5.36")).unwrap();
        fs::create_dir(upper.join("opt")).unwrap();
        fs::hard_link(upper.join("usr/bin/perl"), upper.join("opt/perl")).unwrap();
        fs::hard_link(upper.join("usr/bin/su"), upper.join("usr/bin/sg")).unwrap();
        fs::hard_link(upper.join("var/games/score"), upper.join("var/games/tables")).unwrap();
        upper
    }
}

fn groups(tree: &Tree) -> Vec<String> {
    let names = |group: &Vec<ashlar_object::RelPath>| {
        group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    tree.links().iter().map(names).collect()
}

const GROUPS: [&str; 3] = [
    "opt/perl usr/bin/perl usr/bin/perl5.36",
    "usr/bin/sg usr/bin/su",
    "var/games/score var/games/tables",
];

/// What the upper directory of the fixture has to be, wherever it lies.
fn check(folder: &Path, store: &LocalStore) {
    let look = |path: &str| fs::symlink_metadata(folder.join(path)).unwrap();
    for group in GROUPS {
        let names: Vec<_> = group.split(' ').map(look).collect();
        for name in &names {
            assert_eq!(name.nlink(), names.len() as u64, "{group}");
            assert_eq!(name.ino(), names[0].ino(), "{group}");
        }
    }
    assert_eq!(look("usr/bin/su").mode() & 0o7777, 0o4755);
    assert_ne!(look("usr/bin/equal").ino(), look("usr/bin/perl").ino());
    assert_eq!(fs::read(folder.join("opt/perl")).unwrap(), b"perl");
    // The file of a blob would have one more name, and one mode for all trees.
    let hex = Digest::of(b"perl").hex();
    for name in [hex.clone(), format!("{hex}.x")] {
        let blob = store.path().join("blobs").join(&hex[..2]).join(name);
        if let Ok(blob) = blob.symlink_metadata() {
            assert_ne!(blob.ino(), look("opt/perl").ino());
        }
    }
}

#[test]
fn names_of_one_file_stay_together() {
    for base in if is_superuser() { &[0, 524_288][..] } else { &[0] } {
        let fixture = Fixture::new(*base);
        let upper = fixture.upper();
        let (digest, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
        assert_eq!(groups(&tree), GROUPS);
        assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
        let staged = fixture.again().stage(&digest, &tree).unwrap();
        check(staged.path(), &fixture.store);
        // Made anew from blobs it is the same.
        fs::remove_dir_all(staged.path()).unwrap();
        drop(staged);
        let again = fixture.again();
        let staged = again.stage(&digest, &tree).unwrap();
        check(staged.path(), &fixture.store);
        assert_eq!(again.take_warnings(), [""; 0]);
        // And kept again as well.
        let copy = fixture.folder.path().join("copy");
        let status =
            std::process::Command::new("cp").arg("-a").arg(staged.path()).arg(&copy).status();
        assert!(status.unwrap().success());
        let kept = fixture.store.keep_folder(&copy, Capture::ImageLayer).unwrap();
        assert_eq!(kept, (digest, tree.clone()));
        for (name, how) in [("copied", Checkout::Copy), ("linked", Checkout::Link)] {
            let out = fixture.folder.path().join(name);
            fixture.store.check_out(&tree, &out, how, false).unwrap();
            let look = |path: &str| fs::symlink_metadata(out.join(path)).unwrap();
            assert_eq!(look("opt/perl").ino(), look("usr/bin/perl").ino(), "{name}");
            assert_eq!(look("opt/perl").nlink(), 3, "{name}");
        }
    }
}

#[test]
fn other_captures_know_no_hard_links() {
    let fixture = Fixture::new(0);
    for how in [Capture::Layer, Capture::Root, Capture::Snapshot, Capture::Outputs] {
        let (_, tree) = fixture.store.keep_folder(&fixture.upper(), how).unwrap();
        assert!(!tree.has_links(), "{how:?}");
    }
}

#[test]
fn names_outside_of_the_folder_are_no_names_of_the_layer() {
    let fixture = Fixture::new(0);
    let upper = fixture.upper();
    let outside = fixture.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::hard_link(upper.join("usr/bin/perl"), outside.join("perl")).unwrap();
    fs::hard_link(upper.join("usr/bin/equal"), outside.join("equal")).unwrap();
    fs::hard_link(upper.join("usr/bin/su"), outside.join("su")).unwrap();
    let (digest, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
    for name in ["perl", "equal", "su"] {
        fs::write(outside.join(name), "changed through the other name").unwrap();
    }
    assert_eq!(groups(&tree), GROUPS);
    // What is kept is staged already.
    let again = fixture.again();
    let staged = again.stage(&digest, &tree).unwrap();
    assert_eq!(again.take_warnings(), [""; 0]);
    check(staged.path(), &fixture.store);
    assert_eq!(fs::read(staged.path().join("usr/bin/sg")).unwrap(), b"su");
}

#[test]
fn a_folder_of_somebody_is_read_with_its_links() {
    let fixture = Fixture::new(0);
    let upper = fixture.upper();
    let (digest, tree) = fixture.store.import_folder(&upper, Capture::ImageLayer).unwrap();
    assert_eq!(groups(&tree), GROUPS);
    assert!(upper.join("opt/perl").exists());
    assert_eq!(fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap().0, digest);
    let memory = ashlar_store::MemoryStore::new();
    let kept = memory.keep_folder(&fixture.upper(), Capture::ImageLayer);
    assert_eq!(kept.unwrap().1, tree);
}

#[test]
fn owners_and_attributes_of_a_group_are_kept() {
    if !is_superuser() {
        eprintln!("left out: only the superuser can give files away");
        return;
    }
    let fixture = Fixture::new(524_288);
    let upper = fixture.upper();
    let su = upper.join("usr/bin/su");
    chown(&su, Some(524_288), Some(524_288 + 42)).unwrap();
    // Giving a file away takes its set-uid bit.
    fs::set_permissions(&su, fs::Permissions::from_mode(0o4755)).unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&su, name, value, XattrFlags::empty()).unwrap();
    };
    set("user.note", b"kept");
    let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[7; 16]].concat();
    set("security.capability", &capability);
    let (digest, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
    for name in ["usr/bin/su", "usr/bin/sg"] {
        let Some(Node::File(file)) = tree.get(&name.parse().unwrap()) else { panic!("{name}") };
        let extra = file.meta.extra.as_deref().unwrap();
        assert_eq!((file.meta.mode, extra.uid, extra.gid), (0o4755, 0, 42));
        assert_eq!(extra.xattrs["user.note"], b"kept");
        assert_eq!(extra.xattrs["security.capability"], capability);
    }
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    check(staged.path(), &fixture.store);
    fs::remove_dir_all(staged.path()).unwrap();
    drop(staged);
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    check(staged.path(), &fixture.store);
    let sg = fs::symlink_metadata(staged.path().join("usr/bin/sg")).unwrap();
    assert_eq!((sg.uid(), sg.gid()), (524_288, 524_288 + 42));
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(staged.path().join("usr/bin/sg"), "user.note", &mut value);
    assert_eq!(&value[..length.unwrap()], b"kept");
}

#[test]
fn sockets_are_no_content_and_devices_are_named() {
    let fixture = Fixture::new(0);
    let upper = fixture.upper();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("opt/socket")).unwrap();
    let (_, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
    assert_eq!(groups(&tree), GROUPS);
    assert!(tree.get(&"opt/socket".parse().unwrap()).is_none());
    let refused = |kind, name: &str, expected| {
        let upper = fixture.upper();
        let made = rustix::fs::mknodat(CWD, upper.join(name), kind, Mode::RWXU, 0x0103);
        if made.is_err() {
            eprintln!("left out: may not make {name}");
            return;
        }
        match fixture.store.keep_folder(&upper, Capture::ImageLayer) {
            Err(StoreError::Unkeepable { path, what }) => {
                assert_eq!((path, what), (upper.join(name), expected));
            }
            other => panic!("{other:?}"),
        }
        fs::remove_dir_all(&upper).unwrap();
    };
    refused(FileType::CharacterDevice, "opt/null", "a device");
    refused(FileType::BlockDevice, "opt/disk", "a device");
}

#[test]
fn a_fifo_is_one_wherever_the_layer_is_staged() {
    let base = if is_superuser() { 524_288 } else { 0 };
    let fixture = Fixture::new(base);
    let upper = fixture.upper();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, upper.join("opt/fifo"), FileType::Fifo, mode, 0).unwrap();
    fs::set_permissions(upper.join("opt/fifo"), fs::Permissions::from_mode(0o620)).unwrap();
    if is_superuser() {
        chown(upper.join("opt/fifo"), Some(base + 7), Some(base + 42)).unwrap();
    }
    fs::hard_link(upper.join("opt/fifo"), upper.join("opt/twin")).unwrap();
    let (digest, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
    let owner = if is_superuser() { (7, 42) } else { (0, 0) };
    for name in ["opt/fifo", "opt/twin"] {
        match tree.get(&name.parse().unwrap()) {
            Some(Node::Fifo(meta)) => assert_eq!((meta.mode, meta.owner()), (0o620, owner)),
            other => panic!("{other:?}"),
        }
    }
    // What was captured is the staged tree already; then it is made from nothing.
    for removed in [false, true] {
        let store = fixture.again();
        if removed {
            fs::remove_dir_all(store.path().join("trees").join(digest.hex())).unwrap();
        }
        let staged = store.stage(&digest, &tree).unwrap();
        let facts = |name: &str| fs::symlink_metadata(staged.path().join(name)).unwrap();
        let fifo = facts("opt/fifo");
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&fifo.file_type()));
        assert_eq!((fifo.mode() & 0o7777, fifo.mtime()), (0o620, ashlar_object::MOMENT));
        assert_ne!(fifo.ino(), facts("opt/twin").ino());
        if is_superuser() {
            assert_eq!((fifo.uid(), fifo.gid()), (base + 7, base + 42));
        }
    }
    // One that became a file is seen.
    let place = fixture.store.path().join("trees").join(digest.hex()).join("opt/fifo");
    fs::remove_file(&place).unwrap();
    fs::write(&place, "").unwrap();
    let again = fixture.again().stage(&digest, &tree).unwrap();
    let kind = fs::symlink_metadata(again.path().join("opt/fifo")).unwrap().file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
}

#[test]
fn one_file_can_have_a_thousand_names() {
    let fixture = Fixture::new(0);
    let upper = fixture.folder.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("0"), "git").unwrap();
    for number in 1..1000 {
        fs::hard_link(upper.join("0"), upper.join(number.to_string())).unwrap();
    }
    let (digest, tree) = fixture.store.keep_folder(&upper, Capture::ImageLayer).unwrap();
    assert_eq!(tree.links()[0].len(), 1000);
    fs::remove_dir_all(fixture.store.path().join("trees").join(digest.hex())).unwrap();
    let staged = fixture.again().stage(&digest, &tree).unwrap();
    assert_eq!(fs::symlink_metadata(staged.path().join("999")).unwrap().nlink(), 1000);
}
