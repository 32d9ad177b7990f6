//! From a resolved project and what is known of its files to a graph of steps with their keys;
//! why a key changed; what a build will take.
//!
//! A pure room: facts come in (digests of files, the lock, durations), a plan comes out. It reads
//! no file, no clock and no environment.
//!
//! # What is in a key
//!
//! | input | step key | action digest |
//! |---|---|---|
//! | format version, project salt, module salt | ✓ | ✓ (salt) |
//! | scripts, working directory, declared outputs | ✓ | ✓ (command) |
//! | declared environment, options used, `SOURCE_DATE_EPOCH` | ✓ | ✓ (command) |
//! | architecture, base, tools | ✓ (keys of their steps) | ✓ (input tree) |
//! | sources, patches and their order | ✓ (digests) | ✓ (input tree) |
//! | common files | ✓ | ✓ (salt) |
//! | dependencies | ✓ (their step keys, how mounted) | ✓ (their outputs, input tree) |
//! | module name, description, time-out, jobs, paths of the machine, clock, user | – | – |

mod download;
mod facts;
mod forecast;
mod graph;
mod image;
mod inputs;
mod keys;
mod named;
mod pins;
mod step;
mod texts;
mod whole;
mod why;

pub use download::Download;
pub use facts::{BaseFact, Commands, Facts, ImageFact, SourceFact};
pub use forecast::{Forecast, forecast, priorities, within};
pub use graph::{GraphError, dot, find};
pub use image::{
    BaseImage, Files, ImageFacts, ImagePlan, ImageWork, Part, UnknownBase, Want, plan_image,
};
pub use inputs::{Input, InputName, KeyInputs, Value};
pub use keys::{FORMAT, PlanError, deb_dependencies, plan, tools_asked};
pub use named::{Below, Named, image_base, image_module, plan_below};
pub use pins::{Access, PinnedCommand, contents, pinned_command, recorded};
pub use step::{Plan, Step, StepId, StepIndex, Work};
pub use why::{Changed, compare};
