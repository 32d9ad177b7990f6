//! `examples/makefile` through real make, with the ways in which package caches of such trees went
//! wrong: each is a test here.

mod damaged;
mod narrow;
mod sharing;
mod stale;
mod together;
mod traced;
mod tree;
mod undeclared;
