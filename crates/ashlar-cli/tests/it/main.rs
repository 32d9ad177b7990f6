//! The program as people use it: real projects, real sandboxes, real stores. One binary, so that
//! it is linked once.

mod snapshot;
mod support;

mod bad_input;
mod cache;
mod ci_layers;
mod commands;
mod dropin_run;
mod image_build;
mod images;
mod never_lost;
mod never_stale;
mod remotes;
mod rooms;
mod run;
