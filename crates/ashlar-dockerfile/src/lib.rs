//! Dockerfiles: parsed, checked, expanded. `text → `[`Dockerfile`]` → `[`Image`]: [`parse()`] reads
//! the text and finds what is wrong whatever the arguments are; [`evaluate()`] gives the stages that
//! one target needs, each instruction with its whole environment, user, folder and mounts.
//!
//! Pure: no disk, no clock, no environment, no digests. What bases are is asked for through a
//! function that is passed in. Mistakes and warnings are data.
//!
//! | file | what |
//! |---|---|
//! | `lines.rs`, `words.rs` | continued lines, comments, directives, heredocs; words and flags |
//! | `statement.rs` | one instruction, with parse-dockerfile, as `written.rs` has it |
//! | `parse.rs`, `check.rs`, `mount.rs`, `reference.rs` | the file, and what is wrong with it by itself |
//! | `expand.rs`, `glob.rs`, `path.rs` | variables, patterns, paths |
//! | `evaluate.rs` | which stages a target needs; `evaluate/` each instruction of them |
//! | `image.rs`, `configuration.rs`, `platform.rs` | what [`evaluate()`] gives |
//! | `ignore.rs` | `.dockerignore`, wildcards |
//! | `report.rs`, `warning.rs` | mistakes and warnings |

mod check;
mod configuration;
mod evaluate;
mod expand;
mod glob;
mod ignore;
mod image;
mod lines;
mod mount;
mod parse;
mod path;
mod platform;
mod reference;
mod report;
mod statement;
mod warning;
mod words;
mod written;

pub use configuration::{Configuration, Healthcheck};
pub use evaluate::{Request, evaluate};
pub use ignore::{Ignore, has_wildcards, ignore, matches};
pub use image::{
    Base, Copy, CopySource, From, History, Image, Instruction, Network, Run, RunMount, Script,
    Seen, Setting, Sharing, Stage, Unpack, Work, Workdir,
};
pub use parse::{Dockerfile, StageName, parse};
pub use platform::{Platform, PlatformError};
pub use warning::{Rule, Warning};
