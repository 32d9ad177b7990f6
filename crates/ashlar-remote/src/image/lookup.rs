//! From a tag to a result that may be believed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ashlar_object::Digest;
use ashlar_store::{Found, RemoteError};

use super::manifest::ResultImage;
use super::verify::{PublicKey, verified};
use crate::depot::{Depot, Reference};

/// What is known of a remote after some requests, and what is still to be said of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By action.
    results: Mutex<HashMap<Digest, Sighting>>,
    /// Trees of which something there turned out to be damaged.
    damaged: Mutex<HashSet<Digest>>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    ever: HashSet<String>,
    pending: Vec<String>,
}

/// A result that was found, and its manifest.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub image: ResultImage,
    /// The digest of the result's manifest.
    pub manifest: Digest,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one insertion, so what a panic left behind is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// What was found for a result earlier in this run.
    pub fn sighting(&self, found: &Found) -> Option<Sighting> {
        let sighting = locked(&self.results).get(&found.action).cloned();
        sighting.filter(|sighting| sighting.image.result == found.result)
    }

    pub fn note(&self, sighting: &Sighting) {
        locked(&self.results).insert(sighting.image.action, sighting.clone());
    }

    /// Notes that something of a tree is damaged there.
    pub fn distrust(&self, tree: &Digest) {
        locked(&self.damaged).insert(*tree);
    }

    pub fn is_distrusted(&self, tree: &Digest) -> bool {
        locked(&self.damaged).contains(tree)
    }

    pub fn trust_again(&self, tree: &Digest) {
        locked(&self.damaged).remove(tree);
    }

    /// Something people should know, once for each `about`.
    pub fn say_once(&self, about: &str, text: String) {
        let mut said = locked(&self.said);
        if said.ever.insert(about.to_owned()) {
            said.pending.push(text);
        }
    }

    /// What was not said yet.
    pub fn pending(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.said).pending)
    }
}

/// The result that a tag leads to, if it is one, fits what was asked for and is signed as it must
/// be. Anything else is a miss, said once.
pub(super) fn look_up(
    depot: &dyn Depot,
    known: &Known,
    keys: &[PublicKey],
    tag: &str,
    fits: impl Fn(&ResultImage) -> bool,
) -> Result<Option<Sighting>, RemoteError> {
    let place = depot.place();
    let manifest = match depot.manifest(&Reference::Tag(tag.to_owned())) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(None),
        Err(RemoteError::Wrong { what, why, .. }) => {
            known.say_once(tag, format!("{place}: {what}: {why}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let digest = manifest.digest();
    let image = match ResultImage::decode(&manifest) {
        Ok(image) => image,
        Err(why) => {
            known.say_once(tag, format!("{place}: the tag {tag} is of no use: {why}"));
            return Ok(None);
        }
    };
    if !fits(&image) {
        known.say_once(tag, format!("{place}: the tag {tag} leads to a result of something else"));
        return Ok(None);
    }
    if !keys.is_empty()
        && let Err(why) = verified(depot, &digest, keys)?
    {
        known.say_once(
            "signatures",
            format!(
                "{place}: the result sha256:{} is not used, nor is any other that is not signed \
                 as `require_signature` wants it: {why}",
                digest.hex()
            ),
        );
        return Ok(None);
    }
    Ok(Some(Sighting { image, manifest: digest }))
}
