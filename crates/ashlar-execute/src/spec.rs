//! What is said to the helper process, and how.
//!
//! Its standard input is one end of a socket. The parent sends one byte with the descriptors that
//! the helper needs, then a [`Spec`] as JSON and the contents of files from memory, each after its
//! length. The helper makes its mounts, leaves for a user name space of its own and says
//! [`READY`]; or it sends [`FAILED`] and a [`Failure`], and ends. The parent writes the maps of
//! user ids and says [`GO`]. The helper closes its end when the command and all it started have
//! ended; before that the parent may say [`TERMINATE`] and [`STOP`].

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::image::ImageSpec;

/// The helper is in its user name space and waits for its maps.
pub(crate) const READY: u8 = b'r';
/// The helper could not do its part; a [`Failure`] follows.
pub(crate) const FAILED: u8 = b'f';
/// The maps are written.
pub(crate) const GO: u8 = b'g';

/// Everything inside gets SIGTERM; only commands in images know it.
pub(crate) const TERMINATE: u8 = b't';
/// Everything inside is to be killed.
pub(crate) const STOP: u8 = b'k';

/// The most descriptors that are sent.
const MOST: usize = 8;

/// What the helper has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The workspace: `root`, `root-work`, `src`, `src-work`, `dest`, `home` for what is
    /// written, `point` to assemble the root on, `layers` for short names of layers. The helper lists
    /// the mount points it made in the file `made`.
    pub(crate) folder: PathBuf,
    /// The user id outside that is root inside.
    pub(crate) owner: u32,
    pub(crate) root: RootSpec,
    /// The staged source tree.
    pub(crate) source: Option<PathBuf>,
    /// Staged trees and where they are seen, read-only.
    pub(crate) mounts: Vec<(PathBuf, String)>,
    pub(crate) bwrap: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Where the command starts, absolute.
    pub(crate) directory: String,
    /// Whether the command has every capability of its name space.
    pub(crate) all_capabilities: bool,
    /// Whether standard input, output and error are the parent's.
    pub(crate) terminal: bool,
    /// Present for a command in an image. It has no `src`, `dest` and `home`, and it has `files`.
    pub(crate) image: Option<ImageSpec>,
    /// Bytes that follow the spec, for files from memory.
    #[serde(skip)]
    pub(crate) contents: Secrets,
}

/// Bytes that are printed nowhere.
#[derive(Default)]
pub(crate) struct Secrets(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What `/` is made of; folders from the highest layer to the lowest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RootSpec {
    /// An overlay over these.
    Layers(Vec<PathBuf>),
    /// The machine's own folders, each under what the layers have of it.
    Host {
        layers: Vec<PathBuf>,
        skeleton: PathBuf,
        /// The store, which is not shown.
        avoid: PathBuf,
    },
}

/// Why the helper gave up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) what: String,
    /// Present when the machine lacks something, or when the request cannot be met.
    pub(crate) advice: Option<String>,
    /// Whether it is the request that cannot be met, on any machine.
    pub(crate) of_request: bool,
}

/// Sends descriptors and a spec.
pub(crate) fn send(
    mut socket: &UnixStream,
    fds: &[BorrowedFd<'_>],
    spec: &Spec,
) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MOST || !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::Error::other("too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(b"s")], &mut ancillary, SendFlags::NOSIGNAL)?;
    let json = serde_json::to_vec(spec)?;
    socket.write_all(&(json.len() as u64).to_le_bytes())?;
    socket.write_all(&json)?;
    socket.write_all(&(spec.contents.0.len() as u64).to_le_bytes())?;
    socket.write_all(&spec.contents.0)
}

/// Receives what [`send`] sent.
pub(crate) fn receive(mut socket: &UnixStream) -> std::io::Result<(Vec<OwnedFd>, Spec)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if got.bytes != 1 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let mut part = || -> std::io::Result<Vec<u8>> {
        let mut length = [0; 8];
        socket.read_exact(&mut length)?;
        let mut bytes = Vec::new();
        Read::take(socket, u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mut spec: Spec = serde_json::from_slice(&part()?)?;
    spec.contents = Secrets(part()?);
    Ok((fds, spec))
}
