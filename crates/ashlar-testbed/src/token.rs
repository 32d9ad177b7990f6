//! Tokens: a server that hands them out as registries expect, and the few formats they need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::certificates::{openssl, self_signed};
use crate::{READER, WRITER};

/// The name of the service and of the issuer.
pub(crate) const REALM: &str = "tests";

/// The alphabet of RFC 4648, 4.
pub(crate) const STANDARD: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The alphabet of RFC 4648, 5; tokens have no padding.
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base 64: padded in the standard alphabet only.
pub(crate) fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            (0..3).fold(0usize, |word, n| word << 8 | usize::from(*chunk.get(n).unwrap_or(&0)));
        for n in 0..4 {
            if n <= chunk.len() {
                text.push(char::from(alphabet[word >> (18 - 6 * n) & 63]));
            } else if alphabet == STANDARD {
                text.push('=');
            }
        }
    }
    text
}

/// The seconds of now.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs())
}

/// A token that is signed with a shared secret.
pub(crate) fn hs256(secret: &str, claims: &str) -> String {
    let text = unsigned(r#"{"alg":"HS256","typ":"JWT"}"#, claims);
    let mac =
        filter(openssl().args(["dgst", "-sha256", "-binary", "-hmac", secret]), text.as_bytes());
    format!("{text}.{}", base64(&mac, URL))
}

fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", base64(header.as_bytes(), URL), base64(claims.as_bytes(), URL))
}

/// What a program makes of its standard input.
fn filter(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let run = |command: &mut Command| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        child.wait_with_output()
    };
    let output = run(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    output.stdout
}

/// A server of tokens. Whoever gives no name, or is [`READER`], gets `pull` of whatever they ask
/// for; [`WRITER`] gets all of it; a wrong password is answered with 401.
#[derive(Debug)]
pub(crate) struct Authority {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    folder: TempDir,
    /// The certificate as a token's header carries it.
    chain: String,
    given: AtomicU64,
    seconds: AtomicU64,
    requests: Mutex<Vec<String>>,
    ending: AtomicBool,
}

impl Authority {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ashlar-tokens-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let certificate = folder.path().join("token.pem");
        self_signed(&certificate, &folder.path().join("token.key"), "token");
        let pem = std::fs::read_to_string(&certificate).unwrap_or_default();
        let chain = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let listener = TcpListener::bind(("127.0.0.1", 0));
        let listener = listener.unwrap_or_else(|error| panic!("the server of tokens: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let shared = Arc::new(Shared {
            folder,
            chain,
            given: AtomicU64::new(0),
            seconds: AtomicU64::new(300),
            requests: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                if serving.ending.load(Ordering::Relaxed) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // A client that goes away in the middle is its own concern.
                std::thread::spawn(move || drop(serving.serve(stream)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Where clients are sent.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate whose key signs.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.shared.folder.path().join("token.pem")
    }

    pub(crate) fn given(&self) -> u64 {
        self.shared.given.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_seconds(&self, seconds: u64) {
        self.shared.seconds.store(seconds, Ordering::Relaxed);
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes it, so that it sees that it is to end.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // What went wrong in there shows in the test itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Answers one request.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let (mut length, mut login) = (0, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => login = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = String::new();
        reader.by_ref().take(length).read_to_string(&mut body)?;
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let method = first.split(' ').next().unwrap_or_default();
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{method} {target} {body}").trim_end().to_owned());
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let parameters = parameters(&format!("{query}&{body}"));
        let answer = match self.token(login.as_deref(), &parameters) {
            Some(token) => {
                let seconds = self.seconds.load(Ordering::Relaxed);
                let text = format!(
                    r#"{{"token":"{token}","access_token":"{token}","expires_in":{seconds}}}"#
                );
                self.given.fetch_add(1, Ordering::Relaxed);
                ("200 OK", text)
            }
            None => (
                "401 Unauthorized",
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong name or password"}]}"#
                    .to_owned(),
            ),
        };
        let (status, text) = answer;
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{text}",
            text.len()
        )
    }

    /// A token for who asks; `None` when they are not who they say.
    fn token(&self, login: Option<&str>, parameters: &[(String, String)]) -> Option<String> {
        let all = |name: &str| {
            let found = parameters.iter().filter(move |(key, _)| key == name);
            found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
        let basic = |known: &crate::Login| login == Some(&format!("Basic {}", known.basic()));
        let form = |known: &crate::Login| {
            first("username") == known.user && first("password") == known.password
        };
        let user = [WRITER, READER].into_iter().find(|known| basic(known) || form(known));
        if user.is_none() && (login.is_some() || !first("username").is_empty()) {
            return None;
        }
        let scopes = all("scope");
        let access: Vec<String> = scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let allowed = actions.split(',').filter(|it| user == Some(WRITER) || *it == "pull");
                let actions: Vec<String> = allowed.map(|action| format!("\"{action}\"")).collect();
                let actions = actions.join(",");
                Some(format!(r#"{{"type":"{kind}","name":"{name}","actions":[{actions}]}}"#))
            })
            .collect();
        let (access, now) = (access.join(","), now());
        let until = now + self.seconds.load(Ordering::Relaxed);
        let who = user.map_or("", |user| user.user);
        let serial = self.given.load(Ordering::Relaxed);
        let claims = format!(
            r#"{{"iss":"{REALM}","sub":"{who}","aud":"{REALM}","exp":{until},"nbf":{},"iat":{now},"jti":"{serial}","access":[{access}]}}"#,
            now - 10
        );
        Some(self.signed(&claims))
    }

    fn signed(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","x5c":["{}"]}}"#, self.chain);
        let text = unsigned(&header, claims);
        let key: &Path = &self.folder.path().join("token.key");
        let der = filter(openssl().args(["dgst", "-sha256", "-sign"]).arg(key), text.as_bytes());
        format!("{text}.{}", base64(&plain(&der), URL))
    }
}

/// The two numbers of an ECDSA signature, 32 bytes each, out of the DER that openssl writes:
/// a sequence (30 length) of two integers (02 length bytes).
fn plain(der: &[u8]) -> Vec<u8> {
    let mut at = 2;
    let mut both = Vec::with_capacity(64);
    for _ in 0..2 {
        let length = usize::from(der[at + 1]);
        let number = &der[at + 2..at + 2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        both.resize(both.len() + 32 - number.len(), 0);
        both.extend_from_slice(number);
        at += 2 + length;
    }
    both
}

/// The parameters of a query or a form.
fn parameters(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes(), STANDARD), text);
            assert_eq!(base64(bytes.as_bytes(), URL), text.trim_end_matches('='));
        }
    }

    #[test]
    fn forms_are_decoded() {
        assert_eq!(
            parameters("scope=repository%3Aa%2Fb:pull&x=1+2&"),
            [
                ("scope".to_owned(), "repository:a/b:pull".to_owned()),
                ("x".to_owned(), "1 2".to_owned())
            ]
        );
    }
}
