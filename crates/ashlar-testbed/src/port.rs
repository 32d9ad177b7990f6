//! Ports that nobody else has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// Below what the kernel gives to outgoing connections, so that none of them can take a port
/// between the moment it is found free and the moment a server binds it.
const RANGE: std::ops::Range<u32> = 10_240..32_000;

/// A port of loopback that no other test uses as long as this lives.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// A name that only one process can hold. The kernel frees it with the process, and other
    /// than two servers with `SO_REUSEPORT`, two tests cannot both have it.
    _held: UnixListener,
}

impl Port {
    /// Takes one.
    pub(crate) fn take() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        for _ in 0..10_000 {
            let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.subsec_nanos());
            let seed = now
                .wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919))
                .wrapping_add(std::process::id().wrapping_mul(104_729));
            let number = RANGE.start + seed.wrapping_mul(2_654_435_761) % (RANGE.end - RANGE.start);
            let Ok(number) = u16::try_from(number) else { continue };
            if let Some(port) = Self::reserve(number) {
                return port;
            }
        }
        panic!("no port of loopback is free");
    }

    fn reserve(number: u16) -> Option<Self> {
        let name = format!("ashlar-testbed-port-{number}");
        let name = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
        let held = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind(loopback(number)).ok()?;
        Some(Self { number, _held: held })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        loopback(self.number)
    }
}

fn loopback(number: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, number).into()
}
