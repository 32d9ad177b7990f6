//! Blobs too large for a message, as byte streams that go on where they were cut.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use ashlar_object::Digest;
use ashlar_store::{RemoteError, Watch};
use bazel_remote_apis::google::bytestream as api;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use zstd::stream::raw::{Decoder, Operation as _};

use super::Reapi;
use super::address::serial;
use super::call::{drive, patient};
use crate::cas::wire::bytes;
use crate::cas::{Ended, Incoming, Opener};
use crate::http::retry::{Failure, Patience};
use crate::runtime::runtime;

/// How much goes in one message.
const CHUNK: usize = 256 << 10;

/// How many messages wait to be sent.
const WAITING: usize = 4;

/// A blob as it comes in. Reading goes on with the next connection after one was cut.
pub(super) struct Download<'a> {
    server: &'a Reapi,
    digest: Digest,
    watch: Watch<'a>,
    patience: Patience,
    /// Bytes of the blob that were handed out.
    at: u64,
    stream: Option<Streaming<api::ReadResponse>>,
    /// What has come of the stream and was not handed out, and how much of it was used.
    message: Vec<u8>,
    used: usize,
    /// For a compressed stream.
    decoder: Option<Decoder<'static>>,
    ended: Option<Ended>,
}

impl<'a> Download<'a> {
    /// Nothing is asked for before the first read.
    pub fn new(server: &'a Reapi, digest: Digest, watch: Watch<'a>) -> Self {
        let patience = Patience::new(server.policy(), &server.place);
        Self {
            server,
            digest,
            watch,
            patience,
            at: 0,
            stream: None,
            message: Vec::new(),
            used: 0,
            decoder: None,
            ended: None,
        }
    }

    /// Begins where what was handed out ends.
    fn open(&mut self) -> Result<(), Failure> {
        let zstd = self.server.capabilities()?.zstd;
        let kind = if zstd { "compressed-blobs/zstd" } else { "blobs" };
        let request = api::ReadRequest {
            resource_name: self.server.resource(&format!("{kind}/{}", self.digest)),
            read_offset: i64::try_from(self.at).unwrap_or(i64::MAX),
            read_limit: 0,
        };
        let mut client = self.server.streams();
        let answer = drive(patient(self.server.stall, client.read(request)), &self.watch)?;
        self.stream = Some(answer.map_err(|status| self.failed(&status))?.into_inner());
        (self.message, self.used) = (Vec::new(), 0);
        self.decoder = if zstd {
            // Whoever cannot make a decoder has no memory.
            Some(Decoder::new().map_err(Failure::transient)?)
        } else {
            None
        };
        Ok(())
    }

    /// The next message. `false` at the end of the stream.
    fn next(&mut self) -> Result<bool, Failure> {
        if self.stream.is_none() {
            self.open()?;
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let message = drive(patient(self.server.stall, stream.message()), &self.watch)?;
        match message {
            Ok(Some(message)) => {
                (self.message, self.used) = (message.data, 0);
                (self.watch.moved)(bytes(self.message.len() as u64));
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(status) => Err(self.failed(&status)),
        }
    }

    fn failed(&mut self, status: &Status) -> Failure {
        if status.code() == Code::NotFound {
            self.ended = Some(Ended::Missing);
        }
        self.server.failure("to give a blob", status)
    }

    /// Hands out what there is; 0 when the message is used up.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.message[self.used..];
        let (used, made) = match &mut self.decoder {
            None => {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                (count, count)
            }
            Some(decoder) => {
                // It may hold back bytes of what it was given before.
                let status = decoder.run_on_buffers(rest, buffer)?;
                (status.bytes_read, status.bytes_written)
            }
        };
        self.used += used;
        Ok(made)
    }

    fn attempt(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.take(buffer) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(error) => {
                    self.ended = Some(Ended::Wrong(format!("cannot be uncompressed: {error}")));
                    return Err(self.server.wrong("to give a blob", "bad zstd").into());
                }
            }
            if self.at >= self.digest.size && self.stream.is_some() {
                return Ok(0);
            }
            if self.used < self.message.len() {
                continue;
            }
            if !self.next()? {
                // An end before the end is a cut that looks clean.
                return if self.at < self.digest.size {
                    Err(Failure::transient("the blob ended too early"))
                } else {
                    Ok(0)
                };
            }
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(ended) = &self.ended
                && !matches!(ended, Ended::Well)
            {
                return Err(io::Error::other("the transfer failed"));
            }
            if !(self.watch.go_on)() {
                self.ended = Some(Ended::Failed(RemoteError::Stopped));
                continue;
            }
            match self.attempt(buffer) {
                Ok(0) => return Ok(0),
                Ok(count) => {
                    self.at += count as u64;
                    self.patience.progress();
                    return Ok(count);
                }
                Err(failure) => {
                    self.stream = None;
                    (self.message, self.used, self.decoder) = (Vec::new(), 0, None);
                    if self.ended.is_none()
                        && let Err(error) = self.patience.after(failure, Some(&self.watch))
                    {
                        self.ended = Some(Ended::Failed(error));
                    }
                }
            }
        }
    }
}

impl Incoming for Download<'_> {
    fn end(&mut self) -> Ended {
        match self.ended.take() {
            Some(Ended::Failed(error @ RemoteError::Wrong { .. })) => {
                Ended::Wrong(format!("is not given: {error}"))
            }
            Some(ended) => ended,
            None => Ended::Well,
        }
    }
}

/// Sends a blob, from where the server has it after a cut.
pub(super) fn upload(
    server: &Reapi,
    digest: &Digest,
    open: Opener<'_>,
    watch: &Watch<'_>,
) -> Result<(), RemoteError> {
    let capabilities = server.capabilities()?;
    if let Some(largest) = capabilities.largest.filter(|largest| digest.size > *largest) {
        return Err(server.wrong(
            "a blob",
            format!("it takes none of more than {largest} bytes, and {digest:?} is larger"),
        ));
    }
    let kind = if capabilities.zstd { "compressed-blobs/zstd" } else { "blobs" };
    // The same name for all attempts: it is by the name that a server knows what it has.
    let name = server.resource(&format!("uploads/{}/{kind}/{digest}", serial()));
    let upload = Upload { server, digest, name, zstd: capabilities.zstd, watch };
    let mut patience = Patience::new(server.policy(), &server.place);
    let mut from = 0;
    loop {
        let failure = match upload.attempt(from, open) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        patience.after(failure, Some(watch))?;
        match upload.committed() {
            Committed::All => return Ok(()),
            Committed::Until(offset) => {
                if offset > from {
                    patience.progress();
                }
                from = offset;
            }
        }
    }
}

struct Upload<'a> {
    server: &'a Reapi,
    digest: &'a Digest,
    name: String,
    zstd: bool,
    watch: &'a Watch<'a>,
}

/// What a server has of an upload.
enum Committed {
    All,
    Until(u64),
}

impl Upload<'_> {
    /// What is there of it. A server that cannot tell has nothing.
    fn committed(&self) -> Committed {
        let request = api::QueryWriteStatusRequest { resource_name: self.name.clone() };
        let mut client = self.server.streams();
        let asked =
            drive(patient(self.server.stall, client.query_write_status(request)), self.watch);
        let Ok(Ok(answer)) = asked else { return Committed::Until(0) };
        let answer = answer.into_inner();
        if answer.complete {
            return Committed::All;
        }
        let offset = u64::try_from(answer.committed_size).unwrap_or(0);
        Committed::Until(if offset < self.digest.size { offset } else { 0 })
    }

    fn attempt(&self, from: u64, open: Opener<'_>) -> Result<(), Failure> {
        let mut reader = open()?;
        let skipped = io::copy(&mut (&mut reader).take(from), &mut io::sink())
            .map_err(|e| ashlar_store::StoreError::Read(*self.digest, e))
            .map_err(RemoteError::from)?;
        if skipped < from {
            return Err(self.server.wrong("a blob", "it has more of it than there is").into());
        }
        // Offsets count what was uncompressed at the beginning of a stream, and what is sent
        // from then on: so says the protocol.
        let mut reader: Box<dyn Read + Send> = if self.zstd {
            let encoder = zstd::stream::read::Encoder::new(reader, 1)
                .map_err(|e| RemoteError::from(ashlar_store::StoreError::Read(*self.digest, e)))?;
            Box::new(encoder)
        } else {
            reader
        };
        drive(self.send(from, &mut *reader), self.watch)?
    }

    async fn send(&self, from: u64, reader: &mut (dyn Read + Send)) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel::<api::WriteRequest>(WAITING);
        let messages = Messages(receiver);
        let mut client = self.server.streams();
        let runtime = runtime().map_err(Failure::transient)?;
        let call = Ending(runtime.spawn(async move { client.write(messages).await }));
        let fed = self.feed(from, reader, sender).await;
        if matches!(fed, Err(Failure::Lasting(_))) {
            return fed;
        }
        let answer = tokio::time::timeout(self.server.stall, call).await;
        match (answer, fed) {
            (Ok(Ok(Ok(answer))), _) => {
                let committed = answer.into_inner().committed_size;
                // Of a compressed blob the protocol lets servers count in several ways.
                if self.zstd || u64::try_from(committed) == Ok(self.digest.size) {
                    Ok(())
                } else {
                    Err(Failure::transient(format!(
                        "it has {committed} of {} bytes",
                        self.digest.size
                    )))
                }
            }
            (Ok(Ok(Err(status))), _) => Err(self.server.failure("a blob", &status)),
            (_, Err(failure)) => Err(failure),
            (Ok(Err(join)), _) => Err(Failure::transient(join)),
            (Err(_), _) => Err(Failure::transient("nothing was answered in time")),
        }
    }

    /// Reads and sends, until the end or until nobody takes it any more.
    async fn feed(
        &self,
        from: u64,
        reader: &mut (dyn Read + Send),
        sender: mpsc::Sender<api::WriteRequest>,
    ) -> Result<(), Failure> {
        let mut offset = from;
        let mut name = self.name.clone();
        let mut next = read_chunk(self.digest, reader)?;
        loop {
            let data = next;
            next = if data.len() < CHUNK { Vec::new() } else { read_chunk(self.digest, reader)? };
            let finish = next.is_empty();
            let length = data.len() as u64;
            let message = api::WriteRequest {
                resource_name: std::mem::take(&mut name),
                write_offset: i64::try_from(offset).unwrap_or(i64::MAX),
                finish_write: finish,
                data,
            };
            match tokio::time::timeout(self.server.stall, sender.send(message)).await {
                Ok(Ok(())) => {}
                // Ended by the server: its answer says why.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Failure::transient("nothing is taken any more")),
            }
            (self.watch.moved)(bytes(length));
            offset += length;
            if finish {
                return Ok(());
            }
        }
    }
}

fn read_chunk(digest: &Digest, reader: &mut (dyn Read + Send)) -> Result<Vec<u8>, RemoteError> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let read = reader.take(CHUNK as u64).read_to_end(&mut chunk);
    read.map_err(|e| ashlar_store::StoreError::Read(*digest, e))?;
    Ok(chunk)
}

/// A call that does not outlive the one who made it.
struct Ending<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Ending<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// What waits to be sent, as a stream.
struct Messages(mpsc::Receiver<api::WriteRequest>);

impl futures_util::Stream for Messages {
    type Item = api::WriteRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
