//! What somebody without a key plants: it is neither signed nor shown, and costs little.

use super::*;
use std::collections::BTreeMap;

use ashlar_pack::Toc;
use ashlar_store::RemoteError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::depot::{Body, Manifest};
use crate::image::manifest::{
    Document, ResultImage, TreeImage, action_tag, blob_of, describe, describe_log, step_tag,
    tree_tag,
};
use crate::image::verify::{SIGNATURE, SIMPLE_SIGNING, signature_tag};
use crate::image::{PublicKey, verified};

fn signing() -> Trust {
    Trust { keys: Vec::new(), signer: Some(trust::signer()) }
}

fn own_key() -> PublicKey {
    trust::signer().public().clone()
}

fn requiring() -> Trust {
    Trust { keys: vec![own_key()], signer: None }
}

fn manifest_at(depot: &MemoryDepot, tag: &str) -> Manifest {
    let state = depot.state();
    state.manifests[&state.tags[tag]].clone()
}

/// Puts a blob, as whoever may write there can.
fn plant(depot: &MemoryDepot, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    depot.put_blob(&digest, &Body::Bytes(bytes.into()), &Watch::NOBODY).unwrap();
    digest
}

#[test]
fn steps_that_another_added_are_not_signed() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"vulnerable")]);
    let mut one = publication(&here, &tree, "v1");
    push(&trusting(&depot, signing()), &here, &one);
    let newer = StepKey([2; 32]);
    let mut forged = ResultImage::decode(&manifest_at(&depot, &action_tag(&one.action))).unwrap();
    forged.steps.push(newer);
    forged.steps.sort_unstable();
    let (manifest, config) = forged.encode();
    plant(&depot, &config);
    depot.put_manifest(&manifest, &[action_tag(&one.action), step_tag(&newer)]).unwrap();

    let other = StepKey([3; 32]);
    let first = one.keys[0];
    for keys in [vec![first], vec![other], vec![first]] {
        one.keys = keys;
        push(&trusting(&depot, signing()), &here, &one);
        let reader = trusting(&depot, requiring());
        assert_eq!(reader.steps(&[newer]).unwrap(), [None]);
        assert_eq!(reader.steps(&one.keys).unwrap(), [Some(found(&one))]);
        assert_eq!(reader.steps(&[first]).unwrap(), [Some(found(&one))]);
    }
}

#[test]
fn a_signed_result_of_other_steps_is_a_miss() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let one = publication(&here, &tree(&here, &[("a", b"1")]), "v1");
    push(&trusting(&depot, signing()), &here, &one);
    let newer = StepKey([2; 32]);
    let signed = manifest_at(&depot, &step_tag(&one.keys[0]));
    depot.put_manifest(&signed, &[step_tag(&newer)]).unwrap();
    assert_eq!(trusting(&depot, requiring()).steps(&[newer]).unwrap(), [None]);
}

/// Replaces the archive of the first layer under a tag; its table of contents stays as it is.
fn forge_layer(depot: &MemoryDepot, tag: &str) -> String {
    let mut document = Document::decode(&manifest_at(depot, tag)).unwrap();
    let place = Toc::place(&document.layers[0].annotations).unwrap();
    let digest = blob_of(&document.layers[0]).unwrap();
    let mut bytes = depot.state().blobs[&digest.hash].to_vec();
    bytes[usize::try_from(place.range.start).unwrap() / 2] ^= 1;
    let evil = plant(depot, &bytes);
    document.layers[0].digest = format!("sha256:{}", evil.hex());
    depot.put_manifest(&document.encode(), &[tag.to_owned()]).unwrap();
    document.layers[0].digest.clone()
}

#[test]
fn only_layers_that_we_signed_are_signed_again() {
    for what in ["tree-", "near-"] {
        let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
        let old = tree(&here, &[("a", b"hello"), ("b", &[7; 5000])]);
        let path = RelPath::parse(b"c").unwrap();
        let new = Digest::of(b"1");
        ashlar_store::put(&here, b"1").unwrap();
        let new = old.with(&path, Node::File(File::new(new, Meta::FILE)));
        push(&remote(&depot), &here, &publication(&here, &old, "old"));
        let tags: Vec<String> = depot.state().tags.keys().cloned().collect();
        let tag = tags.iter().find(|tag| tag.starts_with(what)).unwrap();
        let evil = forge_layer(&depot, tag);

        let next = if what == "tree-" { &old } else { &new };
        let next = publication(&here, next, "next");
        depot.take_log();
        push(&trusting(&depot, signing()), &here, &next);
        let tag = tree_tag(&next.result.outputs);
        let manifest = manifest_at(&depot, &tag);
        let key = own_key();
        let keys = std::slice::from_ref(&key);
        assert_eq!(verified(&depot, &manifest.digest(), keys).unwrap(), Ok(&key));
        assert!(!String::from_utf8(manifest.bytes.clone()).unwrap().contains(&evil), "{what}");
        let log = depot.take_log();
        let at = |start: &str| log.iter().position(|line| line.starts_with(start)).unwrap();
        let signed = format!("put tag {}", signature_tag(&manifest.digest()));
        assert!(at(&signed) < at(&format!("put tag {tag}")), "signed before it is found: {log:?}");

        // What is signed is built upon.
        let last = new.with(&path, Node::Dir(std::sync::Arc::default()));
        let last = publication(&here, &last, "last");
        push(&trusting(&depot, signing()), &here, &last);
        let before = TreeImage::decode(manifest).unwrap();
        let after = manifest_at(&depot, &tree_tag(&last.result.outputs));
        let after = TreeImage::decode(after).unwrap();
        assert_eq!(after.document.layers[0], before.document.layers[0]);
    }
}

#[test]
fn provenance_of_something_else_is_not_shown() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let mut one = publication(&here, &tree(&here, &[("a", b"1")]), "one");
    let mut two = publication(&here, &tree(&here, &[("a", b"2")]), "two");
    for (publication, name) in [(&mut one, "one"), (&mut two, "two")] {
        publication.provenance = Some(format!("{{\"who\":\"{name}\"}}").into_bytes());
        push(&trusting(&depot, signing()), &here, publication);
    }
    let tag = |publication: &Publication| {
        let manifest = manifest_at(&depot, &step_tag(&publication.keys[0]));
        signature_tag(&manifest.digest()).replace(".sig", ".att")
    };
    let other = manifest_at(&depot, &tag(&two));
    for trust in [Trust::default(), requiring()] {
        let reader = trusting(&depot, trust);
        let shown = String::from_utf8(reader.provenance(&found(&one)).unwrap().unwrap()).unwrap();
        assert!(shown.contains("\"one\""), "{shown}");
    }
    depot.put_manifest(&other, &[tag(&one)]).unwrap();
    // Nothing refers to it that is about it.
    depot.state().manifests.retain(|_, manifest| {
        !String::from_utf8_lossy(&manifest.bytes).contains("in-toto") || *manifest == other
    });
    for trust in [Trust::default(), requiring()] {
        let reader = trusting(&depot, trust);
        assert_eq!(reader.provenance(&found(&one)).unwrap(), None);
        let said = reader.take_warnings();
        assert!(said.len() == 1 && said[0].contains("about something else"), "{said:?}");
    }
    // The next push leaves the right one.
    push(&trusting(&depot, signing()), &here, &one);
    assert!(trusting(&depot, requiring()).provenance(&found(&one)).unwrap().is_some());
}

#[test]
fn what_fails_for_good_is_not_tried_for_each() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"1")]);
    let all: Vec<Publication> =
        (0..200).map(|number| publication(&here, &tree, &format!("m{number}"))).collect();
    depot.fail_after(0);
    let pushed = remote(&depot).push(&here, &all, &Watch::NOBODY);
    assert_eq!(pushed.len(), all.len());
    assert!(pushed.iter().all(|one| matches!(one, Err(RemoteError::Unreachable { .. }))));
    assert!(depot.state().failed <= 8, "{} attempts", depot.state().failed);
}

#[test]
fn signatures_without_end_are_not_all_looked_at() {
    let depot = MemoryDepot::default();
    let subject = Digest::of(b"subject");
    let layers = (0..500).map(|number| {
        let mut layer = describe(SIMPLE_SIGNING, &plant(&depot, format!("{number}").as_bytes()));
        layer.annotations = BTreeMap::from([(SIGNATURE.to_owned(), STANDARD.encode(b"no"))]);
        layer
    });
    let layers: Vec<_> = layers.collect();
    let document = Document::new(layers[0].clone(), layers);
    depot.put_manifest(&document.encode(), &[signature_tag(&subject)]).unwrap();
    depot.take_log();
    assert!(verified(&depot, &subject, &[own_key()]).unwrap().is_err());
    let gets = depot.take_log().iter().filter(|line| line.starts_with("get blob")).count();
    assert_eq!(gets, 64);
}

#[test]
fn logs_that_want_too_much_memory_are_damaged() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let one = publication(&here, &tree(&here, &[("a", b"1")]), "one");
    push(&remote(&depot), &here, &one);
    let mut result = ResultImage::decode(&manifest_at(&depot, &step_tag(&one.keys[0]))).unwrap();
    for window in [20, 27] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window).unwrap();
        std::io::copy(&mut here.open(&one.result.log).unwrap().unwrap(), &mut encoder).unwrap();
        let bytes = encoder.finish().unwrap();
        result.log = describe_log(&plant(&depot, &bytes), None);
        let (manifest, config) = result.encode();
        plant(&depot, &config);
        depot.put_manifest(&manifest, &[action_tag(&one.action)]).unwrap();
        let (moved, said) = pull(&remote(&depot), &MemoryStore::new(), &found(&one));
        assert_eq!(moved.is_some(), window == 20, "{said:?}");
    }
    let mut huge = one.clone();
    huge.result.log.size = 2 << 30;
    result.result = huge.result.clone();
    let (manifest, config) = result.encode();
    plant(&depot, &config);
    depot.put_manifest(&manifest, &[action_tag(&one.action)]).unwrap();
    let (moved, said) = pull(&remote(&depot), &MemoryStore::new(), &found(&huge));
    assert!(moved.is_none() && said[0].contains("its log has 2147483648 bytes"), "{said:?}");
}

#[test]
fn what_a_registry_has_is_not_asked_for_layer_by_layer() {
    for trust in [Trust::default as fn() -> Trust, signing] {
        let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
        depot.state().keeps = true;
        let tree = tree(&here, &[("a", b"hello")]);
        let mut one = publication(&here, &tree, "one");
        one.provenance = Some(b"{\"a\":1}".to_vec());
        push(&trusting(&depot, trust()), &here, &one);
        depot.take_log();
        let moved = push(&trusting(&depot, trust()), &here, &one);
        assert_eq!((moved.bytes, moved.already), (0, 5));
        let log = depot.take_log();
        let asked = |line: &String| line.starts_with("put") || line.starts_with("has");
        assert!(!log.iter().any(asked), "{log:?}");
        // Whatever is missing is left again.
        for tag in [tree_tag(&one.result.outputs), step_tag(&one.keys[0])] {
            let before = depot.state().tags.remove(&tag);
            push(&trusting(&depot, trust()), &here, &one);
            assert_eq!(depot.state().tags.get(&tag), before.as_ref());
        }
    }
}
