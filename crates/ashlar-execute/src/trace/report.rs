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

/// A program that was run and whose doings are not in the report.
const HIDDEN: u8 = b'h';

/// What a trace has seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What was touched, in the order of paths.
    pub(super) touched: Vec<Touched>,
    /// Programs that may not be read, and therefore not be watched.
    pub(super) hidden: Vec<PathBuf>,
}

/// The socket that is the standard input of the tracing process.
pub(super) fn gate() -> UnixStream {
    // SAFETY: whoever starts the tracing process gives it a socket as descriptor 0, and nothing
    // here uses standard input otherwise.
    unsafe { UnixStream::from_raw_fd(0) }
}

/// Writes the report and lets go of whoever waits for it. What is traced from now on is what the
/// command left behind, which no longer ends with that process.
pub(super) fn hand_over(report: Report) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(None)?;
    let mut text = Vec::new();
    let touched = report.touched.into_iter().map(|Touched { path, touch }| {
        (LETTERS.iter().find(|(_, other)| *other == touch).map(|(letter, _)| *letter), path)
    });
    for (letter, path) in touched.chain(report.hidden.into_iter().map(|path| (Some(HIDDEN), path)))
    {
        text.extend(letter);
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    text.push(0);
    // SAFETY: descriptor 1 is the pipe that the report goes to, and nothing here prints.
    let mut pipe = unsafe { File::from_raw_fd(1) };
    pipe.write_all(&text)
}

/// Reads a report; `None` when it breaks off.
pub(super) fn read(text: &[u8]) -> Option<Report> {
    let mut report = Report::default();
    let records = text.strip_suffix(b"\0")?;
    let Some(records) = records.strip_suffix(b"\0") else {
        return records.is_empty().then_some(report);
    };
    for record in records.split(|byte| *byte == 0) {
        let (letter, path) = record.split_first()?;
        let path = PathBuf::from(OsStr::from_bytes(path));
        if *letter == HIDDEN {
            report.hidden.push(path);
        } else {
            let (_, touch) = LETTERS.iter().find(|(other, _)| other == letter)?;
            report.touched.push(Touched { path, touch: *touch });
        }
    }
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_breaks_off_is_none() {
        let whole = b"r/a\0x/b c\n\0h/c\0\0";
        let all = read(whole).unwrap();
        assert_eq!(all.hidden, [PathBuf::from("/c")]);
        assert_eq!(all.touched[1], Touched { path: "/b c\n".into(), touch: Touch::Ran });
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        assert_eq!(read(b"\0"), Some(Report::default()));
    }
}
