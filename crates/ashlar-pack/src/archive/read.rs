//! Reading: whatever `tar -cz` writes.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read};

use ashlar_object::{RelPath, Time};
use flate2::read::MultiGzDecoder;

use crate::PackError;
use crate::tar::read::{self as tar, Body, Header, Next};

/// An entry met in an archive.
pub struct Entry<'a> {
    /// Where it belongs; the root for the archive's own `./`.
    pub path: RelPath,
    /// The permission bits, at most `0o7777`.
    pub mode: u32,
    /// User id and group id.
    pub owner: (u32, u32),
    /// Its time.
    pub time: Time,
    /// What it is.
    pub kind: Kind<'a>,
}

/// What an entry of an archive is.
pub enum Kind<'a> {
    /// A directory.
    Dir,
    /// A regular file. What is left unread is passed over.
    File {
        /// How many bytes it has.
        size: u64,
        /// Them. Fails instead of ending when the archive ends within.
        content: &'a mut dyn Read,
    },
    /// A symbolic link with its target as written; it may lead anywhere.
    Symlink(Vec<u8>),
    /// The same file as an entry before it.
    Hardlink(RelPath),
}

/// Reads any gzip'd tar archive. Refused are absolute and escaping paths, paths through symbolic
/// links of the archive, devices, FIFOs and sparse files.
///
/// An archive proves nothing about itself: nothing of it may be used before the digest of `bytes`
/// has been checked, and they are read to their end for that.
///
/// # Errors
/// [`PackError::Read`] when `bytes` fails or is damaged or cut short, [`PackError::Archive`] when
/// an entry is refused, [`PackError::Keep`] when `each` fails.
pub fn read(
    bytes: &mut dyn Read,
    each: &mut dyn FnMut(Entry<'_>) -> io::Result<()>,
) -> Result<(), PackError> {
    let mut plain = MultiGzDecoder::new(bytes);
    let mut links = Links::default();
    loop {
        let header = match tar::next(&mut plain)? {
            Next::Entry(header) => header,
            Next::End => break,
            Next::Nothing => return Err(PackError::Read(tar::early())),
        };
        let refuse = |reason: &str| PackError::Archive {
            path: String::from_utf8_lossy(&header.path).into_owned(),
            reason: reason.to_owned(),
        };
        let path =
            RelPath::parse(&header.path).map_err(|e| refuse(&format!("has {}", e.reason)))?;
        if links.lead(&path) {
            return Err(refuse("goes through a symbolic link of the archive"));
        }
        if header.sparse.is_some() {
            return Err(refuse("is a sparse file; make the archive without `--sparse`"));
        }
        let mut body = Body::new(&mut plain, &header);
        let kind = match header.kind {
            b'5' => Kind::Dir,
            // Archives from before POSIX mark directories by their name only.
            b'0' | 0 | b'7' if header.size == 0 && header.path.ends_with(b"/") => Kind::Dir,
            _ if path.is_root() => return Err(refuse("is not a directory")),
            b'0' | 0 | b'7' => Kind::File { size: header.size, content: &mut body },
            b'2' => {
                links.add(&path);
                Kind::Symlink(header.link.clone())
            }
            b'1' => {
                let target = RelPath::parse(&header.link)
                    .map_err(|e| refuse(&format!("is a link to a path that has {}", e.reason)))?;
                if target.is_root() || links.lead_above(&target) {
                    return Err(refuse("is a hard link to what is no file"));
                }
                // A second name of a link is a link as well.
                if links.lead(&target) {
                    links.add(&path);
                }
                Kind::Hardlink(target)
            }
            b'3' => return Err(refuse("is a character device")),
            b'4' => return Err(refuse("is a block device")),
            b'6' => return Err(refuse("is a FIFO")),
            other => {
                let other = char::from(other).escape_default();
                return Err(refuse(&format!("is of the kind `{other}`, which cannot be used")));
            }
        };
        let Header { mode, owner, time, .. } = *header;
        let taken = each(Entry { path, mode, owner, time, kind });
        body.finish(taken)?;
    }
    // The end of the archive is not that of the bytes: their checksums come last.
    io::copy(&mut plain, &mut io::sink()).map_err(PackError::Read)?;
    Ok(())
}

/// The symbolic links of the archive so far, as hashes: eight bytes for each, and a collision
/// would refuse an archive but never let one through.
#[derive(Default)]
struct Links {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Links {
    fn add(&mut self, path: &RelPath) {
        let hash = self.hasher.hash_one(path.names());
        self.seen.insert(hash);
    }

    /// Whether the path is one of the links or goes through one.
    fn lead(&self, path: &RelPath) -> bool {
        !self.seen.is_empty() && self.upto(path, path.names().len())
    }

    /// Whether the path goes through one of the links; it may be one.
    fn lead_above(&self, path: &RelPath) -> bool {
        !self.seen.is_empty() && self.upto(path, path.names().len().saturating_sub(1))
    }

    fn upto(&self, path: &RelPath, most: usize) -> bool {
        let hash = |length: usize| self.hasher.hash_one(&path.names()[..length]);
        (1..=most).any(|length| self.seen.contains(&hash(length)))
    }
}
