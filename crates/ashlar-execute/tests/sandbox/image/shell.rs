//! A person in an image.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::fixture::{Fixture, helper};

/// Runs the helper program on a terminal of its own and types a line.
fn on_terminal(command: &str) -> (Option<i32>, String) {
    let mut process = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    input.write_all(b"typed\n").unwrap();
    let output = process.wait_with_output().unwrap();
    drop(input);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn has_the_terminal_and_what_a_failed_command_left() {
    let fixture = Fixture::new();
    let store = fixture.folder.path().join("other");
    let after = "test -t 0 && test -t 1 && cat /tmp/left /work/one && ls -1 /bin && (: </dev/tty) \
                 && read line && echo \\\"got $line\\\" && exit 7";
    let command = format!(
        "AFTER_FAILURE=\"{}\" {} run-image {} 'echo left behind >/tmp/left; echo point >/work/one; rm /bin/id; exit 3'",
        after.replace('$', "\\$"),
        helper().display(),
        store.display()
    );
    let (code, text) = on_terminal(&command);
    assert!(text.contains("Failed(3)\r\nleft behind\r\npoint\r\n"), "{text}");
    assert!(text.contains("\r\nls\r\n") && !text.contains("\r\nid\r\n"), "{text}");
    assert!(text.contains("got typed"), "{text}");
    assert_eq!(code, Some(7), "{text}");
}
