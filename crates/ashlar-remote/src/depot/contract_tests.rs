//! What every depot does, whatever it is made of: the same cases for each kind.

mod collecting;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ashlar_object::Digest;
use ashlar_store::{Limits, RemoteError, Watch};
use base64::Engine as _;
use serde_json::{Value, json};

use super::collect::{collect, stat};
use super::{Body, Depot, Made, Manifest, Reference};

/// Opens the same place anew, as another process would.
pub(super) type Open<'a> = &'a (dyn Fn() -> Box<dyn Depot> + Sync);

/// What a place can do beyond the contract's core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// How coarse its clock is: after so long something is old.
    pub tick: Duration,
    /// Whether manifests that refer to blobs that are not there are refused.
    pub refuses_gaps: bool,
    /// Whether referrers that several put at once are all listed afterwards.
    pub lists_all: bool,
    /// Whether unreferenced blobs can be listed and removed.
    pub collects: bool,
}

/// All cases that a fresh place is good for. Each uses blobs and tags of its own.
pub(super) fn all(open: Open<'_>, traits: Traits) {
    blobs_come_back_whole_and_in_parts(open);
    a_body_of_another_length_is_never_there(open);
    manifests_are_found_by_tag_and_by_hash(open);
    referrers_of_many_writers_are_all_listed(open, traits);
    tags_can_be_listed_and_removed(open);
    many_writers_of_one_blob_never_show_half_of_it(open);
    if traits.refuses_gaps {
        nothing_points_to_what_is_not_there(open);
    }
    if traits.collects {
        collecting::old_blobs_go_and_young_ones_stay(open, traits);
        collecting::collecting_keeps_what_is_needed(open, traits);
        collecting::artifacts_stay_as_results_do(open, traits);
        collecting::readers_beside_a_collection_see_whole_results_or_none(open, traits);
    }
}

/// Bytes that look different for each seed and cannot be compressed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

pub(super) fn body(bytes: &[u8]) -> Body {
    Body::Bytes(Arc::from(bytes))
}

pub(super) fn put(depot: &dyn Depot, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    depot.put_blob(&digest, &body(bytes), &Watch::NOBODY).expect("a blob is put");
    digest
}

/// Reads a part of a blob.
pub(super) fn get(
    depot: &dyn Depot,
    digest: &Digest,
    range: std::ops::Range<u64>,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = depot.open_blob(digest, range).expect("a blob is opened")?;
    reader.read_to_end(&mut bytes).expect("a blob is read");
    Some(bytes)
}

fn descriptor(media_type: &str, digest: &Digest) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", digest.hex()),
        "size": digest.size,
    })
}

fn manifest_of(document: &Value) -> Manifest {
    Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: serde_json::to_vec(document).expect("JSON"),
    }
}

/// An image with these layers; config and layers are put.
pub(super) fn image(depot: &dyn Depot, layers: &[Digest]) -> Manifest {
    let config = put(depot, b"{\"architecture\":\"amd64\",\"os\":\"linux\"}");
    let layer = "application/vnd.oci.image.layer.v1.tar+zstd";
    manifest_of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(|digest| descriptor(layer, digest)).collect::<Vec<_>>(),
    }))
}

/// A result that needs an image, as the image room writes it: the config travels in the manifest.
fn result(depot: &dyn Depot, name: &str, image: &Manifest) -> Manifest {
    let config = serde_json::to_vec(&json!({
        "action": name,
        "image": format!("sha256:{}", image.digest().hex()),
    }))
    .expect("JSON");
    let digest = put(depot, &config);
    let mut described = descriptor("application/vnd.ashlar.result.config.v1+json", &digest);
    described["data"] = base64::engine::general_purpose::STANDARD.encode(&config).into();
    let log = put(depot, format!("log of {name}").as_bytes());
    manifest_of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.ashlar.result.v1+json",
        "config": described,
        "layers": [descriptor("text/plain", &log)],
    }))
}

pub(super) fn referrer(depot: &dyn Depot, subject: &Manifest, name: &str) -> Manifest {
    let empty = put(depot, b"{}");
    let blob = put(depot, format!("says {name}").as_bytes());
    manifest_of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.note",
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty),
        "layers": [descriptor("text/plain", &blob)],
        "subject": descriptor(&subject.media_type, &subject.digest()),
        "annotations": {"org.example.name": name},
    }))
}

fn hex(prefix: &str, seed: &str, digits: usize) -> String {
    format!("{prefix}-{}", &Digest::of(seed.as_bytes()).hex()[..digits])
}

fn tag(name: &str) -> Reference {
    Reference::Tag(name.to_owned())
}

fn blobs_come_back_whole_and_in_parts(open: Open<'_>) {
    let depot = open();
    let bytes = noise(1, 300_001);
    let digest = Digest::of(&bytes);
    assert!(!depot.has_blob(&digest).expect("asked"));
    assert_eq!(depot.blob_size(&digest.hash).expect("asked"), None);
    assert!(depot.open_blob(&digest, 0..10).expect("asked").is_none());
    let moved = AtomicUsize::new(0);
    let watch = Watch {
        moved: &|moves| {
            moved.fetch_add(usize::try_from(moves.bytes).expect("small"), Ordering::Relaxed);
        },
        ..Watch::NOBODY
    };
    depot.put_blob(&digest, &body(&bytes), &watch).expect("put");
    assert_eq!(moved.into_inner(), bytes.len(), "what is told of moving");

    let depot = open();
    assert!(depot.has_blob(&digest).expect("asked"));
    assert_eq!(depot.blob_size(&digest.hash).expect("asked"), Some(digest.size));
    let all = get(&*depot, &digest, 0..digest.size).expect("it is there");
    assert_eq!(Digest::of(&all), digest);
    assert_eq!(get(&*depot, &digest, 5..5).expect("there"), b"");
    assert_eq!(get(&*depot, &digest, 299_990..300_001).expect("there"), &bytes[299_990..]);
    assert_eq!(get(&*depot, &digest, 70_000..200_000).expect("there"), &bytes[70_000..200_000]);
    // Nothing at all is a blob as well.
    assert_eq!(put(&*depot, b""), Digest::EMPTY);
    assert!(depot.has_blob(&Digest::EMPTY).expect("asked"));
    assert_eq!(get(&*depot, &Digest::EMPTY, 0..0).expect("there"), b"");
}

/// Bytes that are made while they are sent.
#[derive(Debug)]
struct Generated {
    length: u64,
}

impl Made for Generated {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(at)).expect("small");
        let count = buffer.len().min(left);
        for (offset, byte) in buffer[..count].iter_mut().enumerate() {
            *byte = ((at + offset as u64) % 251) as u8;
        }
        Ok(count)
    }
}

fn a_body_of_another_length_is_never_there(open: Open<'_>) {
    let depot = open();
    let long = 12 * 1024 * 1024 + 7;
    let whole: Vec<u8> = (0..long).map(|at| (at % 251) as u8).collect();
    let digest = Digest::of(&whole);
    let short = Body::Made(Arc::new(Generated { length: long - 5 }));
    depot.put_blob(&digest, &short, &Watch::NOBODY).expect_err("it ends too early");
    assert!(!depot.has_blob(&digest).expect("asked"));

    let right = Body::Made(Arc::new(Generated { length: long }));
    depot.put_blob(&digest, &right, &Watch::NOBODY).expect("put");
    let parts = get(&*depot, &digest, 5_000_000..11_000_000).expect("there");
    assert!(parts == whole[5_000_000..11_000_000]);

    let stopped = AtomicBool::new(false);
    let watch = Watch {
        go_on: &|| !stopped.load(Ordering::Relaxed),
        moved: &|_| stopped.store(true, Ordering::Relaxed),
        ..Watch::NOBODY
    };
    let other = Digest { hash: [7; 32], size: long };
    let body = Body::Made(Arc::new(Generated { length: long }));
    let error = depot.put_blob(&other, &body, &watch);
    assert!(
        // What is small to a depot may be through before it can be stopped.
        matches!(error, Err(RemoteError::Stopped) | Ok(())),
        "{error:?}"
    );
}

fn manifests_are_found_by_tag_and_by_hash(open: Open<'_>) {
    let depot = open();
    assert_eq!(depot.manifest(&tag("nothing")).expect("asked"), None);
    assert_eq!(depot.manifest(&Reference::Hash([3; 32])).expect("asked"), None);
    let layer = put(&*depot, &noise(2, 1000));
    let one = image(&*depot, &[layer]);
    depot.put_manifest(&one, &["one".to_owned(), "also".to_owned()]).expect("put");
    // One that is too long for anything to be done with it in one piece.
    let mut document: Value = serde_json::from_slice(&one.bytes).expect("JSON");
    document["annotations"] = json!({"org.example.long": "x".repeat(100_000)});
    let long = manifest_of(&document);
    depot.put_manifest(&long, &["long".to_owned()]).expect("put");
    depot.flush().expect("flushed");

    let depot = open();
    assert_eq!(depot.manifest(&tag("one")).expect("asked").as_ref(), Some(&one));
    assert_eq!(depot.manifest(&tag("also")).expect("asked").as_ref(), Some(&one));
    assert_eq!(depot.manifest(&tag("long")).expect("asked").as_ref(), Some(&long));
    let by_hash = depot.manifest(&Reference::Hash(one.digest().hash)).expect("asked");
    assert_eq!(by_hash.as_ref(), Some(&one));
    depot.put_manifest(&long, &["one".to_owned()]).expect("a tag moves");
    assert_eq!(depot.manifest(&tag("one")).expect("asked").as_ref(), Some(&long));
    for wrong in ["", "../one", "a/b", ".hidden", &"x".repeat(129)] {
        depot.put_manifest(&one, &[wrong.to_owned()]).expect_err("it is no tag");
    }
}

fn nothing_points_to_what_is_not_there(open: Open<'_>) {
    let depot = open();
    let absent = Digest::of(b"never put");
    let gap = image(&*depot, &[absent]);
    let error = depot.put_manifest(&gap, &["gap".to_owned()]).expect_err("a layer is absent");
    assert!(error.to_string().contains(&absent.hex()), "{error}");
    assert_eq!(depot.manifest(&tag("gap")).expect("asked"), None);
    // Nor to a result whose image is not there.
    let layer = put(&*depot, b"a layer");
    let never = image(&*depot, &[layer]);
    let result = result(&*depot, "gap", &never);
    depot.put_manifest(&result, &["gap".to_owned()]).expect_err("the image is absent");
    assert_eq!(depot.manifest(&tag("gap")).expect("asked"), None);
}

fn referrers_of_many_writers_are_all_listed(open: Open<'_>, traits: Traits) {
    let depot = open();
    let layer = put(&*depot, b"something to say a lot about");
    let subject = image(&*depot, &[layer]);
    depot.put_manifest(&subject, &["subject".to_owned()]).expect("put");
    assert_eq!(depot.referrers(&subject.digest()).expect("asked"), Vec::new());
    let notes: Vec<Manifest> =
        (0..8).map(|number| referrer(&*depot, &subject, &format!("note {number}"))).collect();
    std::thread::scope(|scope| {
        for note in &notes {
            let writer = scope.spawn(move || {
                let depot = open();
                depot.put_manifest(note, &[]).expect("a referrer is put");
                depot.flush().expect("flushed");
            });
            if !traits.lists_all {
                writer.join().expect("a writer");
            }
        }
    });
    // Once more is no more.
    depot.put_manifest(&notes[0], &[]).expect("put");
    let listed = open().referrers(&subject.digest()).expect("asked");
    let mut names: Vec<_> = listed.iter().map(|one| &one.annotations["org.example.name"]).collect();
    names.sort();
    let expected: Vec<String> = (0..8).map(|number| format!("note {number}")).collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    assert!(
        listed
            .iter()
            .all(|one| { one.artifact_type.as_deref() == Some("application/vnd.example.note") })
    );
}

fn tags_can_be_listed_and_removed(open: Open<'_>) {
    let depot = open();
    let layer = put(&*depot, b"to be tagged");
    let one = image(&*depot, &[layer]);
    depot.put_manifest(&one, &["tagged-1".to_owned(), "tagged-2".to_owned()]).expect("put");
    let listed = |depot: &dyn Depot| -> Vec<String> {
        let tags = depot.tags().expect("listed");
        tags.into_iter().map(|(tag, _)| tag).filter(|tag| tag.starts_with("tagged-")).collect()
    };
    assert_eq!(listed(&*open()), ["tagged-1", "tagged-2"]);
    assert!(depot.remove_tag("tagged-1", None).expect("removed"));
    assert!(!depot.remove_tag("tagged-1", None).expect("asked"));
    assert_eq!(listed(&*open()), ["tagged-2"]);
    assert_eq!(depot.manifest(&tag("tagged-1")).expect("asked"), None);
    assert!(depot.manifest(&tag("tagged-2")).expect("asked").is_some());
}

fn many_writers_of_one_blob_never_show_half_of_it(open: Open<'_>) {
    let bytes = noise(5, 3_000_000);
    let digest = Digest::of(&bytes);
    let done = AtomicUsize::new(0);
    let looks = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                open().put_blob(&digest, &body(&bytes), &Watch::NOBODY).expect("put");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let depot = open();
                while done.load(Ordering::Relaxed) < 8 {
                    if let Some(read) = get(&*depot, &digest, 0..digest.size) {
                        assert_eq!(Digest::of(&read), digest, "half a blob is visible");
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(get(&*open(), &digest, 0..digest.size).expect("there") == bytes);
}
