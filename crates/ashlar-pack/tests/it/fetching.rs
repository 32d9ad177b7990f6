//! Contents out of ranges of layers.

use std::collections::{HashMap, HashSet};

use ashlar_object::{Digest, Tree};
use ashlar_pack::{Fetch, Limits};
use proptest::prelude::*;

use crate::strategies::{any_edit, any_tree, edited, pool};
use crate::support::{Image, Pool, noise, pack, path, tree};

/// What a fetch gives, from the blob's bytes in its range and no others.
fn fetched(image: &Image, fetch: &Fetch) -> HashMap<Digest, Vec<u8>> {
    let range = fetch.range.start as usize..fetch.range.end as usize;
    let mut bytes = &image.blobs[fetch.layer][range];
    let mut got = HashMap::new();
    fetch
        .read(&mut bytes, &mut |digest, reader| {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            assert!(got.insert(*digest, content).is_none());
            Ok(())
        })
        .unwrap();
    assert!(bytes.is_empty());
    got
}

fn wanted(tree: &Tree) -> HashSet<Digest> {
    tree.blobs().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_comes_once(
        first in any_tree(),
        edits in prop::collection::vec(any_edit(), 0..6),
        at_most in prop::sample::select(vec![0, 1000, 80_000, u64::MAX]),
    ) {
        let pool = pool();
        let limits = Limits { layer: 5000, dead: 1.0, ..Limits::default() };
        let mut image = pack(&first, None, &pool, &limits);
        let mut tree = first;
        for edit in &edits {
            tree = edited(&tree, edit);
            image = pack(&tree, Some(&image), &pool, &limits);
        }
        let wanted = wanted(&tree);
        let mut got = HashMap::new();
        for fetch in image.stack.fetches(&wanted, at_most) {
            let size = fetch.range.end - fetch.range.start;
            prop_assert!(size <= at_most || fetch.contents().len() == 1);
            prop_assert_eq!(fetch.contents().collect::<HashSet<_>>().len(), fetch.contents().len());
            for (digest, content) in fetched(&image, &fetch) {
                prop_assert!(got.insert(digest, content).is_none());
            }
        }
        let expected = wanted.iter().filter(|digest| digest.size > 0);
        prop_assert_eq!(got.keys().collect::<HashSet<_>>(), expected.collect::<HashSet<_>>());
        for (digest, content) in got {
            prop_assert_eq!(&content[..], pool.get(&digest));
        }
    }
}

#[test]
fn one_file_moves_its_own_bytes_only() {
    let mut pool = Pool::default();
    let files: Vec<_> =
        (0..50).map(|n| (format!("f{n:02}"), pool.file(noise(n, 100_000)))).collect();
    let files: Vec<_> = files.iter().map(|(at, node)| (at.as_str(), node.clone())).collect();
    let image = pack(&tree(&files), None, &pool, &Limits::default());
    let one = Digest::of(&noise(31, 100_000));
    let fetches = image.stack.fetches(&HashSet::from([one]), 1 << 20);
    assert_eq!(fetches.len(), 1);
    let size = fetches[0].range.end - fetches[0].range.start;
    assert!((100_000..100_100).contains(&size), "{size}");
    assert_eq!(fetched(&image, &fetches[0])[&one], noise(31, 100_000));
}

#[test]
fn near_contents_are_one_request() {
    let mut pool = Pool::default();
    // Between the wanted ones lie 60 kB, then 70 kB.
    let sizes = [("a", 10_000), ("b", 60_000), ("c", 10_000), ("d", 70_000), ("e", 10_000)];
    let files: Vec<_> = sizes.map(|(at, size)| (at, pool.file(noise(size as u64, size)))).into();
    // Not the same content for a, c and e.
    let mut all = tree(&files);
    for (at, seed) in [("c", 1), ("e", 2)] {
        all = all.with(&path(at), pool.file(noise(seed, 10_000)));
    }
    let image = pack(&all, None, &pool, &Limits::default());
    let wanted = HashSet::from([
        Digest::of(&noise(10_000, 10_000)),
        Digest::of(&noise(1, 10_000)),
        Digest::of(&noise(2, 10_000)),
    ]);
    let shape = |at_most| {
        let fetches = image.stack.fetches(&wanted, at_most);
        fetches.iter().map(|fetch| fetch.contents().len()).collect::<Vec<_>>()
    };
    assert_eq!(shape(1 << 20), [2, 1]);
    assert_eq!(shape(70_000), [1, 1, 1]);
    let fetch = &image.stack.fetches(&wanted, 1 << 20)[0];
    assert_eq!(fetched(&image, fetch).len(), 2);
    assert!(fetch.useful() < 20_200);
    // A caller may pass over what it does not need after all.
    let range = fetch.range.start as usize..fetch.range.end as usize;
    let mut seen = 0;
    fetch
        .read(&mut &image.blobs[0][range], &mut |_, reader| {
            seen += 1;
            reader.read_exact(&mut [0; 10])
        })
        .unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn large_contents_come_back() {
    let mut pool = Pool::default();
    let contents = [
        vec![0; 5 << 20],
        noise(1, 1 << 20),
        noise(2, (1 << 20) + 1),
        [noise(3, 1 << 20), vec![b'x'; 3_333_333]].concat(),
    ];
    let files: Vec<_> = contents
        .iter()
        .enumerate()
        .map(|(n, content)| (format!("f{n}"), pool.file(content.clone())))
        .collect();
    let files: Vec<_> = files.iter().map(|(at, node)| (at.as_str(), node.clone())).collect();
    let all = tree(&files);
    let image = pack(&all, None, &pool, &Limits::default());
    let fetches = image.stack.fetches(&wanted(&all), u64::MAX);
    assert_eq!(fetches.len(), 1);
    let got = fetched(&image, &fetches[0]);
    assert!(contents.iter().all(|content| got[&Digest::of(content)] == *content));
}
