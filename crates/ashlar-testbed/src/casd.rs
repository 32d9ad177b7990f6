//! buildbox-casd, the server that comes with `BuildStream`: content, action cache, execution.

use std::process::Command;

use crate::install::installed_python;
use crate::server::{Server, answers_http2};

const BUILDBOX: &str = "buildstream/subprojects/buildbox";

/// A casd that runs.
#[derive(Debug)]
pub struct Casd {
    /// The process.
    pub server: Server,
}

server!(Casd);

/// Starts casd with nothing in it; its instance has the empty name.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn casd() -> Casd {
    launch(None)
}

/// Starts casd whose only instance has this name.
///
/// # Panics
/// When it does not start, with what it printed.
#[must_use]
pub fn casd_with_instance(name: &str) -> Casd {
    launch(Some(name.to_owned()))
}

fn launch(instance: Option<String>) -> Casd {
    let program = |name: &str| {
        installed_python("buildbox-casd", "buildstream", &format!("{BUILDBOX}/{name}"))
    };
    let (casd, runner) = (program("buildbox-casd"), program("buildbox-run"));
    let server = Server::launch(
        "buildbox-casd",
        1,
        answers_http2,
        Box::new(move |place| {
            let mut command = Command::new(&casd);
            command.args(["--bind", &format!("127.0.0.1:{}", place.ports[0])]);
            command
                .args(["--log-level", "info", "--reserved", "64M", "--buildbox-run"])
                .arg(&runner);
            if let Some(name) = &instance {
                command.args(["--local-server-instance", name]);
            }
            command.arg(place.folder.join("data"));
            command
        }),
    );
    Casd { server }
}
