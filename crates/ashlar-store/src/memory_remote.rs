//! A remote in memory that can be made to misbehave.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ashlar_object::{ActionResult, Digest, StepKey, Tree};

use crate::{
    Abilities, Collected, Found, Limits, MemoryStore, Moved, Publication, Remote, RemoteError,
    RemoteStat, Store, StoreError, Watch, read_tree,
};

/// A remote that is gone with its last user, for tests. What it is asked is written down.
#[derive(Debug)]
pub struct MemoryRemote {
    name: String,
    place: String,
    store: MemoryStore,
    state: Mutex<State>,
}

/// How a remote misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody answers, which is known after this time.
    Unreachable(Duration),
    /// Reading is refused.
    RefusesReading,
    /// Writing is refused.
    RefusesWriting,
    /// Answers make no sense.
    AnswersWrongly,
    /// It says that it has results of which it cannot give the blobs.
    Lies,
    /// Every transfer of a result takes this long.
    Slow(Duration),
}

/// What a remote was asked, in the order in which it was.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The keys of each call of [`Remote::steps`].
    pub steps: Vec<Vec<StepKey>>,
    /// The actions of each call of [`Remote::results`].
    pub results: Vec<Vec<Digest>>,
    /// What was pulled, one by one.
    pub pulled: Vec<Found>,
    /// What was pushed and has arrived.
    pub pushed: Vec<Publication>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    steps: HashMap<StepKey, Digest>,
    results: HashMap<Digest, ActionResult>,
    provenance: HashMap<Digest, Vec<u8>>,
    asked: Asked,
}

impl MemoryRemote {
    /// An empty remote that behaves.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            place: format!("memory:{name}"),
            store: MemoryStore::new(),
            state: Mutex::default(),
        }
    }

    /// From now on it misbehaves in these ways, and in no other.
    pub fn misbehave(&self, faults: &[Fault]) {
        self.state().faults = faults.to_vec();
    }

    /// What it was asked since the last time this was called.
    pub fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.state().asked)
    }

    /// How many step keys it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().steps.len()
    }

    /// Whether it knows no step key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion, so what a panic left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, fault: Fault) -> bool {
        self.state().faults.contains(&fault)
    }

    fn refused(&self, what: &str) -> RemoteError {
        let why = "403 Forbidden".to_owned();
        RemoteError::Refused { place: self.place.clone(), what: what.to_owned(), why }
    }

    /// What keeps anything from being asked.
    fn answer(&self, what: &str) -> Result<(), RemoteError> {
        let faults = self.state().faults.clone();
        for fault in faults {
            match fault {
                Fault::Unreachable(after) => {
                    std::thread::sleep(after);
                    let source = std::io::Error::from(std::io::ErrorKind::TimedOut).into();
                    return Err(RemoteError::Unreachable { place: self.place.clone(), source });
                }
                Fault::AnswersWrongly => {
                    return Err(RemoteError::Wrong {
                        place: self.place.clone(),
                        what: what.to_owned(),
                        why: "it is no JSON".to_owned(),
                    });
                }
                Fault::RefusesReading | Fault::RefusesWriting | Fault::Lies | Fault::Slow(_) => {}
            }
        }
        Ok(())
    }

    fn readable(&self, what: &str) -> Result<(), RemoteError> {
        self.answer(what)?;
        if self.has(Fault::RefusesReading) { Err(self.refused("to be read")) } else { Ok(()) }
    }

    /// What a transfer takes; it ends early when nobody wants it any more.
    fn wait(&self, watch: &Watch<'_>) -> Result<(), RemoteError> {
        let slow = self.state().faults.iter().find_map(|fault| match fault {
            Fault::Slow(time) => Some(*time),
            _ => None,
        });
        let until = Instant::now() + slow.unwrap_or_default();
        loop {
            if !(watch.go_on)() {
                return Err(RemoteError::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    fn push_one(
        &self,
        from: &dyn Store,
        publication: &Publication,
        watch: &Watch<'_>,
    ) -> Result<Moved, RemoteError> {
        self.answer("a push")?;
        if self.has(Fault::RefusesWriting) {
            return Err(self.refused("to be written to"));
        }
        self.wait(watch)?;
        let moved = copy(from, &self.store, &publication.result, &|_| true)?
            .map_err(|digest| RemoteError::Store(StoreError::Missing(digest)))?;
        (watch.moved)(moved);
        let mut state = self.state();
        state.results.insert(publication.action, publication.result.clone());
        for key in &publication.keys {
            state.steps.insert(*key, publication.action);
        }
        if let Some(predicate) = &publication.provenance {
            let mut statement =
                br#"{"_type":"https://in-toto.io/Statement/v1","predicate":"#.to_vec();
            statement.extend(predicate);
            statement.push(b'}');
            state.provenance.insert(publication.action, statement);
        }
        state.asked.pushed.push(publication.clone());
        Ok(moved)
    }
}

/// Copies the blobs of a result. `Err` inside names one that is not there.
fn copy(
    from: &dyn Store,
    into: &dyn Store,
    result: &ActionResult,
    wanted: &dyn Fn(&Digest) -> bool,
) -> Result<Result<Moved, Digest>, RemoteError> {
    let mut blobs = vec![result.outputs, result.log];
    let tree: Option<Tree> = read_tree(from, &result.outputs)?;
    match tree {
        Some(tree) => blobs.extend(tree.blobs()),
        None => return Ok(Err(result.outputs)),
    }
    blobs.sort_unstable();
    blobs.dedup();
    let missing = into.missing(&blobs)?;
    let mut moved = Moved::default();
    for digest in blobs {
        if !missing.contains(&digest) {
            moved.already += digest.size;
            continue;
        }
        let reader = if wanted(&digest) { from.open(&digest)? } else { None };
        let Some(mut reader) = reader else { return Ok(Err(digest)) };
        into.put(&mut reader)?;
        moved += Moved { bytes: digest.size, blobs: 1, already: 0 };
    }
    Ok(Ok(moved))
}

impl Remote for MemoryRemote {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn test(&self) -> Result<Abilities, RemoteError> {
        self.answer("a test")?;
        let write = match self.has(Fault::RefusesWriting) {
            true => Err("403 Forbidden".to_owned()),
            false => Ok(()),
        };
        Ok(Abilities { read: !self.has(Fault::RefusesReading), write, facts: Vec::new() })
    }

    fn steps(&self, keys: &[StepKey]) -> Result<Vec<Option<Found>>, RemoteError> {
        self.state().asked.steps.push(keys.to_vec());
        self.readable("a search")?;
        let state = self.state();
        let find = |key| {
            let action = *state.steps.get(key)?;
            state.results.get(&action).map(|result| Found { action, result: result.clone() })
        };
        Ok(keys.iter().map(find).collect())
    }

    fn results(&self, actions: &[Digest]) -> Result<Vec<Option<ActionResult>>, RemoteError> {
        self.state().asked.results.push(actions.to_vec());
        self.readable("a search")?;
        let state = self.state();
        Ok(actions.iter().map(|action| state.results.get(action).cloned()).collect())
    }

    fn pull(
        &self,
        into: &dyn Store,
        wanted: &[Found],
        watch: &Watch<'_>,
    ) -> Result<Vec<Option<Moved>>, RemoteError> {
        let mut all = Vec::with_capacity(wanted.len());
        for found in wanted {
            self.readable("a pull")?;
            self.wait(watch)?;
            self.state().asked.pulled.push(found.clone());
            let lies = self.has(Fault::Lies);
            let last = |digest: &Digest| !lies || *digest == found.result.outputs;
            match copy(&self.store, into, &found.result, &last)? {
                Ok(moved) => {
                    (watch.moved)(moved);
                    all.push(Some(moved));
                }
                Err(digest) => {
                    (watch.warn)(format!("{} lacks the blob {digest:?}", self.place));
                    all.push(None);
                }
            }
        }
        Ok(all)
    }

    fn push(
        &self,
        from: &dyn Store,
        results: &[Publication],
        watch: &Watch<'_>,
    ) -> Vec<Result<Moved, RemoteError>> {
        results.iter().map(|result| self.push_one(from, result, watch)).collect()
    }

    fn stat(&self) -> Result<RemoteStat, RemoteError> {
        self.readable("a question")?;
        let results = self.state().results.len() as u64;
        Ok(RemoteStat { results, blobs: None, bytes: None })
    }

    fn collect(&self, _: Limits, _: &Watch<'_>) -> Result<Collected, RemoteError> {
        let what = "remove anything".to_owned();
        Err(RemoteError::Unsupported { place: self.place.clone(), what })
    }

    fn provenance(&self, found: &Found) -> Result<Option<Vec<u8>>, RemoteError> {
        self.readable("a question")?;
        Ok(self.state().provenance.get(&found.action).cloned())
    }
}
