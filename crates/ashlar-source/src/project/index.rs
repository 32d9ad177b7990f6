//! The names in git's index.
//!
//! Format: `gitformat-index(5)`, versions 2 to 4. A shared (split) index is left to git itself.

use std::path::{Path, PathBuf};

use crate::program::GIT;

/// The paths of tracked files below a folder of the repository, relative to that folder.
/// Submodules are left out. An index that cannot be read is none: then only rules decide.
pub(super) fn tracked(repository: &Path, below: &[u8]) -> Vec<Vec<u8>> {
    let Some(folder) = git_folder(repository) else { return Vec::new() };
    let Ok(bytes) = std::fs::read(folder.join("index")) else { return Vec::new() };
    let names = parse(&bytes, hash_size(&folder)).or_else(|| ask_git(repository));
    let prefix = [below, b"/"].concat();
    names
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| match below {
            b"" => Some(name),
            _ => name.strip_prefix(&prefix[..]).map(<[u8]>::to_vec),
        })
        .collect()
}

/// `.git`, or where a file of that name points (work trees, submodules).
fn git_folder(repository: &Path) -> Option<PathBuf> {
    let git = repository.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(&git).ok()?;
    Some(repository.join(text.strip_prefix("gitdir:")?.trim()))
}

fn hash_size(folder: &Path) -> usize {
    let common = std::fs::read_to_string(folder.join("commondir"))
        .map_or_else(|_| folder.to_owned(), |common| folder.join(common.trim()));
    let config = std::fs::read_to_string(common.join("config")).unwrap_or_default();
    let is_sha256 = config.lines().any(|line| {
        let line: String = line.to_ascii_lowercase().split_whitespace().collect();
        line == "objectformat=sha256"
    });
    if is_sha256 { 32 } else { 20 }
}

fn parse(bytes: &[u8], hash: usize) -> Option<Vec<Vec<u8>>> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let version = number(4)?;
    if bytes.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let count = number(8)?;
    let mut at = 12;
    let mut names = Vec::new();
    let mut name: Vec<u8> = Vec::new();
    for _ in 0..count {
        let start = at;
        let mode = number(at + 24)?;
        let flags_at = at + 40 + hash;
        let flags = u16::from_be_bytes(bytes.get(flags_at..flags_at + 2)?.try_into().ok()?);
        at = flags_at + if flags & 0x4000 == 0 { 2 } else { 4 };
        if version == 4 {
            // So many bytes of the name before are dropped.
            let mut dropped = 0_usize;
            loop {
                let byte = *bytes.get(at)?;
                at += 1;
                dropped = dropped.checked_mul(128)?.checked_add(usize::from(byte & 127))?;
                if byte & 128 == 0 {
                    break;
                }
                dropped = dropped.checked_add(1)?;
            }
            name.truncate(name.len().checked_sub(dropped)?);
        } else {
            name.clear();
        }
        let end = at + bytes.get(at..)?.iter().position(|b| *b == 0)?;
        name.extend_from_slice(&bytes[at..end]);
        // Before version 4, NULs fill up to a multiple of eight.
        at = if version == 4 { end + 1 } else { start + (end - start) / 8 * 8 + 8 };
        match mode & 0o170_000 {
            0o100_000 | 0o120_000 => names.push(name.clone()),
            // A folder: the index is sparse, and git has to say what is in it.
            0o040_000 => return None,
            _ => {}
        }
    }
    // Extensions: a shared index has most names elsewhere.
    let end = bytes.len().checked_sub(hash)?;
    while at + 8 <= end {
        if bytes.get(at..at + 4)? == b"link" {
            return None;
        }
        at = at.checked_add(8)?.checked_add(number(at + 4)? as usize)?;
    }
    Some(names)
}

fn ask_git(repository: &Path) -> Option<Vec<Vec<u8>>> {
    let mut command = GIT.command();
    command.arg("-C").arg(repository).args(["ls-files", "-z", "--cached"]);
    let output = GIT.run(&mut command, None).ok().filter(|output| output.status.success())?;
    let names = output.stdout.split(|b| *b == 0).filter(|name| !name.is_empty());
    Some(names.map(<[u8]>::to_vec).collect())
}
