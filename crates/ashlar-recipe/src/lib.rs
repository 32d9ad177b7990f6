//! What a person wrote: `ashlar.toml`, `modules/**/*.toml`, `ashlar-cache.toml` and `ashlar.lock`.
//!
//! The way of the data is `bytes → `[`written::Module`]` → `[`Module`]: [`parse_project`] and
//! [`parse_module`] read the shape of a file and keep where each value stands; [`resolve()`] gives
//! all of it meaning at once, or says everything that is wrong with it. [`load()`] does both.
//!
//! Nothing here touches the disk, the clock or the environment: files come through a [`Loader`]
//! that is passed in. No digest is computed here either.

mod cache;
mod init;
mod load;
pub mod lock;
mod parse;
mod phases;
mod pins;
mod problem;
mod remote;
mod resolve;
mod resolved;
mod runs;
mod schema;
pub mod written;

pub use cache::{CACHE_FILE, Cache, CacheLayer, Scope, ScopeName};
pub use init::{Template, init};
pub use load::{Loader, load};
pub use lock::Lock;
pub use parse::{
    MODULE_LIMIT, PROJECT_FILE, module_name_of, parse_cache, parse_module, parse_project,
    parse_runs,
};
pub use pins::{PINNED_FIELDS, PINS_FILE, Pin, PinnedRun, Pins, without_credentials};
pub use problem::{Place, Problem, Problems, nearest};
pub use remote::{Layout, Remote, Token, Write, override_remotes, remote_variable};
pub use resolve::{option_variable, project_remotes, resolve};
pub use resolved::{
    Base, Build, ImageRecipe, Kind, Module, ModuleName, OptionValue, Origin, Outputs, Phase,
    Project, Source,
};
pub use runs::{Declaration, LEARNED_FILE, RUNS_FILE, Runs};
pub use schema::{cache_schema, module_schema, project_schema, run_schema};

#[cfg(test)]
mod mistake_tests;
