//! What real servers rarely do on request.

use std::net::SocketAddr;
use std::time::Duration;

use ashlar_object::Digest;
use ashlar_store::{MemoryStore, Remote, RemoteError, Watch};
use ashlar_testbed::Certificates;
use tonic::Code;
use tonic::transport::Identity;

use super::fake::{Fake, State};
use super::given::{definition, found, key, noise, remote, result, told};
use super::shared::round_trip;
use crate::{Definition, Secret, open};

fn at(address: SocketAddr) -> Box<dyn Remote> {
    remote(&format!("reapi://{address}/some/instance"))
}

#[test]
fn batches_keep_to_the_limit_and_say_who_asks() {
    let (fake, address) = Fake::start(State::default());
    round_trip(&*at(address));
    let store = MemoryStore::new();
    let files: Vec<_> = (0..50).map(|seed| noise(9_000, 100 + seed)).collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let publication = result(&store, "many", &files);
    assert!(at(address).push(&store, &[publication], &Watch::NOBODY)[0].is_ok());
    let state = fake.state();
    assert!(state.batches.iter().all(|size| *size <= 100_000), "{:?}", state.batches);
    assert!(state.batches.iter().any(|size| *size > 50_000), "{:?}", state.batches);
    assert!(state.metadata);
    assert_eq!(state.compressed, 0);
}

#[test]
fn zstd_is_used_where_the_server_has_it() {
    let (fake, address) = Fake::start(State { zstd: true, ..State::default() });
    round_trip(&*at(address));
    let store = MemoryStore::new();
    let text = "the same again and again\n".repeat(20_000);
    let publication = result(&store, "text", &[text.as_bytes(), &text.as_bytes()[..50_000]]);
    let wanted = [found(&publication)];
    let far = at(address);
    let pushed = far.push(&store, &[publication], &Watch::NOBODY).remove(0).unwrap();
    assert!(pushed.bytes < 10_000, "{pushed:?}");
    let pulled = far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).unwrap()[0].unwrap();
    assert!(pulled.bytes < 10_000, "{pulled:?}");
    assert!(fake.state().compressed > 0);
}

/// Uploads and downloads that are cut once, and go on where they were.
fn cut(zstd: bool) {
    let state = State { zstd, cut_upload: Some(1_500_000), ..State::default() };
    let (fake, address) = Fake::start(state);
    let far = at(address);
    let store = MemoryStore::new();
    let content = noise(4_000_000, 9);
    let publication = result(&store, "cut", &[&content]);
    let wanted = [found(&publication)];
    far.push(&store, &[publication], &Watch::NOBODY).remove(0).unwrap();
    {
        let mut state = fake.state();
        assert_eq!(state.blobs.get(&Digest::of(&content)), Some(&content));
        let [0, second] = state.write_offsets[..] else { panic!("{:?}", state.write_offsets) };
        assert!((1_000_000..=1_500_000).contains(&second), "{second}");
        state.cut_download = Some(2_500_000);
    }
    far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).unwrap()[0].unwrap();
    let state = fake.state();
    let [0, second] = state.read_offsets[..] else { panic!("{:?}", state.read_offsets) };
    assert!((2_000_000..=2_500_000).contains(&second), "{second}");
}

#[test]
fn cut_streams_go_on_where_they_were() {
    cut(false);
}

#[test]
fn cut_streams_go_on_where_they_were_when_compressed() {
    cut(true);
}

#[test]
fn a_busy_server_is_asked_again() {
    for code in [Code::Unavailable, Code::ResourceExhausted, Code::Aborted] {
        let (fake, address) = Fake::start(State {
            fail: Some((2, code)),
            fail_blobs: Some((3, code)),
            ..State::default()
        });
        round_trip(&*at(address));
        assert_eq!(fake.state().fail, Some((0, code)));
        assert_eq!(fake.state().fail_blobs, Some((0, code)));
    }
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let busy = State { fail: Some((u32::MAX, Code::Unavailable)), ..State::default() };
    let (_, address) = Fake::start(busy);
    let url = format!("reapi://{address}");
    let far = open(&Definition { timeout: Duration::from_secs(1), ..definition(&url) }).unwrap();
    let error = far.steps(&[key("any")]).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_refusal_is_never_a_miss() {
    for code in [Code::PermissionDenied, Code::Unauthenticated] {
        let (fake, address) = Fake::start(State::default());
        let far = at(address);
        let store = MemoryStore::new();
        let publication = result(&store, "refused", &[b"content", &noise(200_000, 11)]);
        let wanted = [found(&publication)];
        let keys = publication.keys.clone();
        far.push(&store, std::slice::from_ref(&publication), &Watch::NOBODY).remove(0).unwrap();
        // From now on, as when a token has run out in the middle of a run.
        fake.state().fail = Some((u32::MAX, code));
        let refused = |error: RemoteError| {
            assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
        };
        refused(far.steps(&keys).unwrap_err());
        refused(far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).unwrap_err());
        refused(far.push(&store, &[publication], &Watch::NOBODY).remove(0).unwrap_err());
    }
}

#[test]
fn one_blob_that_is_not_taken_fails_its_result_alone() {
    let (fake, address) = Fake::start(State::default());
    let far = at(address);
    let store = MemoryStore::new();
    let publications = [result(&store, "one", &[b"one"]), result(&store, "two", &[b"two"])];
    // The first blob of all belongs to the first result alone.
    fake.state().fail_blobs = Some((1, Code::InvalidArgument));
    let pushed = far.push(&store, &publications, &Watch::NOBODY);
    let well: Vec<_> = pushed.iter().map(Result::is_ok).collect();
    assert_eq!(well, [false, true], "{pushed:?}");
    // What is not all there is not pointed to.
    let steps = far.steps(&[key("one"), key("two")]).unwrap();
    assert_eq!(steps, [None, Some(found(&publications[1]))]);
}

#[test]
fn a_lost_blob_of_the_store_fails_its_result_alone() {
    let (_, address) = Fake::start(State::default());
    let far = at(address);
    let store = MemoryStore::new();
    let publications = [result(&store, "one", &[b"one"]), result(&store, "two", &[b"two"])];
    assert!(store.forget(&Digest::of(b"two")));
    let pushed = far.push(&store, &publications, &Watch::NOBODY);
    assert!(pushed[0].is_ok() && pushed[1].is_err(), "{pushed:?}");
    let steps = far.steps(&[key("one"), key("two")]).unwrap();
    assert_eq!(steps, [Some(found(&publications[0])), None]);
}

#[test]
fn a_token_goes_over_tls_and_is_not_shown() {
    let certificates = Certificates::make();
    let read = |path: std::path::PathBuf| std::fs::read(path).unwrap();
    let identity = Identity::from_pem(read(certificates.server()), read(certificates.server_key()));
    let state = State { authorization: Some("Bearer right-4711".to_owned()), ..State::default() };
    let (_, address) = Fake::start_tls(state, identity);
    let with = |token: &str| {
        open(&Definition {
            ca: Some(certificates.authority()),
            token: Some(Secret(token.to_owned())),
            ..definition(&format!("reapis://{address}"))
        })
        .unwrap()
    };
    round_trip(&*with("right-4711"));
    // The server repeats the header in its answer.
    let error = with("wrong-4712").steps(&[key("any")]).unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    let shown = format!("{} {error:?}", told(&error));
    assert!(shown.contains("is not let in") && !shown.contains("4712"), "{shown}");
}

#[test]
fn what_makes_no_sense_is_said_when_it_is_opened() {
    let refused = |definition: Definition| open(&definition).map(|_| ()).unwrap_err();
    let token = Some(Secret("hidden-4713".to_owned()));
    let base = definition("reapi://cache.example:80");
    let file = Some("/nonexistent.pem".into());
    for wrong in [
        definition("reapi://nobody"),
        Definition { token: token.clone(), ..base.clone() },
        Definition { ca: file.clone(), ..base.clone() },
        Definition { ca: file, ..definition("reapis://cache.example") },
        Definition { require_signature: vec!["/key.pub".into()], ..base },
        Definition { token: Some(Secret("hidden-4713\n-".to_owned())), ..definition("reapis://h") },
    ] {
        let error = refused(wrong);
        assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("4713"), "{error}");
    }
}
