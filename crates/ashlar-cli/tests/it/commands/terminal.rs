//! On a terminal, and where nobody reads.

use std::process::{Command, Stdio};

use super::sample;
use crate::support::{ASHLAR, Project};

/// Runs the program on a terminal of its own and gives everything that it wrote there.
fn on_terminal(project: &Project, args: &str, set: &[(&str, &str)]) -> (i32, String) {
    let output = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &format!("stty cols 100 rows 30; {ASHLAR} {args}"),
            "/dev/null",
        ])
        .current_dir(&project.root)
        .env("ASHLAR_STORE", &project.store)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(set.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program `script` of the package bsdutils");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn running_steps_have_a_line_each_and_a_bar_below() {
    let project = sample();
    for name in ["slow", "slower"] {
        project.module(
            name,
            &format!(
                "[build]\nkind = \"script\"\nsteps = ['sleep 1.4; echo {name} > $DESTDIR/x']\n"
            ),
        );
    }
    project.run(&["build", "slow"]).good();
    let (code, text) = on_terminal(&project, "build --rebuild -j2 -k slow slower bad", &[]);
    assert_eq!(code, 1, "{text}");
    // While they run: elapsed time and name, the steps, and the forecast.
    for part in ["1s slower ", "1s slow ", "/4 steps", " of about "] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // A failure stays: nothing after it moves above it or wipes it.
    let failure = text.find(" oops").expect(&text);
    let after = &text[failure..];
    assert!(after.contains("built\x1b[0m slow in"), "{text}");
    assert!(after.contains("failed\x1b[0m bad: its command exited with 7"), "{text}");
    // The bar is gone at the end.
    let last = text.rfind("modules: ").unwrap();
    assert!(!text[last..].contains("steps"), "{text}");
}

#[test]
fn colours_are_for_those_who_want_them() {
    let project = sample();
    project.build(&["lib"]);
    let coloured = |(code, text): (i32, String)| {
        assert_eq!(code, 0, "{text}");
        text.contains("\x1b[1mlib\x1b[0m")
    };
    assert!(coloured(on_terminal(&project, "why lib", &[])));
    assert!(!coloured(on_terminal(&project, "why lib", &[("NO_COLOR", "1")])));
    assert!(coloured(on_terminal(&project, "why lib", &[("NO_COLOR", "")])), "empty is not set");
    assert!(!coloured(on_terminal(&project, "why lib", &[("TERM", "dumb")])));
    assert!(!coloured(on_terminal(&project, "--color never why lib", &[])));
    assert!(coloured(on_terminal(&project, "--color always why lib", &[("NO_COLOR", "1")])));
    assert!(!project.run(&["why", "lib"]).good().out.contains('\x1b'));
    assert!(!project.run(&["build", "--rebuild", "lib"]).good().err.contains('\x1b'));
}

#[test]
fn a_shell_is_interactive() {
    let project = sample();
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("{ASHLAR} shell lib"), "/dev/null"])
        .current_dir(&project.root)
        .env("ASHLAR_STORE", &project.store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"[ -t 0 ] && echo a-$((40 + 2))-terminal\nexit 6\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("a-42-terminal"), "{text}");
    assert!(text.contains("the sandbox of lib"), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let project = sample();
    project.build(&["app"]);
    for command in [
        "list",
        "show app",
        "graph all",
        "man",
        "completions bash",
        "list --json",
        "build --json all",
    ] {
        let script = format!("{ASHLAR} {command} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}");
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&project.root)
            .env("ASHLAR_STORE", &project.store)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (String::from_utf8_lossy(&output.stdout).as_ref(), text.as_ref()),
            ("0\n", ""),
            "{command}"
        );
    }
}

#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let project = sample();
    for command in ["list", "schema module", "graph all"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let args: Vec<&str> = command.split(' ').collect();
        let output = project.command(&args).stdout(full).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{command}: {text}");
        assert!(text.contains("No space left on device"), "{text}");
    }
}
