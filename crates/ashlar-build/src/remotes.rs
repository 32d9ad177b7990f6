//! Remotes in one run: asking them in their order, bringing what they have, and going on without
//! those that fail.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ashlar_execute::Cancel;
use ashlar_object::{Digest, StepKey};
use ashlar_plan::StepIndex;
use ashlar_recipe::Write;
use ashlar_store::{Found, Moved, Remote, RemoteError, Store, StoreError, Watch};

use crate::event::{Event, Way};
use crate::failure::chain;
use crate::origin::{Keys, Origins};

/// How many results are brought in one call. What was brought is kept before the next ones are,
/// so that a run that is killed has not moved everything in vain.
const AT_ONCE: usize = 256;

/// How many results of a row are asked for at once.
pub(crate) const IN_A_ROW: u32 = 8;

/// No row is longer: a remote that says it has everything is not asked for ever.
const LONGEST_ROW: u32 = 1000;

/// A remote with what may be done with it.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    /// The remote.
    pub remote: &'a dyn Remote,
    /// Whether results are looked for there.
    pub read: bool,
    /// Which results are left there.
    pub write: Write,
    /// The keys one of which has to have signed what comes from there; none: anything comes.
    pub keys: &'a Keys,
    /// Whether what is left there is signed.
    pub signs: bool,
}

/// Whom a run tells, and what stops it.
#[derive(Clone, Copy)]
pub struct Ears<'a> {
    /// Whom to tell.
    pub tell: &'a (dyn Fn(Event) + Sync),
    /// Whether to stop.
    pub cancel: &'a Cancel,
    /// When to stop.
    pub deadline: Option<Instant>,
}

/// The remotes of a run, the nearest first.
#[derive(Default)]
pub struct Remotes<'a> {
    all: Vec<One<'a>>,
    required: bool,
    /// What was said already.
    said: Mutex<BTreeSet<String>>,
    /// Where remotes are required, why the run fails.
    lost: Mutex<Vec<String>>,
}

struct One<'a> {
    shared: Shared<'a>,
    name: Arc<str>,
    readable: AtomicBool,
    writable: AtomicBool,
    /// Whether it was asked for something since it could last say what people should know.
    asked: AtomicBool,
    tally: Mutex<Tally>,
}

/// What a run had to do with a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The name of the remote.
    pub remote: String,
    /// How many results came from it.
    pub pulled: usize,
    /// What that moved.
    pub pulled_bytes: Moved,
    /// How many results were left there.
    pub pushed: usize,
    /// What that moved.
    pub pushed_bytes: Moved,
    /// How many results could not be left there.
    pub failed: usize,
    /// How many were not left there because the run was stopped.
    pub unsent: usize,
    /// How many stay here because files that they were made from are not committed.
    pub unclean: usize,
    /// How many stay here because they stand on the word of a remote that is not to be vouched for.
    pub untrusted: usize,
    /// Why it was not used any more, if it was not.
    pub gone: Option<String>,
}

/// A result, and which remote has it.
pub(crate) type Far = (usize, Found);

impl<'a> Remotes<'a> {
    /// The remotes of a run in the order in which they are asked. Where they are `required`, one
    /// that cannot be read fails the run instead of being done without.
    #[must_use]
    pub fn new(all: Vec<Shared<'a>>, required: bool) -> Self {
        let one = |shared: Shared<'a>| One {
            name: shared.remote.name().into(),
            readable: AtomicBool::new(shared.read),
            writable: AtomicBool::new(shared.write != Write::No),
            asked: AtomicBool::new(false),
            tally: Mutex::new(Tally {
                remote: shared.remote.name().to_owned(),
                ..Tally::default()
            }),
            shared,
        };
        Self { all: all.into_iter().map(one).collect(), required, ..Self::default() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What the run had to do with each so far.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        self.all.iter().map(|one| lock(&one.tally).clone()).collect()
    }

    /// Where remotes are required, why the run cannot go on.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        lock(&self.lost).clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn name(&self, index: usize) -> String {
        self.all[index].name.to_string()
    }

    pub(crate) fn shared(&self, index: usize) -> Shared<'a> {
        self.all[index].shared
    }

    pub(crate) fn tally(&self, index: usize) -> MutexGuard<'_, Tally> {
        lock(&self.all[index].tally)
    }

    /// Whether a remote is still written to.
    pub(crate) fn is_writable(&self, index: usize) -> bool {
        self.all[index].writable.load(Ordering::Relaxed)
    }

    /// Whether a remote is still read.
    pub(crate) fn is_readable(&self, index: usize) -> bool {
        self.all[index].readable.load(Ordering::Relaxed)
    }

    /// Whether any is still read.
    pub(crate) fn any_readable(&self) -> bool {
        self.all.iter().any(|one| one.readable.load(Ordering::Relaxed))
    }

    /// Which remote says it has each of these, the nearest of them; those in `not` do not count.
    ///
    /// # Errors
    /// When the store on this side fails. A remote that fails has nothing.
    pub(crate) fn steps(
        &self,
        keys: &[(StepIndex, StepKey)],
        not: &HashSet<(usize, StepIndex)>,
        ears: Ears<'_>,
    ) -> Result<HashMap<StepIndex, Far>, StoreError> {
        let mut all = HashMap::new();
        for (index, one) in self.all.iter().enumerate() {
            let left: Vec<_> = keys
                .iter()
                .filter(|(step, _)| !all.contains_key(step) && !not.contains(&(index, *step)))
                .collect();
            if left.is_empty() || !one.readable.load(Ordering::Relaxed) || ears.stopped() {
                continue;
            }
            one.asked.store(true, Ordering::Relaxed);
            let asked: Vec<StepKey> = left.iter().map(|(_, key)| *key).collect();
            match one.shared.remote.steps(&asked) {
                Ok(found) => all.extend(
                    left.into_iter().zip(found).filter_map(|((s, _), f)| Some((*s, (index, f?)))),
                ),
                Err(error) => self.read_failed(index, error, ears)?,
            }
        }
        Ok(all)
    }

    /// The result of an action, brought here.
    ///
    /// # Errors
    /// As [`Remotes::steps`].
    pub(crate) fn result(
        &self,
        action: Digest,
        into: &dyn Store,
        origins: &Origins<'_>,
        ears: Ears<'_>,
    ) -> Result<Option<Far>, StoreError> {
        for (index, one) in self.all.iter().enumerate() {
            if !one.readable.load(Ordering::Relaxed) || ears.stopped() {
                continue;
            }
            one.asked.store(true, Ordering::Relaxed);
            let result = match one.shared.remote.results(&[action]) {
                Ok(mut found) => found.pop().flatten(),
                Err(error) => {
                    self.read_failed(index, error, ears)?;
                    continue;
                }
            };
            let Some(result) = result else { continue };
            let found = Found { action, result };
            let wanted = [(None, found.clone())];
            if self.pull(index, &wanted, into, origins, ears)?.pop() == Some(true) {
                return Ok(Some((index, found)));
            }
        }
        Ok(None)
    }

    /// The last of a row of results that are left one after another, from a number on, brought
    /// here: which one it is. Remotes are asked in their order, each for what is later still. Some
    /// may have been collected: the row ends where [`IN_A_ROW`] are missing.
    ///
    /// # Errors
    /// As [`Remotes::steps`].
    pub(crate) fn last_of(
        &self,
        row: &dyn Fn(u32) -> Digest,
        from: u32,
        into: &dyn Store,
        origins: &Origins<'_>,
        ears: Ears<'_>,
    ) -> Result<Option<(u32, Found)>, StoreError> {
        let mut last: Option<(u32, Found)> = None;
        for (index, one) in self.all.iter().enumerate() {
            let mut next = last.as_ref().map_or(from, |(number, _)| number + 1);
            let mut latest = None;
            while one.readable.load(Ordering::Relaxed) && !ears.stopped() && next < LONGEST_ROW {
                one.asked.store(true, Ordering::Relaxed);
                let asked: Vec<Digest> = (next..next + IN_A_ROW).map(row).collect();
                let found = match one.shared.remote.results(&asked) {
                    Ok(found) => found,
                    Err(error) => {
                        self.read_failed(index, error, ears)?;
                        break;
                    }
                };
                let there = asked.into_iter().zip(found).zip(next..);
                let last = there
                    .filter_map(|((action, result), n)| {
                        Some((Found { action, result: result? }, n))
                    })
                    .last();
                let Some(last) = last else { break };
                (next, latest) = (last.1 + 1, Some(last));
            }
            let Some((found, number)) = latest else { continue };
            let wanted = [(None, found.clone())];
            if self.pull(index, &wanted, into, origins, ears)?.pop() == Some(true) {
                last = Some((number, found));
            }
        }
        Ok(last)
    }

    /// Brings results here and keeps them, under their step keys where these are given. For each,
    /// whether it is here now.
    ///
    /// # Errors
    /// As [`Remotes::steps`].
    pub(crate) fn pull(
        &self,
        index: usize,
        wanted: &[(Option<StepKey>, Found)],
        into: &dyn Store,
        origins: &Origins<'_>,
        ears: Ears<'_>,
    ) -> Result<Vec<bool>, StoreError> {
        let came = self.bring(index, wanted, into, origins, ears)?;
        let mut tally = lock(&self.all[index].tally);
        for moved in came.iter().flatten() {
            tally.pulled += 1;
            tally.pulled_bytes += *moved;
        }
        Ok(came.iter().map(Option::is_some).collect())
    }

    /// As [`Remotes::pull`], without counting it: what moved, or nothing for what is not here now.
    ///
    /// # Errors
    /// As [`Remotes::steps`].
    pub(crate) fn bring(
        &self,
        index: usize,
        wanted: &[(Option<StepKey>, Found)],
        into: &dyn Store,
        origins: &Origins<'_>,
        ears: Ears<'_>,
    ) -> Result<Vec<Option<Moved>>, StoreError> {
        let one = &self.all[index];
        let go_on = || !ears.stopped();
        let moved = |moved| {
            (ears.tell)(Event::Moving { remote: Arc::clone(&one.name), way: Way::Pull, moved });
        };
        let warn = |text: String| self.say(ears, format!("remote {}: {text}", one.name));
        let watch = Watch { go_on: &go_on, moved: &moved, warn: &warn };
        let mut all = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(AT_ONCE) {
            let mut here = vec![None; wanted.len()];
            if one.readable.load(Ordering::Relaxed) && go_on() {
                let found: Vec<Found> = wanted.iter().map(|(_, found)| found.clone()).collect();
                match one.shared.remote.pull(into, &found, &watch) {
                    Ok(moved) => {
                        for ((place, moved), (key, found)) in here.iter_mut().zip(moved).zip(wanted)
                        {
                            let Some(moved) = moved else { continue };
                            let keys = one.shared.keys;
                            origins.came(&one.name, keys, key.as_ref(), found, into)?;
                            if keep(into, key.as_ref(), found)? {
                                *place = Some(moved);
                            } else {
                                warn(format!(
                                    "the result of action {} is not what it should be",
                                    found.action.short()
                                ));
                            }
                        }
                    }
                    Err(error) => self.read_failed(index, error, ears)?,
                }
            }
            all.extend(here);
        }
        Ok(all)
    }

    /// Lets remotes say what they came upon while they were only asked: results that are not
    /// signed, for instance. Bringing nothing is the occasion for it.
    ///
    /// # Errors
    /// As [`Remotes::steps`].
    pub(crate) fn hear(&self, into: &dyn Store, ears: Ears<'_>) -> Result<(), StoreError> {
        for (index, one) in self.all.iter().enumerate() {
            let asked = one.asked.swap(false, Ordering::Relaxed);
            if !asked || !one.readable.load(Ordering::Relaxed) || ears.stopped() {
                continue;
            }
            let warn = |text: String| self.say(ears, format!("remote {}: {text}", one.name));
            let watch = Watch { warn: &warn, ..Watch::NOBODY };
            if let Err(error) = one.shared.remote.pull(into, &[], &watch) {
                self.read_failed(index, error, ears)?;
            }
        }
        Ok(())
    }

    /// Where remotes are required: a result that one said it had cannot be had.
    pub(crate) fn broken(&self, what: &str) {
        if self.required {
            self.lose(format!("a remote says it has {what}, and cannot give it"));
        }
    }

    fn lose(&self, why: String) {
        let mut lost = lock(&self.lost);
        if !lost.contains(&why) {
            lost.push(why);
        }
    }

    fn read_failed(
        &self,
        index: usize,
        error: RemoteError,
        ears: Ears<'_>,
    ) -> Result<(), StoreError> {
        match error {
            RemoteError::Stopped => {}
            RemoteError::Store(error) => return Err(error),
            error => {
                self.failed(index, Way::Pull, &error, ears);
                if self.required {
                    let name = &self.all[index].name;
                    self.lose(format!("remote {name} cannot be read: {}", chain(&error)));
                }
            }
        }
        Ok(())
    }

    /// A remote failed: says so once, and does without it where that is likely to go on. What
    /// ends the run is said at its end.
    pub(crate) fn failed(&self, index: usize, way: Way, error: &RemoteError, ears: Ears<'_>) {
        let one = &self.all[index];
        let why = chain(error);
        let name = &one.name;
        let ends = self.required && way == Way::Pull;
        if !error.is_lasting() {
            if !ends {
                self.say(ears, format!("remote {name}: {why}"));
            }
            return;
        }
        let only_one_way = matches!(error, RemoteError::Refused { .. });
        let (mut was, mut text) = (false, String::new());
        if !only_one_way || way == Way::Pull {
            was |= one.readable.swap(false, Ordering::Relaxed);
            text = format!("remote {name} is not read any more in this run: {why}");
        }
        if !only_one_way || way == Way::Push {
            was |= one.writable.swap(false, Ordering::Relaxed);
            text = format!("nothing more is pushed to remote {name} in this run: {why}");
        }
        if !only_one_way {
            text = format!("remote {name} is not used any more in this run: {why}");
        }
        if was {
            lock(&one.tally).gone.get_or_insert(why);
            if !ends {
                self.say(ears, text);
            }
        }
    }

    /// Says something once.
    pub(crate) fn say(&self, ears: Ears<'_>, text: String) {
        if lock(&self.said).insert(text.clone()) {
            (ears.tell)(Event::Warning(text));
        }
    }
}

impl Ears<'_> {
    /// Whether nothing is to be waited for any more.
    pub(crate) fn stopped(&self) -> bool {
        self.cancel.is_cancelled() || self.deadline.is_some_and(|end| Instant::now() >= end)
    }
}

/// Keeps a result whose blobs were brought; `false` when they do not make one.
fn keep(into: &dyn Store, key: Option<&StepKey>, found: &Found) -> Result<bool, StoreError> {
    match into.put_result(&found.action, &found.result) {
        Ok(()) => key.map_or(Ok(()), |key| into.put_step(key, &found.action)).map(|()| true),
        Err(StoreError::Missing(_) | StoreError::Tree(..)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind them is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
