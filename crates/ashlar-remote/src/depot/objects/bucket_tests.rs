//! A bucket: the contract with garage, which ignores conditions, and with one in memory, which heeds
//! them; rights, parts, and connections that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::{Garage, Key, Proxy, garage};
use url::Url;

use super::bucket::{Address, Bucket};
use super::{ObjectDepot, Objects as _};
use crate::depot::Depot;
use crate::depot::contract_tests::{self as contract, Traits, body, get, image, noise, put};
use crate::http::Options;
use crate::{BucketKeys, Secret};

/// The times of objects are asked for in seconds.
const TRAITS: Traits = Traits {
    tick: Duration::from_millis(2100),
    refuses_gaps: true,
    lists_all: true,
    collects: true,
};

fn bucket(garage: &Garage, endpoint: &str, key: Key) -> Bucket {
    let address = Address {
        bucket: garage.bucket().to_owned(),
        prefix: "team/cache".to_owned(),
        endpoint: Some(Url::parse(endpoint).expect("an address")),
        region: Some(garage.region().to_owned()),
    };
    let secret = Secret(key.secret.to_owned());
    let keys = BucketKeys { id: key.id.to_owned(), secret, session: None };
    let options = Options { timeout: Duration::from_secs(3), ..Options::default() };
    Bucket::new(&address, Some(&keys), &options).expect("a bucket")
}

fn open(garage: &Garage) -> ObjectDepot<Bucket> {
    ObjectDepot::new(bucket(garage, &garage.endpoint(), garage.writer()))
}

#[test]
fn it_keeps_the_contract() {
    let garage = garage();
    contract::all(&|| Box::new(open(&garage)), TRAITS);
    // Whoever wrote at the same time cleaned up.
    let bucket = bucket(&garage, &garage.endpoint(), garage.writer());
    for folder in ["locks", "uploads"] {
        assert_eq!(bucket.list(folder).expect("listed"), [], "{folder}");
    }
}

#[test]
fn conditions_are_used_where_they_are_heeded() {
    let garage = garage();
    let facts = open(&garage).facts().expect("asked");
    let said = facts.iter().find(|(name, _)| name == "conditional puts").expect("said");
    assert!(said.1.starts_with("no"), "garage heeds conditions by now: {said:?}");
    let facts = ObjectDepot::new(Bucket::in_memory()).facts().expect("asked");
    assert!(facts.contains(&("conditional puts".to_owned(), "yes".to_owned())), "{facts:?}");

    let bucket = Bucket::in_memory();
    std::thread::scope(|scope| {
        for writer in 0..8_u8 {
            let bucket = &bucket;
            scope.spawn(move || {
                for _ in 0..5 {
                    let change = |old: Option<&[u8]>| {
                        let mut new = old.unwrap_or_default().to_vec();
                        new.push(writer);
                        Ok(Some(new))
                    };
                    bucket.update("tags/counted", &change).expect("changed");
                }
            });
        }
    });
    let (bytes, _) = bucket.read("tags/counted", 1000).expect("read").expect("there");
    assert_eq!(bytes.len(), 40, "changes were lost");
}

#[test]
fn a_key_that_may_only_read_says_so() {
    let garage = garage();
    let blob = put(&open(&garage), b"readable");
    let depot = ObjectDepot::new(bucket(&garage, &garage.endpoint(), garage.reader()));
    assert!(depot.has_blob(&blob).expect("asked"));
    assert_eq!(get(&depot, &blob, 0..8).expect("there"), b"readable");
    let why = depot.may_write().expect("asked").expect_err("it may not");
    assert!(why.contains("403") && why.contains("s3:PutObject"), "{why}");
    let error = depot.put_blob(&Digest::of(b"x"), &body(b"x"), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Refused { .. })), "{error:?}");
    let big = noise(1, 6_000_000);
    let error = depot.put_blob(&Digest::of(&big), &body(&big), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Refused { .. })), "{error:?}");
}

#[test]
fn wrong_keys_and_addresses_are_told_without_secrets() {
    let garage = garage();
    let wrong = Key { id: garage.writer().id, secret: "n0t-the-secret" };
    let depot = ObjectDepot::new(bucket(&garage, &garage.endpoint(), wrong));
    let error = depot.tags().expect_err("not let in");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("n0t-the"), "{error:?}");

    let address = Address {
        bucket: "no-such-bucket".to_owned(),
        prefix: String::new(),
        endpoint: Some(Url::parse(&garage.endpoint()).expect("an address")),
        region: Some(garage.region().to_owned()),
    };
    let key = garage.writer();
    let secret = Secret(key.secret.to_owned());
    let keys = BucketKeys { id: key.id.to_owned(), secret, session: None };
    let absent = Bucket::new(&address, Some(&keys), &Options::default()).expect("a bucket");
    let error = ObjectDepot::new(absent).tags().expect_err("there is none");
    let text = format!("{error} {error:?}");
    assert!(text.contains("no-such-bucket") && !text.contains(key.secret), "{text}");

    let region = Address { region: Some("elsewhere-1".to_owned()), ..address };
    let elsewhere = Bucket::new(&region, Some(&keys), &Options::default()).expect("a bucket");
    let error = ObjectDepot::new(elsewhere).tags().expect_err("another region");
    assert!(error.to_string().contains("region"), "{error}");
    // Plain HTTP to another machine is not for credentials.
    let far = Url::parse("http://192.0.2.1:9000").expect("an address");
    let plain = Address { endpoint: Some(far), ..region };
    let refused = Bucket::new(&plain, Some(&keys), &Options::default()).err();
    assert!(matches!(refused, Some(RemoteError::Address { .. })), "{refused:?}");
}

#[test]
fn a_part_that_fails_is_sent_again_alone() {
    let garage = garage();
    let proxy = Proxy::http(garage.address());
    // What is signed is the address of the proxy: garage takes any host.
    let depot = ObjectDepot::new(bucket(&garage, &proxy.url(), garage.writer()));
    let bytes = noise(4, 22_000_000);
    let digest = Digest::of(&bytes);
    let part = "/shared/team/cache/blobs/sha256/*partNumber=";
    proxy
        .add(Rule::on("PUT", part, Fault::Cut { way: Way::Up, after: 3_000_000 }).skip(2).times(1));
    proxy.add(Rule::on("PUT", part, Fault::Answer(Answer::status(500))).skip(4).times(1));
    let moved = AtomicU64::new(0);
    let watch = Watch {
        moved: &|one| {
            moved.fetch_add(one.bytes, Ordering::Relaxed);
        },
        ..Watch::NOBODY
    };
    depot.put_blob(&digest, &body(&bytes), &watch).expect("put");
    assert_eq!(proxy.pending(), 0);
    assert_eq!(moved.into_inner(), digest.size);
    // Five parts, and two of them a second time.
    assert_eq!(proxy.requests_to("PUT", part).len(), 7);
    let up = proxy.traffic().up;
    assert!(up < 32_000_000, "{up} bytes were sent for 22,000,000");
    proxy.add(
        Rule::on("GET", "/shared/*", Fault::Cut { way: Way::Down, after: 9_000_000 }).times(2),
    );
    assert!(get(&depot, &digest, 0..digest.size).expect("there") == bytes);
    let down = proxy.traffic().down;
    assert!(down < 23_000_000, "{down} bytes came for 22,000,000");
}

#[test]
fn an_upload_that_fails_is_aborted_and_one_of_a_dead_writer_is_collected() {
    let garage = garage();
    let proxy = Proxy::http(garage.address());
    let depot = ObjectDepot::new(bucket(&garage, &proxy.url(), garage.writer()));
    let bytes = noise(5, 12_000_000);
    let digest = Digest::of(&bytes);
    let part = "/shared/team/cache/blobs/sha256/*partNumber=";
    proxy.add(Rule::on("PUT", part, Fault::Answer(Answer::status(500))).skip(1));
    let error = depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Unreachable { .. })), "{error:?}");
    assert_eq!(proxy.requests_to("DELETE", "/shared/team/cache/blobs/sha256/*uploadId=").len(), 1);
    assert!(!depot.has_blob(&digest).expect("asked"));

    // Aborting fails as well, as if the writer had died.
    proxy.add(Rule::on("DELETE", "/shared/*", Fault::Answer(Answer::status(400))));
    depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY).expect_err("it fails again");
    proxy.clear();
    let there = bucket(&garage, &garage.endpoint(), garage.writer());
    assert_eq!(there.list("uploads").expect("listed").len(), 1);
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(depot.tidy(hour_ago).expect("tidied"), 0);
    let soon = SystemTime::now() + Duration::from_secs(60);
    proxy.reset();
    assert_eq!(depot.tidy(soon).expect("tidied"), 1);
    assert_eq!(proxy.requests_to("DELETE", "/shared/team/cache/blobs/sha256/*uploadId=").len(), 1);
    assert_eq!(there.list("uploads").expect("listed"), []);
}

#[test]
fn what_is_gone_or_stalls_ends_in_bounded_time() {
    let garage = garage();
    let proxy = Proxy::http(garage.address());
    let depot = ObjectDepot::new(bucket(&garage, &proxy.url(), garage.writer()));
    put(&depot, b"first contact");
    proxy.add(Rule::on("PUT", "/shared/", Fault::Stall { way: Way::Up, after: 100_000 }));
    let bytes = noise(6, 1_000_000);
    let begun = Instant::now();
    let error = depot.put_blob(&Digest::of(&bytes), &body(&bytes), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Unreachable { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    proxy.clear();
    proxy.refuse();
    proxy.cut_all();
    let begun = Instant::now();
    let error = depot.has_blob(&Digest::of(b"x"));
    assert!(matches!(error, Err(RemoteError::Unreachable { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn listings_of_many_pages_are_whole() {
    let garage = garage();
    let depot = Arc::new(open(&garage));
    std::thread::scope(|scope| {
        for worker in 0..8_u32 {
            let depot = Arc::clone(&depot);
            scope.spawn(move || {
                for number in 0..140_u32 {
                    put(&*depot, format!("{worker} {number}").as_bytes());
                }
            });
        }
    });
    assert_eq!(depot.blobs().expect("listed").len(), 8 * 140);
    let blob = put(&*depot, b"one more");
    depot.put_manifest(&image(&*depot, &[blob]), &["tag".to_owned()]).expect("put");
    assert_eq!(depot.tags().expect("listed").len(), 1);
}
