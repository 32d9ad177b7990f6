//! Tests of results as images.

mod chains;
mod collecting;
mod faults;
mod forged;
mod programs;
mod tables;
mod trust;

use ashlar_object::{
    ActionResult, Digest, File, Meta, Node, RelPath, StepKey, Symlink, Time, Tree,
};
use ashlar_store::{Found, MemoryStore, Publication, Remote, Store, Watch, read, read_tree};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use super::{ImageRemote, Trust};
use crate::depot::Depot;
use crate::depot::memory::MemoryDepot;

/// A tree with these files, their contents in the store.
pub(super) fn tree(store: &dyn Store, files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::default();
    for (path, content) in files {
        let digest = ashlar_store::put(store, content).unwrap();
        let meta = if path.contains("bin/") { Meta::EXECUTABLE } else { Meta::FILE };
        let path = RelPath::parse(path.as_bytes()).unwrap();
        tree = tree.with(&path, Node::File(File::new(digest, meta)));
    }
    tree
}

/// A publication of a tree.
pub(super) fn publication(store: &dyn Store, tree: &Tree, name: &str) -> Publication {
    let outputs = ashlar_store::put(store, &tree.encode()).unwrap();
    let log = ashlar_store::put(store, format!("log of {name}\n").as_bytes()).unwrap();
    Publication {
        keys: vec![StepKey(Digest::of(name.as_bytes()).hash)],
        action: Digest::of(format!("action {name}").as_bytes()),
        result: ActionResult {
            outputs,
            root: tree.root_digest(),
            log,
            started: Time { seconds: 1_700_000_000, nanos: 5 },
            took: Duration::from_millis(1234),
        },
        lineage: "module/step".to_owned(),
        earlier: Vec::new(),
        provenance: None,
    }
}

pub(super) fn remote(depot: &MemoryDepot) -> ImageRemote {
    trusting(depot, Trust::default())
}

pub(super) fn trusting(depot: &MemoryDepot, trust: Trust) -> ImageRemote {
    ImageRemote::new("team", Box::new(depot.clone()) as Box<dyn Depot>, trust)
}

pub(super) fn found(publication: &Publication) -> Found {
    Found { action: publication.action, result: publication.result.clone() }
}

/// Pushes, which must succeed.
pub(super) fn push(
    remote: &dyn Remote,
    from: &dyn Store,
    publication: &Publication,
) -> ashlar_store::Moved {
    let results = std::slice::from_ref(publication);
    remote.push(from, results, &Watch::NOBODY).pop().unwrap().unwrap()
}

/// Pulls one result; with what was said.
pub(super) fn pull(
    remote: &dyn Remote,
    into: &dyn Store,
    found: &Found,
) -> (Option<ashlar_store::Moved>, Vec<String>) {
    let said = Mutex::new(Vec::new());
    let warn = |text| said.lock().unwrap().push(text);
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let moved = remote.pull(into, std::slice::from_ref(found), &watch).unwrap().pop().unwrap();
    (moved, said.into_inner().unwrap())
}

/// That a store has all of a result.
pub(super) fn assert_complete(store: &dyn Store, publication: &Publication, tree: &Tree) {
    let result = &publication.result;
    assert_eq!(read_tree(store, &result.outputs).unwrap().as_ref(), Some(tree));
    for blob in tree.blobs() {
        assert!(read(store, &blob).unwrap().is_some(), "{blob} is not there");
    }
    assert!(read(store, &result.log).unwrap().unwrap().starts_with(b"log of "));
    store.put_result(&publication.action, result).unwrap();
}

/// Numbers that look random and are the same each time.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        let kind = self.below(2);
        (0..length).map(|_| self.below(if kind == 0 { 256 } else { 4 }) as u8).collect()
    }
}

/// Changes a tree a little.
pub(super) fn mutate(store: &dyn Store, tree: &Tree, dice: &mut Dice) -> Tree {
    let mut tree = tree.clone();
    for _ in 0..=dice.below(6) {
        let name = |dice: &mut Dice| {
            let names: [&[u8]; 9] = [
                b"a",
                b"b",
                b"bin",
                b"lib",
                b".wh",
                b"caf\xc3\xa9",
                b"raw\xff",
                b"with space",
                b"x\ny",
            ];
            names[dice.below(names.len() as u64) as usize].to_vec()
        };
        let mut path = name(dice);
        for _ in 0..dice.below(3) {
            path.push(b'/');
            path.extend(name(dice));
        }
        let path = RelPath::parse(&path).unwrap();
        let node = match dice.below(8) {
            0 => Node::Symlink(Symlink {
                target: dice.bytes(5).iter().map(|b| b'a' + b % 26).collect(),
                meta: Meta { mode: 0o777, extra: None },
            }),
            1 => Node::Dir(std::sync::Arc::default()),
            _ => {
                let length = match dice.below(4) {
                    0 => 0,
                    1 => dice.below(20),
                    2 => dice.below(3000),
                    _ => dice.below(90_000),
                };
                let digest = ashlar_store::put(store, &dice.bytes(length)).unwrap();
                let mode = [0o644, 0o755, 0o600, 0o4755][dice.below(4) as usize];
                Node::File(File::new(digest, Meta { mode, extra: None }))
            }
        };
        // By the content, so that the dice fall as they would without.
        if let Node::File(file) = &node
            && let [0..64, number, place, ..] = file.digest.hash
        {
            let link = NonZeroU32::new(1 + u32::from(number % 2));
            let linked = Node::File(File { link, ..file.clone() });
            let also = RelPath::parse(format!("also/{}", place % 20).as_bytes()).unwrap();
            tree = tree.with(&also, linked.clone()).with(&path, linked);
            continue;
        }
        tree = tree.with(&path, node);
    }
    tree.with_canonical_links()
}

#[test]
fn files_with_several_names_are_brought_as_such() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
    let link = NonZeroU32::new(1);
    let digest = ashlar_store::put(&here, &[b'g'; 100_000]).unwrap();
    let git = Node::File(File { link, ..File::new(digest, Meta::EXECUTABLE) });
    let mut tree = tree(&here, &[("etc/motd", b"hello")]);
    for names in [&["bin/git", "lib/git", "lib/git-add"][..], &["lib/git-diff"]] {
        names.iter().for_each(|name| tree.put(&path(name), git.clone()));
        let publication = publication(&here, &tree, names[0]);
        push(&remote(&depot), &here, &publication);
        let there = MemoryStore::new();
        let (_, said) = pull(&remote(&depot), &there, &found(&publication));
        assert!(
            read_tree(&there, &publication.result.outputs).unwrap() == Some(tree.clone()),
            "{said:?}"
        );
        assert_complete(&there, &publication, &tree);
        assert_eq!(read(&there, &digest).unwrap().unwrap(), [b'g'; 100_000]);
    }
}

#[test]
fn what_was_left_is_found_and_brought() {
    let (depot, here, there) = (MemoryDepot::default(), MemoryStore::new(), MemoryStore::new());
    let tree = tree(&here, &[("usr/bin/sh", b"#!"), ("etc/motd", b"hello"), ("etc/empty", b"")]);
    let publication = publication(&here, &tree, "one");
    let moved = push(&remote(&depot), &here, &publication);
    assert!(moved.bytes > 0 && moved.blobs > 0 && moved.already == 0, "{moved:?}");

    let reader = remote(&depot);
    let other = StepKey([7; 32]);
    let steps = reader.steps(&[publication.keys[0], other]).unwrap();
    assert_eq!(steps, [Some(found(&publication)), None]);
    let results = reader.results(&[publication.action, Digest::EMPTY]).unwrap();
    assert_eq!(results, [Some(publication.result.clone()), None]);
    // One request for each key, and nothing but that.
    let log = depot.take_log();
    let gets = log.iter().rev().take_while(|line| line.starts_with("get tag")).count();
    assert_eq!(gets, 4, "{log:?}");

    let (moved, said) = pull(&reader, &there, &found(&publication));
    assert!(moved.is_some_and(|moved| moved.bytes > 0), "{said:?}");
    assert_complete(&there, &publication, &tree);
}

#[test]
fn what_is_there_is_not_moved_again() {
    let (depot, here, there) = (MemoryDepot::default(), MemoryStore::new(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"hello"), ("b", b"world")]);
    let publication = publication(&here, &tree, "one");
    push(&remote(&depot), &here, &publication);
    depot.take_log();
    let moved = push(&remote(&depot), &here, &publication);
    assert_eq!((moved.bytes, moved.blobs, moved.already), (0, 0, 10));
    let log = depot.take_log();
    assert!(log.iter().all(|line| !line.starts_with("put")), "{log:?}");

    assert!(pull(&remote(&depot), &there, &found(&publication)).0.is_some());
    depot.take_log();
    let moved = pull(&remote(&depot), &there, &found(&publication)).0.unwrap();
    assert_eq!((moved.bytes, moved.blobs, moved.already), (0, 0, 10));
    assert_eq!(depot.take_log(), [""; 0]);

    // A content that was lost is brought alone.
    let lost = Digest::of(b"world");
    assert!(there.forget(&lost));
    let moved = pull(&remote(&depot), &there, &found(&publication)).0.unwrap();
    assert!(moved.bytes > 0 && moved.already == 5, "{moved:?}");
    assert_complete(&there, &publication, &tree);
}

#[test]
fn another_key_of_the_same_result_moves_no_content() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"hello")]);
    let mut publication = publication(&here, &tree, "one");
    push(&remote(&depot), &here, &publication);
    let first = publication.keys[0];
    publication.keys = vec![StepKey([9; 32])];
    depot.take_log();
    push(&remote(&depot), &here, &publication);
    let puts = depot.take_log().iter().filter(|line| line.starts_with("put blob")).count();
    assert_eq!(puts, 1, "the config of the result names the new key");
    let steps = remote(&depot).steps(&[first, publication.keys[0]]).unwrap();
    assert_eq!(steps, [Some(found(&publication)), Some(found(&publication))]);
}

#[test]
fn a_large_log_is_a_blob_of_its_own() {
    let (depot, here, there) = (MemoryDepot::default(), MemoryStore::new(), MemoryStore::new());
    let tree = tree(&here, &[]);
    let mut publication = publication(&here, &tree, "one");
    let mut log = b"log of noise".to_vec();
    log.extend(Dice(99).bytes(3 << 20));
    publication.result.log = ashlar_store::put(&here, &log).unwrap();
    push(&remote(&depot), &here, &publication);
    assert!(pull(&remote(&depot), &there, &found(&publication)).0.is_some());
    assert_complete(&there, &publication, &tree);
}

#[test]
fn many_at_once_of_one_and_of_many_results() {
    let (depot, here, there) = (MemoryDepot::default(), MemoryStore::new(), MemoryStore::new());
    let mut dice = Dice(4);
    let trees: Vec<Tree> = (0..12).map(|_| mutate(&here, &Tree::default(), &mut dice)).collect();
    let all: Vec<Publication> = (trees.iter().enumerate())
        .map(|(number, tree)| publication(&here, tree, &format!("m{number}")))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let results = remote(&depot).push(&here, &all, &Watch::NOBODY);
                assert!(results.iter().all(Result::is_ok), "{results:?}");
            });
        }
    });
    let wanted: Vec<Found> = all.iter().map(found).collect();
    let moved = remote(&depot).pull(&there, &wanted, &Watch::NOBODY).unwrap();
    assert!(moved.iter().all(Option::is_some));
    for (publication, tree) in all.iter().zip(&trees) {
        assert_complete(&there, publication, tree);
    }
}
