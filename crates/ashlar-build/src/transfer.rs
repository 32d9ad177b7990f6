//! Pushing and pulling without building.

use std::collections::{BTreeMap, HashMap, HashSet};

use ashlar_plan::{StepId, StepIndex};
use ashlar_store::{Found, Journal, StoreError};

use crate::dispatch::brought;
use crate::engine::Engine;
use crate::event::Event;
use crate::lookup::shared_steps;
use crate::push::{Item, Queues};
use crate::remotes::Tally;

/// What a transfer came to.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// How many results there were to look after.
    pub results: usize,
    /// How many of them were in the store already; of a push all.
    pub here: usize,
    /// The targets, or with everything beneath all steps, that are nowhere.
    pub missing: Vec<StepId>,
    /// The targets that are never shared.
    pub unshared: Vec<StepId>,
    /// What there was to do with each remote.
    pub remotes: Vec<Tally>,
    /// Where remotes are required, which failed and why.
    pub lost: Vec<String>,
}

/// Leaves the targets and everything they were made from at the remotes that are written to, as
/// far as it is in the store.
///
/// # Errors
/// When the store cannot be read.
pub fn push(engine: &Engine<'_>, journal: &Journal) -> Result<Transfer, StoreError> {
    let plan = engine.plan;
    let queues = Queues::new(engine);
    let shared = queues.shared();
    let steps: Vec<StepIndex> =
        (0..plan.steps.len()).filter(|s| shared.get(*s).copied().unwrap_or_default()).collect();
    let keys: Vec<_> = steps.iter().map(|step| plan.steps[*step].key).collect();
    // What the far side has is not looked for here, and what is to be sent is opened.
    let found = engine.store.steps_unchecked(&keys)?;
    let mut transfer = Transfer { unshared: unshared(engine, shared), ..Transfer::default() };
    std::thread::scope(|scope| {
        for (step, found) in steps.into_iter().zip(found) {
            match found {
                Some(found) => {
                    transfer.results += 1;
                    queues.made(engine, &Item::result(step, found, None));
                }
                None if plan.targets.contains(&step) => {
                    transfer.missing.push(plan.steps[step].id.clone());
                }
                None => {}
            }
        }
        queues.close();
        for index in (0..engine.remotes.count()).filter(|i| engine.remotes.is_writable(*i)) {
            let queues = &queues;
            scope.spawn(move || queues.send(engine, journal, index));
        }
    });
    transfer.here = transfer.results;
    transfer.remotes = engine.remotes.tallies();
    Ok(transfer)
}

/// The targets that see the machine's own files, or were made from what does.
fn unshared(engine: &Engine<'_>, shared: &[bool]) -> Vec<StepId> {
    let plan = engine.plan;
    let alone = |step: &&StepIndex| !shared.get(**step).copied().unwrap_or_default();
    plan.targets.iter().filter(alone).map(|step| plan.steps[*step].id.clone()).collect()
}

/// Brings the targets from remotes, and with `beneath` everything they are made from.
///
/// # Errors
/// When the store cannot be read or written. A remote that fails has nothing.
pub fn pull(engine: &Engine<'_>, journal: &Journal, beneath: bool) -> Result<Transfer, StoreError> {
    let plan = engine.plan;
    let (store, remotes) = (engine.store, &engine.remotes);
    let ears = engine.ears();
    let shared = shared_steps(engine.project, plan);
    let mut steps: Vec<StepIndex> =
        if beneath { (0..plan.steps.len()).collect() } else { plan.targets.clone() };
    steps.retain(|step| shared[*step]);
    steps.sort_unstable();
    steps.dedup();
    let keys: Vec<_> = steps.iter().map(|step| plan.steps[*step].key).collect();
    let unshared = unshared(engine, &shared);
    let mut transfer = Transfer { results: steps.len(), unshared, ..Transfer::default() };
    let here = engine.origins.steps(store, &keys)?;
    let mut left: Vec<StepIndex> =
        steps.into_iter().zip(here).filter_map(|(s, f)| f.is_none().then_some(s)).collect();
    transfer.here = transfer.results - left.len();
    let mut not: HashSet<(usize, StepIndex)> = HashSet::new();
    loop {
        let keys: Vec<_> = left.iter().map(|step| (*step, plan.steps[*step].key)).collect();
        let said = remotes.steps(&keys, &not, ears)?;
        if said.is_empty() {
            break;
        }
        let mut wanted: BTreeMap<usize, Vec<(StepIndex, Found)>> = BTreeMap::new();
        for (step, (remote, found)) in said {
            wanted.entry(remote).or_default().push((step, found));
        }
        for (remote, mut wanted) in wanted {
            wanted.sort_unstable_by_key(|(step, _)| *step);
            (ears.tell)(Event::Pulling { remote: remotes.name(remote), results: wanted.len() });
            let asked: Vec<_> =
                wanted.iter().map(|(s, f)| (Some(plan.steps[*s].key), f.clone())).collect();
            let kept = remotes.pull(remote, &asked, store, &engine.origins, ears)?;
            let mut came: HashMap<StepIndex, Found> = HashMap::new();
            for ((step, found), kept) in wanted.into_iter().zip(kept) {
                if kept {
                    came.insert(step, found);
                } else {
                    not.insert((remote, step));
                }
            }
            left.retain(|step| !came.contains_key(step));
            brought(engine, journal, remote, came)?;
        }
    }
    remotes.hear(store, ears)?;
    transfer.missing = left.into_iter().map(|step| plan.steps[step].id.clone()).collect();
    transfer.remotes = remotes.tallies();
    transfer.lost = remotes.lost();
    Ok(transfer)
}
