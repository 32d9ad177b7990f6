//! A request that a command makes of the proxy.

use std::io::{BufRead, Error, ErrorKind};

/// The longest head of a request, in bytes.
const LONGEST: usize = 64 << 10;
/// The most fields in it.
const FIELDS: usize = 128;

/// What is asked for, and how.
#[derive(Debug, Default)]
pub struct Asked {
    /// The address, in one spelling: see [`address`].
    pub(super) url: String,
    /// Whether only the head is asked for.
    pub(super) head: bool,
    /// Whether the connection is closed after the answer.
    pub(super) close: bool,
    /// Whether it speaks HTTP/1.0, which knows no pieces; its connections are always closed.
    pub(super) old: bool,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_modified_since: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) authorization: Option<String>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// A request that can be answered.
    Asked(Box<Asked>),
    /// One that cannot, why, and what is said of it to whoever reads the log.
    Refused(u16, String),
    /// Nothing: the connection is over.
    End,
}

/// Reads the next request of a connection.
pub(super) fn read(from: &mut impl BufRead) -> std::io::Result<Came> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let limit = (LONGEST - before) as u64;
        let count = std::io::Read::take(&mut *from, limit).read_until(b'\n', &mut head)?;
        if count == 0 {
            return match before {
                0 => Ok(Came::End),
                LONGEST => Ok(Came::Refused(431, "a request that is too long".to_owned())),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        }
        let line = &head[before..];
        if line == b"\r\n" || line == b"\n" {
            if before > 0 {
                break;
            }
            // Some send an empty line after the one before.
            head.clear();
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => {
            return Ok(Came::Refused(400, "a request that is no HTTP".to_owned()));
        }
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    if method == "CONNECT" {
        return Ok(Came::Refused(
            403,
            format!("a connection to {target} that nobody can look into (https)"),
        ));
    }
    if method != "GET" && method != "HEAD" {
        return Ok(Came::Refused(405, format!("{method} {}", without_query(target))));
    }
    let Some(url) = address(target) else {
        return Ok(Came::Refused(400, format!("`{}`, which is no http address", shown(target))));
    };
    let mut asked = Asked {
        url,
        head: method == "HEAD",
        old: request.version == Some(0),
        close: request.version == Some(0),
        ..Asked::default()
    };
    for field in request.headers {
        let name = field.name.to_ascii_lowercase();
        let value = std::str::from_utf8(field.value)
            .map_err(|_| Error::new(ErrorKind::InvalidData, "a field that is no text"))?;
        let value = value.trim().to_owned();
        match name.as_str() {
            "range" => asked.range = Some(value),
            "if-range" => asked.if_range = Some(value),
            "if-none-match" => asked.if_none_match = Some(value),
            "if-modified-since" => asked.if_modified_since = Some(value),
            "accept" => asked.accept = Some(value),
            "user-agent" => asked.user_agent = Some(value),
            "authorization" => asked.authorization = Some(value),
            "connection" | "proxy-connection" => {
                let value = value.to_ascii_lowercase();
                asked.close |= value.contains("close");
            }
            "content-length" if value != "0" => {
                return Ok(Came::Refused(400, format!("{method} {} with content", asked.url)));
            }
            "transfer-encoding" => {
                return Ok(Came::Refused(400, format!("{method} {} with content", asked.url)));
            }
            _ => {}
        }
    }
    Ok(Came::Asked(Box::new(asked)))
}

/// An http address in the one spelling that is recorded: without credentials and fragment, the
/// host in lower case, without the usual port, with a path.
pub(super) fn address(target: &str) -> Option<String> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let scheme = target.get(..7).filter(|start| start.eq_ignore_ascii_case("http://"))?;
    let rest = target[scheme.len()..].split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix(":80").unwrap_or(&host);
    if host.is_empty() || host.starts_with(':') {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("http://{host}{slash}{path}"))
}

fn without_query(target: &str) -> String {
    shown(target.split('?').next().unwrap_or(target))
}

/// A text that others wrote, for a line of ours.
fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(200).collect()
}
