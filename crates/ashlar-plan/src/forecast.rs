//! How long what is to be built will take, and what should be begun first.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Plan, StepIndex};

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
    let mut known: Vec<Duration> = run.iter().filter_map(|s| recorded(*s)).collect();
    known.sort();
    let median = known.get(known.len() / 2).copied().unwrap_or_default();
    let of = |step: StepIndex| recorded(step).unwrap_or(median);
    let priority = priorities(plan, run, &of);
    let mut waits: std::collections::HashMap<StepIndex, usize> = run
        .iter()
        .map(|s| {
            let needs: BTreeSet<_> = plan.steps[*s].needs().filter(|n| run.contains(n)).collect();
            (*s, needs.len())
        })
        .collect();
    let mut dependents: std::collections::HashMap<StepIndex, Vec<StepIndex>> = Default::default();
    for step in run {
        let needs: BTreeSet<_> = plan.steps[*step].needs().filter(|n| run.contains(n)).collect();
        for need in needs {
            dependents.entry(need).or_default().push(*step);
        }
    }
    let mut ready: BTreeSet<(Duration, StepIndex)> =
        waits.iter().filter(|(_, n)| **n == 0).map(|(s, _)| (priority[*s], *s)).collect();
    let mut running: BTreeSet<(Duration, StepIndex)> = BTreeSet::new();
    let mut now = Duration::ZERO;
    loop {
        while running.len() < workers.max(1) {
            let Some((_, step)) = ready.pop_last() else { break };
            running.insert((now + of(step), step));
        }
        let Some((end, step)) = running.pop_first() else { break };
        now = end;
        for next in dependents.remove(&step).unwrap_or_default() {
            if let Some(count) = waits.get_mut(&next) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((priority[next], next));
                }
            }
        }
    }
    Forecast {
        elapsed: now,
        critical_path: priority.iter().max().copied().unwrap_or_default(),
        unknown: run.len() - known.len(),
    }
}
