//! The proxy between a client and nginx.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ashlar_testbed::proxy::{Answer, Fault, Rule, Way};
use ashlar_testbed::{Nginx, Proxy, nginx, nginx_dav};

use crate::http::{ask, get};

const SIZE: usize = 300_000;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// nginx with one large file.
fn served() -> Nginx {
    let nginx = nginx_dav(&nginx::Options::default());
    std::fs::write(nginx.data().join("large"), content()).unwrap();
    nginx
}

#[test]
fn without_rules_everything_passes_and_is_counted() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    assert_eq!(get(proxy.address(), "/large").body, content());
    assert_eq!(ask(proxy.address(), "PUT", "/a/b", &[], &content()).unwrap().status, 201);
    assert_eq!(get(proxy.address(), "/a/b?x=1").body, content());
    assert_eq!(ask(proxy.address(), "HEAD", "/large", &[], b"").unwrap().status, 200);
    let requests = proxy.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|it| (it.method.as_str(), it.path.as_str(), it.status, it.up, it.down))
        .collect();
    let size = SIZE as u64;
    assert_eq!(
        seen,
        [
            ("GET", "/large", 200, 0, size),
            ("PUT", "/a/b", 201, size, 0),
            ("GET", "/a/b?x=1", 200, 0, size),
            ("HEAD", "/large", 200, 0, 0),
        ]
    );
    assert_eq!(requests[0].header("host"), Some(proxy.host().as_str()));
    assert_eq!(proxy.requests_to("GET", "/a/").len(), 1);
    let traffic = proxy.traffic();
    assert!((size..size + 2000).contains(&traffic.up), "{traffic:?}");
    assert!((2 * size..2 * size + 4000).contains(&traffic.down), "{traffic:?}");
    assert_eq!(proxy.connections(), 4);
    proxy.reset();
    assert!(proxy.requests().is_empty() && proxy.traffic().up == 0);
}

#[test]
fn one_connection_carries_several_requests_and_chunks() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let head = "Host: x\r\n";
    write!(stream, "PUT /c HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .unwrap();
    write!(stream, "6;x=y\r\n world\r\n0\r\n\r\n").unwrap();
    // Asks before it sends the body.
    write!(stream, "PUT /d HTTP/1.1\r\n{head}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    while !text.contains("100 Continue") {
        let mut some = [0; 1000];
        let length = stream.read(&mut some).unwrap();
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&some[..length]));
    }
    write!(stream, "ok").unwrap();
    write!(stream, "GET /c HTTP/1.1\r\n{head}Connection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("hello world"), "{text}");
    let seen: Vec<_> = proxy.requests().iter().map(|it| (it.status, it.up, it.down)).collect();
    assert_eq!(seen, [(201, 11, 0), (201, 2, 0), (200, 0, 11)]);
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn answers_come_instead_of_the_servers_so_many_times() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    let busy = Answer::status(429).header("Retry-After", "1");
    proxy.add(Rule::on("PUT", "/a", Fault::Answer(busy)).skip(1).times(2));
    let statuses: Vec<u16> = (0..4)
        .map(|_| ask(proxy.address(), "PUT", "/a", &[], &content()).unwrap())
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses, [201, 429, 429, 204]);
    assert_eq!(proxy.pending(), 0);
    proxy.add(Rule::on("*", "/*/x", Fault::Answer(Answer::status(503).body("later"))));
    let refused = get(proxy.address(), "/b/x");
    assert_eq!((refused.status, refused.body), (503, b"later".to_vec()));
    proxy.clear();
    assert_eq!(get(proxy.address(), "/b/x").status, 404);
}

/// A body after 204 would be the beginning of the next answer to whoever keeps the connection.
#[test]
fn answers_that_have_no_body_leave_the_connection_clean() {
    let proxy = Proxy::alone();
    proxy.add(Rule::on("GET", "/first", Fault::Answer(Answer::status(204))));
    proxy.add(Rule::on("GET", "/second", Fault::Answer(Answer::status(304))));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"GET /first HTTP/1.1\r\n\r\nGET /second HTTP/1.1\r\n\r\n").unwrap();
    stream.write_all(b"GET /third HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let third = "HTTP/1.1 502 \r\nContent-Length: 19\r\n\r\nthe proxy says 502\n";
    assert_eq!(text, format!("HTTP/1.1 204 \r\n\r\nHTTP/1.1 304 \r\n\r\n{third}"));
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_function_may_answer() {
    let proxy = Proxy::alone();
    let echo = |request: &ashlar_testbed::proxy::Request| {
        let body = request.path.strip_prefix("/echo/")?;
        Some(Answer::status(200).body(body.to_owned()))
    };
    proxy.add(Rule::on("GET", "/", Fault::Ask(Arc::new(echo))));
    assert_eq!(get(proxy.address(), "/echo/this").body, b"this");
    assert_eq!(get(proxy.address(), "/else").status, 502);
}

#[test]
fn bodies_are_truncated_under_their_full_length() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    proxy.add(Rule::on("GET", "/large", Fault::Cut { way: Way::Down, after: 100_000 }).times(1));
    let cut = get(proxy.address(), "/large");
    assert!(cut.head.contains(&format!("Content-Length: {SIZE}")), "{}", cut.head);
    assert_eq!(cut.body, content()[..100_000]);
    assert_eq!(get(proxy.address(), "/large").body, content());
    proxy.add(Rule::on("PUT", "/up", Fault::Cut { way: Way::Up, after: 100_000 }).times(1));
    assert!(ask(proxy.address(), "PUT", "/up", &[], &content()).is_err());
    assert!(!nginx.data().join("up").exists());
    assert_eq!(proxy.requests_to("PUT", "/up")[0].up, 100_000);
}

#[test]
fn bytes_are_turned_over() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    proxy.add(Rule::on("GET", "/large", Fault::Flip { way: Way::Down, at: 150_000 }));
    proxy.add(Rule::on("PUT", "/up", Fault::Flip { way: Way::Up, at: 3 }));
    let mut wrong = content();
    wrong[150_000] ^= 0xff;
    assert_eq!(get(proxy.address(), "/large").body, wrong);
    assert_eq!(ask(proxy.address(), "PUT", "/up", &[], b"abcdef").unwrap().status, 201);
    assert_eq!(std::fs::read(nginx.data().join("up")).unwrap(), b"abc\x9bef");
}

#[test]
fn connections_are_cut_by_bytes_in_either_direction() {
    let nginx = served();
    let proxy = Proxy::tcp(nginx.address());
    proxy.add(Rule::connections(Fault::Cut { way: Way::Down, after: 1000 }).times(1));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    write!(stream, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut some = Vec::new();
    stream.read_to_end(&mut some).unwrap();
    assert_eq!(some.len(), 1000);
    assert_eq!(get(proxy.address(), "/large").body, content());
    proxy.add(Rule::connections(Fault::Cut { way: Way::Up, after: 1000 }).times(1));
    assert!(ask(proxy.address(), "PUT", "/up", &[], &content()).is_err());
    assert_eq!(ask(proxy.address(), "PUT", "/up", &[], &content()).unwrap().status, 201);
}

#[test]
fn stalls_last_until_the_connection_is_cut() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    proxy.add(Rule::on("GET", "/large", Fault::Stall { way: Way::Down, after: 1000 }).times(1));
    proxy.add(Rule::on("GET", "/none", Fault::Stall { way: Way::Up, after: 0 }));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    write!(stream, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let stalled = stream.read_to_end(&mut all).unwrap_err();
    assert!(matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled}");
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert_eq!(all.len() - at - 4, 1000);
    proxy.cut_all();
    assert_eq!(stream.read_to_end(&mut all).unwrap_or(0), 0);
    assert_eq!(get(proxy.address(), "/large").body, content());
}

#[test]
fn a_stalled_connection_does_not_keep_the_proxy_from_ending() {
    let nginx = served();
    let proxy = Proxy::tcp(nginx.address());
    proxy.add(Rule::connections(Fault::Stall { way: Way::Up, after: 0 }));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    write!(stream, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    drop(proxy);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
}

#[test]
fn chunks_are_delayed() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    proxy.add(Rule::on("GET", "/large", Fault::Delay(Duration::from_millis(30))));
    let begun = Instant::now();
    // At least five chunks of at most 64 KiB.
    assert_eq!(get(proxy.address(), "/large").body, content());
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn connecting_is_refused_for_a_while() {
    let nginx = served();
    let proxy = Proxy::http(nginx.address());
    proxy.refuse();
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.accept();
    assert_eq!(get(proxy.address(), "/large").status, 200);
    proxy.refuse();
    drop(proxy);
}

#[test]
fn a_server_that_is_away_is_a_bad_gateway() {
    let mut nginx = served();
    let proxy = Proxy::http(nginx.address());
    nginx.server.stop();
    assert_eq!(get(proxy.address(), "/large").status, 502);
    let other = served();
    proxy.redirect(other.address());
    assert_eq!(get(proxy.address(), "/large").status, 200);
}
