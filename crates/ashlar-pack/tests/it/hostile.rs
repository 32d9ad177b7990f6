//! Layers that mean harm, and layers that nobody can hold: errors, and never more than was allowed.

use std::io::{self, Read};

use ashlar_object::{Digest, Node};
use ashlar_pack::PackError;
use ashlar_pack::image::{
    Bounds, Compression, ReadLayer, Rules, Writing, read_files, read_layer, read_tar, write_layer,
};

use crate::images::read;
use crate::support::{Pool, path};

/// A header of an entry with its content.
fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link.as_bytes()[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    sealed(&mut block);
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// Makes the sum of a header right.
pub fn sealed(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block[..512].iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in pairs {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        all.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    entry("PaxHeaders/x", b'x', "", &all)
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = parts.concat();
    all.resize(all.len() + 1024, 0);
    all
}

#[test]
fn entries_that_mean_harm_are_refused() {
    let file = |name: &str| entry(name, b'0', "", b"x");
    let link = |name: &str, to: &str| entry(name, b'2', to, b"");
    let hard = |name: &str, to: &str| entry(name, b'1', to, b"");
    let deep = "d/".repeat(600) + "f";
    let cases: Vec<(&str, &str, Vec<Vec<u8>>)> = vec![
        ("absolute", "/etc/passwd", vec![file("/etc/passwd")]),
        ("up", "a/../../b", vec![file("a/../../b")]),
        ("up by PAX", "../b", vec![records(&[("path", "../b")]), file("fine")]),
        ("absolute by PAX", "/b", vec![records(&[("path", "/b")]), file("fine")]),
        ("through a link", "l/f", vec![link("l", "/etc"), file("l/f")]),
        ("a folder through a link", "l/d", vec![link("l", "."), entry("l/d/", b'5', "", b"")]),
        ("a mark through a link", "l/.wh.f", vec![link("l", "/etc"), file("l/.wh.f")]),
        ("through a file", "f/g", vec![file("f"), file("f/g")]),
        ("a hard link up", "h", vec![hard("h", "../../etc/passwd")]),
        ("a hard link to /", "h", vec![hard("h", "/etc/passwd")]),
        ("a hard link to nothing", "h", vec![hard("h", "nothing")]),
        ("a hard link to a folder", "h", vec![entry("d", b'5', "", b""), hard("h", "d")]),
        ("a hard link to the root", "h", vec![hard("h", ".")]),
        ("a hard link through a link", "h", vec![link("l", "/etc"), hard("h", "l/passwd")]),
        ("a hard link to itself", "h", vec![hard("h", "h")]),
        ("a root that is a file", "./", vec![file("./")]),
        ("a link to nowhere", "l", vec![link("l", "")]),
        ("a kind of its own", "k", vec![entry("k", b'Q', "", b"")]),
        ("deletes nothing", ".wh.", vec![file(".wh.")]),
        ("deletes the folder above", ".wh...", vec![file(".wh...")]),
        ("nested too deep", &deep, vec![records(&[("path", &deep)]), file("fine")]),
        (
            "a size below zero",
            "f",
            vec![{
                let mut bad = file("f");
                bad[124..136].fill(0xFF);
                sealed(&mut bad);
                bad
            }],
        ),
        (
            "a wrong sum",
            "g",
            vec![{
                let mut bad = file("f");
                bad[0] = b'g';
                bad
            }],
        ),
        ("records that lie", "x", vec![entry("x", b'x', "", b"99 path=a\n"), file("fine")]),
        (
            "a name of a gigabyte",
            "n",
            vec![{
                let mut bad = entry("n", b'L', "", b"");
                bad[124..136].copy_from_slice(b"10000000000\0");
                sealed(&mut bad);
                bad
            }],
        ),
        (
            "holes that overlap",
            "f",
            vec![
                records(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,1,0,1")]),
                entry("f", b'0', "", b"xy"),
            ],
        ),
        (
            "holes beyond the end",
            "f",
            vec![
                records(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "18446744073709551615,1")]),
                file("f"),
            ],
        ),
        (
            "holes of other bytes",
            "f",
            vec![records(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,5")]), file("f")],
        ),
        (
            "a file of holes beyond all disks",
            "f",
            vec![
                records(&[("GNU.sparse.size", "18446744073709551615"), ("GNU.sparse.map", "0,1")]),
                file("f"),
            ],
        ),
    ];
    for (what, name, parts) in cases {
        match read(&archive(&parts)) {
            Err(PackError::Archive { path, reason }) => {
                assert_eq!(path.trim_end_matches('/'), name.trim_end_matches('/'), "{what}");
                assert!(!reason.is_empty());
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    let fine = read(&archive(&[file("a"), hard("b", "a"), link("c", "/etc"), hard("d", "c")]));
    let tree = fine.unwrap().0.tree;
    assert_eq!(tree.links().len(), 1);
    assert!(matches!(tree.get(&path("d")), Some(Node::Symlink(_))));
    // A map that says it has more than its entry.
    let version = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9")];
    for map in ["1\n0\n", "99999999999\n", "x", "-1\n"] {
        let bad = archive(&[records(&version), entry("f", b'0', "", map.as_bytes())]);
        assert!(matches!(read(&bad), Err(PackError::Read(_))), "{map:?}");
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let file = |name: &str, content: &[u8]| entry(name, b'0', "", content);
    let link = |name: &str, to: &str| entry(name, b'2', to, b"");
    let dir = |name: &str| entry(name, b'5', "", b"");
    let tree = read(&archive(&[
        file("a", b"1"),
        entry("b", b'1', "a", b""),
        file("a", b"2"),
        link("l", "/etc"),
        dir("l"),
        file("l/f", b"in a folder"),
        dir("d"),
        file("d/f", b"gone"),
        file("d", b"a file now"),
    ]));
    let tree = tree.unwrap().0.tree;
    assert!(!tree.has_links());
    let digest = |at: &str| match tree.get(&path(at)) {
        Some(Node::File(file)) => file.digest,
        other => panic!("{other:?}"),
    };
    assert_eq!(digest("a"), Digest::of(b"2"));
    assert_eq!(digest("b"), Digest::of(b"1"));
    assert_eq!(digest("l/f"), Digest::of(b"in a folder"));
    assert_eq!(digest("d"), Digest::of(b"a file now"));
}

fn bounded(bytes: &mut dyn Read, bounds: &Bounds) -> Result<ReadLayer, PackError> {
    read_layer(bytes, bounds, &mut |content| {
        let mut size = 0;
        let mut hasher = ashlar_object::Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    size += count;
                }
            }
        }
        assert!(size as u64 <= bounds.bytes);
        Ok(hasher.finish())
    })
}

#[test]
fn what_is_too_much_is_refused() {
    let file = |name: &str| entry(name, b'0', "", b"x");
    let many: Vec<_> = (0..101).map(|n| file(&format!("f{n}"))).collect();
    let deep: Vec<_> = (0..3).map(|n| file(&format!("{n}/{}f", "d/".repeat(40)))).collect();
    let wide: Vec<_> = (0..40)
        .flat_map(|n| {
            let value = "v".repeat(3000);
            [records(&[("SCHILY.xattr.user.big", &value)]), file(&format!("f{n}"))]
        })
        .collect();
    let bounds = Bounds { entries: 100, bytes: 1 << 20, details: 100_000 };
    for (what, parts) in [("files", many), ("folders", deep)] {
        let bytes = archive(&parts);
        assert!(bounded(&mut &bytes[..], &Bounds::default()).is_ok(), "{what}");
        match bounded(&mut &bytes[..], &bounds) {
            Err(PackError::Archive { reason, .. }) => {
                assert_eq!(reason, "is one of more than 100 entries", "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    let bytes = archive(&wide);
    assert!(bounded(&mut &bytes[..], &Bounds::default()).is_ok());
    assert!(matches!(bounded(&mut &bytes[..], &bounds), Err(PackError::Read(_))));
    let holes = archive(&[
        records(&[("GNU.sparse.size", "1048577"), ("GNU.sparse.map", "0,1")]),
        file("f"),
    ]);
    assert!(bounded(&mut &holes[..], &Bounds::default()).is_ok());
    assert!(matches!(bounded(&mut &holes[..], &bounds), Err(PackError::Archive { .. })));
}

/// The same bytes for ever.
struct Endless {
    frame: Vec<u8>,
    at: usize,
}
impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = &self.frame[self.at..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.frame.len();
        Ok(count)
    }
}

#[test]
fn bombs_end_early() {
    // Of zeros alone, behind the end of an archive and in a file.
    let mut pool = Pool::default();
    let zeros = pool.put(vec![0; 20 << 20]);
    let file = ashlar_object::File::new(zeros, ashlar_object::Meta::FILE);
    let tree = ashlar_object::Tree::default().with(&path("zeros"), Node::File(file));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut blob = Vec::new();
        let how = Writing { compression, ..Writing::default() };
        write_layer(&tree, &pool, &how, &mut blob).unwrap();
        assert!(blob.len() < 100 << 10);
        let bounds = Bounds { bytes: 10 << 20, ..Bounds::default() };
        let read = bounded(&mut &blob[..], &bounds);
        assert!(matches!(read, Err(PackError::Archive { .. })), "{read:?}");
        assert!(bounded(&mut &blob[..], &Bounds::default()).is_ok());
    }
    let frame = crate::tools::run(std::process::Command::new("zstd").arg("-c"), &vec![0; 1 << 20]);
    let bounds = Bounds { bytes: 64 << 20, ..Bounds::default() };
    let read = bounded(&mut Endless { frame, at: 0 }, &bounds);
    assert!(matches!(read, Err(PackError::Read(_))), "{read:?}");
    // Headers before an entry that never comes.
    let labels = entry("label", b'V', "", b"");
    let read = bounded(&mut Endless { frame: labels, at: 0 }, &bounds);
    assert!(matches!(read, Err(PackError::Read(_))), "{read:?}");
}

#[test]
fn whoever_reads_an_archive_alone_has_the_same_bounds() {
    let bytes = archive(&[entry(".wh.x", b'0', "", b"x"), entry("../y", b'0', "", b"x")]);
    let read = read_tar(&mut &bytes[..], Rules::Files, &Bounds::default(), &mut |content| {
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        Ok(Digest::of(&all))
    });
    assert!(matches!(read, Err(PackError::Archive { path, .. }) if path == "../y"));
    let labels = entry("label", b'V', "", b"");
    let bounds = Bounds { bytes: 16 << 20, ..Bounds::default() };
    let mut endless = Endless { frame: labels, at: 0 };
    let read = read_tar(&mut endless, Rules::Files, &bounds, &mut |_| Ok(Digest::EMPTY));
    assert!(matches!(read, Err(PackError::Read(_))), "{read:?}");
}

#[test]
fn folders_that_no_entry_stands_for_are_told() {
    let bytes = archive(&[
        entry("a/b/f", b'0', "", b"x"),
        entry("a/", b'5', "", b""),
        entry("c/", b'5', "", b""),
        entry("c/.wh.x", b'0', "", b"x"),
    ]);
    let mut kept = |content: &mut dyn Read| {
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        Ok(Digest::of(&all))
    };
    let (tree, implied) = read_files(&mut &bytes[..], &Bounds::default(), &mut kept).unwrap();
    let implied: Vec<String> = implied.iter().map(ToString::to_string).collect();
    assert_eq!(implied, ["", "a/b"]);
    assert!(tree.get(&path("c/.wh.x")).is_some(), "a name like any other");
}
