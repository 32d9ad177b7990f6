use std::fs;
use std::os::unix::fs::MetadataExt;

use ashlar_store::survey;

use super::*;

/// A tree of everything that outputs may hold, laid out, is that tree.
#[test]
fn what_was_laid_out_is_the_tree() {
    let from = tempfile::tempdir().unwrap();
    let at = |path: &str| from.path().join(path);
    fs::create_dir_all(at("a/b/closed")).unwrap();
    for (path, text) in [("a/one", "1"), ("a/b/one again", "1"), ("empty", ""), ("a/su", "su")] {
        fs::write(at(path), text).unwrap();
    }
    fs::write(at("a/b/closed/file"), "in a closed folder").unwrap();
    std::os::unix::fs::symlink("../nowhere/at/all", at("a/link")).unwrap();
    for (path, mode) in [("a/su", 0o6755), ("a/b/closed", 0o555), ("empty", 0o400), ("a", 0o1777)] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let found = survey(from.path(), &[]).unwrap();
    let to = tempfile::tempdir().unwrap();
    let laying = Laying::begin(to.path(), found.tree()).unwrap();
    assert!(!laying.wants(&Digest::EMPTY));
    let wrong = laying.put(&Digest::of(b"1"), &mut &b"2"[..]).unwrap_err();
    assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
    assert!(laying.put(&Digest::of(b"1"), &mut &b""[..]).is_err());
    assert!(laying.put(&Digest::of(b"1"), &mut &b"12"[..]).is_err());
    assert_eq!(laying.wanted().len(), 3);
    std::thread::scope(|scope| {
        for digest in laying.wanted() {
            let (laying, found) = (&laying, &found);
            scope.spawn(move || {
                laying.put(&digest, &mut *found.open(&digest).unwrap().unwrap()).unwrap();
            });
        }
    });
    laying.finish().unwrap();
    let again = survey(to.path(), &[]).unwrap();
    assert_eq!(again.tree(), found.tree());
    for path in ["a/su", "a/b", "a/link"] {
        assert_eq!(fs::symlink_metadata(to.path().join(path)).unwrap().mtime(), MOMENT, "{path}");
    }
    // Files of their own: who writes to one does not write to the other.
    assert_eq!(fs::metadata(to.path().join("a/one")).unwrap().nlink(), 1);
}

#[test]
fn what_is_incomplete_is_not_finished() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("file"), "text").unwrap();
    let found = survey(from.path(), &[]).unwrap();
    let to = tempfile::tempdir().unwrap();
    let laying = Laying::begin(to.path(), found.tree()).unwrap();
    let error = laying.finish().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot complete {}", to.path().display()));
}

#[test]
fn a_layer_with_deletions_is_refused() {
    let tree = Tree::default().with(&"a/gone".parse().unwrap(), Node::Whiteout);
    let to = tempfile::tempdir().unwrap();
    let error = Laying::begin(to.path(), &tree).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "a/gone is a deletion: this is a layer and no tree of files");
}

#[test]
fn names_of_folders_in_which_files_wait_are_refused() {
    for path in [".ashlar-use-1/plan", "a/.b.ashlar-use-x", ".ashlar-use-"] {
        let link = Node::Symlink(ashlar_object::Symlink {
            target: b"x".as_slice().into(),
            meta: Meta::new(0o777, ashlar_object::Extra::default()),
        });
        let tree = Tree::default().with(&path.parse().unwrap(), link);
        let to = tempfile::tempdir().unwrap();
        let error = Laying::begin(to.path(), &tree).map(|_| ()).unwrap_err();
        assert!(matches!(error, DestinationError::Reserved(_)), "{error}");
        assert!(fs::read_dir(to.path()).unwrap().next().is_none());
    }
}
