//! Against real servers, and against one in here that misbehaves.

mod bars;
mod bazel;
mod fake;
mod faults;
mod given;
mod misbehaving;
mod shared;
