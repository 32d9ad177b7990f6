//! Trees that tasks of a pipeline hand to one another.

mod destination;
mod merge;
mod staging;

pub use destination::{DestinationError, Existing};
