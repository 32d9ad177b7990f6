//! A command with its output seen at once and kept as it came; and the same output once more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStderr, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Which output something was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Which parts of a log went where: lengths in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams(Vec<(Stream, u64)>);

impl Streams {
    fn add(&mut self, stream: Stream, count: u64) {
        match self.0.last_mut() {
            Some((last, length)) if *last == stream => *length += count,
            _ => self.0.push((stream, count)),
        }
    }

    /// Whether all of it went to standard output.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|(stream, _)| *stream == Stream::Out)
    }

    /// A line for each part: `1` or `2`, and how many bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let line = |(stream, count): &(Stream, u64)| {
            format!("{} {count}\n", if *stream == Stream::Out { 1 } else { 2 })
        };
        self.0.iter().map(line).collect::<String>().into_bytes()
    }

    /// Reads what [`Streams::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::new();
        for line in std::str::from_utf8(bytes).ok()?.lines() {
            let (stream, count) = line.split_once(' ')?;
            let stream = match stream {
                "1" => Stream::Out,
                "2" => Stream::Err,
                _ => return None,
            };
            parts.push((stream, count.parse().ok()?));
        }
        Some(Self(parts))
    }
}

/// Where a command's output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Nowhere.
    Nothing,
    /// Each part where it was written to.
    Apart,
    /// All of it on standard error: standard output is for programs.
    OnError,
}

/// What was written, and what became of the log.
#[derive(Debug, Default)]
pub struct Told {
    /// Which parts went where.
    pub streams: Streams,
    /// Why the log breaks off, if it does.
    pub lost: Option<io::Error>,
}

/// How long output may still come from what a command left behind in the background.
const AFTER: Duration = Duration::from_millis(150);

/// Shows what a command writes and keeps it in `log`, until it has ended and all was read.
///
/// # Errors
/// When the output cannot be read. That the log cannot be written, or nobody reads our own output
/// any more, is none: the command goes on.
pub fn tee(
    out: ChildStdout,
    err: ChildStderr,
    log: &mut File,
    ended: &AtomicBool,
    show: Show,
) -> io::Result<Told> {
    let mut told = Told::default();
    let mut open: Vec<(Stream, OwnedFd)> =
        vec![(Stream::Out, out.into()), (Stream::Err, err.into())];
    let mut buffer = vec![0; 64 << 10];
    let mut last = Instant::now();
    while !open.is_empty() {
        let mut ready: Vec<PollFd<'_>> = open
            .iter()
            .map(|(_, fd)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
            .collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        match poll(&mut ready, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let flags: Vec<PollFlags> = ready.iter().map(PollFd::revents).collect();
        let mut closed = Vec::new();
        for (number, (stream, fd)) in open.iter().enumerate() {
            if flags[number].is_empty() {
                continue;
            }
            let count = match rustix::io::read(fd, &mut *buffer) {
                Ok(0) => {
                    closed.push(number);
                    continue;
                }
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            last = Instant::now();
            if told.lost.is_none() {
                told.lost = log.write_all(&buffer[..count]).err();
            }
            if told.lost.is_none() {
                told.streams.add(*stream, count as u64);
            }
            match show {
                // It would be seen nowhere else.
                Show::Nothing if told.lost.is_some() => {
                    say(Show::OnError, *stream, &buffer[..count]);
                }
                show => say(show, *stream, &buffer[..count]),
            }
        }
        for number in closed.into_iter().rev() {
            open.remove(number);
        }
        if ended.load(Ordering::Acquire) && last.elapsed() > AFTER {
            break;
        }
    }
    Ok(told)
}

fn say(show: Show, stream: Stream, bytes: &[u8]) {
    // Nobody may be there to read it; what is kept is whole all the same.
    let _ = match (show, stream) {
        (Show::Nothing, _) => Ok(()),
        (Show::Apart, Stream::Out) => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        _ => io::stderr().lock().write_all(bytes),
    };
}

/// Shows a log again, each part where it went.
///
/// # Errors
/// When the log cannot be read.
pub fn replay(log: &mut dyn Read, streams: Option<&Streams>, show: Show) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let all = [(Stream::Out, u64::MAX)];
    let parts = streams.map_or(&all[..], |streams| &streams.0);
    for (stream, length) in parts {
        let mut part = (&mut *log).take(*length);
        loop {
            match part.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => say(show, *stream, &buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// A file for a log, without a name.
///
/// # Errors
/// When it cannot be made.
pub fn log_file(folder: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    match options.read(true).write(true).custom_flags(flags).mode(0o600).open(folder) {
        Ok(file) => Ok(file),
        // A file system without them.
        Err(_) => {
            let path = folder.join(format!("log.{}", std::process::id()));
            let file =
                File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

/// Back to the beginning of a log.
///
/// # Errors
/// When the file cannot be sought in.
pub fn rewind(log: &mut File) -> io::Result<()> {
    log.seek(SeekFrom::Start(0)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn run(script: &str) -> (Vec<u8>, Streams) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log_file(folder.path()).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let ended = AtomicBool::new(false);
        let streams = std::thread::scope(|scope| {
            let reader = scope.spawn(|| tee(out, err, &mut log, &ended, Show::Nothing));
            child.wait().unwrap();
            ended.store(true, Ordering::Release);
            reader.join().unwrap().unwrap().streams
        });
        rewind(&mut log).unwrap();
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).unwrap();
        (bytes, streams)
    }

    #[test]
    fn parts_are_told_apart() {
        let (log, streams) = run("echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three");
        assert_eq!(log, b"one\ntwo\nthree\n");
        assert_eq!(streams.encode(), b"1 4\n2 4\n1 6\n");
        assert_eq!(Streams::decode(&streams.encode()), Some(streams.clone()));
        assert!(!streams.is_plain());
        assert_eq!(Streams::decode(b"3 4\n"), None);
    }

    #[test]
    fn what_stays_in_the_background_is_not_waited_for() {
        let begun = Instant::now();
        let (log, _) = run("sleep 20 & echo $!");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let pid: i32 = String::from_utf8(log).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}
