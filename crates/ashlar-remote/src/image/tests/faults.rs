//! What fails half-way, and what is damaged.

use super::*;
use ashlar_store::RemoteError;

#[test]
fn whenever_it_fails_nothing_points_to_what_is_not_there() {
    let here = MemoryStore::new();
    let mut dice = Dice(3);
    let old = mutate(&here, &Tree::default(), &mut dice);
    let new = mutate(&here, &old, &mut dice);
    let trust = || Trust { keys: Vec::new(), signer: Some(trust::signer()) };
    let first = publication(&here, &old, "old");
    let mut second = publication(&here, &new, "new");
    second.provenance = Some(b"{\"a\":1}".to_vec());
    for calls in 0.. {
        let depot = MemoryDepot::default();
        push(&trusting(&depot, trust()), &here, &first);
        depot.fail_after(calls);
        // The depot itself refuses whatever points to something that is not there.
        let pushed =
            trusting(&depot, trust()).push(&here, std::slice::from_ref(&second), &Watch::NOBODY);
        depot.mend();
        let remote = remote(&depot);
        let steps = remote.steps(&second.keys).unwrap();
        let there = MemoryStore::new();
        if steps[0].is_some() {
            assert!(pull(&remote, &there, &found(&second)).0.is_some(), "after {calls}");
        }
        match &pushed[0] {
            Ok(_) => {
                assert!(calls > 15, "only {calls} calls for all of it");
                return;
            }
            Err(RemoteError::Unreachable { .. }) => {}
            Err(other) => panic!("after {calls}: {other}"),
        }
        // And again: it goes on where it was.
        push(&trusting(&depot, trust()), &here, &second);
        assert!(pull(&remote, &there, &found(&second)).0.is_some());
        assert_complete(&there, &second, &new);
    }
}

#[test]
fn damage_is_a_miss_and_is_mended_by_the_next_push() {
    let here = MemoryStore::new();
    let mut dice = Dice(11);
    let mut now = Tree::default();
    let mut publications = Vec::new();
    for number in 0..3 {
        now = mutate(&here, &now, &mut dice);
        publications.push(publication(&here, &now, &format!("r{number}")));
    }
    let last = publications.last().unwrap();
    let (mut misses, mut hits) = (0, 0);
    for seed in 0..120 {
        let depot = MemoryDepot::default();
        for one in &publications {
            push(&remote(&depot), &here, one);
        }
        let mut dice = Dice(seed + 1);
        {
            let mut state = depot.state();
            let mut hashes: Vec<_> = state.blobs.keys().copied().collect();
            hashes.sort_unstable();
            let hash = hashes[dice.below(hashes.len() as u64) as usize];
            let mut bytes = state.blobs[&hash].to_vec();
            match dice.below(4) {
                0 => bytes.truncate(dice.below(bytes.len() as u64) as usize),
                1 => drop(state.blobs.remove(&hash)),
                _ => {
                    let at = dice.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << dice.below(8);
                }
            }
            if state.blobs.contains_key(&hash) {
                state.blobs.insert(hash, bytes.into());
            }
        }
        let remote = remote(&depot);
        let there = MemoryStore::new();
        let (moved, said) = pull(&remote, &there, &found(last));
        if moved.is_some() {
            hits += 1;
            assert_complete(&there, last, &now);
            continue;
        }
        misses += 1;
        assert_eq!(said.len(), 1, "{said:?}");
        // Whoever builds it again leaves it again, and then it can be used.
        let mut again = last.clone();
        again.result.started.seconds += 1;
        push(&remote, &here, &again);
        let there = MemoryStore::new();
        let (moved, said) = pull(&super::remote(&depot), &there, &found(&again));
        assert!(moved.is_some(), "seed {seed}: {said:?}");
        assert_complete(&there, &again, &now);
    }
    assert!(misses > 30 && hits > 5, "{misses} misses, {hits} hits");
}

#[test]
fn nonsense_under_a_tag_is_a_miss_that_is_said_once() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"1")]);
    let one = publication(&here, &tree, "one");
    push(&remote(&depot), &here, &one);
    let tags: Vec<String> = depot.state().tags.keys().cloned().collect();
    let mut dice = Dice(17);
    for round in 0..200 {
        let broken = MemoryDepot::default();
        {
            let (from, mut to) = (depot.state(), broken.state());
            to.blobs = from.blobs.clone();
            to.tags = from.tags.clone();
            // All are what they are called, and say something else.
            for (hash, manifest) in &from.manifests {
                let mut manifest = manifest.clone();
                let at = dice.below(manifest.bytes.len() as u64) as usize;
                match round % 3 {
                    0 => manifest.bytes[at] = dice.below(256) as u8,
                    1 => manifest.bytes.truncate(at),
                    _ => manifest.bytes = b"{}".to_vec(),
                }
                let new = manifest.digest().hash;
                to.tags.values_mut().filter(|to| *to == hash).for_each(|to| *to = new);
                to.manifests.insert(new, manifest);
            }
        }
        let remote = remote(&broken);
        let there = MemoryStore::new();
        for _ in 0..2 {
            if let Some(found) = &remote.steps(&one.keys).unwrap()[0] {
                pull(&remote, &there, found);
            }
        }
        assert!(remote.take_warnings().len() <= 1);
        // It does not keep anybody from leaving it again: at the latest when it turned out to be
        // of no use.
        push(&remote, &here, &one);
        if pull(&remote, &there, &found(&one)).0.is_none() {
            let mut again = one.clone();
            again.result.started.seconds += 1;
            push(&remote, &here, &again);
            assert!(pull(&super::remote(&broken), &there, &found(&again)).0.is_some());
        }
    }
    assert!(tags.iter().any(|tag| tag.starts_with("near-")), "{tags:?}");
}

#[test]
fn a_tag_that_was_moved_to_another_result_is_a_miss() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let (one, two) = (tree(&here, &[("a", b"1")]), tree(&here, &[("a", b"2")]));
    let (one, two) = (publication(&here, &one, "one"), publication(&here, &two, "two"));
    push(&remote(&depot), &here, &one);
    push(&remote(&depot), &here, &two);
    let mut state = depot.state();
    let moved = state.tags[&super::super::manifest::step_tag(&two.keys[0])];
    state.tags.insert(super::super::manifest::step_tag(&one.keys[0]), moved);
    drop(state);
    let remote = remote(&depot);
    assert_eq!(remote.steps(&one.keys).unwrap(), [None]);
    assert_eq!(remote.take_warnings().len(), 1);
    assert!(remote.steps(&two.keys).unwrap()[0].is_some());
}

#[test]
fn it_stops_when_told_to() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"1")]);
    let one = publication(&here, &tree, "one");
    let watch = Watch { go_on: &|| false, ..Watch::NOBODY };
    let pushed = remote(&depot).push(&here, std::slice::from_ref(&one), &watch).pop().unwrap();
    assert!(matches!(pushed, Err(RemoteError::Stopped)), "{pushed:?}");
    assert_eq!(depot.state().tags.len(), 0);
    push(&remote(&depot), &here, &one);
    let pulled = remote(&depot).pull(&MemoryStore::new(), &[found(&one)], &watch);
    assert!(matches!(pulled, Err(RemoteError::Stopped)), "{pulled:?}");
}

#[test]
fn a_store_that_lacks_a_content_fails_that_result_only() {
    let (depot, here) = (MemoryDepot::default(), MemoryStore::new());
    let one = publication(&here, &tree(&here, &[("a", b"1")]), "one");
    let two = publication(&here, &tree(&here, &[("a", b"2")]), "two");
    here.forget(&Digest::of(b"1"));
    let pushed = remote(&depot).push(&here, &[one.clone(), two.clone()], &Watch::NOBODY);
    assert!(matches!(pushed[0], Err(RemoteError::Store(_))), "{pushed:?}");
    assert!(pushed[1].is_ok(), "{pushed:?}");
    let keys = [one.keys[0], two.keys[0]];
    assert_eq!(remote(&depot).steps(&keys).unwrap(), [None, Some(found(&two))]);
}
