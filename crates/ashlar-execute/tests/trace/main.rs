//! Tracing of real programs: what they touch, and that they run as they do without.

mod ends;
mod fixture;
mod programs;
mod touches;
