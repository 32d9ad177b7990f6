//! A look at what a result is made of, where it is elsewhere: only its tree comes.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use ashlar_object::{ActionResult, Digest, StepKey, Tree};
use ashlar_store::{Capture, Found, Store, StoreError, read_tree};

use crate::direct::{Direct, Hit};

impl Direct<'_> {
    /// The trees of results, in their order: of those that are elsewhere nothing else is brought,
    /// and nothing is kept but the tree. `None` for a tree that cannot be had.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trees(&self, hits: &[Hit]) -> Result<Vec<Option<Tree>>, StoreError> {
        let mut far: BTreeMap<usize, Vec<(Option<StepKey>, Found)>> = BTreeMap::new();
        for hit in hits {
            if let Some(remote) = hit.remote {
                far.entry(remote).or_default().push((None, hit.found.clone()));
            }
        }
        for (remote, wanted) in far {
            let into = Glance::at(self.store, &wanted);
            // What does not come is not there to be read below.
            self.remotes.bring(remote, &wanted, &into, self.origins, self.ears)?;
        }
        hits.iter().map(|hit| read_tree(self.store, &hit.found.result.outputs)).collect()
    }
}

/// A store that lacks no content: of some results only the trees come.
struct Glance<'a> {
    store: &'a dyn Store,
    results: HashMap<Digest, ActionResult>,
}

impl<'a> Glance<'a> {
    fn at(store: &'a dyn Store, wanted: &[(Option<StepKey>, Found)]) -> Self {
        let results =
            wanted.iter().map(|(_, found)| (found.action, found.result.clone())).collect();
        Self { store, results }
    }
}

impl Store for Glance<'_> {
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let is_tree = |digest: &&Digest| self.results.values().any(|r| r.outputs == **digest);
        let trees: Vec<Digest> = digests.iter().filter(is_tree).copied().collect();
        self.store.missing(&trees)
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.store.open(digest)
    }

    fn open_unchecked(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        self.store.open_unchecked(digest)
    }

    fn put(&self, bytes: &mut dyn Read) -> Result<Digest, StoreError> {
        self.store.put(bytes)
    }

    fn put_checked(
        &self,
        digest: &Digest,
        executable: bool,
        bytes: &mut dyn Read,
    ) -> Result<Digest, StoreError> {
        self.store.put_checked(digest, executable, bytes)
    }

    fn keep_folder(&self, folder: &Path, how: Capture) -> Result<(Digest, Tree), StoreError> {
        self.store.keep_folder(folder, how)
    }

    fn result(&self, action: &Digest) -> Result<Option<ActionResult>, StoreError> {
        match self.results.get(action) {
            Some(result) => Ok(Some(result.clone())),
            None => self.store.result(action),
        }
    }

    /// A result whose contents are elsewhere is none of this store.
    fn put_result(&self, _: &Digest, _: &ActionResult) -> Result<(), StoreError> {
        Ok(())
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, StoreError> {
        self.store.steps(keys)
    }

    fn put_step(&self, _: &StepKey, _: &Digest) -> Result<(), StoreError> {
        Ok(())
    }

    fn scratch(&self) -> Option<PathBuf> {
        self.store.scratch()
    }
}
