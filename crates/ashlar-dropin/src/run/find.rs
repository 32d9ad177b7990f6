//! A run that is found: its outputs in their places, its output shown again.

use std::path::{Path, PathBuf};

use ashlar_build::Hit;
use ashlar_object::{Node, Tree};
use ashlar_recipe::Declaration;
use ashlar_store::{StatCache, Store as _, StoreError};

use super::component::{Component, encode};
use super::made::{self, Last, Made, Said};
use super::{
    Known, Note, Outcome, Report, RunError, Runner, Tracing, child, gather, millis, now, outputs,
};
use crate::place::{PlaceError, Put, Times};

impl Runner<'_> {
    /// Restores what is kept, if it is.
    pub(super) fn hit(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        last: Option<&Last>,
        stat: &StatCache,
    ) -> Result<Option<Report>, RunError> {
        if !self.read {
            return Ok(None);
        }
        let Some(hit) = self.direct.find(&[known.key])?.pop().flatten() else { return Ok(None) };
        if !self.direct.bring(&known.key, &hit)? {
            return Ok(None);
        }
        match self.restore(declaration, known, &hit, stat) {
            Ok(None) => Ok(None),
            Ok(Some(outputs)) => {
                // It is in its place; that nobody will remember it is no reason to fail.
                let noted = self.note_hit(name, declaration, known, last, &hit, &outputs);
                self.or_warn("the figures of this run are not kept", noted);
                let outcome = Outcome::Hit(self.direct.place(&hit));
                let took = hit.found.result.took;
                Ok(Some(Report {
                    outcome,
                    key: known.key,
                    took,
                    kept: true,
                    undeclared: Vec::new(),
                }))
            }
            // What is gone or damaged is a miss.
            Err(RunError::Place(PlaceError::Missing(_)))
            | Err(RunError::Store(StoreError::Missing(_)))
            | Err(RunError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn restore(
        &self,
        declaration: &Declaration,
        known: &Known,
        hit: &Hit,
        stat: &StatCache,
    ) -> Result<Option<Tree>, RunError> {
        let result = &hit.found.result;
        let whole = ashlar_store::read_tree(self.store, &result.outputs)?
            .ok_or(StoreError::Missing(result.outputs))?;
        let outputs::Opened { outputs, streams, traced } = outputs::open(self.store, &whole)?;
        // What nobody has looked at is no proof that everything is declared.
        if !traced && matches!(self.watching.tracing, Tracing::Fail | Tracing::Learn) {
            return Ok(None);
        }
        let mut log = match self.replay {
            true => Some(self.store.open(&result.log)?.ok_or(StoreError::Missing(result.log))?),
            false => None,
        };
        self.put(declaration, known, &outputs, stat)?;
        if let Some(log) = &mut log
            && let Err(error) = child::replay(log, streams.as_ref(), self.show())
        {
            (self.tell)(Note::Warning(format!("its output cannot be shown: {error}")));
        }
        Ok(Some(outputs))
    }

    /// Puts outputs in their places, over what is there.
    pub(super) fn put(
        &self,
        declaration: &Declaration,
        known: &Known,
        outputs: &Tree,
        stat: &StatCache,
    ) -> Result<(), RunError> {
        let owned = |path: &Path| known.globs.is_match(path);
        let spare = |path: &Path| gather::is_ours(path);
        let last: Vec<PathBuf> =
            declaration.output.first().map(PathBuf::from).into_iter().collect();
        let put = Put {
            store: self.store,
            root: self.root,
            stat,
            times: Times::Fresh,
            starts: &known.globs.starts(),
            last: &last,
        };
        put.place(outputs, &owned, &spare)?;
        Ok(())
    }

    fn note_hit(
        &self,
        name: &str,
        declaration: &Declaration,
        known: &Known,
        last: Option<&Last>,
        hit: &Hit,
        outputs: &Tree,
    ) -> Result<(), RunError> {
        let (result, key) = (&hit.found.result, known.key.to_string());
        let mut note = last.cloned().unwrap_or_default();
        if note.key != key || note.outcome == "failed" {
            self.note_made(name, outputs)?;
            note.declaration = Said::of(declaration);
            note.log = Some(result.log.to_string());
            note.pieces = self.keep_pieces(&known.gathered.components)?;
            note.reason.clear();
        }
        note.key = key;
        note.hits += 1;
        note.saved_ms += millis(result.took);
        "hit".clone_into(&mut note.outcome);
        note.at = now().seconds;
        let journal = self.store.journal();
        Ok(made::remember_hit(journal, self.root, name, &note, result.took)?)
    }

    pub(super) fn keep_pieces(
        &self,
        components: &[Component],
    ) -> Result<Option<String>, StoreError> {
        if self.store.is_read_only() {
            return Ok(None);
        }
        ashlar_store::put(self.store, &encode(components)).map(|digest| Some(digest.to_string()))
    }

    /// Notes which files this run made, for those that use them.
    pub(super) fn note_made(&self, name: &str, outputs: &Tree) -> Result<(), StoreError> {
        let mut files = Vec::new();
        outputs.walk(|entry| {
            if let Node::File(file) = entry.node {
                files.push((entry.path.to_string(), file.digest));
            }
        });
        let whole = outputs.digest();
        for (path, content) in files {
            let made = Made { content, outputs: whole, run: name.to_owned() };
            made::note(self.store, self.root, &path, &made)?;
        }
        Ok(())
    }
}
