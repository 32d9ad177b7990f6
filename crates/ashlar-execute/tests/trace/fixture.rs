//! A folder of its own for each test, and what a command touches in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use ashlar_execute::trace::{Touch, Touched, Trace};
use tempfile::TempDir;

/// The program that is started as tracing process.
pub fn helper() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ashlar-sandbox-helper"))
}

pub struct Fixture {
    pub path: PathBuf,
    _folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { path: fs::canonicalize(folder.path()).unwrap(), _folder: folder }
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn trace(&self) -> Trace {
        Trace { below: vec![self.path.clone()], helper: helper() }
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).stdin(Stdio::null());
        command
    }

    /// Runs a command that succeeds; what it touched in the folder, as `letter path`.
    pub fn touched(&self, command: Command) -> Vec<String> {
        let (status, touched) = self.run(command);
        assert!(status.success(), "{status}");
        touched
    }

    pub fn run(&self, command: Command) -> (ExitStatus, Vec<String>) {
        let (status, touched) = self.trace().run(command, &mut |_| {}).unwrap();
        (status, touched.iter().map(|one| self.line(one)).collect())
    }

    /// What a script for `sh` touches.
    pub fn sh(&self, script: &str) -> Vec<String> {
        let mut command = self.command("/bin/sh");
        command.args(["-euc", script]);
        self.touched(command)
    }

    fn line(&self, touched: &Touched) -> String {
        let path = touched.path.strip_prefix(&self.path).unwrap_or(&touched.path);
        let word = match touched.touch {
            Touch::Read => "read",
            Touch::Absent => "absent",
            Touch::Listed => "listed",
            Touch::Wrote => "wrote",
            Touch::Ran => "ran",
        };
        format!("{word} {}", path.display())
    }

    /// Compiles a C program into a folder of its own, which is not traced.
    pub fn compile(source: &str, options: &[&str]) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let program = folder.path().join("program");
        let file = folder.path().join("program.c");
        fs::write(&file, source).unwrap();
        let mut command = Command::new("gcc");
        command.args(["-O1", "-w", "-o"]).arg(&program).arg(&file).args(options);
        assert!(command.status().unwrap().success());
        (folder, program)
    }
}

/// Compares as sets of lines, ordered.
pub fn assert_touched(mut got: Vec<String>, expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

pub fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}
