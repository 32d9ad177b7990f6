//! How fast trees are packed and read back: `rate FOLDER [LEVEL]`, on one core, to nowhere.
//! Seconds are those of the processor.
//!
//! The first 400 MB of the folder's files are held in memory, so that no disk is measured.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ashlar_object::{Digest, File, Hasher, Meta, Node, RelPath, Tree};
use ashlar_pack::image::{Bounds, Compression, Writing, read_layer, write_layer};
use ashlar_pack::{Contents, Limits, Stack, Toc, archive, plan};

const MOST: usize = 400_000_000;

struct Memory(HashMap<Digest, Vec<u8>>);

impl Contents for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let content = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(content.as_slice()))
    }
}

fn collect(folder: &Path, at: &RelPath, tree: &mut Tree, memory: &mut Memory, size: &mut usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = std::os::unix::ffi::OsStringExt::into_vec(entry.file_name());
        let (Ok(name), Ok(kind)) = (ashlar_object::Name::new(name), entry.file_type()) else {
            continue;
        };
        let path = at.join(&name);
        if *size >= MOST {
            return;
        } else if kind.is_dir() {
            collect(&entry.path(), &path, tree, memory, size);
        } else if kind.is_file()
            && let Ok(content) = std::fs::read(entry.path())
        {
            let digest = Digest::of(&content);
            *size += content.len();
            memory.0.insert(digest, content);
            *tree = tree.with(&path, Node::File(File::new(digest, Meta::FILE)));
        }
    }
}

/// The time that the processor has spent on this, so that others on the machine do not count.
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "/usr".to_owned());
    let level = arguments.next().map_or(Ok(3), |level| level.parse())?;
    let (mut tree, mut memory, mut size) = (Tree::default(), Memory(HashMap::new()), 0);
    collect(Path::new(&folder), &RelPath::root(), &mut tree, &mut memory, &mut size);
    let out = &mut io::stdout().lock();
    writeln!(out, "{} entries, {:.1} MB", tree.len(), size as f64 / 1e6)?;
    let mut said = |what: &str, since: Duration, bytes: u64| {
        let seconds = (now() - since).as_secs_f64();
        let rate = size as f64 / 1e6 / seconds;
        writeln!(out, "{what:10} {seconds:6.3} s {rate:6.0} MB/s {:6.1} MB", bytes as f64 / 1e6)
    };

    let limits = Limits { level, ..Limits::default() };
    let since = now();
    let packing = plan(&tree, None, &limits)?;
    said("plan", since, packing.layers.len() as u64)?;
    let since = now();
    let mut packed = 0;
    for plan in &packing.layers {
        packed += plan.write(&memory, &mut io::sink())?.0.digest.size;
    }
    said("pack", since, packed)?;
    let (mut layers, mut blobs) = (Vec::new(), Vec::new());
    for plan in &packing.layers {
        let mut blob = Vec::new();
        layers.push(plan.write(&memory, &mut blob)?.0);
        blobs.push(blob);
    }

    let since = now();
    let mut stack = Vec::new();
    let mut tables = 0;
    for (layer, blob) in layers.into_iter().zip(&blobs) {
        let place = Toc::place(&layer.annotations).ok_or("no table of contents")?;
        let range = usize::try_from(place.range.start)?..usize::try_from(place.range.end)?;
        tables += range.len() as u64;
        stack.push((layer, place.decode(&blob[range])?));
    }
    let stack = Stack::new(stack, true);
    said("tables", since, tables)?;
    let since = now();
    let same = stack.tree()?.digest() == tree.digest();
    said(if same { "fold" } else { "WRONG" }, since, 0)?;
    let since = now();
    for fetch in stack.fetches(&tree.blobs().into_iter().collect(), 8 << 20) {
        let range = usize::try_from(fetch.range.start)?..usize::try_from(fetch.range.end)?;
        fetch.read(&mut &blobs[fetch.layer][range], &mut |_, content| {
            io::copy(content, &mut io::sink()).map(|_| ())
        })?;
    }
    said("fetch", since, 0)?;

    let mut blob = Vec::new();
    for (what, compression) in
        [("gzip", Compression::Gzip), ("zstd", Compression::Zstd), ("plain", Compression::None)]
    {
        blob.clear();
        let since = now();
        let how = Writing { compression, ..Writing::default() };
        let written = write_layer(&tree, &memory, &how, &mut blob)?.digest.size;
        said(what, since, written)?;
        let since = now();
        read_layer(&mut &blob[..], &Bounds::default(), &mut |content| {
            let mut hasher = Hasher::new();
            let mut piece = vec![0; 128 << 10];
            loop {
                match content.read(&mut piece)? {
                    0 => return Ok(hasher.finish()),
                    count => hasher.update(&piece[..count]),
                }
            }
        })?;
        said("read", since, written)?;
    }

    let since = now();
    archive::write(&tree, &memory, &mut io::sink())?;
    said("archive", since, 0)?;
    Ok(())
}
