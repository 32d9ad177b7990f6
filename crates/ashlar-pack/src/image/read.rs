//! One layer or archive, read from its first byte to its last.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Read};

use ashlar_object::{Digest, Extra, Hasher, Meta, PathError, RelPath, Tree};

use super::ahead::ahead;
use super::grown::Grown;
use super::packed::{Blob, Compression, unpacked};
use crate::PackError;
use crate::entry::{DEEPEST, WHITEOUT};
use crate::tar::read::{Body, Header, Next, next};

/// What the names of an archive mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// A layer: names that begin with `.wh.` delete what lies below, and are in the tree as
    /// whiteouts and opaque directories.
    Layer,
    /// Files and nothing else, as an archive that `ADD` unpacks: all names are names.
    Files,
}

/// How much a layer or archive may ask for. What passes a bound is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many files, directories and links the tree may have, those included that no entry of
    /// the archive stands for.
    pub entries: u64,
    /// How many bytes may be read from the archive or make up its files, holes included.
    pub bytes: u64,
    /// How many bytes extended attributes and the targets of links may have together: they are
    /// held in memory.
    pub details: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 2 << 20, bytes: 64 << 30, details: 256 << 20 }
    }
}

/// A layer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLayer {
    /// What it changes. Times are not part of it, and of extended attributes only `user.*` and
    /// `security.capability` are.
    pub tree: Tree,
    /// The SHA-256 of the archive before compression, to compare with `rootfs.diff_ids`.
    pub diff_id: [u8; 32],
    /// Digest and size of the bytes that were read, to compare with the layer's descriptor.
    pub blob: Digest,
    /// What they were compressed with.
    pub compression: Compression,
}

/// Takes the content of one file, to its end, and says what its digest is. Maybe on another thread
/// than the one that reads the archive.
pub type Keep<'a> = dyn FnMut(&mut dyn Read) -> io::Result<Digest> + Send + 'a;

/// Reads the blob of a layer, plain or compressed with gzip or zstd, to its end. Contents go to
/// `keep`; memory grows with the number of entries, and not with contents.
///
/// Nothing of it may be used before `blob` and `diff_id` have been compared with what is expected:
/// an archive proves nothing about itself.
///
/// Devices and FIFOs in the top folder `dev` are left out, because whoever runs a container makes
/// its own. Hard links are in the tree as files with a `link`.
///
/// # Errors
/// [`PackError::Read`] when `bytes` fails, or is damaged, cut short or past a bound,
/// [`PackError::Archive`] when an entry is refused: outside of the image, through a link or file of
/// the layer, a second name of what is not there, a device; [`PackError::Keep`] when `keep`
/// fails or leaves a content unread.
pub fn read_layer(
    bytes: &mut dyn Read,
    bounds: &Bounds,
    keep: &mut Keep<'_>,
) -> Result<ReadLayer, PackError> {
    let count = Cell::new(0);
    let mut blob = Blob::new(bytes, &count);
    let (tree, (diff_id, compression)) = {
        let (inner, compression) = unpacked(&mut blob).map_err(PackError::Read)?;
        let mut plain = Plain { inner, hasher: Hasher::new(), taken: &count, given: 0 };
        // To unpack and to keep take about as long as each other.
        let tree = ahead(&mut plain, |plain| read_tar(plain, Rules::Layer, bounds, keep))?;
        (tree, (plain.hasher.finish().hash, compression))
    };
    // What no decoder asked for belongs to the blob as well.
    io::copy(&mut blob, &mut io::sink()).map_err(PackError::Read)?;
    Ok(ReadLayer { tree, diff_id, blob: blob.hasher.finish(), compression })
}

/// Reads a tar archive without compression to its end, as [`read_layer`] does.
///
/// # Errors
/// As [`read_layer`].
pub fn read_tar(
    plain: &mut dyn Read,
    rules: Rules,
    bounds: &Bounds,
    keep: &mut Keep<'_>,
) -> Result<Tree, PackError> {
    let plain: &mut dyn Read = &mut Bounded { inner: plain, left: bounds.bytes };
    grown(plain, rules, bounds, keep).map(Grown::into_tree)
}

/// Reads an archive as [`read_tar`] does with [`Rules::Files`]. The second set has the folders that
/// no entry stands for: whoever unpacks the archive over other files leaves such a folder as it is
/// where there is one. The root may be among them.
///
/// # Errors
/// As [`read_layer`].
pub fn read_files(
    plain: &mut dyn Read,
    bounds: &Bounds,
    keep: &mut Keep<'_>,
) -> Result<(Tree, BTreeSet<RelPath>), PackError> {
    let grown = grown(plain, Rules::Files, bounds, keep)?;
    let implied = grown.implied();
    Ok((grown.into_tree(), implied))
}

fn grown(
    plain: &mut dyn Read,
    rules: Rules,
    bounds: &Bounds,
    keep: &mut Keep<'_>,
) -> Result<Grown, PackError> {
    let mut reader = Reader { rules, bounds, keep, grown: Grown::default(), bytes: 0, details: 0 };
    while let Next::Entry(header) = next(plain)? {
        reader.entry(&header, plain)?;
    }
    // What is behind the end of the archive is in its digest, too.
    io::copy(plain, &mut io::sink()).map_err(PackError::Read)?;
    Ok(reader.grown)
}

/// The archive as it comes out of the decoder.
struct Plain<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: Hasher,
    taken: &'a Cell<u64>,
    given: u64,
}

/// Beyond this many bytes, the ratio below holds.
const RATIO_FROM: u64 = 1 << 30;

/// The most bytes that one byte of the blob may unpack to. Deflate cannot exceed 1,032, so this
/// concerns zstd alone, which makes gigabytes out of nothing.
const RATIO: u64 = 1100;

impl Read for Plain<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        self.given += count as u64;
        if self.given > RATIO_FROM && self.given / RATIO > self.taken.get() {
            return Err(past(format!("it unpacks to more than {RATIO} times its size")));
        }
        Ok(count)
    }
}

/// An archive of which only so much is read.
struct Bounded<'a> {
    inner: &'a mut dyn Read,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.left = (self.left.checked_sub(count as u64))
            .ok_or_else(|| past("it unpacks to more bytes than may be read".to_owned()))?;
        Ok(count)
    }
}

fn past(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Reader<'a, 'k> {
    rules: Rules,
    bounds: &'a Bounds,
    keep: &'a mut Keep<'k>,
    grown: Grown,
    bytes: u64,
    details: u64,
}

impl Reader<'_, '_> {
    fn entry(&mut self, header: &Header, plain: &mut dyn Read) -> Result<(), PackError> {
        let refuse = |reason: &str| PackError::Archive {
            path: String::from_utf8_lossy(&header.path).into_owned(),
            reason: reason.to_owned(),
        };
        let path = self.path(&header.path).map_err(|e| refuse(&format!("has {}", e.reason)))?;
        if path.names().len() > DEEPEST {
            return Err(refuse(&format!("is nested more than {DEEPEST} folders deep")));
        }
        let mut body = Body::new(plain, header);
        let added = match (header.kind, self.mark(&path)) {
            (_, Mark::Skip) => Ok(()),
            (_, Mark::Gone(name)) => self.grown.delete(&path, name),
            (_, Mark::Opaque) => self.grown.hide(&path),
            (b'5', Mark::None) => self.grown.dir(&path, meta(header)),
            // Archives from before POSIX mark directories by their name only.
            (b'0' | 0 | b'7', Mark::None) if body.size() == 0 && header.path.ends_with(b"/") => {
                self.grown.dir(&path, meta(header))
            }
            (_, Mark::None) if path.is_root() => return Err(refuse("is not a directory")),
            (b'0' | 0 | b'7' | b'S', Mark::None) => {
                self.bytes = self.bytes.saturating_add(body.size());
                if self.bytes > self.bounds.bytes {
                    let most = self.bounds.bytes;
                    return Err(refuse(&format!("brings all files to more than {most} bytes")));
                }
                // Before its content is kept for nothing.
                self.grown.place(&path).map_err(&refuse)?;
                let digest = match body.size() {
                    0 => Ok(Digest::EMPTY),
                    _ => (self.keep)(&mut body).and_then(|digest| {
                        if body.is_read() && digest.size == body.size() {
                            return Ok(digest);
                        }
                        Err(io::Error::other("the content was not read to its end"))
                    }),
                };
                let digest = body.finish(digest)?;
                self.details(header)?;
                let added = self.grown.file(&path, digest, meta(header));
                added.map_err(&refuse)?;
                return self.counted(&refuse);
            }
            (b'2', Mark::None) => {
                // PATH_MAX of Linux; nobody follows a longer one.
                if header.link.is_empty() || header.link.len() > 4095 || header.link.contains(&0) {
                    return Err(refuse("is a symbolic link to what cannot be a path"));
                }
                let meta = Meta { mode: 0o777, ..meta(header) };
                self.grown.symlink(&path, &header.link, meta)
            }
            (b'1', Mark::None) => {
                let target = (self.path(&header.link))
                    .map_err(|e| refuse(&format!("is a link to a path that has {}", e.reason)))?;
                match self.grown.link(&path, &target) {
                    // A second name of a device that was left out.
                    Err(_) if is_device(&path) && is_device(&target) => Ok(()),
                    other => other,
                }
            }
            (b'3' | b'4' | b'6', Mark::None) if is_device(&path) => Ok(()),
            (b'3', Mark::None) => Err("is a character device"),
            (b'4', Mark::None) => Err("is a block device"),
            (b'6', Mark::None) => {
                let mut meta = meta(header);
                if let Some(extra) = &mut meta.extra {
                    extra.xattrs.clear();
                }
                let extra = meta.extra.map(|extra| *extra).unwrap_or_default();
                self.grown.fifo(&path, Meta::new(meta.mode, extra))
            }
            (other, Mark::None) => {
                let other = char::from(other).escape_default();
                return Err(refuse(&format!("is of the kind `{other}`, which cannot be used")));
            }
        };
        body.finish(Ok(()))?;
        added.map_err(&refuse)?;
        self.details(header)?;
        self.counted(&refuse)
    }

    /// A path in the archive. Absolute ones lie below the folder that an archive of files is unpacked
    /// in, as for tar and other builders; of layers none are known.
    fn path(&self, written: &[u8]) -> Result<RelPath, PathError> {
        let absolute = written.iter().take_while(|byte| **byte == b'/').count();
        RelPath::parse(if self.rules == Rules::Files { &written[absolute..] } else { written })
    }

    fn counted(&self, refuse: &dyn Fn(&str) -> PackError) -> Result<(), PackError> {
        if self.grown.entries() > self.bounds.entries {
            return Err(refuse(&format!("is one of more than {} entries", self.bounds.entries)));
        }
        Ok(())
    }

    /// Counts what an entry holds in memory besides its name.
    fn details(&mut self, header: &Header) -> Result<(), PackError> {
        let attributes = header.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.details += (attributes.sum::<usize>() + header.link.len()) as u64;
        if self.details > self.bounds.details {
            let what = format!("its links and attributes take more than {}", self.bounds.details);
            return Err(PackError::Read(past(what + " bytes")));
        }
        Ok(())
    }

    /// What the name of an entry says when it is that of a layer.
    fn mark<'p>(&self, path: &'p RelPath) -> Mark<'p> {
        if self.rules == Rules::Files {
            return Mark::None;
        }
        const META: &[u8] = b".wh..wh.";
        // Folders with such names are places where AUFS kept things for itself.
        let Some((last, above)) = path.names().split_last() else { return Mark::None };
        if above.iter().any(|name| name.as_bytes().starts_with(META)) {
            return Mark::Skip;
        }
        match last.as_bytes() {
            b".wh..wh..opq" => Mark::Opaque,
            name if name.starts_with(META) => Mark::Skip,
            name => name.strip_prefix(WHITEOUT).map_or(Mark::None, Mark::Gone),
        }
    }
}

enum Mark<'p> {
    None,
    Gone(&'p [u8]),
    Opaque,
    Skip,
}

fn is_device(path: &RelPath) -> bool {
    path.names().len() > 1 && path.names()[0].as_bytes() == b"dev"
}

/// Mode, owner and attributes; times are the same for all files of an image.
fn meta(header: &Header) -> Meta {
    let (uid, gid) = header.owner;
    let kept = header.xattrs.iter().filter(|(name, _)| {
        *name == "security.capability"
            || (name.starts_with("user.") && !name.starts_with("user.overlay."))
    });
    let xattrs = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    Meta::new(header.mode, Extra { uid, gid, mtime: None, xattrs })
}
