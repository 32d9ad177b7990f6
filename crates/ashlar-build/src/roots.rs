//! What a step sees as its root: layers, outputs of dependencies laid over them, sources.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_execute::Kept;
use ashlar_object::{Digest, Tree, conflicts, through_links};
use ashlar_store::{Store, StoreError, read_tree};

use crate::event::Failure;
use crate::expect::path_glob;

/// Trees that were read or put together before. A base is thousands of entries, and every module
/// stands on it.
#[derive(Default)]
pub struct Trees {
    folders: Mutex<HashMap<PathBuf, Kept>>,
    read: Mutex<HashMap<Digest, Tree>>,
    merged: Mutex<HashMap<Vec<Digest>, Tree>>,
    /// Outputs as they are laid over a root, by the root's layers and the output.
    rewritten: Mutex<HashMap<OverRoot, Arc<Kept>>>,
}

type OverRoot = (Vec<Digest>, Digest);

impl Trees {
    /// A tree of the store.
    pub(crate) fn read(&self, store: &dyn Store, digest: Digest) -> Result<Kept, StoreError> {
        if let Some(tree) = lock(&self.read).get(&digest) {
            return Ok(Kept { digest, tree: tree.clone() });
        }
        let tree = read_tree(store, &digest)?.ok_or(StoreError::Missing(digest))?;
        lock(&self.read).insert(digest, tree.clone());
        Ok(Kept { digest, tree })
    }

    /// A folder of the project that many steps stand on: read once in a build, whose keys are
    /// those of that moment.
    pub(crate) fn folder(
        &self,
        path: &Path,
        read: impl FnOnce() -> Result<Kept, Failure>,
    ) -> Result<Kept, Failure> {
        // Held while reading: two steps that begin together need not both read it.
        let mut folders = lock(&self.folders);
        if let Some(kept) = folders.get(path) {
            return Ok(kept.clone());
        }
        let kept = read()?;
        folders.insert(path.to_owned(), kept.clone());
        Ok(kept)
    }

    /// Remembers a tree that was just made.
    pub(crate) fn know(&self, kept: &Kept) {
        lock(&self.read).insert(kept.digest, kept.tree.clone());
    }

    /// Layers as one tree.
    pub(crate) fn merged(&self, layers: &[Kept]) -> Tree {
        let id: Vec<Digest> = layers.iter().map(|l| l.digest).collect();
        if let Some(tree) = lock(&self.merged).get(&id) {
            return tree.clone();
        }
        // Each instruction of an image stands on all before it.
        let tree = match layers.split_last() {
            None => Tree::default(),
            Some((top, below)) => self.merged(below).overlaid(&top.tree),
        };
        lock(&self.merged).insert(id, tree.clone());
        tree
    }

    /// An output as it is laid over a root made of these layers.
    fn rewritten(&self, layers: &[Kept], base: &Tree, output: &Kept) -> Arc<Kept> {
        let id = (layers.iter().map(|l| l.digest).collect::<Vec<_>>(), output.digest);
        if let Some(kept) = lock(&self.rewritten).get(&id) {
            return Arc::clone(kept);
        }
        let tree = through_links(base, &output.tree);
        let kept =
            if tree == output.tree { output.clone() } else { Kept { digest: tree.digest(), tree } };
        let kept = Arc::new(kept);
        lock(&self.rewritten).insert(id, Arc::clone(&kept));
        kept
    }

    /// Lays the outputs of dependencies over layers. Gives all layers, the lowest first, and the
    /// tree that they show together.
    pub(crate) fn over(
        &self,
        layers: &[Kept],
        outputs: &[(String, Kept)],
        overlap: &[String],
    ) -> Result<(Vec<Kept>, Tree), Failure> {
        let base = self.merged(layers);
        let allowed: Vec<_> = overlap.iter().filter_map(|glob| path_glob(glob).ok()).collect();
        let mut all = layers.to_vec();
        let mut together = Tree::default();
        let mut placed: Vec<(&str, Arc<Kept>)> = Vec::new();
        for (name, output) in outputs {
            let kept = self.rewritten(layers, &base, output);
            let found: Vec<String> = conflicts(&together, &kept.tree)
                .iter()
                .map(|conflict| conflict.path.to_string())
                .filter(|path| !allowed.iter().any(|glob| glob.is_match(path)))
                .collect();
            if let Some(path) = found.first() {
                let first = placed.iter().find(|(_, earlier)| {
                    path.parse().is_ok_and(|path| earlier.tree.get(&path).is_some())
                });
                return Err(Failure::Overlap {
                    path: path.clone(),
                    modules: [first.map_or("?", |(n, _)| n).to_owned(), name.clone()],
                    more: found.len() - 1,
                });
            }
            together = together.overlaid(&kept.tree);
            all.push((*kept).clone());
            placed.push((name, kept));
        }
        Ok((all, base.overlaid(&together)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps hold finished values only; a panic elsewhere leaves them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_object::{File, Meta, Node};

    fn kept(entries: &[(&str, &str)]) -> Kept {
        let tree = entries.iter().fold(Tree::default(), |tree, (path, content)| {
            let file = File::new(Digest::of(content.as_bytes()), Meta::FILE);
            tree.with(&path.parse().unwrap(), Node::File(file))
        });
        Kept { digest: tree.digest(), tree }
    }

    #[test]
    fn overlapping_outputs_are_named_and_can_be_allowed() {
        let trees = Trees::default();
        let outputs = [
            ("one".to_owned(), kept(&[("usr/x", "1"), ("usr/same", "s")])),
            ("two".to_owned(), kept(&[("usr/y", "1"), ("usr/same", "s")])),
            ("three".to_owned(), kept(&[("usr/x", "3")])),
        ];
        let failure = trees.over(&[], &outputs, &[]).unwrap_err();
        let expected = Failure::Overlap {
            path: "usr/x".into(),
            modules: ["one".into(), "three".into()],
            more: 0,
        };
        assert_eq!(failure, expected);
        let (layers, root) = trees.over(&[], &outputs, &["usr/x".into()]).unwrap();
        assert_eq!(layers.len(), 3);
        let Some(Node::File(file)) = root.get(&"usr/x".parse().unwrap()) else { panic!() };
        assert_eq!(file.digest, Digest::of(b"3"), "the later one wins");
    }
}
