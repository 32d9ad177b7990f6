//! Archives of trusted artifacts: what is written real tar unpacks, what real tar packs is read.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Meta, Node, RelPath, Tree};
use ashlar_pack::PackError;
use ashlar_pack::archive::{self, Kind};
use proptest::prelude::*;

use crate::strategies::any_tree;
use crate::support::{Pool, assert_same, link, noise, path, scan, tree, unlinked};
use crate::tools::{rich, run};

/// What is in an archive: a line for each entry.
fn entries(bytes: &[u8]) -> Result<BTreeMap<RelPath, String>, PackError> {
    let mut all = BTreeMap::new();
    archive::read(&mut &bytes[..], &mut |entry| {
        let (mode, (uid, gid), time) = (entry.mode, entry.owner, entry.time);
        let what = match entry.kind {
            Kind::Dir => "dir".to_owned(),
            Kind::File { size, content } => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                assert_eq!(bytes.len() as u64, size);
                format!("file {}", Digest::of(&bytes))
            }
            Kind::Symlink(target) => format!("link {target:?}"),
            Kind::Hardlink(target) => format!("also {target}"),
        };
        let mode = if what.starts_with("link") { 0o777 } else { mode };
        let told = format!("{mode:o} {uid}:{gid} {}.{:09} {what}", time.seconds, time.nanos);
        all.insert(entry.path, told);
        Ok(())
    })?;
    Ok(all)
}

/// The same of a tree.
fn told(tree: &Tree) -> BTreeMap<RelPath, String> {
    let mut all = BTreeMap::new();
    let mut tell = |path: &RelPath, meta: &Meta, what: String| {
        let (uid, gid) = meta.owner();
        let time = meta.extra.as_ref().and_then(|extra| extra.mtime);
        let (seconds, nanos) = time.map_or((ashlar_object::MOMENT, 0), |t| (t.seconds, t.nanos));
        all.insert(
            path.clone(),
            format!("{:o} {uid}:{gid} {seconds}.{nanos:09} {what}", meta.mode),
        );
    };
    tell(&RelPath::root(), tree.root().meta(), "dir".to_owned());
    tree.walk(|entry| match entry.node {
        Node::Dir(dir) => tell(entry.path, dir.meta(), "dir".to_owned()),
        Node::File(file) => tell(entry.path, &file.meta, format!("file {}", file.digest)),
        Node::Symlink(link) => tell(entry.path, &link.meta, format!("link {:?}", link.target)),
        Node::Fifo(meta) => tell(entry.path, meta, "FIFO".to_owned()),
        Node::Whiteout => {}
    });
    all
}

fn without_marks(dir: &Dir) -> Dir {
    let entries = dir.entries().iter().filter_map(|(name, node)| match node {
        Node::Dir(child) => Some((name.clone(), Node::Dir(Arc::new(without_marks(child))))),
        Node::Whiteout => None,
        other => Some((name.clone(), other.clone())),
    });
    Dir::new(entries.collect(), dir.meta().clone(), false)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_archive_holds_the_tree(tree in any_tree()) {
        let tree = Tree::from(without_marks(tree.root()));
        let mut bytes = Vec::new();
        let digest = archive::write(&tree, &crate::strategies::pool(), &mut bytes).unwrap();
        prop_assert_eq!(digest, Digest::of(&bytes));
        prop_assert_eq!(entries(&bytes).unwrap(), told(&tree));
    }
}

#[test]
fn tar_unpacks_an_archive() {
    let mut pool = Pool::default();
    let tree = unlinked(&rich(&mut pool)).with(&path("large"), pool.file(noise(9, 3_500_000)));
    let mut bytes = Vec::new();
    archive::write(&tree, &pool, &mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // As the stock consumer does, and with attributes.
    let mut tar = Command::new("tar");
    tar.args(["-zxpf", "-", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"]);
    run(tar.arg(folder.path()), &bytes);
    assert_same(&tree, &scan(folder.path()));
    // Stored, so hardly larger than what is in it, and the same each time.
    let plain = run(Command::new("gzip").arg("-dc"), &bytes);
    assert!(bytes.len() as f64 <= plain.len() as f64 * 1.0001 + 100.0);
    let mut again = Vec::new();
    archive::write(&tree, &pool, &mut again).unwrap();
    assert!(again == bytes);
}

/// A folder with everything that `tar -cz` has to say something about.
fn folder(pool: &mut Pool) -> (tempfile::TempDir, Tree) {
    let mut tree = unlinked(&rich(pool));
    for target in [90, 101, 250] {
        tree =
            tree.with(&path(&format!("links/{}", "l".repeat(target))), link(&vec![b't'; target]));
    }
    let mut bytes = Vec::new();
    archive::write(&tree, pool, &mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run(
        Command::new("tar").args(["-zxpf", "-", "--numeric-owner", "-C"]).arg(folder.path()),
        &bytes,
    );
    let found = scan(folder.path());
    (folder, found)
}

#[test]
fn what_tar_packs_is_read() {
    let mut pool = Pool::default();
    let (folder, tree) = folder(&mut pool);
    std::fs::hard_link(folder.path().join("bin/su"), folder.path().join("bin/zz")).unwrap();
    let tree = Tree::from(Dir::new(
        tree.root().entries().clone(),
        scan(folder.path()).root().meta().clone(),
        false,
    ));
    for format in ["gnu", "pax", "posix"] {
        let mut tar = Command::new("tar");
        tar.args(["-czf", "-", "--format", format, "--numeric-owner", "--xattrs", "-C"]);
        let bytes = run(tar.arg(folder.path()).arg("."), b"");
        let mut found = entries(&bytes).unwrap();
        // One of the two is a link to the other, whichever came first.
        let mut expected = told(&tree);
        let (su, zz) = (path("bin/su"), path("bin/zz"));
        let pair = [found.remove(&su).unwrap(), found.remove(&zz).unwrap()];
        assert!(
            pair.iter().any(|l| l.ends_with("also bin/su") || l.ends_with("also bin/zz")),
            "{pair:?}"
        );
        assert!(pair.contains(&expected.remove(&su).unwrap()), "{pair:?}");
        found.remove(&path("bin"));
        expected.remove(&path("bin"));
        if format == "gnu" {
            // That format has whole seconds.
            for line in found.values_mut().chain(expected.values_mut()) {
                let dot = line.find('.').unwrap();
                line.replace_range(dot..dot + 10, "");
            }
        }
        let wrong: Vec<_> = expected
            .iter()
            .filter(|(at, told)| {
                // The root's own time has a fraction, too.
                !at.is_root() && found.get(at) != Some(told)
            })
            .collect();
        assert!(wrong.is_empty() && found.len() == expected.len(), "{format}: {wrong:?}");
    }
}

#[test]
fn old_and_other_archives_are_read() {
    let mut pool = Pool::default();
    let (folder, _) = folder(&mut pool);
    std::fs::create_dir(folder.path().join("few")).unwrap();
    for name in ["a", "b"] {
        std::fs::write(folder.path().join("few").join(name), name).unwrap();
    }
    for format in ["v7", "ustar", "oldgnu"] {
        let mut tar = Command::new("tar");
        tar.args(["-czf", "-", "--format", format, "-C"])
            .arg(folder.path())
            .args(["few", "-V", "label"]);
        if format == "v7" || format == "ustar" {
            tar = Command::new("tar");
            tar.args(["-czf", "-", "--format", format, "-C"]).arg(folder.path()).arg("few");
        }
        let found = entries(&run(&mut tar, b"")).unwrap();
        assert_eq!(found.len(), 3, "{format}: {found:?}");
        assert!(found[&path("few")].ends_with(" dir"));
    }
    // Several members, cut anywhere.
    let mut tar = Command::new("tar");
    let plain = run(tar.args(["-cf", "-", "-C"]).arg(folder.path()).arg("few"), b"");
    let expected = entries(&run(Command::new("gzip").arg("-c"), &plain)).unwrap();
    for cut in [1, 511, 513, 1025] {
        let (a, b) = plain.split_at(cut);
        let parts = [a, b].map(|part| run(Command::new("gzip").arg("-c"), part)).concat();
        assert_eq!(entries(&parts).unwrap(), expected);
    }
}

/// A header of an archive that no decent program writes.
fn header(name: &[u8], kind: u8, link: &[u8], size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..124 + size.len()].copy_from_slice(size);
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn gzip(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for part in parts {
        io::Write::write_all(&mut encoder, part).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn archives_that_mean_harm_are_refused() {
    let plain = |name: &str, kind| header(name.as_bytes(), kind, b"", b"00000000000");
    let linked =
        |name: &str, kind, to: &str| header(name.as_bytes(), kind, to.as_bytes(), b"00000000000");
    let records = |text: &str| {
        let mut all = header(b"x", b'x', b"", format!("{:011o}", text.len()).as_bytes());
        all.extend_from_slice(text.as_bytes());
        all.resize(1024, 0);
        all
    };
    let cases: Vec<(&str, &str, Vec<Vec<u8>>)> = vec![
        ("absolute", "/etc/passwd", vec![plain("/etc/passwd", b'0')]),
        ("escaping", "a/../../b", vec![plain("a/../../b", b'0')]),
        ("escaping dir", "..", vec![plain("..", b'5')]),
        ("escaping by PAX", "../b", vec![records("13 path=../b\n"), plain("fine", b'0')]),
        ("NUL by PAX", "a\0b", vec![records("12 path=a\0b\n"), plain("fine", b'0')]),
        ("a character device", "tty", vec![plain("tty", b'3')]),
        ("a block device", "sda", vec![plain("sda", b'4')]),
        ("a FIFO", "fifo", vec![plain("fifo", b'6')]),
        ("sparse", "s", vec![plain("s", b'S')]),
        ("sparse by PAX", "s", vec![records("21 GNU.sparse.size=1\n"), plain("s", b'0')]),
        ("a kind of its own", "k", vec![plain("k", b'M')]),
        ("through a link", "l/f", vec![linked("l", b'2', "/etc"), plain("l/f", b'0')]),
        ("a link again", "l", vec![linked("l", b'2', "/etc"), plain("l", b'5')]),
        (
            "through a second name of a link",
            "m/f",
            vec![linked("l", b'2', "/etc"), linked("m", b'1', "l"), plain("m/f", b'0')],
        ),
        ("a hard link out", "h", vec![linked("h", b'1', "../../etc/passwd")]),
        ("a hard link to /", "h", vec![linked("h", b'1', "/etc/passwd")]),
        (
            "a hard link through a link",
            "h",
            vec![linked("l", b'2', "/etc"), linked("h", b'1', "l/passwd")],
        ),
        ("a root that is a file", "./", vec![plain("./", b'2')]),
        ("a long name of a gigabyte", "n", vec![header(b"n", b'L', b"", b"10000000000")]),
        ("a negative size", "n", vec![header(b"n", b'0', b"", &[0xFF; 12])]),
        ("records that lie", "x", vec![records("99 path=a\n"), plain("fine", b'0')]),
        ("records that stand still", "x", vec![records("0 path=a\n"), plain("fine", b'0')]),
    ];
    let end = vec![0; 1024];
    for (what, name, mut parts) in cases {
        parts.push(end.clone());
        match entries(&gzip(&parts)) {
            Err(PackError::Archive { path, .. }) => assert_eq!(path, name, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let mut wrong = plain("f", b'0');
    wrong[0] = b'g';
    assert!(matches!(entries(&gzip(&[wrong, end.clone()])), Err(PackError::Archive { .. })));
    // A size that nothing is behind.
    let huge = header(b"f", b'0', b"", b"77777777777");
    assert!(matches!(entries(&gzip(&[huge, end.clone()])), Err(PackError::Read(_))));
    assert_eq!(entries(&gzip(&[plain("f", b'0'), end])).unwrap().len(), 1);
}

#[test]
fn damaged_archives_are_refused() {
    let mut pool = Pool::default();
    let tree =
        tree(&[("a", pool.file(noise(1, 700))), ("b/c", pool.file("text")), ("l", link(b"a"))]);
    let mut bytes = Vec::new();
    archive::write(&tree, &pool, &mut bytes).unwrap();
    let expected = entries(&bytes).unwrap();
    for at in 0..bytes.len() {
        assert!(entries(&bytes[..at]).is_err(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        // The time and the system of a gzip member mean nothing, nor does what fills the byte
        // that a stored block begins with.
        if let Ok(found) = entries(&flipped) {
            assert!(at <= 10, "byte {at}");
            assert_eq!(found, expected);
        }
    }
    assert!(entries(b"no gzip").is_err());
    assert!(entries(&gzip(&[])).is_err());
    // Without its end, as after a cut between members.
    let plain = run(Command::new("gzip").arg("-dc"), &bytes);
    assert!(matches!(
        entries(&gzip(&[plain[..plain.len() - 1024].to_vec()])),
        Err(PackError::Read(_))
    ));
    // An error of the reader that the caller passes over.
    let short = &bytes[..800];
    let error = archive::read(&mut &short[..], &mut |entry| {
        if let Kind::File { content, .. } = entry.kind {
            assert!(content.read_to_end(&mut Vec::new()).is_err());
        }
        Ok(())
    });
    assert!(matches!(error, Err(PackError::Read(_))), "{error:?}");
}

#[test]
fn what_only_layers_can_say_is_not_archived() {
    let pool = Pool::default();
    for node in
        [Node::Whiteout, Node::Dir(Arc::new(Dir::new(BTreeMap::new(), Meta::EXECUTABLE, true)))]
    {
        let error = archive::write(&tree(&[("a/b", node)]), &pool, &mut io::sink()).unwrap_err();
        assert!(matches!(error, PackError::Archive { path, .. } if path == "a/b"));
    }
}

#[test]
fn wrong_contents_are_not_archived() {
    let mut pool = Pool::default();
    let content = noise(1, 5000);
    let digest = pool.put(content.clone());
    let tree = tree(&[("f", pool.file(content.clone()))]);
    for wrong in [&content[1..], &[&content[..], b"+"].concat(), &noise(2, 5000)] {
        pool.spoil(&digest, wrong);
        let error = archive::write(&tree, &pool, &mut io::sink()).unwrap_err();
        assert!(matches!(error, PackError::WrongContent { .. }), "{error:?}");
    }
}
