//! How a step ended.

use std::time::Duration;

use ashlar_object::{Digest, StepKey, Time};
use ashlar_plan::KeyInputs;
use ashlar_store::Found;

use crate::event::{Failure, StepOutcome};
use crate::image::checkpoint::Left;

/// How a step ended, before it is told to anyone.
#[derive(Debug)]
pub(crate) struct Ended {
    pub outcome: StepOutcome,
    pub found: Option<Found>,
    pub action: Option<Digest>,
    pub log: Option<Digest>,
    pub failure: Option<Failure>,
    pub took: Duration,
    pub started: Time,
    /// The remote that a result came from.
    pub from: Option<usize>,
    /// What a command that was stopped left to go on with.
    pub checkpoints: Vec<Left>,
    /// What it is known as from now on, where that was not known before it ran.
    pub known_as: Option<Box<(StepKey, KeyInputs)>>,
}

impl Ended {
    /// The command, or what it left, is not what it should be.
    pub(crate) fn failed(
        action: Digest,
        log: Digest,
        failure: Failure,
        took: Duration,
        started: Time,
    ) -> Self {
        let (action, log, failure) = (Some(action), Some(log), Some(failure));
        let outcome = StepOutcome::Failed;
        Self { outcome, action, log, failure, took, ..Self::skipped(started) }
    }

    pub(crate) fn skipped(started: Time) -> Self {
        Self {
            outcome: StepOutcome::Skipped,
            found: None,
            action: None,
            log: None,
            failure: None,
            took: Duration::ZERO,
            started,
            from: None,
            checkpoints: Vec::new(),
            known_as: None,
        }
    }

    pub(crate) fn found(outcome: StepOutcome, found: Found, started: Time) -> Self {
        let (action, log) = (Some(found.action), Some(found.result.log));
        Self { outcome, action, log, found: Some(found), ..Self::skipped(started) }
    }
}
