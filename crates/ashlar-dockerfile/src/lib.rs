//! Dockerfiles: parsed, checked, expanded. `text → `[`Dockerfile`]` → `[`Image`]: [`parse()`] reads
//! the text and finds what is wrong whatever the arguments are; [`evaluate()`] gives the stages that
//! one target needs, each instruction with its whole environment, user, folder and mounts.
//!
//! Pure: no disk, no clock, no environment, no digests. What bases are is asked for through a
//! function that is passed in. Mistakes and warnings are data.
//!
//! | file | what |
//! |---|---|
//! | `platform.rs` | `linux/arm64/v8` |
//! | `configuration.rs` | what an image says about its containers |
//! | `image.rs` | what [`evaluate()`] gives |
//! | `ignore.rs` | `.dockerignore`, wildcards |

mod configuration;
mod evaluate;
mod ignore;
mod image;
mod parse;
mod platform;
mod warning;

pub use configuration::{Configuration, Healthcheck};
pub use evaluate::{Request, evaluate};
pub use ignore::{Ignore, ignore, matches};
pub use image::{
    Base, Copy, CopySource, From, History, Image, Instruction, Network, Run, RunMount, Script,
    Sharing, Stage, Unpack, Work, Workdir,
};
pub use parse::{Dockerfile, StageName, parse};
pub use platform::{Platform, PlatformError};
pub use warning::{Rule, Warning};
