//! Tracing of real programs: what they touch, and that they run as they do without.

mod ends;
mod fixture;
mod ordinary;
mod programs;
mod touches;
