//! `ashlar image`: Dockerfiles, with every finished instruction kept.

mod above;
mod build;
mod job;
mod pins;
mod place;
mod plan;
mod secrets;
mod shell;
mod survey;
mod why;

use crate::args::Globals;
use crate::args::image::Image;
use crate::exit::{Exit, Failed};

pub fn run(globals: &Globals, args: &Image) -> Result<Exit, Failed> {
    match args {
        Image::Build(args) => build::run(globals, args),
        Image::Plan(args) => plan::run(globals, args),
        Image::Why(which) => why::run(globals, which),
        Image::Shell(args) => shell::run(globals, args),
    }
}
