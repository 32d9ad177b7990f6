//! Builds without a sandbox or a disk.

mod in_memory;
mod origins;
mod remotes;
mod world;
