//! A web server: the contract with Debian's nginx, rights, credentials, and connections that break.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{Limits, RemoteError, Watch};
use ashlar_testbed::nginx::{Auth, Nginx, Options as Server};
use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::{Proxy, nginx_dav};
use url::Url;

use super::ObjectDepot;
use super::web::Web;
use crate::depot::Depot;
use crate::depot::collect::{collect, stat};
use crate::depot::contract_tests::{self as contract, Traits, body, get, image, noise, put};
use crate::http::{Authorize, Client, Fixed, Options};

/// HTTP counts in seconds.
const TRAITS: Traits = Traits {
    tick: Duration::from_millis(2100),
    refuses_gaps: true,
    lists_all: true,
    collects: true,
};

fn open(url: &str) -> ObjectDepot<Web> {
    let url = Url::parse(url).expect("an address");
    let options = Options { timeout: Duration::from_secs(3), ..Options::default() };
    let client = Client::new(&url, &options).expect("a client");
    let authorize = Fixed::of_address(&url).expect("a header");
    let authorize = authorize.map(|fixed| Arc::new(fixed) as Arc<dyn Authorize>);
    ObjectDepot::new(Web::new(client, &url, authorize))
}

fn listing() -> Server {
    Server { listing: true, ..Server::default() }
}

fn at(nginx: &Nginx) -> String {
    format!("{}/team/cache", nginx.url())
}

#[test]
fn it_keeps_the_contract() {
    let nginx = nginx_dav(&listing());
    let url = at(&nginx);
    contract::all(&|| Box::new(open(&url)), TRAITS);
    let left = std::fs::read_dir(nginx.data().join("team/cache/locks")).expect("locks");
    assert_eq!(left.count(), 0, "locks are left");
}

#[test]
fn without_listings_everything_but_collecting_works() {
    let nginx = nginx_dav(&Server::default());
    let depot = open(&at(&nginx));
    assert_eq!(depot.may_write().expect("asked"), Ok(()));
    let blob = put(&depot, b"found by name");
    depot.put_manifest(&image(&depot, &[blob]), &["tag".to_owned()]).expect("put");
    let hour = Duration::from_secs(3600);
    let error = collect(&depot, Limits::default(), hour, &Watch::NOBODY).expect_err("no listing");
    assert!(matches!(error, RemoteError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("autoindex_format json"), "{error}");
    stat(&depot).expect_err("no listing");
    let facts = depot.facts().expect("asked");
    assert!(facts.contains(&("lists folders".to_owned(), "no".to_owned())), "{facts:?}");
    assert!(facts.iter().any(|(_, value)| value.starts_with("nginx")), "{facts:?}");
}

#[test]
fn a_server_that_is_only_read_says_so_with_advice() {
    let nginx = nginx_dav(&Server { read_only: true, ..listing() });
    let depot = open(&at(&nginx));
    let digest = Digest::of(b"not taken");
    assert!(!depot.has_blob(&digest).expect("reading is allowed"));
    let why = depot.may_write().expect("asked").expect_err("it may not");
    assert!(why.contains("403") && why.contains("write = false"), "{why}");
    let error = depot.put_blob(&digest, &body(b"not taken"), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Refused { .. })), "{error:?}");
}

#[test]
fn relying_on_something_old_is_allowed_to_readers() {
    let nginx = nginx_dav(&Server { read_only: true, ..listing() });
    let digest = Digest::of(b"old");
    let folder = nginx.data().join("team/cache/blobs/sha256");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join(digest.hex()), b"old").expect("written");
    let file = std::fs::File::options().write(true).open(folder.join(digest.hex()));
    let day = Duration::from_secs(24 * 3600);
    file.expect("opened").set_modified(SystemTime::now() - day).expect("set");
    assert!(open(&at(&nginx)).has_blob(&digest).expect("asked"));
}

#[test]
fn a_lease_keeps_what_is_relied_on() {
    let nginx = nginx_dav(&listing());
    let depot = open(&at(&nginx));
    let (kept, gone) = (put(&depot, b"relied on"), put(&depot, b"not relied on"));
    let day = Duration::from_secs(24 * 3600);
    for digest in [&kept, &gone] {
        let path = nginx.data().join("team/cache/blobs/sha256").join(digest.hex());
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        file.set_modified(SystemTime::now() - day).expect("set");
    }
    assert!(open(&at(&nginx)).has_blob(&kept).expect("asked"));
    let hour = Duration::from_secs(3600);
    let collected = collect(&depot, Limits::default(), hour, &Watch::NOBODY).expect("collected");
    assert_eq!(collected.blobs, 1);
    assert_eq!(depot.blob_size(&kept.hash).expect("asked"), Some(9));
    assert_eq!(depot.blob_size(&gone.hash).expect("asked"), None);
    // Also for whoever collects the folder itself.
    let folder = super::Directory::new(&nginx.data().join("team/cache"));
    let folder = ObjectDepot::new(folder);
    let collected = collect(&folder, Limits::default(), hour, &Watch::NOBODY).expect("collected");
    assert_eq!(collected.blobs, 0);
}

#[test]
fn credentials_let_in_and_are_never_shown() {
    let nginx = nginx_dav(&Server { auth: Auth::Basic, ..listing() });
    let with = |user: &str, password: &str| {
        at(&nginx).replacen("http://", &format!("http://{user}:{password}@"), 1)
    };
    let login = ashlar_testbed::WRITER;
    let depot = open(&with(login.user, login.password));
    assert!(!depot.place().contains(login.password) && !depot.place().contains(login.user));
    put(&depot, b"let in");
    let wrong = open(&with(login.user, "wr0ng-secret"));
    let error = wrong.has_blob(&Digest::of(b"let in")).expect_err("not let in");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
    let why = open(&at(&nginx)).may_write().expect("asked").expect_err("not let in");
    assert!(why.contains("401"), "{why}");
}

#[test]
fn a_cut_upload_leaves_nothing_and_is_tried_again() {
    let nginx = nginx_dav(&listing());
    let proxy = Proxy::http(nginx.server.address());
    let depot = open(&format!("{}/cache", proxy.url()));
    let bytes = noise(9, 2_000_000);
    let digest = Digest::of(&bytes);
    let cut = || Fault::Cut { way: Way::Up, after: 1_000_000 };
    proxy.add(Rule::on("PUT", "/cache/blobs/", cut()));
    let error = depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Unreachable { .. })), "{error:?}");
    proxy.clear();
    assert!(!depot.has_blob(&digest).expect("asked"), "half a blob is visible");

    proxy.reset();
    proxy.add(Rule::on("PUT", "/cache/blobs/", cut()).times(1));
    proxy
        .add(Rule::on("PUT", "/cache/blobs/", Fault::Answer(Answer::status(503))).skip(1).times(1));
    depot.put_blob(&digest, &body(&bytes), &Watch::NOBODY).expect("put at the third attempt");
    assert_eq!(proxy.requests_to("PUT", "/cache/blobs/").len(), 3);
    assert_eq!(proxy.pending(), 0);

    // A download goes on where it was cut.
    proxy.reset();
    let cut = Fault::Cut { way: Way::Down, after: 700_000 };
    proxy.add(Rule::on("GET", "/cache/blobs/", cut).times(2));
    assert!(get(&depot, &digest, 0..digest.size).expect("there") == bytes);
    assert_eq!(proxy.requests_to("GET", "/cache/blobs/").len(), 3);
    let down = proxy.traffic().down;
    assert!(down < 2_300_000, "{down} bytes came for 2,000,000");
}

#[test]
fn a_stalled_upload_ends() {
    let nginx = nginx_dav(&listing());
    let proxy = Proxy::http(nginx.server.address());
    let depot = open(&format!("{}/cache", proxy.url()));
    put(&depot, b"first contact");
    let bytes = noise(9, 2_000_000);
    proxy.add(Rule::on("PUT", "/cache/blobs/", Fault::Stall { way: Way::Up, after: 500_000 }));
    let begun = Instant::now();
    let error = depot.put_blob(&Digest::of(&bytes), &body(&bytes), &Watch::NOBODY);
    assert!(matches!(error, Err(RemoteError::Unreachable { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A lock of somebody who died, on the list of what refers to a manifest.
fn abandoned(nginx: &Nginx, subject: &Digest) -> std::path::PathBuf {
    let lock = format!("team/cache/locks/tags.sha256-{}", subject.hex());
    let lock = nginx.data().join(lock);
    std::fs::create_dir_all(&lock).expect("made");
    std::fs::write(lock.join("holder"), b"the dead").expect("written");
    let holder = std::fs::File::options().write(true).open(lock.join("holder")).expect("opened");
    holder.set_modified(SystemTime::now() - Duration::from_secs(600)).expect("set");
    lock
}

#[test]
fn an_abandoned_lock_that_somebody_took_meanwhile_stays_theirs() {
    let nginx = nginx_dav(&listing());
    let depot = open(&at(&nginx));
    let layer = put(&depot, b"a layer");
    let subject = image(&depot, &[layer]);
    depot.put_manifest(&subject, &["subject".to_owned()]).expect("put");
    let lock = abandoned(&nginx, &subject.digest());
    // Between looking at the holder and removing the lock another waiter is faster, and done soon.
    let proxy = Proxy::http(nginx.server.address());
    let (taken, looks) = (lock.join("holder"), std::sync::atomic::AtomicU32::new(0));
    let other = move |_: &ashlar_testbed::proxy::Request| {
        if looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            std::fs::write(&taken, b"the living").expect("written");
            let taken = taken.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                let folder = taken.parent().expect("a folder");
                assert_eq!(std::fs::read(&taken).expect("it is there"), b"the living");
                std::fs::remove_dir_all(folder).expect("removed");
            });
        }
        None
    };
    proxy.add(Rule::on("GET", "/team/cache/locks/tags.", Fault::Ask(Arc::new(other))));
    let begun = Instant::now();
    let through = open(&format!("{}/team/cache", proxy.url()));
    through.put_manifest(&contract::referrer(&through, &subject, "x"), &[]).expect("put");
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!(depot.referrers(&subject.digest()).expect("asked").len(), 1);
    assert!(!lock.exists());
}

#[test]
fn who_lost_a_lock_does_not_write_under_it() {
    let nginx = nginx_dav(&listing());
    let depot = open(&at(&nginx));
    let layer = put(&depot, b"a layer");
    let subject = image(&depot, &[layer]);
    depot.put_manifest(&subject, &["subject".to_owned()]).expect("put");
    let lock =
        nginx.data().join(format!("team/cache/locks/tags.sha256-{}", subject.digest().hex()));
    let list = nginx.data().join(format!("team/cache/tags/sha256-{}", subject.digest().hex()));
    // Once it has the lock and reads the list, somebody else takes the lock and writes the list.
    let proxy = Proxy::http(nginx.server.address());
    let reads = std::sync::atomic::AtomicU32::new(0);
    let taken = lock.clone();
    let other = move |_: &ashlar_testbed::proxy::Request| {
        if reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            std::fs::write(taken.join("holder"), b"another").expect("written");
            let taken = taken.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                std::fs::remove_dir_all(taken).expect("nobody else has removed it");
            });
        }
        None
    };
    let path = format!("/team/cache/tags/sha256-{}", subject.digest().hex());
    proxy.add(Rule::on("GET", &path, Fault::Ask(Arc::new(other))));
    let begun = Instant::now();
    let through = open(&format!("{}/team/cache", proxy.url()));
    through.put_manifest(&contract::referrer(&through, &subject, "x"), &[]).expect("put");
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert!(list.exists() && !lock.exists());
    assert_eq!(depot.referrers(&subject.digest()).expect("asked").len(), 1);
}

fn definition(url: &str) -> crate::Definition {
    crate::Definition::new("team", url, Duration::from_secs(3))
}

#[test]
fn auth_files_and_tokens_let_in() {
    let nginx = nginx_dav(&Server { auth: Auth::Basic, ..listing() });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("auth.json");
    let auth = ashlar_testbed::WRITER.basic();
    let host = nginx.server.host();
    std::fs::write(&file, format!("{{\"auths\":{{\"{host}/team\":{{\"auth\":\"{auth}\"}}}}}}"))
        .expect("written");
    let with = crate::Definition {
        credentials: crate::Credentials { files: vec![file], programs: Vec::new() },
        ..definition(&at(&nginx))
    };
    let depot = super::open_web(&with).expect("opened");
    assert_eq!(depot.may_write().expect("asked"), Ok(()));
    let without = super::open_web(&definition(&at(&nginx))).expect("opened");
    without.may_write().expect("asked").expect_err("nobody is let in");

    let nginx = nginx_dav(&Server { auth: Auth::Bearer, ..listing() });
    let token = crate::Secret(ashlar_testbed::nginx::TOKEN.to_owned());
    let with = crate::Definition { token: Some(token), ..definition(&at(&nginx)) };
    let depot = super::open_web(&with).expect("opened");
    assert_eq!(depot.may_write().expect("asked"), Ok(()));
}

#[test]
fn a_certificate_of_ones_own_is_trusted_when_it_is_named() {
    let nginx = nginx_dav(&Server { tls: true, ..listing() });
    let stranger = super::open_web(&definition(&at(&nginx))).expect("opened");
    let error = stranger.may_write().expect_err("it is not trusted");
    assert!(error.to_string().contains("`ca`"), "{error}");
    let ca = nginx.certificates().expect("certificates").authority();
    let with = crate::Definition { ca: Some(ca), ..definition(&at(&nginx)) };
    let depot = super::open_web(&with).expect("opened");
    assert_eq!(depot.may_write().expect("asked"), Ok(()));
}
