//! A layer tree as a layer that every tool takes, the same bytes for the same tree.

use std::io::Write;
use std::num::NonZeroUsize;

use ashlar_object::{
    Digest, Dir, Extra, File, Hasher, MOMENT, Meta, Name, Node, Symlink, Time, Tree,
};

use super::Compression;
use super::gzip::Gzip;
use crate::entry::{FirstNames, Item, WHITEOUT, What};
use crate::frame::{Blob, PIECE};
use crate::write::pass_on;
use crate::{Contents, Layer, LayerPlan, PackError, tar};

/// How a layer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// How the archive is compressed.
    pub compression: Compression,
    /// The level: 1 to 9 for gzip, 1 to 19 for zstd. By default 4 and 3: of gzip, 6 makes layers that
    /// are a hundredth smaller and takes an eighth longer.
    pub level: Option<i32>,
    /// The time of all entries, in seconds since the Unix epoch: [`MOMENT`] or what
    /// `SOURCE_DATE_EPOCH` says.
    pub time: i64,
    /// How many threads compress gzip. The bytes do not depend on it.
    pub threads: usize,
}

impl Default for Writing {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { compression: Compression::Gzip, level: None, time: MOMENT, threads: threads.min(16) }
    }
}

/// Writes a layer: the blob goes to `out`, what describes it is returned. The same tree and
/// [`Writing`] give the same bytes; memory does not grow with contents.
///
/// Entries are sorted, directories before what is in them, the root as `./` first. Deletions are
/// `.wh.NAME`, opaque directories have `.wh..wh..opq`, later names of a file are hard links to its
/// first. Times are all the same, whatever the tree says.
///
/// # Errors
/// [`PackError::Unsayable`] when a name begins with `.wh.`, or one to be deleted is too long for
/// that mark; [`PackError::Content`] and [`PackError::WrongContent`] when a content cannot be had;
/// [`PackError::Write`] when `out` fails.
pub fn write_layer(
    tree: &Tree,
    contents: &dyn Contents,
    how: &Writing,
    out: &mut dyn Write,
) -> Result<Layer, PackError> {
    let time = Time { seconds: how.time, nanos: 0 };
    let mut entries = Entries {
        items: Vec::new(),
        names: FirstNames::default(),
        time: (how.time != MOMENT).then_some(time),
    };
    entries.dir(tree.root(), &mut Vec::new())?;
    let items = entries.items;
    match how.compression {
        Compression::Zstd => {
            let level = how.level.unwrap_or(3);
            Ok(LayerPlan::of(items, level).write(contents, out)?.0)
        }
        Compression::None => {
            let mut blob = Blob::new(out);
            archive(&items, contents, &mut |bytes| blob.put(bytes))?;
            let digest = blob.finish()?;
            Ok(Layer { digest, diff_id: digest.hash, annotations: Default::default() })
        }
        Compression::Gzip => {
            let mut blob = Blob::new(out);
            let mut plain = Hasher::new();
            let level = how.level.unwrap_or(4).clamp(1, 9);
            let threads = how.threads.clamp(1, 64);
            Gzip::run(level.unsigned_abs(), threads, &mut |bytes| blob.put(bytes), |gzip| {
                archive(&items, contents, &mut |bytes| {
                    plain.update(bytes);
                    gzip.put(bytes)
                })
            })?;
            let diff_id = plain.finish().hash;
            Ok(Layer { digest: blob.finish()?, diff_id, annotations: Default::default() })
        }
    }
}

/// The archive of these entries, in pieces.
fn archive(
    items: &[Item],
    contents: &dyn Contents,
    put: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let mut header = Vec::new();
    let mut piece = vec![0; PIECE / 4];
    for item in items {
        header.clear();
        tar::append(&mut header, b"", &item.path, &item.what);
        put(&header)?;
        if let What::File { file, .. } = &item.what {
            pass_on(contents, &item.path, &file.digest, &mut piece, put)?;
            put(&tar::END[..tar::padding(file.digest.size)])?;
        }
    }
    put(&tar::END)
}

/// The entries of a layer in their order.
struct Entries {
    items: Vec<Item>,
    names: FirstNames,
    /// None for the fixed moment.
    time: Option<Time>,
}

impl Entries {
    fn dir(&mut self, dir: &Dir, path: &mut Vec<u8>) -> Result<(), PackError> {
        let what = What::Dir { meta: self.dated(dir.meta()), opaque: false };
        self.items.push(Item { path: path.as_slice().into(), what });
        // By the names that are in the archive, where deletions have others.
        let mut children: Vec<(Vec<u8>, Option<&Node>)> = Vec::new();
        if dir.is_opaque() {
            children.push((b".wh..wh..opq".to_vec(), None));
        }
        for (name, node) in dir.entries() {
            children.push(match node {
                Node::Whiteout => (self.mark(path, name)?, None),
                Node::Dir(_) | Node::File(_) | Node::Symlink(_) | Node::Fifo(_)
                    if name.as_bytes().starts_with(WHITEOUT) =>
                {
                    return Err(unsayable(
                        path,
                        name,
                        "would delete in a layer what it is named after",
                    ));
                }
                Node::Dir(_) | Node::File(_) | Node::Symlink(_) | Node::Fifo(_) => {
                    (name.as_bytes().to_vec(), Some(node))
                }
            });
        }
        children.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, node) in children {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            match node {
                Some(Node::Dir(child)) => self.dir(child, path)?,
                Some(Node::File(file)) => {
                    let file = File { meta: self.dated(&file.meta), ..file.clone() };
                    self.leaf(path, What::File { file, place: 0..0 });
                }
                Some(Node::Symlink(link)) => {
                    let meta = self.dated(&link.meta);
                    let target = link.target.clone();
                    self.leaf(path, What::Symlink(Symlink { target, meta }));
                }
                Some(Node::Fifo(meta)) => self.leaf(path, What::Fifo(self.dated(meta))),
                Some(Node::Whiteout) | None => {
                    let file = File::new(Digest::EMPTY, self.dated(&Meta::FILE));
                    self.leaf(path, What::File { file, place: 0..0 });
                }
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn leaf(&mut self, path: &[u8], what: What) {
        let mut item = Item { path: path.into(), what };
        self.names.link(&mut item);
        self.items.push(item);
    }

    /// The name of the entry that deletes a name.
    fn mark(&self, path: &[u8], name: &Name) -> Result<Vec<u8>, PackError> {
        let mark = [WHITEOUT, name.as_bytes()].concat();
        // It would be another mark, or one that no file system has room for.
        if name.as_bytes().starts_with(WHITEOUT) || Name::new(mark.as_slice()).is_err() {
            return Err(unsayable(path, name, "cannot be deleted by a layer"));
        }
        Ok(mark)
    }

    /// With the time that all entries have.
    fn dated(&self, meta: &Meta) -> Meta {
        match &meta.extra {
            None if self.time.is_none() => meta.clone(),
            extra => {
                let extra = extra.as_deref().cloned().unwrap_or_default();
                Meta::new(meta.mode, Extra { mtime: self.time, ..extra })
            }
        }
    }
}

fn unsayable(above: &[u8], name: &Name, reason: &'static str) -> PackError {
    let above = String::from_utf8_lossy(above);
    let slash = if above.is_empty() { "" } else { "/" };
    PackError::Unsayable { path: format!("{above}{slash}{name}"), reason }
}
