//! Requests over real sockets: to a server that says what a test wants, through the proxy.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ashlar_recipe::Pin;
use ashlar_store::{MemoryStore, Store};

use super::{Answers, PinError, Proxies, Recorder, Replayer, fetch_again, serve};

/// A server that answers each path with the same bytes, and counts.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    answers: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Server {
    fn new(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, asked: Arc::default(), answers: Arc::default() };
        for (path, answer) in answers {
            server.set(path, answer);
        }
        let (asked, answers) = (Arc::clone(&server.asked), Arc::clone(&server.answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut first = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                reader.read_line(&mut first).unwrap();
                let mut line = String::from("x");
                while !line.trim().is_empty() {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                asked.fetch_add(1, Ordering::Relaxed);
                let target = first.split(' ').nth(1).unwrap_or_default();
                let nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone".to_vec();
                let answer = answers.lock().unwrap().get(target).cloned().unwrap_or(nothing);
                stream.write_all(&answer).unwrap();
            }
        });
        server
    }

    fn set(&self, path: &str, answer: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer.as_bytes().to_vec());
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Calls `with` with a way to send a text to the proxy on a connection of its own and get all that
/// comes back.
fn talk(answers: &dyn Answers, with: impl FnOnce(&(dyn Fn(&str) -> String + Sync))) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let (over, done) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, over.as_fd(), answers));
        with(&|text: &str| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            let mut back = Vec::new();
            // One that is broken off is what some tests are about.
            let _ = stream.read_to_end(&mut back);
            String::from_utf8_lossy(&back).into_owned()
        });
        drop(done);
        server.join().unwrap().unwrap();
    });
}

fn get(url: &str, fields: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
}

/// The content of an answer; in how many pieces it comes is a matter of time.
fn body(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.contains("transfer-encoding: chunked") {
        return rest.to_owned();
    }
    let mut whole = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&after[..length]);
        rest = &after[length + 2..];
        if length == 0 {
            return whole;
        }
    }
}

fn recorder() -> (tempfile::TempDir, Recorder) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(Proxies::default(), folder.path().to_owned());
    (folder, recorder)
}

/// Records with a proxy, and gives what was recorded with the contents.
fn record(
    with: impl FnOnce(&(dyn Fn(&str) -> String + Sync)),
) -> (MemoryStore, Result<Vec<Pin>, PinError>) {
    let (_folder, recorder) = recorder();
    talk(&recorder, with);
    let store = MemoryStore::new();
    let pins = recorder.finish(&store, &|| true);
    (store, pins)
}

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"one\"\r\nDate: now\r\n\
                    Last-Modified: Sat, 09 Nov 2024 10:05:00 GMT\r\n\r\n0123456789";
const PIECES: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      4;x=y\r\nabcd\r\n1\r\ne\r\n0\r\nA: b\r\n\r\n";

#[test]
fn what_is_recorded_is_replayed_without_a_server() {
    let server = Server::new(&[
        ("/file", FILE),
        ("/pieces", PIECES),
        ("/moved", "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 3\r\n\r\nsee"),
    ]);
    let paths = ["/file", "/pieces", "/moved", "/none"];
    let ask = |say: &(dyn Fn(&str) -> String + Sync)| -> Vec<String> {
        paths.iter().map(|path| say(&get(&server.url(path), ""))).collect()
    };
    let mut first = Vec::new();
    let (store, pins) = record(|say| {
        first = ask(say);
        let bodies = |all: &[String]| -> Vec<String> { all.iter().map(|one| body(one)).collect() };
        assert_eq!(bodies(&ask(say)), bodies(&first), "what came is not asked for again");
    });
    let pins = pins.unwrap();
    assert_eq!(server.count(), 5, "but for an error");
    assert_eq!(body(&first[0]), "0123456789");
    assert!(first[1].contains("chunked") && body(&first[1]) == "abcde", "{}", first[1]);
    assert!(first[2].contains("location: /file") && body(&first[2]).is_empty());
    assert!(first[3].starts_with("HTTP/1.1 404 Not Found"));
    let statuses: Vec<u16> = pins.iter().map(|pin| pin.status).collect();
    assert_eq!(statuses, [200, 302, 404, 200]);
    assert_eq!(pins[0].fields.len(), 2, "{:?}", pins[0].fields);

    let replayer = Replayer::new(&pins, &store);
    talk(&replayer, |say| {
        let again = ask(say);
        assert_eq!((&again[0], &again[2], &again[3]), (&first[0], &first[2], &first[3]));
        // Its length is known by now.
        assert_eq!(body(&again[1]), "abcde");
        let head = say(&get(&server.url("/file"), "").replace("GET", "HEAD"));
        assert!(head.contains("content-length: 10") && body(&head).is_empty(), "{head}");
        assert!(replayer.troubles().of_unknown().is_empty());
        let other = say(&get(&server.url("/other"), ""));
        assert!(other.starts_with("HTTP/1.1 502 ashlar: "), "{other}");
    });
    assert_eq!(replayer.troubles().of_unknown(), [server.url("/other")]);
    assert_eq!(server.count(), 5);
}

#[test]
fn parts_and_conditions_are_answered_from_the_whole() {
    let server = Server::new(&[("/file", FILE), ("/pieces", PIECES)]);
    let file = server.url("/file");
    let check = |say: &(dyn Fn(&str) -> String + Sync)| {
        let part = |range: &str| {
            let answer = say(&get(&file, &format!("Range: {range}\r\n")));
            (answer[9..12].to_owned(), body(&answer))
        };
        let of = |status: &str, body: &str| (status.to_owned(), body.to_owned());
        assert_eq!(part("bytes=2-4"), of("206", "234"));
        assert_eq!(part("bytes=7-"), of("206", "789"));
        assert_eq!(part("bytes=-3"), of("206", "789"));
        assert_eq!(part("bytes=8-99"), of("206", "89"));
        assert_eq!(part("bytes=10-"), of("416", ""));
        assert_eq!(part("bytes=1-2,4-5"), of("200", "0123456789"));
        assert_eq!(part("lines=1-2"), of("200", "0123456789"));
        let with = |fields: &str| say(&get(&file, fields))[9..12].to_owned();
        assert_eq!(with("Range: bytes=2-4\r\nIf-Range: \"one\"\r\n"), "206");
        assert_eq!(with("Range: bytes=2-4\r\nIf-Range: \"two\"\r\n"), "200");
        let date = "Sat, 09 Nov 2024 10:05:00 GMT";
        assert_eq!(with(&format!("Range: bytes=2-4\r\nIf-Range: {date}\r\n")), "206");
        assert_eq!(with(&format!("If-Modified-Since: {date}\r\n")), "304");
        assert_eq!(with("If-Modified-Since: Sat, 09 Nov 2024 10:04:59 GMT\r\n"), "200");
        assert_eq!(with("If-None-Match: \"two\", W/\"one\"\r\n"), "304");
        assert_eq!(with("If-None-Match: \"two\"\r\n"), "200");
        let pieces = say(&get(&server.url("/pieces"), "Range: bytes=1-2\r\n"));
        assert!(pieces.contains("content-range: bytes 1-2/5"), "{pieces}");
    };
    let (store, pins) = record(check);
    let pins = pins.unwrap();
    assert_eq!((server.count(), pins.len()), (2, 2));
    talk(&Replayer::new(&pins, &store), check);
}

#[test]
fn several_requests_on_one_connection_are_answered_in_their_order() {
    let server = Server::new(&[("/file", FILE), ("/pieces", PIECES)]);
    let (_, pins) = record(|say| {
        let one = get(&server.url("/file"), "").replace("Connection: close\r\n", "");
        let other = get(&server.url("/pieces"), "");
        let answer = say(&format!("{one}\r\n{one}{other}"));
        assert_eq!(answer.matches("0123456789").count(), 2, "{answer}");
        let last = answer.rfind("HTTP/1.1").unwrap();
        assert_eq!(body(&answer[last..]), "abcde", "{answer}");
    });
    assert_eq!(pins.unwrap().len(), 2);
}

#[test]
fn eight_at_once_give_what_one_after_another_gives() {
    let paths: Vec<String> = (0..8).map(|number| format!("/{number}")).collect();
    let server = Server::new(&[]);
    for path in &paths {
        let content = path.repeat(40_000);
        let length = content.len();
        server.set(path, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{content}"));
    }
    let (_, one) = record(|say| {
        for path in &paths {
            say(&get(&server.url(path), ""));
        }
    });
    let (_, all) = record(|say| {
        std::thread::scope(|scope| {
            for path in paths.iter().rev().chain(&paths) {
                let url = server.url(path);
                scope.spawn(move || assert!(say(&get(&url, "")).ends_with(&path.repeat(40_000))));
            }
        });
    });
    let one = one.unwrap();
    assert_eq!(one, all.unwrap());
    assert_eq!((one.len(), server.count()), (8, 16));
}

#[test]
fn what_is_cut_off_or_not_answered_is_not_recorded() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let torn = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc";
    for (answer, why) in [
        (cut, "ended 91 bytes before its 100"),
        (torn, "within a piece"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answered 503"),
        ("what\r\n\r\n", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "two lengths"),
    ] {
        let server = Server::new(&[("/file", answer)]);
        let (_, pins) = record(|say| {
            let answer = say(&get(&server.url("/file"), ""));
            assert!(!answer.ends_with("0\r\n\r\n") || answer.contains("502"), "{answer}");
        });
        let error = pins.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("/file"), "{error}");
    }
    // One that comes the second time is a download like others.
    let server = Server::new(&[("/file", cut)]);
    let (_, pins) = record(|say| {
        say(&get(&server.url("/file"), ""));
        server.set("/file", FILE);
        assert_eq!(body(&say(&get(&server.url("/file"), ""))), "0123456789");
    });
    assert_eq!(pins.unwrap()[0].size, Some(10));
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let (_folder, recorder) = recorder();
    talk(&recorder, |say| {
        let status = |text: &str| say(text).get(9..12).unwrap_or_default().to_owned();
        assert_eq!(status("CONNECT a.test:443 HTTP/1.1\r\n\r\n"), "403");
        assert_eq!(status("POST http://a.test/x?key=1 HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status("GET /x HTTP/1.1\r\n\r\n"), "400");
        assert_eq!(status("GET https://a.test/ HTTP/1.1\r\n\r\n"), "400");
        assert_eq!(status("nothing\r\n\r\n"), "400");
        assert_eq!(status("GET http://a.test/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), "400");
        assert_eq!(
            status(&format!("GET http://a.test/{} HTTP/1.1\r\n", "x".repeat(70_000))),
            "431"
        );
    });
    let refused = recorder.troubles().of_refused();
    assert!(refused.iter().any(|what| what.contains("a.test:443")), "{refused:?}");
    assert!(refused.contains(&"POST http://a.test/x".to_owned()), "{refused:?}");
}

#[test]
fn the_proxy_of_the_machine_is_asked_and_credentials_are_not_recorded() {
    let server = Server::new(&[("http://a.test/x", FILE)]);
    let at = format!("http://me:se%3Acret@127.0.0.1:{}/", server.port);
    let proxies = |not: &str| {
        let value = |name: &str| match name {
            "http_proxy" => Some(at.clone()),
            "no_proxy" => Some(not.to_owned()),
            _ => None,
        };
        Proxies::new(value)
    };
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(proxies("other.test"), folder.path().to_owned());
    talk(&recorder, |say| {
        let answer = say(&get("http://you:secret@A.test:80/x#part", ""));
        assert_eq!(body(&answer), "0123456789");
    });
    let pins = recorder.finish(&MemoryStore::new(), &|| true).unwrap();
    assert_eq!(pins[0].url, "http://a.test/x");
    // What is not to go through it does not.
    let recorder = Recorder::new(proxies(".0.0.1"), folder.path().to_owned());
    talk(&recorder, |say| {
        let answer = say(&get(&server.url("/none"), ""));
        assert!(answer.contains("404"), "{answer}");
    });
}

#[test]
fn a_proxy_that_is_none_is_an_error_of_who_asks_through_it() {
    let server = Server::new(&[("/file", FILE)]);
    let record = |variable: &str, not: &str| {
        let value = |name: &str| match name {
            "no_proxy" => Some(not.to_owned()),
            _ => (name == variable).then(|| "socks5://127.0.0.1:9".to_owned()),
        };
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(Proxies::new(value), folder.path().to_owned());
        talk(&recorder, |say| {
            say(&get(&server.url("/file"), ""));
        });
        recorder.finish(&MemoryStore::new(), &|| true).map(|pins| pins.len())
    };
    let error = record("HTTP_PROXY", "").unwrap_err().to_string();
    assert!(error.contains("(HTTP_PROXY) is no http address"), "{error}");
    assert_eq!(record("HTTP_PROXY", "127.0.0.1").unwrap(), 1);
    assert_eq!(record("ALL_PROXY", "").unwrap(), 1, "it is for others");
}

#[test]
fn credentials_of_a_redirection_are_not_recorded() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://me:secret@a.test/x\r\n\r\n";
    let server = Server::new(&[("/moved", moved)]);
    let (_, pins) = record(|say| {
        let answer = say(&get(&server.url("/moved"), ""));
        assert!(answer.contains("location: http://a.test/x\r\n"), "{answer}");
    });
    let pins = pins.unwrap();
    assert_eq!(pins[0].fields.get("location").map(String::as_str), Some("http://a.test/x"));
}

#[test]
fn contents_come_again_only_as_they_were() {
    let server = Server::new(&[("/file", FILE)]);
    let (store, pins) = record(|say| {
        say(&get(&server.url("/file"), ""));
    });
    let pins = pins.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let again =
        |store: &dyn Store| fetch_again(&pins, &Proxies::default(), folder.path(), store, &|| true);
    again(&store).unwrap();
    assert_eq!(server.count(), 1, "what is there is not asked for");
    let empty = MemoryStore::new();
    again(&empty).unwrap();
    assert_eq!(server.count(), 2);
    assert!(empty.missing(&[ashlar_object::Digest::of(b"0123456789")]).unwrap().is_empty());
    server.set("/file", &FILE.replace("0123456789", "9876543210").replace("2024", "2025"));
    let error = again(&MemoryStore::new()).unwrap_err().to_string();
    assert!(error.contains("/file changed since it was recorded"), "{error}");
    assert!(error.contains("Nov 2024") && error.contains("Nov 2025"), "{error}");
    server.set("/file", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let error = again(&MemoryStore::new()).unwrap_err();
    assert!(matches!(error, PinError::Gone { status: 404, .. }), "{error}");
}

#[test]
fn a_server_that_says_nothing_does_not_hold_up_a_stop() {
    // Connections are made, and nobody takes them.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/x", silent.local_addr().unwrap());
    let (sum, size) = (Some("ab".repeat(32)), Some(7));
    let pin = Pin { url, head: false, status: 200, sha256: sum, size, fields: BTreeMap::new() };
    let folder = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let go_on = || begun.elapsed() < std::time::Duration::from_millis(300);
    let store = MemoryStore::new();
    let stopped = fetch_again(&[pin], &Proxies::default(), folder.path(), &store, &go_on);
    assert!(matches!(stopped, Err(PinError::Stopped { .. })), "{stopped:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(15));
}

#[test]
fn an_error_is_asked_for_again_and_what_comes_last_is_recorded() {
    let server = Server::new(&[("/later", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")]);
    let url = server.url("/later");
    let (_, pins) = record(|say| {
        assert!(say(&get(&url, "")).starts_with("HTTP/1.1 401"));
        assert!(say(&get(&url, "Authorization: Basic one\r\n")).starts_with("HTTP/1.1 401"));
        server.set("/later", FILE);
        assert_eq!(body(&say(&get(&url, "Authorization: Basic two\r\n"))), "0123456789");
    });
    let pins = pins.unwrap();
    assert_eq!((pins.len(), pins[0].status, server.count()), (1, 200, 3));
    // As nobody, what came for somebody is another thing.
    let (_, pins) = record(|say| {
        say(&get(&url, "Authorization: Basic two\r\n"));
        server.set("/later", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
        assert!(say(&get(&url, "")).starts_with("HTTP/1.1 403"));
    });
    assert!(matches!(pins, Err(PinError::Different { .. })), "{pins:?}");
    // A wait for something comes to an end.
    let (_, pins) = record(|say| {
        say(&get(&url, ""));
        server.set("/later", FILE);
        assert_eq!(body(&say(&get(&url, ""))), "0123456789");
    });
    assert_eq!(pins.unwrap()[0].status, 200);
}

#[test]
fn answers_end_where_an_old_program_or_one_without_content_expects_it() {
    let server = Server::new(&[
        ("/pieces", PIECES),
        ("/nothing", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("/file", FILE),
    ]);
    let old = format!("GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", server.url("/pieces"));
    let nothing = get(&server.url("/nothing"), "").replace("Connection: close\r\n", "");
    let file = get(&server.url("/file"), "");
    let check = |say: &(dyn Fn(&str) -> String + Sync)| {
        let answer = say(&old);
        assert!(answer.contains("connection: close") && body(&answer) == "abcde", "{answer}");
        let answer = say(&format!("{nothing}{file}"));
        let (first, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 204") && !first.contains("content-length"), "{first}");
        assert!(!first.contains("transfer-encoding"), "{first}");
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("0123456789"), "{rest}");
    };
    let (store, pins) = record(check);
    talk(&Replayer::new(&pins.unwrap(), &store), check);
}
