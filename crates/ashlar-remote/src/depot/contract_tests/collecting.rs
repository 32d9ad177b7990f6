//! What collecting removes and leaves.

use super::*;

pub(super) fn old_blobs_go_and_young_ones_stay(open: Open<'_>, traits: Traits) {
    let depot = open();
    let old = put(&*depot, b"to be old");
    std::thread::sleep(traits.tick);
    let between = depot.now().expect("a clock");
    std::thread::sleep(traits.tick);
    let young = put(&*depot, b"to be young");
    let listed = depot.blobs().expect("listed");
    let time = |digest: &Digest| {
        listed.iter().find(|(one, _)| one == digest).map(|(_, time)| *time).expect("listed")
    };
    assert!(time(&old) < between && time(&young) >= between);
    assert!(!depot.remove_blob(&young, between).expect("asked"));
    assert!(!depot.remove_blob(&old, SystemTime::UNIX_EPOCH).expect("asked"));
    assert!(depot.remove_blob(&old, between).expect("removed"));
    assert!(!depot.remove_blob(&old, between).expect("asked"));
    assert!(!depot.has_blob(&old).expect("asked"));
    assert!(depot.has_blob(&young).expect("asked"));
}

fn has_all(depot: &dyn Depot, digests: &[Digest]) -> Vec<bool> {
    digests.iter().map(|digest| depot.blob_size(&digest.hash).expect("asked").is_some()).collect()
}

pub(super) fn collecting_keeps_what_is_needed(open: Open<'_>, traits: Traits) {
    let depot = open();
    // What other cases left is old, and goes.
    std::thread::sleep(traits.tick);
    collect(&*depot, Limits::default(), Duration::ZERO, &Watch::NOBODY).expect("collected");
    let before = stat(&*depot).expect("counted");
    let [shared, first, second, made, orphan] =
        [10, 11, 12, 13, 14].map(|seed| put(&*depot, &noise(seed, 50_000)));
    let tree_1 = image(&*depot, &[shared, first]);
    let tree_2 = image(&*depot, &[shared, second]);
    let (tag_1, tag_2) = (hex("tree", "1", 64), hex("tree", "2", 64));
    depot.put_manifest(&tree_1, &[tag_1.clone(), hex("near", "1", 32)]).expect("put");
    depot.put_manifest(&tree_2, &[tag_2.clone(), hex("near", "2", 32)]).expect("put");
    let result_1 = result(&*depot, "one", &tree_1);
    let result_2 = result(&*depot, "two", &tree_2);
    let tags_1 = [hex("action", "1", 64), hex("step", "1", 64)];
    let tags_2 = [hex("action", "2", 64), hex("step", "2", 64), hex("step", "2b", 64)];
    depot.put_manifest(&result_1, &tags_1).expect("put");
    let note_1 = referrer(&*depot, &result_1, "of the first");
    depot.put_manifest(&note_1, &[]).expect("put");
    // As cosign signs: a tag that is made of the digest.
    let signed = put(&*depot, b"a signature");
    let signature = image(&*depot, &[signed]);
    let signature_tag = format!("sha256-{}.sig", result_1.digest().hex());
    depot.put_manifest(&signature, std::slice::from_ref(&signature_tag)).expect("put");
    std::thread::sleep(traits.tick);
    depot.put_manifest(&result_2, &tags_2).expect("put");
    let note_2 = referrer(&*depot, &result_2, "of the second");
    depot.put_manifest(&note_2, &[]).expect("put");
    let by_hand = image(&*depot, &[made]);
    depot.put_manifest(&by_hand, &["release-1.0".to_owned()]).expect("put");
    assert_eq!(stat(&*depot).expect("counted").results, before.results + 2);

    // All of it is young: nothing goes, not even what nothing needs.
    let hour = Duration::from_secs(3600);
    let none = Limits { max_size: Some(0), max_age: Some(Duration::ZERO) };
    let collected = collect(&*open(), none, hour, &Watch::NOBODY).expect("collected");
    assert_eq!((collected.results, collected.blobs), (0, 0));

    std::thread::sleep(traits.tick);
    let collected =
        collect(&*open(), Limits::default(), Duration::ZERO, &Watch::NOBODY).expect("collected");
    assert_eq!((collected.results, collected.blobs, collected.bytes), (0, 1, 50_000));
    let all = [shared, first, second, made, orphan];
    assert_eq!(has_all(&*depot, &all), [true, true, true, true, false]);
    assert!(depot.manifest(&Reference::Hash(note_1.digest().hash)).expect("asked").is_some());
    assert_eq!(has_all(&*depot, &[signed]), [true]);

    // Room for the newer result only.
    let limits = Limits { max_size: Some(collected.left.expect("counted") - 1), max_age: None };
    let collected = collect(&*open(), limits, Duration::ZERO, &Watch::NOBODY).expect("collected");
    assert_eq!(collected.results, 1);
    let depot = open();
    assert_eq!(has_all(&*depot, &all), [true, false, true, true, false]);
    assert_eq!(has_all(&*depot, &[signed]), [false]);
    for gone in [&tags_1[0], &tags_1[1], &tag_1, &signature_tag] {
        assert_eq!(depot.manifest(&tag(gone)).expect("asked"), None, "{gone}");
    }
    for stays in [&tags_2[0], &tags_2[2], &tag_2, &hex("near", "2", 32), "release-1.0"] {
        assert!(depot.manifest(&tag(stays)).expect("asked").is_some(), "{stays}");
    }
    assert!(depot.referrers(&result_1.digest()).expect("asked").is_empty());
    assert_eq!(depot.referrers(&result_2.digest()).expect("asked").len(), 1);
    assert_eq!(depot.manifest(&Reference::Hash(note_1.digest().hash)).expect("asked"), None);
    assert!(depot.manifest(&Reference::Hash(note_2.digest().hash)).expect("asked").is_some());

    // What people made stays, whatever the limits.
    let collected = collect(&*open(), none, Duration::ZERO, &Watch::NOBODY).expect("collected");
    assert_eq!(collected.results, 1);
    assert_eq!(has_all(&*open(), &all), [false, false, false, true, false]);
    open().remove_tag("release-1.0", None).expect("removed");
    let collected =
        collect(&*open(), Limits::default(), Duration::ZERO, &Watch::NOBODY).expect("collected");
    assert!(collected.blobs >= 1);
    assert_eq!(has_all(&*open(), &all), [false; 5]);
}

pub(super) fn artifacts_stay_as_results_do(open: Open<'_>, traits: Traits) {
    let depot = open();
    let artifact = |seed: u64, tags: &[String]| {
        let layer = put(&*depot, &noise(seed, 30_000));
        let manifest = image(&*depot, &[layer]);
        let own = format!("artifact-{}", manifest.digest().hex());
        depot.put_manifest(&manifest, &[tags, std::slice::from_ref(&own)].concat()).expect("put");
        (layer, own)
    };
    // As a tree, which on its own is no reason to stay, and as the newest of its lineage.
    let tags = [hex("tree", "a", 64), hex("near", "a", 32)];
    let (older, older_tag) = artifact(40, &tags);
    let (named, named_tag) = artifact(41, &["firmware-2.1".to_owned()]);
    std::thread::sleep(traits.tick);
    let (newer, newer_tag) = artifact(42, &[]);
    std::thread::sleep(traits.tick);
    let there = || has_all(&*open(), &[older, named, newer]);
    let tagged = |name: &str| open().manifest(&tag(name)).expect("asked").is_some();
    let collected = |max_size: Option<u64>| {
        let limits = Limits { max_size, max_age: None };
        collect(&*open(), limits, Duration::ZERO, &Watch::NOBODY).expect("collected")
    };
    // Old, and within the limits.
    collected(Some(200 << 30));
    assert_eq!(there(), [true; 3]);
    assert!(tagged(&older_tag) && tagged(&tags[0]) && tagged(&tags[1]));
    // The one that was used least recently goes first; what people named does not.
    let left = collected(None).left.expect("counted");
    collected(Some(left - 1));
    assert_eq!(there(), [false, true, true]);
    assert!(!tagged(&older_tag) && !tagged(&tags[0]) && tagged(&newer_tag));
    let limits = Limits { max_size: None, max_age: Some(Duration::ZERO) };
    collect(&*open(), limits, Duration::ZERO, &Watch::NOBODY).expect("collected");
    assert_eq!(there(), [false, true, false]);
    assert!(tagged(&named_tag) && tagged("firmware-2.1"));
    // It goes as any other when it has lost its name.
    open().remove_tag("firmware-2.1", None).expect("removed");
    collected(Some(0));
    assert_eq!(there(), [false; 3]);
    assert!(!tagged(&named_tag));
}

pub(super) fn readers_beside_a_collection_see_whole_results_or_none(
    open: Open<'_>,
    traits: Traits,
) {
    let depot = open();
    let mut results = Vec::new();
    for number in 0..6 {
        let layers: Vec<Digest> =
            (0..3).map(|layer| put(&*depot, &noise(100 + number * 3 + layer, 20_000))).collect();
        let tree = image(&*depot, &layers);
        depot.put_manifest(&tree, &[hex("tree", &format!("r{number}"), 64)]).expect("put");
        let name = hex("action", &format!("r{number}"), 64);
        depot
            .put_manifest(
                &result(&*depot, &format!("r{number}"), &tree),
                std::slice::from_ref(&name),
            )
            .expect("put");
        results.push((name, tree, layers));
    }
    std::thread::sleep(traits.tick);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let results = &results;
                let over = &over;
                scope.spawn(move || {
                    let depot = open();
                    let mut last = false;
                    while !last {
                        last = over.load(Ordering::Relaxed);
                        for (name, tree, layers) in results {
                            let there = depot.manifest(&tag(name)).expect("asked").is_some();
                            let tree = depot
                                .manifest(&Reference::Hash(tree.digest().hash))
                                .expect("asked");
                            for layer in layers {
                                // Whatever can be read is right; whatever is gone is a miss.
                                if let Some(read) = get(&*depot, layer, 0..layer.size) {
                                    assert_eq!(Digest::of(&read), *layer);
                                } else {
                                    let now = depot.manifest(&tag(name)).expect("asked");
                                    assert_eq!(now, None, "a tag outlives its layers");
                                }
                            }
                            // The tag goes before what it needs.
                            if there && tree.is_none() {
                                let now = depot.manifest(&tag(name)).expect("asked");
                                assert_eq!(now, None, "a tag outlives its image");
                            }
                        }
                    }
                })
            })
            .collect();
        // Meanwhile somebody writes: what is new stays, with old blobs that it relies on.
        let writer = scope.spawn(|| {
            let depot = open();
            let layer = put(&*depot, b"written beside the collection");
            let tree = image(&*depot, &[layer]);
            depot.put_manifest(&tree, &["beside".to_owned()]).expect("put");
            layer
        });
        let none = Limits { max_size: Some(0), max_age: None };
        let grace = traits.tick / 2;
        let collected = collect(&*open(), none, grace, &Watch::NOBODY).expect("collected");
        over.store(true, Ordering::Relaxed);
        assert_eq!(collected.results, 6);
        let layer = writer.join().expect("the writer");
        assert_eq!(open().blob_size(&layer.hash).expect("asked"), Some(layer.size));
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
    for (name, _, layers) in &results {
        assert_eq!(open().manifest(&tag(name)).expect("asked"), None);
        assert_eq!(has_all(&*open(), layers), [false; 3]);
    }
}
