//! Building again to see whether the same comes out; the request of a step, for a shell in it.

use ashlar_execute::{Outcome, Request};
use ashlar_object::{Change, Digest, diff};
use ashlar_plan::StepIndex;
use ashlar_store::{Found, StoreError};

use crate::engine::{Engine, Results};
use crate::event::Failure;

/// A file that came out differently.
pub type Difference = Change;

/// What building again showed.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// The digest of what is kept.
    pub kept: Digest,
    /// The digest of what came out now.
    pub now: Digest,
    /// The files that differ; empty when the module is reproducible.
    pub differences: Vec<Difference>,
    /// The log of the build that was just made.
    pub log: Digest,
}

/// Builds a step again in a fresh sandbox and compares the bytes with what is kept. What comes
/// out does not replace it.
///
/// # Errors
/// When something the step needs is not there, or it fails now.
pub fn reproduce(
    engine: &Engine<'_>,
    index: StepIndex,
    kept: &Found,
    results: &Results,
) -> Result<Reproduction, Failure> {
    let Some(request) = request(engine, index, results)? else {
        return Err(Failure::project("this module runs no command".to_owned()));
    };
    let finished = engine.executor.run(&request, engine.jobs, engine.cancel)?;
    let made = match finished.outcome {
        Outcome::Succeeded(made) => made,
        Outcome::Failed(code) => return Err(Failure::Exit(code)),
        Outcome::TimedOut(after) => return Err(Failure::TimedOut(after)),
        Outcome::Unkeepable(what) => return Err(Failure::Unkeepable(what)),
        Outcome::Leak(leak) => return Err(crate::image::leaked(&leak)),
        Outcome::Cancelled => return Err(Failure::Exit(130)),
    };
    let before = engine.trees.read(engine.store, kept.result.outputs)?;
    Ok(Reproduction {
        kept: before.digest,
        now: made.digest,
        differences: diff(&before.tree, &made.tree),
        log: finished.log,
    })
}

/// What the executor is asked for a step, with everything it needs in the store; `None` for
/// steps that run no command.
///
/// # Errors
/// When something the step needs is not there.
pub fn request(
    engine: &Engine<'_>,
    index: StepIndex,
    results: &Results,
) -> Result<Option<Request>, Failure> {
    let step = &engine.plan.steps[index];
    let prepared = engine.prepare(step, index, results)?;
    let is_pinned = prepared.pinned.is_some();
    let mut request = prepared.request;
    if let Some(request) = request.as_mut().filter(|_| is_pinned) {
        // Nobody answers whoever looks around in its state: they have the machine's network.
        crate::image::hide_proxy(request);
    }
    Ok(request)
}

/// The results of everything a step needs, where all of them are there.
///
/// # Errors
/// When the store cannot be read.
pub fn results_for(engine: &Engine<'_>, index: StepIndex) -> Result<Option<Results>, StoreError> {
    let plan = engine.plan;
    let mut needs: Vec<StepIndex> = plan.steps[index].needs().chain(plan.mounts(index)).collect();
    needs.sort_unstable();
    needs.dedup();
    let keys: Vec<_> = needs.iter().map(|step| plan.steps[*step].key).collect();
    let found = engine.origins.steps(engine.store, &keys)?;
    Ok(needs.into_iter().zip(found).map(|(step, found)| Some((step, found?))).collect())
}
