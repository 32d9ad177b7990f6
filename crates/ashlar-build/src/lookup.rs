//! From the targets down: what is found and what must be done.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ashlar_object::StepKey;
use ashlar_plan::{Plan, StepIndex};
use ashlar_store::{Found, Store, StoreError};

use crate::event::Event;
use crate::origin::Origins;
use crate::remotes::{Ears, Far, Remotes};

/// What looking up showed.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The steps whose result is there.
    pub found: HashMap<StepIndex, Found>,
    /// Those of them that are at a remote, or came from one just now, with its place among them.
    pub far: HashMap<StepIndex, usize>,
    /// The steps that must be run.
    pub run: BTreeSet<StepIndex>,
}

/// Looks up the targets, then what the missing ones need, and so on. A hit prunes: nothing that
/// only led to it is looked at, unless something that is missing needs it for itself. Steps in
/// `again` count as missing, and so does what the project does not take.
///
/// # Errors
/// When the store cannot be read.
pub fn look_up(
    plan: &Plan,
    store: &dyn Store,
    origins: &Origins<'_>,
    again: &HashSet<StepIndex>,
) -> Result<Lookup, StoreError> {
    walk(plan, again, &mut |steps| {
        let keys: Vec<_> = steps.iter().map(|step| plan.steps[*step].key).collect();
        origins.steps(store, &keys)
    })
}

/// What is done with a result that a remote says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// Nothing: it counts as found.
    Nothing,
    /// It is brought here. One that turns out not to be all there is missing, and what it needs is
    /// looked up in its turn.
    Here,
}

/// As [`look_up`], in the store first and then at each remote: one question for each level of
/// the graph and remote. Only steps that `shared` marks are asked for.
///
/// # Errors
/// When the store cannot be read or written. A remote that fails has nothing.
#[expect(clippy::too_many_arguments, reason = "all that a look at far places takes")]
pub fn look_far(
    plan: &Plan,
    store: &dyn Store,
    origins: &Origins<'_>,
    again: &HashSet<StepIndex>,
    remotes: &Remotes<'_>,
    shared: &[bool],
    bring: Bring,
    ears: Ears<'_>,
) -> Result<Lookup, StoreError> {
    if !remotes.any_readable() {
        return look_up(plan, store, origins, again);
    }
    let mut here: HashMap<StepIndex, Option<Found>> = HashMap::new();
    let mut brought: HashMap<StepIndex, usize> = HashMap::new();
    let mut said: HashMap<StepIndex, Option<Far>> = HashMap::new();
    let mut not: HashSet<(usize, StepIndex)> = HashSet::new();
    loop {
        let mut lookup = walk(plan, again, &mut |steps| {
            let keys = |steps: &[StepIndex]| -> Vec<(StepIndex, StepKey)> {
                steps.iter().map(|step| (*step, plan.steps[*step].key)).collect()
            };
            let new: Vec<_> = steps.iter().copied().filter(|s| !here.contains_key(s)).collect();
            let asked: Vec<StepKey> = keys(&new).into_iter().map(|(_, key)| key).collect();
            here.extend(new.into_iter().zip(origins.steps(store, &asked)?));
            let far: Vec<_> = steps
                .iter()
                .copied()
                .filter(|s| shared[*s] && here[s].is_none() && !said.contains_key(s))
                .collect();
            let mut answers = remotes.steps(&keys(&far), &not, ears)?;
            said.extend(far.into_iter().map(|step| (step, answers.remove(&step))));
            let found =
                |step: &StepIndex| here[step].clone().or_else(|| Some(said.get(step)?.clone()?.1));
            Ok(steps.iter().map(found).collect())
        })?;
        // In the order of their places: a fixed one, with what others need first.
        let mut wanted: BTreeMap<usize, BTreeSet<StepIndex>> = BTreeMap::new();
        for step in lookup.found.keys().filter(|step| here[*step].is_none()) {
            if let Some(Some((remote, _))) = said.get(step) {
                wanted.entry(*remote).or_default().insert(*step);
            }
        }
        if wanted.is_empty() || bring == Bring::Nothing {
            lookup.far = brought;
            lookup.far.extend(
                wanted.into_iter().flat_map(|(at, steps)| steps.into_iter().map(move |s| (s, at))),
            );
            let denied: BTreeSet<StepIndex> = not.iter().map(|(_, step)| *step).collect();
            if let Some(step) = denied.intersection(&lookup.run).next()
                && !ears.stopped()
            {
                remotes.broken(&plan.steps[*step].id.to_string());
            }
            return Ok(lookup);
        }
        for (remote, steps) in wanted {
            let steps: Vec<StepIndex> = steps.into_iter().collect();
            let found: Vec<_> =
                steps.iter().map(|s| (Some(plan.steps[*s].key), lookup.found[s].clone())).collect();
            (ears.tell)(Event::Pulling { remote: remotes.name(remote), results: found.len() });
            let kept = remotes.pull(remote, &found, store, origins, ears)?;
            for ((step, (_, found)), kept) in steps.into_iter().zip(found).zip(kept) {
                if kept {
                    here.insert(step, Some(found));
                    brought.insert(step, remote);
                } else {
                    not.insert((remote, step));
                    said.remove(&step);
                }
            }
        }
    }
}

/// Gives the result of each step, where there is one.
type Find<'f> = dyn FnMut(&[StepIndex]) -> Result<Vec<Option<Found>>, StoreError> + 'f;

fn walk(
    plan: &Plan,
    again: &HashSet<StepIndex>,
    find: &mut Find<'_>,
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
        let found = find(&asked)?;
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

/// Whether a step gets what is elsewhere: it waits for a network and takes no processor.
#[must_use]
pub(crate) fn is_fetch(plan: &Plan, step: StepIndex) -> bool {
    use ashlar_plan::{ImageWork, Work};
    match &plan.steps[step].work {
        Work::Source { .. } | Work::Unpack(_) => true,
        Work::Image(work) => matches!(**work, ImageWork::Layer { .. } | ImageWork::Downloads(_)),
        Work::Base(_) | Work::Tools { .. } | Work::Packages { .. } | Work::Build(_) => false,
    }
}

/// For each step whether its result is shared: not one that sees the machine's own files, or was
/// made from one that does, because nobody knows all of what is in those; and no source, which
/// comes from where it comes from.
#[must_use]
pub fn shared_steps(project: &ashlar_recipe::Project, plan: &Plan) -> Vec<bool> {
    use ashlar_plan::Work;
    use ashlar_recipe::Base;
    let mut host: Vec<bool> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let base = match &step.work {
            Work::Build(module) => module.base.as_ref(),
            Work::Tools { base, .. } | Work::Packages { base, .. } => Some(base),
            Work::Base(_) | Work::Unpack(_) | Work::Source { .. } | Work::Image(_) => None,
        };
        let on_host = base.is_some_and(|base| matches!(project.bases.get(base), Some(Base::Host)));
        // Steps stand after those they need.
        host.push(on_host || step.needs().any(|need| host[need]));
    }
    // Contents of downloads come from a remote rather than from where they were; a command that is
    // still to be recorded has no key of its own.
    let source = |step: StepIndex| match plan.steps[step].image() {
        Some(ashlar_plan::ImageWork::Downloads(_)) => false,
        Some(work) if work.to_record().is_some() => true,
        _ => is_fetch(plan, step),
    };
    host.into_iter().enumerate().map(|(step, host)| !host && !source(step)).collect()
}
