//! What goes wrong, where, and how often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Request;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// A function that may have an answer to a request.
pub type Ask = Arc<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// What goes wrong. With [`Rule::connections`] bytes are counted from the beginning of a
/// connection, with [`Rule::on`] from the beginning of the body of a request or its answer.
#[derive(Clone)]
pub enum Fault {
    /// Every chunk (of at most 64 KiB) waits so long, in both directions.
    Delay(Duration),
    /// After so many bytes both sides find the connection closed. What was announced by a
    /// Content-Length is so truncated.
    Cut {
        /// In which direction bytes are counted.
        way: Way,
        /// How many still pass.
        after: u64,
    },
    /// After so many bytes nothing more moves, while the connection stays open.
    Stall {
        /// In which direction bytes are counted.
        way: Way,
        /// How many still pass.
        after: u64,
    },
    /// The byte at this offset, if it is reached, arrives with all its bits turned over.
    Flip {
        /// In which direction.
        way: Way,
        /// Which one, from 0.
        at: u64,
    },
    /// The server never sees the request, and the client gets this. Only for requests.
    Answer(Answer),
    /// As [`Fault::Answer`], where a function has an answer; otherwise the server is asked. It
    /// does not see bodies of requests. Only for requests.
    Ask(Ask),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(time) => write!(f, "Delay({time:?})"),
            Self::Cut { way, after } => write!(f, "Cut({way:?} after {after})"),
            Self::Stall { way, after } => write!(f, "Stall({way:?} after {after})"),
            Self::Flip { way, at } => write!(f, "Flip({way:?} at {at})"),
            Self::Answer(answer) => write!(f, "Answer({})", answer.status),
            Self::Ask(_) => f.write_str("Ask"),
        }
    }
}

/// An answer that is not the server's.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers; `Content-Length` is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer with a status and a short body that says so.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: format!("the proxy says {status}\n").into() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub struct Rule {
    scope: Scope,
    fault: Fault,
    skip: u64,
    times: u64,
}

#[derive(Clone, Debug)]
enum Scope {
    Connections,
    Requests { method: String, path: String },
}

impl Rule {
    /// On every new connection.
    #[must_use]
    pub fn connections(fault: Fault) -> Self {
        Self { scope: Scope::Connections, fault, skip: 0, times: u64::MAX }
    }

    /// On every request with this method (`*` for any) and a path that begins so; a `*` in it
    /// stands for anything. The query is part of the path.
    #[must_use]
    pub fn on(method: &str, path: &str, fault: Fault) -> Self {
        let scope = Scope::Requests { method: method.to_owned(), path: path.to_owned() };
        Self { scope, fault, skip: 0, times: u64::MAX }
    }

    /// The first so many that it would meet it leaves alone.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// It happens so many times, and then no more.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// Whether it is used up.
    pub(super) fn spent(&self) -> bool {
        self.times == 0
    }

    /// What happens to this connection (`None`) or request. Counts it.
    pub(super) fn take(&mut self, request: Option<&Request>) -> Option<Fault> {
        let meets = match (&self.scope, request) {
            (Scope::Connections, None) => true,
            (Scope::Requests { method, path }, Some(request)) => {
                matches(method, path, &request.method, &request.path)
            }
            _ => false,
        };
        if !meets || self.times == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.fault.clone())
    }
}

/// Whether a request is meant by a method and the beginning of a path.
pub(super) fn matches(method: &str, pattern: &str, its_method: &str, its_path: &str) -> bool {
    if method != "*" && !method.eq_ignore_ascii_case(its_method) {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = its_path.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// What a chunk of bytes meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it goes on.
    Pass,
    /// So much goes on, and then the connection is closed.
    Cut(usize),
    /// So much goes on, and then nothing any more.
    Stall(usize),
}

/// What happens in one direction, and how far it has come.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    faults: Vec<Fault>,
    way: Way,
    passed: u64,
}

impl Gate {
    pub(super) fn new(faults: &[Fault], way: Way) -> Self {
        Self { faults: faults.to_vec(), way, passed: 0 }
    }

    /// How long each chunk waits.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::Delay(time) => Some(*time),
            _ => None,
        })
    }

    /// Lets a chunk through, perhaps changed.
    pub(super) fn admit(&mut self, chunk: &mut [u8]) -> Verdict {
        let begin = self.passed;
        let length = chunk.len() as u64;
        self.passed += length;
        let mut verdict = Verdict::Pass;
        let within = |at: u64| usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX);
        for fault in &self.faults {
            match fault {
                Fault::Flip { way, at }
                    if *way == self.way && (begin..begin + length).contains(at) =>
                {
                    chunk[within(*at)] ^= 0xff;
                }
                Fault::Cut { way, after } if *way == self.way && *after <= self.passed => {
                    verdict = Verdict::Cut(within(*after));
                }
                Fault::Stall { way, after } if *way == self.way && *after <= self.passed => {
                    verdict = Verdict::Stall(within(*after));
                }
                _ => {}
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_beginning_with_holes() {
        let is = |pattern, path| matches("GET", pattern, "GET", path);
        assert!(is("/v2/", "/v2/a/blobs/x"));
        assert!(is("/v2/*/blobs/", "/v2/a/b/blobs/x"));
        assert!(!is("/v2/*/blobs/", "/v2/a/manifests/x"));
        assert!(!is("/cas/", "/x/cas/"));
        assert!(matches("*", "", "PUT", "/"));
        assert!(!matches("GET", "", "PUT", "/"));
    }

    #[test]
    fn bytes_are_counted_over_chunks() {
        let faults = [Fault::Flip { way: Way::Up, at: 5 }, Fault::Cut { way: Way::Up, after: 7 }];
        let mut gate = Gate::new(&faults, Way::Up);
        assert_eq!(gate.admit(&mut [0; 4]), Verdict::Pass);
        let mut second = [0; 4];
        assert_eq!(gate.admit(&mut second), Verdict::Cut(3));
        assert_eq!(second, [0, 0xff, 0, 0]);
        assert_eq!(Gate::new(&faults, Way::Down).admit(&mut [0; 9]), Verdict::Pass);
    }
}
