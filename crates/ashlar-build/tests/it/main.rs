//! Builds without a sandbox or a disk.

mod in_memory;
mod remotes;
mod world;
