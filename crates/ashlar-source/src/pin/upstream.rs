//! Asking a server for a whole answer, directly or through the machine's own proxy.
//!
//! Not the client that sources are fetched with: that one speaks to proxies through tunnels only,
//! which those of package archives refuse, and undoes compression, which is part of a content.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ashlar_recipe::{PINNED_FIELDS, without_credentials};
use base64::Engine as _;

use super::ask::{Asked, address};
use super::download::Head;

/// After how long without a byte a connection counts as broken.
const STALL: Duration = Duration::from_secs(30);
/// The longest head of an answer, in bytes.
const LONGEST: u64 = 64 << 10;
/// The most fields in it.
const FIELDS: usize = 128;

/// Host and port of a proxy, and what it is told of who asks.
type Proxy = (String, Option<String>);

/// The machine's own way to the network.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Host and port, and what is said of who asks; or why that is not known.
    http: Option<Result<Proxy, String>>,
    /// Hosts that are asked directly.
    not: Vec<String>,
}

impl Proxies {
    /// From variables as programs read them: `http_proxy`, `all_proxy`, `no_proxy`. What is wrong
    /// with them is an error of who asks through them: most builds ask for nothing.
    #[must_use]
    pub fn new(value: impl Fn(&str) -> Option<String>) -> Self {
        let any = |names: &[&'static str], wanted: fn(&str) -> bool| {
            names.iter().find_map(|name| Some((*name, value(name).filter(|text| wanted(text))?)))
        };
        let some: fn(&str) -> bool = |text| !text.is_empty();
        let not = any(&["no_proxy", "NO_PROXY"], some).map(|(_, not)| not).unwrap_or_default();
        let not = not.split(',').map(|one| one.trim().to_ascii_lowercase());
        let not = not.filter(|one| !one.is_empty()).collect();
        let http = any(&["http_proxy", "HTTP_PROXY"], some);
        // One of another scheme is meant for what speaks that.
        let http = http.or_else(|| any(&["all_proxy", "ALL_PROXY"], is_http));
        let http = http.map(|(name, text)| {
            let wrong = || format!("the proxy of the machine ({name}) is no http address");
            proxy(&text).ok_or_else(wrong)
        });
        Self { http, not }
    }

    /// The proxy that a host is asked through.
    fn of(&self, host: &str) -> Result<Option<&Proxy>, String> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_not = |one: &String| {
            let one = one.trim_start_matches('.');
            one == "*" || one == host || one == name || name.ends_with(&format!(".{one}"))
        };
        match &self.http {
            Some(http) if !self.not.iter().any(is_not) => {
                http.as_ref().map(Some).map_err(Clone::clone)
            }
            _ => Ok(None),
        }
    }
}

fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("http", |(scheme, _)| scheme);
    !text.is_empty() && scheme.eq_ignore_ascii_case("http")
}

/// A proxy by its address.
fn proxy(text: &str) -> Option<Proxy> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = address(&full)?;
    let (host, _) = split(&url)?;
    let authority = full["http://".len()..].split(['/', '?']).next().unwrap_or_default();
    let who = authority.rsplit_once('@').map(|(who, _)| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(percent_decoded(who)))
    });
    Some((with_port(host), who))
}

/// A part of an address with its escaped characters as they are.
#[must_use]
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let escaped = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    bytes
}

/// Host and path of an address.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some(rest.split_at(end))
}

fn with_port(host: &str) -> String {
    // The colons of an IPv6 address are within brackets.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { host.to_owned() } else { format!("{host}:80") }
}

/// An answer, and where its content comes from.
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Box<dyn Read + Send>,
}

/// Asks for all of what is at an address.
///
/// # Errors
/// When there is no answer, or one that is no HTTP.
pub(super) fn ask(asked: &Asked, proxies: &Proxies) -> std::io::Result<Answer> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let (host, path) = split(&asked.url).ok_or_else(|| wrong("no http address"))?;
    let proxy = proxies.of(host).map_err(|why| Error::new(ErrorKind::InvalidInput, why))?;
    let stream = connect(&proxy.map_or_else(|| with_port(host), |(at, _)| at.clone()))?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let method = if asked.head { "HEAD" } else { "GET" };
    let target = if proxy.is_some() { &asked.url } else { path };
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Accept-Encoding: identity\r\n"
    );
    let mut field = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    };
    field("Accept", Some(asked.accept.as_ref().unwrap_or(&"*/*".to_owned())));
    field("User-Agent", asked.user_agent.as_ref());
    field("Authorization", asked.authorization.as_ref());
    field("Proxy-Authorization", proxy.and_then(|(_, who)| who.as_ref()));
    text.push_str("\r\n");
    (&stream).write_all(text.as_bytes())?;
    let mut reader = BufReader::new(stream);
    loop {
        let (head, pieces) = read_head(&mut reader)?;
        // What is said on the way to the answer.
        if (100..200).contains(&head.status) {
            continue;
        }
        let has_content = !asked.head && (200..300).contains(&head.status) && head.status != 204;
        let body: Box<dyn Read + Send> = match head.length {
            _ if !has_content => Box::new(std::io::empty()),
            _ if pieces => Box::new(Pieces { from: reader, left: 0, state: Piece::First }),
            Some(length) => Box::new(Exactly { from: reader, left: length, length }),
            None => Box::new(reader),
        };
        let length = head.length.filter(|_| !pieces);
        return Ok(Answer { head: Head { length, ..head }, body });
    }
}

fn connect(to: &str) -> std::io::Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "the name of the server stands for nothing");
    for at in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&at, STALL) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The head of an answer, and whether the content comes in pieces.
fn read_head(from: &mut impl BufRead) -> std::io::Result<(Head, bool)> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    let mut limited = from.take(LONGEST);
    loop {
        let before = bytes.len();
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        if matches!(&bytes[before..], b"\r\n" | b"\n") {
            break;
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(&bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(wrong("its answer is no HTTP")),
    }
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    let (mut kept, mut pieces) = (BTreeMap::new(), false);
    for field in response.headers {
        let name = field.name.to_ascii_lowercase();
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        match name.as_str() {
            "content-length" => {
                let length = value.parse().map_err(|_| wrong("its answer has no length"))?;
                if head.length.is_some_and(|other| other != length) {
                    return Err(wrong("its answer has two lengths"));
                }
                head.length = Some(length);
            }
            "transfer-encoding" => {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(wrong("its answer comes in a form that is not known here"));
                }
                pieces = true;
            }
            // A field that is no plain text is nothing that can be recorded.
            name if PINNED_FIELDS.contains(&name)
                && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) =>
            {
                // The command is told what is recorded, or a replay would tell it something else.
                let value = match name {
                    "location" => without_credentials(value),
                    _ => value.to_owned(),
                };
                kept.insert(name.to_owned(), value);
            }
            _ => {}
        }
    }
    // An error has no content that they would say something of.
    if head.status < 400 {
        head.fields = kept;
    }
    Ok((head, pieces))
}

/// A content of a length that was said.
struct Exactly<R> {
    from: R,
    left: u64,
    length: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = Read::take(&mut self.from, self.left).read(into)?;
        if count == 0 && self.left > 0 && !into.is_empty() {
            let what = format!("it ended {} bytes before its {}", self.left, self.length);
            return Err(Error::new(ErrorKind::UnexpectedEof, what));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A content in pieces, each after its length.
struct Pieces<R> {
    from: R,
    left: u64,
    state: Piece,
}

#[derive(PartialEq)]
enum Piece {
    First,
    Next,
    Done,
}

impl<R: BufRead> Pieces<R> {
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        Read::take(&mut self.from, LONGEST).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(Error::new(ErrorKind::UnexpectedEof, "it ended within a piece"));
        }
        let text = String::from_utf8(line).unwrap_or_default();
        Ok(text.trim_end_matches('\r').to_owned())
    }

    fn next(&mut self) -> std::io::Result<()> {
        let wrong = || Error::new(ErrorKind::InvalidData, "its pieces have no lengths");
        if self.state == Piece::Next && !self.line()?.is_empty() {
            return Err(wrong());
        }
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        self.left = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
        self.state = if self.left == 0 { Piece::Done } else { Piece::Next };
        // What may follow the last piece.
        while self.state == Piece::Done && !self.line()?.is_empty() {}
        Ok(())
    }
}

impl<R: BufRead> Read for Pieces<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && self.state != Piece::Done {
            self.next()?;
        }
        if self.state == Piece::Done || into.is_empty() {
            return Ok(0);
        }
        let count = Read::take(&mut self.from, self.left).read(into)?;
        if count == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "it ended within a piece"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
