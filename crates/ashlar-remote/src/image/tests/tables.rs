//! Images whose tables of contents would cost much.

use super::*;
use std::collections::BTreeMap;

use crate::depot::Body;
use crate::image::Transfer;
use crate::image::manifest::{Document, IMAGE_CONFIG, LAYER, TreeImage, describe};
use crate::image::pull::{Flaw, open_tree};

const CHUNKED: &str = "io.github.containers.zstd-chunked";

/// An image whose layers, each another one, all have the same table of this many entries.
fn image(depot: &MemoryDepot, entries: usize, layers: usize) -> Result<TreeImage, String> {
    let mut text = String::from("{\"version\":1,\"entries\":[");
    for number in 0..entries {
        let comma = if number == 0 { "" } else { "," };
        text.push_str(&format!("{comma}{{\"type\":\"dir\",\"name\":\"d{number}/\",\"mode\":493}}"));
    }
    text.push_str("]}");
    let table = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        depot.put_blob(&digest, &Body::Bytes(bytes.into()), &Watch::NOBODY).unwrap();
        digest
    };
    let layers = (0..layers).map(|number| {
        let mut bytes = (number as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(&table);
        let mut layer = describe(LAYER, &put(&bytes));
        let place = format!("8:{}:{}:1", table.len(), text.len());
        layer.annotations = BTreeMap::from([
            (format!("{CHUNKED}.manifest-position"), place),
            (
                format!("{CHUNKED}.manifest-checksum"),
                format!("sha256:{}", Digest::of(&table).hex()),
            ),
        ]);
        layer
    });
    let mut document = Document::new(describe(IMAGE_CONFIG, &put(b"{}")), layers.collect());
    document.annotations.insert("org.ashlar.tree".to_owned(), Digest::EMPTY.to_string());
    document.annotations.insert("org.ashlar.format".to_owned(), "1".to_owned());
    TreeImage::decode(document.encode())
}

fn opened(depot: &MemoryDepot, image: &TreeImage) -> Result<usize, Flaw> {
    let transfer = Transfer {
        depot,
        cache: None,
        folder: None,
        limits: &ashlar_pack::Limits::default(),
        architecture: "amd64",
        watch: Watch::NOBODY,
    };
    Ok(open_tree(&transfer, image, false)?.layers().len())
}

#[test]
fn a_table_that_layers_share_is_read_once() {
    let depot = MemoryDepot::default();
    let image = image(&depot, 100, 24).unwrap();
    depot.take_log();
    assert_eq!(opened(&depot, &image).unwrap(), 24);
    assert_eq!(depot.take_log().len(), 1);
}

#[test]
fn tables_of_more_entries_than_any_image_has_are_refused() {
    let depot = MemoryDepot::default();
    let image = image(&depot, 100_000, 24).unwrap();
    let why = opened(&depot, &image).unwrap_err().to_string();
    assert!(why.contains("more entries"), "{why}");
}

#[test]
fn images_of_layers_without_end_are_none() {
    let depot = MemoryDepot::default();
    assert!(image(&depot, 1, 512).is_ok());
    assert!(image(&depot, 1, 513).unwrap_err().contains("513 layers"));
}
