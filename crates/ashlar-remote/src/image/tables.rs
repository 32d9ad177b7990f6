//! The tables of contents of an image's layers, in bounded memory whatever the image says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ashlar_pack::{Layer, Toc, TocPlace};

use super::pull::{Flaw, cached};
use super::transfer::{SMALL, Transfer, in_parallel};

/// No image has more bytes of tables, compressed.
const BYTES: u64 = 128 << 20;
/// No image has more entries in its layers: a million files that were all changed once.
const ENTRIES: usize = 2 << 20;
/// Tables that may be larger than this are decoded one at a time.
const LARGE: u64 = 8 << 20;

/// A table that some layers have.
struct Distinct {
    place: TocPlace,
    /// The layers, by number; never none.
    layers: Vec<usize>,
}

/// The table of each layer. One that several layers have is fetched and decoded once.
pub(crate) fn tables(transfer: &Transfer<'_>, layers: &[Layer]) -> Result<Vec<Toc>, Flaw> {
    let wrong = |why: &str| Flaw::Wrong(why.to_owned());
    let mut distinct: Vec<Distinct> = Vec::new();
    let mut numbers = HashMap::new();
    for (number, layer) in layers.iter().enumerate() {
        let place = Toc::place(&layer.annotations)
            .ok_or_else(|| wrong("a layer has no table of contents"))?;
        let at = *numbers.entry(place.blob).or_insert(distinct.len());
        match distinct.get_mut(at) {
            Some(known) => known.layers.push(number),
            None => distinct.push(Distinct { place, layers: vec![number] }),
        }
    }
    let bytes = distinct.iter().fold(0_u64, |sum, one| sum.saturating_add(one.place.blob.size));
    if bytes > BYTES {
        return Err(wrong("its tables of contents are larger than those of any image"));
    }
    let (entries, large) = (AtomicUsize::new(0), Mutex::new(()));
    let read = in_parallel(&distinct, SMALL, |one: &Distinct| -> Result<Toc, Flaw> {
        transfer.go_on()?;
        let layer = one.layers.first().and_then(|number| layers.get(*number));
        let layer = layer.ok_or_else(|| wrong("a table of contents has no layer"))?;
        let place = one.place.clone();
        let bytes = cached(transfer, &layer.digest, place.range, &place.blob)?;
        let size = zstd::zstd_safe::get_frame_content_size(&bytes).ok().flatten();
        let _alone = size
            .is_none_or(|size| size > LARGE)
            .then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
        let many = || wrong("its tables of contents have more entries than those of any image");
        if entries.load(Ordering::Relaxed) > ENTRIES {
            return Err(many());
        }
        let table = Toc::decode(&bytes).map_err(|error| Flaw::Wrong(error.to_string()))?;
        // Each layer has its own copy.
        let new = table.len().saturating_mul(one.layers.len());
        let before = entries.fetch_add(new, Ordering::Relaxed);
        if before.saturating_add(new) > ENTRIES { Err(many()) } else { Ok(table) }
    })?;
    let mut tables: Vec<Option<Toc>> = vec![None; layers.len()];
    for (one, table) in distinct.into_iter().zip(read) {
        for number in one.layers {
            if let Some(place) = tables.get_mut(number) {
                *place = Some(table.clone());
            }
        }
    }
    tables.into_iter().collect::<Option<_>>().ok_or_else(|| wrong("a layer has no table"))
}
