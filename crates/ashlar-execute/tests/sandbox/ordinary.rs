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
    run_beneath(&["env"], uid, folder, mode, script)
}

/// The same as the last words of another command.
fn run_beneath(
    before: &[&str],
    uid: u32,
    folder: &Path,
    mode: &str,
    script: &str,
) -> (Option<i32>, String) {
    let program = folder.join("helper");
    fs::copy(helper(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    // Nobody else may enter, as with most homes.
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&home, Some(uid), Some(uid)).unwrap();
    let output = Process::new(before[0])
        .args(&before[1..])
        .arg("setpriv")
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

/// As those of another user's containers, which anybody's `/proc/self/mountinfo` lists.
#[test]
fn mounts_in_folders_that_are_closed_are_no_hindrance() {
    let folder = TempDir::new_in("/var/tmp").unwrap();
    let (closed, home) = (folder.path().join("closed"), TempDir::new().unwrap());
    fs::create_dir_all(closed.join("mounted")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mount = format!("mount --bind {0} {0} && exec \"$@\"", closed.join("mounted").display());
    let before = ["unshare", "--mount", "--propagation=private", "sh", "-ec", &mount, "sh"];
    let (code, text) = run_beneath(&before, NOBODY, home.path(), "run", "id -u");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("0\nSucceeded("), "{text}");
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

/// With a single id nobody but root can run anything, and the image's files are all root's.
#[test]
fn images_with_a_single_id() {
    let folder = TempDir::new().unwrap();
    let script = "id -u; echo x >/tmp/new; rm /bin/cat; mkdir /bin/cat; stat /dev/pts/ptmx >/tmp/new; chmod 1777 /tmp; stat -c %u:%g:%a /tmp";
    let (code, text) = run_as(NOBODY, folder.path(), "run-image", script);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("0\n0:0:1777\nSucceeded("), "{text}");
}

#[test]
fn other_users_of_images_with_a_single_id_are_refused_with_advice() {
    let folder = TempDir::new().unwrap();
    let (code, text) = run_as(NOBODY, folder.path(), "run-image-as", "true");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("Lacks") && text.contains("uidmap"), "{text}");
}

/// A name space as `/etc/subuid` gives it, with the maps written by the test instead of by
/// `newuidmap`, so that nothing of the machine is changed.
#[test]
fn images_with_many_ids() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("helper");
    fs::copy(helper(), &program).unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(100_000), Some(100_000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script =
        "id -u; id -g; echo x >/tmp/mine; stat -c %u:%g:%a /tmp/mine /bin/busybox /dev/pts";
    let mut holder = Process::new("unshare").args(["--user", "sleep", "100"]).spawn().unwrap();
    let proc = Path::new("/proc").join(holder.id().to_string());
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    while fs::read_link(proc.join("ns/user")).unwrap() == own {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(proc.join(map), "0 100000 65536").unwrap();
    }
    let output = Process::new("nsenter")
        .arg(format!("--user={}", proc.join("ns/user").display()))
        .args(["--setuid=0", "--setgid=0", "--"])
        .args([program.as_os_str(), "run-image-as".as_ref()])
        .args([home.join("store").as_os_str(), script.as_ref()])
        .current_dir("/")
        .output()
        .unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let expected = "1000\n0\n1000:0:644\n0:0:755\n0:0:755\nSucceeded(";
    assert!(text.starts_with(expected), "{text}");
}
