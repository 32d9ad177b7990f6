//! The `ashlar` program: arguments → one call into a library → what people or programs read.

/// As that of the standard library, which panics where nobody reads or the disk is full: what is said
/// to people ends no build.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod args;
mod commands;
mod exit;
mod images;
mod patient;
mod remotes;
mod show;
mod signals;
mod wiring;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The sandbox and a trace start this same program once more; that must not pass through the
    // arguments of people.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == "internal-sandbox" => return ashlar_execute::internal_sandbox(),
        Some(first) if first == "internal-trace" => {
            return ashlar_execute::trace::internal_trace(arguments);
        }
        _ => {}
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
