//! Applying patches with GNU `patch`, never asking anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::SourceError;
use crate::program::{PATCH, words};

/// A patch in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Its name, for messages.
    pub name: String,
    /// The text.
    pub bytes: Vec<u8>,
    /// How many leading components of the paths in it are dropped.
    pub strip: u32,
}

/// How strictly a patch has to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As dpkg-source applies Debian's: the context must fit exactly, emptied files go.
    Debian,
    /// As a person would apply the project's.
    Project,
}

/// Why a patch cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A hunk does not fit.
    #[error("the patch {patch} does not apply: hunk {hunk} of {file} failed at line {line}")]
    Hunk {
        /// The patch.
        patch: String,
        /// The file to be patched.
        file: String,
        /// Which hunk of it, from 1.
        hunk: u32,
        /// The line of the file where it should have fitted.
        line: u64,
    },
    /// The file to be patched is not there.
    #[error("the patch {patch} does not apply: {file} is not there (with -p{strip})")]
    NoFile {
        /// The patch.
        patch: String,
        /// The file as the patch names it.
        file: String,
        /// How many components were dropped.
        strip: u32,
    },
    /// The patch is in the source already.
    #[error("the patch {patch} is in {file} already")]
    Applied {
        /// The patch.
        patch: String,
        /// The file.
        file: String,
    },
    /// The patch names a file outside the source.
    #[error("the patch {patch} would change `{file}`, {what}")]
    Escapes {
        /// The patch.
        patch: String,
        /// The file as the patch names it.
        file: String,
        /// Why that is outside.
        what: &'static str,
    },
    /// A script for `ed`, which could run anything.
    #[error("the patch {patch} has a script for ed at line {line}, which is never run")]
    Script {
        /// The patch.
        patch: String,
        /// Its line, from 1.
        line: usize,
    },
    /// Nothing in it is a patch.
    #[error("{patch} has no patch in it")]
    Empty {
        /// The file.
        patch: String,
    },
    /// `patch` failed in some other way.
    #[error("the patch {patch} does not apply: patch says:\n{words}")]
    Failed {
        /// The patch.
        patch: String,
        /// What `patch` said.
        words: String,
    },
}

impl PatchError {
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Hunk { .. } => {
                Some("refresh the patch against this version of the source".to_owned())
            }
            Self::NoFile { .. } => Some("is `strip` right for this patch?".to_owned()),
            Self::Applied { .. } => Some("drop the patch, or pin an older source".to_owned()),
            _ => None,
        }
    }
}

/// Applies patches in order to a folder.
pub(crate) fn apply(folder: &Path, patches: &[Patch], rules: Rules) -> Result<(), SourceError> {
    patches.iter().try_for_each(|patch| apply_one(folder, patch, rules))
}

fn apply_one(folder: &Path, patch: &Patch, rules: Rules) -> Result<(), SourceError> {
    let outline = Outline::read(&patch.bytes);
    if outline.is_empty() {
        // Quilt keeps empty patches in a series; a text that should be a patch and is none is a
        // mistake.
        if rules == Rules::Debian || patch.bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        return Err(PatchError::Empty { patch: patch.name.clone() }.into());
    }
    if let Some(line) = outline.script {
        return Err(PatchError::Script { patch: patch.name.clone(), line }.into());
    }
    for file in &outline.files {
        inside(folder, patch, file)?;
    }
    let mut command = PATCH.command();
    command
        .args(["--batch", "--forward", "--no-backup-if-mismatch", "--reject-file=-"])
        .arg("--version-control=never")
        .arg(format!("--strip={}", patch.strip))
        .env_remove("POSIXLY_CORRECT")
        .env_remove("SIMPLE_BACKUP_SUFFIX")
        .env("QUOTING_STYLE", "literal")
        .arg("-d")
        .arg(folder);
    if rules == Rules::Debian {
        command.args(["--fuzz=0", "--remove-empty-files"]);
    }
    let output = PATCH.run(&mut command, Some(&patch.bytes))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = output.stdout;
    said.extend_from_slice(&output.stderr);
    Err(explain(patch, &String::from_utf8_lossy(&said)).into())
}

/// Finds the first failure in what `patch` said.
fn explain(patch: &Patch, said: &str) -> PatchError {
    let name = patch.name.clone();
    let mut file = String::new();
    let mut headers = "";
    for line in said.lines() {
        if let Some(rest) = line
            .strip_prefix("patching file ")
            .or_else(|| line.strip_prefix("patching symbolic link "))
        {
            // `x (renamed from y)`, `x (read from y)`.
            rest.split(" (re").next().unwrap_or(rest).clone_into(&mut file);
        } else if let Some(header) =
            line.strip_prefix("|--- ").or_else(|| line.strip_prefix("|+++ "))
        {
            if headers.is_empty() || headers == "/dev/null" {
                headers = header.split('\t').next().unwrap_or(header);
            }
        } else if line.starts_with("can't find file to patch") {
            // The lines that lead up to the patch follow; the name is in them.
            continue;
        } else if line.starts_with("Reversed (or previously applied) patch detected") {
            return PatchError::Applied { patch: name, file };
        } else if line.starts_with("No file to patch.") {
            return PatchError::NoFile {
                patch: name,
                file: headers.to_owned(),
                strip: patch.strip,
            };
        } else if let Some((hunk, at)) = failed_hunk(line) {
            return PatchError::Hunk { patch: name, file, hunk, line: at };
        }
    }
    PatchError::Failed { patch: name, words: words(said.as_bytes()) }
}

/// `Hunk #2 FAILED at 123.`, with more behind it for hunks that fit elsewhere.
fn failed_hunk(line: &str) -> Option<(u32, u64)> {
    let (hunk, rest) = line.strip_prefix("Hunk #")?.split_once(" FAILED at ")?;
    let at: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((hunk.parse().ok()?, at.parse().ok()?))
}

/// What a patch is about, as far as it matters before it is applied.
#[derive(Default)]
struct Outline {
    /// Every file it names, as written.
    files: Vec<Vec<u8>>,
    /// Whether there is any change of text.
    hunks: bool,
    /// Changes without text: renamed files, modes.
    extended: bool,
    /// The line at which `patch` would see a script for `ed`, from 1.
    script: Option<usize>,
}

impl Outline {
    /// Reads headers and steps over hunks, because lines of a hunk can look like headers.
    fn read(bytes: &[u8]) -> Self {
        let mut outline = Self::default();
        let mut left = (0_u64, 0_u64);
        let mut command = None;
        for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if left != (0, 0) {
                let (old, new) = match line.first() {
                    Some(b'-') => (1, 0),
                    Some(b'+') => (0, 1),
                    Some(b'\\') => (0, 0),
                    _ => (1, 1),
                };
                left = (left.0.saturating_sub(old), left.1.saturating_sub(new));
            } else if let Some(counts) = hunk_counts(line) {
                (left, command, outline.hunks) = (counts, None, true);
            } else if line.starts_with(b"***************") {
                (command, outline.hunks) = (None, true);
            } else if let Some(name) = header(line.trim_ascii_start()) {
                // `patch` takes a text that is indented as a whole, so headers are.
                outline.files.push(name);
            } else if is_command(line) {
                command = command.or(Some(index + 1));
            } else if line == b"." && command.is_some() {
                outline.script = outline.script.or(command);
            }
            outline.extended |= EXTENDED.iter().any(|prefix| line.starts_with(prefix));
        }
        outline.script = outline.script.or(command);
        outline
    }

    fn is_empty(&self) -> bool {
        !self.hunks && !self.extended
    }
}

/// Headers of git for changes that need no hunk.
const EXTENDED: [&[u8]; 5] =
    [b"rename ", b"copy ", b"new file mode ", b"deleted file mode ", b"new mode "];

/// Whether `patch` would take a line for a command to `ed`: `5,7d`.
fn is_command(line: &[u8]) -> bool {
    let numbers = line.iter().take_while(|b| b.is_ascii_digit() || **b == b',').count();
    let rest = line[numbers..].trim_ascii();
    numbers > 0 && line[0].is_ascii_digit() && matches!(rest, b"a" | b"c" | b"d")
}

/// `@@ -1,2 +3,4 @@`: how many old and new lines follow.
fn hunk_counts(line: &[u8]) -> Option<(u64, u64)> {
    // What follows is a line of the file, in whatever encoding.
    let end = line.windows(3).take(100).position(|bytes| bytes == b" @@")?;
    let ranges = std::str::from_utf8(&line[..end]).ok()?;
    let (old, new) = ranges.strip_prefix("@@ -")?.split_once(" +")?;
    let count = |range: &str| match range.split_once(',') {
        Some((_, count)) => count.parse().ok(),
        None => Some(1),
    };
    Some((count(old)?, count(new)?))
}

/// The file that a header line names, without what diff adds behind a tab.
fn header(line: &[u8]) -> Option<Vec<u8>> {
    let prefixes = [
        &b"--- "[..],
        b"+++ ",
        b"*** ",
        b"Index: ",
        b"rename from ",
        b"rename to ",
        b"copy from ",
        b"copy to ",
    ];
    let name = prefixes.iter().find_map(|prefix| line.strip_prefix(*prefix))?;
    let name = name.split(|b| *b == b'\t').next().unwrap_or(name).trim_ascii();
    // Context hunks have `*** 1,5 ****` and `--- 1,6 ----`.
    if name.ends_with(b" ****") || name.ends_with(b" ----") {
        return None;
    }
    Some(unquoted(name))
}

/// Git and GNU diff put odd names in double quotes, as in C.
fn unquoted(name: &[u8]) -> Vec<u8> {
    let Some(inner) = name.strip_prefix(b"\"").and_then(|n| n.strip_suffix(b"\"")) else {
        return name.to_vec();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let octal =
            tail.get(..3).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        if let Some(byte) = octal {
            out.push(byte);
            rest = &tail[3..];
        } else if let Some((escaped, tail)) = tail.split_first() {
            out.push(match escaped {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                other => *other,
            });
            rest = tail;
        }
    }
    out
}

/// Refuses a file outside the folder, or behind a link.
fn inside(folder: &Path, patch: &Patch, name: &[u8]) -> Result<(), PatchError> {
    if name == b"/dev/null" {
        return Ok(());
    }
    let escapes = |what| {
        let file = String::from_utf8_lossy(name).into_owned();
        Err(PatchError::Escapes { patch: patch.name.clone(), file, what })
    };
    let mut rest = name;
    for _ in 0..patch.strip {
        // As `patch` does: runs of slashes count once; too few components leave the last.
        let Some(at) = rest.iter().position(|b| *b == b'/') else { break };
        rest = &rest[at..];
        while let Some(tail) = rest.strip_prefix(b"/") {
            rest = tail;
        }
    }
    if rest.starts_with(b"/") {
        return escapes("an absolute path");
    }
    let mut at = folder.to_owned();
    let mut parts = rest.split(|b| *b == b'/').peekable();
    while let Some(part) = parts.next() {
        if part == b".." {
            return escapes("which has `..` in it");
        }
        at.push(OsStr::from_bytes(part));
        let is_link = at.symlink_metadata().is_ok_and(|m| m.is_symlink());
        if is_link && parts.peek().is_some() {
            return escapes("through a symbolic link");
        }
    }
    Ok(())
}

/// A line of a quilt series.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SeriesLine<'a> {
    pub number: usize,
    pub name: &'a str,
    /// The `-pN` behind the name; `Err` holds options that are not known.
    pub strip: Result<Option<u32>, &'a str>,
}

/// Reads a quilt series: names with options, `#` begins a comment.
pub(crate) fn series(text: &str) -> Vec<SeriesLine<'_>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = match line.find('#') {
            Some(0) => "",
            Some(at) if line[..at].ends_with([' ', '\t']) => &line[..at],
            _ => line,
        };
        let line = line.trim();
        let (name, options) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if name.is_empty() {
            continue;
        }
        let options = options.trim();
        let strip = match options.strip_prefix("-p") {
            _ if options.is_empty() => Ok(None),
            // `-pab` names folders `a` and `b`: one component.
            Some("ab") => Ok(Some(1)),
            Some(number) => number.trim().parse().map(Some).map_err(|_| options),
            None => Err(options),
        };
        lines.push(SeriesLine { number: index + 1, name, strip });
    }
    lines
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
