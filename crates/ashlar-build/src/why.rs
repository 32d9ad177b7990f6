//! Why a module would be built, or last was: what differs from the nearest earlier key, down to
//! the root cause.

use std::collections::BTreeSet;

use ashlar_object::{Change, ChangeKind, Digest, StepKey, Tree, diff};
use ashlar_plan::{Changed, InputName, KeyInputs, Plan, StepIndex, Value, compare};
use ashlar_store::{Journal, RecordedOutcome, StepRecord, Store, StoreError, read, read_tree};

use crate::origin::Origins;

/// What would happen to a module now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its result is there.
    Hit,
    /// It would be built.
    Build,
}

/// One reason, and the reasons behind it.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The input that differs.
    pub changed: Changed,
    /// For a source tree: the files that differ, where the earlier tree is still known.
    pub files: Vec<Change>,
    /// For another step (a dependency, a base): what differs in its inputs.
    pub causes: Vec<Cause>,
}

/// Why a module would be, or last was, built.
#[derive(Clone, Debug)]
pub struct Why {
    /// What would happen now.
    pub state: State,
    /// Its step key now.
    pub key: StepKey,
    /// The earlier build that the causes compare with; `None` when there was none.
    pub earlier: Option<StepRecord>,
    /// The build that made the present result, when it is there.
    pub present: Option<StepRecord>,
    /// How often this very key failed before.
    pub failures: u32,
    /// Why the project does not take the result that is there, when that is why it would be built.
    pub refused: Option<String>,
    /// The reasons. Empty when nothing differs, or nothing is known of earlier.
    pub causes: Vec<Cause>,
}

/// Compares the key of a step with the nearest earlier one: of the last builds of this module the
/// one with the fewest inputs that differ, the latest of equals. `on_disk` gives source trees of
/// the project that may not be in the store.
///
/// # Errors
/// When the store or its journal cannot be read.
pub fn why(
    plan: &Plan,
    index: StepIndex,
    project: &str,
    store: &dyn Store,
    journal: &Journal,
    origins: &Origins<'_>,
    on_disk: &dyn Fn(&Digest) -> Option<Tree>,
) -> Result<Why, StoreError> {
    let id = &plan.steps[index].id;
    let history = journal.history(project, &id.module, &id.step, 50)?;
    let context = Context { plan, project, store, journal, on_disk };
    context.why(index, origins, &[history])
}

/// As [`why`], for an instruction of an image. What is written in it may be what changed: where
/// this text was never built in this stage, the nearest of all that were built in it counts.
/// `on_disk` gives parts of the build context.
///
/// # Errors
/// As [`why`].
pub fn why_instruction(
    plan: &Plan,
    index: StepIndex,
    project: &str,
    store: &dyn Store,
    journal: &Journal,
    origins: &Origins<'_>,
    on_disk: &dyn Fn(&Digest) -> Option<Tree>,
) -> Result<Why, StoreError> {
    let id = &plan.steps[index].id;
    let stage = id.step.split_once(": ").map_or(id.step.as_str(), |(stage, _)| stage);
    let same = journal.history(project, &id.module, &id.step, 50)?;
    let stage = journal.history_of(project, &id.module, &format!("{stage}: "), 200)?;
    let context = Context { plan, project, store, journal, on_disk };
    context.why(index, origins, &[same, stage])
}

struct Context<'a> {
    plan: &'a Plan,
    project: &'a str,
    store: &'a dyn Store,
    journal: &'a Journal,
    on_disk: &'a dyn Fn(&Digest) -> Option<Tree>,
}

impl Context<'_> {
    /// `groups` are the records that may be the nearest earlier build: the first group in which
    /// there is one decides, and those after it count only where the same kind of thing was done.
    fn why(
        &self,
        index: StepIndex,
        origins: &Origins<'_>,
        groups: &[Vec<StepRecord>],
    ) -> Result<Why, StoreError> {
        let Self { store, journal, .. } = *self;
        let step = &self.plan.steps[index];
        let found = origins.steps(store, &[step.key])?.pop().flatten();
        let good = |record: &&StepRecord| {
            use RecordedOutcome::{Built, Cutoff, Hit};
            matches!(record.outcome, Built | Cutoff | Hit)
        };
        let present = match groups.iter().flatten().find(|r| r.key == step.key && good(r)) {
            Some(record) => Some(record.clone()),
            None => journal.by_key(&step.key)?,
        };
        let mut earlier: Option<(usize, &StepRecord, KeyInputs)> = None;
        for (number, group) in groups.iter().enumerate() {
            for record in group.iter().filter(|r| r.key != step.key) {
                // A hit is explained by what was different from the build before it.
                let later = present
                    .as_ref()
                    .is_some_and(|present| found.is_some() && record.started >= present.started);
                if later {
                    continue;
                }
                let Some(inputs) = inputs_of(store, record)? else { continue };
                if number > 0 && kind(&inputs) != kind(&step.inputs) {
                    continue;
                }
                let mut distance = compare(&inputs, &step.inputs).len();
                if number > 0 && !same_base(&inputs, &step.inputs) {
                    // In another place, whatever else is alike.
                    distance += inputs.inputs().len() + step.inputs.inputs().len();
                }
                if earlier.as_ref().is_none_or(|(best, _, _)| distance < *best) {
                    earlier = Some((distance, record, inputs));
                }
            }
            if earlier.is_some() {
                break;
            }
        }
        let mut seen = BTreeSet::new();
        let causes = match &earlier {
            None => Vec::new(),
            Some((_, _, inputs)) => self.causes(inputs, &step.inputs, &mut seen)?,
        };
        Ok(Why {
            state: if found.is_some() { State::Hit } else { State::Build },
            key: step.key,
            earlier: earlier.map(|(_, record, _)| record.clone()),
            present,
            failures: journal.failures(&step.key)?,
            refused: origins.refusal(store, &step.key)?,
            causes,
        })
    }

    fn causes(
        &self,
        was: &KeyInputs,
        now: &KeyInputs,
        seen: &mut BTreeSet<(StepKey, StepKey)>,
    ) -> Result<Vec<Cause>, StoreError> {
        let mut causes = Vec::new();
        for changed in compare(was, now) {
            let mut files = Vec::new();
            let mut behind = Vec::new();
            match (&changed.was, &changed.now) {
                (Some(Value::Tree(was)), Some(Value::Tree(now))) => {
                    files = self.files(was, now)?;
                }
                (Some(Value::Step(was)), Some(Value::Step(now))) if seen.insert((*was, *now)) => {
                    let inputs = (self.inputs_of_key(was, &changed.input)?, self.inputs_now(now)?);
                    // Where one thing takes the place of another, there is nothing to compare.
                    if let (Some(was), Some(now)) = inputs
                        && kind(&was) == kind(&now)
                    {
                        behind = self.causes(&was, &now, seen)?;
                    }
                }
                _ => {}
            }
            causes.push(Cause { changed, files, causes: behind });
        }
        Ok(causes)
    }

    fn files(&self, was: &Digest, now: &Digest) -> Result<Vec<Change>, StoreError> {
        // The tree that is on disk now is in the store only when something was built from it.
        let now = match (self.on_disk)(now) {
            Some(tree) => Some(tree),
            None => read_tree(self.store, now)?,
        };
        match (read_tree(self.store, was)?, now) {
            (Some(was), Some(now)) => {
                let mut changes = diff(&was, &now);
                changes.retain(|c| c.kind != ChangeKind::Meta || !is_dir(c));
                Ok(changes)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn inputs_now(&self, key: &StepKey) -> Result<Option<KeyInputs>, StoreError> {
        if let Some(step) = self.plan.steps.iter().find(|step| step.key == *key) {
            return Ok(Some(step.inputs.clone()));
        }
        self.inputs_of_key(key, &InputName::Format)
    }

    fn inputs_of_key(
        &self,
        key: &StepKey,
        input: &InputName,
    ) -> Result<Option<KeyInputs>, StoreError> {
        if let Some(record) = self.journal.by_key(key)? {
            return inputs_of(self.store, &record);
        }
        // A dependency that failed under this key has a record, though no result.
        if let InputName::Dependency(module) = input {
            let history = self.journal.history(self.project, module, "build", 50)?;
            if let Some(record) = history.into_iter().find(|record| record.key == *key) {
                return inputs_of(self.store, &record);
            }
        }
        Ok(None)
    }
}

fn kind(inputs: &KeyInputs) -> Option<&Value> {
    let kind = inputs.inputs().iter().find(|input| input.name == InputName::Kind);
    kind.map(|input| &input.value)
}

/// Whether two steps have the same below them.
fn same_base(one: &KeyInputs, other: &KeyInputs) -> bool {
    let base = |inputs: &KeyInputs| -> Vec<Value> {
        let bases = inputs.inputs().iter().filter(|i| matches!(i.name, InputName::Base(_)));
        bases.map(|input| input.value.clone()).collect()
    };
    base(one) == base(other)
}

fn is_dir(change: &Change) -> bool {
    matches!(change.now, Some(ashlar_object::Node::Dir(_)))
}

fn inputs_of(store: &dyn Store, record: &StepRecord) -> Result<Option<KeyInputs>, StoreError> {
    let Some(digest) = record.inputs else { return Ok(None) };
    Ok(read(store, &digest)?.and_then(|bytes| KeyInputs::from_json(&bytes)))
}
