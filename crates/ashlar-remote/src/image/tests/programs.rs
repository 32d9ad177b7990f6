//! In real places, and read by real programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use ashlar_store::{Capture, LocalStore, OpenOptions};

use super::*;
use crate::{Definition, open};

fn definition(url: &str) -> Definition {
    Definition::new("team", url, Duration::from_secs(20))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn local(folder: &Path) -> LocalStore {
    LocalStore::open(&folder.join("store"), OpenOptions::default()).unwrap()
}

/// A folder of files, kept: the tree and where it was copied from.
fn keep(store: &LocalStore, folder: &Path, change: bool) -> Tree {
    let root = folder.join("tree");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("usr/share/doc")).unwrap();
    for number in 0..60 {
        let text = format!("document {number}\n").repeat(200 * (number % 5));
        fs::write(root.join(format!("usr/share/doc/d{number}")), text).unwrap();
    }
    fs::write(root.join("usr/bin/tool"), Dice(5).bytes(300_000)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.join("usr/bin/tool"), mode).unwrap();
    std::os::unix::fs::symlink("tool", root.join("usr/bin/link")).unwrap();
    if change {
        fs::remove_file(root.join("usr/share/doc/d7")).unwrap();
        fs::write(root.join("usr/share/doc/d9"), "changed").unwrap();
        fs::remove_file(root.join("usr/bin/link")).unwrap();
        fs::create_dir(root.join("usr/bin/link")).unwrap();
        fs::write(root.join("usr/bin/link/file"), "a file").unwrap();
    }
    let (_, tree) = store.keep_folder(&root, Capture::Outputs).unwrap();
    tree
}

/// Pushes a tree and a revision of it, brings both elsewhere, and unpacks the layers with `tar`.
fn round(url: &str, skopeo: &[&str], folder: &Path) {
    let here = local(folder);
    let one = keep(&here, folder, false);
    let two = keep(&here, folder, true);
    let (first, mut second) = (publication(&here, &one, "one"), publication(&here, &two, "two"));
    second.earlier = vec![first.result.outputs];
    let remote = open(&definition(url)).unwrap();
    let whole = push(&*remote, &here, &first);
    let moved = push(&*remote, &here, &second);
    assert!(moved.bytes * 10 < whole.bytes, "{moved:?} after {whole:?}");
    let again = push(&*remote, &here, &second);
    assert_eq!((again.bytes, again.blobs), (0, 0), "{again:?}");

    let elsewhere = tempfile::tempdir().unwrap();
    let there = local(elsewhere.path());
    let remote = open(&definition(url)).unwrap();
    let steps = remote.steps(&[second.keys[0], first.keys[0]]).unwrap();
    assert_eq!(steps, [Some(found(&second)), Some(found(&first))]);
    for (publication, tree) in [(&second, &two), (&first, &one)] {
        let (moved, said) = pull(&*remote, &there, &found(publication));
        assert!(moved.is_some(), "{said:?}");
        assert_complete(&there, publication, tree);
    }

    // Ordinary programs.
    let tag = |publication: &Publication| {
        let tag = super::super::manifest::tree_tag(&publication.result.outputs);
        format!("{}:{tag}", skopeo[0])
    };
    let flag = |name: &str| skopeo.get(1).map(|value| format!("--{name}={value}"));
    let mut inspect = Command::new("skopeo");
    inspect.arg("inspect").args(flag("tls-verify")).arg(tag(&second));
    let inspected = run(&mut inspect);
    assert!(inspected.contains("\"Layers\""), "{inspected}");
    for (publication, tree) in [(&second, &two), (&first, &one)] {
        let copy = tempfile::tempdir().unwrap();
        let mut command = Command::new("skopeo");
        command.args(["copy", "-q"]).args(flag("src-tls-verify")).arg(tag(publication));
        run(command.arg(format!("dir:{}", copy.path().join("copy").display())));
        let manifest = fs::read(copy.path().join("copy/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let out = copy.path().join("out");
        fs::create_dir(&out).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let hex = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
            apply(&copy.path().join("copy").join(hex), &out);
        }
        let (digest, unpacked) = there.keep_folder(&out, Capture::Outputs).unwrap();
        assert_eq!(&unpacked, tree);
        assert_eq!(digest, publication.result.outputs);
    }
}

/// What a layer says is deleted, deleted; then the rest, with `tar`.
fn apply(layer: &Path, out: &Path) {
    let list = run(Command::new("tar").args(["--zstd", "-tf"]).arg(layer));
    for line in list.lines() {
        let (folder, name) = line.rsplit_once('/').unwrap_or((".", line));
        if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = out.join(folder).join(gone);
            match gone.symlink_metadata() {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&gone).unwrap(),
                Ok(_) => fs::remove_file(&gone).unwrap(),
                Err(_) => {}
            }
        }
    }
    run(Command::new("tar")
        .args(["--zstd", "-xpf"])
        .arg(layer)
        .args(["--exclude", ".wh.*", "--numeric-owner", "-C"])
        .arg(out));
}

#[test]
fn a_directory_that_skopeo_and_tar_read() {
    let folder = tempfile::tempdir().unwrap();
    let depot = folder.path().join("depot");
    let url = format!("dir:{}", depot.display());
    round(&url, &[&format!("oci:{}", depot.display())], folder.path());
}

#[test]
fn a_registry_that_skopeo_and_tar_read() {
    let registry = ashlar_testbed::docker_registry(&ashlar_testbed::registry::Options::default());
    let folder = tempfile::tempdir().unwrap();
    let address = format!("{}/firmware", registry.address());
    let skopeo = [&format!("docker://{address}")[..], "false"];
    round(&format!("oci://{address}"), &skopeo, folder.path());
}
