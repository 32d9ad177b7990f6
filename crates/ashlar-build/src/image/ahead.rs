//! Contents of the context go into the store, and do so while the base that they go over is on its
//! way: both take some seconds where neither is there yet.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ashlar_dockerfile::RunMount;
use ashlar_object::Tree;
use ashlar_plan::{Files, ImageWork, StepIndex};

use super::context::{ContextError, keep_contents};
use super::copy::CopyError;
use super::select::select;
use super::steps::{BuildContext, Building, at_its_path};
use crate::engine::Engine;
use crate::event::Failure;
use crate::failure::chain;

/// How long who keeps ahead waits before it looks again whether it is its turn.
const WHILE: Duration = Duration::from_millis(10);

/// Who keeps contents of contexts. Steps do, as they begin, and one thread keeps ahead while none
/// does: both would do the same at once.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Written to by who keeps ahead.
    turn: RwLock<()>,
    /// How many steps wait for that.
    wanted: AtomicUsize,
}

impl Engine<'_> {
    /// Keeps a part of a context for the step that reads it.
    pub(super) fn keep_part(
        &self,
        building: &Building<'_>,
        context: &BuildContext,
        part: &Tree,
    ) -> Result<(), Failure> {
        let keeping = &building.keeping;
        keeping.wanted.fetch_add(1, Ordering::SeqCst);
        let _turn = keeping.turn.read().unwrap_or_else(PoisonError::into_inner);
        keeping.wanted.fetch_sub(1, Ordering::SeqCst);
        let go_on = || !self.is_stopping();
        keep_contents(&context.folder, part, self.store, &go_on).map_err(|error| match error {
            ContextError::Stopped => Failure::Stopped,
            error => Failure::project(chain(&error)),
        })
    }

    /// Keeps what these steps read of contexts, in their order, as long as `go_on` says so.
    pub(crate) fn keep_ahead(
        &self,
        steps: &BTreeSet<StepIndex>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) {
        let Some(building) = self.image else { return };
        for work in steps.iter().filter_map(|step| self.plan.steps[*step].image()) {
            if !go_on() {
                return;
            }
            for (context, part) in parts(work, building) {
                self.keep_part_ahead(building, context, &part, go_on);
            }
        }
    }

    fn keep_part_ahead(
        &self,
        building: &Building<'_>,
        context: &BuildContext,
        part: &Tree,
        go_on: &(dyn Fn() -> bool + Sync),
    ) {
        let keeping = &building.keeping;
        // Steps go first.
        let is_free = || keeping.wanted.load(Ordering::SeqCst) == 0;
        while go_on() {
            if !is_free() {
                std::thread::sleep(WHILE);
                continue;
            }
            let _turn = keeping.turn.write().unwrap_or_else(PoisonError::into_inner);
            let go_on = || go_on() && is_free();
            match keep_contents(&context.folder, part, self.store, &go_on) {
                Err(ContextError::Stopped) => {}
                // What else is wrong, the step itself says.
                _ => return,
            }
        }
    }
}

/// The parts of contexts that a step reads.
fn parts<'b>(work: &ImageWork, building: &'b Building<'_>) -> Vec<(&'b BuildContext, Tree)> {
    let of = |files: &Files, part: &dyn Fn(&Tree) -> Result<Tree, CopyError>| {
        let Files::Context(number) = files else { return None };
        let context = building.context(*number).ok()?;
        Some((context, part(&context.tree).ok()?))
    };
    match work {
        ImageWork::Copy { copy, from, .. } => {
            of(from, &|tree| select(copy, tree)).into_iter().collect()
        }
        ImageWork::Run { run, mounts, .. } => {
            let mounted = |(mount, files): (&RunMount, &Files)| match mount {
                RunMount::Bind { source, .. } | RunMount::Cache { source, .. } => {
                    of(files, &|tree| at_its_path(tree, source))
                }
                _ => None,
            };
            run.mounts.iter().zip(mounts).filter_map(mounted).collect()
        }
        _ => Vec::new(),
    }
}
