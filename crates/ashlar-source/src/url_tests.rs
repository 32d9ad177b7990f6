use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// A server that answers the n-th request with what a closure makes of its head, then closes.
struct Server {
    root: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn serve(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push(head.to_ascii_lowercase());
                seen.len() - 1
            };
            // A client that has seen enough may hang up.
            stream.write_all(&answer(count, &head.to_ascii_lowercase())).ok();
        }
    });
    Server { root, heads }
}

fn response(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn ok(body: &[u8]) -> Vec<u8> {
    response("200 OK", "", body.len(), body)
}

/// An agent that goes to this machine whatever proxies the environment names.
fn direct() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into()
}

fn get(urls: &[&str], content: &[u8]) -> Result<Vec<u8>, UrlError> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("file");
    match download_with(&direct(), urls, &Digest::of(content).hash, false, &to, &|| false) {
        Ok(()) => Ok(std::fs::read(&to).unwrap()),
        Err(SourceError::Url(e)) => Err(e),
        Err(other) => panic!("{other}"),
    }
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn an_error_of_the_server_passes() {
    let server = serve(|count, _| match count {
        0 => response("503 Busy", "", 0, b""),
        _ => ok(b"content"),
    });
    assert_eq!(get(&[&server.root], b"content").unwrap(), b"content");
    assert_eq!(server.heads.lock().unwrap().len(), 2);
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let all = content();
    let server = serve(move |count, head| {
        let all = content();
        if count == 0 {
            return response("200 OK", "ETag: \"v1\"\r\n", all.len(), &all[..300_000]);
        }
        let from = head.split("range: bytes=").nth(1).unwrap().split('-').next().unwrap();
        let from: usize = from.parse().unwrap();
        let headers = format!("Content-Range: bytes {from}-{}/{}\r\n", all.len() - 1, all.len());
        response("206 Partial Content", &headers, all.len() - from, &all[from..])
    });
    assert_eq!(get(&[&server.root], &all).unwrap(), all);
    let heads = server.heads.lock().unwrap();
    assert_eq!(heads.len(), 2);
    assert!(heads[1].contains("if-range: \"v1\""), "{}", heads[1]);
    assert!(heads[1].contains("range: bytes=300000-"), "{}", heads[1]);
}

#[test]
fn halves_of_different_files_are_not_joined() {
    let all = content();
    let server = serve(move |count, _| {
        let all = content();
        match count {
            0 => response("200 OK", "", all.len(), &vec![7; 1000]),
            1 => {
                let headers =
                    format!("Content-Range: bytes 1000-{}/{}\r\n", all.len() - 1, all.len());
                response("206 Partial Content", &headers, all.len() - 1000, &all[1000..])
            }
            _ => ok(&all),
        }
    });
    assert_eq!(get(&[&server.root], &all).unwrap(), all);
    assert!(!server.heads.lock().unwrap()[2].contains("range:"));
}

#[test]
fn a_server_that_cannot_resume_begins_anew() {
    let all = content();
    let server = serve(move |count, _| {
        let all = content();
        match count {
            0 => response("200 OK", "", all.len(), &all[..5000]),
            _ => ok(&all),
        }
    });
    assert_eq!(get(&[&server.root], &all).unwrap(), all);
}

#[test]
fn a_server_that_always_breaks_off_is_given_up() {
    let server = serve(|_, _| response("200 OK", "", 100, b"only this"));
    assert!(matches!(get(&[&server.root], b"x"), Err(UrlError::Broken { got: 9, .. })));
    assert_eq!(server.heads.lock().unwrap().len(), 3);
}

#[test]
fn wrong_bytes_are_named_and_mirrors_tried_in_order() {
    let wrong = serve(|_, _| ok(b"wrong"));
    let gone = serve(|_, _| response("404 Not Found", "", 0, b""));
    let right = serve(|_, _| ok(b"content"));
    let Err(UrlError::Checksum { expected, got, .. }) = get(&[&wrong.root], b"content") else {
        panic!("a wrong file must be refused")
    };
    assert_eq!(expected, Digest::of(b"content").hex());
    assert_eq!(got, Digest::of(b"wrong").hex());
    let all = [wrong.root.as_str(), &gone.root, &right.root];
    assert_eq!(get(&all, b"content").unwrap(), b"content");
    let Err(UrlError::All(errors)) = get(&all[..2], b"content") else { panic!("nobody has it") };
    assert!(matches!(errors[1], UrlError::Status { status: 404, .. }));
    assert_eq!(gone.heads.lock().unwrap().len(), 2, "a 404 is final");
}

#[test]
fn bytes_arrive_as_they_are() {
    let server = serve(|_, _| ok(b"\x1f\x8b\x08 not unpacked on the way"));
    let content = b"\x1f\x8b\x08 not unpacked on the way";
    assert_eq!(get(&[&server.root], content).unwrap(), content);
    assert!(server.heads.lock().unwrap()[0].contains("accept-encoding: identity"));
}

#[test]
fn local_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b");
    std::fs::write(&path, "content").unwrap();
    let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    assert_eq!(get(&[&url], b"content").unwrap(), b"content");
    assert!(matches!(get(&[&url], b"other"), Err(UrlError::Checksum { .. })));
    assert!(matches!(get(&["file:///no/such"], b"x"), Err(UrlError::File { .. })));
    assert!(matches!(get(&["file://host/x"], b"x"), Err(UrlError::Address { .. })));
    assert!(matches!(get(&["ftp://host/x"], b"x"), Err(UrlError::Address { .. })));
}

#[test]
fn names_of_files() {
    assert_eq!(file_name("https://h/a/b.tar.gz?x=1#y").unwrap(), "b.tar.gz");
    assert!(file_name("https://h/a/").is_err());
    assert!(file_name("https://h/..").is_err());
}

#[test]
fn a_server_that_says_nothing_is_left() {
    for said in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said).unwrap();
            // It is kept open.
            stream
        });
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("file");
        let began = Instant::now();
        let stop = || began.elapsed() > Duration::from_millis(300);
        let result = download_with(&direct(), &[&url], &[0; 32], false, &to, &stop);
        assert!(matches!(result, Err(SourceError::Stopped)), "{result:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop(server.join().unwrap());
    }
}
