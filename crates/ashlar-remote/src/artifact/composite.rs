//! One tree for each architecture, in images that share layers, under one index.

use std::collections::BTreeMap;

use ashlar_object::{Digest, Tree};
use ashlar_pack::{Contents, Layer, Stack, Toc, plan};
use ashlar_store::{Moved, Watch};

use super::ArtifactError;
use super::layers::push;
use super::manifest::{EXPIRES, ImageManifest, index};
use super::native::{How, Image, earlier, is_whole, kept, near};
use super::parts::{Layout, Part, shared};
use crate::depot::{Depot, Manifest, Reference};

/// On a layer: which parts it is for, by their names with commas between.
const PART: &str = "org.ashlar.part";
/// Layers of the common part, of what is shared and of the part itself come together.
const LAYERS: usize = 96;

type Layers = Vec<(Layer, Toc)>;

/// Leaves the parts of a composite artifact at a depot, and gives its index, which is not left
/// yet. The common part comes first.
pub(super) fn leave(
    depot: &dyn Depot,
    lineage: &str,
    parts: &[(Part, Tree)],
    layout: Layout,
    contents: &dyn Contents,
    how: &How<'_>,
    watch: &Watch<'_>,
) -> Result<Manifest, ArtifactError> {
    let mut how = how.clone();
    how.limits.layers = LAYERS;
    let near = |part: &Part| near(&format!("{lineage} {part}"));
    let wanted: Vec<&(Part, Tree)> = parts
        .iter()
        .filter(|(part, tree)| *part != Part::Common || !tree.is_empty() || parts.len() == 1)
        .collect();

    // As a whole nothing may have changed.
    let mut same = BTreeMap::new();
    if how.expires_after.is_none() && !how.anew {
        for (part, tree) in &wanted {
            if let Some(there) = depot.manifest(&Reference::Tag(near(part)))?
                && let Some(image) = ImageManifest::decode(&there)
                && image.tree() == Some(tree.digest())
                && !image.annotations.contains_key(EXPIRES)
                && is_whole(depot, &image)?
                && how.vouches(depot, &there)?
            {
                (watch.moved)(Moved { already: tree.content_size(), ..Moved::default() });
                same.insert(part.clone(), there);
            }
        }
    }
    if same.len() < wanted.len() {
        let mut old = BTreeMap::new();
        for (part, _) in &wanted {
            if let Some((_, stack)) = earlier(depot, &near(part), &how, watch)? {
                old.insert(part.clone(), stack);
            }
        }
        let pushing = Pushing { depot, contents, how: &how, watch, old };
        let made = pushing.parts(parts, &same)?;
        for (part, manifest) in made {
            // What goes after a while is nothing to build upon.
            let tags = if how.expires_after.is_none() { vec![near(&part)] } else { Vec::new() };
            how.put(depot, &manifest, &tags, watch)?;
            same.insert(part, manifest);
        }
    }
    if !depot.forgets() {
        // Nothing led to them yet, so that a collection may have removed them: they are small.
        same.values().try_for_each(|manifest| depot.put_manifest(manifest, &[]))?;
    }
    let listed: Vec<(String, Option<String>, Digest)> = wanted
        .iter()
        .filter_map(|(part, _)| {
            let architecture = match part {
                Part::Arch(name) => Some(name.clone()),
                Part::Common | Part::Source => None,
            };
            Some((part.to_string(), architecture, same.get(part)?.digest()))
        })
        .collect();
    Ok(index(&listed, layout == Layout::Apart, how.expires_after))
}

struct Pushing<'a> {
    depot: &'a dyn Depot,
    contents: &'a dyn Contents,
    how: &'a How<'a>,
    watch: &'a Watch<'a>,
    /// The parts of the revision before.
    old: BTreeMap<Part, Stack>,
}

impl Pushing<'_> {
    fn parts(
        &self,
        parts: &[(Part, Tree)],
        same: &BTreeMap<Part, Manifest>,
    ) -> Result<Vec<(Part, Manifest)>, ArtifactError> {
        let common = parts.iter().find(|(part, _)| *part == Part::Common).map(|(_, tree)| tree);
        let common = common.cloned().unwrap_or_default();
        let own: Vec<&(Part, Tree)> =
            parts.iter().filter(|(part, _)| *part != Part::Common).collect();
        let trees: Vec<&Tree> = own.iter().map(|(_, tree)| tree).collect();

        let base = if common.is_empty() { Vec::new() } else { self.group("common", &common)? };
        let mut groups = Vec::new();
        for (members, tree) in shared(&common, &trees) {
            let names: Vec<String> =
                members.iter().map(|member| own[*member].0.to_string()).collect();
            groups.push((members, self.group(&names.join(","), &tree)?));
        }
        let mut made = Vec::new();
        if !common.is_empty() && !same.contains_key(&Part::Common) {
            let image = self.image(&Part::Common, &common, base.clone(), true)?;
            made.push((Part::Common, image));
        }
        for (index, (part, tree)) in own.iter().enumerate() {
            if same.contains_key(part) {
                continue;
            }
            let mut below = base.clone();
            for (members, layers) in &groups {
                if members.contains(&index) {
                    below.extend(layers.iter().cloned());
                }
            }
            let (layers, whiteouts) = self.own(part, tree, below)?;
            made.push((part.clone(), self.image(part, tree, layers, whiteouts)?));
        }
        Ok(made)
    }

    /// Layers that several parts list: a revision of those of the same name before.
    fn group(&self, name: &str, tree: &Tree) -> Result<Layers, ArtifactError> {
        let old = self.old.values().map(|stack| named(stack, name)).find(|old| !old.is_empty());
        let old = old.map(|layers| Stack::new(layers, true));
        let packing = plan(tree, old.as_ref(), &self.how.limits)?;
        let mut layers = kept(old.as_ref(), packing.keep);
        layers.extend(self.push(name, &packing.layers)?);
        Ok(layers)
    }

    /// All layers of a part: those below, and what is different from them. The part's own layers
    /// of before go in between, because most of what they have is still wanted.
    fn own(
        &self,
        part: &Part,
        tree: &Tree,
        below: Layers,
    ) -> Result<(Layers, bool), ArtifactError> {
        let name = part.to_string();
        let mut with_old = below.clone();
        if let Some(old) = self.old.get(part) {
            with_old.extend(named(old, &name));
        }
        let tried = Stack::new(with_old, true);
        let mut packing = plan(tree, Some(&tried), &self.how.limits)?;
        let mut stack = tried;
        if packing.keep == 0 && stack.layers().len() > below.len() {
            // Worn out: the part's own layers anew, over those that are shared.
            stack = Stack::new(below, true);
            packing = plan(tree, Some(&stack), &self.how.limits)?;
        }
        let mut layers = kept(Some(&stack), packing.keep);
        layers.extend(self.push(&name, &packing.layers)?);
        Ok((layers, packing.whiteouts))
    }

    fn push(&self, name: &str, plans: &[ashlar_pack::LayerPlan]) -> Result<Layers, ArtifactError> {
        let mut layers = push(self.depot, plans, self.contents, self.watch)?;
        for (layer, _) in &mut layers {
            layer.annotations.insert(PART.to_owned(), name.to_owned());
        }
        Ok(layers)
    }

    fn image(
        &self,
        part: &Part,
        tree: &Tree,
        layers: Layers,
        whiteouts: bool,
    ) -> Result<Manifest, ArtifactError> {
        let architecture = match part {
            Part::Arch(name) => name.as_str(),
            Part::Common | Part::Source => "unknown",
        };
        let layers = layers.into_iter().map(|(layer, _)| layer).collect();
        let image = Image { tree: tree.digest(), layers, whiteouts, architecture };
        image.leave(self.depot, self.how, self.watch)
    }
}

/// The layers of a stack that are for these parts.
fn named(stack: &Stack, name: &str) -> Layers {
    let is = |layer: &Layer| layer.annotations.get(PART).is_some_and(|part| part == name);
    stack.layers().iter().filter(|(layer, _)| is(layer)).cloned().collect()
}
