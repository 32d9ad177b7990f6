//! One command in, one outcome out: the [`Executor`] contract and the [`Sandbox`] that keeps it
//! on this machine.
//!
//! | module | what lives there |
//! |---|---|
//! | `contract` | requests, outcomes, the [`Executor`] trait |
//! | `cancel` | [`Cancel`]: stop everything that runs |
//! | `jobs` | [`Jobs`]: one GNU make jobserver for all steps of a build |
//! | `rights` | [`Rights`]: who runs this program, and how it becomes root of a name space |
//! | `probe` | what the machine lacks |
//! | `layers` | looking through layers; what a command really changed |
//! | `apart` | equal files of different layers, kept apart; ids that no command has |
//! | `shim` | the `make` that keeps `-j` from leaving the jobserver |
//! | `log` | output, bounded |
//! | `spec` | what is said to the helper process, and how |
//! | `helper`, `mounts`, `host` | inside the helper process: mounts, then a user name space, then `bwrap`, or the first process of an image's command |
//! | `image` | commands in images: what they see ([`View`]), who runs them ([`User`]) |
//! | `attempt` | one helper process from its start until nothing of it is left |
//! | `workspace` | what a command needs on disk, staged |
//! | `sandbox` | running and keeping |
//! | `leash` | a command that ends when we do |
//! | [`trace`] | which files a command touches |
//!
//! Absent: step keys, graphs, decisions about what to run. Nothing here knows what a module is.

mod apart;
mod attempt;
mod cancel;
mod contract;
mod filter;
mod helper;
mod host;
mod image;
mod jobs;
mod layers;
mod leash;
mod log;
mod mounts;
mod probe;
mod rights;
mod sandbox;
mod shim;
mod spec;
pub mod trace;
mod workspace;

pub use cancel::Cancel;
pub use contract::{
    Checkpoint, DESTINATION, ExecuteError, Executor, Finished, Keep, Kept, Mount, Outcome, Request,
    Root, SOURCE,
};
pub use helper::internal_sandbox;
pub use image::{
    Entrance, GATEWAY_PORT, Gateway, ImageMount, ImageView, Leak, Mounted, Network, Owner,
    SHORTEST_SECRET, Secret, User, UserError, View, resolve_owner,
};
pub use jobs::{Jobs, Token, Tokens};
pub use leash::end_with_us;
pub use probe::probe;
pub use rights::{Rights, reexec_command, rights};
pub use sandbox::{OnOutput, Sandbox, SandboxOptions};
