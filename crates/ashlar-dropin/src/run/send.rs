//! Leaving results of runs at remotes, and whether they were made from what is committed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ashlar_object::{ActionResult, Digest};
use ashlar_store::Publication;

use super::component::{Kind, decode};
use super::gather::Gathered;
use super::{Known, RunError, Runner, last, made};

impl Runner<'_> {
    /// Leaves a result at the remotes that are written to.
    pub(super) fn send(
        &self,
        name: &str,
        known: &Known,
        action: Digest,
        result: &ActionResult,
    ) -> Result<(), RunError> {
        let publication = Publication {
            keys: vec![known.key],
            action,
            result: result.clone(),
            lineage: format!("run {name}"),
            earlier: Vec::new(),
            provenance: None,
        };
        let mut unclean = || self.unclean(&known.gathered);
        self.direct.send(&publication, &mut unclean);
        Ok(())
    }

    /// Why what a run was made from is not committed: its files, or those of runs it uses.
    fn unclean(&self, gathered: &Gathered) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut files: BTreeSet<PathBuf> = gathered.files.clone();
        let mut todo: Vec<String> = gathered.made_by.iter().cloned().collect();
        while let Some(run) = todo.pop() {
            if !seen.insert(run.clone()) {
                continue;
            }
            let pieces = (last(self.store.journal(), self.root, &run).ok().flatten())
                .and_then(|last| last.pieces?.parse::<Digest>().ok())
                .and_then(|digest| ashlar_store::read(self.store, &digest).ok().flatten())
                .and_then(|bytes| decode(&bytes));
            let Some(pieces) = pieces else {
                return Some(format!("nothing is known of what {run} was made from"));
            };
            for piece in pieces {
                match piece.kind {
                    Kind::Input | Kind::Common | Kind::Git => {
                        files.insert(PathBuf::from(piece.name));
                    }
                    Kind::Uses => match made::made(self.store.journal(), self.root, &piece.name) {
                        Ok(Some(made)) if piece.value.starts_with("result ") => todo.push(made.run),
                        _ => {
                            files.insert(PathBuf::from(piece.name));
                        }
                    },
                    _ => {}
                }
            }
        }
        ashlar_build::uncommitted(self.root, files.iter().map(PathBuf::as_path))
    }
}
