//! Tests of the cleaning on folders made by hand; with a real overlay it is tested with the
//! sandbox.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// The owner of what a test makes, seen as root.
fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn folder(opaque: bool) -> Node {
    Node::Dir(Arc::new(Dir::new(BTreeMap::new(), Meta::EXECUTABLE, opaque)))
}

fn tree(entries: &[(&str, Node)]) -> Tree {
    entries
        .iter()
        .fold(Tree::default(), |tree, (path, node)| tree.with(&path.parse().unwrap(), node.clone()))
}

fn upper(folders: &[&str], files: &[&str]) -> tempfile::TempDir {
    let upper = tempfile::tempdir().unwrap();
    for folder in folders {
        fs::create_dir_all(upper.path().join(folder)).unwrap();
    }
    for file in files {
        fs::write(upper.path().join(file), "").unwrap();
    }
    for entry in folders.iter().flat_map(|f| Path::new(f).ancestors()) {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(upper.path().join(entry), mode).unwrap();
    }
    upper
}

fn left(folder: &Path) -> Vec<String> {
    fn below(folder: &Path, top: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            found.push(entry.path().strip_prefix(top).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), top, found);
            }
        }
    }
    let mut found = Vec::new();
    below(folder, folder, &mut found);
    found.sort();
    found
}

fn cleaned(layers: &[Tree], upper: &tempfile::TempDir, made: &str) -> Vec<String> {
    Layers::new(layers.iter()).clean(upper.path(), made.as_bytes(), own()).unwrap();
    left(upper.path())
}

#[test]
fn folders_that_only_were_touched_go() {
    let layers = [tree(&[("usr/lib", folder(false))]), tree(&[("etc", folder(false))])];
    let upper = upper(&["usr/lib", "etc", "new"], &[]);
    assert_eq!(cleaned(&layers, &upper, ""), ["new"]);
}

#[test]
fn folders_with_another_mode_stay() {
    let layers = [tree(&[("usr/lib", folder(false))])];
    let upper = upper(&["usr/lib"], &[]);
    fs::set_permissions(upper.path().join("usr/lib"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(cleaned(&layers, &upper, ""), ["usr", "usr/lib"]);
}

#[test]
fn folders_that_replace_something_stay() {
    let file = Node::File(ashlar_object::File::new(Digest::EMPTY, Meta::FILE));
    // Below them is a file, a whiteout over a folder, nothing through an opaque folder.
    let layers = [
        tree(&[("a", file), ("b", folder(false)), ("c/d", folder(false))]),
        tree(&[("b", Node::Whiteout), ("c", folder(true))]),
    ];
    let upper = upper(&["a", "b", "c/d"], &[]);
    assert_eq!(cleaned(&layers, &upper, ""), ["a", "b", "c", "c/d"]);
}

#[test]
fn opaque_folders_stay() {
    let layers = [tree(&[("a", folder(false))])];
    let upper = upper(&["a"], &[]);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper.path().join("a"), OPAQUE, b"y", flags).unwrap();
    assert_eq!(cleaned(&layers, &upper, ""), ["a"]);
}

#[test]
fn new_folders_are_not_opaque() {
    let upper = upper(&["new/inside"], &[]);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper.path().join("new"), OPAQUE, b"y", flags).unwrap();
    assert_eq!(cleaned(&[Tree::default()], &upper, ""), ["new", "new/inside"]);
    assert!(!is_opaque(&upper.path().join("new")).unwrap());
}

#[test]
fn mount_points_go_unless_something_is_in_them() {
    let upper = upper(&["opt/a/b", "srv/c"], &["srv/c/file"]);
    let made = "opt\0opt/a\0opt/a/b\0srv\0srv/c\0gone\0";
    assert_eq!(cleaned(&[Tree::default()], &upper, made), ["srv", "srv/c", "srv/c/file"]);
}

#[test]
fn what_belongs_to_the_sandbox_goes_and_links_stay() {
    let upper = upper(&["build/dest", "run/x", "tmp"], &["build/dest/file"]);
    symlink("/elsewhere", upper.path().join("sys")).unwrap();
    assert_eq!(cleaned(&[Tree::default()], &upper, ""), ["sys"]);
}
