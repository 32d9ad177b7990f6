//! HTTP/1.1, as much as a proxy has to understand: heads, and where bodies end (RFC 9112, 6).

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rules::Gate;
use super::wire::{CHUNK, Payload, Pipe, connect};
use super::{Answer, Entry, Fault, Request, Shared, Way};

/// How much a head may have.
const HEAD: u64 = 256 * 1024;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(u64),
    Chunked,
    UntilEnd,
}

/// The head of a request or an answer.
struct Head {
    bytes: Vec<u8>,
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        // Who tries TLS first waits for an answer that an end of line would bring.
        if from.fill_buf()?.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        loop {
            let begin = bytes.len();
            from.by_ref().take(HEAD).read_until(b'\n', &mut bytes)?;
            let line = &bytes[begin..];
            if line.is_empty() && begin == 0 {
                return Ok(None);
            }
            if bytes.len() as u64 > HEAD || !line.ends_with(b"\n") {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if line == b"\r\n" || line == b"\n" {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let headers = headers.collect();
        Ok(Some(Self { bytes, first, headers }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Where its body ends; `otherwise` when it does not say.
    fn body(&self, otherwise: Body) -> Body {
        if self.header("transfer-encoding").is_some_and(|it| it.to_lowercase().contains("chunked"))
        {
            return Body::Chunked;
        }
        self.header("content-length").and_then(|it| it.parse().ok()).map_or(otherwise, Body::Length)
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"))
            || self.first.ends_with("HTTP/1.0")
            || self.first.starts_with("HTTP/1.0")
    }
}

/// Serves the requests of a connection one after another.
pub(super) fn serve(shared: &Shared, connection: u64, client: &TcpStream) -> io::Result<()> {
    shared.keep(connection, client)?;
    let always = shared.faults(None);
    let mut from_client = BufReader::with_capacity(CHUNK, client.try_clone()?);
    let mut down = Pipe::new(shared, connection, client, Gate::new(&always, Way::Down), Way::Down)?;
    let mut server: Option<(Pipe<'_>, BufReader<TcpStream>)> = None;
    while let Some(mut head) = Head::read(&mut from_client)? {
        let mut words = head.first.split(' ');
        let request = Request {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            headers: head.headers.clone(),
            ..Request::default()
        };
        let faults = shared.faults(Some(&request));
        let entry = shared.begin(request);
        let mut answer = faults.iter().find_map(|fault| match fault {
            Fault::Answer(answer) => Some(answer.clone()),
            Fault::Ask(ask) => ask(&entry.head),
            _ => None,
        });
        if answer.is_none() && server.is_none() {
            match connect(shared, connection, client) {
                Ok(stream) => {
                    let gate = Gate::new(&always, Way::Up);
                    let up = Pipe::new(shared, connection, &stream, gate, Way::Up)?;
                    server = Some((up, BufReader::with_capacity(CHUNK, stream)));
                }
                // What a proxy says whose server is away.
                Err(_) => answer = Some(Answer::status(502)),
            }
        }
        let exchange = Exchange { head: &mut head, entry: &entry, faults: &faults };
        let goes_on = match (answer, &mut server) {
            (Some(answer), _) => exchange.answer(&answer, &mut from_client, &mut down)?,
            (None, Some((up, from_server))) => {
                exchange.pass_on((&mut from_client, up), (from_server, &mut down))?
            }
            (None, None) => false,
        };
        if !goes_on {
            break;
        }
    }
    down.finish();
    Ok(())
}

/// A request and what happens to it.
struct Exchange<'a> {
    head: &'a mut Head,
    entry: &'a Entry,
    faults: &'a [Fault],
}

type From<'a> = &'a mut BufReader<TcpStream>;

impl Exchange<'_> {
    /// Answers instead of the server. Whether another request may follow.
    fn answer(self, answer: &Answer, from: From<'_>, down: &mut Pipe<'_>) -> io::Result<bool> {
        // Who asks first whether to send a body does not send it; the connection ends then,
        // because it might after all.
        let expects = self.head.header("expect").is_some();
        if !expects {
            copy(from, self.head.body(Body::None), |_, _| Ok(()), &self.entry.up)?;
        }
        let mut text = format!("HTTP/1.1 {} \r\n", answer.status);
        for (name, value) in &answer.headers {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        // What follows an answer without a body would be taken for the beginning of the next one.
        let bodiless = matches!(answer.status, 204 | 304);
        let sized =
            answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if !bodiless && !sized {
            let _ = write!(text, "Content-Length: {}\r\n", answer.body.len());
        }
        if expects {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        self.entry.status.store(answer.status, Ordering::Relaxed);
        down.send(&mut text.into_bytes(), None)?;
        if self.entry.head.method != "HEAD" && !bodiless {
            let mut gate = Gate::new(self.faults, Way::Down);
            for chunk in answer.body.clone().chunks_mut(CHUNK) {
                down.send(chunk, Some(Payload { gate: &mut gate, count: &self.entry.down }))?;
            }
        }
        Ok(!expects && !self.head.closes())
    }

    /// Lets the server answer. Whether another request may follow.
    fn pass_on(
        self,
        (from_client, up): (From<'_>, &mut Pipe<'_>),
        (from_server, down): (From<'_>, &mut Pipe<'_>),
    ) -> io::Result<bool> {
        let closes = self.head.closes();
        let body = self.head.body(Body::None);
        let (bytes, entry, faults) = (&mut self.head.bytes, self.entry, self.faults);
        std::thread::scope(|scope| {
            // A server may answer before it has read everything, or ask for the body first.
            let upwards = scope.spawn(move || {
                up.send(bytes, None)?;
                let mut gate = Gate::new(faults, Way::Up);
                let send = |chunk: &mut [u8], payload: bool| {
                    let body = Payload { gate: &mut gate, count: &entry.up };
                    up.send(chunk, payload.then_some(body))
                };
                copy(from_client, body, send, &AtomicU64::new(0))
            });
            let downwards = relay(entry, faults, from_server, down);
            let ends = !matches!(downwards, Ok(true));
            if ends {
                // Nobody reads what is still being sent up.
                down.finish();
                super::cut(std::iter::once(from_server.get_ref()));
            }
            let upwards = upwards.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            Ok(!ends && upwards.is_ok() && !closes)
        })
    }
}

/// Passes an answer on. Whether the server goes on with this connection.
fn relay(entry: &Entry, faults: &[Fault], from: From<'_>, down: &mut Pipe<'_>) -> io::Result<bool> {
    loop {
        let Some(mut head) = Head::read(from)? else { return Ok(false) };
        let status = head.first.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        let last = !(100..200).contains(&status);
        if last {
            entry.status.store(status, Ordering::Relaxed);
        }
        down.send(&mut head.bytes, None)?;
        if !last {
            continue;
        }
        let body = match status {
            204 | 304 => Body::None,
            _ if entry.head.method == "HEAD" => Body::None,
            _ => head.body(Body::UntilEnd),
        };
        let mut gate = Gate::new(faults, Way::Down);
        let send = |chunk: &mut [u8], payload: bool| {
            let body = Payload { gate: &mut gate, count: &entry.down };
            down.send(chunk, payload.then_some(body))
        };
        copy(from, body, send, &AtomicU64::new(0))?;
        return Ok(body != Body::UntilEnd && !head.closes());
    }
}

/// Hands a body on in pieces, each with whether it is payload or framing; counts the payload.
fn copy(
    from: From<'_>,
    body: Body,
    mut send: impl FnMut(&mut [u8], bool) -> io::Result<()>,
    count: &AtomicU64,
) -> io::Result<()> {
    match body {
        Body::None => Ok(()),
        Body::Length(length) => payload(from, length, true, &mut send, count),
        Body::UntilEnd => payload(from, u64::MAX, false, &mut send, count),
        Body::Chunked => loop {
            let mut line = Vec::new();
            from.by_ref().take(HEAD).read_until(b'\n', &mut line)?;
            let digits = String::from_utf8_lossy(&line);
            let digits = digits.split([';', '\r', '\n']).next().unwrap_or_default().trim();
            let length = u64::from_str_radix(digits, 16);
            let length = length.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            send(&mut line, false)?;
            payload(from, length, true, &mut send, count)?;
            // The end of a chunk; after the last one perhaps trailers, and an empty line.
            loop {
                line.clear();
                from.by_ref().take(HEAD).read_until(b'\n', &mut line)?;
                if line.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                send(&mut line, false)?;
                if line == b"\r\n" {
                    break;
                }
            }
            if length == 0 {
                return Ok(());
            }
        },
    }
}

fn payload(
    from: From<'_>,
    length: u64,
    exact: bool,
    send: &mut impl FnMut(&mut [u8], bool) -> io::Result<()>,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let mut left = length;
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut chunk[..most])?;
        if read == 0 {
            return if exact { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
        }
        left -= read as u64;
        count.fetch_add(read as u64, Ordering::Relaxed);
        send(&mut chunk[..read], true)?;
    }
    Ok(())
}
