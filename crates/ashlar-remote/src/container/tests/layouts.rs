//! OCI layouts and archives, as files.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder for a layout, and the text that names it.
fn layout(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("layout");
    let name = format!("oci:{}", path.display());
    (path, name)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

#[test]
fn a_layout_is_made_and_kept_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, name) = layout(folder.path());
    let (maker, places) = (Maker::new(), places());
    let first = maker.usual();
    let left = publish(&places, &name, std::slice::from_ref(&first), &maker).expect("it is left");
    assert_eq!(names(folder.path()), ["layout"]);
    assert_eq!(names(&path), ["blobs", "index.json", "oci-layout"]);
    let found = resolve(&places, &name).expect("it is there");
    assert_eq!((found.named, &found.configuration), (left.digest, &first.configuration));
    assert_eq!(contents(&places, &found).len(), 3);

    // Others come beside it, and replace what has their name only.
    let second = maker.image("linux/amd64", vec![maker.layer(ZSTD, "x", b"x")]);
    let named = format!("{name}:two");
    let two = publish(&places, &named, std::slice::from_ref(&second), &maker).expect("left");
    assert_eq!(resolve(&places, &named).expect("there").named, two.digest);
    let error = resolve(&places, &name).expect_err("there are two");
    assert!(error.to_string().contains("`two`"), "{error}");
    let error = resolve(&places, &format!("{name}:three")).expect_err("no such name");
    assert!(matches!(error, ImageError::Missing { .. }) && error.to_string().contains("`two`"));
    let before = fs::read(path.join("index.json")).expect("the index");
    let again = publish(&places, &named, &[second], &maker).expect("left");
    assert_eq!((again.digest, again.moved.bytes), (two.digest, 0));
    assert_eq!(fs::read(path.join("index.json")).expect("the index"), before);
    publish(&places, &named, &[first], &maker).expect("left");
    assert_eq!(resolve(&places, &named).expect("there").named, left.digest);
    let index = fs::read_to_string(path.join("index.json")).expect("the index");
    assert_eq!(index.matches("ref.name").count(), 1, "{index}");
    let pinned = format!("{name}@sha256:{}", two.digest.hex());
    assert_eq!(resolve(&places, &pinned).expect("it stays").manifest, two.digest);
}

#[test]
fn what_others_wrote_in_an_index_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, name) = layout(folder.path());
    let (maker, places) = (Maker::new(), places());
    publish(&places, &format!("{name}:a"), &[maker.usual()], &maker).expect("left");
    let index = path.join("index.json");
    let mut document: serde_json::Value =
        serde_json::from_slice(&fs::read(&index).expect("there")).expect("JSON");
    document["annotations"] = json!({"org.example": "kept"});
    document["manifests"][0]["annotations"]["org.example"] = json!("kept too");
    fs::write(&index, document.to_string()).expect("written");
    publish(&places, &format!("{name}:b"), &[maker.usual()], &maker).expect("left");
    let text = fs::read_to_string(&index).expect("there");
    assert!(text.contains("kept\"") && text.contains("kept too"), "{text}");
    assert_eq!(
        resolve(&places, &format!("{name}:a")).expect("there").manifest,
        resolve(&places, &format!("{name}:b")).expect("there").manifest
    );
}

#[test]
fn several_writers_leave_all_of_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, name) = layout(folder.path());
    let maker = Maker::new();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (maker, name) = (&maker, &name);
            scope.spawn(move || {
                let shared = maker.layer(GZIP, "shared", &noise(100_000, 7));
                let own = maker.layer(GZIP, "own", format!("{number}").as_bytes());
                let image = maker.image("linux/amd64", vec![shared, own]);
                publish(&places(), &format!("{name}:t{number}"), &[image], maker).expect("left");
            });
        }
    });
    for number in 0..6 {
        let found = resolve(&places(), &format!("{name}:t{number}")).expect("there");
        assert_eq!(contents(&places(), &found).len(), 2);
    }
    assert_eq!(names(folder.path()), ["layout"]);
    assert!(names(&path.join("blobs/sha256")).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn a_layout_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, name) = layout(folder.path());
    let (maker, places) = (Maker::new(), places());
    let image = maker.usual();
    let nobody = Maker::new();
    publish(&places, &name, std::slice::from_ref(&image), &nobody).expect_err("no layers");
    assert!(names(folder.path()).is_empty());
    let archive = folder.path().join("image.tar");
    let archived = format!("docker-archive:{}", archive.display());
    publish(&places, &archived, std::slice::from_ref(&image), &nobody).expect_err("no layers");
    assert!(names(folder.path()).is_empty());

    // What dead writers left goes with the next one, and a damaged blob is written again.
    publish(&places, &name, std::slice::from_ref(&image), &maker).expect("left");
    let blobs = path.join("blobs/sha256");
    fs::write(blobs.join(".ashlar-dead"), "half").expect("written");
    let victim = blobs.join(image.layers[0].layer.digest.hex());
    fs::write(&victim, "short").expect("written");
    let left = publish(&places, &name, std::slice::from_ref(&image), &maker).expect("left");
    assert_eq!(left.moved.bytes, image.layers[0].layer.digest.size);
    assert!(!blobs.join(".ashlar-dead").exists());
    let found = resolve(&places, &name).expect("there");
    assert_eq!(contents(&places, &found).len(), 3);

    // One of the right length shows when it is read.
    let mut bytes = fs::read(&victim).expect("there");
    bytes[1000] ^= 1;
    fs::write(&victim, bytes).expect("written");
    let error = places.layer(&found, 0, &mut Vec::new(), &Watch::NOBODY).expect_err("damaged");
    assert!(matches!(error, ImageError::Digest { .. }), "{error:?}");
    fs::remove_file(&victim).expect("removed");
    let error = places.layer(&found, 0, &mut Vec::new(), &Watch::NOBODY).expect_err("gone");
    assert!(matches!(error, ImageError::Lost { .. }), "{error:?}");
}

#[test]
fn a_folder_that_is_no_layout_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, name) = layout(folder.path());
    let (maker, places) = (Maker::new(), places());
    let error = resolve(&places, &name).expect_err("nothing is there");
    assert!(matches!(error, ImageError::Missing { .. }), "{error:?}");
    fs::create_dir(&path).expect("made");
    fs::write(path.join("mine"), "mine").expect("written");
    let error = publish(&places, &name, &[maker.usual()], &maker).expect_err("it is another's");
    assert!(error.to_string().contains("no OCI layout"), "{error}");
    assert_eq!(names(&path), ["mine"]);
    fs::remove_file(path.join("mine")).expect("removed");
    publish(&places, &name, &[maker.usual()], &maker).expect("an empty one is taken");
    resolve(&places, &name).expect("it is there");
    fs::write(path.join("index.json"), "{").expect("written");
    let error = resolve(&places, &name).expect_err("no JSON");
    assert!(matches!(error, ImageError::Malformed { .. }), "{error:?}");
}

#[test]
fn the_same_image_is_the_same_bytes_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = places();
    let mut made = Vec::new();
    for round in ["a", "b"] {
        let maker = Maker::new();
        let at = folder.path().join(round);
        fs::create_dir(&at).expect("made");
        let image = maker.usual();
        let layout = format!("oci:{}:x", at.join("layout").display());
        let archive = format!("docker-archive:{}:app:x", at.join("image.tar").display());
        let left = publish(&places, &layout, std::slice::from_ref(&image), &maker).expect("left");
        let other = publish(&places, &archive, &[image], &maker).expect("left");
        assert_eq!(left.digest, other.digest);
        let index = fs::read(at.join("layout/index.json")).expect("there");
        made.push((left.digest, index, fs::read(at.join("image.tar")).expect("there")));
    }
    assert!(made[0] == made[1]);
    let several = [Maker::new().usual(), Maker::new().image("linux/arm64", Vec::new())];
    let archive = format!("docker-archive:{}", folder.path().join("all.tar").display());
    let error = publish(&places, &archive, &several, &Maker::new()).expect_err("one only");
    assert!(error.to_string().contains("oci:DIR"), "{error}");
}
