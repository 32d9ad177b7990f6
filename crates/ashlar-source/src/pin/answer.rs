//! An answer on its way to the command: whole, in part, or not at all because it is known there.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use super::ask::Asked;
use super::download::{Download, Head, Stop};

/// What is at an address.
pub struct Content {
    pub(super) head: Head,
    pub(super) body: Body,
}

/// Where a content is.
pub enum Body {
    /// Nowhere: there is none, or only the head is asked for.
    None,
    /// In the store.
    Stored(Box<dyn Read + Send>),
    /// On its way.
    Arriving(Arc<Download>),
}

impl Body {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Sends what was asked for. An error leaves the connection in the middle of something.
pub(super) fn send(
    out: &mut dyn Write,
    asked: &Asked,
    content: Content,
    stop: &Stop,
) -> std::io::Result<()> {
    let Content { head, body } = content;
    let field = |name: &str| head.fields.get(name).map(String::as_str);
    let mut text = String::new();
    for (name, value) in &head.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if head.status == 200 && is_known(asked, field("etag"), field("last-modified")) {
        return write_head(out, asked, 304, "Not Modified", &text, None);
    }
    let mut length = head.length;
    let wanted = asked.range.as_deref().filter(|_| head.status == 200 && !body.is_none());
    let wanted = wanted.filter(|_| is_same(asked, field("etag"), field("last-modified")));
    if let Body::Arriving(download) = &body
        && wanted.is_some()
        && length.is_none()
    {
        // A part can be told when it is known what it is a part of.
        length = Some(download.end(stop)?.map_err(std::io::Error::other)?.size);
    }
    let part = wanted.zip(length).and_then(|(range, length)| part(range, length));
    match part {
        Some(None) => {
            text.push_str(&format!("content-range: bytes */{}\r\n", length.unwrap_or_default()));
            write_head(out, asked, 416, "Range Not Satisfiable", &text, Some(0))
        }
        Some(Some(part)) => {
            text.push_str(&format!(
                "content-range: bytes {}-{}/{}\r\n",
                part.start,
                part.end - 1,
                length.unwrap_or_default()
            ));
            let count = part.end - part.start;
            write_head(out, asked, 206, "Partial Content", &text, Some(count))?;
            write_body(out, body, part.start, Some(count), false, stop)
        }
        None => {
            if head.status == 204 {
                // It ends with its head, whatever that says.
                write_head(out, asked, 204, reason(204), &text, None)?;
                return out.flush();
            }
            let said = if head.status >= 300 { Some(0) } else { length };
            let pieces = said.is_none() && !asked.head && !asked.old;
            if head.status == 200 {
                text.push_str("accept-ranges: bytes\r\n");
            }
            if pieces {
                text.push_str("transfer-encoding: chunked\r\n");
            }
            write_head(out, asked, head.status, reason(head.status), &text, said)?;
            write_body(out, body, 0, said, pieces, stop)
        }
    }
}

/// Says that something is not answered, and why.
pub(super) fn refuse(
    out: &mut dyn Write,
    asked: Option<&Asked>,
    status: u16,
    why: &str,
) -> std::io::Result<()> {
    // What many programs show is the line of the status and not the content.
    let why: String = why.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(400).collect();
    let (reason, body) = (format!("ashlar: {why}"), format!("ashlar: {why}\n"));
    let closing = Asked { close: true, ..Asked::default() };
    let asked = asked.unwrap_or(&closing);
    let fields = "content-type: text/plain\r\n";
    write_head(out, asked, status, &reason, fields, Some(body.len() as u64))?;
    if !asked.head {
        out.write_all(body.as_bytes())?;
    }
    out.flush()
}

fn write_head(
    out: &mut dyn Write,
    asked: &Asked,
    status: u16,
    reason: &str,
    fields: &str,
    length: Option<u64>,
) -> std::io::Result<()> {
    let length = length.map_or_else(String::new, |length| format!("content-length: {length}\r\n"));
    let connection = if asked.close { "close" } else { "keep-alive" };
    let head =
        format!("HTTP/1.1 {status} {reason}\r\n{fields}{length}connection: {connection}\r\n\r\n");
    out.write_all(head.as_bytes())
}

fn write_body(
    out: &mut dyn Write,
    body: Body,
    start: u64,
    count: Option<u64>,
    pieces: bool,
    stop: &Stop,
) -> std::io::Result<()> {
    let mut from: Box<dyn Read + '_> = match body {
        Body::None => return out.flush(),
        Body::Stored(mut content) => {
            std::io::copy(&mut (&mut content).take(start), &mut std::io::sink())?;
            content
        }
        Body::Arriving(download) => Box::new(Following { download, at: start, stop }),
    };
    let mut left = count.unwrap_or(u64::MAX);
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = match from.read(&mut buffer[..most]) {
            Ok(0) if count.is_some() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted && !stop.is_set() => continue,
            Err(e) => return Err(e),
        };
        if pieces {
            out.write_all(format!("{got:x}\r\n").as_bytes())?;
        }
        out.write_all(&buffer[..got])?;
        if pieces {
            out.write_all(b"\r\n")?;
        }
        left -= got as u64;
    }
    if pieces {
        out.write_all(b"0\r\n\r\n")?;
    }
    out.flush()
}

/// A content that arrives, from some place of it on.
struct Following<'a> {
    download: Arc<Download>,
    at: u64,
    stop: &'a Stop,
}

impl Read for Following<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let got = self.download.read_at(self.at, into, self.stop)?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Whether whoever asks has the content already.
fn is_known(asked: &Asked, etag: Option<&str>, modified: Option<&str>) -> bool {
    if let Some(tags) = &asked.if_none_match {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return etag.is_some_and(|etag| {
            tags.split(',').any(|tag| tag.trim() == "*" || weak(tag) == weak(etag))
        });
    }
    match (asked.if_modified_since.as_deref().and_then(date), modified.and_then(date)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether a part that is asked for is one of this content.
fn is_same(asked: &Asked, etag: Option<&str>, modified: Option<&str>) -> bool {
    match asked.if_range.as_deref() {
        None => true,
        Some(tag) if tag.starts_with('"') => etag == Some(tag),
        Some(tag) => date(tag).is_some_and(|tag| modified.and_then(date) == Some(tag)),
    }
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// The part of a content of some length that a range means: the inner `None` is none of it, the
/// outer one a range that is not understood, or several, for which the whole is sent.
fn part(range: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let part = match (first, last) {
        ("", last) => length.saturating_sub(number(last)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some((part.start < part.end).then_some(part))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        _ => "As Recorded",
    }
}
