//! Collecting a place that tells no times: results go by their own, on a real registry and, where
//! it depends on who is quicker, in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use ashlar_object::Time;
use ashlar_store::{Collected, Limits, RemoteError};
use ashlar_testbed::registry::{Options as Kind, Registry as Server};

use super::trust::signer;
use super::*;
use crate::depot::collect::GRACE;
use crate::depot::collect::dated;
use crate::depot::registry::{Credentials, Registry};
use crate::depot::{Descriptor, Manifest, Reference};
use crate::http;
use crate::image::manifest::{Document, action_tag, describe, near_tag, says, step_tag, tree_tag};
use crate::image::sign::refer;

fn signing() -> Trust {
    Trust { keys: Vec::new(), signer: Some(signer()) }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn server(delete: bool) -> Server {
    ashlar_testbed::docker_registry(&Kind { delete, ..Kind::default() })
}

fn depot(server: &Server) -> Box<dyn Depot> {
    let url = format!("oci://{}/team/firmware", server.host());
    let options = http::Options { timeout: Duration::from_secs(10), ..http::Options::default() };
    Box::new(Registry::open(&url, &options, &Credentials::default(), None).unwrap())
}

fn at(server: &Server, trust: Trust) -> ImageRemote {
    ImageRemote::new("team", depot(server), trust)
}

/// A publication that was made so many days ago.
fn made(store: &dyn Store, tree: &Tree, name: &str, days: u32) -> Publication {
    let mut made = publication(store, tree, name);
    let at = (SystemTime::now() - DAY * days).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(at.as_secs()).unwrap();
    made.result.started = Time { seconds, nanos: 0 };
    made.lineage = format!("{name}/step");
    made.provenance = Some(format!("{{\"of\":\"{name}\"}}").into_bytes());
    made
}

fn collect(depot: &dyn Depot, days: Option<u32>, size: Option<u64>) -> Collected {
    let limits = Limits { max_age: days.map(|days| DAY * days), max_size: size };
    dated::collect(depot, limits, GRACE, &says, &Watch::NOBODY).unwrap()
}

fn tags(depot: &dyn Depot) -> Vec<String> {
    let mut tags: Vec<String> = depot.tags().unwrap().into_iter().map(|(tag, _)| tag).collect();
    tags.sort();
    tags
}

fn is_there(remote: &dyn Remote, publication: &Publication) -> bool {
    let step = remote.steps(&publication.keys).unwrap()[0].is_some();
    let action = remote.results(&[publication.action]).unwrap()[0].is_some();
    assert_eq!(step, action, "half of a result is there");
    step
}

/// That a result can be had, all of it, by somebody who has nothing.
fn assert_whole(remote: &dyn Remote, publication: &Publication, tree: &Tree) {
    let there = MemoryStore::new();
    let (moved, said) = pull(remote, &there, &found(publication));
    assert!(moved.is_some(), "{said:?}");
    assert_complete(&there, publication, tree);
}

/// What others keep in the same repository.
fn foreign(depot: &dyn Depot, note: &str) -> Manifest {
    let config = Digest::of(b"{}");
    if !depot.has_blob(&config).unwrap() {
        let body = crate::depot::Body::Bytes(b"{}".as_slice().into());
        depot.put_blob(&config, &body, &Watch::NOBODY).unwrap();
    }
    let empty = describe("application/vnd.oci.empty.v1+json", &config);
    let mut document = Document::new(empty.clone(), vec![empty]);
    document.artifact_type = Some("application/vnd.example.note.v1+json".to_owned());
    document.annotations.insert("note".to_owned(), note.to_owned());
    document.encode()
}

fn described(manifest: &Manifest) -> Descriptor {
    describe(&manifest.media_type, &manifest.digest())
}

#[test]
fn a_registry_is_collected_and_what_is_left_is_whole() {
    let mut server = server(true);
    let here = MemoryStore::new();
    let file = |name: &str| Dice(Digest::of(name.as_bytes()).hash[0].into()).bytes(60_000);
    let base = tree(&here, &[("lib/base", &file("base")), ("etc/os", b"debian")]);
    let more = base.with(
        &RelPath::parse(b"lib/more").unwrap(),
        tree(&here, &[("more", &file("another"))]).root().entries()[b"more".as_slice()].clone(),
    );
    let alone = tree(&here, &[("bin/alone", &file("alone one"))]);
    let mut all = [
        ("gone", &alone, 200),
        ("beneath", &base, 150),
        ("liked", &tree(&here, &[("liked", &file("liked"))]), 120),
        ("kept", &more, 20),
        ("new", &tree(&here, &[("new", &file("new"))]), 0),
    ]
    .map(|(name, tree, days)| (made(&here, tree, name, days), tree.clone()));
    // The layers of one are those of the other, and one more.
    all[3].0.earlier = vec![all[1].0.result.outputs];
    for (publication, _) in &all {
        push(&at(&server, signing()), &here, publication);
    }
    let depot = depot(&server);
    let liked = Reference::Tag(action_tag(&all[2].0.action));
    let liked = depot.manifest(&liked).unwrap().unwrap();
    depot.put_manifest(&liked, &["release-1".to_owned()]).unwrap();
    // An image without a tag, with something that says something about it, as cosign does.
    let image = foreign(&*depot, "an image");
    depot.put_manifest(&image, &[]).unwrap();
    let name = format!("sha256-{}.sbom", image.digest().hex());
    let about = Document::decode(&foreign(&*depot, "about the image")).unwrap();
    refer(&*depot, about, b"{}", &described(&image), std::slice::from_ref(&name), &Watch::NOBODY)
        .unwrap();

    let before = server.stored();
    let collected = collect(&*depot, Some(90), None);
    assert_eq!(collected.results, 2);
    assert!(collected.later && collected.bytes > 10_000, "{collected:?}");
    let left = tags(&*depot);
    for (publication, kept) in all.iter().map(|(one, _)| one).zip([false, false, true, true, true])
    {
        let remote = at(&server, signing());
        assert_eq!(is_there(&remote, publication), kept);
        let tree = tree_tag(&publication.result.outputs);
        assert_eq!(left.contains(&tree), kept, "{left:?}");
        assert_eq!(left.contains(&near_tag(&publication.lineage)), kept, "{left:?}");
    }
    // Each result and its tree have both, and what others have is theirs.
    assert_eq!(left.iter().filter(|tag| tag.ends_with(".sig")).count(), 6);
    assert_eq!(left.iter().filter(|tag| tag.ends_with(".att")).count(), 6);
    assert!(left.contains(&name), "{left:?}");
    assert!(depot.manifest(&Reference::Hash(image.digest().hash)).unwrap().is_some());

    // Now the registry's own collection, which frees about what was said.
    server.collect_garbage();
    let freed = before - server.stored();
    assert!(freed.abs_diff(collected.bytes) < 4096, "{freed} freed, {collected:?} told");
    let keys = signing().signer.unwrap().public().clone();
    let strict = || at(&server, Trust { keys: vec![keys.clone()], signer: None });
    for (publication, tree) in &all[2..] {
        let remote = strict();
        assert!(is_there(&remote, publication));
        assert_whole(&remote, publication, tree);
        assert!(remote.provenance(&found(publication)).unwrap().is_some());
    }
    // What went may come again.
    push(&at(&server, signing()), &here, &all[0].0);
    assert_whole(&strict(), &all[0].0, &all[0].1);
    // Nothing more to do: and nothing is done.
    let depot = self::depot(&server);
    let before = tags(&*depot);
    assert_eq!(collect(&*depot, Some(900), None).results, 0);
    assert_eq!(tags(&*depot), before);
}

#[test]
fn the_eldest_go_until_the_rest_fits_and_nothing_young_does() {
    let server = server(true);
    let here = MemoryStore::new();
    let all: Vec<(Publication, Tree)> = [30, 20, 10, 0]
        .into_iter()
        .enumerate()
        .map(|(number, days)| {
            let content = Dice(7 + number as u64).bytes(80_000);
            let tree = tree(&here, &[(&format!("file{number}"), &content)]);
            (made(&here, &tree, &format!("r{number}"), days), tree)
        })
        .collect();
    for (publication, _) in &all {
        push(&at(&server, Trust::default()), &here, publication);
    }
    let depot = depot(&server);
    let there = || -> Vec<bool> {
        let remote = at(&server, Trust::default());
        all.iter().map(|(publication, _)| is_there(&remote, publication)).collect()
    };
    let whole = collect(&*depot, None, Some(u64::MAX));
    assert_eq!((whole.results, whole.bytes), (0, 0));
    let whole = whole.left.unwrap();
    assert!(whole.abs_diff(server.stored()) < 4096, "{whole} told, {} stored", server.stored());
    let some = collect(&*depot, None, Some(whole - 1));
    assert_eq!((some.results, there()), (1, vec![false, true, true, true]));
    assert_eq!(some.left.unwrap() + some.bytes, whole);
    let none = collect(&*depot, None, Some(0));
    assert_eq!((none.results, there()), (2, vec![false, false, false, true]));
    assert!(none.left.unwrap() > 0);
    assert_whole(&at(&server, Trust::default()), &all[3].0, &all[3].1);
}

#[test]
fn where_nothing_may_be_removed_it_is_said_before_anything_is_changed() {
    let server = server(false);
    let here = MemoryStore::new();
    let tree = tree(&here, &[("a", b"1")]);
    let old = made(&here, &tree, "old", 300);
    push(&at(&server, Trust::default()), &here, &old);
    let before = tags(&*depot(&server));
    let limits = Limits { max_age: Some(DAY), max_size: None };
    let remote = at(&server, Trust::default());
    let error = remote.collect(limits, &Watch::NOBODY).unwrap_err();
    assert!(matches!(error, RemoteError::Unsupported { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("let the registry's administrator enable deletion"), "{text}");
    assert!(text.contains("REGISTRY_STORAGE_DELETE_ENABLED"), "{text}");
    // Also where nothing would have to go: it is looked at first.
    remote.collect(Limits::default(), &Watch::NOBODY).unwrap_err();
    assert_eq!(tags(&*depot(&server)), before);
    assert_whole(&remote, &old, &tree);
}

#[test]
fn a_registry_is_collected_beside_those_who_push() {
    const ROUNDS: u32 = 3;
    let server = server(true);
    let here = MemoryStore::new();
    let contents: Vec<Vec<u8>> = (0..4).map(|n| Dice(100 + n).bytes(20_000)).collect();
    let trees: Vec<Tree> =
        contents.iter().map(|content| tree(&here, &[("file", content)])).collect();
    let done = AtomicBool::new(false);
    let mut young = Vec::new();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let depot = depot(&server);
            let mut gone = 0;
            loop {
                let last = done.load(Ordering::SeqCst);
                gone += collect(&*depot, Some(90), None).results;
                if last {
                    return gone;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let pushers: Vec<_> = (0..2)
            .map(|who| {
                let (here, trees, server) = (&here, &trees, &server);
                scope.spawn(move || {
                    let mut young = Vec::new();
                    for round in 0..ROUNDS {
                        // An old result of a tree goes while a new one comes to rely on it.
                        for (number, tree) in trees.iter().enumerate() {
                            let name = format!("{who} {round} {number}");
                            let old = made(here, tree, &format!("old {name}"), 200);
                            let new = made(here, tree, &format!("new {name}"), 0);
                            push(&at(server, Trust::default()), here, &old);
                            push(&at(server, Trust::default()), here, &new);
                            young.push((new, tree.clone()));
                        }
                    }
                    young
                })
            })
            .collect();
        let pushed: Vec<_> = pushers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        young.extend(pushed.into_iter().flat_map(Result::unwrap));
        let gone = collector.join().unwrap();
        assert!(gone > 0, "nothing was collected meanwhile");
    });
    let remote = at(&server, Trust::default());
    for (publication, tree) in &young {
        assert!(is_there(&remote, publication));
        assert_whole(&remote, publication, tree);
    }
}

/// All of a result is there for who requires the signature that it was left with.
fn assert_whole_for(trust: &Trust, depot: &MemoryDepot, new: &Publication, tree: &Tree) {
    let keys: Vec<_> = trust.signer.iter().map(|one| one.public().clone()).collect();
    let reader = trusting(depot, Trust { keys, signer: None });
    assert!(is_there(&reader, new));
    assert_whole(&reader, new, tree);
    assert!(reader.provenance(&found(new)).unwrap().is_some());
    assert!(depot.state().tags.contains_key(&tree_tag(&tree.digest())));
}

/// A place in memory that tells no times.
fn timeless() -> MemoryDepot {
    let depot = MemoryDepot::default();
    depot.state().keeps = true;
    depot
}

fn hash_at(depot: &MemoryDepot, tag: &str) -> [u8; 32] {
    depot.state().tags[tag]
}

#[test]
fn a_tree_that_goes_before_anything_leads_to_it_is_left_again() {
    for trust in [Trust::default as fn() -> Trust, signing] {
        for call in ["put tag action-", "put tag step-"] {
            let (depot, here) = (timeless(), MemoryStore::new());
            let tree = tree(&here, &[("a", b"hello")]);
            let old = made(&here, &tree, "old", 200);
            let new = made(&here, &tree, "new", 0);
            push(&trusting(&depot, trust()), &here, &old);
            // All that the new result relies on goes right before it is there.
            let other = depot.clone();
            let image = hash_at(&depot, &tree_tag(&tree.digest()));
            depot.before(call, move || {
                other.remove_manifest(&image).unwrap();
                let said = |tag: &String| tag.starts_with("sha256-");
                let gone: Vec<String> =
                    other.state().tags.keys().filter(|t| said(t)).cloned().collect();
                for tag in gone {
                    let hash = other.state().tags.get(&tag).copied();
                    hash.map(|hash| other.remove_manifest(&hash).unwrap());
                }
            });
            push(&trusting(&depot, trust()), &here, &new);
            assert_whole_for(&trust(), &depot, &new, &tree);
        }
    }
}

#[test]
fn a_tree_that_somebody_relies_on_while_it_goes_is_put_back() {
    for trust in [Trust::default as fn() -> Trust, signing] {
        let (depot, here) = (timeless(), MemoryStore::new());
        let tree = tree(&here, &[("a", b"hello")]);
        push(&trusting(&depot, trust()), &here, &made(&here, &tree, "old", 200));
        let new = made(&here, &tree, "new", 0);
        // The first that goes is the old result; then the new one comes.
        let (other, store, late) = (depot.clone(), MemoryStore::new(), new.clone());
        for blob in tree.blobs().iter().chain([&new.result.outputs, &new.result.log]) {
            ashlar_store::put(&store, &read(&here, blob).unwrap().unwrap()).unwrap();
        }
        let again = depot.clone();
        depot.before("remove manifest", move || {
            again.before("remove manifest", move || {
                push(&trusting(&other, trust()), &store, &late);
            });
        });
        let collected = collect(&depot, Some(90), None);
        assert_eq!(collected.results, 1);
        assert_whole_for(&trust(), &depot, &new, &tree);
    }
}

#[test]
fn what_people_tag_at_the_last_moment_stays() {
    let (depot, here) = (timeless(), MemoryStore::new());
    let tree = tree(&here, &[("a", b"hello")]);
    let old = made(&here, &tree, "old", 200);
    push(&remote(&depot), &here, &old);
    let (other, hash) = (depot.clone(), hash_at(&depot, &step_tag(&old.keys[0])));
    // All was read, and is being thought about.
    depot.before("referrers", move || {
        other.state().tags.insert("release-1".to_owned(), hash);
    });
    assert_eq!(collect(&depot, Some(90), None).results, 0);
    assert!(is_there(&remote(&depot), &old));
    assert_whole(&remote(&depot), &old, &tree);
    // Once nobody likes it any more, it goes.
    depot.state().tags.remove("release-1");
    assert_eq!(collect(&depot, Some(90), None).results, 1);
    assert_eq!(tags(&depot), [""; 0]);
}
