//! One file for each command: arguments, one call into a library, what is shown.

mod artifact;
mod build;
mod cache;
mod check;
mod checkout;
mod graph;
mod image;
mod init;
mod list;
mod lock;
mod log;
mod manual;
mod needs;
mod plan;
mod pull;
mod push;
mod remote;
mod run;
mod runs;
mod shell;
mod show;
mod store;
mod why;

use crate::args::{Args, Command};
use crate::exit::{Exit, Failed};

/// Runs a command.
pub fn run(args: Args) -> Result<Exit, Failed> {
    let globals = &args.globals;
    match args.command {
        Command::Init(args) => init::run(globals, args),
        Command::Build(args) => build::run(globals, &args),
        Command::Run(args) => run::run(globals, &args),
        Command::Plan(args) => plan::run(globals, &args),
        Command::Why(args) => why::run(globals, &args),
        Command::Stat { run, root } => runs::stat(globals, root.as_deref(), run.as_deref()),
        Command::Log(args) => log::run(globals, &args),
        Command::Show(args) => show::run(globals, &args),
        Command::Graph(args) => graph::run(globals, &args),
        Command::List => list::run(globals),
        Command::Checkout(args) => checkout::run(globals, &args),
        Command::Shell(args) => shell::run(globals, &args),
        Command::Check(args) => check::run(globals, &args),
        Command::Lock(args) => lock::run(globals, &args),
        Command::Push(args) => push::run(globals, &args),
        Command::Pull(args) => pull::run(globals, &args),
        Command::Remote(args) => remote::run(globals, &args),
        Command::Artifact(args) => artifact::run(globals, &args),
        Command::Cache(args) => cache::run(globals, &args),
        Command::Image(args) => image::run(globals, &args),
        Command::Store(args) => store::run(globals, &args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::man(folder.as_deref()),
        Command::Schema { file } => manual::schema(file),
    }
}
