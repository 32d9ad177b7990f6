//! Contents into new files.
//!
//! What is written lands in the page cache, where the kernel has to find and clear a page for each
//! 4 KiB first. For large files that nobody may read again that is most of the work; on a virtual
//! machine whose memory its host has yet to give it is several times that of the copy itself. Where
//! the file system can, large files are therefore written past the page cache (`O_DIRECT`), as long
//! as that is the quicker way: on a slow disk it is not, because there the page cache hides the
//! disk. Which way is quicker is found out by timing both on the files that are written anyway.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::OFlags;

/// Bytes read or written at a time: large enough that system calls do not count, small enough for
/// the cache of a processor.
pub(crate) const CHUNK: usize = 256 << 10;
/// What addresses, offsets and lengths of direct writes are multiples of. No disk and no file
/// system in use asks for more than a page; one that does refuses, and is written to as ever.
const ALIGNMENT: usize = 4096;
/// Bytes from which on a file is large: below it, waiting for the disk costs more than pages do.
const LARGE: u64 = 128 << 10;

/// 256 KiB at an address from which the kernel can write directly.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    skip: usize,
}

impl Buffer {
    /// Makes one. To make and to clear it costs more than to write a small file: whoever has many
    /// files has one buffer for each thread.
    #[must_use]
    pub fn new() -> Self {
        let bytes = vec![0; CHUNK + ALIGNMENT];
        let skip = bytes.as_ptr().align_offset(ALIGNMENT);
        // An allocator may not know: then direct writes are refused by the kernel, and nothing worse.
        let skip = if skip <= ALIGNMENT { skip } else { 0 };
        Self { bytes, skip }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            *self = Self::new();
        }
        &mut self.bytes[self.skip..self.skip + CHUNK]
    }

    /// Reads until the buffer is full or nothing is left; how much it was.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn fill(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let (bytes, mut filled) = (self.bytes(), 0);
        while filled < bytes.len() {
            match from.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

/// An open file that is read from where it is.
pub(crate) struct Descriptor<'a>(pub BorrowedFd<'a>);

impl Read for Descriptor<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, bytes)?)
    }
}

/// What failed when a file was filled.
#[derive(Debug)]
pub enum Unpoured {
    /// Reading.
    Read(io::Error),
    /// Writing.
    Write(io::Error),
}

/// Fills a new file, and says how many bytes it has now. `size` is how many are expected, which
/// decides how they are written and nothing else.
///
/// # Errors
/// Those of the reader and of the file.
pub fn pour(
    from: &mut dyn Read,
    to: &File,
    size: u64,
    buffer: &mut Buffer,
) -> Result<u64, Unpoured> {
    let mut filled = buffer.fill(from).map_err(Unpoured::Read)?;
    let mut poured = Poured::new(to, size);
    while filled > 0 {
        poured.write(buffer, filled).map_err(Unpoured::Write)?;
        if filled < CHUNK {
            break;
        }
        filled = buffer.fill(from).map_err(Unpoured::Read)?;
    }
    poured.end().map_err(Unpoured::Write)
}

/// A new file that is being filled from its beginning.
#[derive(Debug)]
pub struct Poured<'a> {
    file: &'a File,
    /// The flags that the file had, while it is written past the page cache.
    direct: Option<OFlags>,
    written: u64,
    /// Bytes after the end that are there because direct writes are in whole blocks.
    beyond: bool,
    /// Whether it is large, so that it tells which way is quicker.
    large: bool,
    nanoseconds: u128,
}

impl<'a> Poured<'a> {
    /// Begins to fill a new file, of which this many bytes are expected.
    #[must_use]
    pub fn new(file: &'a File, size: u64) -> Self {
        let large = size >= LARGE;
        let wanted = large && WAYS.lock().unwrap_or_else(PoisonError::into_inner).choose();
        let direct = if wanted { set_direct(file) } else { None };
        Self { file, direct, written: 0, beyond: false, large, nanoseconds: 0 }
    }

    /// Appends the first bytes of a buffer: all of them, except at the end.
    ///
    /// # Errors
    /// Those of the file, and when something comes after a part of a buffer.
    pub fn write(&mut self, buffer: &mut Buffer, filled: usize) -> io::Result<()> {
        if self.beyond {
            return Err(io::Error::other(
                "only the last part of a file may fill less than a buffer",
            ));
        }
        let begun = self.large.then(Instant::now);
        let bytes = buffer.bytes();
        let mut done = 0;
        if self.direct.is_some() {
            let whole = filled.next_multiple_of(ALIGNMENT).min(bytes.len());
            bytes[filled..whole].fill(0);
            while done < filled {
                match rustix::io::pwrite(self.file, &bytes[done..whole], self.written + done as u64)
                {
                    Ok(count) if count > 0 => done += count,
                    Err(rustix::io::Errno::INTR) => {}
                    // A disk with larger blocks, or one that is nearly full: then as ever, which
                    // also says what is wrong.
                    Ok(_) | Err(_) => break,
                }
                if done % ALIGNMENT != 0 {
                    break;
                }
            }
            self.beyond = done > filled || filled < bytes.len();
            done = done.min(filled);
            if done < filled {
                self.restore()?;
            }
        }
        while done < filled {
            match rustix::io::pwrite(self.file, &bytes[done..filled], self.written + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.written += filled as u64;
        if let Some(begun) = begun {
            self.nanoseconds += begun.elapsed().as_nanos();
        }
        Ok(())
    }

    /// Ends the file, and says how many bytes it has. It is as if it had been written in any other
    /// way, but for where its end is noted in the descriptor: whoever goes on with it seeks first.
    ///
    /// # Errors
    /// When it cannot be cut off where it ends.
    pub fn end(mut self) -> io::Result<u64> {
        let begun = self.large.then(Instant::now);
        if self.beyond {
            rustix::fs::ftruncate(self.file, self.written)?;
        }
        let direct = self.direct.is_some();
        self.restore()?;
        if let Some(begun) = begun {
            self.nanoseconds += begun.elapsed().as_nanos();
            let mut ways = WAYS.lock().unwrap_or_else(PoisonError::into_inner);
            ways.learn(direct, self.written, self.nanoseconds);
        }
        Ok(self.written)
    }

    fn restore(&mut self) -> io::Result<()> {
        match self.direct.take() {
            Some(flags) => Ok(rustix::fs::fcntl_setfl(self.file, flags)?),
            None => Ok(()),
        }
    }
}

/// Lets a file be written past the page cache, where its file system can; the flags that it had.
fn set_direct(file: &File) -> Option<OFlags> {
    let flags = rustix::fs::fcntl_getfl(file).ok()?;
    rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).ok()?;
    Some(flags)
}

/// What is known of the two ways, in this process.
#[derive(Debug)]
struct Ways {
    /// Nanoseconds for a MiB, of late; `None` before the first.
    cached: Option<u64>,
    direct: Option<u64>,
    files: u32,
}

static WAYS: Mutex<Ways> = Mutex::new(Ways { cached: None, direct: None, files: 0 });

impl Ways {
    /// Every so many files the slower way is tried again.
    const AGAIN: u32 = 32;

    /// Whether the next file is written directly.
    fn choose(&mut self) -> bool {
        self.files = self.files.wrapping_add(1);
        let direct = match (self.direct, self.cached) {
            (None, _) => return true,
            (_, None) => return false,
            (Some(direct), Some(cached)) => direct <= cached,
        };
        direct != self.files.is_multiple_of(Self::AGAIN)
    }

    fn learn(&mut self, direct: bool, bytes: u64, nanoseconds: u128) {
        if bytes < LARGE {
            return;
        }
        let now = nanoseconds.saturating_mul(1 << 20) / u128::from(bytes);
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let of = if direct { &mut self.direct } else { &mut self.cached };
        // Single ones say little: somebody else may have had the processor or the disk.
        *of = Some(of.map_or(now, |before| before - before / 4 + now / 4));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 + at / 4096) as u8).collect()
    }

    #[test]
    fn files_of_every_size_are_what_was_poured_and_can_be_used_as_ever() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut buffer = Buffer::new();
        for size in [0, 1, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 4095] {
            for (number, expected) in [0, u64::MAX].into_iter().enumerate() {
                let path = folder.path().join(format!("{size}-{number}"));
                let mut file =
                    File::options().read(true).write(true).create_new(true).open(&path).unwrap();
                let flags = rustix::fs::fcntl_getfl(&file).unwrap();
                let content = bytes(size);
                // Each way, whatever was learned.
                *WAYS.lock().unwrap() = Ways { cached: None, direct: None, files: 0 };
                assert_eq!(
                    pour(&mut &content[..], &file, expected, &mut buffer).unwrap(),
                    size as u64
                );
                assert_eq!(std::fs::read(&path).unwrap(), content);
                assert_eq!(rustix::fs::fcntl_getfl(&file).unwrap(), flags);
                let mut again = Vec::new();
                file.seek(SeekFrom::Start(0)).unwrap();
                file.read_to_end(&mut again).unwrap();
                assert_eq!(again, content);
            }
        }
    }

    #[test]
    fn a_reader_that_fails_is_told_from_a_disk_that_does() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let (mut buffer, file) = (Buffer::new(), tempfile::tempfile().unwrap());
        let read = pour(&mut bytes(CHUNK).chain(Fails), &file, 1 << 30, &mut buffer);
        assert!(matches!(read, Err(Unpoured::Read(e)) if e.to_string() == "gone"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let written = pour(&mut &bytes(2 * CHUNK)[..], &full, 1 << 30, &mut buffer);
        let Err(Unpoured::Write(e)) = written else { panic!("{written:?}") };
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn the_quicker_way_is_taken_and_the_other_tried_again() {
        let mut ways = Ways { cached: None, direct: None, files: 0 };
        assert!(ways.choose(), "directly first");
        ways.learn(true, 1 << 20, 1_000_000);
        assert!(!ways.choose(), "then the other way");
        ways.learn(false, 1 << 20, 500_000);
        let direct = (0..64).filter(|_| ways.choose()).count();
        assert_eq!(direct, 2, "the slower one now and then");
        for _ in 0..20 {
            ways.learn(false, 1 << 20, 5_000_000);
        }
        assert!((0..64).filter(|_| ways.choose()).count() >= 61);
        ways.learn(true, 10, 1 << 40);
        assert_eq!(ways.direct, Some(1_000_000), "small ones tell nothing");
    }
}
