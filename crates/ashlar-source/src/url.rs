//! Files at addresses.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_object::{Digest, Hasher};
use ashlar_store::{Detached, detached};

use crate::SourceError;

/// Says whether nobody wants any more what is under way.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// How often an address is tried before the next one.
const TRIES: u32 = 3;
/// After how long without a byte a connection counts as broken.
const STALL: Duration = Duration::from_secs(30);
/// How long is waited before the second try; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked whether to go on while nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// How many bytes a resumed transfer must bring for the tries to be counted anew.
const PROGRESS: u64 = 1 << 20;

/// Why a file at an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not 64 hexadecimal digits.
    #[error("`{0}` is not a SHA-256: 64 hexadecimal digits")]
    Sha256(String),
    /// An address that cannot be used.
    #[error("`{url}` {what}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server answered with an error.
    #[error("{url}: the server answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// No whole answer.
    #[error("{url}: {why}")]
    Transport {
        /// The address.
        url: String,
        /// Why not.
        why: Box<ureq::Error>,
    },
    /// The connection broke off or stalled, again and again.
    #[error("{url}: the transfer broke off after {got} bytes: {why}")]
    Broken {
        /// The address.
        url: String,
        /// How many bytes had come.
        got: u64,
        /// What the connection said last.
        why: std::io::Error,
    },
    /// The file is not the one that was meant.
    #[error("{url} has the wrong content: expected SHA-256 {expected}, got {got}")]
    Checksum {
        /// The address.
        url: String,
        /// The SHA-256 it should have.
        expected: String,
        /// The SHA-256 it has.
        got: String,
    },
    /// A local file cannot be read.
    #[error("cannot read {url}: {why}")]
    File {
        /// The address.
        url: String,
        /// Why not.
        why: std::io::Error,
    },
    /// None of several addresses gives the file.
    #[error("no address has the file:{}", .0.iter().map(|e| format!("\n  {e}")).collect::<String>())]
    All(Vec<UrlError>),
}

impl UrlError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Checksum { .. } => Some(
                "the file was changed where it is served, or the checksum that is written down is \
                 wrong: compare with what its makers publish before you change it"
                    .to_owned(),
            ),
            Self::All(all) => all.iter().find_map(Self::advice),
            Self::Status { status: 404 | 410, .. } => {
                Some("the file is gone from there: correct `url` or add `mirrors`".to_owned())
            }
            Self::Status { .. }
            | Self::Transport { .. }
            | Self::Broken { .. }
            | Self::File { .. }
            | Self::Address { .. }
            | Self::Sha256(_) => None,
        }
    }
}

/// The last part of an address, for a file that is not unpacked.
pub(crate) fn file_name(url: &str) -> Result<String, UrlError> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let name = path.rsplit('/').next().unwrap_or_default();
    match ashlar_object::Name::new(name.as_bytes()) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => {
            Err(UrlError::Address { url: url.to_owned(), what: "does not end in a file name" })
        }
    }
}

/// Gets the file from the first address that has it. `local_only` leaves out all but `file:`.
/// `stop` is asked while something comes.
pub(crate) fn download(
    urls: &[&str],
    sha256: &[u8; 32],
    local_only: bool,
    to: &Path,
    stop: Stop<'_>,
) -> Result<(), SourceError> {
    download_with(&agent(), urls, sha256, local_only, to, stop)
}

fn download_with(
    agent: &ureq::Agent,
    urls: &[&str],
    sha256: &[u8; 32],
    local_only: bool,
    to: &Path,
    stop: Stop<'_>,
) -> Result<(), SourceError> {
    let mut errors = Vec::new();
    for url in urls {
        let result = if url.starts_with("file:") {
            copy_file(url, sha256, to, stop)
        } else if !(url.starts_with("http://") || url.starts_with("https://")) {
            Err(address(url, "is no http, https or file address").into())
        } else if local_only {
            continue;
        } else {
            fetch(agent, url, sha256, to, stop)
        };
        match result {
            Ok(()) => return Ok(()),
            Err(SourceError::Url(e)) => errors.push(e),
            Err(other) => return Err(other),
        }
    }
    if local_only && errors.len() < urls.len() {
        return Err(SourceError::Offline {
            what: urls.first().map(|url| (*url).to_owned()).into_iter().collect(),
        });
    }
    match errors.len() {
        1 => Err(errors.remove(0).into()),
        _ => Err(UrlError::All(errors).into()),
    }
}

fn agent() -> ureq::Agent {
    // Proxies come from the environment (`http_proxy`, `no_proxy`, …); ureq reads it by itself.
    ureq::Agent::config_builder()
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .build(),
        )
        .http_status_as_error(false)
        .timeout_resolve(Some(STALL))
        .timeout_connect(Some(STALL))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        .user_agent(concat!("ashlar/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// What one attempt left.
enum Attempt {
    Done,
    /// Trying again could help.
    Again(UrlError),
    Final(UrlError),
}

/// The part of a file that has come, and the tag of the version it belongs to.
struct Partial {
    file: File,
    hasher: Hasher,
    got: u64,
    tag: Option<String>,
}

fn fetch(
    agent: &ureq::Agent,
    url: &str,
    sha256: &[u8; 32],
    to: &Path,
    stop: Stop<'_>,
) -> Result<(), SourceError> {
    let file = File::create(to).map_err(SourceError::io("create", to))?;
    let mut partial = Partial { file, hasher: Hasher::new(), got: 0, tag: None };
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    loop {
        let before = partial.got;
        let resumed = before > 0;
        let attempt = attempt(agent, url, &mut partial, to, stop)?;
        let error = match attempt {
            Attempt::Done => {
                let got = std::mem::take(&mut partial.hasher).finish();
                if got.hash == *sha256 {
                    return Ok(());
                }
                // Two halves of different versions: once more from the start.
                let error = checksum(url, sha256, &got);
                if !resumed {
                    return Err(error.into());
                }
                partial.restart(to)?;
                error
            }
            Attempt::Again(error) => error,
            Attempt::Final(error) => return Err(error.into()),
        };
        // As long as a good part more comes each time, a bad line still gets there.
        tries = if resumed && partial.got >= before + PROGRESS { 1 } else { tries + 1 };
        if tries >= TRIES {
            return Err(error.into());
        }
        let go_on = Instant::now() + pause;
        while Instant::now() < go_on {
            if stop() {
                return Err(SourceError::Stopped);
            }
            std::thread::sleep(TICK.min(go_on.saturating_duration_since(Instant::now())));
        }
        pause = (pause * 2).min(STALL);
    }
}

impl Partial {
    fn restart(&mut self, to: &Path) -> Result<(), SourceError> {
        self.file.set_len(0).map_err(SourceError::io("write", to))?;
        self.file.seek(SeekFrom::Start(0)).map_err(SourceError::io("write", to))?;
        self.hasher = Hasher::new();
        self.got = 0;
        self.tag = None;
        Ok(())
    }
}

fn attempt(
    agent: &ureq::Agent,
    url: &str,
    partial: &mut Partial,
    to: &Path,
    stop: Stop<'_>,
) -> Result<Attempt, SourceError> {
    // Not compressed on the way: the checksum is that of the file itself.
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if partial.got > 0 {
        request = request.header("Range", format!("bytes={}-", partial.got));
        if let Some(tag) = &partial.tag {
            request = request.header("If-Range", tag);
        }
    }
    // A server that says nothing holds a thread of its own.
    let go_on = || !stop();
    let asked = detached(move || request.call(), &go_on);
    let response = match asked.map_err(SourceError::io("ask for", Path::new(url)))? {
        None => return Err(SourceError::Stopped),
        Some(Ok(response)) => response,
        Some(Err(why)) => {
            let again = may_pass(&why);
            let error = UrlError::Transport { url: url.to_owned(), why: Box::new(why) };
            return Ok(if again { Attempt::Again(error) } else { Attempt::Final(error) });
        }
    };
    let status = response.status().as_u16();
    match status {
        206 if continues(&response, partial.got) => {}
        200 => partial.restart(to)?,
        206 | 416 => {
            // The rest of something else.
            partial.restart(to)?;
            return Ok(Attempt::Again(UrlError::Status { url: url.to_owned(), status }));
        }
        408 | 425 | 429 | 500..=599 => {
            return Ok(Attempt::Again(UrlError::Status { url: url.to_owned(), status }));
        }
        _ => return Ok(Attempt::Final(UrlError::Status { url: url.to_owned(), status })),
    }
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    // A weak tag does not promise equal bytes.
    partial.tag = header("etag").filter(|tag| !tag.starts_with("W/"));
    let body = Box::new(response.into_body().into_reader());
    let mut body = Detached::new(body, &go_on, || std::io::ErrorKind::TimedOut.into())
        .map_err(SourceError::io("read", Path::new(url)))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(Attempt::Done),
            Ok(count) => count,
            Err(_) if stop() => return Err(SourceError::Stopped),
            Err(why) => {
                let got = partial.got;
                return Ok(Attempt::Again(UrlError::Broken { url: url.to_owned(), got, why }));
            }
        };
        partial.file.write_all(&buffer[..count]).map_err(SourceError::io("write", to))?;
        partial.hasher.update(&buffer[..count]);
        partial.got += count as u64;
    }
}

/// Whether an answer to a request for the rest is that rest: `bytes <from>-…`.
fn continues<B>(response: &ureq::http::Response<B>, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next())
        .is_some_and(|first| first.trim() == from.to_string())
}

/// Whether an error can be gone the next time.
fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(e) => e.kind() != std::io::ErrorKind::InvalidInput,
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

fn copy_file(url: &str, sha256: &[u8; 32], to: &Path, stop: Stop<'_>) -> Result<(), SourceError> {
    let path = file_path(url)?;
    let failed = |why| UrlError::File { url: url.to_owned(), why };
    let mut from = File::open(path).map_err(failed)?;
    let mut out = File::create(to).map_err(SourceError::io("create", to))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer).map_err(failed)? {
            0 => break,
            _ if stop() => return Err(SourceError::Stopped),
            count => {
                out.write_all(&buffer[..count]).map_err(SourceError::io("write", to))?;
                hasher.update(&buffer[..count]);
            }
        }
    }
    let got = hasher.finish();
    if got.hash == *sha256 { Ok(()) } else { Err(checksum(url, sha256, &got).into()) }
}

/// The path of a `file:` address, with its `%` escapes resolved (RFC 8089).
fn file_path(url: &str) -> Result<PathBuf, UrlError> {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(address(url, "names another machine or no absolute path"));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

fn checksum(url: &str, expected: &[u8; 32], got: &Digest) -> UrlError {
    let expected = Digest { hash: *expected, size: 0 }.hex();
    UrlError::Checksum { url: url.to_owned(), expected, got: got.hex() }
}

fn address(url: &str, what: &'static str) -> UrlError {
    UrlError::Address { url: url.to_owned(), what }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
