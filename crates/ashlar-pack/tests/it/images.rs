//! Layers of ordinary images: what is written is read back, and is the same whoever writes it.

use std::io;
use std::num::NonZeroU32;
use std::process::Command;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Extra, File, Meta, Node, Symlink, Tree};
use ashlar_pack::image::{
    Bounds, Compression, ReadLayer, Rules, Writing, read_layer, read_tar, write_layer,
};
use ashlar_pack::{Layer, PackError, Toc};
use proptest::prelude::*;

use crate::strategies::any_tree;
use crate::support::{Pool, assert_same, noise, path};
use crate::tools::{rich, run};

pub const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

/// A tree as layers of images hold it: without times and without other attributes than those that
/// belong to files everywhere.
pub fn plain(tree: &Tree) -> Tree {
    fn meta(meta: &Meta) -> Meta {
        let mut extra = meta.extra.as_deref().cloned().unwrap_or_default();
        extra.mtime = None;
        extra.xattrs.retain(|name, _| name.starts_with("user.") || name == "security.capability");
        Meta::new(meta.mode, extra)
    }
    fn dir(of: &Dir) -> Dir {
        let entries = of.entries().iter().map(|(name, node)| {
            let node = match node {
                Node::Dir(inner) => Node::Dir(Arc::new(dir(inner))),
                Node::File(file) => Node::File(File { meta: meta(&file.meta), ..file.clone() }),
                Node::Symlink(link) => {
                    Node::Symlink(Symlink { meta: meta(&link.meta), ..link.clone() })
                }
                Node::Fifo(fifo) => Node::Fifo(meta(fifo)),
                Node::Whiteout => Node::Whiteout,
            };
            (name.clone(), node)
        });
        Dir::new(entries.collect(), meta(of.meta()), of.is_opaque())
    }
    Tree::from(dir(tree.root())).with_canonical_links()
}

/// All that a layer can change.
pub fn layer(pool: &mut Pool) -> Tree {
    let opaque = Dir::new(
        [(ashlar_object::Name::new(*b"in").unwrap(), pool.file("in"))].into(),
        Meta { mode: 0o700, extra: None },
        true,
    );
    let tree = plain(&rich(pool))
        .with(&path("usr/gone"), Node::Whiteout)
        .with(&path("a gone"), Node::Whiteout)
        .with(&path("hidden"), Node::Dir(Arc::new(opaque)));
    let empty = File { link: NonZeroU32::new(1), ..File::new(Digest::EMPTY, Meta::FILE) };
    tree.with(&path("e/1"), Node::File(empty.clone())).with(&path("e/2"), Node::File(empty))
}

/// And a FIFO.
pub fn layer_with_fifo(pool: &mut Pool) -> Tree {
    let extra = Extra { uid: 7, gid: 8, ..Extra::default() };
    layer(pool).with(&path("run/fifo"), Node::Fifo(Meta::new(0o620, extra)))
}

pub fn write(tree: &Tree, pool: &Pool, compression: Compression) -> (Layer, Vec<u8>) {
    let mut blob = Vec::new();
    let how = Writing { compression, ..Writing::default() };
    let layer = write_layer(tree, pool, &how, &mut blob).unwrap();
    assert_eq!(layer.digest, Digest::of(&blob));
    (layer, blob)
}

pub fn read(blob: &[u8]) -> Result<(ReadLayer, Pool), PackError> {
    let mut pool = Pool::default();
    let mut keep = |content: &mut dyn io::Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        Ok(pool.put(bytes))
    };
    let read = read_layer(&mut &blob[..], &Bounds::default(), &mut keep)?;
    Ok((read, pool))
}

#[test]
fn a_layer_is_read_as_it_was_written() {
    let mut pool = Pool::default();
    let tree = layer_with_fifo(&mut pool);
    let mut diff_ids = Vec::new();
    for compression in ALL {
        let (layer, blob) = write(&tree, &pool, compression);
        let (found, contents) = read(&blob).unwrap();
        assert_same(&tree, &found.tree);
        assert_eq!(found.diff_id, layer.diff_id);
        assert_eq!(found.blob, layer.digest);
        assert_eq!(found.compression, compression);
        for digest in tree.blobs().into_iter().filter(|digest| digest.size > 0) {
            assert_eq!(contents.get(&digest), pool.get(&digest));
        }
        let chunked = Toc::place(&layer.annotations).is_some();
        assert_eq!(chunked, compression == Compression::Zstd);
        diff_ids.push(layer.diff_id);
    }
    assert!(diff_ids.iter().all(|id| *id == diff_ids[0]));
    let (_, tar) = write(&tree, &pool, Compression::None);
    assert_eq!(Digest::of(&tar).hash, diff_ids[0]);
    assert_eq!(
        run(Command::new("gzip").arg("-dc"), &write(&tree, &pool, Compression::Gzip).1),
        tar
    );
    assert_eq!(
        run(Command::new("zstd").arg("-dc"), &write(&tree, &pool, Compression::Zstd).1),
        tar
    );
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let mut pool = Pool::default();
    let text = (0..200_000)
        .flat_map(|n: u32| format!("line {} of it\n", n.wrapping_mul(n) % 9973).into_bytes());
    let tree = layer(&mut pool)
        .with(&path("text"), pool.file(text.collect::<Vec<u8>>()))
        .with(&path("noise"), pool.file(noise(77, 1_500_000)));
    let mut blobs = Vec::new();
    for threads in [1, 2, 7, 1, 3, 16] {
        let mut blob = Vec::new();
        let how = Writing { threads, ..Writing::default() };
        let layer = write_layer(&tree, &pool, &how, &mut blob).unwrap();
        assert_eq!(read(&blob).unwrap().0.diff_id, layer.diff_id);
        blobs.push(blob);
    }
    assert!(blobs.iter().all(|blob| *blob == blobs[0]));
    // Whoever changes these changes the digest of every image: libraries that compress, too.
    let digest = |compression| write(&tree, &pool, compression).0.digest.short();
    assert_eq!(ALL.map(digest), GOLDEN);
    // As one stream would be: blocks know what is before them.
    let whole = run(Command::new("gzip").args(["-6", "-n", "-c"]), &write(&tree, &pool, ALL[0]).1);
    let (ours, theirs) = (blobs[0].len() as f64, whole.len() as f64);
    assert!(ours < 1.03 * theirs, "{ours} and {theirs}");
}

#[test]
fn every_entry_has_the_time_that_was_given() {
    let mut pool = Pool::default();
    let tree = layer(&mut pool);
    for (time, shown) in
        [(0, "1970-01-01 00:00"), (946_684_800, "2000-01-01 00:00"), (-86_400, "1969-12-31 00:00")]
    {
        for compression in ALL {
            let mut blob = Vec::new();
            let how = Writing { time, compression, ..Writing::default() };
            write_layer(&tree, &pool, &how, &mut blob).unwrap();
            assert_same(&tree, &read(&blob).unwrap().0.tree);
            let program = match compression {
                Compression::None => "-tvf",
                Compression::Gzip => "-tvzf",
                Compression::Zstd => "--zstd -tvf",
            };
            let mut tar = Command::new("tar");
            tar.args(program.split(' ')).arg("-").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
            let listing = String::from_utf8(run(&mut tar, &blob)).unwrap();
            assert!(listing.lines().count() > 30);
            for line in listing.lines() {
                assert!(line.contains(shown), "{line}");
            }
        }
    }
}

#[test]
fn what_a_layer_cannot_say_is_refused() {
    let mut pool = Pool::default();
    let file = pool.file("x");
    let long = "n".repeat(253);
    for (at, node) in [
        (".wh.a", file.clone()),
        ("a/.wh.b/c", file.clone()),
        (".wh..wh..opq", Node::Whiteout),
        (long.as_str(), Node::Whiteout),
    ] {
        let tree = Tree::default().with(&path("b"), file.clone()).with(&path(at), node);
        let written = write_layer(&tree, &pool, &Writing::default(), &mut io::sink());
        let Err(PackError::Unsayable { path: named, .. }) = written else {
            panic!("{at}: {written:?}");
        };
        assert!(at.starts_with(&named), "{named}");
    }
    let tree = Tree::default().with(&path(&long), file);
    assert!(write_layer(&tree, &pool, &Writing::default(), &mut io::sink()).is_ok());
}

#[test]
fn failures_of_contents_and_of_the_writer_are_told() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut pool = Pool::default();
    let tree = layer(&mut pool).with(&path("noise"), pool.file(noise(7, 3_000_000)));
    let lost = tree.with(&path("a"), Pool::default().file("not there"));
    let mut spoiled = pool.clone();
    spoiled.spoil(&Digest::of(&noise(7, 3_000_000)), &noise(8, 3_000_000));
    for compression in ALL {
        let how = Writing { compression, ..Writing::default() };
        let full = write_layer(&tree, &pool, &how, &mut Full(1_000_000));
        assert!(matches!(full, Err(PackError::Write(_))), "{full:?}");
        let missing = write_layer(&lost, &pool, &how, &mut io::sink());
        assert!(matches!(missing, Err(PackError::Content { .. })), "{missing:?}");
        let wrong = write_layer(&tree, &spoiled, &how, &mut io::sink());
        assert!(matches!(wrong, Err(PackError::WrongContent { .. })), "{wrong:?}");
    }
}

#[test]
fn archives_of_files_have_no_deletions() {
    let mut pool = Pool::default();
    let tree = layer(&mut pool);
    let (_, tar) = write(&tree, &pool, Compression::None);
    let mut keep = |content: &mut dyn io::Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        Ok(Digest::of(&bytes))
    };
    let found = read_tar(&mut &tar[..], Rules::Files, &Bounds::default(), &mut keep).unwrap();
    for name in [".wh.a gone", "usr/.wh.gone", "hidden/.wh..wh..opq"] {
        assert!(matches!(found.get(&path(name)), Some(Node::File(_))), "{name}");
    }
    let unmarked = ["a gone", "usr/gone"].map(|name| found.get(&path(name)));
    assert_eq!(unmarked, [None, None]);
}

#[test]
fn a_content_that_is_not_taken_is_an_error() {
    let mut pool = Pool::default();
    let (_, blob) = write(&layer(&mut pool), &pool, Compression::Gzip);
    let read = |keep: &mut ashlar_pack::image::Keep<'_>| {
        let read = read_layer(&mut &blob[..], &Bounds::default(), keep);
        assert!(matches!(read, Err(PackError::Keep(_))), "{read:?}");
    };
    read(&mut |_| Err(io::ErrorKind::StorageFull.into()));
    read(&mut |_| Ok(Digest::of(b"something else")));
    read(&mut |content| {
        let mut start = [0; 1];
        content.read_exact(&mut start)?;
        Ok(Digest::of(&start))
    });
}

#[test]
fn cut_and_damaged_layers_are_errors() {
    let mut pool = Pool::default();
    let tree = Tree::default()
        .with(&path("a"), pool.file(noise(1, 700)))
        .with(&path("b/c"), pool.file("text"))
        .with(&path("d"), Node::Whiteout);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (layer, blob) = write(&tree, &pool, compression);
        for at in 0..blob.len() {
            let mut flipped = blob.clone();
            flipped[at] ^= 0x10;
            // What gets through has other digests, which the caller compares.
            if let Ok((found, _)) = read(&flipped) {
                assert_ne!(found.blob, layer.digest);
                // Deflate has a sum over what it holds, and not over its own bits.
                assert!(compression == Compression::Zstd || found.diff_id == layer.diff_id);
            }
            // Nothing at all is an archive of nothing; tables of contents are no part of one.
            let cut = read(&blob[..at]).map(|(found, _)| found.tree);
            assert!(at == 0 || cut.is_err() || cut.is_ok_and(|found| found == tree), "{at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_layer_is_read_as_it_was_written(tree in any_tree(), compression in 0..3_usize) {
        let tree = plain(&tree);
        let pool = crate::strategies::pool();
        // Names that no mark has room for.
        let mut writable = tree.clone();
        tree.walk(|entry| {
            let name = entry.path.names().last().map_or(0, |name| name.as_bytes().len());
            if name > 251 && *entry.node == Node::Whiteout {
                writable.put(entry.path, Node::Symlink(Symlink {
                    target: (*b"gone").into(),
                    meta: Meta { mode: 0o777, extra: None },
                }));
            }
        });
        let (layer, blob) = write(&writable, &pool, ALL[compression]);
        let (found, _) = read(&blob).unwrap();
        assert_same(&writable, &found.tree);
        prop_assert_eq!(found.diff_id, layer.diff_id);
    }

    /// With sums made right again, so that what follows the sum is met.
    #[test]
    fn whatever_headers_say_reading_ends(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut pool = Pool::default();
        let (_, tar) = write(&layer(&mut pool), &pool, Compression::None);
        let mut tar = tar[..tar.len().min(200 << 10)].to_vec();
        for (at, byte) in changes {
            let block = at.index(tar.len() / 512) * 512;
            if &tar[block + 257..block + 262] == b"ustar" {
                tar[block + usize::from(byte) * 2 % 500] = byte;
                crate::hostile::sealed(&mut tar[block..block + 512]);
            }
        }
        for bytes in [&bytes, &tar] {
            // Either is fine; what is read can be written and read again.
            if let Ok((found, _)) = read(bytes) {
                prop_assert_eq!(&Tree::decode(&found.tree.encode()).unwrap(), &found.tree);
                prop_assert_eq!(&found.tree.with_canonical_links(), &found.tree);
            }
        }
    }
}

const GOLDEN: [&str; 3] = ["9f1c666570b8", "9918b71f18bd", "1764e2b435ee"];
