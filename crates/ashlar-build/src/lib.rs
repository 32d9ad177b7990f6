//! Walk the plan: look up, execute, keep.
//!
//! This room holds a `&dyn Store`, a `&dyn Executor` and some `&dyn Remote`, and knows nothing of
//! how a remote or a sandbox works or of how anything is shown: what happens is told as [`Event`]s. It parses no
//! arguments and prints nothing.

mod apart;
mod clean;
mod command;
mod direct;
mod dispatch;
mod ended;
mod engine;
mod event;
mod expect;
mod failure;
mod front;
pub(crate) mod image;
mod lock;
mod lookup;
mod memo;
mod origin;
mod provenance;
mod push;
mod record;
mod remotes;
mod reproduce;
mod roots;
mod sources;
mod transfer;
mod why;

pub use apart::{Apart, Land, failed_at};
pub use clean::{unclean_steps, uncommitted};
pub use direct::{Direct, Hit};
pub use dispatch::{Options, build, found};
pub use engine::{Engine, Results};
pub use event::{ErrorKind, Event, Failure, StepOutcome, StepReport, Summary, Way};
pub use failure::{chain, store_advice};
pub use front::{Folder, FrontError, LOCK_FILE, facts, facts_below, find_project, read_lock};
pub use image::{
    Alike, Around, BuildContext, Building, ContextError, CopyError, Elsewhere, ExportError,
    Exported, Exporting, ImageFailure, ImageModule, Ingredients, Keeping, NamedHere, Pinning,
    Place as ImagePlace, alike, bases_of, collect_caches, export, gather, gather_modules,
    image_configuration, named_configuration, native_platform, number as number_images,
    numbered as numbered_images, parse_file, write_rootfs,
};
pub use lock::{
    LockError, Update, complete, missing as missing_in_lock, missing_below, write as write_lock,
};
pub use lookup::{Bring, Lookup, look_far, look_up, shared_steps};
pub use memo::Memo;
pub use origin::{Keys, Origins};
pub use push::PATIENCE;
pub use remotes::{Ears, Remotes, Shared, Tally};
pub use reproduce::{Difference, Reproduction, reproduce, request, results_for};
pub use roots::Trees;
pub use transfer::{Transfer, pull, push};
pub use why::{Cause, State, Why, why, why_instruction};

use std::time::Duration;

/// A duration as people say it: `0.42 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
