//! The registry depot beside `docker-registry`, and beside a proxy that stands for other kinds.

mod faults;
mod lists;
mod logins;

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use ashlar_testbed::registry::Options as Kind;
use ashlar_testbed::{Proxy, docker_registry};
use serde_json::json;

use super::push::Sizes;
use super::*;
use crate::depot::contract_tests;
use crate::http::all;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes that are not the same anywhere.
fn content(length: usize, seed: u64) -> Vec<u8> {
    (seed..seed + length as u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u8)
        .collect()
}

fn options() -> Options {
    Options { timeout: Duration::from_secs(5), ..Options::default() }
}

/// The repository `team/firmware` there, with parts so small that tests are quick.
fn depot(host: &str, credentials: &Credentials) -> Registry {
    let url = format!("oci://{host}/team/firmware");
    Registry::open(&url, &options(), credentials, None)
        .expect("an address")
        .with_sizes(Sizes { whole: 100_000, part: 200_000 })
}

fn anonymous(host: &str) -> Registry {
    depot(host, &Credentials::default())
}

fn bytes(of: &[u8]) -> Body {
    Body::Bytes(of.into())
}

fn put(depot: &Registry, blob: &[u8]) -> Digest {
    let digest = Digest::of(blob);
    depot.put_blob(&digest, &bytes(blob), &Watch::NOBODY).expect("it is put");
    digest
}

fn get(depot: &Registry, digest: &Digest, range: Range<u64>) -> Vec<u8> {
    let mut read = Vec::new();
    let mut from = depot.open_blob(digest, range).expect("it is opened").expect("it is there");
    from.read_to_end(&mut read).expect("it is read");
    read
}

/// A manifest whose blobs are there. The note makes it another one.
fn manifest(depot: &Registry, note: &str, subject: Option<&Manifest>) -> Manifest {
    let config = put(depot, b"{}");
    let config = json!({
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": format!("sha256:{}", config.hex()),
        "size": config.size,
    });
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.note.v1+json",
        "config": config,
        "layers": [config],
        "annotations": {"note": note},
    });
    if let Some(subject) = subject {
        document["subject"] = json!({
            "mediaType": subject.media_type,
            "digest": format!("sha256:{}", subject.digest().hex()),
            "size": subject.bytes.len(),
        });
    }
    Manifest { media_type: MANIFEST.to_owned(), bytes: document.to_string().into_bytes() }
}

fn tag(name: &str) -> Reference {
    Reference::Tag(name.to_owned())
}

#[test]
fn blobs_come_back_as_they_went_whole_and_in_parts() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let depot = anonymous(&proxy.host());
    for length in [0, 1, 99_999, 100_000, 100_001, 400_000, 1_234_567] {
        let blob = content(length, length as u64);
        let digest = Digest::of(&blob);
        assert!(!depot.has_blob(&digest).expect("asked") || length == 0);
        assert!(depot.open_blob(&digest, 0..digest.size).expect("asked").is_none());
        assert_eq!(depot.blob_size(&digest.hash).expect("asked"), None);
        put(&depot, &blob);
        assert!(depot.has_blob(&digest).expect("asked"));
        assert!(!depot.has_blob(&Digest { size: digest.size + 1, ..digest }).expect("asked"));
        assert_eq!(depot.blob_size(&digest.hash).expect("asked"), Some(digest.size));
        assert!(get(&depot, &digest, 0..digest.size) == blob, "{length}");
        if length > 10 {
            let part = (digest.size / 3)..(digest.size - 5);
            let expected = &blob[length / 3..length - 5];
            assert!(get(&depot, &digest, part) == expected, "{length}");
        }
    }
    // What fits into one part needs none.
    assert_eq!(proxy.requests_to("PATCH", "/").len(), 2 + 7);
    let error = depot.open_blob(&Digest::of(b"x"), 0..9).map(drop).expect_err("it is too short");
    assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
}

#[test]
fn files_are_sent_as_bytes_are_and_watched() {
    let registry = docker_registry(&Kind::default());
    let depot = anonymous(&registry.host());
    let blob = content(900_000, 3);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    io::Write::write_all(&mut file, &blob).expect("written");
    let body = Body::File(Arc::new(file.reopen().expect("the file")));
    let told = Mutex::new(ashlar_store::Moved::default());
    let moved = |more| *told.lock().expect("not poisoned") += more;
    let watch = Watch { moved: &moved, ..Watch::NOBODY };
    depot.put_blob(&Digest::of(&blob), &body, &watch).expect("it is put");
    let told = *told.lock().expect("not poisoned");
    assert_eq!((told.bytes, told.blobs), (900_000, 1));
    assert!(get(&depot, &Digest::of(&blob), 0..900_000) == blob);
    let stop = Watch { go_on: &|| false, ..Watch::NOBODY };
    let other = content(900_000, 4);
    let stopped = depot.put_blob(&Digest::of(&other), &bytes(&other), &stop);
    assert!(matches!(stopped, Err(RemoteError::Stopped)));
}

#[test]
fn manifests_by_tag_and_by_digest() {
    let registry = docker_registry(&Kind::default());
    let depot = anonymous(&registry.host());
    assert_eq!(depot.manifest(&tag("one")).expect("asked"), None);
    assert_eq!(depot.tags().expect("asked"), []);
    let first = manifest(&depot, "first", None);
    depot.put_manifest(&first, &[]).expect("put");
    let by_digest = Reference::Hash(first.digest().hash);
    assert_eq!(depot.manifest(&by_digest).expect("asked").as_ref(), Some(&first));
    let tags = ["one".to_owned(), "step-0".to_owned()];
    depot.put_manifest(&first, &tags).expect("put");
    assert_eq!(depot.manifest(&tag("step-0")).expect("asked"), Some(first));
    let second = manifest(&depot, "second", None);
    depot.put_manifest(&second, &tags[..1]).expect("put");
    assert_eq!(depot.manifest(&tag("one")).expect("asked"), Some(second.clone()));
    let mut names: Vec<String> =
        depot.tags().expect("asked").into_iter().map(|(tag, _)| tag).collect();
    names.sort();
    assert_eq!(names, tags);
    // What cannot be a tag is none, and nothing that leads elsewhere.
    assert_eq!(depot.manifest(&tag("../../x")).expect("asked"), None);
    depot.put_manifest(&second, &["a/b".to_owned()]).expect_err("no tag");
}

#[test]
fn a_tag_is_removed_and_not_its_siblings() {
    let registry = docker_registry(&Kind { delete: true, ..Kind::default() });
    let depot = anonymous(&registry.host());
    let kept = manifest(&depot, "kept", None);
    depot.put_manifest(&kept, &["a".to_owned(), "b".to_owned()]).expect("put");
    assert!(depot.remove_tag("a", None).expect("removed"));
    assert!(!depot.remove_tag("a", None).expect("it is gone"));
    assert_eq!(depot.manifest(&tag("a")).expect("asked"), None);
    assert_eq!(depot.manifest(&tag("b")).expect("asked"), Some(kept));
    let names: Vec<_> = depot.tags().expect("asked").into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn where_nothing_can_be_removed_it_is_said_and_nothing_is_harmed() {
    let registry = docker_registry(&Kind::default());
    let depot = anonymous(&registry.host());
    let kept = manifest(&depot, "kept", None);
    depot.put_manifest(&kept, &["a".to_owned()]).expect("put");
    let error = depot.remove_tag("a", None).expect_err("it is disabled");
    assert!(matches!(error, RemoteError::Unsupported { .. }), "{error:?}");
    assert!(all(&error).contains("storage.delete.enabled"), "{error}");
    assert_eq!(depot.manifest(&tag("a")).expect("asked"), Some(kept.clone()));
    for error in [
        depot.blobs().map(drop).expect_err("no"),
        depot.remove_blob(&kept.digest(), SystemTime::now()).map(drop).expect_err("no"),
    ] {
        assert!(matches!(error, RemoteError::Unsupported { .. }), "{error:?}");
    }
    let facts = depot.facts().expect("asked");
    let fact = |name: &str| facts.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(fact("protocol"), Some("registry/2.0"));
    assert_eq!(fact("deletion"), Some("disabled"));
    assert_eq!(fact("referrers"), Some("by a tag"));
}

#[test]
fn a_registry_that_is_read_only_says_so() {
    let registry = docker_registry(&Kind { read_only: true, ..Kind::default() });
    let depot = anonymous(&registry.host());
    let why = depot.may_write().expect("asked").expect_err("it may not");
    assert!(why.contains("405"), "{why}");
    let blob = content(10, 1);
    let error = depot.put_blob(&Digest::of(&blob), &bytes(&blob), &Watch::NOBODY).expect_err("no");
    assert!(!matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    let writable = docker_registry(&Kind::default());
    let proxy = Proxy::http(writable.address());
    assert_eq!(anonymous(&proxy.host()).may_write().expect("asked"), Ok(()));
    // The upload that was begun to find out is given up again.
    let given_up = proxy.requests_to("DELETE", "/v2/team/firmware/blobs/uploads/");
    assert_eq!(given_up.iter().map(|one| one.status).collect::<Vec<_>>(), [204]);
}

#[test]
fn a_blob_of_another_repository_need_not_be_moved() {
    let registry = docker_registry(&Kind::default());
    let url = format!("oci://{}/other/things", registry.host());
    let other = Registry::open(&url, &options(), &Credentials::default(), None).expect("open");
    let proxy = Proxy::http(registry.address());
    let depot = anonymous(&proxy.host());
    let blob = content(300_000, 5);
    let digest = put(&other, &blob);
    assert!(!depot.has_blob(&digest).expect("asked"));
    assert!(depot.mount_blob(&digest, "other/things").expect("asked"));
    assert!(depot.has_blob(&digest).expect("asked"));
    assert!(!depot.mount_blob(&Digest::of(b"nowhere"), "other/things").expect("asked"));
    assert!(!depot.mount_blob(&digest, "../evil").expect("asked"));
    assert_eq!(proxy.requests().iter().map(|request| request.up).sum::<u64>(), 0);
}

#[test]
fn it_is_a_depot_as_the_others_are() {
    let registry = docker_registry(&Kind { delete: true, ..Kind::default() });
    let open = || -> Box<dyn Depot> { Box::new(anonymous(&registry.host())) };
    let traits = contract_tests::Traits {
        tick: Duration::from_millis(1),
        // It knows layers, and nothing of what a result says of its image.
        refuses_gaps: false,
        lists_all: true,
        collects: false,
    };
    contract_tests::all(&open, traits);
}

#[test]
fn a_manifest_without_its_blobs_is_refused_by_name() {
    let registry = docker_registry(&Kind::default());
    let depot = anonymous(&registry.host());
    let good = manifest(&depot, "x", None);
    let absent = Digest::of(b"never put");
    let text =
        String::from_utf8_lossy(&good.bytes).replace(&Digest::of(b"{}").hex(), &absent.hex());
    let gap = Manifest { bytes: text.into_bytes(), ..good };
    let error = depot.put_manifest(&gap, &["gap".to_owned()]).expect_err("its blobs are absent");
    assert!(all(&error).contains(&absent.hex()), "{error}");
    assert_eq!(depot.manifest(&tag("gap")).expect("asked"), None);
}

#[test]
fn addresses() {
    let parse = |text: &str| Address::parse(text, false, false);
    let here = parse("oci://127.0.0.1:5000/a/b").expect("good");
    assert_eq!(here.base.as_str(), "http://127.0.0.1:5000/");
    assert_eq!(here.place(), "oci://127.0.0.1:5000/a/b");
    assert_eq!(here.of("tags/list").expect("good").path(), "/v2/a/b/tags/list");
    assert_eq!(parse("oci://localhost/a").expect("good").base.scheme(), "http");
    assert_eq!(parse("oci://[::1]:5/a/").expect("good").base.scheme(), "http");
    assert_eq!(parse("oci://r.example/a__b/c-d.e").expect("good").base.scheme(), "https");
    let leave = Address::parse("oci://r.example/a", true, false).expect("good");
    assert_eq!(leave.base.scheme(), "http");
    let tls = Address::parse("oci://127.0.0.1/a", true, true).expect("good");
    assert_eq!(tls.base.scheme(), "https");
    for bad in [
        "oci://",
        "oci://h",
        "oci://h/",
        "oci:///a",
        "oci://h/A",
        "oci://h/a:tag",
        "oci://h/a//b",
        "oci://h/a@sha256:0",
        "oci://h/a/../b",
        "oci://h/-a",
        "oci://h:port/a",
        "http://h/a",
        "oci://h/a?b",
        "oci://h/a___b",
        "oci://u:geheim@h/A",
        "oci://u:geheim@/a",
    ] {
        let error = parse(bad).expect_err(bad);
        assert!(matches!(error, RemoteError::Address { .. }), "{bad}");
        assert!(!all(&error).contains("geheim"), "{error}");
    }
}
