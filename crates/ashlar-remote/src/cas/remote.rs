//! [`CasRemote`]: results taken apart into blobs and entries.

use ashlar_object::{ActionResult, Digest, StepKey};
use ashlar_store::{
    Abilities, Collected, Found, Limits, Moved, Publication, Remote, RemoteError, RemoteStat,
    Store, Watch,
};

use super::arrive::verified;
use super::entry::{self, Entry};
use super::{Cas, pull, push};

/// A remote that keeps blobs and an action cache.
#[derive(Debug)]
pub(crate) struct CasRemote<B> {
    name: String,
    cas: B,
}

impl<B: Cas> CasRemote<B> {
    /// The remote that the project calls `name`.
    pub fn new(name: &str, cas: B) -> Self {
        Self { name: name.to_owned(), cas }
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        RemoteError::Unsupported { place: self.cas.place().to_owned(), what: what.to_owned() }
    }
}

impl<B: Cas> Remote for CasRemote<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> &str {
        self.cas.place()
    }

    fn test(&self) -> Result<Abilities, RemoteError> {
        self.cas.abilities(&entry::probe())
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, RemoteError> {
        let actions: Vec<_> = keys.iter().map(|key| entry::step(key).0).collect();
        let entries = self.cas.entries(&actions, &Watch::NOBODY)?;
        Ok(entries
            .into_iter()
            .map(|bytes| {
                let entry = Entry::decode(&bytes?)?;
                Some(Found { action: entry.action, result: entry.result })
            })
            .collect())
    }

    fn results(&self, actions: &[Digest]) -> Result<Vec<Option<ActionResult>>, RemoteError> {
        let entries = self.cas.entries(actions, &Watch::NOBODY)?;
        Ok(entries.into_iter().map(|bytes| Some(Entry::decode(&bytes?)?.result)).collect())
    }

    fn pull(
        &self,
        into: &dyn Store,
        wanted: &[Found],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Moved>>, RemoteError> {
        pull::pull(&self.cas, &self.name, into, wanted, watch)
    }

    fn push(
        &self,
        from: &dyn Store,
        results: &[Publication],
        watch: &Watch<'_>,
    ) -> Vec<Result<Moved, RemoteError>> {
        push::push(&self.cas, from, results, watch)
    }

    fn stat(&self) -> Result<RemoteStat, RemoteError> {
        Err(self.unsupported("say how much it holds"))
    }

    fn collect(&self, _: Limits, _: &Watch<'_>) -> Result<Collected, RemoteError> {
        Err(self.unsupported("be collected from here: it keeps house itself"))
    }

    fn provenance(&self, found: &Found) -> Result<Option<Vec<u8>>, RemoteError> {
        let entries = self.cas.entries(&[found.action], &Watch::NOBODY)?;
        let Some(entry) = entries.into_iter().flatten().next().and_then(|b| Entry::decode(&b))
        else {
            return Ok(None);
        };
        let Some(digest) = entry.provenance.filter(|_| entry.result == found.result) else {
            return Ok(None);
        };
        // A statement is text of some kilobytes; what does not fit into a request is none.
        if digest == Digest::EMPTY || digest.size > self.cas.bounds()?.bytes {
            return Ok(None);
        }
        let arrivals = self.cas.read_batch(&[digest], &Watch::NOBODY)?;
        Ok(arrivals.into_iter().find(|a| a.digest == digest).and_then(|a| verified(a).ok()))
    }
}
