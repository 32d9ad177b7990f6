//! The fetcher as a whole, over files of this machine: nothing here needs the network.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use ashlar_object::{Digest, Node, Tree};
use ashlar_source::{Apt, Fetcher, Patch, SourceError, digest_file, path_tree};
use ashlar_store::{MemoryStore, Store as _};

struct Place {
    folder: tempfile::TempDir,
    store: MemoryStore,
    apt: Apt,
    known: Mutex<HashMap<[u8; 32], Digest>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let apt = Apt::new(folder.path().join("apt"));
        Self { folder, store: MemoryStore::new(), apt, known: Mutex::default() }
    }

    fn with<T>(&self, offline: bool, run: impl FnOnce(&Fetcher<'_>) -> T) -> T {
        let recall = |hash: &[u8; 32]| self.known.lock().unwrap().get(hash).copied();
        let remember = |hash: &[u8; 32], digest| {
            self.known.lock().unwrap().insert(*hash, digest);
        };
        let scratch = self.folder.path().join("scratch");
        let fetcher =
            Fetcher::new(&self.store, scratch.clone(), offline, &self.apt, &recall, &remember);
        let result = run(&fetcher);
        // Nothing half done stays, whatever happened.
        if let Ok(entries) = std::fs::read_dir(scratch.join("tmp")) {
            assert_eq!(entries.count(), 0);
        }
        result
    }

    /// Writes a file; its address and SHA-256.
    fn file(&self, name: &str, content: &[u8]) -> (String, String) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (format!("file://{}", path.display()), Digest::of(content).hex())
    }

    fn archive(&self) -> (String, String) {
        let folder = self.folder.path();
        std::fs::create_dir_all(folder.join("x-1/src")).unwrap();
        std::fs::write(folder.join("x-1/src/a.c"), "one\ntwo\nthree\n").unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder).args(["-czf", "-", "x-1"]);
        let bytes = tar.output().unwrap().stdout;
        self.file("x-1.tar.gz", &bytes)
    }

    fn content(&self, tree: &Tree, path: &str) -> Vec<u8> {
        let Some(Node::File(file)) = tree.get(&path.parse().unwrap()) else {
            panic!("{path} is not there")
        };
        assert!(matches!(file.meta.mode, 0o644 | 0o755));
        ashlar_store::read(&self.store, &file.digest).unwrap().unwrap()
    }
}

fn patch() -> Patch {
    let text = "--- a/src/a.c\n+++ b/src/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
                --- /dev/null\n+++ b/src/new.c\n@@ -0,0 +1 @@\n+new\n";
    Patch { name: "p/two.patch".to_owned(), bytes: text.into(), strip: 1 }
}

#[test]
fn archives_become_patched_trees() {
    let place = Place::new();
    let (url, sha256) = place.archive();
    let (plain, tree) = place.with(false, |f| f.url_tree(&url, &[], &sha256, true, &[])).unwrap();
    assert_eq!(place.content(&tree, "src/a.c"), b"one\ntwo\nthree\n");
    assert_eq!(tree.digest(), plain);
    let (patched, tree) =
        place.with(false, |f| f.url_tree(&url, &[], &sha256, true, &[patch()])).unwrap();
    assert_ne!(plain, patched);
    assert_eq!(place.content(&tree, "src/a.c"), b"one\nTWO\nthree\n");
    assert_eq!(place.content(&tree, "src/new.c"), b"new\n");
    assert!(place.store.missing(&tree.blobs()).unwrap().is_empty());
    // Not unpacked, or nothing to unpack: the file itself.
    let (_, tree) = place.with(false, |f| f.url_tree(&url, &[], &sha256, false, &[])).unwrap();
    assert!(tree.get(&"x-1.tar.gz".parse().unwrap()).is_some());
    let (url, sha256) = place.file("data.bin", b"\x1f\x8bno archive");
    let (_, tree) = place.with(false, |f| f.url_tree(&url, &[], &sha256, true, &[])).unwrap();
    assert_eq!(place.content(&tree, "data.bin"), b"\x1f\x8bno archive");
}

#[test]
fn nothing_is_fetched_twice() {
    let place = Place::new();
    let (url, sha256) = place.file("data", b"content");
    let digest = place.with(false, |f| f.fetch_url(&url, &[], &sha256)).unwrap();
    std::fs::remove_file(place.folder.path().join("data")).unwrap();
    assert_eq!(place.with(false, |f| f.fetch_url(&url, &[], &sha256)).unwrap(), digest);
    // What the store lost is looked for again.
    place.store.forget(&digest);
    let error = place.with(false, |f| f.fetch_url(&url, &[], &sha256)).unwrap_err();
    assert!(matches!(error, SourceError::Url(_)), "{error}");
}

#[test]
fn offline_names_what_is_missing() {
    let place = Place::new();
    let http = "http://localhost:9/x.tar.gz";
    let error = place.with(true, |f| f.fetch_url(http, &[], &"ab".repeat(32))).unwrap_err();
    assert!(error.to_string().contains(http), "{error}");
    assert!(error.advice().unwrap().contains("--offline"));
    let file = ashlar_recipe::lock::LockedFile {
        path: "pool/x.dsc".to_owned(),
        sha256: "ab".repeat(32),
        size: 3,
    };
    let error = place.with(true, |f| f.fetch_debian(&file)).unwrap_err();
    assert!(error.to_string().contains("pool/x.dsc"), "{error}");
    let wrong = ashlar_recipe::lock::LockedFile { sha256: "x".to_owned(), ..file };
    assert!(place.with(true, |f| f.fetch_debian(&wrong)).is_err());
    assert!(place.with(true, |f| f.fetch_debian_all(&[])).unwrap().is_empty());
}

#[test]
fn trees_of_the_project_are_patched_in_a_copy() {
    let place = Place::new();
    let project = place.folder.path().join("project");
    std::fs::create_dir_all(project.join("s/src")).unwrap();
    std::fs::write(project.join("s/src/a.c"), "one\ntwo\nthree\n").unwrap();
    std::os::unix::fs::symlink("a.c", project.join("s/src/link")).unwrap();
    let tree = path_tree(&project, Path::new("s"), &digest_file).unwrap();
    let missing = place.with(false, |f| f.patched(&tree, &[patch()])).unwrap_err();
    assert!(matches!(missing, SourceError::Store(_)), "{missing}");
    ashlar_source::keep_path(&place.store, &project, Path::new("s"), &tree).unwrap();
    let (_, patched) = place.with(false, |f| f.patched(&tree, &[patch()])).unwrap();
    assert_eq!(place.content(&patched, "src/a.c"), b"one\nTWO\nthree\n");
    assert!(matches!(patched.get(&"src/link".parse().unwrap()), Some(Node::Symlink(_))));
    assert_eq!(std::fs::read(project.join("s/src/a.c")).unwrap(), b"one\ntwo\nthree\n");
    let (digest, same) = place.with(false, |f| f.patched(&tree, &[])).unwrap();
    assert_eq!((digest, &same), (tree.digest(), &tree));
    // A second time the patch is in already, and says so.
    let error = place.with(false, |f| f.patched(&patched, &[patch()])).unwrap_err();
    assert!(error.to_string().contains("p/two.patch is in src/a.c already"), "{error}");
}
