//! What other programs make of ours, and we of theirs.

use std::fs;

use ashlar_testbed::registry::Options as Kind;
use ashlar_testbed::{docker_registry, podman, skopeo};
use serde_json::Value;

use super::*;

/// What `skopeo inspect` says of an image.
fn inspected(arguments: &[&str]) -> Value {
    let text = run(skopeo().arg("inspect").args(arguments));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn skopeo_takes_what_is_left_at_every_kind_of_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind::default());
    let (maker, places) = (Maker::new(), places());
    let image = maker.usual();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let name = format!("{}/team/app:1", registry.host());
    let layout = format!("oci:{}:1", at("layout"));
    let archive = format!("docker-archive:{}:team/app:1", at("image.tar"));
    let left = publish(&places, &name, std::slice::from_ref(&image), &maker).expect("left");
    publish(&places, &layout, std::slice::from_ref(&image), &maker).expect("left");
    publish(&places, &archive, std::slice::from_ref(&image), &maker).expect("left");

    let remote = format!("docker://{name}");
    let said = inspected(&["--tls-verify=false", &remote]);
    assert_eq!(said["Digest"], format!("sha256:{}", left.digest.hex()));
    assert_eq!(said["Layers"].as_array().map(Vec::len), Some(3));
    assert_eq!(inspected(&[&layout])["Digest"], said["Digest"]);
    let config: Value =
        serde_json::from_str(&run(skopeo().args(["inspect", "--config", &archive]))).expect("JSON");
    assert_eq!(config["config"]["Cmd"][0], "/bin/sh");

    // It reads every blob and compares the digests, compressed and not.
    for (from, to) in [(&remote, "from-registry"), (&layout, "from-layout")] {
        let to = format!("oci:{}:x", at(to));
        run(skopeo().args([
            "copy",
            "--src-tls-verify=false",
            "--dest-oci-accept-uncompressed-layers",
            from,
            &to,
        ]));
        let found = resolve(&places, &to).expect("there");
        assert_eq!(found.manifest, left.digest, "{from}");
    }
    let to = format!("oci:{}:x", at("from-archive"));
    run(skopeo().args(["copy", &archive, &to]));
    let found = resolve(&places, &to).expect("there");
    let ids = |layers: Vec<&ImageLayer>| layers.iter().map(|it| it.diff_id).collect::<Vec<_>>();
    assert_eq!(
        ids(found.layers.iter().collect()),
        ids(image.layers.iter().map(|it| &it.layer).collect())
    );
    let listed = run(Command::new("tar").arg("-tf").arg(at("image.tar")));
    let layer = &image.layers[1].layer;
    let plain = format!("{}.tar", Digest { hash: layer.diff_id, size: 0 }.hex());
    assert!(listed.lines().any(|line| line == plain), "zstd is unpacked: {listed}");
    assert!(listed.lines().any(|line| line == "manifest.json"), "{listed}");
}

#[test]
fn podman_has_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind::default());
    let (maker, places) = (Maker::new(), places());
    let image = maker.usual();
    let name = format!("{}/team/app:1", registry.host());
    let layout = format!("oci:{}:1", folder.path().join("layout").display());
    let archive = folder.path().join("image.tar");
    let archived = format!("docker-archive:{}:localhost/team/app:2", archive.display());
    for target in [&name, &layout, &archived] {
        publish(&places, target, std::slice::from_ref(&image), &maker).expect("left");
    }
    let podman = podman();
    let check = |image: &str| {
        let out = folder.path().join("out.tar");
        podman.export(image, &out);
        let read = |name: &str| {
            let mut tar = Command::new("tar");
            tar.arg("-xOf").arg(&out).arg(name);
            tar.output().expect("it starts").stdout
        };
        assert!(read("one") == noise(400_000, 1), "{image}");
        assert!(read("two") == noise(200_000, 2), "{image}");
        assert_eq!(read("three"), b"three\n");
    };
    run(podman.command().args(["pull", "-q", "--tls-verify=false", &name]));
    check(&name);
    // Its name becomes that of the image, which has no capitals: temporary folders have.
    let pull = ["pull", "-q", "oci:layout:1"];
    let id = run(podman.command().current_dir(folder.path()).args(pull));
    check(id.trim());
    run(podman.command().args(["load", "-q", "-i"]).arg(&archive));
    check("localhost/team/app:2");
    let config = run(podman.command().args(["inspect", "localhost/team/app:2"]));
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config[0]["Config"]["Cmd"][0], "/bin/sh", "{config}");
}

#[test]
fn images_that_others_wrote_are_bases() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind::default());
    let (maker, places) = (Maker::new(), places());
    let layers = vec![maker.layer(TAR, "a", b"a"), maker.layer(TAR, "b", &noise(50_000, 3))];
    let image = maker.image("linux/amd64", layers);
    let archive = folder.path().join("image.tar");
    let archived = format!("docker-archive:{}:app:1", archive.display());
    publish(&places, &archived, std::slice::from_ref(&image), &maker).expect("left");
    // With the media types of Docker, in gzip; and those of OCI, in zstd.
    let docker = format!("{}/docker:1", registry.host());
    let oci = format!("{}/oci:1", registry.host());
    for (format, compression, name) in [("v2s2", "gzip", &docker), ("oci", "zstd", &oci)] {
        let to = format!("docker://{name}");
        let arguments = ["copy", "--dest-tls-verify=false", "--format", format];
        let compression = ["--dest-compress-format", compression];
        run(skopeo().args(arguments).args(compression).args([&archived, &to]));
    }
    for (name, kind) in [(&docker, "docker"), (&oci, "oci")] {
        let found = resolve(&places, name).expect("there");
        let diff_ids = found.layers.iter().map(|layer| layer.diff_id);
        assert!(diff_ids.eq(image.layers.iter().map(|it| it.layer.diff_id)));
        assert!(found.layers.iter().all(|it| it.media_type.contains(kind)), "{found:?}");
        for (bytes, layer) in contents(&places, &found).iter().zip(&found.layers) {
            assert_eq!(Digest::of(bytes), layer.digest);
        }
        // What is built on it has the media types of OCI only.
        let mut layers = based_on(&found);
        layers.push(maker.layer(GZIP, "own", b"own"));
        let built = maker.image("linux/amd64", layers);
        let own = format!("{}/own/{kind}:1", registry.host());
        publish(&places, &own, &[built], &maker).expect("left");
        let said = run(skopeo()
            .args(["inspect", "--raw", "--tls-verify=false"])
            .arg(format!("docker://{own}")));
        assert!(!said.contains("vnd.docker"), "{said}");
        let copy = format!("oci:{}:x", folder.path().join(kind).display());
        run(skopeo()
            .args(["copy", "--src-tls-verify=false"])
            .args([&format!("docker://{own}"), &copy]));
    }
    // A layout of several images that a program wrote.
    let both = folder.path().join("both");
    for tag in ["one", "two"] {
        let to = format!("oci:{}:{tag}", both.display());
        run(skopeo().args(["copy", &archived, &to]));
    }
    let found = resolve(&places, &format!("oci:{}:two", both.display())).expect("there");
    assert_eq!(contents(&places, &found).len(), 2);
    assert!(fs::read_dir(&both).expect("a folder").count() >= 3);
}
