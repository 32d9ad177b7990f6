//! All layers of one image: the tree they make, and where each content lies.

use std::collections::HashSet;

use ashlar_object::{Digest, Tree};

use crate::{Fetch, Layer, PackError, Toc};

/// The layers of one image, lowest first.
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<(Layer, Toc)>,
}

impl Stack {
    /// Layers with their tables of contents, lowest first. Without `whiteouts` names that begin
    /// with `.wh.` are names like any other (the annotation `org.ashlar.whiteouts=none`).
    #[must_use]
    pub fn new(layers: Vec<(Layer, Toc)>, whiteouts: bool) -> Self {
        let _ = whiteouts;
        Self { layers }
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[(Layer, Toc)] {
        &self.layers
    }

    /// The tree that the layers make when they are laid over one another.
    ///
    /// # Errors
    /// When they do not make one.
    pub fn tree(&self) -> Result<Tree, PackError> {
        Err(PackError::Toc("it cannot be read yet".to_owned()))
    }

    /// Whether some layer holds this content.
    #[must_use]
    pub fn has(&self, content: &Digest) -> bool {
        *content == Digest::EMPTY
    }

    /// How many bytes of the layers hold contents that the tree does not use any more.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        0
    }

    /// How many bytes all layers have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|(layer, _)| layer.digest.size).sum()
    }

    /// Ranges of layers that together hold the wanted contents, each once, as far as any layer
    /// has them. Ranges that nearly touch are one; none is longer than `at_most` bytes, except
    /// where one content is. The empty content is never fetched.
    #[must_use]
    pub fn fetches(&self, wanted: &HashSet<Digest>, at_most: u64) -> Vec<Fetch> {
        let _ = (wanted, at_most);
        Vec::new()
    }
}
