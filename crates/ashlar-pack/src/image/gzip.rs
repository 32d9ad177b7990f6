//! Gzip on several threads: one member whose deflate blocks are compressed apart from one another,
//! each with the end of the bytes before it as its dictionary, as pigz does it. Where the blocks
//! begin depends on the bytes alone, so the number of threads does not show.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::PackError;

/// How many bytes are compressed at a time. Large enough that what a block costs to begin and to
/// end is nothing, small enough that small layers use several threads.
const BLOCK: usize = 256 << 10;

/// How far deflate can look back (RFC 1951).
const WINDOW: usize = 32 << 10;

/// RFC 1952: deflate, no name, no time, no system, so that nothing but the content is in it.
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

type Packed = Result<Vec<u8>, PackError>;

/// Bytes for one thread, and where what they become is waited for.
struct Job {
    plain: Vec<u8>,
    /// The last bytes before them.
    before: Vec<u8>,
    last: bool,
    done: SyncSender<Packed>,
}

/// The bytes to compress, on their way to the threads.
pub(super) struct Gzip<'a> {
    jobs: SyncSender<Job>,
    /// One for each job, in their order.
    waiting: VecDeque<Receiver<Packed>>,
    most: usize,
    block: Vec<u8>,
    before: Vec<u8>,
    sum: Crc,
    out: &'a mut dyn FnMut(&[u8]) -> Result<(), PackError>,
}

impl Gzip<'_> {
    /// Compresses what `fill` puts, and gives the stream to `out` in its order.
    pub fn run(
        level: u32,
        threads: usize,
        out: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
        fill: impl FnOnce(&mut Gzip<'_>) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Mutex::new(queue);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| work(&queue, level));
            }
            out(&HEADER)?;
            let mut gzip = Gzip {
                jobs,
                waiting: VecDeque::new(),
                most: 2 * threads,
                block: Vec::with_capacity(BLOCK),
                before: Vec::new(),
                sum: Crc::new(),
                out,
            };
            fill(&mut gzip)?;
            gzip.send(true)?;
            while !gzip.waiting.is_empty() {
                gzip.next()?;
            }
            (gzip.out)(&gzip.sum.sum().to_le_bytes())?;
            (gzip.out)(&gzip.sum.amount().to_le_bytes())
            // With the sender the threads end.
        })
    }

    /// The next bytes.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        self.sum.update(bytes);
        while !bytes.is_empty() {
            if self.block.len() == BLOCK {
                self.send(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn send(&mut self, last: bool) -> Result<(), PackError> {
        while self.waiting.len() >= self.most {
            self.next()?;
        }
        let plain = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let next = plain[plain.len().saturating_sub(WINDOW)..].to_vec();
        let before = std::mem::replace(&mut self.before, next);
        let (done, wait) = sync_channel(1);
        self.jobs.send(Job { plain, before, last, done }).map_err(|_| ended())?;
        self.waiting.push_back(wait);
        Ok(())
    }

    /// Passes on what the oldest job has become.
    fn next(&mut self) -> Result<(), PackError> {
        let Some(wait) = self.waiting.pop_front() else { return Ok(()) };
        let packed = wait.recv().map_err(|_| ended())??;
        (self.out)(&packed)
    }
}

/// A thread that is gone without a word has panicked, which is told when it is joined.
fn ended() -> PackError {
    PackError::Compress("a thread has ended early")
}

fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Nobody waits any more when writing has failed.
        if job.done.send(pack(&job, level)).is_err() {
            return;
        }
    }
}

/// The deflate blocks of a job. All but the last end with an empty stored block, at a whole byte.
fn pack(job: &Job, level: u32) -> Packed {
    let refused = |_| PackError::Compress("deflate has failed");
    // One that is reset finds other matches than a new one, so what a thread did before would show.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !job.before.is_empty() {
        deflate.set_dictionary(&job.before).map_err(refused)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut packed = Vec::with_capacity(job.plain.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = job.plain.get(taken..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut packed, flush).map_err(refused)?;
        let full = packed.len() == packed.capacity();
        match (status, job.last) {
            (Status::StreamEnd, true) => return Ok(packed),
            // A flush is complete when there is room left after it.
            (_, false) if !full => return Ok(packed),
            _ => packed.reserve(job.plain.len() / 4 + 1024),
        }
    }
}
