//! Every mistake with the very text that a user reads: `mistakes.txt`. Warnings are not in it.

use super::Asked;

/// Cases begin with `=== NAME`; what a user reads is after `---`. `\e` is the escape of terminals.
const CASES: &str = include_str!("mistakes.txt");

#[test]
fn what_a_user_reads() {
    let mut count = 0;
    for case in CASES.split("=== ").filter(|case| !case.is_empty()) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("---\n").unwrap();
        let found = Asked::default().mistakes(&text.replace("\\e", "\u{1b}"));
        let expected = expected.strip_suffix('\n').unwrap_or(expected);
        assert!(found == expected, "{name}:\n{found}\ninstead of\n{expected}");
        count += 1;
    }
    assert!(count > 40);
}

#[test]
fn targets_that_are_not_there() {
    let text = "FROM scratch AS build\nFROM scratch AS test\n";
    let asked = |target| Asked { target: Some(target), ..Asked::default() }.mistakes(text);
    assert_eq!(
        asked("biuld"),
        "`Dockerfile` has no stage `biuld`\n  help: did you mean `build`?\n"
    );
    assert_eq!(asked("x"), "`Dockerfile` has no stage `x`\n  help: its stages are build, test\n");
    assert_eq!(asked("2"), "`Dockerfile` has no stage `2`\n  help: its stages are build, test\n");
}

#[test]
fn triggers_that_cannot_run() {
    for (trigger, expected) in [
        (
            "FROM x",
            "Dockerfile:1:6: `ONBUILD FROM x` of `debian`: `FROM` cannot follow `ONBUILD`\n",
        ),
        ("", "Dockerfile:1:6: `ONBUILD ` of `debian`: there is no instruction\n"),
        (
            "RUN a\nRUN b",
            "Dockerfile:1:6: `ONBUILD RUN a` of `debian`: there is more than one instruction\n",
        ),
        ("RNU a", "Dockerfile:1:6: `ONBUILD RNU a` of `debian`: `RNU` is no instruction\n"),
        ("RUN --mount=type=ssh a", "Dockerfile:1:6: mounts of type `ssh` are not supported\n"),
        ("RUN --security=insecure a", "Dockerfile:1:6: only `--security=sandbox` is supported\n"),
        ("COPY --from=no a b", "Dockerfile:1:6: no stage before this one is called `no`\n"),
    ] {
        let mut asked = Asked::default();
        asked.base.on_build.push(trigger.to_owned());
        let found = asked.mistakes("FROM debian\n");
        assert!(found.starts_with(expected), "{trigger}\n{found}");
    }
}

#[test]
fn sizes_have_bounds() {
    let long = format!("FROM scratch\n# {}\n", "x".repeat(1 << 20));
    assert!(Asked::default().mistakes(&long).contains("1048576 are the limit"));
    let many = format!("FROM scratch\n{}", "RUN x\n".repeat(5000));
    assert!(Asked::default().mistakes(&many).contains("more than 5000 instructions"));
    let pairs = format!("FROM scratch\nENV{}\n", " A=1".repeat(200_000));
    assert!(Asked::default().mistakes(&pairs).contains("at most 2000 pairs"));
    let variables: String = (0..3000).map(|n| format!("ENV A{n}=1\n")).collect();
    let variables = Asked::default().mistakes(&format!("FROM scratch\n{variables}"));
    assert!(variables.contains("more than 2000 variables"), "{variables}");
    let slow = format!("FROM scratch\nARG V={}\nLABEL l=${{V//*b*c/x}}\n", "ab".repeat(50_000));
    assert!(Asked::default().mistakes(&slow).contains("too long for a pattern"));
    let stages: String =
        (0..2500).map(|n| format!("FROM scratch AS s{n}\nCOPY --from=s0 a b\n")).collect();
    let stages = stages.replacen("COPY --from=s0 a b\n", "", 1);
    let image = Asked::default().image(&stages).unwrap();
    assert_eq!(image.stages.len(), 2);
}
