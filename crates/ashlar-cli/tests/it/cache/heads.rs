//! How the caches of a well-known firmware project went wrong, one test for each.

use super::{Space, all};

#[test]
fn restored_stamps_are_newer_than_a_fresh_checkout() {
    let space = Space::new();
    space.job().good();
    assert_eq!(space.log().len(), 9);
    let next = space.checkout();
    next.run(&["restore"]).good();
    next.sh("make -q");
    next.job().good();
    assert_eq!(next.log(), [""; 0]);
    assert_eq!(next.read("build/top/out"), "top 1\npatch of top\n");
}

/// Case 1: The build tree came back and the downloads did not: sources were patched twice, and
/// `patch` asked a question.
#[test]
fn no_partial_restore_over_stamps() {
    let space = Space::new();
    space.job().good();
    // The download of one module is damaged: none of its layer may come back.
    space.flip("packages/top.tar");
    let next = space.checkout();
    let ran = next.job().good().says("layer modules (branch:main, local) is damaged");
    assert!(ran.err.contains("restored layer middle"), "{}", ran.err);
    assert_eq!(next.log(), ["built top", "downloaded top", "patched top"]);
    // It was saved again.
    assert_eq!(space.checkout().restored().0, "modules");
}

/// Case 2: A new version left the list of folders behind: the cache was quietly useless.
#[test]
fn saved_paths_that_are_not_there_are_an_error() {
    let space = Space::new();
    let layers = space.read("ashlar-cache.toml");
    let wrong = layers.replace("[\"packages\", \"build\"]", "[\"packages\", \"output\", \"o*\"]");
    space.file("ashlar-cache.toml", &wrong);
    space.sh("make");
    let ran = space.run(&["save"]).exits(2);
    let ran = ran.says("nothing matches `output`, `o*` in `paths` of layer modules");
    let ran = ran.says("--allow-missing keeps the rest");
    assert!(!ran.err.contains("kept"), "nothing is kept: {}", ran.err);
    let plan = space.run(&["plan"]).exits(2);
    assert!(plan.out.contains("match nothing in the paths: output, o*"), "{}", plan.out);
    assert_eq!(space.restored().0, "-");
    // A job says so as well, however well it went.
    space.job().exits(2).says("nothing matches `output`");
    assert_eq!(space.saved(&["--allow-missing"]), "modules:kept middle:kept base:kept");
}

/// Case 3: A restore put older blobs over files that git tracks: every image said "-dirty".
#[test]
fn files_that_git_tracks_are_neither_kept_nor_touched() {
    let space = Space::new();
    space.file("build/blobs/microcode", "tracked\n");
    space.sh("git add -f build/blobs");
    space.commit();
    let ran =
        space.job().exits(2).says("git tracks 1 of what would be kept: build/blobs/microcode");
    ran.says("--allow-tracked leaves these files out");
    let plan = space.run(&["plan"]).exits(2);
    assert!(plan.out.contains("tracked by git: build/blobs/microcode"), "{}", plan.out);
    assert_eq!(space.saved(&["--allow-tracked"]), "modules:kept middle:kept base:kept");

    // It changes, and something beside it is tracked that was kept before.
    space.sh("git add -f build/base/out");
    space.commit();
    let next = space.checkout();
    next.file("build/blobs/microcode", "newer\n");
    next.file("build/base/out", "mine\n");
    next.commit();
    assert_eq!(next.restored().0, "modules");
    assert_eq!(next.sh("git status --porcelain"), "");
    assert_eq!(next.read("build/blobs/microcode"), "newer\n");
    assert_eq!(next.read("build/base/out"), "mine\n");
    assert_eq!(next.read("build/top/out"), "top 1\npatch of top\n");
}

/// Case 3: The key hashed some files only: blobs, modes, names and links count as well.
#[test]
fn everything_of_the_files_of_a_key_is_in_it() {
    let space = Space::new();
    space.file("modules/blob.bin", "binary");
    space.commit();
    space.job().good();
    for change in [
        "printf changed >modules/blob.bin",
        "chmod +x modules/blob.bin",
        "mv modules/blob.bin modules/blob.bin2",
        "ln -s blob.bin modules/link",
        "echo new >modules/untracked",
    ] {
        let next = space.checkout();
        assert_eq!(next.event(&["plan", "--json"])["layer"], "base");
        next.sh(change);
        assert_eq!(next.restored().0, "middle", "{change}");
    }
    // And what is not in it changes nothing: times, and files elsewhere.
    let next = space.checkout();
    next.sh("touch modules/*; echo x >README; sed -i 's/^version.*/&  # why/' ashlar-cache.toml");
    assert_eq!(next.restored().0, "modules");
    let next = space.checkout();
    next.sh("sed -i 's/^version.*/version = \"2\"/' ashlar-cache.toml");
    assert_eq!(next.restored().0, "-");
}

/// Case 4: The stamp depends on the tarball only, so an edited patch changed nothing.
#[test]
fn an_edited_patch_is_seen() {
    let space = Space::new();
    space.job().good();
    let next = space.checkout();
    next.file("patches/top.patch", "another patch\n");
    next.job().good().says("restored layer middle");
    assert_eq!(next.log(), ["built top", "downloaded top", "patched top"]);
    assert_eq!(next.read("build/top/out"), "top 1\nanother patch\n");
    let next = space.checkout();
    next.file("patches/mid.patch", "another patch\n");
    next.job().good().says("restored layer base");
    assert_eq!(next.log().len(), 6, "{:?}", next.log());
    assert_eq!(next.read("build/mid/out"), "mid 1\nanother patch\n");
}

/// Case 5: Moving what was kept took longer than building it.
#[test]
fn a_full_hit_moves_nothing() {
    let space = Space::new();
    space.job().good();
    let event = space.event(&["restore", "--json"]);
    assert_eq!(
        (&event["files"], &event["bytes"], &event["removed"]),
        (&0.into(), &0.into(), &0.into())
    );
    // What is kept is not even looked at: a device could not be kept.
    space.sh("rm -f build/base/device; mknod build/base/device c 1 3 2>/dev/null || mkfifo build/base/device");
    assert_eq!(space.saved(&[]), "modules:exists middle:exists base:exists");
    // Only what is lacking is written, and what is stale goes.
    space.sh("rm build/base/device build/top/out; echo x >build/top/stale; echo y >>build/mid/out");
    let event = space.event(&["restore", "--json"]);
    assert_eq!((&event["files"], &event["removed"]), (&2.into(), &1.into()));
    let next = space.checkout();
    let event = next.event(&["skip-if-hit", "modules", "--json"]);
    assert_eq!(event["hit"], true);
    assert!(!next.root.join("build").exists());
}

/// Case 6: A job that failed kept nothing.
#[test]
fn a_failed_job_keeps_what_it_did() {
    let space = Space::new();
    let first = space.checkout();
    first.file("fail-top", "");
    let ran = first.job().exits(2);
    assert!(ran.err.contains("kept what is there of layer modules"), "{}", ran.err);
    // Layers are partial altogether: what is complete is not known.
    let next = space.checkout();
    let ran = next.job().good();
    assert!(ran.err.contains("restored what a job left of layer modules"), "{}", ran.err);
    assert_eq!(next.log(), ["built top"]);
    // From here on there is a complete one, which goes first.
    let last = space.checkout();
    assert_eq!((last.restored().0, last.restored().1), ("modules".into(), "complete".into()));
    assert_eq!(all(&last.root.join("build")), all(&next.root.join("build")));
}

/// Case 6: Parallel jobs raced for one cache, and three runs were needed for one build.
#[test]
fn parallel_jobs_do_not_race() {
    let space = Space::new();
    let checkouts: Vec<Space> = (0..4).map(|_| space.checkout()).collect();
    std::thread::scope(|scope| {
        for checkout in &checkouts {
            scope.spawn(|| checkout.job().good());
        }
    });
    let next = space.checkout();
    next.job().good().says("restored layer modules");
    assert_eq!(next.log(), [""; 0]);
    space.run(&["plan"]).good();
}
