//! Tests of the shim with the real make.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::SCRIPT;

/// Runs the shim in place of a `make` that prints its arguments.
fn arguments_after(arguments: &[&str], makeflags: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("shim/make"), SCRIPT);
    program(&folder.path().join("real/make"), "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    let output = Command::new(folder.path().join("shim/make"))
        .args(arguments)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().join("real").display()))
        .env("MAKEFLAGS", makeflags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const OURS: &str = " -j --jobserver-auth=198,199";

#[test]
fn drops_every_way_to_write_j_and_nothing_else() {
    let cases: [(&[&str], &[&str]); 16] = [
        (&["-j"], &[]),
        (&["-j8", "all"], &["all"]),
        (&["-j", "8", "all"], &["all"]),
        (&["-j", "all"], &["all"]),
        (&["--jobs", "all"], &["all"]),
        (&["--jobs", "4"], &[]),
        (&["--jobs=4", "V=1"], &["V=1"]),
        (&["-kj8"], &["-k"]),
        (&["-kjs"], &["-ks"]),
        (&["-ksj", "3", "x"], &["-ks", "x"]),
        (&["-C", "-j8", "-f", "-j"], &["-C", "-j8", "-f", "-j"]),
        (&["-Cj8", "-Ijoin", "-fMakefile.j", "-j2"], &["-Cj8", "-Ijoin", "-fMakefile.j"]),
        (&["-kC", "jobs", "-j"], &["-kC", "jobs"]),
        (&["--", "-j8"], &["--", "-j8"]),
        (
            &["--directory", "--jobs", "a b", "CFLAGS=-j 8"],
            &["--directory", "--jobs", "a b", "CFLAGS=-j 8"],
        ),
        (&["-l", "4", "-O", "-n", "--file=j", "job"], &["-l", "4", "-O", "-n", "--file=j", "job"]),
    ];
    for (given, left) in cases {
        assert_eq!(arguments_after(given, OURS), left, "{given:?}");
    }
}

#[test]
fn without_a_jobserver_nothing_is_changed() {
    assert_eq!(arguments_after(&["-j8", "all"], ""), ["-j8", "all"]);
    assert_eq!(arguments_after(&["-j8", "all"], "k"), ["-j8", "all"]);
}

#[test]
fn the_real_make_calls_the_shim_again_for_make_inside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // What stands for /build/bin here must be left out of the search as that is.
    let shim = path.join("shim");
    let script = SCRIPT.replace("/build/bin", shim.to_str().unwrap());
    program(&shim.join("make"), &script.replace("#!/bin/sh\n", "#!/bin/sh\necho \"shim $*\"\n"));
    fs::write(
        path.join("Makefile"),
        "all:\n\t@echo $(MAKE) $(MAKE_COMMAND)\n\t@$(MAKE) -j8 inner\ninner:\n\t@echo inner\n",
    )
    .unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let flags = {
        use std::os::fd::AsRawFd as _;
        // Descriptors that make finds open; it only looks whether they are.
        for end in [
            rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::empty()),
            rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::empty()),
        ] {
            end.unwrap();
        }
        format!(" -j --jobserver-auth={},{}", read.as_raw_fd(), write.as_raw_fd())
    };
    let output = Command::new(shim.join("make"))
        .args(["-j8", "--no-print-directory"])
        .current_dir(path)
        .env("PATH", format!("{}:/usr/bin:/bin", shim.display()))
        .env("MAKEFLAGS", flags)
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(text, "shim -j8 --no-print-directory\nmake make\nshim -j8 inner\ninner\n");
}

#[test]
fn a_missing_make_is_said() {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("make"), SCRIPT);
    let output = Command::new("/bin/sh")
        .arg(folder.path().join("make"))
        .env("PATH", "/build/bin:/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("make: not found"));
}
