//! The jobs that a make around several runs allows: its jobserver, as a client.
//!
//! Make says in `MAKEFLAGS` where its tokens are: the two ends of a pipe
//! (`--jobserver-auth=R,W`), or a named one (`--jobserver-auth=fifo:PATH`, from make 4.4 on).
//! Whoever was started by make may run one job without a token, and takes one for every further.
//! <https://www.gnu.org/software/make/manual/html_node/POSIX-Jobserver.html>

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ashlar_execute::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// After how long it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The jobserver of a make that started this program.
#[derive(Debug)]
pub struct Jobserver {
    read: File,
    write: File,
    /// Whether the job that needs no token is free.
    free: AtomicBool,
}

/// The right to run one job; given back when dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    of: &'a Jobserver,
    /// None for the job that needs none.
    token: Option<u8>,
}

impl Jobserver {
    /// The one that a value of `MAKEFLAGS` names. To be called before anything else is opened: a
    /// make that keeps its pipe to itself names it all the same, and the numbers are free then.
    #[must_use]
    pub fn of(makeflags: &str) -> Option<Self> {
        let value = |word: &str| {
            let value = word.strip_prefix("--jobserver-auth=");
            value.or_else(|| word.strip_prefix("--jobserver-fds=")).map(ToOwned::to_owned)
        };
        // The last one counts.
        let said = makeflags.split_whitespace().filter_map(value).next_back()?;
        let (read, write) = match said.strip_prefix("fifo:") {
            Some(path) => (path.to_owned(), path.to_owned()),
            None => {
                let (read, write) = said.split_once(',')?;
                let number = |text: &str| text.parse::<u32>().ok();
                let path = |number: u32| format!("/proc/self/fd/{number}");
                (path(number(read)?), path(number(write)?))
            }
        };
        // Opened anew they have flags of their own, so that what make inherits goes on blocking.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let open = |path: &str, reading: bool| {
            let is_pipe = std::fs::metadata(path).ok()?.file_type().is_fifo();
            let mut options = File::options();
            options.read(reading).write(!reading).custom_flags(flags);
            if is_pipe { options.open(path).ok() } else { None }
        };
        let read = open(&read, true)?;
        Some(Self { read, write: open(&write, false)?, free: AtomicBool::new(true) })
    }

    /// Waits for the right to run a job; `None` when the flag is raised.
    pub fn turn(&self, cancel: &Cancel) -> Option<Turn<'_>> {
        loop {
            if cancel.is_cancelled() {
                return None;
            }
            if self.free.swap(false, Ordering::AcqRel) {
                return Some(Turn { of: self, token: None });
            }
            let mut byte = [0];
            if let Ok(1) = (&self.read).read(&mut byte) {
                return Some(Turn { of: self, token: Some(byte[0]) });
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
            // Whatever it says, we look again.
            let _ = poll(&mut [PollFd::new(&self.read, PollFlags::IN)], Some(&wait));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        match self.token {
            None => self.of.free.store(true, Ordering::Release),
            // There is room for it: it came from there. A make that has gone needs none.
            Some(token) => {
                let _ = (&self.of.write).write(&[token]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_without_and_the_others_with_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let mut make = File::options().read(true).write(true).open(&path).unwrap();
        make.write_all(b"a").unwrap();
        let flags = format!("kw --jobserver-auth=3,4 -j3 --jobserver-auth=fifo:{}", path.display());
        let server = Jobserver::of(&flags).unwrap();
        let cancel = Cancel::new();
        let first = server.turn(&cancel).unwrap();
        let second = server.turn(&cancel).unwrap();
        assert_eq!((first.token, second.token), (None, Some(b'a')));
        let third = std::thread::scope(|scope| {
            let third = scope.spawn(|| server.turn(&cancel).map(|turn| turn.token));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!third.is_finished());
            drop(second);
            third.join().unwrap()
        });
        assert_eq!(third, Some(Some(b'a')));
        cancel.cancel();
        assert!(server.turn(&cancel).is_none());
    }

    #[test]
    fn what_is_no_pipe_is_none() {
        for flags in
            ["", "-j2", "--jobserver-auth=3", "--jobserver-auth=900,901", "--jobserver-auth=x,y"]
        {
            assert!(Jobserver::of(flags).is_none(), "{flags}");
        }
    }
}
