//! What people wrap around what they have: one command of a makefile ([`run`]), or the directories
//! of a job ([`cache`]). No project files are needed and there is no graph: makefiles and pipelines
//! have theirs.
//!
//! | module | what lives there |
//! |---|---|
//! | `run` | the key of a command, running it, keeping and restoring what it makes |
//! | `cache` | layers of a workspace under scopes: what would hit, restoring, saving |
//! | `place` | a kept tree put over what is in a folder, whole or not at all |
//!
//! Absent: printing, arguments, how a remote works.

pub mod cache;
pub mod place;
pub mod run;
