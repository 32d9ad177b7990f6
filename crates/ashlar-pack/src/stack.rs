//! All layers of one image: the tree they make, and where each content lies.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use ashlar_object::{Digest, Tree};

use crate::entry::{Item, What};
use crate::fold::{Folded, Misfit, fold};
use crate::{Fetch, Layer, PackError, Toc};

/// Requests for two ranges cost more than the bytes between them, if they are fewer than this.
const GAP: u64 = 64 << 10;

/// The layers of one image, lowest first.
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<(Layer, Toc)>,
    whiteouts: bool,
    folded: OnceLock<Result<Folded, Misfit>>,
    places: OnceLock<HashMap<Digest, Place>>,
}

/// Where a content lies: from the lowest layer that has it in the fewest bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    layer: u32,
    start: u64,
    end: u64,
}

impl Place {
    fn length(&self) -> u64 {
        self.end - self.start
    }
}

impl Stack {
    /// Layers with their tables of contents, lowest first. Without `whiteouts` names that begin
    /// with `.wh.` are names like any other (the annotation `org.ashlar.whiteouts=none`).
    #[must_use]
    pub fn new(layers: Vec<(Layer, Toc)>, whiteouts: bool) -> Self {
        Self { layers, whiteouts, folded: OnceLock::new(), places: OnceLock::new() }
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[(Layer, Toc)] {
        &self.layers
    }

    /// Whether names that begin with `.wh.` delete.
    #[must_use]
    pub fn whiteouts(&self) -> bool {
        self.whiteouts
    }

    /// The tree that the layers make when they are laid over one another. Whether it is the one
    /// that is wanted is for the caller to check, by its digest.
    ///
    /// # Errors
    /// When they do not make one.
    pub fn tree(&self) -> Result<Tree, PackError> {
        Ok(self.folded()?.tree.clone())
    }

    /// Whether some layer holds this content.
    #[must_use]
    pub fn has(&self, content: &Digest) -> bool {
        *content == Digest::EMPTY || self.places().contains_key(content)
    }

    /// How many bytes of the layers hold contents that the tree does not use any more. All of
    /// them when the layers make no tree.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        let live = self.folded().map_or(0, |folded| folded.live);
        self.content_bytes().saturating_sub(live)
    }

    /// How many bytes all layers have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, (layer, _)| sum.saturating_add(layer.digest.size))
    }

    /// Ranges of layers that together hold the wanted contents, each once, as far as any layer
    /// has them. Ranges that nearly touch are one; none is longer than `at_most` bytes, except
    /// where one content is. The empty content is never fetched.
    #[must_use]
    pub fn fetches(&self, wanted: &HashSet<Digest>, at_most: u64) -> Vec<Fetch> {
        let places = self.places();
        let found = wanted.iter().filter_map(|digest| Some((*places.get(digest)?, *digest)));
        let mut found: Vec<(Place, Digest)> = found.collect();
        found.sort_unstable();
        let mut fetches: Vec<Fetch> = Vec::new();
        for (place, digest) in found {
            let layer = place.layer as usize;
            let near = fetches.last_mut().filter(|last| {
                last.layer == layer
                    && place.start.checked_sub(last.range.end).is_some_and(|gap| gap < GAP)
                    && place.end - last.range.start <= at_most
            });
            match near {
                Some(last) => {
                    last.range.end = place.end;
                    last.contents.push((digest, place.start..place.end));
                }
                None => fetches.push(Fetch {
                    layer,
                    range: place.start..place.end,
                    contents: vec![(digest, place.start..place.end)],
                }),
            }
        }
        fetches
    }

    /// How many bytes a content takes in these layers; none when they lack it.
    pub(crate) fn packed_size(&self, content: &Digest) -> u64 {
        self.places().get(content).map_or(0, Place::length)
    }

    /// How many bytes all contents take, and how many they have before compression.
    pub(crate) fn ratio(&self) -> (u64, u64) {
        let items = self.layers.iter().flat_map(|(_, toc)| &toc.items);
        (self.content_bytes(), items.fold(0, |sum, item| sum.saturating_add(item.size())))
    }

    fn content_bytes(&self) -> u64 {
        let items = self.layers.iter().flat_map(|(_, toc)| &toc.items);
        let sizes = items.filter_map(Item::place).map(|place| place.end - place.start);
        sizes.fold(0, u64::saturating_add)
    }

    fn folded(&self) -> Result<&Folded, PackError> {
        let folded = self.folded.get_or_init(|| fold(&self.layers, self.whiteouts));
        folded.as_ref().map_err(|misfit| misfit.clone().into())
    }

    fn places(&self) -> &HashMap<Digest, Place> {
        self.places.get_or_init(|| {
            let mut places: HashMap<Digest, Place> = HashMap::new();
            for (number, (layer, toc)) in self.layers.iter().enumerate() {
                for item in &toc.items {
                    let What::File { file, place } = &item.what else { continue };
                    // What lies outside of the blob makes `tree` fail, and is not there.
                    if place.is_empty() || place.end > layer.digest.size {
                        continue;
                    }
                    let layer = u32::try_from(number).unwrap_or(u32::MAX);
                    let here = Place { layer, start: place.start, end: place.end };
                    let best = places.entry(file.digest).or_insert(here);
                    if here.length() < best.length() {
                        *best = here;
                    }
                }
            }
            places
        })
    }
}
