//! Trees into layers and back; chains of revisions; when one is packed anew.

use ashlar_object::{Dir, Meta, Node, Tree};
use ashlar_pack::{Limits, Stack, plan};
use proptest::prelude::*;

use crate::strategies::{any_edit, any_tree, edited, pool};
use crate::support::{Image, Pool, noise, pack, path, tree};

fn small() -> Limits {
    Limits { layer: 5000, ..Limits::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_comes_back(tree in any_tree()) {
        for limits in [Limits::default(), small()] {
            let image = pack(&tree, None, &pool(), &limits);
            prop_assert_eq!(image.packing.keep, 0);
            let back = image.stack.tree().unwrap();
            prop_assert_eq!(&back, &tree);
            prop_assert_eq!(back.digest(), tree.digest());
            prop_assert_eq!(image.stack.dead_bytes(), 0);
            for blob in tree.blobs() {
                prop_assert!(image.stack.has(&blob));
            }
        }
    }

    #[test]
    fn revisions_come_back(
        first in any_tree(),
        edits in prop::collection::vec(prop::collection::vec(any_edit(), 1..4), 1..8),
        dead in prop::sample::select(vec![0.0, 0.33, 1.0]),
    ) {
        // With 1.0 nothing is packed anew, so that layers of all kinds come over one another.
        let limits = Limits { layer: 5000, layers: 1000, dead, ..Limits::default() };
        let pool = pool();
        let mut image = pack(&first, None, &pool, &limits);
        let mut tree = first;
        for edits in edits {
            tree = edits.iter().fold(tree, |tree, edit| edited(&tree, edit));
            image = pack(&tree, Some(&image), &pool, &limits);
            let back = image.stack.tree().unwrap();
            prop_assert_eq!(&back, &tree);
            prop_assert_eq!(back.digest(), tree.digest());
        }
    }
}

#[test]
fn the_empty_tree_is_one_layer() {
    let image = pack(&Tree::default(), None, &Pool::default(), &Limits::default());
    assert_eq!(image.blobs.len(), 1);
    assert_eq!(image.stack.tree().unwrap(), Tree::default());
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let mut pool = Pool::default();
    let tree = tree(&[
        ("big", pool.file([noise(1, 700_000), vec![7; 2_600_001], noise(2, 500)].concat())),
        ("small", pool.file(noise(3, 999))),
    ]);
    let one = pack(&tree, None, &pool, &Limits::default());
    // However small the pieces are that a content comes in.
    let pieces = |digest: &ashlar_object::Digest| {
        struct Pieces(std::io::Cursor<Vec<u8>>);
        impl std::io::Read for Pieces {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                let most = out.len().min(4099);
                self.0.read(&mut out[..most])
            }
        }
        let content = pool.get(digest).to_vec();
        Ok(Box::new(Pieces(std::io::Cursor::new(content))) as Box<dyn std::io::Read + Send>)
    };
    let mut blob = Vec::new();
    plan(&tree, None, &Limits::default()).unwrap().layers[0].write(&pieces, &mut blob).unwrap();
    assert!(one.blobs == [blob]);
}

#[test]
fn an_unchanged_tree_needs_nothing() {
    let mut pool = Pool::default();
    let tree = tree(&[("a/b", pool.file("b")), ("c", pool.file("c"))]);
    let image = pack(&tree, None, &pool, &Limits::default());
    let again = plan(&tree, Some(&image.stack), &Limits::default()).unwrap();
    assert_eq!((again.keep, again.layers.len(), again.whiteouts), (1, 0, true));
}

#[test]
fn a_revision_has_what_changed_and_no_more() {
    let mut pool = Pool::default();
    let large = pool.file(noise(1, 300_000));
    let was = tree(&[
        ("usr/lib/large", large.clone()),
        ("usr/lib/gone/x", pool.file("x")),
        ("etc/conf", pool.file("1")),
        ("etc/kept", pool.file("kept")),
    ]);
    let first = pack(&was, None, &pool, &Limits::default());
    let now = tree(&[
        ("usr/lib/large", large),
        ("etc/conf", pool.file("2")),
        ("etc/kept", pool.file("kept")),
    ]);
    let next = pack(&now, Some(&first), &pool, &Limits::default());
    assert_eq!(next.packing.keep, 1);
    assert_eq!(next.blobs.len(), 2);
    assert_eq!(next.packing.layers[0].content_size(), 1);
    // The root, etc, etc/conf, usr, usr/lib, usr/lib/.wh.gone
    assert_eq!(next.packing.layers[0].entries(), 6);
    assert!(next.blobs[1].len() < 1500, "{}", next.blobs[1].len());
    assert_eq!(next.stack.tree().unwrap(), now);
}

#[test]
fn a_large_tree_becomes_several_layers() {
    let mut pool = Pool::default();
    let files: Vec<_> =
        (0..60).map(|n| (format!("d{}/f{n}", n / 10), pool.file(noise(n, 1000)))).collect();
    let files: Vec<_> = files.iter().map(|(at, node)| (at.as_str(), node.clone())).collect();
    let tree = tree(&files);
    let limits = Limits { layer: 7000, ..Limits::default() };
    let packing = plan(&tree, None, &limits).unwrap();
    let sizes: Vec<_> = packing.layers.iter().map(ashlar_pack::LayerPlan::content_size).collect();
    assert_eq!(sizes, [7000, 7000, 7000, 7000, 7000, 7000, 7000, 7000, 4000]);
    let limits = Limits { layer: 0, ..Limits::default() };
    assert_eq!(plan(&tree, None, &limits).unwrap().layers.len(), 20);
    assert_eq!(pack(&tree, None, &pool, &limits).stack.tree().unwrap(), tree);
}

#[test]
fn each_layer_alone_says_what_its_directories_are() {
    let mut pool = Pool::default();
    let private = Meta::new(0o700, ashlar_object::Extra { uid: 7, ..Default::default() });
    let inner = Dir::new(Default::default(), private.clone(), false);
    let mut tree = Tree::from(Dir::new(Default::default(), private.clone(), false))
        .with(&path("a"), Node::Dir(std::sync::Arc::new(inner)));
    for number in 0..4 {
        tree = tree.with(&path(&format!("a/{number}")), pool.file(noise(number, 100)));
    }
    let limits = Limits { layer: 100, dead: 1.0, ..Limits::default() };
    let first = pack(&tree, None, &pool, &limits);
    let changed = tree.with(&path("a/2"), pool.file("2"));
    let second = pack(&changed, Some(&first), &pool, &limits);
    assert_eq!((first.blobs.len(), second.blobs.len()), (4, 5));
    for layer in second.stack.layers() {
        let alone = Stack::new(vec![layer.clone()], true).tree().unwrap();
        let Some(Node::Dir(dir)) = alone.get(&path("a")) else { panic!("{alone:?}") };
        assert_eq!((alone.root().meta(), dir.meta()), (&private, &private));
        assert_eq!(dir.entries().len(), 1);
    }
}

#[test]
fn revisions_stay_within_bounds() {
    let mut pool = Pool::default();
    let limits = Limits { layers: 7, ..Limits::default() };
    let mut image: Option<Image> = None;
    let mut anew = (0, 0);
    for number in 0..60_u64 {
        // One small file is new each time; each tenth time half of the large ones are.
        let mut entries = vec![("small".to_owned(), pool.file(noise(number, 500)))];
        for large in 0..6 {
            let round = if large % 2 == 0 { number / 10 } else { 0 };
            entries.push((
                format!("large{large}"),
                pool.file(noise(1000 + round * 10 + large, 40_000)),
            ));
        }
        let entries: Vec<_> =
            entries.iter().map(|(at, node)| (at.as_str(), node.clone())).collect();
        let now = tree(&entries);
        let next = pack(&now, image.as_ref(), &pool, &limits);
        assert_eq!(next.stack.tree().unwrap(), now);
        let stack = &next.stack;
        assert!(stack.layers().len() <= 7);
        let part = stack.dead_bytes() as f64 / stack.bytes() as f64;
        assert!(part <= 1.0 / 3.0, "{number}: {part}");
        if let Some(image) = &image
            && next.packing.keep == 0
        {
            if image.stack.layers().len() == 7 { anew.0 += 1 } else { anew.1 += 1 }
        }
        image = Some(next);
    }
    assert!(anew.0 > 3 && anew.1 > 1, "{anew:?}");
}

#[test]
fn names_that_would_delete_are_kept() {
    let mut pool = Pool::default();
    let limits = Limits { layer: 1, ..Limits::default() };
    let plain = tree(&[("a/b", pool.file("b")), ("c", pool.file("c"))]);
    let first = pack(&plain, None, &pool, &limits);
    assert!(first.packing.whiteouts);
    let odd =
        plain.with(&path("a/.wh.b"), pool.file("")).with(&path(".wh..wh..opq"), pool.file("x"));
    let second = pack(&odd, Some(&first), &pool, &limits);
    assert_eq!((second.packing.keep, second.packing.whiteouts), (0, false));
    assert_eq!(second.stack.tree().unwrap(), odd);
    // Read as if they did delete, they do.
    let wrong = Stack::new(second.stack.layers().to_vec(), true);
    assert!(wrong.tree().is_err());
    let same = pack(&odd, Some(&second), &pool, &limits);
    assert_eq!((same.packing.keep, same.packing.whiteouts), (second.blobs.len(), false));
    let third = pack(&plain, Some(&second), &pool, &limits);
    assert_eq!((third.packing.keep, third.packing.whiteouts), (0, true));
    assert_eq!(third.stack.tree().unwrap(), plain);
}

#[test]
fn a_long_name_cannot_be_deleted_by_a_mark() {
    let mut pool = Pool::default();
    for (length, keep) in [(251, 1), (252, 0), (255, 0)] {
        let long = "x".repeat(length);
        let large = pool.file(noise(1, 10_000));
        let was = tree(&[("d/large", large.clone()), (&format!("d/{long}"), pool.file("1"))]);
        let first = pack(&was, None, &pool, &Limits::default());
        let now = tree(&[("d/large", large)]);
        let next = pack(&now, Some(&first), &pool, &Limits::default());
        assert_eq!((next.packing.keep, next.stack.tree().unwrap()), (keep, now));
    }
}

#[test]
fn wrong_contents_are_not_packed() {
    let mut pool = Pool::default();
    for length in [5, 3 << 20] {
        let content = noise(1, length);
        let digest = pool.put(content.clone());
        let file = ashlar_object::File::new(digest, Meta::FILE);
        let packing = plan(&tree(&[("f", Node::File(file))]), None, &Limits::default()).unwrap();
        let mut flipped = content.clone();
        flipped[length / 2] ^= 1;
        for wrong in [&content[1..], &[&content[..], b"+"].concat(), &flipped] {
            pool.spoil(&digest, wrong);
            let error = packing.layers[0].write(&pool, &mut std::io::sink()).unwrap_err();
            assert!(matches!(error, ashlar_pack::PackError::WrongContent { .. }), "{error:?}");
        }
    }
    let missing = tree(&[("f", Pool::default().file("not there"))]);
    let packing = plan(&missing, None, &Limits::default()).unwrap();
    let error = packing.layers[0].write(&pool, &mut std::io::sink()).unwrap_err();
    assert!(matches!(error, ashlar_pack::PackError::Content { .. }), "{error:?}");
}
