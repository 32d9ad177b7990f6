//! Builds of an ordinary user, in a user name space.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command as Process;

use tempfile::TempDir;

use crate::fixture::helper;

/// The user of the tests: one without an entry anywhere, so with a single id.
const NOBODY: u32 = 65_534;

fn run_as(uid: u32, folder: &Path, mode: &str, script: &str) -> (Option<i32>, String) {
    let program = folder.join("helper");
    fs::copy(helper(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    // Nobody else may enter, as with most homes.
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&home, Some(uid), Some(uid)).unwrap();
    let output = Process::new("setpriv")
        .args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--"])
        .arg(&program)
        .arg(mode)
        .arg(home.join("store"))
        .arg(script)
        .current_dir("/")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn with_a_single_id() {
    let folder = TempDir::new().unwrap();
    let script = "id -u; hostname; echo x >/build/dest/file; echo x >/etc/new || echo read-only";
    let (code, text) = run_as(NOBODY, folder.path(), "run", script);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("0\nashlar\n") && text.contains("read-only\nSucceeded("), "{text}");
}

#[test]
fn with_a_single_id_packages_are_refused_with_advice() {
    let folder = TempDir::new().unwrap();
    let (code, text) = run_as(NOBODY, folder.path(), "run-many-ids", "true");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("Lacks") && text.contains("uidmap"), "{text}");
}
