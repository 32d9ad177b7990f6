//! The dispatcher: it owns all state and takes one event after another; each running step has a
//! thread of its own, which tells it once how the step ended.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use ashlar_object::StepKey;
use ashlar_plan::{ImageWork, Plan, StepId, StepIndex, Work, forecast, priorities};
use ashlar_recipe::Kind;
use ashlar_store::{Found, Journal, Store, StoreError};

use crate::ended::Ended;
use crate::engine::{Engine, Results, now};
use crate::event::{ErrorKind, Event, Failure, StepOutcome, StepReport, Summary};
use crate::image::alike;
use crate::lookup::{Bring, Lookup, is_fetch, look_far};
use crate::push::{Item, Queues};
use crate::record::{record, record_of, report};

/// How a build is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many jobs run at once, over all steps.
    pub jobs: usize,
    /// Whether to go on with what does not depend on a failed step.
    pub keep_going: bool,
    /// Whether the targets are built although they are found.
    pub rebuild: bool,
    /// Whether all that is found here is left at remotes too, and not only what is new.
    pub push_found: bool,
    /// What is left at remotes although it is found here: a run before this one made it.
    pub push_also: Vec<StepKey>,
}

/// How many sources are fetched at once. They wait for the network, so they are not jobs.
const FETCHES: usize = 4;

/// Builds the targets of the plan.
///
/// # Errors
/// When the store cannot be read at all. What goes wrong in a step is in the summary.
pub fn build(
    engine: &Engine<'_>,
    journal: &Journal,
    options: &Options,
) -> Result<Summary, StoreError> {
    let began = Instant::now();
    let plan = engine.plan;
    let again: HashSet<StepIndex> =
        if options.rebuild { plan.targets.iter().copied().collect() } else { HashSet::new() };
    let mut summary = Summary::default();
    let queues = Queues::new(engine);
    std::thread::scope(|scope| {
        let _closing = Closing(&queues);
        for index in (0..engine.remotes.count()).filter(|i| engine.remotes.is_writable(*i)) {
            let queues = &queues;
            scope.spawn(move || queues.send(engine, journal, index));
        }
        let ears = engine.ears();
        let (store, remotes) = (engine.store, &engine.remotes);
        let lookup = look_far(
            plan,
            store,
            &engine.origins,
            &again,
            remotes,
            queues.shared(),
            Bring::Here,
            ears,
        )?;
        remotes.hear(store, ears)?;
        hits(engine, journal, &lookup, Some(&queues), &mut summary)?;
        if options.push_found || !options.push_also.is_empty() {
            push_found(engine, options, &lookup, &queues)?;
        }
        let lost = !remotes.lost().is_empty();
        if lost {
            // What is missing may be where nobody answers: it is not built a second time.
            not_tried(engine, lookup.run.iter().copied(), &mut summary);
        } else if !lookup.run.is_empty() {
            run(engine, journal, options, lookup, &again, &queues, &mut summary)?;
        }
        remotes.hear(store, ears)?;
        queues.close();
        queues.tell(engine);
        Ok::<(), StoreError>(())
    })?;
    summary.cancelled = engine.cancel.is_cancelled();
    summary.took = began.elapsed();
    summary.remotes = engine.remotes.tallies();
    summary.lost = engine.remotes.lost();
    // The same command sends them when it is run again.
    let unsent = summary.remotes.iter().any(|tally| tally.unsent > 0);
    summary.out_of_time |= options.push_found && unsent && engine.is_over();
    Ok(summary)
}

/// Lets the threads that send end when nothing more can come, whatever happened.
struct Closing<'q>(&'q Queues);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Tells and writes down what was found.
fn hits(
    engine: &Engine<'_>,
    journal: &Journal,
    lookup: &Lookup,
    queues: Option<&Queues>,
    summary: &mut Summary,
) -> Result<(), StoreError> {
    let mut hits: Vec<_> = lookup.found.iter().collect();
    hits.sort_unstable_by_key(|(step, _)| **step);
    let (mut count, mut saved) = (0, Duration::ZERO);
    let mut records = Vec::new();
    for (step, found) in hits {
        let from = lookup.far.get(step).copied();
        let started = found.result.started;
        let ended = Ended { from, ..Ended::found(StepOutcome::Hit, found.clone(), started) };
        if from.is_some() {
            records.extend(record_of(engine, *step, &ended)?);
            if let Some(queues) = queues {
                queues.came(engine, &Item::result(*step, found.clone(), from));
            }
        } else {
            count += 1;
            saved += found.result.took;
        }
        let report = report(engine, *step, &ended);
        summary.count(&report);
        (engine.tell)(Event::Ended(Box::new(report)));
    }
    match journal.record_all(&records).and_then(|()| journal.note_hits(count, saved)) {
        // A figure for people is no reason not to use what is there.
        Ok(()) | Err(StoreError::Full { .. } | StoreError::ReadOnly { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Leaves at remotes what is in the store already: an earlier run may have failed to. What came
/// just now is on its way as it is.
fn push_found(
    engine: &Engine<'_>,
    options: &Options,
    lookup: &Lookup,
    queues: &Queues,
) -> Result<(), StoreError> {
    let all = &engine.plan.steps;
    let here = |step: &StepIndex| {
        (options.push_found || options.push_also.contains(&all[*step].key))
            && queues.shared().get(*step).copied().unwrap_or_default()
            && !lookup.far.contains_key(step)
            && !lookup.run.contains(step)
    };
    let steps: Vec<StepIndex> = (0..all.len()).filter(here).collect();
    let keys: Vec<StepKey> = steps.iter().map(|step| all[*step].key).collect();
    let found = engine.origins.steps(engine.store, &keys)?;
    for (step, found) in steps.into_iter().zip(found) {
        if let Some(found) = found {
            queues.made(engine, &Item::result(step, found, None));
        }
    }
    Ok(())
}

/// Tells and writes down what was brought from a remote.
pub(crate) fn brought(
    engine: &Engine<'_>,
    journal: &Journal,
    remote: usize,
    came: HashMap<StepIndex, Found>,
) -> Result<(), StoreError> {
    let far = came.keys().map(|step| (*step, remote)).collect();
    let lookup = Lookup { found: came, far, run: BTreeSet::new() };
    hits(engine, journal, &lookup, None, &mut Summary::default())
}

/// Tells what is not tried.
fn not_tried(
    engine: &Engine<'_>,
    steps: impl IntoIterator<Item = StepIndex>,
    summary: &mut Summary,
) {
    for step in steps {
        let mut report = report(engine, step, &Ended::not_tried());
        // A module whose own source or packages failed has failed itself; its reason was told.
        let id = &report.id.module;
        let is_module = engine.plan.steps[step].is_build();
        if is_module && summary.failures.iter().any(|failed| failed.id.module == *id) {
            report.outcome = StepOutcome::Failed;
        }
        summary.count(&report);
        (engine.tell)(Event::Ended(Box::new(report)));
    }
}

/// Tells that all targets are found, when they are; `None` when one is not.
///
/// # Errors
/// When the store cannot be read.
pub fn found(
    store: &dyn Store,
    journal: &Journal,
    targets: Vec<(String, StepKey)>,
    tell: &dyn Fn(Event),
) -> Result<Option<Summary>, StoreError> {
    let began = Instant::now();
    let keys: Vec<StepKey> = targets.iter().map(|(_, key)| *key).collect();
    let Some(found) = store.steps(&keys)?.into_iter().collect::<Option<Vec<Found>>>() else {
        return Ok(None);
    };
    let mut summary = Summary::default();
    let mut saved = Duration::ZERO;
    for ((module, key), found) in targets.into_iter().zip(found) {
        saved += found.result.took;
        let report = StepReport {
            id: StepId { module, step: "build".to_owned() },
            is_module: true,
            outcome: StepOutcome::Hit,
            from: Some("local".to_owned()),
            took: Duration::ZERO,
            key,
            action: Some(found.action),
            log: Some(found.result.log),
            failure: None,
        };
        summary.count(&report);
        tell(Event::Ended(Box::new(report)));
    }
    journal.note_hits(summary.hit as u64, saved)?;
    summary.took = began.elapsed();
    Ok(Some(summary))
}

fn run(
    engine: &Engine<'_>,
    journal: &Journal,
    options: &Options,
    lookup: Lookup,
    again: &HashSet<StepIndex>,
    queues: &Queues,
    summary: &mut Summary,
) -> Result<(), StoreError> {
    let plan = engine.plan;
    let names: Vec<(&str, &str)> = lookup
        .run
        .iter()
        .map(|step| (plan.steps[*step].id.module.as_str(), plan.steps[*step].id.step.as_str()))
        .collect();
    let durations = journal.durations(&names)?;
    let timed = |step: StepIndex| {
        let id = &plan.steps[step].id;
        durations.get(&(id.module.clone(), id.step.clone())).copied()
    };
    let guessed = match engine.image {
        Some(_) => {
            let never: Vec<StepIndex> =
                lookup.run.iter().filter(|step| timed(**step).is_none()).copied().collect();
            alike(plan, &never, &engine.project.name, journal)?
        }
        None => HashMap::new(),
    };
    let recorded = |step: StepIndex| {
        timed(step).or_else(|| guessed.get(&step).map(|alike| alike.timing.median))
    };
    (engine.tell)(Event::Planned {
        steps: lookup.run.len(),
        modules: lookup.run.iter().filter(|s| plan.is_target(**s)).count(),
        forecast: forecast(plan, &lookup.run, &recorded, options.jobs),
    });
    // A step that was never timed counts as a second, so that chains of unknown steps still
    // go before single ones.
    let guess = |step| recorded(step).unwrap_or(Duration::from_secs(1));
    let priority = priorities(plan, &lookup.run, &guess);
    // An edited instruction waits for a run that has time for it; but one that never would have is
    // begun: what made it take that long may be what was edited.
    let whole = engine.deadline.map(|end| end.saturating_duration_since(Instant::now()));
    let expected = |step: StepIndex| {
        let within = |took: &Duration| whole.is_none_or(|whole| *took <= whole);
        recorded(step).filter(|took| !guessed.contains_key(&step) || within(took))
    };
    let expected = (0..plan.steps.len()).map(expected).collect();
    let steps = lookup.run.clone();
    let mut dispatcher = Dispatcher::new(plan, lookup, priority, expected);
    let fetching = Arc::clone(&dispatcher.is_fetching);
    fetching.store(steps.iter().any(|step| is_fetch(plan, *step)), Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let go_on = || fetching.load(Ordering::Relaxed) && !engine.is_stopping();
            engine.keep_ahead(&steps, &go_on);
        });
        let (sender, receiver) = channel();
        let done = dispatcher
            .go(scope, engine, journal, options, again, queues, summary, &sender, &receiver);
        fetching.store(false, Ordering::Relaxed);
        done
    })
}

struct Dispatcher<'p> {
    plan: &'p Plan,
    results: Results,
    /// How many steps each waiting one still waits for.
    waits: HashMap<StepIndex, usize>,
    dependents: HashMap<StepIndex, Vec<StepIndex>>,
    ready: BTreeSet<(Duration, StepIndex)>,
    priority: Vec<Duration>,
    /// How long each step took before.
    expected: Vec<Option<Duration>>,
    running: usize,
    fetching: usize,
    /// The same, for others.
    is_fetching: Arc<AtomicBool>,
    stopped: bool,
}

impl<'p> Dispatcher<'p> {
    fn new(
        plan: &'p Plan,
        lookup: Lookup,
        priority: Vec<Duration>,
        expected: Vec<Option<Duration>>,
    ) -> Self {
        let mut waits = HashMap::new();
        let mut dependents: HashMap<StepIndex, Vec<StepIndex>> = HashMap::new();
        let mut ready = BTreeSet::new();
        for step in &lookup.run {
            let mut needs: BTreeSet<StepIndex> = plan.steps[*step].needs().collect();
            // A dependency that was found may still mount one that was not.
            if needs.iter().any(|need| lookup.found.contains_key(need)) {
                needs.extend(plan.mounts(*step));
            }
            needs.retain(|need| lookup.run.contains(need));
            if needs.is_empty() {
                ready.insert((priority[*step], *step));
            } else {
                waits.insert(*step, needs.len());
            }
            for need in needs {
                dependents.entry(need).or_default().push(*step);
            }
        }
        Self {
            plan,
            results: lookup.found,
            waits,
            dependents,
            ready,
            priority,
            expected,
            running: 0,
            fetching: 0,
            is_fetching: Arc::default(),
            stopped: false,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one loop, and nothing that could be grouped")]
    fn go<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        engine: &'env Engine<'_>,
        journal: &Journal,
        options: &Options,
        again: &HashSet<StepIndex>,
        queues: &'env Queues,
        summary: &mut Summary,
        sender: &Sender<(StepIndex, Ended)>,
        receiver: &Receiver<(StepIndex, Ended)>,
    ) -> Result<(), StoreError> {
        loop {
            self.stopped |= engine.cancel.is_cancelled();
            while let Some(step) = self.next(options.jobs, engine.deadline) {
                self.start(scope, engine, queues, step, again.contains(&step), sender);
            }
            self.is_fetching.store(self.fetching > 0, Ordering::Relaxed);
            if self.running + self.fetching == 0 {
                break;
            }
            // A signal sets the flag without sending anything, so waiting has an end.
            let (step, ended) = match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.ended(engine, journal, options, queues, summary, step, ended)?;
        }
        // What was never begun: its dependencies failed, or the build stopped.
        let mut left: Vec<StepIndex> = self.waits.keys().copied().collect();
        left.extend(self.ready.iter().map(|(_, step)| *step));
        left.sort_unstable();
        let untouched = summary.failures.is_empty() && !engine.cancel.is_cancelled();
        summary.out_of_time |= engine.deadline.is_some() && untouched && !left.is_empty();
        not_tried(engine, left, summary);
        Ok(())
    }

    /// Whether a step is worth beginning with so much time left: what was never timed is, and what
    /// goes on where it was stopped.
    fn fits(&self, step: StepIndex, left: Duration) -> bool {
        let goes_on = self.plan.steps[step].image().is_some_and(ImageWork::goes_on);
        !left.is_zero() && (goes_on || self.expected[step].is_none_or(|took| took <= left))
    }

    /// The next step to begin, if one may begin now.
    fn next(&mut self, jobs: usize, deadline: Option<Instant>) -> Option<StepIndex> {
        if self.stopped {
            return None;
        }
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let pick = self.ready.iter().rev().copied().find(|(_, step)| {
            let free = match is_fetch(self.plan, *step) {
                true => self.fetching < FETCHES,
                false => self.running < jobs,
            };
            free && left.is_none_or(|left| self.fits(*step, left))
        })?;
        self.ready.remove(&pick);
        Some(pick.1)
    }

    fn start<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        engine: &'env Engine<'_>,
        queues: &Queues,
        step: StepIndex,
        again: bool,
        sender: &Sender<(StepIndex, Ended)>,
    ) {
        let fetch = is_fetch(self.plan, step);
        if fetch {
            self.fetching += 1;
        } else {
            if self.running == 0 {
                // Killed steps may have taken tokens with them.
                engine.jobs.reset_if_idle();
            }
            self.running += 1;
        }
        let mut needed: Results = HashMap::new();
        let needs = self.plan.steps[step].needs().chain(self.plan.mounts(step));
        for need in needs {
            if let Some(found) = self.results.get(&need) {
                needed.insert(need, found.clone());
            }
        }
        let sender = sender.clone();
        let shared = queues.shared().get(step).copied().unwrap_or_default();
        scope.spawn(move || {
            let id = &engine.plan.steps[step].id;
            let run = || {
                if fetch {
                    (engine.tell)(Event::Started { id: id.clone() });
                    return engine.run(step, &needed, again, None, shared);
                }
                // What does not share jobs while it runs is given what is free when it begins.
                let alone = holds_jobs(engine.plan, step);
                let wanted = if alone { engine.jobs.total() } else { 1 };
                let Some(tokens) = engine.jobs.acquire_many(wanted, engine.cancel) else {
                    return Ended::not_tried();
                };
                (engine.tell)(Event::Started { id: id.clone() });
                engine.run(step, &needed, again, alone.then(|| tokens.count()), shared)
            };
            // Without its message the dispatcher would wait for this step for ever.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
                .unwrap_or_else(|_| Ended::panicked());
            // The dispatcher is gone only when it failed itself; then nobody wants to know.
            let _ = sender.send((step, ended));
        });
    }

    #[expect(clippy::too_many_arguments, reason = "one loop, and nothing that could be grouped")]
    fn ended(
        &mut self,
        engine: &Engine<'_>,
        journal: &Journal,
        options: &Options,
        queues: &Queues,
        summary: &mut Summary,
        step: StepIndex,
        ended: Ended,
    ) -> Result<(), StoreError> {
        if is_fetch(self.plan, step) {
            self.fetching -= 1;
        } else {
            self.running -= 1;
        }
        record(engine, journal, step, &ended)?;
        let report = report(engine, step, &ended);
        summary.out_of_time |= report.outcome == StepOutcome::Skipped
            && engine.is_over()
            && !engine.cancel.is_cancelled();
        summary.count(&report);
        (engine.tell)(Event::Ended(Box::new(report)));
        for left in ended.checkpoints {
            queues.made(engine, &Item::left(step, left));
        }
        match ended.found {
            Some(found) => {
                let new = matches!(ended.outcome, StepOutcome::Built | StepOutcome::Cutoff);
                if new || options.push_found {
                    queues.made(engine, &Item::result(step, found.clone(), ended.from));
                }
                self.results.insert(step, found);
                for dependent in self.dependents.remove(&step).unwrap_or_default() {
                    if let Some(count) = self.waits.get_mut(&dependent) {
                        *count -= 1;
                        if *count == 0 {
                            self.waits.remove(&dependent);
                            self.ready.insert((self.priority[dependent], dependent));
                        }
                    }
                }
            }
            None => self.stopped |= !options.keep_going,
        }
        Ok(())
    }
}

/// Whether a step runs several jobs at once without speaking the jobserver's protocol: ninja does
/// not, and debhelper takes it away from what it calls.
fn holds_jobs(plan: &Plan, step: StepIndex) -> bool {
    match &plan.steps[step].work {
        Work::Build(module) => matches!(module.build.kind, Kind::Meson | Kind::Deb),
        _ => false,
    }
}

impl Ended {
    /// The step's thread is gone; what it said is on standard error.
    fn panicked() -> Self {
        let failure = Failure::Error {
            message: "Ashlar itself failed; this is a mistake in it".to_owned(),
            advice: None,
            kind: ErrorKind::Store,
        };
        Self { outcome: StepOutcome::Failed, failure: Some(failure), ..Self::not_tried() }
    }

    fn not_tried() -> Self {
        Self::skipped(now())
    }
}
