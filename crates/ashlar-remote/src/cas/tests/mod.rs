//! Against real servers, and against one in here that misbehaves.

mod bars;
mod given;
mod shared;
