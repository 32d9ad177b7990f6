//! The one way out of a sandbox without a network: a socket that listens inside of it, and is
//! answered by whoever runs the command.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::helper::failure;
use crate::spec::Failure;

/// Where it listens, on 127.0.0.1 of the sandbox: always the same, because commands write down
/// what they are told. It is the usual port of web proxies.
pub const GATEWAY_PORT: u16 = 3128;

/// What a request hands to the sandbox, for a socket to come back by. It is for one command.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<UnixStream>);

/// The other end: where the socket arrives.
#[derive(Debug)]
pub struct Entrance(UnixStream);

impl Gateway {
    /// A gateway and its other end.
    ///
    /// # Errors
    /// When the machine gives no sockets.
    pub fn new() -> std::io::Result<(Self, Entrance)> {
        let (inside, outside) = UnixStream::pair()?;
        Ok((Self(Arc::new(inside)), Entrance(outside)))
    }

    /// Says that the command has ended: [`Entrance`] becomes readable.
    pub fn close(&self) {
        // It fails where the other end is gone, and nobody has to be told.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Entrance {
    /// Waits for the socket that the command's connections come to; `None` when the command ended
    /// before there was one.
    ///
    /// # Errors
    /// When it cannot be received.
    pub fn listener(&self) -> std::io::Result<Option<TcpListener>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        loop {
            let mut into = [IoSliceMut::new(&mut byte)];
            match recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        let mut found = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                found = received.into_iter().next().map(TcpListener::from);
            }
        }
        Ok(found)
    }
}

impl AsFd for Entrance {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Listens on the loopback interface of this process's network, and hands the socket out.
pub(super) fn open(to: &impl AsFd) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, GATEWAY_PORT))
        .map_err(|e| failure("listen in the sandbox", e))?;
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(failure("hand out a socket", Errno::NOBUFS));
    }
    match sendmsg(to, &[IoSlice::new(b"l")], &mut ancillary, SendFlags::NOSIGNAL) {
        // With nobody to answer, connections are refused.
        Ok(_) | Err(Errno::PIPE) => Ok(()),
        Err(e) => Err(failure("hand out a socket", e)),
    }
}
