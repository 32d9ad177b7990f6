//! Secrets in what a command made: looked for where it was made, before any of it is kept.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use memchr::memmem::Finder;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};

use super::Secret;

/// Secrets that are shorter, in bytes, come up by chance, and are not looked for.
pub const SHORTEST_SECRET: usize = 6;

/// How deep folders are followed: what is deeper cannot be kept.
const DEEPEST: usize = 600;

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The name of the secret.
    pub secret: String,
    /// Where, relative to the folder, up to the first name that has a secret in it.
    pub path: String,
}

/// The first secret in a folder: in a content, a name, the target of a link or an attribute. White
/// space around a secret does not count.
pub(crate) fn find(folder: &Path, secrets: &[(String, Secret)]) -> io::Result<Option<Leak>> {
    let wanted: Vec<Wanted<'_>> = secrets
        .iter()
        .map(|(name, secret)| (name.as_str(), secret.bytes().trim_ascii()))
        .filter(|(_, bytes)| bytes.len() >= SHORTEST_SECRET)
        .map(|(name, bytes)| Wanted { name, length: bytes.len(), finder: Finder::new(bytes) })
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(folder, flags, Mode::empty())?;
    let mut search = Search { wanted: &wanted, at: Vec::new() };
    if let Some(found) = search.attributes(top.as_fd())? {
        return Ok(Some(search.leak(found)));
    }
    search.folder(&top)
}

struct Wanted<'a> {
    name: &'a str,
    length: usize,
    finder: Finder<'a>,
}

struct Search<'a> {
    wanted: &'a [Wanted<'a>],
    /// The names from the top to where it is.
    at: Vec<Vec<u8>>,
}

impl<'a> Search<'a> {
    fn in_bytes(&self, bytes: &[u8]) -> Option<&'a Wanted<'a>> {
        self.wanted.iter().find(|wanted| wanted.finder.find(bytes).is_some())
    }

    fn leak(&self, found: &Wanted<'_>) -> Leak {
        let free = self.at.iter().take_while(|name| self.in_bytes(name).is_none());
        let mut shown: Vec<String> =
            free.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if shown.len() < self.at.len() {
            shown.push("…".to_owned());
        }
        Leak { secret: found.name.to_owned(), path: shown.join("/") }
    }

    fn folder(&mut self, folder: &OwnedFd) -> io::Result<Option<Leak>> {
        if self.at.len() > DEEPEST {
            return Ok(None);
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for name in names {
            self.at.push(name);
            if let Some(leak) = self.entry(folder.as_fd())? {
                return Ok(Some(leak));
            }
            self.at.pop();
        }
        Ok(None)
    }

    /// What the last name stands for.
    fn entry(&mut self, folder: BorrowedFd<'_>) -> io::Result<Option<Leak>> {
        let Some(name) = self.at.last().cloned() else { return Ok(None) };
        let stat = statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        // A socket is never kept.
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(found) = self.in_bytes(&name)
            && kind != FileType::Socket
        {
            return Ok(Some(self.leak(found)));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = match kind {
            FileType::Symlink => {
                let target = readlinkat(folder, &*name, Vec::new())?;
                self.in_bytes(target.to_bytes())
            }
            FileType::RegularFile => {
                let file = openat(folder, &*name, flags, Mode::empty())?;
                match self.attributes(file.as_fd())? {
                    None => self.content(File::from(file))?,
                    found => found,
                }
            }
            FileType::Directory => {
                let below = openat(folder, &*name, flags | OFlags::DIRECTORY, Mode::empty())?;
                match self.attributes(below.as_fd())? {
                    None => return self.folder(&below),
                    found => found,
                }
            }
            // Nothing is in the others, and they have no attributes of users.
            _ => None,
        };
        Ok(found.map(|found| self.leak(found)))
    }

    fn attributes(&self, of: BorrowedFd<'_>) -> io::Result<Option<&'a Wanted<'a>>> {
        let all = ashlar_store::attributes(of)?;
        Ok(all.values().find_map(|value| self.in_bytes(value)))
    }

    /// One pass for all of them.
    fn content(&self, mut from: impl Read) -> io::Result<Option<&'a Wanted<'a>>> {
        let longest = self.wanted.iter().map(|wanted| wanted.length).max().unwrap_or(1);
        let mut buffer = Vec::with_capacity((256 << 10) + longest);
        loop {
            let count = from.by_ref().take(256 << 10).read_to_end(&mut buffer)?;
            if let Some(found) = self.in_bytes(&buffer) {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            // Its beginning may be the end of this piece.
            let keep = buffer.len().min(longest - 1);
            buffer.drain(..buffer.len() - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[(&str, &[u8])]) -> Vec<(String, Secret)> {
        all.iter().map(|(name, bytes)| ((*name).to_owned(), Secret::from(bytes.to_vec()))).collect()
    }

    #[test]
    fn what_lies_across_pieces_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let wanted = secrets(&[("other", b"another secret"), ("key", b" a long secret\n")]);
        for at in [0, 1, 262_100, 262_140, 262_144, 600_000] {
            let mut content = vec![b'.'; at];
            content.extend_from_slice(b"a long secret");
            content.extend_from_slice(&[b'.'; 10]);
            std::fs::write(&file, &content).unwrap();
            let found = find(dir.path(), &wanted).unwrap();
            let expected = Leak { secret: "key".to_owned(), path: "file".to_owned() };
            assert_eq!(found, Some(expected), "{at}");
        }
        std::fs::write(&file, vec![b'.'; 600_000]).unwrap();
        assert_eq!(find(dir.path(), &wanted).unwrap(), None);
    }

    #[test]
    fn names_links_and_attributes_count_and_are_not_shown() {
        let wanted = secrets(&[("short", b"abc"), ("key", b"TOPSECRET")]);
        let made = |make: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("deep")).unwrap();
            std::fs::write(dir.path().join("deep/abc"), "abc").unwrap();
            make(&dir.path().join("deep"));
            find(dir.path(), &wanted).unwrap().map(|leak| (leak.secret, leak.path))
        };
        let found = |path: &str| Some(("key".to_owned(), path.to_owned()));
        assert_eq!(made(&|_| {}), None);
        assert_eq!(
            made(&|at| std::fs::create_dir(at.join("aTOPSECRETb")).unwrap()),
            found("deep/…")
        );
        let link = |at: &Path| std::os::unix::fs::symlink("to/TOPSECRET", at.join("link")).unwrap();
        assert_eq!(made(&link), found("deep/link"));
        let flags = rustix::fs::XattrFlags::empty();
        let attribute = |at: &Path| {
            rustix::fs::setxattr(at.join("abc"), "user.key", b"TOPSECRET", flags).unwrap();
        };
        assert_eq!(made(&attribute), found("deep/abc"));
        let of_folder =
            |at: &Path| rustix::fs::setxattr(at, "user.key", b"TOPSECRET", flags).unwrap();
        assert_eq!(made(&of_folder), found("deep"));
    }
}
