//! What is mounted below a folder.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A place below a folder (without links) where something is mounted, if there is any.
pub(super) fn mount_below(folder: &Path) -> io::Result<Option<PathBuf>> {
    Ok(first_below(&std::fs::read("/proc/self/mountinfo")?, folder))
}

/// The same, out of the text of the kernel: the fifth field of each line is where.
fn first_below(text: &[u8], folder: &Path) -> Option<PathBuf> {
    let places = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(plain(field))))
    });
    let mut below: Vec<PathBuf> =
        places.filter(|place| place.starts_with(folder) && place != folder).collect();
    below.sort();
    below.into_iter().next()
}

/// Spaces and the like are written as `\040`.
fn plain(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &others[3..];
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_mounted_below_and_nothing_else() {
        let text = b"21 1 0:5 / /srv rw - tmpfs t rw\n22 21 0:6 / /srv/a\\040b/c rw - tmpfs t rw\n";
        let below = |folder: &str| first_below(text, Path::new(folder));
        assert_eq!(below("/srv"), Some("/srv/a b/c".into()));
        assert_eq!(below("/srv/a b"), Some("/srv/a b/c".into()));
        assert_eq!(below("/srv/a b/c"), None);
        assert_eq!(below("/sr"), None);
        assert!(mount_below(Path::new("/")).unwrap().is_some());
    }
}
