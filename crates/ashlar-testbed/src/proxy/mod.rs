//! A proxy between a client and a server that misbehaves as a test tells it to.

mod http;
mod rules;
mod wire;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::port::Port;
pub use rules::{Answer, Ask, Fault, Rule, Way};

/// A proxy on a port of its own. It ends, with all connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How bytes are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Http,
}

/// One request that came by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Its headers, in their order.
    pub headers: Vec<(String, String)>,
    /// The status of the answer; 0 when none came.
    pub status: u16,
    /// Bytes of its body that passed.
    pub up: u64,
    /// Bytes of the answer's body that passed.
    pub down: u64,
}

impl Request {
    /// The value of a header, however its name is written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Bytes over all connections, with the heads of requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From clients to the server.
    pub up: u64,
    /// From the server to clients.
    pub down: u64,
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    server: Mutex<Option<SocketAddr>>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<Arc<Entry>>>,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ending: bool,
    refusing: bool,
    /// Whether the listener is there.
    listening: bool,
    /// The sockets of each connection.
    open: HashMap<u64, Vec<TcpStream>>,
    /// How often all connections were cut.
    cuts: u64,
    /// How many connections are being served.
    serving: usize,
}

/// A request while it goes on.
#[derive(Debug)]
struct Entry {
    head: Request,
    status: AtomicU16,
    up: AtomicU64,
    down: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// In front of a server that speaks anything; only rules for connections mean something.
    #[must_use]
    pub fn tcp(server: SocketAddr) -> Self {
        Self::launch(Some(server), Protocol::Tcp)
    }

    /// In front of a server that speaks HTTP/1.1 without TLS.
    #[must_use]
    pub fn http(server: SocketAddr) -> Self {
        Self::launch(Some(server), Protocol::Http)
    }

    /// In front of nothing: rules answer, and what they do not answer is answered with 502.
    #[must_use]
    pub fn alone() -> Self {
        Self::launch(None, Protocol::Http)
    }

    fn launch(server: Option<SocketAddr>, protocol: Protocol) -> Self {
        let shared = Arc::new(Shared { server: Mutex::new(server), ..Shared::default() });
        let (port, listener) = (0..16)
            .find_map(|_| {
                let port = Port::take();
                let listener = TcpListener::bind(port.address()).ok()?;
                Some((port, listener))
            })
            .unwrap_or_else(|| panic!("no port of loopback is free"));
        locked(&shared.state).listening = true;
        let (accepting, address) = (Arc::clone(&shared), port.address());
        let thread = std::thread::spawn(move || accept(&accepting, address, listener, protocol));
        Self { port, shared, thread: Some(thread) }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address().to_string()
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Adds a rule. All rules that meet a connection or request happen to it; of several answers
    /// the first counts.
    pub fn add(&self, rule: Rule) {
        locked(&self.shared.rules).push(rule);
    }

    /// Forgets all rules. What they have begun with connections and requests goes on.
    pub fn clear(&self) {
        locked(&self.shared.rules).clear();
    }

    /// How many rules are not used up.
    #[must_use]
    pub fn pending(&self) -> usize {
        locked(&self.shared.rules).iter().filter(|rule| !rule.spent()).count()
    }

    /// From now on connecting is refused, as where nobody listens. Connections stay.
    pub fn refuse(&self) {
        let mut state = locked(&self.shared.state);
        state.refusing = true;
        drop(state);
        // Wakes who accepts, so that it sees it.
        let _ = TcpStream::connect(self.address());
        let state = locked(&self.shared.state);
        let waited = self.shared.changed.wait_while(state, |state| state.listening);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends what [`Proxy::refuse`] began.
    pub fn accept(&self) {
        let mut state = locked(&self.shared.state);
        state.refusing = false;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_while(state, |state| !state.listening);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Cuts all connections that are open.
    pub fn cut_all(&self) {
        let mut state = locked(&self.shared.state);
        state.cuts += 1;
        cut(state.open.values().flatten());
        self.shared.changed.notify_all();
    }

    /// From now on new connections go to another server.
    pub fn redirect(&self, server: SocketAddr) {
        *locked(&self.shared.server) = Some(server);
    }

    /// The bytes so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Traffic { up: count(&self.shared.up), down: count(&self.shared.down) }
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The requests so far, in the order of their beginnings; also those that rules answered.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.shared.log).iter().map(|entry| entry.seen()).collect()
    }

    /// The requests with a method and a path as [`Rule::on`] takes them.
    #[must_use]
    pub fn requests_to(&self, method: &str, path: &str) -> Vec<Request> {
        let mut all = self.requests();
        all.retain(|request| rules::matches(method, path, &request.method, &request.path));
        all
    }

    /// Counts from nothing again.
    pub fn reset(&self) {
        locked(&self.shared.log).clear();
        for counter in [&self.shared.up, &self.shared.down, &self.shared.connections] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = locked(&self.shared.state);
        state.ending = true;
        cut(state.open.values().flatten());
        self.shared.changed.notify_all();
        drop(state);
        // Wakes who accepts; refused when nobody does.
        let _ = TcpStream::connect(self.address());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
        // Nobody is to print or count into the next test.
        let until = Instant::now() + Duration::from_secs(5);
        let mut state = locked(&self.shared.state);
        while state.serving > 0 && Instant::now() < until {
            cut(state.open.values().flatten());
            let waited = self.shared.changed.wait_timeout(state, Duration::from_millis(50));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn cut<'a>(sockets: impl Iterator<Item = &'a TcpStream>) {
    for socket in sockets {
        // One that is closed already is fine.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

impl Entry {
    fn seen(&self) -> Request {
        Request {
            status: self.status.load(Ordering::Relaxed),
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
            ..self.head.clone()
        }
    }
}

impl Shared {
    /// What happens to a connection (`None`) or request.
    fn faults(&self, request: Option<&Request>) -> Vec<Fault> {
        locked(&self.rules).iter_mut().filter_map(|rule| rule.take(request)).collect()
    }

    /// Notes a request.
    fn begin(&self, head: Request) -> Arc<Entry> {
        let (status, up, down) = (AtomicU16::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let entry = Arc::new(Entry { head, status, up, down });
        locked(&self.log).push(Arc::clone(&entry));
        entry
    }

    /// Keeps a socket where it can be cut from outside. Cut at once when all is ending.
    fn keep(&self, connection: u64, socket: &TcpStream) -> std::io::Result<()> {
        let socket = socket.try_clone()?;
        let mut state = locked(&self.state);
        if state.ending {
            return socket.shutdown(Shutdown::Both);
        }
        state.open.entry(connection).or_default().push(socket);
        Ok(())
    }

    /// Waits, but not beyond the end.
    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = locked(&self.state);
        while !state.ending {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Accepts until the end.
fn accept(
    shared: &Arc<Shared>,
    address: SocketAddr,
    mut listener: TcpListener,
    protocol: Protocol,
) {
    loop {
        let accepted = listener.accept();
        let mut state = locked(&shared.state);
        if state.refusing && !state.ending {
            drop((accepted, listener));
            state.listening = false;
            shared.changed.notify_all();
            let waited = shared.changed.wait_while(state, |state| state.refusing && !state.ending);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ending {
                return;
            }
            listener =
                TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            state.listening = true;
            shared.changed.notify_all();
            continue;
        }
        if state.ending {
            return;
        }
        let Ok((client, _)) = accepted else { continue };
        state.serving += 1;
        drop(state);
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // Connections that end in the middle are what this is for.
            let _ = match protocol {
                Protocol::Tcp => wire::serve(&shared, number, &client),
                Protocol::Http => http::serve(&shared, number, &client),
            };
            let mut state = locked(&shared.state);
            cut(state.open.remove(&number).iter().flatten());
            // Also when it could not be kept.
            let _ = client.shutdown(Shutdown::Both);
            state.serving -= 1;
            shared.changed.notify_all();
        });
    }
}
