//! Running the programs that are the standard for what they do.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::SourceError;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub name: &'static str,
    pub package: &'static str,
    /// What is started: the name, or a full path for helpers outside `PATH`.
    start: &'static str,
}

pub(crate) const GIT: Program = Program { name: "git", package: "git", start: "git" };
pub(crate) const PATCH: Program = Program { name: "patch", package: "patch", start: "patch" };
pub(crate) const DPKG: Program = Program { name: "dpkg", package: "dpkg", start: "dpkg" };
pub(crate) const DPKG_DEB: Program =
    Program { name: "dpkg-deb", package: "dpkg", start: "dpkg-deb" };
pub(crate) const APT_GET: Program = Program { name: "apt-get", package: "apt", start: "apt-get" };
pub(crate) const APT_CACHE: Program =
    Program { name: "apt-cache", package: "apt", start: "apt-cache" };
pub(crate) const APT_HELPER: Program =
    Program { name: "apt-helper", package: "apt", start: "/usr/lib/apt/apt-helper" };

impl Program {
    /// A command with messages in English, because some are read here, and no input.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.start);
        command.env("LC_ALL", "C.UTF-8").env_remove("LANGUAGE").stdin(Stdio::null());
        command
    }

    /// Starts the command and waits, with everything it says kept.
    pub fn run(self, command: &mut Command, input: Option<&[u8]>) -> Result<Output, SourceError> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|e| self.not_started(e))?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that ends before it has read everything says why itself; the
                // broken pipe adds nothing.
                scope.spawn(move || stdin.write_all(input).ok());
            }
            child.wait_with_output()
        });
        output.map_err(|source| SourceError::Start { program: self.name, source })
    }

    /// The error for a program that did not start.
    pub fn not_started(self, source: std::io::Error) -> SourceError {
        if source.kind() == std::io::ErrorKind::NotFound {
            SourceError::Lacks { program: self.name, package: self.package }
        } else {
            SourceError::Start { program: self.name, source }
        }
    }
}

/// What a program said on standard error, short enough to be shown: the last lines.
pub(crate) fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
