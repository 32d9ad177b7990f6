//! Real programs read what is written: tar, zstd, skopeo, podman.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Extra, File, Meta, Node, Symlink, Time, Tree};
use ashlar_pack::{Limits, Toc};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::support::{Image, Pool, assert_same, link, noise, pack, path, scan, tree};

/// Runs a program and gives what it printed; its failure is the test's.
pub fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that fails stops reading; what it says is shown below.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {}\n{said}", output.status);
    output.stdout
}

fn meta(mode: u32, extra: Extra) -> Meta {
    Meta::new(mode, extra)
}

/// A tree with all that a file system of this machine can hold.
pub fn rich(pool: &mut Pool) -> Tree {
    let owned = |uid, gid| Extra { uid, gid, ..Extra::default() };
    let timed = |seconds, nanos| Extra { mtime: Some(Time { seconds, nanos }), ..Extra::default() };
    let xattrs = |pairs: &[(&str, &[u8])]| Extra {
        xattrs: pairs.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect(),
        ..Extra::default()
    };
    let mut file = |content: Vec<u8>, meta| Node::File(File::new(pool.put(content), meta));
    let linked = |node, number| match node {
        Node::File(file) => Node::File(File { link: NonZeroU32::new(number), ..file }),
        other => other,
    };
    let gzip = file(noise(4, 900), meta(0o4711, owned(1, 2)));
    let (several, other) = (linked(gzip.clone(), 1), linked(gzip, 2));
    let dir = |mode, extra| {
        Node::Dir(Arc::new(Dir::new(Default::default(), Meta::new(mode, extra), false)))
    };
    let long = format!("{}/{}", "d".repeat(120), "e".repeat(255));
    tree(&[
        ("tmp", dir(0o1777, Extra::default())),
        ("root", dir(0o700, owned(0, 5))),
        ("home/user", dir(0o2750, owned(1000, 100))),
        ("home/user/.profile", file(b"umask 022\n".to_vec(), meta(0o600, owned(1000, 100)))),
        ("bin/su", file(noise(1, 70_000), meta(0o4755, Extra::default()))),
        ("bin/ping", file(noise(2, 513), meta(0o755, xattrs(&[("user.cap", b"\0\xff=")])))),
        ("bin/far", file(b"x".to_vec(), meta(0o644, owned(3_000_000, 4_000_000_000)))),
        ("bin/copy", file(noise(2, 513), Meta::FILE)),
        ("bin/gunzip", several.clone()),
        ("bin/gzip", several),
        ("bin/uncompress", other.clone()),
        ("usr/share/uncompress", other),
        ("big", file([noise(3, 1 << 20), vec![b'y'; 2_000_000]].concat(), Meta::FILE)),
        ("empty", file(Vec::new(), meta(0o000, Extra::default()))),
        ("times/old", file(b"old".to_vec(), meta(0o644, timed(-1, 250_000_000)))),
        ("times/new", file(b"new".to_vec(), meta(0o644, timed(1_700_000_000, 123_456_789)))),
        ("times/late", file(b"late".to_vec(), meta(0o644, timed(1 << 33, 0)))),
        ("marked", dir(0o755, xattrs(&[("user.a%3Db", b"1"), ("trusted.x", b"2")]))),
        ("lib", link(b"usr/lib")),
        ("usr/lib/libc.so", link(&[b'/'; 200])),
        (
            "usr/lib/owned",
            Node::Symlink(Symlink {
                target: b"/nowhere".as_slice().into(),
                meta: meta(0o777, owned(7, 8)),
            }),
        ),
        (&long, file(b"long".to_vec(), Meta::FILE)),
        ("-rf *", file(b"dash".to_vec(), Meta::FILE)),
        ("ünïcode/\u{1F980}", file(b"crab".to_vec(), Meta::FILE)),
    ])
}

/// What only layers of file systems have, and names that are no text.
fn odd(pool: &mut Pool, tree: &Tree) -> Tree {
    let raw = ashlar_object::RelPath::parse(b"raw\xff\xfe/\x80\n").unwrap();
    let long = [b"raw\xff\xfe/".as_slice(), &[b'\xfd'; 200]].concat();
    let long = ashlar_object::RelPath::parse(&long).unwrap();
    tree.with(&raw, pool.file("raw"))
        .with(&long, link(&[b'\xfc'; 150]))
        .with(&path("deleted"), Node::Whiteout)
        .with(
            &path("hidden"),
            Node::Dir(Arc::new(Dir::new(
                [(ashlar_object::Name::new(*b"in").unwrap(), pool.file("in"))].into(),
                Meta::EXECUTABLE,
                true,
            ))),
        )
}

/// Unpacks layers in their order as an image's are: what a layer deletes goes first, then what is
/// of another kind than what comes in its place.
fn unpack(image: &Image, folder: &Path) {
    for blob in &image.blobs {
        let listing =
            run(Command::new("tar").args(["--zstd", "-tvf", "-", "--quoting-style=escape"]), blob);
        for line in String::from_utf8(listing).unwrap().lines() {
            // mode owner size date time name
            let is_dir = line.starts_with('d');
            let name = line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ");
            let name = name.split(" -> ").next().unwrap();
            let name = name.split(" link to ").next().unwrap().trim_end_matches('/');
            let at = folder.join(name);
            let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
            if let Some(gone) = last.strip_prefix(".wh.") {
                remove(&folder.join(above).join(gone));
            } else if at.symlink_metadata().is_ok_and(|there| there.is_dir() != is_dir) {
                remove(&at);
            }
        }
        run(
            Command::new("tar")
                .args(["--zstd", "-xpf", "-", "--numeric-owner", "--xattrs", "--xattrs-include=*"])
                .args(["--exclude=.wh.*", "-C"])
                .arg(folder),
            blob,
        );
    }
}

fn remove(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn tar_unpacks_the_very_tree() {
    let mut pool = Pool::default();
    let rich = rich(&mut pool);
    let tree = odd(&mut pool, &rich);
    for limits in [Limits::default(), Limits { layer: 1000, ..Limits::default() }] {
        let image = pack(&tree, None, &pool, &limits);
        let folder = tempfile::tempdir().unwrap();
        for blob in &image.blobs {
            run(
                Command::new("tar")
                    .args(["--zstd", "-xpf", "-", "--numeric-owner", "--xattrs"])
                    .args(["--xattrs-include=*", "-C"])
                    .arg(folder.path()),
                blob,
            );
        }
        assert_same(&tree, &scan(folder.path()));
    }
}

/// Revisions with deletions and every change of kind.
fn revisions(pool: &mut Pool) -> Vec<Tree> {
    let first = rich(pool).with(&path("var/lib/a/b/c"), pool.file("c"));
    let second = without(&first, &["tmp", "bin/copy", "usr/lib/libc.so"])
        .with(&path("home"), pool.file("a file where a folder was"))
        .with(&path("lib/now/a/folder"), pool.file("f"))
        .with(&path("empty/folder"), pool.file("g"))
        .with(&path("var/lib/a"), link(b"b"));
    let third = without(&second, &["home", "times/old", "times/new", "var"])
        .with(&path("bin/ping"), link(b"su"))
        .with(&path("tmp/back"), pool.file("back"));
    let root = Meta::new(0o711, Extra { gid: 3, ..Extra::default() });
    let fourth = Tree::from(Dir::new(third.root().entries().clone(), root, false));
    vec![first, second, third, fourth]
}

pub fn without(tree: &Tree, paths: &[&str]) -> Tree {
    fn take(dir: &Dir, names: &[ashlar_object::Name]) -> Dir {
        let mut dir = dir.clone();
        match names {
            [] => {}
            [name] => {
                dir.entries_mut().remove(name).unwrap();
            }
            [name, rest @ ..] => {
                let Some(Node::Dir(child)) = dir.entries().get(name) else { panic!("{name}") };
                let child = Node::Dir(Arc::new(take(child, rest)));
                dir.entries_mut().insert(name.clone(), child);
            }
        }
        dir
    }
    paths.iter().fold(tree.clone(), |tree, at| Tree::from(take(tree.root(), path(at).names())))
}

#[test]
fn layers_in_their_order_unpack_to_each_revision() {
    let mut pool = Pool::default();
    let limits = Limits { layer: 80_000, dead: 1.0, ..Limits::default() };
    let mut image = None;
    for (number, tree) in revisions(&mut pool).iter().enumerate() {
        let next = pack(tree, image.as_ref(), &pool, &limits);
        assert_eq!(next.packing.keep > 0, number > 0);
        let folder = tempfile::tempdir().unwrap();
        unpack(&next, folder.path());
        assert_same(tree, &scan(folder.path()));
        image = Some(next);
    }
}

#[test]
fn zstd_gives_one_file_from_its_range() {
    let mut pool = Pool::default();
    let tree = rich(&mut pool);
    let image = pack(&tree, None, &pool, &Limits::default());
    for digest in tree.blobs().iter().filter(|digest| digest.size > 0) {
        let fetch = &image.stack.fetches(&[*digest].into(), 1 << 20)[0];
        let bytes = &image.blobs[0][fetch.range.start as usize..fetch.range.end as usize];
        assert_eq!(run(Command::new("zstd").arg("-dc"), bytes), pool.get(digest));
    }
}

/// An OCI image layout with one image, tagged `t`.
fn layout(image: &Image, folder: &Path) {
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "digest": format!("sha256:{}", digest.hex()), "size": digest.size })
    };
    let typed = |mut descriptor: Value, kind: &str| {
        descriptor["mediaType"] = json!(format!("application/vnd.oci.image.{kind}"));
        descriptor
    };
    let diff_ids = image.stack.layers().iter().map(|(layer, _)| {
        let digest = Digest { hash: layer.diff_id, size: 0 };
        format!("sha256:{}", digest.hex())
    });
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
    });
    let config = typed(put(config.to_string().as_bytes()), "config.v1+json");
    let layers = image.stack.layers().iter().zip(&image.blobs).map(|((layer, _), blob)| {
        let mut descriptor = typed(put(blob), "layer.v1.tar+zstd");
        descriptor["annotations"] = json!(layer.annotations);
        descriptor
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers.collect::<Vec<_>>(),
    });
    let mut manifest = typed(put(manifest.to_string().as_bytes()), "manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn skopeo_and_podman_take_the_image() {
    let mut pool = Pool::default();
    let limits = Limits { layer: 80_000, dead: 1.0, ..Limits::default() };
    let mut image = None;
    // Containers have no attributes of the machine's root, nor podman GNU's way of writing `=`.
    let revisions: Vec<_> =
        revisions(&mut pool)[..3].iter().map(|tree| without(tree, &["marked"])).collect();
    for tree in &revisions {
        image = Some(pack(tree, image.as_ref(), &pool, &limits));
    }
    let (image, tree) = (image.unwrap(), &revisions[2]);
    let folder = tempfile::tempdir().unwrap();
    let oci = folder.path().join("oci");
    layout(&image, &oci);
    let reference = format!("oci:{}:t", oci.display());

    let copy = folder.path().join("copy");
    run(
        Command::new("skopeo")
            .args(["copy", "-q", &reference])
            .arg(format!("dir:{}", copy.display())),
        b"",
    );
    for (layer, _) in image.stack.layers() {
        let bytes = std::fs::read(copy.join(layer.digest.hex())).unwrap();
        assert_eq!(Digest::of(&bytes), layer.digest);
    }

    // Podman unpacks it, and compares what it unpacks with the `diff_ids`.
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(folder.path().join("root"));
        command.arg("--runroot").arg(folder.path().join("run"));
        command.arg("--tmpdir").arg(folder.path().join("tmp"));
        // A reference may not have the capitals that the folder's name has.
        command.args(["--storage-driver", "vfs"]).args(arguments).current_dir(folder.path());
        String::from_utf8(run(&mut command, b"")).unwrap().trim().to_owned()
    };
    let id = podman(&["pull", "-q", "oci:oci:t"]);
    let mounted = podman(&["image", "mount", &id]);
    let found = scan(Path::new(&mounted));
    podman(&["image", "unmount", &id]);
    // Only the mount's own time is not the image's.
    let root = found.root();
    assert_eq!((root.meta().mode, root.meta().owner()), (0o755, (0, 0)));
    let found = Dir::new(root.entries().clone(), tree.root().meta().clone(), false);
    assert_same(tree, &Tree::from(found));
}

/// An ordinary image with folders and some megabytes of files.
fn program(pool: &mut Pool, version: &str) -> Tree {
    let mut tree = tree(&[("share/version", pool.file(version)), ("bin/sh", link(b"tool-1"))]);
    for number in 0..24 {
        let content = noise(100 + number, 200_000);
        tree = tree.with(&path(&format!("bin/tool-{number}")), pool.file(content));
    }
    let Node::File(file) = pool.file(noise(200, 100_000)) else { return tree };
    let linked = Node::File(File { link: Some(NonZeroU32::MIN), ..file });
    tree.with(&path("bin/linked"), linked.clone()).with(&path("share/linked"), linked)
}

#[test]
fn podman_fetches_ranges_of_what_it_lacks() {
    let registry = ashlar_testbed::docker_registry(&Default::default());
    let proxy = ashlar_testbed::Proxy::http(registry.address());
    let folder = tempfile::tempdir().unwrap();
    let mut pool = Pool::default();
    let trees = ["1.0", "1.1"].map(|version| program(&mut pool, version));
    let images = trees.each_ref().map(|tree| pack(tree, None, &pool, &Limits::default()));
    let mut sizes = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let oci = folder.path().join(format!("oci-{number}"));
        layout(image, &oci);
        let to = format!("docker://{}/program:{number}", registry.host());
        let from = format!("oci:{}:t", oci.display());
        let flags = ["copy", "-q", "--dest-tls-verify=false"];
        run(ashlar_testbed::skopeo().args(flags).args([&from, &to]), b"");
        sizes.push(image.blobs.iter().map(|blob| blob.len() as u64).sum::<u64>());
    }
    let podman = ashlar_testbed::podman_partial();
    for (number, tree) in trees.iter().enumerate() {
        proxy.reset();
        let reference = format!("{}/program:{number}", proxy.host());
        run(podman.command().args(["pull", "-q", "--tls-verify=false", &reference]), b"");
        let moved = proxy.traffic().down;
        for (layer, _) in images[number].stack.layers() {
            let blob = format!("/v2/program/blobs/sha256:{}", layer.digest.hex());
            let asked = proxy.requests_to("GET", &blob);
            assert!(!asked.is_empty(), "{blob}");
            assert!(asked.iter().all(|one| one.header("range").is_some()), "{asked:?}");
        }
        // Of the second, only the table and the one file that is another.
        let most = if number == 0 { sizes[0] * 11 / 10 } else { sizes[1] / 20 };
        assert!(moved < most, "{moved} bytes for image {number} of {}", sizes[number]);
        let archive = folder.path().join(format!("{number}.tar"));
        podman.export(&reference, &archive);
        let out = folder.path().join(format!("out-{number}"));
        std::fs::create_dir(&out).unwrap();
        let tar = ["-xpf", archive.to_str().unwrap(), "-C", out.to_str().unwrap()];
        run(Command::new("tar").args(tar).args(["share", "bin"]), b"");
        // Times are those of the pull: this podman does not set them.
        assert_same(tree, &Tree::from(timeless(scan(&out).root())));
    }
}

/// A folder as it is, but for its times and those of all in it.
fn timeless(dir: &Dir) -> Dir {
    let bare = |meta: &Meta| {
        let extra = meta.extra.as_deref().cloned().unwrap_or_default();
        Meta::new(meta.mode, Extra { mtime: None, ..extra })
    };
    let entries = dir.entries().iter().map(|(name, node)| {
        let node = match node {
            Node::Dir(inner) => Node::Dir(Arc::new(timeless(inner))),
            Node::File(file) => Node::File(File { meta: bare(&file.meta), ..file.clone() }),
            Node::Symlink(symlink) => {
                Node::Symlink(Symlink { meta: bare(&symlink.meta), ..symlink.clone() })
            }
            Node::Fifo(meta) => Node::Fifo(bare(meta)),
            Node::Whiteout => Node::Whiteout,
        };
        (name.clone(), node)
    });
    Dir::new(entries.collect(), bare(dir.meta()), dir.is_opaque())
}

/// CRC-64 of ISO 3309 bit by bit, as its definition has it.
fn crc64(content: &[u8]) -> u64 {
    let bits = content.iter().flat_map(|byte| (0..8).map(move |bit| u64::from(byte >> bit & 1)));
    !bits.fold(!0, |crc, bit| (crc >> 1) ^ if (crc ^ bit) & 1 == 1 { 0xD8 << 56 } else { 0 })
}

#[test]
fn the_archive_can_be_made_again_from_its_headers_and_contents() {
    let mut pool = Pool::default();
    let mut clean = rich(&mut pool);
    clean = without(&clean, &["marked"]);
    let image = pack(&clean, None, &pool, &Limits::default());
    let (layer, blob) = (&image.stack.layers()[0].0, &image.blobs[0]);
    let position = &layer.annotations["io.github.containers.zstd-chunked.tarsplit-position"];
    let numbers: Vec<usize> = position.split(':').map(|n| n.parse().unwrap()).collect();
    let compressed = &blob[numbers[0]..numbers[0] + numbers[1]];
    let lines = run(Command::new("zstd").arg("-dc"), compressed);
    assert_eq!(lines.len(), numbers[2]);

    let place = Toc::place(&layer.annotations).unwrap();
    let table = &blob[place.range.start as usize..place.range.end as usize];
    let table: Value =
        serde_json::from_slice(&run(Command::new("zstd").arg("-dc"), table)).unwrap();
    assert_eq!(table["tarSplitDigest"], format!("sha256:{}", Digest::of(compressed).hex()));
    let rows = table["entries"].as_array().unwrap();

    let mut archive = Vec::new();
    let mut files = 0;
    for (number, line) in lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
        let line: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(line["position"], number);
        if line["type"] == 2 {
            let payload = BASE64_STANDARD.decode(line["payload"].as_str().unwrap()).unwrap();
            archive.extend_from_slice(&payload);
            continue;
        }
        let row = &rows[files];
        assert_eq!(line["name"], row["name"]);
        assert_eq!(line["size"].as_u64(), row["size"].as_u64());
        files += 1;
        if let Some(size) = line["size"].as_u64() {
            let hex = row["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = pool.get(&Digest::from_hex(hex, size).unwrap());
            archive.extend_from_slice(content);
            let sum = BASE64_STANDARD.encode(crc64(content).to_be_bytes());
            assert_eq!(line["payload"], sum);
        }
    }
    assert_eq!(files, rows.len());
    assert_eq!(Digest::of(&archive).hash, layer.diff_id);
    assert!(archive == run(Command::new("zstd").arg("-dc"), blob));

    // The footer says the same as the annotations.
    let footer = &blob[blob.len() - 64..];
    assert_eq!(&footer[56..], b"GNUlInUx");
    let number = |at: usize| u64::from_le_bytes(footer[at * 8..at * 8 + 8].try_into().unwrap());
    assert_eq!((number(0), number(1), number(3)), (place.range.start, place.blob.size, 1));
    assert_eq!([number(4), number(5), number(6)].map(|n| n as usize), numbers[..]);

    // Where the two would say different things there is none, and engines take the layer whole.
    let odd = odd(&mut pool, &clean);
    for tree in [odd, rich(&mut pool)] {
        let image = pack(&tree, None, &pool, &Limits::default());
        assert_eq!(image.stack.layers()[0].0.annotations.len(), 4);
    }
}
