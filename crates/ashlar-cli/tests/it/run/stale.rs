//! What was found although something had changed, and what was left in its place although something
//! else was found.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::tree::{ALL_BUILT, ALL_FOUND, Tree};

#[test]
fn switching_branches_and_back_puts_back_what_belongs_there() {
    let tree = Tree::new();
    tree.commit_all();
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    let (main, light) = (tree.debs("vs"), tree.ledd("vs"));
    assert_eq!(light, "vs: 40 %\n");

    tree.git(&["switch", "--quiet", "--create", "other"]);
    tree.edit("src/ledd/ledd.c", "LED_BRIGHT 40", "LED_BRIGHT 60");
    tree.git(&["commit", "--quiet", "--all", "--message=brighter"]);
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    let other = tree.debs("vs");
    assert_eq!(tree.ledd("vs"), "vs: 60 %\n");

    // All files are there, so that a cache that skips restoring would leave them.
    for _ in 0..2 {
        tree.git(&["switch", "--quiet", "main"]);
        assert_eq!(tree.vs(&[]), ALL_FOUND);
        assert!(tree.debs("vs") == main, "main's packages are not there");
        assert_eq!(tree.ledd("vs"), light);
        tree.git(&["switch", "--quiet", "other"]);
        assert_eq!(tree.vs(&[]), ALL_FOUND);
        assert!(tree.debs("vs") == other, "the other branch's packages are not there");
    }
    tree.all_is_well();
}

#[test]
fn renaming_a_source_is_seen() {
    let tree = Tree::new();
    tree.vs(&[]);
    let folder = tree.root.join("src/portctl");
    // Nothing in the flavour reads it, and its content is the same.
    std::fs::rename(folder.join("platform-generic.h"), folder.join("platform-general.h")).unwrap();
    let made = tree.make(&["platform=vs"]);
    assert_eq!(made.outcomes, "ledd:hit libportname:hit portctl:built");
}

#[test]
fn a_mode_that_changes_is_seen() {
    let tree = Tree::new();
    tree.vs(&[]);
    let script = tree.root.join("src/ledd/ledd.h");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn an_untracked_file_is_seen() {
    let tree = Tree::new();
    tree.commit_all();
    tree.vs(&[]);
    tree.file("src/ledd/colour.h", "#define COLOUR green\n");
    let made = tree.make(&["platform=vs"]);
    assert_eq!(made.outcomes, "ledd:built libportname:hit portctl:hit");
    std::fs::remove_file(tree.root.join("src/ledd/colour.h")).unwrap();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn what_is_found_is_newer_than_what_it_is_made_from() {
    let tree = Tree::new();
    tree.vs(&[]);
    let source = tree.root.join("src/ledd/ledd.c");
    let now = std::time::SystemTime::now();
    std::fs::File::options().write(true).open(&source).unwrap().set_modified(now).unwrap();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    for package in ["ledd", "ledd-dev", "ledd-dbg"] {
        let made = tree.deb("vs", package).metadata().unwrap().modified().unwrap();
        assert!(made >= now, "{package}");
        assert!(made <= std::time::SystemTime::now(), "{package} is of the future");
    }
}

#[test]
fn an_edited_patch_is_seen() {
    let tree = Tree::new();
    tree.vs(&[]);
    assert_eq!(tree.portctl("vs"), "platform vs\nEthernet1\n");
    tree.edit("src/libportname/patches/ethernet-names.patch", "\"Ethernet%u", "\"Port%u");
    tree.edit("src/libportname/patches/names-start-at-one.patch", "\"Ethernet%u", "\"Port%u");
    tree.edit("src/libportname/patches/names-start-at-one.patch", "\"Ethernet%u", "\"Port%u");
    // Who uses the library is built with the new one.
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:built");
    assert_eq!(tree.portctl("vs"), "platform vs\nPort1\n");
}

#[test]
fn a_flag_that_changes_is_seen_although_no_file_does() {
    let tree = Tree::new();
    tree.vs(&[]);
    let first = tree.debs("vs");
    assert_eq!(tree.vs(&["LED_PROFILE=bright"]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(tree.ledd("vs"), "vs: 100 %\n");
    // Back again: what lies there is younger than every source, and is the wrong one.
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert!(tree.debs("vs") == first);
    assert_eq!(tree.ledd("vs"), "vs: 40 %\n");
}

#[test]
fn what_was_made_with_a_sanitizer_is_never_shipped_without() {
    let tree = Tree::new();
    let sanitized = |tree: &Tree| {
        let root = tree.unpack("vs", &["ledd", "portctl"]);
        ["usr/sbin/ledd", "usr/bin/portctl"].map(|path| {
            let program = std::fs::read(root.path().join(path)).unwrap();
            program.windows(11).any(|bytes| bytes == b"libasan.so.")
        })
    };
    assert_eq!(tree.vs(&["ENABLE_ASAN=y"]), ALL_BUILT);
    assert_eq!(sanitized(&tree), [true, true]);
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    assert_eq!(sanitized(&tree), [false, false]);
    assert_eq!(tree.vs(&["ENABLE_ASAN=y"]), ALL_FOUND);
    assert_eq!(sanitized(&tree), [true, true]);
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert_eq!(sanitized(&tree), [false, false]);
}

#[test]
fn a_variable_of_the_environment_that_counts_is_seen() {
    let mut tree = Tree::new();
    tree.vs(&[]);
    tree.set("BLDENV", "trixie");
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    let control = |tree: &Tree| {
        let deb = tree.deb("vs", "ledd");
        let mut command = tree.command("dpkg-deb", &["--field"]);
        let output = command.arg(deb).arg("Built-For").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(control(&tree), "trixie\n");
    tree.set("BLDENV", "bookworm");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert_eq!(control(&tree), "bookworm\n");
}

#[test]
fn links_count_with_what_they_lead_to() {
    let tree = Tree::new();
    let outside = tree.root.parent().unwrap().join("certificate.pem");
    std::fs::write(&outside, "one").unwrap();
    symlink(&outside, tree.root.join("src/ledd/certificate.pem")).unwrap();
    tree.file("shared/colours/green", "0 1 0\n");
    symlink("../../shared/colours", tree.root.join("src/ledd/colours")).unwrap();
    symlink("nowhere/at/all", tree.root.join("src/ledd/dangling")).unwrap();
    symlink("circle", tree.root.join("src/ledd/circle")).unwrap();
    symlink("..", tree.root.join("src/ledd/up")).unwrap();
    // What copies the source for building must not follow them.
    tree.edit("scripts/build-deb", "cp -R \"$source\"", "cp -RP \"$source\"");
    let built = "ledd:built libportname:hit portctl:hit";
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    std::fs::write(&outside, "two").unwrap();
    assert_eq!(tree.vs(&[]), built, "the content behind a link to a file");
    tree.file("shared/colours/green", "0 0.5 0\n");
    assert_eq!(tree.vs(&[]), built, "the content behind a link to a folder");
    std::fs::remove_file(tree.root.join("src/ledd/dangling")).unwrap();
    symlink("nowhere/else", tree.root.join("src/ledd/dangling")).unwrap();
    assert_eq!(tree.vs(&[]), built, "where a link leads");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn thousands_of_inputs_count_each() {
    let tree = Tree::new();
    let long = "a-rather-long-name-so-that-no-list-of-arguments-holds-all-of-them".repeat(2);
    for number in 0..6000 {
        tree.file(&format!("src/ledd/data/{}/{long}-{number}", number % 60), "x");
    }
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    tree.clean();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    tree.file(&format!("src/ledd/data/17/{long}-5957"), "y");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
}
