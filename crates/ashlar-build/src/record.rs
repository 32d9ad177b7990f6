//! What is told and written down of how a step ended.

use ashlar_plan::StepIndex;
use ashlar_store::{Found, Journal, RecordedOutcome, StepRecord, StoreError, put};

use crate::ended::Ended;
use crate::engine::Engine;
use crate::event::{ErrorKind, Failure, StepOutcome, StepReport};

/// What is told of how a step ended.
pub(crate) fn report(engine: &Engine<'_>, index: StepIndex, ended: &Ended) -> StepReport {
    let step = &engine.plan.steps[index];
    let hit = matches!(ended.outcome, StepOutcome::Hit | StepOutcome::Cutoff);
    StepReport {
        id: step.id.clone(),
        is_module: engine.plan.is_target(index),
        outcome: ended.outcome,
        from: hit.then(|| origin(engine, ended)),
        took: ended.took,
        key: ended.known_as.as_ref().map_or(step.key, |known| known.0),
        action: ended.action,
        log: ended.log,
        failure: ended.failure.clone(),
    }
}

/// Where a hit came from.
fn origin(engine: &Engine<'_>, ended: &Ended) -> String {
    ended.from.map_or_else(|| "local".to_owned(), |index| engine.remotes.name(index))
}

/// Writes down what happened, with the inputs of the key, so that `why` can compare later.
pub(crate) fn record(
    engine: &Engine<'_>,
    journal: &Journal,
    index: StepIndex,
    ended: &Ended,
) -> Result<(), StoreError> {
    let Some(record) = record_of(engine, index, ended)? else { return Ok(()) };
    match journal.record(&record) {
        Err(StoreError::Full { .. } | StoreError::ReadOnly { .. }) => Ok(()),
        other => other,
    }
}

/// What is written down of a step, if anything is.
pub(crate) fn record_of(
    engine: &Engine<'_>,
    index: StepIndex,
    ended: &Ended,
) -> Result<Option<StepRecord>, StoreError> {
    let step = &engine.plan.steps[index];
    let outcome = match (&ended.outcome, &ended.failure) {
        (StepOutcome::Hit, _) if ended.from.is_some() => RecordedOutcome::Hit,
        (StepOutcome::Built, _) => RecordedOutcome::Built,
        (StepOutcome::Cutoff, _) => RecordedOutcome::Cutoff,
        (StepOutcome::Failed, Some(Failure::TimedOut(_))) => RecordedOutcome::TimedOut,
        // A full disk or a missing program says nothing about the inputs of the step.
        (
            StepOutcome::Failed,
            Some(Failure::Error {
                kind: ErrorKind::Store | ErrorKind::Machine | ErrorKind::Remote,
                ..
            }),
        ) => return Ok(None),
        (StepOutcome::Failed, _) => RecordedOutcome::Failed,
        (StepOutcome::Hit | StepOutcome::Skipped, _) => return Ok(None),
    };
    let known = ended.known_as.as_deref();
    let (key, inputs) = known.map_or((step.key, &step.inputs), |(key, inputs)| (*key, inputs));
    let inputs = match put(engine.store, &inputs.to_json()) {
        Ok(digest) => Some(digest),
        // A full or read-only store must not hide how the step ended.
        Err(StoreError::Full { .. } | StoreError::ReadOnly { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Some(StepRecord {
        project: engine.project.name.clone(),
        module: step.id.module.clone(),
        step: step.id.step.clone(),
        key,
        action: ended.action,
        outcome,
        from: matches!(outcome, RecordedOutcome::Hit | RecordedOutcome::Cutoff)
            .then(|| origin(engine, ended)),
        started: ended.started,
        took: ended.found.as_ref().map_or(ended.took, |f: &Found| f.result.took),
        log: ended.log,
        inputs,
        message: ended.failure.as_ref().map(ToString::to_string),
    }))
}
