//! Results that are damaged or not all there.

use std::path::Path;

use super::tree::{ALL_BUILT, ALL_FOUND, Tree};

/// The blob that holds what a file has.
fn blob_of(tree: &Tree, file: &Path) -> std::path::PathBuf {
    let wanted = std::fs::read(file).unwrap();
    let found = tree.blobs().into_iter().find(|blob| std::fs::read(blob).unwrap() == wanted);
    found.unwrap_or_else(|| panic!("no blob has what {} has", file.display()))
}

/// Changes a blob, and gives it its time back when asked to.
fn damage(blob: &Path, keep_time: bool, how: impl FnOnce(&mut Vec<u8>)) {
    let time = blob.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(blob).unwrap();
    how(&mut bytes);
    // Hard links are one file; so is what is damaged.
    let file = std::fs::OpenOptions::new().write(true).truncate(true).open(blob).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    if keep_time {
        file.set_modified(time).unwrap();
    }
}

/// Damages the main package of ledd, and what `make` then does.
fn damaged(keep_time: bool, how: impl FnOnce(&mut Vec<u8>)) {
    let tree = Tree::new();
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    let whole = tree.debs("vs");
    damage(&blob_of(&tree, &tree.deb("vs", "ledd")), keep_time, how);
    tree.clean();
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    assert!(tree.debs("vs") == whole);
    tree.clean();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert!(tree.debs("vs") == whole);
    tree.ashlar(&["store", "verify"]).good();
}

#[test]
fn a_truncated_result_is_built_again() {
    damaged(false, |bytes| bytes.truncate(bytes.len() / 2));
}

#[test]
fn a_truncated_result_with_its_time_kept_is_built_again() {
    damaged(true, |bytes| bytes.truncate(bytes.len() / 2));
}

#[test]
fn an_empty_result_is_built_again() {
    damaged(false, Vec::clear);
}

#[test]
fn a_flipped_byte_is_built_again() {
    damaged(false, |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
}

#[test]
fn a_flipped_byte_with_its_time_kept_is_built_again() {
    damaged(true, |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
}

#[test]
fn a_result_that_is_gone_is_built_again() {
    let tree = Tree::new();
    tree.vs(&[]);
    let whole = tree.debs("vs");
    std::fs::remove_file(blob_of(&tree, &tree.deb("vs", "libportname-doc"))).unwrap();
    tree.clean();
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:hit");
    assert!(tree.debs("vs") == whole);
}

#[test]
fn all_derived_packages_come_back() {
    let tree = Tree::new();
    tree.vs(&[]);
    let whole = tree.debs("vs");
    assert_eq!(whole.len(), 9);
    // All, and each of them alone: also the one that is derived from what is derived.
    tree.clean();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert!(tree.debs("vs") == whole);
    for name in whole.keys() {
        std::fs::remove_file(tree.root.join("target/vs/debs").join(name)).unwrap();
        assert_eq!(tree.vs(&[]), ALL_FOUND, "{name}");
        assert!(tree.debs("vs") == whole, "{name}");
    }
    // One that somebody wrote into is put back too.
    let deb = tree.deb("vs", "libportname-doc");
    std::fs::write(&deb, "something else").unwrap();
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    assert!(tree.debs("vs") == whole);
}

#[test]
fn a_command_that_leaves_out_a_package_is_not_kept() {
    let tree = Tree::new();
    let control = std::fs::read_to_string(tree.root.join("src/ledd/debian/control")).unwrap();
    let without = control.split("\n\nPackage: ledd-dbg").next().unwrap();
    tree.file("src/ledd/debian/control", format!("{without}\n"));
    for _ in 0..2 {
        let made = tree.make_any(&["platform=vs", "--keep-going"]);
        assert_ne!(made.ran.code, 0);
        assert!(!made.outcomes.contains("ledd:"), "neither kept nor found: {}", made.outcomes);
        let error = made.ran.out.lines().find(|line| line.contains("\"event\":\"error\""));
        assert!(error.is_some_and(|line| line.contains("ledd-dbg_0.9-1")), "{error:?}");
    }
}

#[test]
fn a_command_that_fails_is_not_kept_and_its_log_is() {
    let tree = Tree::new();
    tree.edit("src/ledd/ledd.c", "int main(void)", "int main(int unused)");
    tree.edit("src/ledd/ledd.c", "return 0;", "return missing;");
    for _ in 0..2 {
        let made = tree.make_any(&["platform=vs", "--keep-going"]);
        assert_ne!(made.ran.code, 0);
        assert_eq!(
            made.outcomes,
            "ledd:failed libportname:built portctl:built"
                .replace("built", if made.outcomes.contains("hit") { "hit" } else { "built" })
        );
        made.ran.says("missing");
    }
    let ran = tree.ashlar(&["log", "--run", "vs/ledd"]).good();
    assert!((ran.out + &ran.err).contains("missing"));
    tree.edit("src/ledd/ledd.c", "return missing;", "return 0;");
    tree.edit("src/ledd/ledd.c", "int main(int unused)", "int main(void)");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
}
