//! Revisions upon revisions.

use super::*;
use crate::image::manifest::{TreeImage, tree_tag};
use crate::image::publish::Stored;
use crate::image::push::{Revision, note_lineage, push_tree};
use crate::image::transfer::Transfer;

fn layers(depot: &MemoryDepot, tree: &Tree) -> usize {
    let state = depot.state();
    let manifest = state.manifests[&state.tags[&tree_tag(&tree.digest())]].clone();
    TreeImage::decode(manifest).unwrap().document.layers.len()
}

#[test]
fn a_chain_of_revisions_gives_each_of_its_trees() {
    for seed in 1..6 {
        let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
        let mut dice = Dice(seed * 77);
        let mut now = Tree::default();
        let mut all = Vec::new();
        for number in 0..12 {
            now = mutate(&here, &now, &mut dice);
            let mut publication = publication(&here, &now, &format!("r{number}"));
            publication.earlier =
                all.iter().rev().map(|(p, _): &(Publication, Tree)| p.result.outputs).collect();
            push(&remote(&depot), &here, &publication);
            all.push((publication, now.clone()));
        }
        for (publication, tree) in &all {
            let there = MemoryStore::new();
            let (moved, said) = pull(&remote(&depot), &there, &found(publication));
            assert!(moved.is_some(), "seed {seed}: {said:?}");
            assert_complete(&there, publication, tree);
        }
    }
}

#[test]
fn a_revision_sends_what_changed() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let mut dice = Dice(5);
    let many: Vec<(String, Vec<u8>)> =
        (0..50).map(|number| (format!("d{}/f{number}", number % 7), dice.bytes(20_000))).collect();
    let files: Vec<(&str, &[u8])> = many.iter().map(|(p, c)| (p.as_str(), &c[..])).collect();
    let one = tree(&here, &files);
    let first = publication(&here, &one, "one");
    let whole = push(&remote(&depot), &here, &first);

    let path = RelPath::parse(b"d1/new").unwrap();
    let digest = ashlar_store::put(&here, b"new").unwrap();
    let two = one.with(&path, Node::File(File::new(digest, Meta::FILE)));
    // Found by its lineage alone: nobody says what came before.
    let second = publication(&here, &two, "two");
    let moved = push(&remote(&depot), &here, &second);
    assert!(moved.bytes * 50 < whole.bytes, "{moved:?} after {whole:?}");
    assert_eq!(moved.already, two.content_size() - 3);
    assert_eq!(layers(&depot, &two), layers(&depot, &one) + 1);

    // The same tree again in another lineage: there already.
    let mut third = publication(&here, &two, "three");
    third.lineage = "another".to_owned();
    let moved = push(&remote(&depot), &here, &third);
    assert_eq!(moved.already, two.content_size());
}

#[test]
fn worn_out_revisions_are_packed_anew() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let mut dice = Dice(6);
    let mut most = 0;
    for number in 0..30 {
        // One of three large files is another each time.
        let contents: Vec<Vec<u8>> = (0..3)
            .map(|slot| Dice(1 + slot + 3 * ((number + 2 - slot) / 3)).bytes(40_000))
            .collect();
        let now = tree(&here, &[("a", &contents[0]), ("b", &contents[1]), ("c", &contents[2])]);
        push(
            &remote(&depot),
            &here,
            &publication(&here, &now, &format!("{number}-{}", dice.below(9))),
        );
        most = most.max(layers(&depot, &now));
    }
    assert!((2..10).contains(&most), "{most} layers");
}

#[test]
fn layers_are_cut_packed_and_sent_side_by_side() {
    let (depot, here, there) = (MemoryDepot::default(), MemoryStore::new(), MemoryStore::new());
    let mut dice = Dice(8);
    let many: Vec<(String, Vec<u8>)> =
        (0..400).map(|number| (format!("d{}/f{number}", number % 9), dice.bytes(5_000))).collect();
    let files: Vec<(&str, &[u8])> = many.iter().map(|(p, c)| (p.as_str(), &c[..])).collect();
    let tree = tree(&here, &files);
    let limits = ashlar_pack::Limits { layer: 100_000, ..Default::default() };
    let transfer = Transfer {
        depot: &depot,
        cache: Some(&here),
        folder: None,
        limits: &limits,
        architecture: "amd64",
        watch: Watch::NOBODY,
    };
    let digest = tree.digest();
    let revision = Revision {
        tree: &tree,
        digest: &digest,
        lineage: None,
        earlier: &[],
        anew: false,
        trust: &Trust::default(),
    };
    let pushed = push_tree(&transfer, &revision, &Stored(&here)).unwrap();
    assert!(pushed.fresh && layers(&depot, &tree) > 10, "{} layers", layers(&depot, &tree));
    note_lineage(&transfer, "it", &pushed.image).unwrap();
    let stack = crate::image::pull::open_tree(
        &Transfer { cache: Some(&there), ..transfer },
        &pushed.image,
        false,
    )
    .unwrap();
    assert_eq!(stack.tree().unwrap(), tree);

    // Without a content on this side it fails, and nothing points to it.
    let lost = MemoryStore::new();
    let revision = Revision { anew: true, ..revision };
    depot.take_log();
    push_tree(&transfer, &revision, &Stored(&lost)).unwrap_err();
    assert!(depot.take_log().iter().all(|line| !line.starts_with("put tag")));
}
