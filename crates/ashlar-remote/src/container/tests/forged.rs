//! What is no image, or not the one that was asked for.

use ashlar_testbed::proxy::{Answer, Fault, Rule};
use ashlar_testbed::registry::Options as Kind;
use ashlar_testbed::{Proxy, docker_registry};

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Answers every request for a manifest of `app` with these bytes.
fn says(proxy: &Proxy, media_type: &str, bytes: &[u8]) {
    proxy.clear();
    let digest = format!("sha256:{}", Digest::of(bytes).hex());
    let answer = Answer { status: 200, headers: Vec::new(), body: bytes.to_vec() };
    let answer = answer.header("Content-Type", media_type).header("Docker-Content-Digest", &digest);
    let head = Answer { body: Vec::new(), ..answer.clone() };
    proxy.add(Rule::on("GET", "/v2/app/manifests/", Fault::Answer(answer)));
    proxy.add(Rule::on("HEAD", "/v2/app/manifests/", Fault::Answer(head)));
}

#[test]
fn a_digest_that_does_not_match_is_an_error_with_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let maker = Maker::new();
    let name = format!("{}/app", proxy.host());
    let left = publish(&places(), &name, &[maker.usual()], &maker).expect("it is left");
    let wanted = Digest::of(b"another manifest");
    let pinned = format!("{name}@sha256:{}", wanted.hex());
    let error = resolve(&places(), &pinned).expect_err("it is not there");
    assert!(matches!(error, ImageError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains(&wanted.hex()));

    // A registry that gives another one for it.
    let source = places().source(&reference(&name)).expect("a place");
    let manifest = source.manifest(&left.digest.hash).expect("asked").expect("it is there");
    says(&proxy, MANIFEST, &manifest.bytes);
    let known = ImagePlaces::new(remembering(folder.path()));
    let error = resolve(&known, &pinned).expect_err("it is another one");
    let ImageError::Digest { expected, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, format!("sha256:{}", wanted.hex()));
    assert_eq!(*found, format!("sha256:{}", left.digest.hex()));
    // Nothing of it was remembered.
    resolve(&known, &pinned).expect_err("it is another one still");

    // Its configuration is another one.
    proxy.clear();
    let path = format!("/v2/app/blobs/sha256:{}", Digest::of(&maker.usual().configuration).hex());
    let other = Answer::status(200).body(maker.usual().configuration.to_ascii_uppercase());
    proxy.add(Rule::on("GET", &path, Fault::Answer(other)));
    let error = resolve(&known, &name).expect_err("another configuration");
    assert!(matches!(error, ImageError::Digest { .. }), "{error:?}");
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let name = format!("{}/app:1", proxy.host());
    let why = |media_type: &str, document: serde_json::Value| {
        says(&proxy, media_type, document.to_string().as_bytes());
        let error = resolve(&places(), &name).expect_err("it is no image");
        assert!(!matches!(error, ImageError::Remote(_)), "{error:?}");
        error.to_string()
    };
    let config = |media_type: &str| {
        let digest = format!("sha256:{}", Digest::of(b"{}").hex());
        json!({"mediaType": media_type, "digest": digest, "size": 2})
    };
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let old = json!({"schemaVersion": 1, "name": "app", "fsLayers": [], "history": []});
    for media_type in [signed, "application/vnd.docker.distribution.manifest.v1+json"] {
        assert!(why(media_type, old.clone()).contains("first version"), "{media_type}");
    }
    let chart = "application/vnd.cncf.helm.config.v1+json";
    let document = json!({"schemaVersion": 2, "config": config(chart), "layers": []});
    let said = why(MANIFEST, document);
    assert!(said.contains(chart), "{said}");
    let strange = json!({"schemaVersion": 2, "mediaType": "application/vnd.example+json"});
    assert!(why("application/vnd.example+json", strange).contains("vnd.example+json"));
    let config_type = "application/vnd.oci.image.config.v1+json";
    let mut document = json!({"schemaVersion": 2, "config": config(config_type), "layers": []});
    document["config"]["digest"] = json!("sha512:12");
    assert!(why(MANIFEST, document.clone()).contains("sha512:12"));
    document["config"]["digest"] = json!(format!("sha256:{}", "ab".repeat(32)));
    document["config"]["size"] = json!(u64::MAX);
    assert!(why(MANIFEST, document).contains("would have"));
    assert!(why(INDEX, json!({"schemaVersion": 2, "manifests": []})).contains("no platform"));
    assert!(why(MANIFEST, json!([1])).contains("no image manifest"));
    assert!(why(INDEX, json!({"manifests": 3})).contains("no index"));
}

#[test]
fn an_index_of_itself_and_of_attestations() {
    let registry = docker_registry(&Kind::default());
    let proxy = Proxy::http(registry.address());
    let name = format!("{}/app:1", proxy.host());
    let line = |platform: serde_json::Value| {
        json!({"mediaType": INDEX, "digest": format!("sha256:{}", "ab".repeat(32)), "size": 3,
               "platform": platform})
    };
    let unknown = line(json!({"os": "unknown", "architecture": "unknown"}));
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [unknown]});
    says(&proxy, INDEX, document.to_string().as_bytes());
    let error = resolve(&places(), &name).expect_err("no image is in it");
    assert!(matches!(&error, ImageError::Platform { there, .. } if there.is_empty()), "{error:?}");

    // Deeper than anybody would go.
    let folder = tempfile::tempdir().expect("a folder");
    let blobs = folder.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    let mut below = Digest::of(b"nothing");
    for _ in 0..9 {
        let line = json!({"mediaType": INDEX, "digest": format!("sha256:{}", below.hex()),
            "size": below.size, "platform": {"os": "linux", "architecture": "amd64"}});
        let bytes = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [line]});
        let bytes = bytes.to_string();
        below = Digest::of(bytes.as_bytes());
        std::fs::write(blobs.join(below.hex()), &bytes).expect("written");
        std::fs::write(folder.path().join("index.json"), &bytes).expect("written");
    }
    let error = resolve(&places(), &format!("oci:{}", folder.path().display()));
    let error = error.expect_err("it does not end");
    assert!(matches!(error, ImageError::Malformed { .. }), "{error:?}");
}

#[test]
fn layers_that_are_not_understood_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = format!("oci:{}", folder.path().join("layout").display());
    let maker = Maker::new();
    let image = maker.usual();
    publish(&places(), &name, std::slice::from_ref(&image), &maker).expect("it is left");
    let layout = folder.path().join("layout");
    let change = |edit: &dyn Fn(&mut serde_json::Value)| {
        let found = resolve(&places(), &name);
        let path = match &found {
            Ok(found) => layout.join("blobs/sha256").join(found.manifest.hex()),
            Err(error) => panic!("{error}"),
        };
        let text = std::fs::read(path).expect("the manifest");
        let mut document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        edit(&mut document);
        let bytes = document.to_string();
        let digest = Digest::of(bytes.as_bytes());
        std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).expect("written");
        let pinned = format!("{name}@sha256:{}", digest.hex());
        resolve(&places(), &pinned).expect_err("it is refused").to_string()
    };
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let why = change(&|document| document["layers"][1]["mediaType"] = json!(foreign));
    assert!(why.contains(foreign), "{why}");
    let why = change(&|document| {
        document["layers"].as_array_mut().expect("a list").pop();
    });
    assert!(why.contains("2 layers") && why.contains("knows 3"), "{why}");
    let why = change(&|document| document["layers"][0]["digest"] = json!("../../x"));
    assert!(why.contains("../../x"), "{why}");
}
