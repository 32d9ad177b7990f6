//! Whole or not at all: damage, full disks, many at once.

use super::{Space, all};
use crate::never_lost::mounts::Mount;

#[test]
fn a_flipped_byte_is_a_miss() {
    let space = Space::new();
    space.job().good();
    space.flip("build/base/out");
    let next = space.checkout();
    let before = all(&next.root);
    let ran = next.run(&["restore"]).good().says("no layer hits");
    assert!(ran.err.contains("layer modules (branch:main, local) is damaged"), "{}", ran.err);
    assert_eq!(all(&next.root), before);
    next.job().good();
    assert_eq!(space.checkout().restored().0, "modules", "it was kept again");
}

#[test]
fn a_truncated_blob_and_a_blob_that_is_gone_are_misses() {
    let space = Space::new();
    space.job().good();
    let blob = space.blob("build/top/out");
    std::fs::File::options().write(true).open(&blob).unwrap().set_len(3).unwrap();
    assert_eq!(space.checkout().restored().0, "middle");
    std::fs::remove_file(space.blob("build/mid/out")).unwrap();
    assert_eq!(space.checkout().restored().0, "base");
}

#[test]
fn a_full_disk_changes_nothing() {
    let space = Space::new();
    space.sh("make; head -c 3000000 /dev/urandom >build/top/large");
    space.run(&["save"]).good();
    let mut next = space.checkout();
    let disk = next.dir.path().join("disk");
    let Some(_mount) = Mount::disk(&disk, 2 << 20) else { return };
    next.root = disk.join("w");
    space.sh(&format!("git clone -q . {}", next.root.display()));
    next.sh("mkdir -p build/top; echo mine >build/top/out; echo stale >build/stale");
    let before = all(&next.root);
    next.run(&["restore"]).exits(4).says("No space left on device");
    assert_eq!(all(&next.root), before);
    // A smaller layer fits.
    next.file("modules/top", "2\n");
    assert_eq!(next.restored().0, "middle");
}

/// A folder of a cache is often a volume of its own, where nothing can be renamed to from outside.
#[test]
fn a_mount_below_the_root_is_filled_and_stays() {
    let space = Space::new();
    space.job().good();
    let whole = all(&space.root.join("build"));
    let next = space.checkout();
    let Some(_mount) = Mount::disk(&next.root.join("build"), 8 << 20) else { return };
    next.sh("mkdir -p build/stale/x build/top; echo x >build/top/out");
    assert_eq!(next.restored().0, "modules");
    assert_eq!(all(&next.root.join("build")), whole);
    next.sh("make -q; mountpoint -q build; echo y >build/stale");
    let event = next.event(&["restore", "--json"]);
    assert_eq!((&event["files"], &event["removed"]), (&0.into(), &1.into()));
    // With nothing to restore it is emptied, and stays.
    next.file("modules/base", "base 2\n");
    next.run(&["restore", "--clean"]).good();
    next.sh("mountpoint -q build; test -z \"$(ls -A build)\"; test -z \"$(ls -d .ashlar* || :)\"");
}

#[test]
fn two_restores_at_once_in_one_folder() {
    let space = Space::new();
    space.job().good();
    let whole = all(&space.root.join("build"));
    let next = space.checkout();
    next.sh("mkdir -p build/top/out packages/base.tar; echo x >build/mid");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| next.run(&["restore"]).good());
        }
    });
    assert_eq!(all(&next.root.join("build")), whole);
    let hidden = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().starts_with(".ashlar")
    };
    assert!(!next.root.read_dir().unwrap().any(hidden));
    next.sh("make -q");
}

#[test]
fn a_restore_that_was_killed_is_finished_by_the_next() {
    let space = Space::new();
    space.sh("make; for d in 1 2 3 4 5 6; do mkdir build/many$d; for f in $(seq 80); do \
         echo $d $f >build/many$d/$f; done; done");
    space.run(&["save"]).good();
    let whole = all(&space.root.join("build"));
    for round in 0..12_u64 {
        let next = space.checkout();
        // Every file is in the way, so that each is renamed by itself.
        next.sh("for d in 1 2 3 4 5 6; do mkdir -p build/many$d; for f in $(seq 80); do \
             echo old >build/many$d/$f; done; done");
        let mut child = next.command(&["cache", "restore"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10 + round * 9));
        child.kill().unwrap();
        child.wait().unwrap();
        next.run(&["restore"]).good();
        assert_eq!(all(&next.root.join("build")), whole);
        let names: Vec<_> = next.root.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(
            !names.iter().any(|name| name.to_string_lossy().starts_with(".ashlar")),
            "{names:?}"
        );
        next.sh("make -q");
    }
}
