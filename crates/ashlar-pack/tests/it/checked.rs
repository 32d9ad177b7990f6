//! Layers of which the archive says one thing and the table of contents another.

use std::collections::BTreeMap;

use ashlar_object::{Digest, Extra, Meta, Node, Symlink, Time, Tree};
use ashlar_pack::{Layer, Limits, PackError, Toc};

use crate::support::{Image, Pool, noise, pack, path, tree};

fn sample() -> Image {
    let mut pool = Pool::default();
    let file = |content: Vec<u8>, mode, pool: &mut Pool| {
        let xattrs = BTreeMap::from([("user.one".to_owned(), b"1".to_vec())]);
        let mtime = Some(Time { seconds: 5, nanos: 6 });
        let meta = Meta::new(mode, Extra { uid: 7, gid: 8, mtime, xattrs });
        Node::File(ashlar_object::File::new(pool.put(content), meta))
    };
    let link =
        Symlink { target: b"tool".as_slice().into(), meta: Meta::new(0o777, Extra::default()) };
    let tree = tree(&[
        ("bin/link", Node::Symlink(link)),
        ("bin/more", file(noise(1, 3000), 0o644, &mut pool)),
        ("bin/tool", file(noise(2, 3000), 0o755, &mut pool)),
        ("empty", pool.file("")),
    ]);
    pack(&tree, None, &pool, &Limits::default())
}

fn check(layer: &Layer, toc: &Toc, blob: &[u8]) -> Result<(), PackError> {
    ashlar_pack::check(layer, toc, &mut &blob[..])
}

/// The archive of a layer, compressed as it is, and the text of its table.
fn parts(image: &Image) -> (&[u8], String) {
    let (layer, _) = &image.stack.layers()[0];
    let place = Toc::place(&layer.annotations).unwrap().range;
    let blob = &image.blobs[0];
    let table = zstd::decode_all(&blob[place.start as usize..place.end as usize]).unwrap();
    (&blob[..place.start as usize - 8], String::from_utf8(table).unwrap())
}

/// A layer put together by hand, right in everything but that its table says what it says.
fn forged(archive: &[u8], table: &str, diff_id: [u8; 32], gap: &[u8]) -> (Layer, Toc, Vec<u8>) {
    // Without a tar-split, which would differ as well.
    let table = match table.split_once(",\"tarSplitDigest\"") {
        Some((table, _)) => format!("{table}}}"),
        None => table.to_owned(),
    };
    let frame = |bytes: &[u8]| {
        [&0x184D_2A50_u32.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
    };
    let packed = zstd::bulk::compress(table.as_bytes(), 3).unwrap();
    let numbers = [
        (archive.len() + gap.len() + 8) as u64,
        packed.len() as u64,
        table.len() as u64,
        1,
        0,
        0,
        0,
    ];
    let footer = [numbers.map(u64::to_le_bytes).as_flattened(), b"GNUlInUx"].concat();
    let blob = [archive, gap, &frame(&packed), &frame(&footer)].concat();
    let checksum = format!("sha256:{}", Digest::of(&packed).hex());
    let position = format!("{}:{}:{}:1", numbers[0], numbers[1], numbers[2]);
    let mut annotations = BTreeMap::new();
    for prefix in ["io.containers", "io.github.containers"] {
        let name = |what| format!("{prefix}.zstd-chunked.manifest-{what}");
        annotations.insert(name("checksum"), checksum.clone());
        annotations.insert(name("position"), position.clone());
    }
    let toc = Toc::decode(&packed).unwrap();
    (Layer { digest: Digest::of(&blob), diff_id, annotations }, toc, blob)
}

#[test]
fn a_table_that_says_something_else_than_the_archive_is_found() {
    let image = sample();
    let (archive, table) = parts(&image);
    let diff_id = image.stack.layers()[0].0.diff_id;
    let said = |table: &str, gap: &[u8]| {
        let (layer, toc, blob) = forged(archive, table, diff_id, gap);
        check(&layer, &toc, &blob).map_err(|error| error.to_string())
    };
    assert_eq!(said(&table, b""), Ok(()));
    let entry = |name: &str| {
        let at = table.find(&format!("{{\"type\":\"{name}")).unwrap();
        let end = at + table[at..].find("},{\"type\"").unwrap() + 2;
        table[at..end].to_owned()
    };
    let link = entry("symlink\",\"name\":\"bin/link");
    let more = entry("reg\",\"name\":\"bin/more");
    let digest = |seed| format!("sha256:{}", Digest::of(&noise(seed, 3000)).hex());
    let (header, fields) = ("another header before or at", "fields that say something else");
    let cases = [
        ("bin/more\",\"mode\":420", "bin/mord\",\"mode\":420", header),
        ("\"mode\":493,\"size\"", "\"mode\":420,\"size\"", header),
        ("\"uid\":7", "\"uid\":0", header),
        ("\"linkName\":\"tool\"", "\"linkName\":\"more\"", header),
        ("\"time\":[5,6]", "\"time\":[5,7]", header),
        ("\"user.one\":\"MQ==\"", "\"user.one\":\"Mg==\"", header),
        (&digest(1), &digest(2), "another content for `bin/more`"),
        ("\"size\":3000", "\"size\":2999", header),
        ("\"type\":\"dir\",\"name\":\"bin/\"", "\"type\":\"reg\",\"name\":\"bin\"", header),
        (&link, "", header),
        (&more, "", header),
        (&link, &link.repeat(2), header),
        ("}]", "},{\"type\":\"reg\",\"name\":\"z\",\"mode\":420}]", header),
        // What only others read.
        ("1970-01-01T00:00:05", "1970-01-01T00:00:06", fields),
        ("{\"version\":1,", "{\"version\":1,\"more\":2,", fields),
        ("}]", "},{\"type\":\"chunk\",\"name\":\"empty\"}]", fields),
    ];
    for (was, is, why) in cases {
        assert!(table.contains(was), "{was} is not in {table}");
        let error = said(&table.replacen(was, is, 1), b"").unwrap_err();
        assert!(error.contains(why), "{error} instead of {why}");
    }
    // More frames, of each kind: one that readers pass over, one with another archive, and an
    // empty one.
    let hidden = [0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2];
    for gap in [&hidden[..], archive, &zstd::bulk::compress(b"", 3).unwrap()] {
        said(&table, gap).unwrap_err();
    }
}

/// The tar-split is what container engines make the archive from.
#[test]
fn a_tar_split_that_makes_another_archive_is_found() {
    let image = sample();
    let (layer, _) = &image.stack.layers()[0];
    let (archive, table) = parts(&image);
    let name = "io.github.containers.zstd-chunked.tarsplit-position";
    let numbers = layer.annotations[name].split(':').map(|number| number.parse().unwrap());
    let numbers: Vec<usize> = numbers.collect();
    let lines = zstd::decode_all(&image.blobs[0][numbers[0]..numbers[0] + numbers[1]]).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let said = |lines: &str| {
        let split = zstd::bulk::compress(lines.as_bytes(), 3).unwrap();
        let (front, _) = table.split_once(",\"tarSplitDigest\"").unwrap();
        let hex = Digest::of(&split).hex();
        let table = format!("{front},\"tarSplitDigest\":\"sha256:{hex}\"}}");
        let packed = zstd::bulk::compress(table.as_bytes(), 3).unwrap();
        let at = [archive.len() + 8, archive.len() + packed.len() + 16];
        let numbers = [at[0], packed.len(), table.len(), 1, at[1], split.len(), lines.len()];
        let numbers = numbers.map(|number| number as u64);
        let footer = [numbers.map(u64::to_le_bytes).as_flattened(), b"GNUlInUx"].concat();
        let mut blob = archive.to_vec();
        for part in [&packed, &split, &footer] {
            blob.extend(0x184D_2A50_u32.to_le_bytes());
            blob.extend((part.len() as u32).to_le_bytes());
            blob.extend(part);
        }
        let text =
            |numbers: &[u64]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(":");
        let mut layer = Layer { digest: Digest::of(&blob), ..layer.clone() };
        for (name, value) in &mut layer.annotations {
            *value = match name.rsplit('.').next().unwrap() {
                end if end.ends_with("checksum") => format!("sha256:{}", Digest::of(&packed).hex()),
                end if end.ends_with("tarsplit-position") => text(&numbers[4..]),
                _ => text(&numbers[..4]),
            };
        }
        check(&layer, &Toc::decode(&packed).unwrap(), &blob).map_err(|error| error.to_string())
    };
    assert_eq!(said(&lines), Ok(()));
    let other = "its tar-split makes another archive".to_owned();
    for (was, is) in
        [("\"name\":\"bin/tool\"", "\"name\":\"bin/took\""), ("\"size\":3000", "\"size\":3001")]
    {
        assert!(lines.contains(was), "{lines}");
        assert_eq!(said(&lines.replacen(was, is, 1)), Err(other.clone()));
    }
    said(&format!("{lines}{lines}")).unwrap_err();
    said("").unwrap_err();
}

#[test]
fn frames_that_readers_pass_over_are_found_wherever_they_are() {
    let image = sample();
    let (archive, table) = parts(&image);
    let (layer, _) = &image.stack.layers()[0];
    let hidden = [0x53, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2];
    let mut places = 0;
    for at in 0..archive.len() {
        // At the beginning of a frame.
        if !archive[at..].starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
            continue;
        }
        let archive = [&archive[..at], &hidden, &archive[at..]].concat();
        // Contents are where the table says, behind what was put in or around it.
        for around in [0, hidden.len() as u64] {
            let moved = moved(&table, at as u64, around);
            let (layer, toc, blob) = forged(&archive, &moved, layer.diff_id, b"");
            // Found in the archive already, not only in the order of fields of this table.
            let PackError::Contradiction(why) = check(&layer, &toc, &blob).unwrap_err() else {
                panic!()
            };
            assert!(!why.contains("fields that say something else"), "{at}: {why}");
            places += 1;
        }
    }
    assert!(places >= 8, "{places}");
}

/// The table with places from a byte on moved; what begins there begins `around` bytes later.
fn moved(table: &str, from: u64, around: u64) -> String {
    let mut value: serde_json::Value = serde_json::from_str(table).unwrap();
    for entry in value["entries"].as_array_mut().unwrap() {
        for name in ["offset", "endOffset"] {
            let Some(number) = entry[name].as_u64() else { continue };
            let moved = match number.cmp(&from) {
                std::cmp::Ordering::Less => number,
                std::cmp::Ordering::Equal if name == "endOffset" => number,
                std::cmp::Ordering::Equal => number + around,
                std::cmp::Ordering::Greater => number + 10,
            };
            entry[name] = moved.into();
        }
    }
    value.to_string()
}

#[test]
fn every_byte_of_a_layer_counts() {
    let image = sample();
    let (layer, toc) = &image.stack.layers()[0];
    let blob = &image.blobs[0];
    for at in 0..blob.len() {
        let mut blob = blob.clone();
        blob[at] ^= 1 << (at % 8);
        assert!(check(layer, toc, &blob).is_err(), "byte {at}");
    }
    for length in 0..blob.len() {
        assert!(check(layer, toc, &blob[..length]).is_err(), "{length}");
    }
    let longer = [&blob[..], b"\0"].concat();
    assert!(check(layer, toc, &longer).is_err());
    // What the manifest says counts as well.
    let with = |change: &dyn Fn(&mut Layer)| {
        let mut layer = layer.clone();
        change(&mut layer);
        check(&layer, toc, blob)
    };
    with(&|_| ()).unwrap();
    with(&|layer| layer.diff_id[0] ^= 1).unwrap_err();
    with(&|layer| layer.digest.hash[0] ^= 1).unwrap_err();
    for name in layer.annotations.keys() {
        with(&|layer| layer.annotations.get_mut(name).unwrap().push('1')).unwrap_err();
        with(&|layer| drop(layer.annotations.remove(name))).unwrap_err();
    }
    // But not what others say there.
    with(&|layer| drop(layer.annotations.insert("org.other".into(), "1".into()))).unwrap();
}

#[test]
fn names_that_readers_see_differently_have_no_tar_split_and_are_right_all_the_same() {
    let mut pool = Pool::default();
    let file = pool.file("1");
    let name = ashlar_object::RelPath::parse(b"a\xff").unwrap();
    let tree = Tree::default().with(&name, file).with(&path("b"), Node::Whiteout);
    let image = pack(&tree, None, &pool, &Limits::default());
    assert_eq!(image.stack.layers()[0].0.annotations.len(), 4);
    assert_eq!(image.stack.tree().unwrap().digest(), tree.digest());
}
