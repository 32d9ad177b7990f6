//! Leaving results at remotes while the build goes on: a queue and a thread for each remote that
//! is written to. Nothing here fails or delays a step.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ashlar_object::{Digest, StepKey};
use ashlar_plan::StepIndex;
use ashlar_recipe::{ModuleName, Write};
use ashlar_store::{Found, Journal, Publication, RemoteError, Watch};

use crate::clean::unclean_steps;
use crate::engine::Engine;
use crate::event::{Event, Way};
use crate::failure::chain;
use crate::front::facts_below;
use crate::image::checkpoint::Left;
use crate::lookup::shared_steps;
use crate::remotes::Ears;

/// How many results are sent in one call when that many wait.
const AT_ONCE: usize = 256;

/// How many earlier results of a step a remote is told of, which may have one of them.
const EARLIER: usize = 4;

/// What takes no longer is not worth a word.
const MOMENT: Duration = Duration::from_millis(300);

/// For how long what waits is still sent after a run was told to stop. Whoever stops a program
/// kills it after ten seconds as a rule.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// A result that waits to be sent.
#[derive(Clone)]
pub(crate) struct Item {
    pub step: StepIndex,
    pub found: Found,
    /// The remote that it came from.
    pub from: Option<usize>,
    /// Where it is no result of the step, but what a command left that was stopped.
    pub left: Option<Left>,
}

impl Item {
    /// A result of a step.
    pub fn result(step: StepIndex, found: Found, from: Option<usize>) -> Self {
        Self { step, found, from, left: None }
    }

    /// What a stopped command left.
    pub fn left(step: StepIndex, left: Left) -> Self {
        Self { step, found: left.found.clone(), from: None, left: Some(left) }
    }
}

/// What waits for each remote.
pub(crate) struct Queues {
    all: Vec<Queue>,
    shared: Vec<bool>,
    /// Why steps are not clean; worked out when it is first asked for.
    unclean: OnceLock<Vec<Option<String>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Item>,
    /// How many are being sent.
    sending: usize,
    closed: bool,
}

impl Queues {
    pub fn new(engine: &Engine<'_>) -> Self {
        Self {
            all: (0..engine.remotes.count()).map(|_| Queue::default()).collect(),
            shared: if engine.remotes.is_empty() {
                Vec::new()
            } else {
                shared_steps(engine.project, engine.plan)
            },
            unclean: OnceLock::new(),
        }
    }

    /// For each step whether its result is shared at all; empty without remotes.
    pub fn shared(&self) -> &[bool] {
        &self.shared
    }

    /// Something was made here: for every remote.
    pub fn made(&self, engine: &Engine<'_>, item: &Item) {
        self.add(engine, self.all.len(), item);
    }

    /// Something came from a remote: for those before it.
    pub fn came(&self, engine: &Engine<'_>, item: &Item) {
        self.add(engine, item.from.unwrap_or_default(), item);
    }

    fn add(&self, engine: &Engine<'_>, before: usize, item: &Item) {
        if !self.shared.get(item.step).copied().unwrap_or_default() {
            return;
        }
        for (index, queue) in self.all.iter().enumerate().take(before) {
            if engine.remotes.shared(index).write != Write::No {
                queue.lock().waiting.push_back(item.clone());
                queue.change.notify_all();
            }
        }
    }

    /// Nothing more will come.
    pub fn close(&self) {
        for queue in &self.all {
            queue.lock().closed = true;
            queue.change.notify_all();
        }
    }

    /// Tells for which remotes something still waits, if it takes longer than a moment.
    pub fn tell(&self, engine: &Engine<'_>) {
        let until = Instant::now() + MOMENT;
        for (index, queue) in self.all.iter().enumerate() {
            let mut results = queue.left();
            while results > 0 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
                results = queue.left();
            }
            if results > 0 {
                (engine.tell)(Event::Pushing { remote: engine.remotes.name(index), results });
            }
        }
    }

    /// Sends what waits for one remote until the queue is closed and empty.
    pub fn send(&self, engine: &Engine<'_>, journal: &Journal, index: usize) {
        let queue = &self.all[index];
        let stop = Stop { engine, since: Mutex::new(None) };
        while let Some(batch) = queue.take() {
            let count = batch.len();
            let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.send_all(engine, journal, index, batch, &stop);
            }));
            if sent.is_err() {
                // What happened is on standard error; the build has nothing to do with it.
                engine.remotes.tally(index).failed += count;
            }
            queue.lock().sending = 0;
        }
    }

    fn send_all(
        &self,
        engine: &Engine<'_>,
        journal: &Journal,
        index: usize,
        mut batch: Vec<Item>,
        stop: &Stop<'_, '_>,
    ) {
        let remotes = &engine.remotes;
        if remotes.shared(index).write == Write::Clean {
            let unclean = self.unclean.get_or_init(|| {
                let Engine { project, folder, plan, digest, .. } = *engine;
                let again = || {
                    let modules: Vec<ModuleName> = plan.modules.keys().cloned().collect();
                    let bases: Vec<String> = engine.facts.bases.keys().cloned().collect();
                    let lock = engine.facts.lock.clone();
                    facts_below(project, folder, lock, &modules, &bases, digest)
                };
                unclean_steps(project, folder, engine.facts, plan, Some(&again))
            });
            let before = batch.len();
            batch.retain(|item| match &unclean[item.step] {
                None => true,
                Some(why) => {
                    let id = engine.plan.steps[item.step].id.clone();
                    let (remote, why) = (remotes.name(index), why.clone());
                    (engine.tell)(Event::Unclean { id, remote, why });
                    false
                }
            });
            remotes.tally(index).unclean += before - batch.len();
        }
        self.keep_back(engine, index, &mut batch);
        if batch.is_empty() {
            return;
        }
        if !remotes.is_writable(index) {
            remotes.tally(index).failed += batch.len();
            return;
        }
        let ears = engine.ears();
        let name: Arc<str> = remotes.name(index).into();
        let go_on = || stop.go_on();
        let publications: Vec<Publication> = batch
            .iter()
            .map_while(|item| go_on().then(|| publication(engine, journal, item, ears)))
            .collect();
        let moved = |moved| {
            let remote = Arc::clone(&name);
            (engine.tell)(Event::Moving { remote, way: Way::Push, moved });
        };
        let warn = |text: String| remotes.say(ears, format!("remote {name}: {text}"));
        let watch = Watch { go_on: &go_on, moved: &moved, warn: &warn };
        let sent = if publications.len() == batch.len() && go_on() {
            remotes.shared(index).remote.push(engine.store, &publications, &watch)
        } else {
            batch.iter().map(|_| Err(RemoteError::Stopped)).collect()
        };
        for result in sent {
            match result {
                Ok(moved) => {
                    let mut tally = remotes.tally(index);
                    tally.pushed += 1;
                    tally.pushed_bytes += moved;
                }
                Err(RemoteError::Stopped) => remotes.tally(index).unsent += 1,
                Err(error) => {
                    remotes.failed(index, Way::Push, &error, ears);
                    remotes.tally(index).failed += 1;
                }
            }
        }
    }
}

impl Queues {
    /// Where a signature says that somebody vouches for a result: not for what others said.
    fn keep_back(&self, engine: &Engine<'_>, index: usize, batch: &mut Vec<Item>) {
        let to = engine.remotes.shared(index);
        if !to.signs && to.keys.is_empty() {
            return;
        }
        let before = batch.len();
        batch.retain(|item| {
            let step = &engine.plan.steps[item.step];
            let why = match engine.origins.of(&step.key, &item.found) {
                Ok(trust) => trust.objection(to.keys),
                Err(error) => Some(format!("the journal cannot be read: {}", chain(&error))),
            };
            let Some(why) = why else { return true };
            let (id, remote) = (step.id.clone(), engine.remotes.name(index));
            (engine.tell)(Event::Untrusted { id, remote, why });
            false
        });
        engine.remotes.tally(index).untrusted += before - batch.len();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are still to be sent, or are being sent.
    fn left(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.sending
    }

    /// What waits, as soon as something does; `None` when nothing will any more.
    fn take(&self) -> Option<Vec<Item>> {
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(AT_ONCE);
                state.sending = count;
                return Some(state.waiting.drain(..count).collect());
            }
            if state.closed {
                return None;
            }
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether sending goes on: until the time for it is over, or the run was told to stop and some time
/// has passed.
struct Stop<'e, 'a> {
    engine: &'e Engine<'a>,
    since: Mutex<Option<Instant>>,
}

impl Stop<'_, '_> {
    fn go_on(&self) -> bool {
        if self.engine.send_until.is_some_and(|end| Instant::now() >= end) {
            return false;
        }
        if !self.engine.cancel.is_cancelled() {
            return true;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }
}

/// All that a remote is told of a result.
fn publication(engine: &Engine<'_>, journal: &Journal, item: &Item, ears: Ears<'_>) -> Publication {
    let step = &engine.plan.steps[item.step];
    let found = &item.found;
    let project = &engine.project.name;
    if let Some(left) = &item.left {
        // No key leads to it, and nothing is made from it but by the same command.
        return Publication {
            keys: Vec::new(),
            action: found.action,
            result: found.result.clone(),
            lineage: format!("{project}/{}/{}/checkpoint", step.id.module, step.id.step),
            earlier: left.began.into_iter().collect(),
            provenance: None,
        };
    }
    Publication {
        keys: vec![step.key],
        action: found.action,
        result: found.result.clone(),
        lineage: format!("{project}/{}/{}", step.id.module, step.id.step),
        earlier: earlier(engine, journal, item),
        provenance: provenance(engine, item, ears),
    }
}

/// The outputs of earlier results of the same step, the latest first.
fn earlier(engine: &Engine<'_>, journal: &Journal, item: &Item) -> Vec<Digest> {
    let id = &engine.plan.steps[item.step].id;
    let mut outputs = Vec::new();
    // It only saves bytes: a journal that cannot be read is no reason not to send the result. Nor
    // need all of an earlier one be here still, as long as it is there.
    let history = journal.history(&engine.project.name, &id.module, &id.step, 20);
    let keys: Vec<StepKey> = history.unwrap_or_default().iter().map(|record| record.key).collect();
    for found in engine.store.steps_unchecked(&keys).unwrap_or_default().into_iter().flatten() {
        let tree = found.result.outputs;
        if tree != item.found.result.outputs && !outputs.contains(&tree) {
            outputs.push(tree);
        }
    }
    outputs.truncate(EARLIER);
    outputs
}

/// What is said of a result that came from a remote is what that remote said of it, as long as it
/// is there to be asked; nothing is made up. Without provenance a result is still a result.
fn provenance(engine: &Engine<'_>, item: &Item, ears: Ears<'_>) -> Option<Vec<u8>> {
    let remotes = &engine.remotes;
    let from = match item.from {
        Some(from) => from,
        None => {
            let trust = engine.origins.of_action(&item.found.action, &item.found.result).ok()?;
            let Some(name) = trust.remote() else {
                return Some(crate::provenance::predicate(engine, item.step, &item.found));
            };
            (0..remotes.count()).find(|index| remotes.name(*index) == name)?
        }
    };
    if !remotes.is_readable(from) {
        return None;
    }
    let statement = match remotes.shared(from).remote.provenance(&item.found) {
        Ok(statement) => statement?,
        Err(error) => {
            remotes.failed(from, Way::Pull, &error, ears);
            return None;
        }
    };
    let statement: serde_json::Value = serde_json::from_slice(&statement).ok()?;
    // Where a remote cannot keep a statement about a digest, it keeps the predicate.
    let predicate = statement.get("predicate").unwrap_or(&statement);
    Some(predicate.to_string().into_bytes())
}
