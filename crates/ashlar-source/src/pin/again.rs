//! Recorded contents that are neither here nor at a remote: asked for again, and taken only when
//! they are what they were.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ashlar_object::Digest;
use ashlar_recipe::Pin;
use ashlar_store::Store;

use super::ask::Asked;
use super::download::{Download, Stop};
use super::record::{PinError, begin};
use super::upstream::Proxies;
use crate::SourceError;

/// How many are asked for at once.
const AT_ONCE: usize = 4;

/// Brings the contents of downloads into the store, those that it lacks, as long as `go_on` says
/// so.
pub(crate) fn fetch_again(
    gets: &[Pin],
    proxies: &Proxies,
    scratch: &Path,
    store: &dyn Store,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(), PinError> {
    let mut wanted: BTreeMap<Digest, Vec<&Pin>> = BTreeMap::new();
    for pin in gets {
        let digest = pin.sha256.as_ref().zip(pin.size);
        if let Some(digest) = digest.and_then(|(sum, size)| Digest::from_hex(sum, size).ok()) {
            wanted.entry(digest).or_default().push(pin);
        }
    }
    let all: Vec<Digest> = wanted.keys().copied().collect();
    let missing = store.missing(&all).map_err(SourceError::from)?;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(digest) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut last = Ok(());
            // What was got under several addresses may still be at one of them.
            for pin in wanted.get(digest).into_iter().flatten() {
                last = one(pin, digest, proxies, scratch, store, go_on);
                if matches!(last, Ok(()) | Err(PinError::Stopped { .. })) {
                    break;
                }
            }
            if let Err(error) = last {
                next.store(missing.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(missing.len()) {
            scope.spawn(work);
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn one(
    pin: &Pin,
    digest: &Digest,
    proxies: &Proxies,
    scratch: &Path,
    store: &dyn Store,
    go_on: &dyn Fn() -> bool,
) -> Result<(), PinError> {
    let file =
        tempfile::tempfile_in(scratch).map_err(SourceError::io("create a file in", scratch))?;
    let (download, stop) = (Arc::new(Download::new(file)), Arc::new(Stop::default()));
    let asked = Asked { url: pin.url.clone(), ..Asked::default() };
    let failed = |why: String| PinError::Failed { url: pin.url.clone(), why };
    begin(asked, proxies.clone(), Arc::clone(&download), Arc::clone(&stop))
        .map_err(|e| failed(e.to_string()))?;
    let got = loop {
        if !go_on() {
            stop.set();
            return Err(PinError::Stopped { url: pin.url.clone() });
        }
        if let Some(end) = download.ended() {
            break end.map_err(failed)?;
        }
    };
    let head = download.head(&stop).map_err(|e| failed(e.to_string()))?.map_err(failed)?;
    if head.status >= 300 {
        return Err(PinError::Gone { url: pin.url.clone(), status: head.status });
    }
    if got != *digest {
        let date = |fields: &BTreeMap<String, String>| {
            fields.get("last-modified").map_or_else(|| "unknown".to_owned(), Clone::clone)
        };
        return Err(PinError::Changed {
            url: pin.url.clone(),
            was: digest.short(),
            then: date(&pin.fields),
            is: got.short(),
            now: date(&head.fields),
        });
    }
    let mut content = download.content().map_err(SourceError::io("read", scratch))?;
    store.put(&mut content).map_err(SourceError::from)?;
    Ok(())
}
