//! Layers that others make are read, and others take those that are written: GNU tar in all its
//! formats, podman with its storage, which buildah and skopeo share.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use ashlar_object::{Digest, Dir, Meta, Node, RelPath, Tree};
use ashlar_pack::image::Compression;
use ashlar_pack::{Layer, PackError};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use serde_json::{Value, json};

use crate::images::{ALL, layer_with_fifo, plain, read, write};
use crate::support::{Pool, assert_same, noise, path, scan};
use crate::tools::{run, without};

/// A folder with what layers have, for tar to pack.
fn folder(at: &Path, marks: bool) {
    let put = |name: &str, content: &[u8], mode: u32| {
        let file = at.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    put("usr/bin/perl", b"perl", 0o755);
    put("usr/bin/su", b"su", 0o4755);
    put("etc/shadow", b"root:*:", 0o640);
    put("empty", b"", 0o600);
    put(&format!("usr/{}/{}", "d".repeat(120), "f".repeat(200)), b"long", 0o644);
    put("noise", &noise(5, 1_300_000), 0o644);
    fs::hard_link(at.join("usr/bin/perl"), at.join("usr/bin/perl5.36")).unwrap();
    fs::hard_link(at.join("usr/bin/perl"), at.join("bin-perl")).unwrap();
    fs::hard_link(at.join("empty"), at.join("etc/empty")).unwrap();
    std::os::unix::fs::symlink("usr/bin", at.join("bin")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), at.join("far")).unwrap();
    std::os::unix::fs::lchown(at.join("far"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::chown(at.join("etc/shadow"), Some(0), Some(42)).unwrap();
    std::os::unix::fs::chown(at.join("noise"), Some(3_000_000), Some(3_000_000)).unwrap();
    fs::set_permissions(at.join("etc"), fs::Permissions::from_mode(0o2750)).unwrap();
    if marks {
        put("usr/.wh.gone", b"", 0o644);
        put("usr/opaque/.wh..wh..opq", b"", 0o644);
        put("usr/opaque/new", b"new", 0o644);
        put(".wh..wh.plnk/123.456", b"kept by AUFS for itself", 0o644);
        put("usr/anew/.wh.file", b"", 0o644);
        put("usr/anew/file", b"made again", 0o644);
        put("usr/anew/.wh.dir", b"", 0o644);
        put("usr/anew/dir/in", b"made again", 0o644);
    }
}

/// The tree that the folder's marks make.
fn marked(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    let remove = |tree: &mut Tree, at: &str| {
        let at = path(at);
        let (last, above) = at.names().split_last().unwrap();
        let mut parent = RelPath::root();
        above.iter().for_each(|name| parent.push(name.clone()));
        let dir = match tree.get(&parent) {
            Some(Node::Dir(dir)) => dir.clone(),
            _ => tree.root().clone(),
        };
        let mut entries: BTreeMap<_, _> = dir.entries().clone();
        entries.remove(last).unwrap();
        let dir = Dir::new(entries, dir.meta().clone(), dir.is_opaque());
        tree.put(&parent, Node::Dir(dir.into()));
    };
    for mark in [
        ".wh..wh.plnk",
        "usr/.wh.gone",
        "usr/opaque/.wh..wh..opq",
        "usr/anew/.wh.file",
        "usr/anew/.wh.dir",
    ] {
        remove(&mut tree, mark);
    }
    tree.put(&path("usr/gone"), Node::Whiteout);
    for at in ["usr/opaque", "usr/anew/dir"] {
        let Some(Node::Dir(dir)) = tree.get(&path(at)).cloned() else { panic!("{at}") };
        let dir = Dir::new(dir.entries().clone(), dir.meta().clone(), true);
        tree.put(&path(at), Node::Dir(dir.into()));
    }
    tree
}

fn tar(at: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    run(tar.args(arguments).args(["-cf", "-", "-C"]).arg(at).arg("."), b"")
}

#[test]
fn whatever_gnu_tar_packs_is_read() {
    let at = tempfile::tempdir().unwrap();
    folder(at.path(), true);
    let expected = marked(&plain(&scan(at.path())));
    assert_eq!(expected.links().len(), 2);
    for format in ["gnu", "posix", "oldgnu"] {
        let archive = tar(at.path(), &[&format!("--format={format}"), "--sort=name"]);
        for (program, compression) in
            [("cat", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)]
        {
            let blob = run(&mut Command::new(program), &archive);
            let (found, contents) = read(&blob).unwrap_or_else(|e| panic!("{format}: {e:?}"));
            assert_same(&expected, &found.tree);
            assert_eq!(found.compression, compression);
            assert_eq!(found.blob, Digest::of(&blob));
            assert_eq!(found.diff_id, Digest::of(&archive).hash);
            assert_eq!(contents.get(&Digest::of(&noise(5, 1_300_000))), noise(5, 1_300_000));
        }
    }
    // In whatever order, and with folders that nothing stands for.
    let files = run(Command::new("find").arg(".").args(["-type", "f"]).current_dir(at.path()), b"");
    let mut lines: Vec<_> = files.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    lines.sort_unstable_by(|a, b| b.cmp(a));
    let mut command = Command::new("tar");
    command.args(["-cf", "-", "-T", "-"]).current_dir(at.path());
    let (found, _) = read(&run(&mut command, &lines.join(&b'\n'))).unwrap();
    assert_eq!(found.tree.links(), expected.links());
    assert!(matches!(found.tree.get(&path("usr/anew/dir")), Some(Node::Dir(d)) if d.is_opaque()));
    assert!(matches!(found.tree.get(&path("etc")), Some(Node::Dir(d)) if d.meta().mode == 0o755));
}

#[test]
fn attributes_are_read_and_those_of_machines_are_not() {
    let at = tempfile::tempdir().unwrap();
    folder(at.path(), false);
    let set = |name: &str, value: &[u8]| {
        let file = at.path().join("usr/bin/su");
        rustix::fs::setxattr(file, name, value, XattrFlags::empty()).unwrap();
    };
    let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[7; 16]].concat();
    set("security.capability", &capability);
    set("user.note", b"a=b\n\0");
    set("user.per%cent", b"");
    set("trusted.secret", b"of this machine");
    set("user.overlay.origin", b"of this machine");
    let archive = tar(at.path(), &["--format=posix", "--xattrs", "--xattrs-include=*"]);
    let (found, _) = read(&archive).unwrap();
    let Some(Node::File(file)) = found.tree.get(&path("usr/bin/su")) else { panic!() };
    let extra = file.meta.extra.as_deref().unwrap();
    let attributes: Vec<_> = extra.xattrs.iter().map(|(k, v)| (k.as_str(), &v[..])).collect();
    let expected: [(&str, &[u8]); 3] =
        [("security.capability", &capability), ("user.note", b"a=b\n\0"), ("user.per%cent", b"")];
    assert_eq!(attributes, expected);
}

#[test]
fn files_with_holes_are_read_in_every_form() {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let at = tempfile::tempdir().unwrap();
    let file = |name: &str, parts: &[(u64, &[u8])], size: u64| {
        let mut file = fs::File::create(at.path().join(name)).unwrap();
        for (offset, bytes) in parts {
            file.seek(SeekFrom::Start(*offset)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.set_len(size).unwrap();
    };
    let block = noise(9, 4096);
    file("ends in a hole", &[(0, &block), (1 << 20, b"middle")], 3 << 20);
    file("begins with one", &[(5 << 20, &block)], (5 << 20) + 4096);
    file("only a hole", &[], 1 << 20);
    // More parts than a header has room for.
    let many: Vec<_> = (0..150).map(|n| (n * 65_536, &block[..])).collect();
    file("many", &many, 150 * 65_536);
    file("after it", &[(0, b"plain")], 5);
    let expected = plain(&scan(at.path()));
    for form in [
        &["--format=gnu", "-S"][..],
        &["--format=posix", "-S", "--sparse-version=0.0"],
        &["--format=posix", "-S", "--sparse-version=0.1"],
        &["--format=posix", "-S", "--sparse-version=1.0"],
    ] {
        let archive = tar(at.path(), form);
        assert!(archive.len() < 4 << 20, "{form:?} has {} bytes", archive.len());
        let (found, _) = read(&archive).unwrap_or_else(|e| panic!("{form:?}: {e:?}"));
        assert_same(&expected, &found.tree);
        // Cut where an entry could begin, it is another archive; behind the last it is the same.
        for at in (1..archive.len()).step_by(9973).filter(|at| at % 512 != 0) {
            let cut = read(&archive[..at]).map(|(found, _)| found.tree);
            assert!(cut.is_err() || cut.is_ok_and(|found| found == expected), "{form:?} {at}");
        }
    }
}

#[test]
fn devices_are_left_out_below_dev_and_refused_elsewhere() {
    let at = tempfile::tempdir().unwrap();
    folder(at.path(), false);
    let expected = plain(&scan(at.path()))
        .with(&path("dev"), Node::Dir(Dir::new(BTreeMap::new(), Meta::EXECUTABLE, false).into()));
    fs::create_dir(at.path().join("dev")).unwrap();
    let node = |name: &str, kind| {
        rustix::fs::mknodat(CWD, at.path().join(name), kind, Mode::RWXU, 0x0103).unwrap();
    };
    node("dev/null", FileType::CharacterDevice);
    node("dev/sda", FileType::BlockDevice);
    node("dev/initctl", FileType::Fifo);
    fs::hard_link(at.path().join("dev/null"), at.path().join("dev/zero")).unwrap();
    assert_same(&expected, &read(&tar(at.path(), &[])).unwrap().0.tree);
    node("etc/initctl", FileType::Fifo);
    fs::hard_link(at.path().join("etc/initctl"), at.path().join("etc/linked")).unwrap();
    let fifo = Node::Fifo(Meta { mode: 0o700, extra: None });
    let with = expected.with(&path("etc/initctl"), fifo.clone()).with(&path("etc/linked"), fifo);
    assert_same(&with, &read(&tar(at.path(), &[])).unwrap().0.tree);
    for (kind, what) in [
        (FileType::CharacterDevice, "is a character device"),
        (FileType::BlockDevice, "is a block device"),
    ] {
        node("etc/node", kind);
        match read(&tar(at.path(), &[])) {
            Err(PackError::Archive { path, reason }) => {
                assert_eq!((path.as_str(), reason.as_str()), ("./etc/node", what));
            }
            other => panic!("{other:?}"),
        }
        fs::remove_file(at.path().join("etc/node")).unwrap();
    }
}

#[test]
fn gnu_tar_takes_what_is_written() {
    let mut pool = Pool::default();
    let tree = layer_with_fifo(&mut pool);
    for (compression, flag) in ALL.iter().zip(["--no-auto-compress", "-z", "--zstd"]) {
        let (_, blob) = write(&tree, &pool, *compression);
        let at = tempfile::tempdir().unwrap();
        run(
            Command::new("tar")
                .args([flag, "-xpf", "-", "--numeric-owner", "--xattrs", "--xattrs-include=*"])
                .arg("-C")
                .arg(at.path()),
            &blob,
        );
        // Marks are files to tar.
        for (mark, at_mark) in [
            ("a gone", ".wh.a gone"),
            ("usr/gone", "usr/.wh.gone"),
            ("hidden", "hidden/.wh..wh..opq"),
        ] {
            assert!(tree.get(&path(mark)).is_some());
            let file = fs::metadata(at.path().join(at_mark)).unwrap();
            assert_eq!((file.len(), file.permissions().mode() & 0o7777), (0, 0o644));
            fs::remove_file(at.path().join(at_mark)).unwrap();
        }
        let expected = Tree::default().overlaid(&tree);
        // The folders whose marks were removed have another time.
        assert_same(&expected, &plain(&scan(at.path())));
    }
}

/// An OCI image layout with these layers, tagged `t`; every third one with another compression.
fn layout(layers: &[(Layer, Vec<u8>, Compression)], at: &Path) {
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        let blobs = at.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "digest": format!("sha256:{}", digest.hex()), "size": digest.size, "mediaType": kind })
    };
    let ids = layers
        .iter()
        .map(|(layer, ..)| format!("sha256:{}", Digest { hash: layer.diff_id, size: 0 }.hex()));
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": ids.collect::<Vec<_>>() },
    });
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}+json");
    let config = put(config.to_string().as_bytes(), &oci("config.v1"));
    let layers = layers.iter().map(|(layer, blob, compression)| {
        let mut descriptor = put(blob, compression.media_type());
        descriptor["annotations"] = json!(layer.annotations);
        descriptor
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": oci("manifest.v1"),
        "config": config, "layers": layers.collect::<Vec<_>>(),
    });
    let mut manifest = put(manifest.to_string().as_bytes(), &oci("manifest.v1"));
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(at.join("index.json"), index.to_string()).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command, b"")).unwrap().trim().to_owned()
}

#[test]
fn podman_takes_what_is_written() {
    let mut pool = Pool::default();
    // Podman does not know GNU's way of writing `%` in the names of attributes.
    let base = Tree::default().overlaid(&without(&layer_with_fifo(&mut pool), &["marked"]));
    let opaque = Dir::new(BTreeMap::new(), Meta { mode: 0o711, extra: None }, true);
    let over = Tree::default()
        .with(&path("usr/lib"), Node::Dir(opaque.into()))
        .with(&path("usr/lib/new"), pool.file("new"))
        .with(&path("bin"), Node::Whiteout)
        .with(&path("times/old"), pool.file("newer"))
        .with(&path("times/new"), Node::Whiteout)
        .with(&path("home"), pool.file("a file where a folder was"));
    let at = tempfile::tempdir().unwrap();
    for compression in ALL {
        let layers: Vec<_> = [&base, &over]
            .map(|tree| {
                let (layer, blob) = write(tree, &pool, compression);
                (layer, blob, compression)
            })
            .into();
        let oci = at.path().join(format!("{compression:?}").to_lowercase());
        layout(&layers, &oci);
        let copy = at.path().join(format!("copy-{compression:?}"));
        let from = format!("oci:{}:t", oci.display());
        let to = format!("dir:{}", copy.display());
        run(ashlar_testbed::skopeo().args(["copy", "-q", &from, &to]), b"");
        for (layer, ..) in &layers {
            let copied = fs::read(copy.join(layer.digest.hex())).unwrap();
            assert_eq!(Digest::of(&copied), layer.digest);
        }
        let podman = ashlar_testbed::podman();
        // Of an absolute path podman makes a name, in which capitals may not be.
        let from = format!("oci:{}:t", oci.file_name().unwrap().display());
        let id = text(podman.command().args(["pull", "-q", &from]).current_dir(at.path()));
        let mounted = text(podman.command().args(["image", "mount", &id]));
        let found = scan(Path::new(&mounted));
        run(podman.command().args(["image", "unmount", &id]), b"");
        let found = Dir::new(found.root().entries().clone(), over.root().meta().clone(), false);
        // Of all entries only the mount has a time of its own.
        assert_same(&base.overlaid(&over), &Tree::from(found));
    }
}

#[test]
fn layers_that_podman_makes_are_read() {
    let at = tempfile::tempdir().unwrap();
    let root = at.path().join("root");
    fs::create_dir(&root).unwrap();
    folder(&root, false);
    let base = plain(&scan(&root));
    fs::write(at.path().join("root.tar"), tar(&root, &["--xattrs"])).unwrap();
    let podman = ashlar_testbed::podman_partial();
    let podman = |arguments: &[&str]| text(podman.command().args(arguments).current_dir(at.path()));
    podman(&["import", "-q", "root.tar", "base:1"]);
    let container = podman(&["create", "--network", "none", "base:1", "/none"]);
    let mounted = podman(&["mount", &container]);
    let change = |name: &str| Path::new(&mounted).join(name);
    fs::remove_file(change("usr/bin/su")).unwrap();
    fs::remove_dir_all(change("etc")).unwrap();
    fs::create_dir(change("etc")).unwrap();
    fs::write(change("etc/new"), "new").unwrap();
    fs::hard_link(change("etc/new"), change("etc/also")).unwrap();
    fs::set_permissions(change("noise"), fs::Permissions::from_mode(0o4711)).unwrap();
    let expected = plain(&scan(Path::new(&mounted)));
    podman(&["umount", &container]);
    podman(&["commit", "-q", &container, "base:2"]);
    podman(&["save", "-q", "--format", "oci-dir", "-o", "out", "base:2"]);
    podman(&["rm", &container]);

    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::read(at.path().join("out/blobs/sha256").join(hex)).unwrap()
    };
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let index = json(&fs::read(at.path().join("out/index.json")).unwrap());
    let manifest = json(&blob(&index["manifests"][0]["digest"]));
    let config = json(&blob(&manifest["config"]["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let mut trees = Vec::new();
    for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
        let (found, _) = read(&blob(&layer["digest"])).unwrap();
        assert_eq!(layer["digest"], format!("sha256:{}", found.blob.hex()));
        assert_eq!(layer["size"], found.blob.size);
        assert_eq!(*diff_id, format!("sha256:{}", Digest { hash: found.diff_id, size: 0 }.hex()));
        trees.push(found.tree);
    }
    assert_same(&base, &trees[0]);
    let get = |at: &str| trees[1].get(&path(at)).cloned();
    assert_eq!(get("usr/bin/su"), Some(Node::Whiteout));
    assert!(get("etc/new").is_some() && get("etc/shadow") != get("etc/new"));
    let flat = trees[0].overlaid(&trees[1]);
    // The mode of a mounted root is the storage's own.
    let flat = Dir::new(flat.root().entries().clone(), expected.root().meta().clone(), false);
    assert_same(&expected, &Tree::from(flat));
}
