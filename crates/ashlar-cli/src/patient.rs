//! Remotes that are not waited for longer than somebody wants to know.

use std::sync::Arc;
use std::time::Instant;

use ashlar_execute::Cancel;
use ashlar_object::{ActionResult, Digest, StepKey};
use ashlar_store::{
    Abilities, Collected, Found, Limits, Moved, Publication, Remote, RemoteError, RemoteStat,
    Store, Watch, detached,
};

/// A remote whose lookups are given up.
pub struct Patient {
    inner: Arc<dyn Remote>,
    cancel: Cancel,
    deadline: Option<Instant>,
}

impl Patient {
    /// The same remote. Transfers ask their watchers, though not while a server says nothing.
    pub fn new(remote: Box<dyn Remote>, cancel: Cancel, deadline: Option<Instant>) -> Self {
        Self { inner: remote.into(), cancel, deadline }
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Remote) -> Result<T, RemoteError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let inner = Arc::clone(&self.inner);
        let over = || self.deadline.is_some_and(|end| Instant::now() >= end);
        let answer = detached(move || ask(&*inner), &|| !(self.cancel.is_cancelled() || over()));
        answer
            .map_err(|error| RemoteError::Unreachable {
                place: self.place().to_owned(),
                source: format!("no thread can be started: {error}").into(),
            })?
            .unwrap_or(Err(RemoteError::Stopped))
    }
}

impl Remote for Patient {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn place(&self) -> &str {
        self.inner.place()
    }

    fn test(&self) -> Result<Abilities, RemoteError> {
        self.inner.test()
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, RemoteError> {
        let keys = keys.to_vec();
        self.ask(move |inner| inner.steps(&keys))
    }

    fn results(&self, actions: &[Digest]) -> Result<Vec<Option<ActionResult>>, RemoteError> {
        let actions = actions.to_vec();
        self.ask(move |inner| inner.results(&actions))
    }

    fn pull(
        &self,
        into: &dyn Store,
        wanted: &[Found],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Moved>>, RemoteError> {
        self.inner.pull(into, wanted, watch)
    }

    fn push(
        &self,
        from: &dyn Store,
        results: &[Publication],
        watch: &Watch<'_>,
    ) -> Vec<Result<Moved, RemoteError>> {
        self.inner.push(from, results, watch)
    }

    fn stat(&self) -> Result<RemoteStat, RemoteError> {
        self.inner.stat()
    }

    fn collect(&self, limits: Limits, watch: &Watch<'_>) -> Result<Collected, RemoteError> {
        self.inner.collect(limits, watch)
    }

    fn provenance(&self, found: &Found) -> Result<Option<Vec<u8>>, RemoteError> {
        self.inner.provenance(found)
    }

    fn take_warnings(&self) -> Vec<String> {
        self.inner.take_warnings()
    }
}
