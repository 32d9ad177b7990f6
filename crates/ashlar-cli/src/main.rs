//! The `ashlar` program: arguments → one call into a library → what people or programs read.

mod args;
mod commands;
mod exit;
mod remotes;
mod show;
mod signals;
mod wiring;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The sandbox starts this same program once more; that must not pass through the arguments
    // of people.
    if std::env::args_os().nth(1).is_some_and(|first| first == "internal-sandbox") {
        return ashlar_execute::internal_sandbox();
    }
    let args = args::Args::parse();
    let json = args.globals.json;
    match commands::run(args) {
        Ok(exit) => exit.into(),
        Err(failed) => {
            failed.show(json);
            failed.exit.into()
        }
    }
}
