//! Archives as pipelines have them: written so that the ordinary consumer reads them, read
//! whoever wrote them.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_object::{Digest, Hasher, Tree};
use ashlar_pack::archive;
use ashlar_store::{RemoteError, Survey, Watch};

use super::ArtifactError;
use super::layers::{Watched, put};
use super::unpack::Unpacking;
use crate::depot::{Body, Depot, Made};

/// Leaves a tree as an archive at a depot, and nowhere else: it is made twice, once for its
/// digest and once while it is sent, which costs less than a disk does. What is there already is
/// not sent.
pub(super) fn push(
    depot: &dyn Depot,
    tree: &Tree,
    contents: Option<&Arc<Survey>>,
    watch: &Watch<'_>,
) -> Result<Digest, ArtifactError> {
    let open = opener(contents);
    let mut nowhere = Stoppable { watch };
    let digest = match archive::write(tree, &open, &mut nowhere) {
        Err(_) if !(watch.go_on)() => return Err(RemoteError::Stopped.into()),
        other => other?,
    };
    let making = Making { tree: tree.clone(), contents: contents.cloned(), at: Mutex::default() };
    put(depot, &digest, &Body::Made(Arc::new(making)), watch)?;
    Ok(digest)
}

/// Contents out of a survey; without one there are none.
pub(super) fn opener(
    survey: Option<&Arc<Survey>>,
) -> impl Fn(&Digest) -> io::Result<Box<dyn Read + Send>> + Sync + Send + 'static {
    let survey = survey.cloned();
    move |digest| {
        let opened = match &survey {
            Some(survey) => survey.open(digest).map_err(io::Error::other)?,
            None => None,
        };
        opened.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct Stoppable<'a> {
    watch: &'a Watch<'a>,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.watch.go_on)() { Ok(bytes.len()) } else { Err(io::Error::other("stopped")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive that is made while it is read.
struct Making {
    tree: Tree,
    contents: Option<Arc<Survey>>,
    at: Mutex<Option<Position>>,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Making")
    }
}

/// Where reading is, and where the next bytes come from.
struct Position {
    offset: u64,
    chunk: Vec<u8>,
    used: usize,
    coming: Receiver<io::Result<Vec<u8>>>,
}

/// How much is handed over at a time; three of them are in memory.
const CHUNK: usize = 1 << 20;

impl Making {
    fn begin(&self) -> Position {
        // The writer waits when two are ready, and ends when nobody takes them any more.
        let (ready, coming) = sync_channel(1);
        let (tree, open) = (self.tree.clone(), opener(self.contents.as_ref()));
        std::thread::spawn(move || {
            let mut out = Handing { ready, chunk: Vec::with_capacity(CHUNK) };
            let done = archive::write(&tree, &open, &mut out).map_err(io::Error::other);
            let done = done.and_then(|_| out.flush());
            if let Err(error) = done {
                // Nobody is there to hear it when reading was given up.
                let _ = out.ready.send(Err(error));
            }
        });
        Position { offset: 0, chunk: Vec::new(), used: 0, coming }
    }
}

struct Handing {
    ready: SyncSender<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
}

impl Write for Handing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.ready.send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Position {
    /// Some of the next bytes, at most so many; none at the end.
    fn next(&mut self, most: usize) -> io::Result<&[u8]> {
        while self.used == self.chunk.len() {
            match self.coming.recv() {
                Ok(chunk) => (self.chunk, self.used) = (chunk?, 0),
                // The writer has ended.
                Err(_) => return Ok(&[]),
            }
        }
        let end = self.chunk.len().min(self.used.saturating_add(most));
        let bytes = &self.chunk[self.used..end];
        self.used = end;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }
}

impl Made for Making {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut place = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = match place.take() {
            Some(position) if position.offset <= at => position,
            _ => self.begin(),
        };
        while position.offset < at {
            let left = usize::try_from(at - position.offset).unwrap_or(usize::MAX);
            if position.next(left)?.is_empty() {
                return Ok(0);
            }
        }
        let mut done = 0;
        while done < buffer.len() {
            let bytes = position.next(buffer.len() - done)?;
            if bytes.is_empty() {
                break;
            }
            buffer[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        }
        *place = Some(position);
        Ok(done)
    }
}

/// Unpacks an archive of a depot into an empty folder of our own. Its bytes are compared with the
/// digest by the time this returns; whoever calls lets nobody see the files before.
pub(super) fn unpack(
    depot: &dyn Depot,
    digest: &Digest,
    into: &Path,
    watch: &Watch<'_>,
) -> Result<(u64, u64), ArtifactError> {
    let mut unpacking = Unpacking::begin(into);
    each_entry(depot, digest, watch, &mut |entry| unpacking.take(entry))?;
    unpacking.finish().map_err(|source| ArtifactError::Unpack { source })
}

/// Reads an archive of a depot to its end and compares it with its digest.
pub(super) fn each_entry(
    depot: &dyn Depot,
    digest: &Digest,
    watch: &Watch<'_>,
    each: &mut dyn FnMut(archive::Entry<'_>) -> io::Result<()>,
) -> Result<(), ArtifactError> {
    let what = || format!("archive sha256:{}", digest.hex());
    let Some(reader) = depot.open_blob(digest, 0..digest.size)? else {
        return Err(ArtifactError::Lost { place: depot.place().to_owned(), what: what() });
    };
    let mut reader = Hashing { inner: Watched { inner: reader, watch }, hasher: Hasher::new() };
    let read = archive::read(&mut reader, each);
    // Whatever is behind the end of the archive belongs to the digest as well. Of what could not
    // be read this says whether the bytes are damaged or were bad from the beginning.
    let rest = io::copy(&mut reader, &mut io::sink());
    if !(watch.go_on)() {
        return Err(RemoteError::Stopped.into());
    }
    rest.map_err(|source| ArtifactError::Transfer {
        place: depot.place().to_owned(),
        what: what(),
        source,
    })?;
    if reader.hasher.finish() != *digest {
        return Err(ArtifactError::Damaged { place: depot.place().to_owned(), what: what() });
    }
    Ok(read?)
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
