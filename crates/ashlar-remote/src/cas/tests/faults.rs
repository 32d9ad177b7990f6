//! Real servers that refuse, are not there, lose blobs, or are cut off.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ashlar_object::Digest;
use ashlar_store::{MemoryStore, Remote, RemoteError, Store, Watch};
use ashlar_testbed::buildgrid::{Options, Tls, buildgrid_with};
use ashlar_testbed::proxy::{Fault, Rule, Way};
use ashlar_testbed::{Proxy, buildgrid, casd};

use super::given::{definition, found, key, noise, remote, result, told};
use super::shared::round_trip;
use crate::{Definition, Secret, open};

/// That everything fails with a refusal, and that nothing shown has `secret` in it.
fn refused(far: &dyn Remote, secret: &str) {
    let store = MemoryStore::new();
    let publication = result(&store, "refused", &[b"content"]);
    let wanted = [found(&publication)];
    let errors = [
        far.test().map(|_| ()).unwrap_err(),
        far.steps(&[key("refused")]).map(|_| ()).unwrap_err(),
        far.results(&[publication.action]).map(|_| ()).unwrap_err(),
        far.push(&store, &[publication], &Watch::NOBODY).remove(0).map(|_| ()).unwrap_err(),
        far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).map(|_| ()).unwrap_err(),
    ];
    for error in &errors {
        assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
        let shown = format!("{} {error:?}", told(error));
        assert!(secret.is_empty() || !shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_server_wants_a_token() {
    let server = buildgrid_with(&Options { token: true, ..Options::default() });
    let url = format!("reapi://{}", server.host());
    let with = |token: &str| {
        open(&Definition { token: Some(Secret(token.to_owned())), ..definition(&url) }).unwrap()
    };
    round_trip(&*with(&server.token()));
    refused(&*remote(&url), "");
    let expired = server.expired_token();
    refused(&*with(&expired), &expired);
}

#[test]
fn a_server_with_tls_is_trusted_by_its_authority_only() {
    let server = buildgrid_with(&Options { tls: Tls::Server, ..Options::default() });
    let url = format!("reapis://{}", server.host());
    let certificates = server.certificates().unwrap();
    let trusting = Definition { ca: Some(certificates.authority()), ..definition(&url) };
    round_trip(&*open(&trusting).unwrap());
    for wrong in [definition(&url), definition(&format!("reapi://{}", server.host()))] {
        let wrong = Definition { timeout: Duration::from_secs(2), ..wrong };
        let error = open(&wrong).unwrap().steps(&[key("any")]).unwrap_err();
        assert!(error.is_lasting(), "{error:?}");
    }
}

#[test]
fn a_server_wants_a_certificate_of_the_client() {
    let server = buildgrid_with(&Options { tls: Tls::Mutual, ..Options::default() });
    let url = format!("reapis://{}", server.host());
    let certificates = server.certificates().unwrap();
    let trusting = Definition { ca: Some(certificates.authority()), ..definition(&url) };
    let known = Definition {
        certificate: Some(certificates.client()),
        key: Some(certificates.client_key()),
        ..trusting.clone()
    };
    round_trip(&*open(&known).unwrap());
    let unknown = Definition { timeout: Duration::from_secs(2), ..trusting };
    assert!(open(&unknown).unwrap().steps(&[key("any")]).unwrap_err().is_lasting());
}

#[test]
fn a_server_that_is_only_read() {
    let server = buildgrid_with(&Options { read_only: true, ..Options::default() });
    let far = remote(&format!("reapi://{}", server.host()));
    let abilities = far.test().unwrap();
    assert!(abilities.read && abilities.write.is_err(), "{abilities:?}");
    assert_eq!(far.steps(&[key("any")]).unwrap(), [None]);
    let store = MemoryStore::new();
    let publication = result(&store, "any", &[b"content"]);
    let pushed = far.push(&store, &[publication], &Watch::NOBODY).remove(0);
    assert!(matches!(pushed, Err(RemoteError::Refused { .. })), "{pushed:?}");
}

#[test]
fn an_instance_that_is_not_there_is_said() {
    let server = buildgrid("main");
    let error = remote(&format!("reapi://{}/other", server.host())).steps(&[key("any")]);
    let error = error.unwrap_err();
    assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
    assert!(error.to_string().contains("`other`"), "{error}");
}

#[test]
fn nobody_is_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("reapi://127.0.0.1:{port}");
    let far =
        open(&Definition { timeout: Duration::from_millis(1500), ..definition(&url) }).unwrap();
    let begin = Instant::now();
    let error = far.steps(&[key("any")]).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(told(&error).contains("efused"), "{}", told(&error));
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[test]
fn somebody_is_there_and_says_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("reapi://{}", silent.local_addr().unwrap());
    let far = open(&Definition { timeout: Duration::from_secs(1), ..definition(&url) }).unwrap();
    let begin = Instant::now();
    let store = MemoryStore::new();
    let publications: Vec<_> =
        (0..20).map(|n| result(&store, &format!("silent-{n}"), &[b"content"])).collect();
    let pushed = far.push(&store, &publications, &Watch::NOBODY);
    assert!(pushed.iter().all(|p| matches!(p, Err(RemoteError::Unreachable { .. }))));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

fn file_of(folder: &Path, digest: &Digest) -> PathBuf {
    let (first, rest) = (digest.hex()[..2].to_owned(), digest.hex()[2..].to_owned());
    folder.join("cas/objects").join(first).join(rest)
}

#[test]
fn blobs_that_are_lost_or_changed_are_misses() {
    let server = casd();
    let far = remote(&format!("reapi://{}", server.host()));
    let from = MemoryStore::new();
    let big = noise(5 << 20, 3);
    let publications = [
        result(&from, "whole", &[b"whole"]),
        result(&from, "lost", &[b"lost"]),
        result(&from, "changed", &[b"changed"]),
        result(&from, "big", &[&big]),
    ];
    assert!(far.push(&from, &publications, &Watch::NOBODY).iter().all(Result::is_ok));
    let wanted: Vec<_> = publications.iter().map(found).collect();

    std::fs::remove_file(file_of(&server.data(), &Digest::of(b"lost"))).unwrap();
    let overwrite = |digest: &Digest, bytes: &[u8]| {
        let path = file_of(&server.data(), digest);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    overwrite(&Digest::of(b"changed"), b"CHANGED");
    let mut other = big.clone();
    other[4 << 20] ^= 1;
    overwrite(&Digest::of(&big), &other);

    let warnings = Mutex::new(Vec::new());
    let warn = |text: String| warnings.lock().unwrap().push(text);
    let watch = Watch { warn: &warn, ..Watch::NOBODY };
    let into = MemoryStore::new();
    let pulled = far.pull(&into, &wanted, &watch).unwrap();
    let whole: Vec<_> = pulled.iter().map(Option::is_some).collect();
    assert_eq!(whole, [true, false, false, false]);
    let warnings = warnings.into_inner().unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    let lacks = [Digest::of(b"lost"), Digest::of(b"changed"), Digest::of(&big)];
    assert_eq!(into.missing(&lacks).unwrap(), lacks);
    // Nothing that was wrong is there under another name either.
    let wrong = [Digest::of(b"CHANGED"), Digest::of(&other)];
    assert_eq!(into.missing(&wrong[1..]).unwrap(), wrong[1..]);
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let server = casd();
    let from = MemoryStore::new();
    let length = 24 << 20;
    let publication = result(&from, "cut", &[&noise(length, 4)]);
    let direct = remote(&format!("reapi://{}", server.host()));
    let wanted = [found(&publication)];
    assert!(direct.push(&from, &[publication], &Watch::NOBODY)[0].is_ok());

    let proxy = Proxy::tcp(server.address());
    proxy.add(Rule::connections(Fault::Cut { way: Way::Down, after: 14 << 20 }).times(1));
    let far = remote(&format!("reapi://{}", proxy.host()));
    let into = MemoryStore::new();
    let moved = far.pull(&into, &wanted, &Watch::NOBODY).unwrap()[0].unwrap();
    // From the beginning it would be 38 MiB.
    assert!(proxy.traffic().down < (length as u64) + (6 << 20), "{:?} {moved:?}", proxy.traffic());
    assert!(proxy.connections() >= 2);
}

#[test]
fn a_cut_upload_is_sent_again() {
    let server = casd();
    let proxy = Proxy::tcp(server.address());
    proxy.add(Rule::connections(Fault::Cut { way: Way::Up, after: 3 << 20 }).times(1));
    round_trip(&*remote(&format!("reapi://{}", proxy.host())));
    assert!(proxy.connections() >= 2);
}

#[test]
fn a_stalled_download_times_out() {
    let server = casd();
    let from = MemoryStore::new();
    let publication = result(&from, "stalled", &[&noise(8 << 20, 5)]);
    let direct = remote(&format!("reapi://{}", server.host()));
    let wanted = [found(&publication)];
    assert!(direct.push(&from, &[publication], &Watch::NOBODY)[0].is_ok());
    let proxy = Proxy::tcp(server.address());
    proxy.add(Rule::connections(Fault::Stall { way: Way::Down, after: 5 << 20 }));
    let url = format!("reapi://{}", proxy.host());
    let far = open(&Definition { timeout: Duration::from_secs(1), ..definition(&url) }).unwrap();
    let begin = Instant::now();
    let error = far.pull(&MemoryStore::new(), &wanted, &Watch::NOBODY).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn who_stops_is_let_go() {
    let server = casd();
    let from = MemoryStore::new();
    let publication = result(&from, "stopped", &[&noise(8 << 20, 6)]);
    let far = remote(&format!("reapi://{}", server.host()));
    let watch = Watch { go_on: &|| false, ..Watch::NOBODY };
    let pushed = far.push(&from, &[publication], &watch).remove(0);
    assert!(matches!(pushed, Err(RemoteError::Stopped)), "{pushed:?}");
    assert_eq!(far.steps(&[key("stopped")]).unwrap(), [None]);
}
