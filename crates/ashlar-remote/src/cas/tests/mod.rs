//! Against real servers, and against one in here that misbehaves.

mod bars;
mod bazel;
mod faults;
mod given;
mod shared;
