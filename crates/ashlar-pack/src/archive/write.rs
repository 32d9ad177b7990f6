//! Writing: tar into stored blocks.

use std::io::Write;

use ashlar_object::{Digest, Dir, Hasher, Node, Tree};

use crate::entry::{Item, What};
use crate::frame::PIECE;
use crate::write::pass_on;
use crate::{Contents, PackError, tar};

/// The most that a stored block of deflate can hold (RFC 1951, 3.2.4).
const BLOCK: usize = 0xFFFF;

/// So many blocks are one gzip member of nearly 1 MiB.
const BLOCKS: usize = 16;

/// Writes a tree as an archive that plain `tar -zxpf` reads, and returns the digest of what was
/// written. The same tree gives the same bytes.
///
/// # Errors
/// When a content cannot be read or is not what its digest says, the tree is a layer with
/// deletions in it, or `out` fails.
pub fn write(
    tree: &Tree,
    contents: &dyn Contents,
    out: &mut dyn Write,
) -> Result<Digest, PackError> {
    let mut stored =
        Stored { out, hasher: Hasher::new(), buffer: Vec::with_capacity(BLOCK * BLOCKS) };
    let piece = vec![0; PIECE / 4];
    let mut packer = Packer { contents, out: &mut stored, header: Vec::new(), piece };
    packer.entry(&Item::dir(b"", tree.root()))?;
    packer.dir(tree.root(), &mut Vec::new())?;
    stored.put(&tar::END)?;
    stored.finish()
}

struct Packer<'a, 'o> {
    contents: &'a dyn Contents,
    out: &'a mut Stored<'o>,
    header: Vec<u8>,
    piece: Vec<u8>,
}

impl Packer<'_, '_> {
    fn dir(&mut self, dir: &Dir, path: &mut Vec<u8>) -> Result<(), PackError> {
        for (name, node) in dir.entries() {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            self.entry(&Item::of(path, node))?;
            if let Node::Dir(child) = node {
                self.dir(child, path)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, item: &Item) -> Result<(), PackError> {
        let refused = match item.what {
            What::Whiteout | What::Dir { opaque: true, .. } => {
                Some("deletes what lies below a layer, which only layers can say")
            }
            What::Fifo(_) => Some("is a FIFO, which only layers have"),
            What::Dir { .. } | What::File { .. } | What::Link { .. } | What::Symlink(_) => None,
        };
        if let Some(reason) = refused {
            return Err(PackError::Archive {
                path: String::from_utf8_lossy(&item.path).into_owned(),
                reason: reason.to_owned(),
            });
        }
        self.header.clear();
        tar::append(&mut self.header, b"./", &item.path, &item.what);
        self.out.put(&self.header)?;
        if let What::File { file, .. } = &item.what {
            let put = &mut |bytes: &[u8]| self.out.put(bytes);
            pass_on(self.contents, &item.path, &file.digest, &mut self.piece, put)?;
            self.out.put(&tar::END[..tar::padding(file.digest.size)])?;
        }
        Ok(())
    }
}

/// A gzip stream of members of equal size, whatever pieces the bytes come in.
struct Stored<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl Stored<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        while !bytes.is_empty() {
            let room = BLOCK * BLOCKS - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BLOCK * BLOCKS {
                self.member()?;
            }
        }
        Ok(())
    }

    /// RFC 1952: no name, no time, no system, so that nothing but the content is in it.
    fn member(&mut self) -> Result<(), PackError> {
        const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
        let buffer = std::mem::take(&mut self.buffer);
        self.pass(&HEADER)?;
        let mut blocks = buffer.chunks(BLOCK).peekable();
        while let Some(block) = blocks.next() {
            let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
            let [a, b] = length.to_le_bytes();
            self.pass(&[u8::from(blocks.peek().is_none()), a, b, !a, !b])?;
            self.pass(block)?;
        }
        let mut sum = flate2::Crc::new();
        sum.update(&buffer);
        self.pass(&sum.sum().to_le_bytes())?;
        self.pass(&sum.amount().to_le_bytes())?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Digest, PackError> {
        if !self.buffer.is_empty() {
            self.member()?;
        }
        self.out.flush().map_err(PackError::Write)?;
        Ok(self.hasher.finish())
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(PackError::Write)
    }
}
