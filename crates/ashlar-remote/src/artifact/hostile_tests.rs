//! Manifests, indices and tables of contents whose author means harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use ashlar_object::Digest;
use ashlar_pack::Layer;

use super::*;
use crate::artifact::manifest::{INDEX, image, index};
use crate::artifact::{inspect, place, verify};
use crate::depot::{Body, Depot, Manifest};

const PREFIX: &str = "io.github.containers.zstd-chunked.manifest";

struct Enemy {
    ground: Ground,
    depot: Arc<dyn Depot>,
    target: Target,
}

impl Enemy {
    fn new() -> Self {
        let ground = Ground::new();
        let target = ground.create(&[]).target;
        let depot = place::open(&target.repository, &Access::default()).unwrap();
        Self { ground, depot, target }
    }

    fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.depot.put_blob(&digest, &Body::Bytes(bytes.into()), &Watch::NOBODY).unwrap();
        digest
    }

    fn reference(&self, manifest: &Manifest) -> Reference {
        self.depot.put_manifest(manifest, &[]).unwrap();
        Reference { repository: self.target.repository.clone(), hash: manifest.digest().hash }
    }

    /// A layer that is nothing but a table of contents, and differs from others by a number.
    fn layer(&self, number: u64, table: &[u8], plain: u64) -> Layer {
        let blob = [&number.to_le_bytes()[..], table].concat();
        let annotations = BTreeMap::from([
            (format!("{PREFIX}-checksum"), format!("sha256:{}", Digest::of(table).hex())),
            (format!("{PREFIX}-position"), format!("8:{}:{plain}:1", table.len())),
        ]);
        Layer { digest: self.put(&blob), diff_id: [0; 32], annotations }
    }

    fn image(&self, layers: &[Layer]) -> Reference {
        let (config, image) = image(&Digest::EMPTY, layers, true, "unknown", None);
        self.put(&config);
        self.reference(&image)
    }

    /// What everything that reads artifacts says; nothing may come of it.
    #[track_caller]
    fn refused(&self, reference: &Reference, why: &str) {
        let (access, watch) = (Access::default(), Watch::NOBODY);
        let how = Restore { selection: Selection::All, ..Restore::default() };
        let used = self.ground.use_(reference, "out", &how).err().unwrap();
        let inspected = inspect(reference, &access, &watch).unwrap_err().to_string();
        let verified = verify(reference, &[], &access, &watch).unwrap_err().to_string();
        for error in [used, inspected, verified] {
            assert!(error.contains(why), "{error} instead of {why}");
        }
        assert!(!self.ground.at("out").exists());
    }
}

/// Tables of contents, compressed, of directories with these numbers.
fn table(numbers: std::ops::Range<usize>) -> (Vec<u8>, u64) {
    let rows = numbers.map(|n| format!(r#"{{"type":"dir","name":"d{n}/","mode":493}}"#));
    let rows: Vec<String> = rows.collect();
    let text = format!(r#"{{"version":1,"entries":[{}]}}"#, rows.join(","));
    (zstd::bulk::compress(text.as_bytes(), 1).unwrap(), text.len() as u64)
}

#[test]
fn images_of_too_many_layers_are_refused() {
    let enemy = Enemy::new();
    let (table, plain) = table(0..1);
    let layer = enemy.layer(0, &table, plain);
    // As many as may be are read; that they make no tree of that digest is found later.
    let most = enemy.image(&vec![layer.clone(); 512]);
    enemy.refused(&most, "its layers make another tree");
    let more = enemy.image(&vec![layer; 513]);
    enemy.refused(&more, "has more parts, layers or entries than an artifact may have");
}

#[test]
fn tables_that_have_too_many_entries_together_are_refused() {
    let enemy = Enemy::new();
    // Few bytes: one table that many layers have, each of which would hold all of its entries.
    let (table, plain) = table(0..20_000);
    let layers: Vec<Layer> = (0..120).map(|n| enemy.layer(n, &table, plain)).collect();
    assert!(table.len() < 1 << 20, "{}", table.len());
    enemy.refused(&enemy.image(&layers), "more entries than those of any image");
}

#[test]
fn tables_that_are_too_large_are_refused_before_they_are_read() {
    let enemy = Enemy::new();
    let (bytes, plain) = table(0..1);
    let layer = |number: u64, length: u64| {
        let mut layer = enemy.layer(number, &bytes, plain);
        let checksum = format!("sha256:{}", Digest::of(&number.to_le_bytes()).hex());
        layer.annotations.insert(format!("{PREFIX}-checksum"), checksum);
        layer.annotations.insert(format!("{PREFIX}-position"), format!("8:{length}:1:1"));
        layer
    };
    // One alone, of which no such table is one of ours at all, and several together.
    enemy.refused(&enemy.image(&[layer(0, 151 << 20)]), "an image that Ashlar did not write");
    let several: Vec<Layer> = (0..3).map(|number| layer(number, 50 << 20)).collect();
    enemy.refused(&enemy.image(&several), "larger than those of any image");
    let one = enemy.image(&[layer(0, 50 << 20)]);
    let heard = Heard::default();
    heard.with(|watch| inspect(&one, &Access::default(), watch)).unwrap_err();
    assert!(heard.bytes() < 10_000, "{}", heard.bytes());
}

#[test]
fn tables_that_unfold_without_end_are_refused() {
    let enemy = Enemy::new();
    // A table, if only somebody reads it to its end.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let (begin, end) = (br#"{"version":1,"entries":["#, b"]}");
    let spaces = io::Read::take(io::repeat(b' '), 1 << 30);
    let mut text = io::Read::chain(io::Read::chain(&begin[..], spaces), &end[..]);
    io::copy(&mut text, &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let layer = enemy.layer(0, &bomb, 1 << 30);
    enemy.refused(&enemy.image(&[layer]), "the table of contents of a layer cannot be used");
}

#[test]
fn a_configuration_that_is_too_large_is_not_read() {
    let enemy = Enemy::new();
    let (table, plain) = table(0..1);
    let (config, image) = image(&Digest::EMPTY, &[enemy.layer(0, &table, plain)], true, "x", None);
    let text = String::from_utf8(image.bytes).unwrap();
    let size = format!("\"size\":{}", config.len());
    let large = text.replacen(&size, &format!("\"size\":{}", 1_u64 << 40), 1);
    assert_ne!(large, text);
    let manifest = Manifest { media_type: image.media_type, bytes: large.into_bytes() };
    // No depot of ours would take it, but others write to it as well.
    let blobs = enemy.ground.at("depot/blobs/sha256");
    fs::write(blobs.join(manifest.digest().hex()), &manifest.bytes).unwrap();
    let repository = enemy.target.repository.clone();
    let reference = Reference { repository, hash: manifest.digest().hash };
    enemy.refused(&reference, "has a damaged blob");
}

#[test]
fn an_index_of_too_many_parts_or_with_one_twice_is_refused() {
    let enemy = Enemy::new();
    enemy.ground.write("one/a", "a");
    let (part, _) = made(&enemy.ground.create(&[("ONE", "one")]));
    let hash = crate::depot::Reference::Hash(part[0].hash);
    let digest = enemy.depot.manifest(&hash).unwrap().unwrap().digest();
    let of = |names: &[String]| {
        let parts: Vec<_> = names.iter().map(|name| (name.clone(), None, digest)).collect();
        enemy.reference(&index(&parts, true, None))
    };
    let names: Vec<String> = (0..64).map(|number| format!("a{number}")).collect();
    let all = Restore { selection: Selection::All, ..Restore::default() };
    enemy.ground.use_(&of(&names), "most", &all).unwrap();
    assert_eq!(enemy.ground.names("most").len(), 64);
    let more = [&names[..], &["more".to_owned()]].concat();
    enemy.refused(&of(&more), "has more parts, layers or entries than an artifact may have");
    // By another name of the same.
    let twice = ["amd64", "x86_64"].map(str::to_owned);
    enemy.refused(&of(&twice), "an index that has a part twice");
    // An index in place of an image, or of itself.
    let nested =
        index(&[("amd64".to_owned(), None, of(&names[..1]).digest_in(&enemy))], true, None);
    assert_eq!(nested.media_type, INDEX);
    enemy.refused(&enemy.reference(&nested), "an image that Ashlar did not write");
}

impl Reference {
    fn digest_in(&self, enemy: &Enemy) -> Digest {
        let hash = crate::depot::Reference::Hash(self.hash);
        enemy.depot.manifest(&hash).unwrap().unwrap().digest()
    }
}

#[test]
fn what_another_left_as_the_revision_before_keeps_nobody_from_his_own() {
    let enemy = Enemy::new();
    enemy.ground.write("one/a", "a");
    let wanted = enemy.ground.create(&[("ONE", "one")]);
    let (table, plain) = table(0..20_000);
    let layers: Vec<Layer> = (0..120).map(|n| enemy.layer(n, &table, plain)).collect();
    let bad = enemy.image(&layers);
    let manifest = enemy.depot.manifest(&crate::depot::Reference::Hash(bad.hash)).unwrap().unwrap();
    let near = native::near("artifact ONE");
    enemy.depot.put_manifest(&manifest, &[near]).unwrap();
    let (references, heard) = made(&wanted);
    enemy.ground.use_(&references[0], "out", &Restore::default()).unwrap();
    enemy.ground.same("one", "out");
    let said = heard.said();
    assert!(said.len() == 1 && said[0].starts_with("an earlier revision cannot be built upon: "));
}
