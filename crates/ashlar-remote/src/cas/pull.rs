//! From a server into a store: all trees first, then everything in them that the store lacks.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ashlar_object::{Digest, Tree};
use ashlar_store::{Found, Moved, RemoteError, Store, Watch, read_tree};

use super::arrive::{Arrived, stream, verified};
use super::{Bounds, Cas};

/// How many requests for blobs are under way at once.
const REQUESTS: usize = 4;

/// How many results are taken together, and how many bytes their trees may have as they are
/// encoded: what is known of them has to fit into memory, and what is cut off later than this is
/// there for others.
const TOGETHER: usize = 1024;
const TREES: u64 = 8 << 20;

/// See [`ashlar_store::Remote::pull`].
pub(super) fn pull(
    cas: &dyn Cas,
    name: &str,
    into: &dyn Store,
    wanted: &[Found],
    watch: &Watch<'_>,
) -> Result<Vec<Option<Moved>>, RemoteError> {
    let mut pulled = Vec::with_capacity(wanted.len());
    for part in together(wanted, |found| found.result.outputs) {
        pulled.extend(pull_part(cas, name, into, part, watch)?);
    }
    Ok(pulled)
}

fn pull_part(
    cas: &dyn Cas,
    name: &str,
    into: &dyn Store,
    wanted: &[Found],
    watch: &Watch<'_>,
) -> Result<Vec<Option<Moved>>, RemoteError> {
    let moved = Mutex::new(HashMap::new());
    let mut fetch = Fetch { cas, into, watch, moved: &moved, lost: HashMap::new() };

    let trees = distinct(wanted.iter().map(|found| found.result.outputs));
    let decoded = Mutex::new(HashMap::new());
    let keep = |digest: &Digest, bytes: &[u8]| {
        if let Ok(tree) = Tree::decode(bytes) {
            let known = Known { root: tree.root_digest(), blobs: tree.blobs() };
            lock(&decoded).insert(*digest, known);
        }
    };
    let fetched = fetch.fetch(into.missing(&trees)?, &keep)?;
    let mut known = decoded.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for digest in &trees {
        // In the store before, or too large to be held: read from there.
        if !known.contains_key(digest) && !fetch.lost.contains_key(digest) {
            let tree = match read_tree(into, digest) {
                Ok(Some(tree)) => tree,
                Ok(None) | Err(ashlar_store::StoreError::Tree(..)) => {
                    fetch.lost.insert(*digest, format!("the blob {digest:?} is no tree"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            known.insert(*digest, Known { root: tree.root_digest(), blobs: tree.blobs() });
        }
    }

    let contents = distinct(wanted.iter().flat_map(|found| {
        let known = known.get(&found.result.outputs);
        // Of a tree that is another than the result says, nothing is wanted.
        let known = known.filter(|known| known.root == found.result.root);
        known.into_iter().flat_map(|k| k.blobs.iter().copied()).chain([found.result.log])
    }));
    let missing = into.missing(&contents)?;
    let absent: HashSet<Digest> = missing.iter().copied().chain(fetched).collect();
    fetch.fetch(missing, &|_, _| {})?;

    let lost = fetch.lost;
    let mut moved = moved.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(wanted
        .iter()
        .map(|found| {
            let whole = judge(found, &known, &lost);
            match whole {
                Ok(blobs) => {
                    let mut sum = Moved::default();
                    for digest in blobs {
                        // A blob that several results share is counted with the first.
                        match moved.remove(&digest) {
                            Some(bytes) => sum += Moved { bytes, blobs: 1, already: 0 },
                            None if absent.contains(&digest) => {}
                            None => sum.already += digest.size,
                        }
                    }
                    (watch.moved)(Moved { already: sum.already, ..Moved::default() });
                    Some(sum)
                }
                Err(why) => {
                    (watch.warn)(format!(
                        "{name} ({}): the result of action {} is not used: {why}",
                        cas.place(),
                        found.action.short()
                    ));
                    None
                }
            }
        })
        .collect())
}

/// What a tree needs.
struct Known {
    root: Digest,
    blobs: Vec<Digest>,
}

/// The blobs of a result, or why it is not whole.
fn judge(
    found: &Found,
    known: &HashMap<Digest, Known>,
    lost: &HashMap<Digest, String>,
) -> Result<Vec<Digest>, String> {
    let result = &found.result;
    if let Some(why) = lost.get(&result.outputs).or_else(|| lost.get(&result.log)) {
        return Err(why.clone());
    }
    let tree = known
        .get(&result.outputs)
        .ok_or_else(|| format!("the blob {:?} is no tree", result.outputs))?;
    if tree.root != result.root {
        return Err(format!("its tree {:?} has another root than it says", result.outputs));
    }
    if let Some(why) = tree.blobs.iter().find_map(|digest| lost.get(digest)) {
        return Err(why.clone());
    }
    Ok(distinct(tree.blobs.iter().copied().chain([result.outputs, result.log])))
}

/// Each once, in the order in which they come first, without the empty blob.
pub(super) fn distinct(digests: impl Iterator<Item = Digest>) -> Vec<Digest> {
    let mut seen = HashSet::from([Digest::EMPTY]);
    digests.filter(|digest| seen.insert(*digest)).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Results in parts of a size that fits into memory.
pub(super) fn together<T>(results: &[T], tree: impl Fn(&T) -> Digest) -> Vec<&[T]> {
    let mut bytes = 0;
    let mut first = true;
    let parts = results.chunk_by(|_, next| {
        if std::mem::take(&mut first) {
            bytes = tree(&results[0]).size;
        }
        bytes += tree(next).size;
        let fits = bytes <= TREES;
        if !fits {
            bytes = tree(next).size;
        }
        fits
    });
    parts.flat_map(|part| part.chunks(TOGETHER)).collect()
}

/// What fits into requests together, in the order given; what is too large for any is alone.
pub(super) fn packed(digests: &[Digest], bounds: Bounds) -> Vec<&[Digest]> {
    let mut parts = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (index, digest) in digests.iter().enumerate() {
        if index > begin && (bytes + digest.size > bounds.bytes || index - begin >= bounds.blobs) {
            parts.push(&digests[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += digest.size;
    }
    if begin < digests.len() {
        parts.push(&digests[begin..]);
    }
    parts
}

/// Brings blobs into a store, several at once.
struct Fetch<'a> {
    cas: &'a dyn Cas,
    into: &'a dyn Store,
    watch: &'a Watch<'a>,
    moved: &'a Mutex<HashMap<Digest, u64>>,
    lost: HashMap<Digest, String>,
}

impl Fetch<'_> {
    /// Fetches, and shows small blobs to `look` when they are kept. What was wanted is returned.
    fn fetch(
        &mut self,
        wanted: Vec<Digest>,
        look: &(dyn Fn(&Digest, &[u8]) + Sync),
    ) -> Result<Vec<Digest>, RemoteError> {
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let bounds = self.cas.bounds()?;
        let (small, big): (Vec<_>, Vec<_>) =
            wanted.iter().copied().partition(|digest| digest.size <= bounds.bytes);
        // The large ones first, because each keeps one thread busy for long.
        let mut jobs: Vec<&[Digest]> = big.chunks(1).collect();
        jobs.extend(packed(&small, bounds));
        let (next, lost) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            let work = || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = self.one(job, bounds, look, &lost) {
                        // The others end with what they are at.
                        next.store(jobs.len(), Ordering::Relaxed);
                        lock(&failed).get_or_insert(error);
                    }
                }
            };
            for _ in 1..REQUESTS.min(jobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = lock(&failed).take() {
            return Err(error);
        }
        self.lost.extend(lost.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(wanted)
    }

    fn one(
        &self,
        job: &[Digest],
        bounds: Bounds,
        look: &(dyn Fn(&Digest, &[u8]) + Sync),
        lost: &Mutex<HashMap<Digest, String>>,
    ) -> Result<(), RemoteError> {
        if !(self.watch.go_on)() {
            return Err(RemoteError::Stopped);
        }
        if let [digest] = job
            && digest.size > bounds.bytes
        {
            let came = std::sync::atomic::AtomicU64::new(0);
            let moved = |step: Moved| {
                came.fetch_add(step.bytes, Ordering::Relaxed);
                (self.watch.moved)(step);
            };
            let watch = Watch { moved: &moved, ..*self.watch };
            match stream(self.cas, digest, self.into, &watch)? {
                Arrived::Kept => {
                    lock(self.moved).insert(*digest, came.into_inner());
                }
                Arrived::Lost(why) => {
                    lock(lost).insert(*digest, why);
                }
            }
            return Ok(());
        }
        let mut left: HashSet<Digest> = job.iter().copied().collect();
        for arrival in self.cas.read_batch(job, self.watch)? {
            let (digest, bytes) = (arrival.digest, arrival.moved);
            if !left.remove(&digest) {
                continue;
            }
            match verified(arrival) {
                Ok(content) => {
                    ashlar_store::put(self.into, &content)?;
                    look(&digest, &content);
                    lock(self.moved).insert(digest, bytes);
                    (self.watch.moved)(Moved { bytes, blobs: 1, already: 0 });
                }
                Err(why) => {
                    lock(lost).insert(digest, why);
                }
            }
        }
        for digest in left {
            lock(lost).insert(digest, format!("the blob {digest:?} was not answered for"));
        }
        Ok(())
    }
}
