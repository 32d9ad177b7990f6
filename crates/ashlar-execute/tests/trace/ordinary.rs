//! Traces of an ordinary user, who has no privilege at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, helper};

const NOBODY: u32 = 65_534;

/// Runs a script traced, and says what is printed.
fn run_as_nobody(folder: &Path, script: &str) -> (Option<i32>, String) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("helper");
    fs::copy(helper(), &program).unwrap();
    let home = folder.join("home");
    fs::create_dir_all(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"])
        .arg(&program)
        .args(["trace", "sh", "-c", script])
        .current_dir(&home)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn nobody_can_trace() {
    let it = Fixture::new();
    it.write("home/in", "x");
    let (code, text) = run_as_nobody(&it.path, "cat in > out; cat none; exit 4");
    let home = it.path.join("home");
    assert_eq!(code, Some(4), "{text}");
    for (word, name) in [("Read", "in"), ("Wrote", "out"), ("Absent", "none")] {
        let line = format!("{word} {}\n", home.join(name).display());
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn a_program_that_may_not_be_read_is_said() {
    let it = Fixture::new();
    it.write("home/in", "x");
    let (_folder, program) = Fixture::compile(
        "#include <fcntl.h>\nint main(void) { return open(\"in\", O_RDONLY) < 0; }",
        &[],
    );
    let hidden = it.path.join("home/hidden");
    fs::copy(program, &hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o711)).unwrap();
    let (code, text) = run_as_nobody(&it.path, "./hidden");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("Hidden") && text.contains("home/hidden"), "{text}");
}
