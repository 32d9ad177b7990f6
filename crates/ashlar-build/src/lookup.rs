//! From the targets down: what is found and what must be done.

use std::collections::{BTreeSet, HashMap, HashSet};

use ashlar_plan::{Plan, StepIndex};
use ashlar_store::{Found, Store, StoreError};

/// What looking up showed.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The steps whose result is there.
    pub found: HashMap<StepIndex, Found>,
    /// The steps that must be run.
    pub run: BTreeSet<StepIndex>,
}

/// Looks up the targets, then what the missing ones need, and so on. A hit prunes: nothing that
/// only led to it is looked at, unless something that is missing needs it for itself. Steps in
/// `again` count as missing.
///
/// # Errors
/// When the store cannot be read.
pub fn look_up(
    plan: &Plan,
    store: &dyn Store,
    again: &HashSet<StepIndex>,
) -> Result<Lookup, StoreError> {
    let mut lookup = Lookup::default();
    let mut seen: HashSet<StepIndex> = plan.targets.iter().copied().collect();
    // With each step whether a missing one mounts it: then what it depends on is mounted beside
    // it, found or not.
    let mut mounted: HashSet<StepIndex> = HashSet::new();
    let mut level: Vec<StepIndex> = plan.targets.clone();
    while !level.is_empty() {
        let asked: Vec<StepIndex> =
            level.iter().copied().filter(|step| !again.contains(step)).collect();
        let keys: Vec<_> = asked.iter().map(|step| plan.steps[*step].key).collect();
        let found = store.steps(&keys)?;
        lookup.found.extend(asked.into_iter().zip(found).filter_map(|(s, f)| Some((s, f?))));
        let mut next = Vec::new();
        let mut mount = Vec::new();
        for step in level {
            if !lookup.found.contains_key(&step) {
                lookup.run.insert(step);
                next.extend(plan.steps[step].needs().filter(|need| seen.insert(*need)));
                mount.extend(plan.steps[step].depends.iter().copied());
            }
        }
        while let Some(step) = mount.pop() {
            if mounted.insert(step) {
                next.extend(seen.insert(step).then_some(step));
                mount.extend(plan.steps[step].depends.iter().copied());
            }
        }
        level = next;
    }
    Ok(lookup)
}
