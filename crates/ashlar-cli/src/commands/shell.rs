//! `ashlar shell`: the very sandbox of a step, with a person in it.

use ashlar_build::{Event, Remotes, request, results_for};
use ashlar_execute::Cancel;

use super::needs;
use crate::args::{Globals, Shell};
use crate::exit::{Exit, Failed};
use crate::show::Show;
use crate::wiring::{Session, enter_namespace};

pub fn run(globals: &Globals, args: &Shell) -> Result<Exit, Failed> {
    enter_namespace()?;
    let session = Session::open(globals)?;
    let name = session.module(&args.module)?;
    let (facts, plan) = session.plan(std::slice::from_ref(&args.module))?;
    let Some(index) = plan.modules.get(&name).copied() else {
        return Err(Failed::usage(format!("{name} is a group: it has no sandbox")));
    };
    if plan.steps[index].image().is_some() {
        return Err(Failed::usage(format!("{name} is an image: each instruction has its sandbox"))
            .help(format!("`ashlar image shell --module {name} --at LINE` opens one")));
    }
    let show = Show::new(globals, &session.store);
    let cancel = Cancel::new();
    let tell = |event: Event| show.event(event);
    let output = show.on_output(globals);
    // What the module needs is built first; the module itself is not, so that a failed one can
    // be looked at.
    if let Some(exit) = needs::provide(&session, &facts, &plan, index, &cancel, &show)? {
        return Ok(exit);
    }
    let none = Remotes::default();
    session.with_engine(&facts, &plan, none, &cancel, output, &tell, |engine, sandbox| {
        let Some(results) = results_for(engine, index)? else {
            return Err(Failed::usage(format!("something that {name} needs is not in the store")));
        };
        let Some(mut request) = request(engine, index, &results)? else {
            return Err(Failed::usage(format!("{name} runs no command, so it has no sandbox")));
        };
        if args.command.is_empty() {
            let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
            request.command.environment.insert("TERM".to_owned(), term);
            request.command.environment.insert("PS1".to_owned(), format!("{name}:\\w# "));
            eprintln!("the sandbox of {name}: its build would run these one after another");
            for phase in &session.project.modules[&name].build.phases {
                eprintln!("  {}: {}", phase.name, phase.script.trim().replace('\n', "\n    "));
            }
            eprintln!("nothing that is done here is kept; `exit` leaves");
            let shell = "[ -x /bin/bash ] && exec /bin/bash --norc -i || exec /bin/sh -i";
            request.command.arguments = ["/bin/sh", "-c", shell].map(ToOwned::to_owned).to_vec();
        } else {
            // Through the shell that every step has too: it says what there is not, with 127.
            let shell = ["/bin/sh", "-c", "exec \"$@\"", "ashlar shell"];
            request.command.arguments = shell.map(ToOwned::to_owned).to_vec();
            request.command.arguments.extend_from_slice(&args.command);
        }
        let code = sandbox.shell(&request)?;
        Ok(Exit::Shell(u8::try_from(code).unwrap_or(255)))
    })
}
