//! The client beside servers that misbehave.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ashlar_store::{Moved, RemoteError, Watch};
use ashlar_testbed::proxy::{Answer as Served, Ask, Fault, Rule, Way};
use ashlar_testbed::{Proxy, WRITER};
use reqwest::header::IF_MATCH;
use reqwest::{Method, StatusCode};
use url::Url;

use super::*;
use crate::depot::Body;

/// Bytes that are not the same anywhere, so that what is shifted shows.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u8).collect()
}

fn url(proxy: &Proxy, path: &str) -> Url {
    Url::parse(&format!("{}{path}", proxy.url())).expect("an address")
}

fn client(proxy: &Proxy, timeout: f32) -> Client {
    let options = Options { timeout: Duration::from_secs_f32(timeout), ..Options::default() };
    Client::new(&url(proxy, "/"), &options).expect("a client")
}

fn asks(proxy: &Proxy, path: &str, ask: Ask) {
    proxy.add(Rule::on("*", path, Fault::Ask(ask)));
}

/// A server of these bytes that knows ranges.
fn ranged(bytes: Vec<u8>, tag: &str) -> Ask {
    let tag = tag.to_owned();
    Arc::new(move |request| {
        let tagged = |answer: Served| answer.header("ETag", &format!("\"{tag}\""));
        if request.header("if-match").is_some_and(|wanted| wanted != format!("\"{tag}\"")) {
            return Some(Served::status(412));
        }
        let Some(range) = request.header("range") else {
            return Some(tagged(Served::status(200).body(bytes.clone())));
        };
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let last = last.min(bytes.len() - 1);
        let told = format!("bytes {first}-{last}/{}", bytes.len());
        let part = bytes[first..=last].to_vec();
        Some(tagged(Served::status(206).header("Content-Range", &told).body(part)))
    })
}

fn read_all(download: Option<Download>) -> Result<Vec<u8>, RemoteError> {
    let mut bytes = Vec::new();
    let read = download.expect("it is there").read_to_end(&mut bytes);
    read.map_err(|error| remote_error(error, "here")).map(|_| bytes)
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let proxy = Proxy::alone();
    let bytes = content(1_000_000);
    proxy.add(Rule::on("GET", "/blob", Fault::Cut { way: Way::Down, after: 300_000 }).times(3));
    asks(&proxy, "/blob", ranged(bytes.clone(), "one"));
    let client = client(&proxy, 5.0);
    let opened = client.open(Request::get(url(&proxy, "/blob")), 0..1_000_000, Some(1_000_000));
    assert!(read_all(opened.expect("opened")).expect("read") == bytes);
    let requests = proxy.requests_to("GET", "/blob");
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[1].header("range"), Some("bytes=300000-999999"));
    assert_eq!(requests[3].header("range"), Some("bytes=900000-999999"));
    assert_eq!(requests[1].header("if-match"), Some("\"one\""));
    assert!(proxy.traffic().down < 1_010_000, "nothing came twice: {:?}", proxy.traffic());
}

#[test]
fn a_part_is_what_was_asked_for_also_from_servers_without_ranges() {
    let bytes = content(500_000);
    for knows in [true, false] {
        let proxy = Proxy::alone();
        proxy.add(Rule::on("GET", "/", Fault::Cut { way: Way::Down, after: 200_100 }).times(1));
        let whole = bytes.clone();
        let plain: Ask = Arc::new(move |_| Some(Served::status(200).body(whole.clone())));
        asks(&proxy, "/", if knows { ranged(bytes.clone(), "x") } else { plain });
        let opened = client(&proxy, 5.0).open(
            Request::get(url(&proxy, "/blob")),
            100_000..400_000,
            Some(500_000),
        );
        let read = read_all(opened.expect("opened")).expect("read");
        assert!(read == bytes[100_000..400_000], "ranges: {knows}");
        assert_eq!(proxy.requests().len(), 2);
    }
}

#[test]
fn what_changed_meanwhile_is_not_mixed() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/", Fault::Cut { way: Way::Down, after: 1000 }).times(1));
    let turn = AtomicU64::new(0);
    let (old, new) = (ranged(vec![1; 5000], "old"), ranged(vec![2; 5000], "new"));
    asks(
        &proxy,
        "/",
        Arc::new(move |request| {
            let first = turn.fetch_add(1, Ordering::Relaxed) == 0;
            if first { old(request) } else { new(request) }
        }),
    );
    let opened = client(&proxy, 5.0).open(Request::get(url(&proxy, "/x")), 0..5000, None);
    let error = read_all(opened.expect("opened")).expect_err("it was changed");
    assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
}

#[test]
fn lengths_are_checked() {
    let cases: [(&str, u64, Served); 4] = [
        ("longer", 100, Served::status(200).body(vec![0; 101])),
        ("shorter", 100, Served::status(200).body(vec![0; 99])),
        ("no range", 50, Served::status(206).body(vec![0; 50])),
        ("other range", 50, {
            Served::status(206).header("Content-Range", "bytes 1-50/100").body(vec![0; 50])
        }),
    ];
    for (name, end, answer) in cases {
        let proxy = Proxy::alone();
        proxy.add(Rule::on("GET", "/", Fault::Answer(answer)));
        let opened = client(&proxy, 2.0).open(Request::get(url(&proxy, "/x")), 0..end, Some(100));
        let error = opened.map(drop).expect_err(name);
        assert!(matches!(error, RemoteError::Wrong { .. }), "{name}: {error:?}");
        assert_eq!(proxy.requests().len(), 1, "{name} is not tried again");
    }
}

#[test]
fn a_body_that_is_always_too_short_is_given_up_on() {
    let proxy = Proxy::alone();
    let short = Served::status(200).header("Content-Length", "100").body(vec![7; 60]);
    // The rest never comes, and the connection ends.
    proxy.add(Rule::on("GET", "/", Fault::Cut { way: Way::Down, after: 60 }));
    proxy.add(Rule::on("GET", "/", Fault::Answer(short)));
    let began = Instant::now();
    let opened = client(&proxy, 4.0).open(Request::get(url(&proxy, "/x")), 0..100, Some(100));
    let error = opened.and_then(read_all).expect_err("it never ends");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert_eq!(proxy.requests().len(), 5);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[test]
fn a_stall_in_either_direction_ends() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/", Fault::Stall { way: Way::Down, after: 10 }).times(1));
    asks(&proxy, "/", ranged(content(1000), "x"));
    let began = Instant::now();
    let opened = client(&proxy, 0.6).open(Request::get(url(&proxy, "/x")), 0..1000, Some(1000));
    assert!(read_all(opened.expect("opened")).expect("read") == content(1000));
    assert!(began.elapsed() > Duration::from_millis(600));

    // A server that takes nothing more than what fits into its buffers.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let at = format!("http://{}/x", listener.local_addr().expect("its address"));
    let at = Url::parse(&at).expect("an address");
    let options = Options { timeout: Duration::from_millis(700), ..Options::default() };
    let client = Client::new(&at, &options).expect("a client");
    let file = tempfile::tempfile().expect("a file");
    file.set_len(64 << 20).expect("its length");
    let body = Payload::Part(Body::File(Arc::new(file)), 0..64 << 20);
    let began = Instant::now();
    let error = client.send(&Request::put(at, body), None).expect_err("nobody reads");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(all(&error).contains("nothing came or went"), "{}", all(&error));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A server whose bodies never end and come a byte at a time. It ends with who reads from it.
fn trickling(length: usize, every: Duration) -> Url {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let at = format!("http://{}/x", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            std::thread::spawn(move || {
                use std::io::Write as _;
                let mut asked = [0; 4096];
                let Ok(_) = connection.read(&mut asked) else { return };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let mut sent = connection.write_all(head.as_bytes());
                while sent.is_ok() {
                    std::thread::sleep(every);
                    sent = connection.write_all(b"x");
                }
            });
        }
    });
    Url::parse(&at).expect("an address")
}

#[test]
fn what_trickles_is_given_up_on() {
    let at = trickling(1_000_000, Duration::from_millis(20));
    let options = Options { timeout: Duration::from_millis(500), ..Options::default() };
    let client = Client::new(&at, &options).expect("a client");
    let began = Instant::now();
    let error = client.send(&Request::get(at.clone()), None).expect_err("it never ends");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(all(&error).contains("bytes came in"), "{}", all(&error));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());

    let began = Instant::now();
    let opened = client.open(Request::get(at), 0..1_000_000, Some(1_000_000));
    let error = opened.and_then(read_all).expect_err("it never ends");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(all(&error).contains("bytes came in"), "{}", all(&error));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn a_small_answer_has_a_time_for_all_of_it() {
    // Some 3 KiB a second are not slow.
    let at = trickling(1_000_000, Duration::from_micros(200));
    let options = Options { timeout: Duration::from_millis(400), ..Options::default() };
    let client = Client::new(&at, &options).expect("a client");
    let began = Instant::now();
    let error = client.send(&Request::get(at), None).expect_err("it never ends");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    let whole = Duration::from_millis(1600);
    assert!((whole..whole * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn only_waiting_counts_as_slowness() {
    let second = Duration::from_secs(1);
    let mut pace = pace::Pace::new(second * 30);
    // Who reads slowly does not wait.
    for _ in 0..1000 {
        pace.after(Duration::ZERO, 1).expect("it is there already");
    }
    for _ in 0..100 {
        pace.after(second, 1100).expect("fast enough");
    }
    let slow = (0..60).find_map(|round| pace.after(second, 1000).err().map(|fault| (round, fault)));
    let (round, fault) = slow.expect("too slow");
    assert!(round > 5, "{round}: {fault}");
    assert!(fault.to_string().contains("bytes came in 30 s"), "{fault}");
}

#[test]
fn who_is_not_there_costs_one_bounded_wait() {
    let proxy = Proxy::alone();
    proxy.refuse();
    let began = Instant::now();
    let error = client(&proxy, 30.0).send(&Request::get(url(&proxy, "/x")), None).expect_err("no");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(all(&error).contains("5 attempts"), "{}", all(&error));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Impatience ends it sooner.
    let began = Instant::now();
    client(&proxy, 0.5).send(&Request::get(url(&proxy, "/x")), None).expect_err("no");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn what_is_transient_is_tried_again_and_what_is_not_is_not() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let proxy = Proxy::alone();
        proxy.add(Rule::on("GET", "/", Fault::Answer(Served::status(status))).times(2));
        proxy.add(Rule::on("GET", "/", Fault::Answer(Served::status(200))));
        let answer = client(&proxy, 5.0).send(&Request::get(url(&proxy, "/x")), None);
        assert_eq!(answer.expect("an answer").status, StatusCode::OK);
        assert_eq!(proxy.requests().len(), 3, "{status}");
    }
    for status in [400, 401, 403, 404, 405, 409, 413, 416, 501, 505, 507] {
        let proxy = Proxy::alone();
        proxy.add(Rule::on("GET", "/", Fault::Answer(Served::status(status))));
        let answer = client(&proxy, 5.0).send(&Request::get(url(&proxy, "/x")), None);
        assert_eq!(answer.expect("an answer").status.as_u16(), status);
        assert_eq!(proxy.requests().len(), 1, "{status}");
    }
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/", Fault::Answer(Served::status(503))));
    let error = client(&proxy, 20.0).send(&Request::get(url(&proxy, "/x")), None).expect_err("no");
    assert_eq!(proxy.requests().len(), 5);
    assert!(matches!(error, RemoteError::Unreachable { .. }));
    assert!(all(&error).contains("503"), "{}", all(&error));
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    let proxy = Proxy::alone();
    let busy = |when: &str| Fault::Answer(Served::status(429).header("Retry-After", when));
    proxy.add(Rule::on("GET", "/soon", busy("1")).times(1));
    proxy.add(Rule::on("GET", "/soon", Fault::Answer(Served::status(200))));
    proxy.add(Rule::on("GET", "/late", busy("3600")));
    let began = Instant::now();
    let client = client(&proxy, 5.0);
    client.send(&Request::get(url(&proxy, "/soon")), None).expect("an answer");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let began = Instant::now();
    client.send(&Request::get(url(&proxy, "/late")), None).expect_err("not in an hour");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(proxy.requests_to("GET", "/late").len(), 1);
    assert_eq!(retry::retry_after(" 7 "), Some(Duration::from_secs(7)));
    assert_eq!(retry::retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    assert!(retry::retry_after("Fri, 21 Oct 2095 07:28:00 GMT").expect("a date").as_secs() > 1000);
    assert_eq!(retry::retry_after("tomorrow"), None);
}

#[test]
fn a_redirect_is_followed_without_what_lets_us_in() {
    let (registry, bucket) = (Proxy::alone(), Proxy::alone());
    let to = format!("{}/signed?X-Amz-Signature=topsecret", bucket.url());
    let leads = Served::status(307).header("Location", &to);
    registry.add(Rule::on("*", "/blob", Fault::Answer(leads)));
    let bytes = content(400_000);
    bucket.add(Rule::on("GET", "/", Fault::Cut { way: Way::Down, after: 150_000 }).times(1));
    asks(&bucket, "/signed", ranged(bytes.clone(), "b"));
    let with: Arc<dyn Authorize> =
        Arc::new(Fixed::basic(WRITER.user, WRITER.password, "here").expect("a header"));
    let request = Request::get(url(&registry, "/blob")).authorize(Some(with));
    let client = client(&registry, 5.0);
    let opened = client.open(request.clone(), 0..400_000, Some(400_000)).expect("opened");
    assert!(read_all(opened).expect("read") == bytes);
    let basic = format!("Basic {}", WRITER.basic());
    assert!(registry.requests().iter().all(|one| one.header("authorization") == Some(&basic)));
    assert!(bucket.requests().iter().all(|one| one.header("authorization").is_none()));
    // The address is asked for again: a signature holds for a while only.
    assert_eq!((registry.requests().len(), bucket.requests().len()), (2, 2));
    // What is written is not led elsewhere.
    let mut write = request;
    write.method = Method::PUT;
    let answer = client.send(&write, None).expect("an answer");
    assert_eq!(answer.status.as_u16(), 307);
    assert_eq!(bucket.requests().len(), 2);

    bucket.clear();
    bucket.add(Rule::on("*", "/", Fault::Answer(Served::status(403).body("no X-Amz"))));
    let error = client.open(Request::get(url(&registry, "/blob")), 0..4, Some(4)).expect_err("no");
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(!all(&error).contains("topsecret"), "{}", all(&error));
}

#[test]
fn redirects_in_a_circle_end() {
    let proxy = Proxy::alone();
    let leads = Served::status(302).header("Location", "/again");
    proxy.add(Rule::on("*", "/", Fault::Answer(leads)));
    let error = client(&proxy, 5.0).send(&Request::get(url(&proxy, "/x")), None).expect_err("no");
    assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
    assert_eq!(proxy.requests().len(), 11);
}

#[test]
fn an_upload_is_sent_again_and_told_once() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(503))).times(1));
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(201))));
    let bytes = content(3_000_000);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, &bytes).expect("written");
    let file = file.reopen().expect("the file");
    let payload = Payload::Part(Body::File(Arc::new(file)), 500_000..3_000_000);
    let told = Mutex::new(Moved::default());
    let moved = |more: Moved| *told.lock().expect("not poisoned") += more;
    let watch = Watch { moved: &moved, ..Watch::NOBODY };
    let request = Request::put(url(&proxy, "/blob"), payload);
    let answer = client(&proxy, 5.0).send(&request, Some(&watch)).expect("an answer");
    assert_eq!(answer.status, StatusCode::CREATED);
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].up, 2_500_000);
    assert_eq!(requests[1].header("content-length"), Some("2500000"));
    assert_eq!(requests[1].header("transfer-encoding"), None);
    assert_eq!(told.lock().expect("not poisoned").bytes, 2_500_000);
}

#[test]
fn a_file_that_shrank_is_our_own_fault() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("PUT", "/", Fault::Answer(Served::status(201))));
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1000).expect("its length");
    let payload = Payload::Part(Body::File(Arc::new(file)), 0..2_000_000);
    let request = Request::put(url(&proxy, "/blob"), payload);
    let error = client(&proxy, 3.0).send(&request, None).expect_err("it is too short");
    assert!(matches!(error, RemoteError::Store(_)), "{error:?}");
    assert!(proxy.requests().len() <= 1, "that is not tried again");
}

#[test]
fn being_stopped_ends_waiting() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/busy", Fault::Answer(Served::status(503))));
    proxy.add(Rule::on("GET", "/slow", Fault::Stall { way: Way::Down, after: 0 }));
    asks(&proxy, "/slow", Arc::new(|_| Some(Served::status(200).body("x"))));
    for path in ["/busy", "/slow"] {
        let began = Instant::now();
        let go_on = || began.elapsed() < Duration::from_millis(300);
        let watch = Watch { go_on: &go_on, ..Watch::NOBODY };
        let answer = client(&proxy, 60.0).send(&Request::get(url(&proxy, path)), Some(&watch));
        assert!(matches!(answer, Err(RemoteError::Stopped)), "{path}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{path}: {:?}", began.elapsed());
    }
}

#[test]
fn plain_http_is_for_this_machine_or_with_leave() {
    let at = |text: &str| Url::parse(text).expect("an address");
    let options = Options::default();
    for good in ["http://127.0.0.1:1/", "http://[::1]/", "http://localhost/", "https://a.example/"]
    {
        Client::new(&at(good), &options).expect(good);
    }
    let text = "http://user:hidden@a.example/x?token=hidden";
    let error = Client::new(&at(text), &options).expect_err("not allowed");
    assert!(matches!(error, RemoteError::Address { .. }));
    assert!(!all(&error).contains("hidden"), "{}", all(&error));
    assert!(all(&error).contains("insecure = true"), "{}", all(&error));
    Client::new(&at(text), &Options { insecure: true, ..options }).expect("with leave");
    // Nor by way of a redirect.
    let proxy = Proxy::alone();
    let leads = Served::status(302).header("Location", "http://a.example/");
    proxy.add(Rule::on("*", "/", Fault::Answer(leads)));
    let error = client(&proxy, 5.0).send(&Request::get(url(&proxy, "/x")), None).expect_err("no");
    assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
}

#[test]
fn what_a_server_repeats_of_a_password_is_not_shown() {
    let proxy = Proxy::alone();
    let echo: Ask = Arc::new(|request| {
        let header = request.header("authorization").unwrap_or_default();
        Some(Served::status(403).body(format!("you are {header}, {}", WRITER.password)))
    });
    asks(&proxy, "/", echo);
    let at = format!("http://{}:{}@{}/x?sig=s1gn", WRITER.user, WRITER.password, proxy.host());
    let at = Url::parse(&at).expect("an address");
    let with = Fixed::of_address(&at).expect("a header").expect("there is one");
    let client = Client::new(&at, &Options::default()).expect("a client");
    let request = Request::get(without_user(&at)).authorize(Some(Arc::new(with)));
    let answer = client.send(&request, None).expect("an answer");
    let error = answer.error();
    let opened = client.open(request.clone(), 0..9, None).expect_err("refused");
    let text = format!("{} {} {request:?} {client:?}", all(&error), all(&opened));
    assert!(text.contains("you are Basic …, …"), "{text}");
    for secret in [WRITER.password, &WRITER.basic(), "s1gn"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn tls_needs_a_certificate_that_is_trusted() {
    let registry = ashlar_testbed::docker_registry(&ashlar_testbed::registry::Options {
        tls: true,
        ..Default::default()
    });
    let certificates = registry.certificates().expect("it has one");
    let at = Url::parse(&format!("https://{}/v2/", registry.host())).expect("an address");
    let trusting = Options { ca: Some(certificates.authority()), ..Options::default() };
    let client = Client::new(&at, &trusting).expect("a client");
    assert_eq!(client.send(&Request::get(at.clone()), None).expect("an answer").status, 200);
    let began = Instant::now();
    let client = Client::new(&at, &Options::default()).expect("a client");
    let error = client.send(&Request::get(at.clone()), None).expect_err("not trusted");
    assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
    assert!(all(&error).contains("`ca`"), "{}", all(&error));
    assert!(began.elapsed() < Duration::from_secs(1), "that is not tried again");
    let missing = Options { ca: Some("/does/not/exist.pem".into()), ..Options::default() };
    let error = Client::new(&at, &missing).expect_err("no such file");
    assert!(all(&error).contains("/does/not/exist.pem"), "{}", all(&error));
}

#[test]
fn a_server_lets_in_who_has_a_certificate_of_its_authority() {
    let server = ashlar_testbed::nginx_dav(&ashlar_testbed::nginx::Options {
        tls: true,
        clients: true,
        ..Default::default()
    });
    let certificates = server.certificates().expect("it has one");
    let others = ashlar_testbed::Certificates::make();
    let at = Url::parse(&format!("{}/file", server.url())).expect("an address");
    let options = |certificate, key| Options {
        ca: Some(certificates.authority()),
        certificate,
        key,
        ..Options::default()
    };
    let opened = |options: &Options| Client::new(&at, options);
    let asks = |options: &Options| {
        opened(options).expect("a client").send(&Request::get(at.clone()), None)
    };
    let known = options(Some(certificates.client()), Some(certificates.client_key()));
    let put = Request::new(Method::PUT, at.clone()).payload(Payload::Bytes("hello".into()));
    let answer = opened(&known).expect("a client").send(&put, None).expect("an answer");
    assert_eq!(answer.status, 201);
    assert_eq!(asks(&known).expect("an answer").body, "hello");
    // Both in one file.
    let both = server.folder().join("both.pem");
    let read = |path| std::fs::read_to_string(path).expect("it is there");
    let text = read(certificates.client()) + &read(certificates.client_key());
    std::fs::write(&both, text).expect("written");
    assert_eq!(asks(&options(Some(both), None)).expect("an answer").body, "hello");
    // Nobody, and somebody whom another authority knows.
    for stranger in [options(None, None), options(Some(others.client()), Some(others.client_key()))]
    {
        let answer = asks(&stranger).expect("an answer");
        assert_eq!(answer.status, 400);
        let error = answer.error();
        assert!(all(&error).contains("certificate"), "{}", all(&error));
    }
    // What cannot be used is said before anything is asked, or when it is needed.
    let error =
        opened(&options(None, Some(certificates.client_key()))).expect_err("no certificate");
    assert!(matches!(error, RemoteError::Address { .. }), "{error:?}");
    let error = opened(&options(Some(certificates.client()), None)).expect_err("no key in there");
    assert!(all(&error).contains("client.pem"), "{}", all(&error));
    let mixed = options(Some(certificates.client()), Some(others.client_key()));
    let error = asks(&mixed).expect_err("they do not fit");
    assert!(all(&error).contains("client certificate"), "{}", all(&error));
}

#[test]
fn answers_are_not_read_without_end() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/", Fault::Answer(Served::status(200).body(vec![0; 100_000]))));
    let request = Request::get(url(&proxy, "/x")).limit(50_000);
    let error = client(&proxy, 5.0).send(&request, None).expect_err("too long");
    assert!(matches!(error, RemoteError::Wrong { .. }), "{error:?}");
    // Not even headers that we never sent.
    assert!(proxy.requests()[0].header(IF_MATCH.as_str()).is_none());
}

#[test]
fn errors_of_registries_and_pages_are_told_in_one_line() {
    let said = |body: &str| shown::excerpt(body.as_bytes());
    let document = r#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}},{"code":"X"}]}"#;
    assert_eq!(said(document), "DENIED no way; X");
    assert_eq!(said("<html><head><Title>403 Forbidden</title></head>…"), "403 Forbidden");
    assert_eq!(said("  quite\n\x1b[31m plain  "), "quite [31m plain");
    assert!(said(&"ä".repeat(5000)).chars().count() < 310);
    assert_eq!(said("<>"), "");
}
