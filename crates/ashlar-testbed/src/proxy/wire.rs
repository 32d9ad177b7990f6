//! Bytes from one socket to another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rules::{Gate, Verdict};
use super::{Shared, Way, locked};

/// Bytes that are moved at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// One direction of a connection.
pub(super) struct Pipe<'a> {
    shared: &'a Shared,
    connection: u64,
    to: TcpStream,
    gate: Gate,
    count: &'a AtomicU64,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        connection: u64,
        to: &TcpStream,
        gate: Gate,
        way: Way,
    ) -> io::Result<Self> {
        let count = match way {
            Way::Up => &shared.up,
            Way::Down => &shared.down,
        };
        Ok(Self { shared, connection, to: to.try_clone()?, gate, count })
    }

    /// Sends on what is allowed, of a body also by its own gate; an error when the connection is
    /// to end or has ended. Whatever goes on is counted first, so that who has received it finds
    /// it counted.
    pub(super) fn send(&mut self, chunk: &mut [u8], body: Option<Payload<'_>>) -> io::Result<()> {
        let delay = body.as_ref().and_then(|body| body.gate.delay());
        for time in [self.gate.delay(), delay].into_iter().flatten() {
            self.shared.wait(time);
        }
        let mut verdicts = [Verdict::Pass; 2];
        let mut allowed = chunk.len();
        let mut counts = vec![self.count];
        if let Some(body) = body {
            verdicts[0] = body.gate.admit(chunk);
            allowed = length(verdicts[0], allowed);
            counts.push(body.count);
        }
        verdicts[1] = self.gate.admit(&mut chunk[..allowed]);
        allowed = length(verdicts[1], allowed);
        for count in counts {
            count.fetch_add(allowed as u64, Ordering::Relaxed);
        }
        self.to.write_all(&chunk[..allowed])?;
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Stall(_))) {
            self.stall();
        } else if verdicts == [Verdict::Pass; 2] {
            return Ok(());
        }
        if let Some(sockets) = locked(&self.shared.state).open.get(&self.connection) {
            super::cut(sockets.iter());
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Closes this direction.
    pub(super) fn finish(&self) {
        // The other side may be gone already.
        let _ = self.to.shutdown(Shutdown::Write);
    }

    /// Waits until the connection is cut from outside, or the proxy ends.
    fn stall(&self) {
        let state = locked(&self.shared.state);
        let cuts = state.cuts;
        let on = |state: &mut super::State| !state.ending && state.cuts == cuts;
        let waited = self.shared.changed.wait_while(state, on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a piece of a body meets besides, and where it is counted.
pub(super) struct Payload<'a> {
    pub(super) gate: &'a mut Gate,
    pub(super) count: &'a AtomicU64,
}

fn length(verdict: Verdict, all: usize) -> usize {
    match verdict {
        Verdict::Pass => all,
        Verdict::Cut(some) | Verdict::Stall(some) => some.min(all),
    }
}

/// Serves a connection whose bytes are not understood.
pub(super) fn serve(shared: &Shared, connection: u64, client: &TcpStream) -> io::Result<()> {
    let server = connect(shared, connection, client)?;
    let faults = shared.faults(None);
    let pipe = |to, way| Pipe::new(shared, connection, to, Gate::new(&faults, way), way);
    let (up, down) = (pipe(&server, Way::Up)?, pipe(client, Way::Down)?);
    std::thread::scope(|scope| {
        let upwards = scope.spawn(|| pump(client, up));
        let downwards = pump(&server, down);
        upwards.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).and(downwards)
    })
}

/// Connects to the server, and keeps both sockets.
pub(super) fn connect(
    shared: &Shared,
    connection: u64,
    client: &TcpStream,
) -> io::Result<TcpStream> {
    let address = *locked(&shared.server);
    let address = address.ok_or(io::ErrorKind::NotConnected)?;
    shared.keep(connection, client)?;
    let server = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    shared.keep(connection, &server)?;
    // A proxy that waits to fill packets would be slower than what it stands for.
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    Ok(server)
}

/// Moves bytes until one side ends.
fn pump(mut from: &TcpStream, mut pipe: Pipe<'_>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            pipe.finish();
            return Ok(());
        }
        pipe.send(&mut chunk[..length], None)?;
    }
}
