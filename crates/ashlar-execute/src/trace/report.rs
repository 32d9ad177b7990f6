//! What the tracing process says to the one that started it.
//!
//! On standard output: for each path a letter, the path and NUL, and at last an empty record, so
//! that a report that breaks off shows.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::FromRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::{Touch, Touched};

const LETTERS: [(u8, Touch); 5] = [
    (b'r', Touch::Read),
    (b'a', Touch::Absent),
    (b'l', Touch::Listed),
    (b'w', Touch::Wrote),
    (b'x', Touch::Ran),
];

/// The socket that is the standard input of the tracing process.
pub(super) fn gate() -> UnixStream {
    // SAFETY: whoever starts the tracing process gives it a socket as descriptor 0, and nothing
    // here uses standard input otherwise.
    unsafe { UnixStream::from_raw_fd(0) }
}

/// Writes the report and lets go of whoever waits for it. What is traced from now on is what the
/// command left behind, which no longer ends with that process.
pub(super) fn hand_over(touched: Vec<Touched>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(None)?;
    let mut text = Vec::new();
    for Touched { path, touch } in touched {
        let letter = LETTERS.iter().find(|(_, other)| *other == touch);
        text.extend(letter.map(|(letter, _)| *letter));
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    text.push(0);
    // SAFETY: descriptor 1 is the pipe that the report goes to, and nothing here prints.
    let mut pipe = unsafe { File::from_raw_fd(1) };
    pipe.write_all(&text)
}

/// Reads a report; `None` when it breaks off.
pub(super) fn read(text: &[u8]) -> Option<Vec<Touched>> {
    let records = text.strip_suffix(b"\0")?;
    let Some(records) = records.strip_suffix(b"\0") else {
        return records.is_empty().then(Vec::new);
    };
    let touched = |record: &[u8]| {
        let (letter, path) = record.split_first()?;
        let (_, touch) = LETTERS.iter().find(|(other, _)| other == letter)?;
        Some(Touched { path: PathBuf::from(OsStr::from_bytes(path)), touch: *touch })
    };
    records.split(|byte| *byte == 0).map(touched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_breaks_off_is_none() {
        let whole = b"r/a\0x/b c\n\0\0";
        let all = read(whole).unwrap();
        assert_eq!(all[1], Touched { path: "/b c\n".into(), touch: Touch::Ran });
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        assert_eq!(read(b"\0"), Some(Vec::new()));
    }
}
