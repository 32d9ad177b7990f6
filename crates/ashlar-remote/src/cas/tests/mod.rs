//! Against real servers, and against one in here that misbehaves.

mod bazel;
mod fake;
mod faults;
mod given;
mod memory;
mod misbehaving;
mod shared;
