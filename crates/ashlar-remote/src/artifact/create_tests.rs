//! What `create` leaves, and what it refuses.

use ashlar_object::Digest;

use super::*;
use crate::artifact::manifest::MANIFEST;
use crate::artifact::{inspect, place, verify};
use crate::depot::{Body, Manifest};

fn layers(reference: &Reference) -> Vec<usize> {
    let found = inspect(reference, &Access::default(), &Watch::NOBODY).unwrap();
    found.parts.iter().map(|part| part.layers.len()).collect()
}

#[test]
fn made_anew_nothing_is_built_upon() {
    let ground = Ground::new();
    ground.sample("one");
    let mut wanted = ground.create(&[("SOURCE", "one")]);
    made(&wanted);
    ground.write("one/new", "new");
    let (revision, _) = made(&wanted);
    assert_eq!(layers(&revision[0]), [2]);
    wanted.anew = true;
    let (whole, _) = made(&wanted);
    assert_eq!(layers(&whole[0]), [1]);
    assert_ne!(whole, revision);
    for (reference, to) in [(&whole[0], "whole"), (&revision[0], "revision")] {
        ground.use_(reference, to, &Restore::default()).unwrap();
        ground.same("one", to);
    }
    // The next one builds upon the clean one.
    wanted.anew = false;
    ground.write("one/newer", "newer");
    assert_eq!(layers(&made(&wanted).0[0]), [2]);
}

#[test]
fn of_parts_made_anew_nothing_is_built_upon() {
    let ground = Ground::new();
    prefetch(&ground);
    let parts = [
        ("common", "prefetch"),
        ("amd64", "prefetch/output/deps/rpm/x86_64"),
        ("arm64", "prefetch/output/deps/rpm/aarch64"),
    ];
    let mut wanted = composite(&ground, &parts);
    wanted.anew = true;
    let (first, _) = made(&wanted);
    let clean = layers(&first[0]);
    wanted.anew = false;
    ground.write("prefetch/output/deps/rpm/x86_64/new", "new");
    let revised = layers(&made(&wanted).0[0]);
    wanted.anew = true;
    let again = layers(&made(&wanted).0[0]);
    assert!(again == clean && revised != clean, "{revised:?} {clean:?}");
}

#[test]
fn names_of_folders_in_which_files_wait_are_left_out_above_and_refused_below() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    ground.write("one/.ashlar-use-1/b", "b");
    let wanted = ground.create(&[("ONE", "one")]);
    let (made, _) = made(&wanted);
    ground.use_(&made[0], "out", &Restore::default()).unwrap();
    assert_eq!(ground.names("out"), ["a"]);

    ground.write("one/deep/.ashlar-use-1/b", "b");
    let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err();
    assert!(error.to_string().contains("deep/.ashlar-use-1"), "{error}");
}

#[test]
fn verifying_finds_an_archive_that_is_not_what_its_table_says() {
    let ground = Ground::new();
    ground.write("one/script", "echo good\n");
    ground.write("two/script", "echo evil\n");
    let (made, _) = made(&ground.create(&[("ONE", "one"), ("TWO", "two")]));
    for reference in &made {
        verify(reference, &[], &Access::default(), &Watch::NOBODY).unwrap();
    }

    // Whoever signs for it finds the first one good by its table, and the second by its archive.
    let depot = place::open(&made[0].repository, &Access::default()).unwrap();
    let read = |reference: &Reference| {
        let reference = crate::depot::Reference::Hash(reference.hash);
        let manifest = depot.manifest(&reference).unwrap().unwrap();
        let image: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let hex = image["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
        let blob = fs::read(ground.at("depot/blobs/sha256").join(hex)).unwrap();
        let config = image["config"]["digest"].as_str().unwrap().replace("sha256:", "");
        let config = fs::read(ground.at("depot/blobs/sha256").join(config)).unwrap();
        let name = "io.github.containers.zstd-chunked.manifest-position";
        let position = image["layers"][0]["annotations"][name].as_str().unwrap().to_owned();
        let end = position.split(':').next().unwrap().parse::<usize>().unwrap() - 8;
        (image, config, blob, end)
    };
    let (image, _, good, end) = read(&made[0]);
    let (_, evil_config, evil, evil_end) = read(&made[1]);
    assert_eq!(end, evil_end, "the two differ in one word only");
    let blob = [&evil[..end], &good[end..]].concat();
    let mut text = image.to_string();
    let mut put = |was: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        depot.put_blob(&digest, &Body::Bytes(bytes.into()), &Watch::NOBODY).unwrap();
        text = text.replace(was, &format!("sha256:{}", digest.hex()));
    };
    put(image["layers"][0]["digest"].as_str().unwrap(), &blob);
    put(image["config"]["digest"].as_str().unwrap(), &evil_config);
    let manifest = Manifest { media_type: MANIFEST.to_owned(), bytes: text.into_bytes() };
    depot.put_manifest(&manifest, &[]).unwrap();
    let forged = Reference { hash: manifest.digest().hash, ..made[0].clone() };
    let error = verify(&forged, &[], &Access::default(), &Watch::NOBODY).unwrap_err().to_string();
    assert!(error.contains("contradicts itself") && error.contains("`script`"), "{error}");
}
