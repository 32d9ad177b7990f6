//! Flipped bytes, truncated bytes, and tables of contents that mean harm.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use ashlar_object::{Digest, Meta, Node, Tree};
use ashlar_pack::{Layer, Limits, PackError, Stack, Toc};

use crate::support::{Image, Pool, link, noise, pack, tree};

fn sample() -> (Tree, Image) {
    let mut pool = Pool::default();
    let mut text = Vec::new();
    (0..3000).for_each(|n| text.extend_from_slice(format!("line {n}\n").as_bytes()));
    let tree = tree(&[
        ("bin/tool", pool.file(noise(1, 3000))),
        ("bin/link", link(b"tool")),
        ("doc/text", pool.file(text)),
        ("doc/zeros", pool.file(vec![0; 100_000])),
        ("empty", pool.file("")),
    ]);
    let image = pack(&tree, None, &pool, &Limits::default());
    (tree, image)
}

/// Everything that can be had from these bytes in place of the image's blob.
fn read(image: &Image, blob: &[u8]) -> Result<(Tree, Vec<Vec<u8>>), PackError> {
    let (layer, _) = &image.stack.layers()[0];
    let place = Toc::place(&layer.annotations).unwrap();
    let cut = |range: &std::ops::Range<u64>| {
        let end = blob.len().min(range.end as usize);
        &blob[end.min(range.start as usize)..end]
    };
    let toc = place.decode(cut(&place.range))?;
    let stack = Stack::new(vec![(layer.clone(), toc)], true);
    let tree = stack.tree()?;
    let wanted: HashSet<_> = tree.blobs().into_iter().collect();
    let mut contents = Vec::new();
    for fetch in stack.fetches(&wanted, u64::MAX) {
        fetch.read(&mut cut(&fetch.range), &mut |digest, reader| {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            assert_eq!(Digest::of(&content), *digest, "a wrong content came to its end");
            contents.push(content);
            Ok(())
        })?;
    }
    Ok((tree, contents))
}

#[test]
fn no_flipped_byte_gives_a_wrong_content() {
    let (tree, image) = sample();
    let blob = &image.blobs[0];
    let whole = read(&image, blob).unwrap();
    assert_eq!((&whole.0, whole.1.len()), (&tree, 3));
    let mut noticed = 0;
    for at in 0..blob.len() {
        for bit in [0, 3, 7] {
            let mut blob = blob.clone();
            blob[at] ^= 1 << bit;
            // Bytes between contents are not looked at; what is looked at must be whole.
            match read(&image, &blob) {
                Ok(found) => assert!(found == whole, "byte {at}"),
                Err(PackError::Damaged { .. } | PackError::Toc(_)) => noticed += 1,
                Err(other) => panic!("byte {at}: {other:?}"),
            }
        }
    }
    assert!(noticed > 3 * 4000, "{noticed}");
}

#[test]
fn no_truncated_blob_gives_a_wrong_content() {
    let (_, image) = sample();
    let blob = &image.blobs[0];
    let place = Toc::place(&image.stack.layers()[0].0.annotations).unwrap();
    for length in (0..place.range.end as usize).step_by(7) {
        assert!(read(&image, &blob[..length]).is_err(), "{length}");
    }
    // A range that ends early is the transport's fault, and can be asked for again.
    let fetch = &image
        .stack
        .fetches(&image.stack.tree().unwrap().blobs().into_iter().collect(), u64::MAX)[0];
    let range = fetch.range.start as usize..fetch.range.end as usize;
    for length in (0..range.len()).step_by(5) {
        let mut short = &blob[range.start..range.start + length];
        let error = fetch.read(&mut short, &mut |_, r| io::copy(r, &mut io::sink()).map(|_| ()));
        let Err(PackError::Read(error)) = error else { panic!("{length}: {error:?}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn an_error_passed_over_is_an_error_all_the_same() {
    let (tree, image) = sample();
    let fetch = &image.stack.fetches(&tree.blobs().into_iter().collect(), u64::MAX)[0];
    let range = fetch.range.start as usize..fetch.range.end as usize;
    let mut bytes = image.blobs[0][range].to_vec();
    // The content that does not shrink: a flipped byte of it leaves the frame valid.
    let at = bytes.windows(50).position(|w| noise(1, 3000).windows(50).any(|n| n == w)).unwrap();
    bytes[at] ^= 1;
    let error = fetch.read(&mut &bytes[..], &mut |_, reader| {
        let mut all = Vec::new();
        while reader.read_to_end(&mut all).is_err() && all.len() < 10_000 {
            all.extend_from_slice(&[0; 5000]);
        }
        Ok(())
    });
    assert!(matches!(error, Err(PackError::Damaged { .. })), "{error:?}");
    // What the caller itself fails of is told apart.
    let error = fetch.read(&mut &image.blobs[0][fetch.range.start as usize..], &mut |_, _| {
        Err(io::Error::other("no room"))
    });
    assert!(matches!(error, Err(PackError::Keep(_))), "{error:?}");
}

/// A table of contents with these entries.
fn table(entries: &str) -> Result<Toc, PackError> {
    let json = format!(r#"{{"version":1,"entries":[{entries}]}}"#);
    Toc::decode(&zstd::bulk::compress(json.as_bytes(), 3).unwrap())
}

/// What one layer of a million bytes with these entries makes.
fn folded(entries: &str) -> Result<Tree, PackError> {
    let digest = Digest { hash: [7; 32], size: 1_000_000 };
    let layer = Layer { digest, diff_id: [0; 32], annotations: BTreeMap::new() };
    Stack::new(vec![(layer, table(entries)?)], true).tree()
}

fn file(name: &str, size: u64, range: std::ops::Range<u64>) -> String {
    let (hex, offset, end) = ("ab".repeat(32), range.start, range.end);
    format!(
        r#"{{"type":"reg","name":"{name}","mode":420,"size":{size},"digest":"sha256:{hex}","offset":{offset},"endOffset":{end}}}"#
    )
}

#[test]
fn tables_of_others_are_read() {
    let tree = folded(&format!(
        r#"{{"type":"dir","name":"./","mode":493}},{{"type":"dir","name":"usr/","mode":493,"modtime":"2020-02-03T04:05:06Z","accesstime":null,"new":{{"x":[1]}}}},{},{{"type":"chunk","name":"usr/f","offset":300,"chunkOffset":65536}},{{"type":"reg","name":"usr/e","mode":420}},{{"type":"symlink","name":"l","linkName":"usr/f","mode":511}},{{"type":"fifo","name":"p","mode":400}}"#,
        file("usr/f", 5, 100..200)
    ));
    let tree = tree.unwrap();
    assert_eq!(tree.len(), 5);
    assert!(matches!(tree.get(&"p".parse().unwrap()), Some(Node::Fifo(meta)) if meta.mode == 400));
    assert_eq!(tree.root().meta(), &Meta::EXECUTABLE);
}

#[test]
fn tables_that_mean_harm_are_refused() {
    let dir = |name: &str| format!(r#"{{"type":"dir","name":"{name}","mode":493}}"#);
    let deep = (0..600).map(|n| "d/".repeat(n + 1)).map(|d| dir(&d)).collect::<Vec<_>>().join(",");
    let cases = [
        ("absolute", file("/etc/passwd", 5, 1..9)),
        ("absolute", dir("/")),
        ("escaping", file("../x", 5, 1..9)),
        ("escaping", file("a/../../x", 5, 1..9)),
        ("NUL", file("a\\u0000b", 5, 1..9)),
        ("beyond the end", file("f", 5, 999_999..1_000_001)),
        ("beyond the end", file("f", 5, 5..u64::MAX)),
        ("empty place", file("f", 5, 9..9)),
        ("backward", file("f", 5, 9..10).replace("10}", "1}")),
        ("overlapping", [file("f", 5, 1..100), file("g", 5, 99..200)].join(",")),
        ("the same place", [file("f", 5, 1..100), file("g", 5, 1..100)].join(",")),
        ("twice", [file("f", 5, 1..100), file("f", 5, 100..200)].join(",")),
        ("twice", [dir("d"), dir("d/")].join(",")),
        ("below a file", [file("f", 5, 1..100), file("f/g", 5, 100..200)].join(",")),
        ("below nothing", file("d/f", 5, 1..100)),
        (
            "below a link",
            [
                r#"{"type":"symlink","name":"l","linkName":"/etc","mode":511}"#.into(),
                file("l/f", 5, 1..9),
            ]
            .join(","),
        ),
        ("a hard link to itself", r#"{"type":"hardlink","name":"h","linkName":"h"}"#.into()),
        ("a device", r#"{"type":"char","name":"sda","devMajor":8}"#.into()),
        ("below a FIFO", [r#"{"type":"fifo","name":"f"}"#.into(), file("f/g", 5, 1..9)].join(",")),
        ("a root that is a file", file("./", 5, 1..9)),
        ("a mode", r#"{"type":"dir","name":"d","mode":65535}"#.into()),
        ("a negative size", r#"{"type":"reg","name":"f","size":-1}"#.into()),
        ("no digest", r#"{"type":"reg","name":"f","size":1,"offset":1,"endOffset":2}"#.into()),
        ("no type", r#"{"name":"f"}"#.into()),
        ("base64", r#"{"type":"dir","name":"d","xattrs":{"user.x":"?"}}"#.into()),
        ("a time", r#"{"type":"dir","name":"d","ashlar":{"time":[0,1000000000]}}"#.into()),
        ("a raw name", r#"{"type":"dir","name":"d","ashlar":{"name":"Li4="}}"#.into()),
        ("an opaque mark", file(".wh..wh..opq", 0, 0..0)),
        ("a deletion of nothing", file(".wh.", 0, 0..0)),
        ("a deletion of the parent", file(".wh...", 0, 0..0)),
        ("too deep", deep),
        ("no end", r#"{"type":"dir","name":"d"},"#.into()),
        ("nested", format!(r#"{{"type":"dir","name":"d","x":{}"#, "[".repeat(100_000))),
    ];
    for (what, entries) in cases {
        let result = folded(&entries);
        assert!(result.is_err(), "{what}: {result:?}");
    }
    for json in ["", "{}", "[]", r#"{"version":2,"entries":[]}"#, r#"{"version":1,"entries":[]}x"#]
    {
        assert!(Toc::decode(&zstd::bulk::compress(json.as_bytes(), 3).unwrap()).is_err(), "{json}");
    }
    assert!(Toc::decode(b"").is_err());
    assert!(Toc::decode(b"no frame at all").is_err());
    assert!(folded(&dir("d")).is_ok());
}

#[test]
fn sizes_that_are_lies_are_refused_cheaply() {
    // A content that says it has 2^62 bytes, and a frame of a few that unfolds to a gigabyte.
    let bomb = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        io::copy(&mut io::repeat(0).take(1 << 30), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let digest = Digest { hash: [7; 32], size: 1_000_000 };
    let layer = Layer { digest, diff_id: [0; 32], annotations: BTreeMap::new() };
    for (size, most) in [(1 << 62, 1 << 30), (1000, 1000 + (1 << 18))] {
        let toc = table(&file("f", size, 0..bomb.len() as u64)).unwrap();
        let stack = Stack::new(vec![(layer.clone(), toc)], true);
        let wanted = stack.tree().unwrap().blobs().into_iter().collect();
        let fetch = &stack.fetches(&wanted, 1 << 20)[0];
        let mut passed = 0;
        let error = fetch.read(&mut &bomb[..], &mut |_, reader| {
            let mut piece = vec![0; 1 << 16];
            loop {
                match reader.read(&mut piece)? {
                    0 => return Ok(()),
                    count => passed += count as u64,
                }
            }
        });
        assert!(matches!(error, Err(PackError::Damaged { .. })), "{error:?}");
        assert!(passed <= most, "{passed}");
    }
    // A table that unfolds to a gigabyte.
    assert!(Toc::decode(&bomb).is_err());
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    io::Write::write_all(&mut encoder, br#"{"version":1,"entries":["#).unwrap();
    let row = br#"{"type":"dir","name":"d"},"#.repeat(4000);
    for _ in 0..4000 {
        io::Write::write_all(&mut encoder, &row).unwrap();
    }
    let error = Toc::decode(&encoder.finish().unwrap()).unwrap_err();
    assert!(matches!(error, PackError::Toc(_)));
    // A frame that wants a window of 2 GiB.
    let mut wide = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8];
    wide.extend_from_slice(&[1, 0, 0]);
    assert!(Toc::decode(&wide).is_err());
    // Annotations that make no sense.
    let place = |position: &str| {
        let annotation = |name: &str| format!("io.github.containers.zstd-chunked.manifest-{name}");
        Toc::place(&BTreeMap::from([
            (annotation("checksum"), format!("sha256:{}", "ab".repeat(32))),
            (annotation("position"), position.to_owned()),
        ]))
    };
    assert!(place("10:20:30:1").is_some());
    for bad in [
        "",
        "10:20:30",
        "10:20:30:2",
        "-1:20:30:1",
        "1:2:3:1:5",
        "18446744073709551615:20:30:1",
        "1:999999999999:3:1",
    ] {
        assert!(place(bad).is_none(), "{bad}");
    }
}
