//! Layers that say one thing to tools that read archives and another to those that read tables.

use ashlar_object::{Digest, Meta, Node, Tree};
use ashlar_pack::{Layer, Limits, PackError, Toc, check};

use crate::support::{Pool, link, noise, pack, tree};

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";

struct Sample {
    layer: Layer,
    toc: Toc,
    blob: Vec<u8>,
}

impl Sample {
    fn of(entries: &[(&str, Node)], pool: &Pool) -> Self {
        let image = pack(&tree(entries), None, pool, &Limits::default());
        let (layer, toc) = image.stack.layers()[0].clone();
        Self { layer, toc, blob: image.blobs[0].clone() }
    }

    /// Where the archive ends.
    fn end(&self) -> usize {
        Toc::place(&self.layer.annotations).unwrap().range.start as usize - 8
    }

    /// With other bytes in place of the archive: all digests fit, the diff id among them.
    fn with(mut self, archive: &[u8]) -> Self {
        let end = self.end();
        let moved = |text: &String| {
            let (start, rest) = text.split_once(':').unwrap();
            format!("{}:{rest}", start.parse::<usize>().unwrap() - end + archive.len())
        };
        for name in [POSITION, SPLIT] {
            let text = moved(&self.layer.annotations[name]);
            self.layer.annotations.insert(name.to_owned(), text);
        }
        self.blob = [archive, &self.blob[end..]].concat();
        self.layer.digest = Digest::of(&self.blob);
        self.layer.diff_id = Digest::of(&zstd::decode_all(archive).unwrap()).hash;
        self
    }

    fn check(&self) -> Result<(), PackError> {
        check(&self.layer, &self.toc, &mut &*self.blob)
    }

    fn contradicts(&self, what: &str) {
        match self.check() {
            Err(PackError::Contradiction(why)) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?} instead of {what}"),
        }
    }
}

fn entries(pool: &mut Pool) -> Vec<(&'static str, Node)> {
    vec![
        ("bin/tool", pool.file(noise(1, 300_000))),
        ("bin/link", link(b"tool")),
        ("doc/large", pool.file(noise(2, 5 << 20))),
        ("doc/text", pool.file("text\n".repeat(1000))),
        ("empty", pool.file("")),
    ]
}

#[test]
fn what_is_written_is_what_it_says() {
    let mut pool = Pool::default();
    let entries = entries(&mut pool);
    Sample::of(&entries, &pool).check().unwrap();
    Sample::of(&[], &pool).check().unwrap();
    let image = pack(&tree(&entries), None, &pool, &Limits::default());
    let without: Tree = tree(&entries[1..]);
    let image = pack(&without, Some(&image), &pool, &Limits::default());
    for ((layer, toc), blob) in image.stack.layers().iter().zip(&image.blobs) {
        check(layer, toc, &mut &**blob).unwrap();
    }
}

#[test]
fn an_archive_that_is_not_what_the_table_says_is_found() {
    let mut pool = Pool::default();
    let good = entries(&mut pool);
    let other = |number: usize, node: Node| {
        let mut entries = good.clone();
        entries[number].1 = node;
        entries
    };
    let program = match &good[3].1 {
        Node::File(file) => Node::File(ashlar_object::File::new(file.digest, Meta::EXECUTABLE)),
        _ => unreachable!("it is a file"),
    };
    let same_size = pool.file("tExt\n".repeat(1000));
    let mut more = good.clone();
    more.push(("later", pool.file("more")));
    for (entries, what) in [
        (other(1, link(b"else")), "another header before or at `bin/link`"),
        (other(3, program), "another header before or at `doc/text`"),
        (other(3, same_size), "another content for `doc/text`"),
        (more, "does not end"),
        (good[..4].to_vec(), "another header before or at `empty`"),
    ] {
        let there = Sample::of(&entries, &pool);
        let archive = &there.blob[..there.end()];
        Sample::of(&good, &pool).with(archive).contradicts(what);
    }
}

#[test]
fn bytes_that_nobody_reads_are_found() {
    let mut pool = Pool::default();
    let good = entries(&mut pool);
    let sample = || Sample::of(&good, &pool);
    let archive = sample().blob[..sample().end()].to_vec();
    sample().with(&archive).check().unwrap();

    let hidden = [&archive[..], &[0x5e, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], b"evil"].concat();
    sample().with(&hidden).contradicts("bytes that nobody reads");
    let frame = zstd::encode_all(&b"evil"[..], 3).unwrap();
    sample().with(&[&archive[..], &frame].concat()).contradicts("more than its table");

    let mut longer = sample();
    longer.blob.extend_from_slice(b"evil");
    longer.layer.digest = Digest::of(&longer.blob);
    longer.contradicts("belong to nothing");
    let mut other = sample();
    other.layer.diff_id[0] ^= 1;
    other.contradicts("configuration");
}

#[test]
fn no_flipped_or_missing_byte_passes() {
    let mut pool = Pool::default();
    let good = [("a", pool.file(noise(3, 2000))), ("b", link(b"a"))];
    let sample = Sample::of(&good, &pool);
    for at in 0..sample.blob.len() {
        let mut blob = sample.blob.clone();
        blob[at] ^= 4;
        let checked = check(&sample.layer, &sample.toc, &mut &*blob);
        assert!(matches!(checked, Err(PackError::WrongBlob(_))), "byte {at}: {checked:?}");
        let checked = check(&sample.layer, &sample.toc, &mut &sample.blob[..at]);
        assert!(matches!(checked, Err(PackError::Read(_))), "{at} bytes: {checked:?}");
    }
}
