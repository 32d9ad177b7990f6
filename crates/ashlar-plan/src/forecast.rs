//! How long what is to be built will take, and what should be begun first.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::{ImageWork, Plan, StepIndex};

/// What a build is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// From beginning to end with this many workers.
    pub elapsed: Duration,
    /// The longest chain of steps that wait for one another: no number of workers makes it less.
    pub critical_path: Duration,
    /// How many of the steps have never been timed; the median of the others stands for them.
    pub unknown: usize,
}

/// For each step to be run, by its place in the plan, the time from its beginning to the end of
/// the longest chain that waits for it. Steps that are not to be run have zero.
#[must_use]
pub fn priorities(
    plan: &Plan,
    run: &BTreeSet<StepIndex>,
    durations: &dyn Fn(StepIndex) -> Duration,
) -> Vec<Duration> {
    let mut after = vec![Duration::ZERO; plan.steps.len()];
    // Steps stand after what they need, so one pass from the end sees every dependent first.
    for step in run.iter().rev() {
        after[*step] += durations(*step);
        let total = after[*step];
        for need in plan.steps[*step].needs() {
            if run.contains(&need) {
                after[need] = after[need].max(total);
            }
        }
    }
    after
}

/// Simulates the dispatcher: the step with the longest chain behind it goes first.
#[must_use]
pub fn forecast(
    plan: &Plan,
    run: &BTreeSet<StepIndex>,
    recorded: &dyn Fn(StepIndex) -> Option<Duration>,
    workers: usize,
) -> Forecast {
    let (median, unknown) = median(run, recorded);
    let of = |step: StepIndex| recorded(step).unwrap_or(median);
    let priority = priorities(plan, run, &of);
    let ended = simulate(plan, run, &of, &priority, workers, &|_, _| true);
    Forecast {
        elapsed: ended.last().map(|(end, _)| *end).unwrap_or_default(),
        critical_path: priority.iter().max().copied().unwrap_or_default(),
        unknown,
    }
}

/// The steps that a run finishes that has so much time, in the order in which they end. As the
/// dispatcher does it, nothing is begun that took longer before than what is left, and what is at
/// work when the time is over does not finish.
#[must_use]
pub fn within(
    plan: &Plan,
    run: &BTreeSet<StepIndex>,
    recorded: &dyn Fn(StepIndex) -> Option<Duration>,
    workers: usize,
    budget: Duration,
) -> Vec<StepIndex> {
    let (median, _) = median(run, recorded);
    let of = |step: StepIndex| recorded(step).unwrap_or(median);
    let begins = |step: StepIndex, now: Duration| {
        let left = budget.saturating_sub(now);
        let goes_on = plan.steps[step].image().is_some_and(ImageWork::goes_on);
        !left.is_zero() && (goes_on || recorded(step).is_none_or(|took| took <= left))
    };
    let priority = priorities(plan, run, &of);
    let ended = simulate(plan, run, &of, &priority, workers, &begins);
    ended.into_iter().filter(|(end, _)| *end <= budget).map(|(_, step)| step).collect()
}

/// The median of what is known, which stands for what was never timed, and how many steps that are.
fn median(
    run: &BTreeSet<StepIndex>,
    recorded: &dyn Fn(StepIndex) -> Option<Duration>,
) -> (Duration, usize) {
    let mut known: Vec<Duration> = run.iter().filter_map(|s| recorded(*s)).collect();
    known.sort();
    (known.get(known.len() / 2).copied().unwrap_or_default(), run.len() - known.len())
}

/// When each step ends, in that order. `begins` says whether a step that could begin at a moment
/// does; one that does not is asked about again when another has ended.
fn simulate(
    plan: &Plan,
    run: &BTreeSet<StepIndex>,
    of: &dyn Fn(StepIndex) -> Duration,
    priority: &[Duration],
    workers: usize,
    begins: &dyn Fn(StepIndex, Duration) -> bool,
) -> Vec<(Duration, StepIndex)> {
    let mut waits: HashMap<StepIndex, usize> = HashMap::new();
    let mut dependents: HashMap<StepIndex, Vec<StepIndex>> = HashMap::new();
    for step in run {
        let needs: BTreeSet<_> = plan.steps[*step].needs().filter(|n| run.contains(n)).collect();
        waits.insert(*step, needs.len());
        for need in needs {
            dependents.entry(need).or_default().push(*step);
        }
    }
    let mut ready: BTreeSet<(Duration, StepIndex)> =
        waits.iter().filter(|(_, n)| **n == 0).map(|(s, _)| (priority[*s], *s)).collect();
    let mut running: BTreeSet<(Duration, StepIndex)> = BTreeSet::new();
    let mut now = Duration::ZERO;
    let mut ended = Vec::with_capacity(run.len());
    loop {
        while running.len() < workers.max(1) {
            let next = ready.iter().rev().find(|(_, step)| begins(*step, now)).copied();
            let Some(next) = next else { break };
            ready.remove(&next);
            running.insert((now + of(next.1), next.1));
        }
        let Some((end, step)) = running.pop_first() else { break };
        now = end;
        ended.push((end, step));
        for next in dependents.remove(&step).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&next) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((priority[next], next));
                }
            }
        }
    }
    ended
}
