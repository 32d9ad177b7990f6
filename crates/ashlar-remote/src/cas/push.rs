//! From a store to a server: blobs first, then results, then the steps that lead to them.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ashlar_object::{Digest, Tree};
use ashlar_store::{Moved, Publication, RemoteError, Store, StoreError, Watch, read};

use super::entry::{self, Entry};
use super::pull::{distinct, lock, packed, together};
use super::{Bounds, Cas};

/// How many requests for blobs are under way at once.
const REQUESTS: usize = 4;

type Results = Vec<Result<Moved, RemoteError>>;

/// See [`ashlar_store::Remote::push`].
pub(super) fn push(
    cas: &dyn Cas,
    from: &dyn Store,
    results: &[Publication],
    watch: &Watch<'_>,
) -> Results {
    let bounds = match cas.writable().and_then(|()| cas.bounds()) {
        Ok(bounds) => bounds,
        Err(error) => return results.iter().map(|_| Err(again(&error))).collect(),
    };
    let mut pushed = Vec::with_capacity(results.len());
    for part in together(results, |publication| publication.result.outputs) {
        match push_part(cas, from, bounds, part, watch) {
            Ok(done) => pushed.extend(done),
            Err(error) => pushed.extend(part.iter().map(|_| Err(again(&error)))),
        }
    }
    pushed
}

/// What a result needs at the server, and what is to stand in the action cache for it.
struct Plan {
    blobs: Vec<Digest>,
    entries: Vec<Digest>,
    entry: Vec<u8>,
}

fn push_part(
    cas: &dyn Cas,
    from: &dyn Store,
    bounds: Bounds,
    results: &[Publication],
    watch: &Watch<'_>,
) -> Result<Results, RemoteError> {
    // What is in no store: directories, made-up actions, provenance.
    let mut made = HashMap::new();
    let plans: Vec<Result<Plan, RemoteError>> =
        results.iter().map(|publication| plan(cas, from, publication, &mut made)).collect();

    let all = distinct(plans.iter().flatten().flat_map(|plan| plan.blobs.iter().copied()));
    let absent: HashSet<Digest> = cas.missing(&all, watch)?.into_iter().collect();
    let send: Vec<_> = all.into_iter().filter(|digest| absent.contains(digest)).collect();
    let sent = Send { cas, from, bounds, watch, made: &made, done: Mutex::default() }.send(&send);

    // A result whose blobs are not all there gets no entry.
    let mut counted = HashSet::new();
    let mut outcomes: Results = plans
        .iter()
        .map(|plan| {
            let plan = plan.as_ref().map_err(again)?;
            let mut moved = Moved::default();
            for digest in &plan.blobs {
                match sent.get(digest) {
                    Some(Ok(bytes)) if counted.insert(*digest) => {
                        moved += Moved { bytes: *bytes, blobs: 1, already: 0 };
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(again(error)),
                    None if absent.contains(digest) => return Err(RemoteError::Stopped),
                    None => moved.already += digest.size,
                }
            }
            Ok(moved)
        })
        .collect();

    // What stands there already is not written again: for some servers writing is dear.
    let here = standing(cas, &plans, &absent, watch)?;
    // Every result before any step: a step never leads to what is not there.
    for steps in [false, true] {
        let mut entries = Vec::new();
        let mut owners = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            let (Ok(plan), Ok(_)) = (plan, &outcomes[index]) else { continue };
            let (action, keys) = plan.entries.split_at(1.min(plan.entries.len()));
            for digest in if steps { keys } else { action } {
                if here.contains(digest) {
                    continue;
                }
                entries.push((*digest, plan.entry.clone()));
                owners.push(index);
            }
        }
        for (index, put) in owners.into_iter().zip(cas.put_entries(&entries, watch)) {
            if let Err(error) = put {
                outcomes[index] = Err(error);
            }
        }
    }
    for moved in outcomes.iter().flatten() {
        (watch.moved)(Moved { already: moved.already, ..Moved::default() });
    }
    Ok(outcomes)
}

/// The entries that stand there as they should, of results whose blobs were all there.
fn standing(
    cas: &dyn Cas,
    plans: &[Result<Plan, RemoteError>],
    absent: &HashSet<Digest>,
    watch: &Watch<'_>,
) -> Result<HashSet<Digest>, RemoteError> {
    let there = plans
        .iter()
        .flatten()
        .filter(|plan| !plan.blobs.iter().any(|digest| absent.contains(digest)));
    let (digests, wanted): (Vec<_>, Vec<_>) = there
        .flat_map(|plan| plan.entries.iter().map(|digest| (*digest, Entry::decode(&plan.entry))))
        .unzip();
    if digests.is_empty() {
        return Ok(HashSet::new());
    }
    let standing = cas.entries(&digests, watch)?;
    let same = standing.into_iter().zip(wanted).map(|(is, wanted)| {
        is.and_then(|bytes| Entry::decode(&bytes)).is_some_and(|is| Some(is) == wanted)
    });
    Ok(digests.into_iter().zip(same).filter(|(_, same)| *same).map(|(digest, _)| digest).collect())
}

fn plan(
    cas: &dyn Cas,
    from: &dyn Store,
    publication: &Publication,
    made: &mut HashMap<Digest, Vec<u8>>,
) -> Result<Plan, RemoteError> {
    let result = &publication.result;
    let bytes = read(from, &result.outputs)?.ok_or(StoreError::Missing(result.outputs))?;
    let tree = Tree::decode(&bytes).map_err(|e| StoreError::Tree(result.outputs, e))?;
    let mut blobs = tree.blobs();
    blobs.extend([result.outputs, result.log]);
    if cas.wants_directories() {
        // The root is named by nothing: see `Entry::encode`.
        for (digest, bytes) in tree.directories().into_iter().skip(1) {
            made.insert(digest, bytes);
            blobs.push(digest);
        }
    }
    let provenance = publication.provenance.as_ref().map(|text| {
        let digest = Digest::of(text);
        made.entry(digest).or_insert_with(|| text.clone());
        digest
    });
    blobs.extend(provenance);
    let mut entries = vec![publication.action];
    for key in &publication.keys {
        let (digest, action) = entry::step(key);
        made.insert(digest, action);
        blobs.push(digest);
        entries.push(digest);
    }
    let entry = Entry { action: publication.action, result: result.clone(), provenance }.encode();
    Ok(Plan { blobs: distinct(blobs.into_iter()), entries, entry })
}

/// Sends blobs, several at once.
struct Send<'a> {
    cas: &'a dyn Cas,
    from: &'a dyn Store,
    bounds: Bounds,
    watch: &'a Watch<'a>,
    made: &'a HashMap<Digest, Vec<u8>>,
    done: Mutex<HashMap<Digest, Result<u64, RemoteError>>>,
}

impl Send<'_> {
    /// What became of each; one that is not in there was not tried, because all was stopped.
    fn send(self, digests: &[Digest]) -> HashMap<Digest, Result<u64, RemoteError>> {
        let (small, big): (Vec<_>, Vec<_>) =
            digests.iter().copied().partition(|digest| digest.size <= self.bounds.bytes);
        // The large ones first, because each keeps one thread busy for long.
        let mut jobs: Vec<&[Digest]> = big.chunks(1).collect();
        jobs.extend(packed(&small, self.bounds));
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !(self.watch.go_on)() || !self.one(job) {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                }
            };
            for _ in 1..REQUESTS.min(jobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut done = self.done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Who was not tried because the server is gone fails as the one did that found out.
        let lasting = done.values().find_map(|r| r.as_ref().err().filter(|e| e.is_lasting()));
        if let Some(error) = lasting.map(again) {
            for digest in digests {
                done.entry(*digest).or_insert_with(|| Err(again(&error)));
            }
        }
        done
    }

    /// Whether it is worth going on.
    fn one(&self, job: &[Digest]) -> bool {
        if let [digest] = job
            && digest.size > self.bounds.bytes
        {
            let result = self.big(digest);
            let go_on = !result.as_ref().is_err_and(RemoteError::is_lasting);
            lock(&self.done).insert(*digest, result);
            return go_on;
        }
        let mut blobs = Vec::with_capacity(job.len());
        for digest in job {
            match self.bytes(digest) {
                Ok(bytes) => blobs.push((*digest, bytes)),
                Err(error) => {
                    lock(&self.done).insert(*digest, Err(error));
                }
            }
        }
        if blobs.is_empty() {
            return true;
        }
        let mut go_on = true;
        for ((digest, _), result) in blobs.iter().zip(self.cas.write_batch(&blobs, self.watch)) {
            match &result {
                Ok(bytes) => (self.watch.moved)(Moved { bytes: *bytes, blobs: 1, already: 0 }),
                Err(error) => go_on &= !error.is_lasting(),
            }
            lock(&self.done).insert(*digest, result);
        }
        go_on
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        if let Some(bytes) = self.made.get(digest) {
            return Ok(bytes.clone());
        }
        Ok(read(self.from, digest)?.ok_or(StoreError::Missing(*digest))?)
    }

    fn big(&self, digest: &Digest) -> Result<u64, RemoteError> {
        let sent = AtomicU64::new(0);
        let moved = |step: Moved| {
            sent.fetch_add(step.bytes, Ordering::Relaxed);
            (self.watch.moved)(step);
        };
        let watch = Watch { moved: &moved, ..*self.watch };
        let open = || match self.made.get(digest) {
            Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone())) as _),
            None => Ok(self.from.open(digest)?.ok_or(StoreError::Missing(*digest))?),
        };
        self.cas.write(digest, &open, &watch)?;
        (self.watch.moved)(Moved { bytes: 0, blobs: 1, already: 0 });
        Ok(sent.into_inner())
    }
}

/// The same failure for another who met it.
pub(crate) fn again(error: &RemoteError) -> RemoteError {
    match error {
        RemoteError::Unreachable { place, source } => {
            RemoteError::Unreachable { place: place.clone(), source: source.to_string().into() }
        }
        RemoteError::Refused { place, what, why } => {
            RemoteError::Refused { place: place.clone(), what: what.clone(), why: why.clone() }
        }
        RemoteError::Unsupported { place, what } => {
            RemoteError::Unsupported { place: place.clone(), what: what.clone() }
        }
        RemoteError::Wrong { place, what, why } => {
            RemoteError::Wrong { place: place.clone(), what: what.clone(), why: why.clone() }
        }
        RemoteError::Address { place, why } => {
            RemoteError::Address { place: place.clone(), why: why.clone() }
        }
        RemoteError::Stopped => RemoteError::Stopped,
        RemoteError::Store(StoreError::Missing(digest)) => {
            RemoteError::Store(StoreError::Missing(*digest))
        }
        // The text of a failure of the disk is all that others need of it.
        RemoteError::Store(error) => RemoteError::Store(StoreError::Io {
            doing: "read",
            path: "the store".into(),
            source: std::io::Error::other(error.to_string()),
        }),
    }
}
