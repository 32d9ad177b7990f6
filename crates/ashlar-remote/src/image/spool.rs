//! A layer that is being written: in memory while it is small, then in a file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::depot::Body;

/// What stays in memory.
const SMALL: usize = 1 << 20;

/// Where a layer is written before it is sent: its digest is only known at the end.
pub(super) struct Spool<'a> {
    folder: &'a Path,
    go_on: &'a (dyn Fn() -> bool + Sync),
    buffer: Vec<u8>,
    file: Option<File>,
    /// Why it stopped, when it did.
    pub failed: Option<Stop>,
}

/// Why nothing more is written.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is to stop.
    Told,
    /// The file cannot be written.
    Io(io::Error),
}

impl<'a> Spool<'a> {
    pub fn new(folder: &'a Path, go_on: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { folder, go_on, buffer: Vec::new(), file: None, failed: None }
    }

    /// What was written.
    pub fn finish(mut self) -> io::Result<Body> {
        if self.file.is_none() {
            return Ok(Body::Bytes(self.buffer.into()));
        }
        self.spill()?;
        match self.file {
            Some(file) => Ok(Body::File(Arc::new(file))),
            None => Ok(Body::Bytes(Arc::default())),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(self.folder)?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Spool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > SMALL {
            if !(self.go_on)() {
                self.failed = Some(Stop::Told);
                return Err(io::Error::other("it was stopped"));
            }
            if let Err(error) = self.spill() {
                let seen = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(Stop::Io(error));
                return Err(seen);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
