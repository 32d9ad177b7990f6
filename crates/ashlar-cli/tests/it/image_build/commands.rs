//! Asking about an image, and looking into its states: `plan`, `why`, `shell`.

use ashlar_testbed::docker_registry;
use ashlar_testbed::registry::Options;
use serde_json::Value;

use super::Context;
use crate::support::Ran;

/// Line 4 is the first of these.
const LINES: &str = "ENV GREETING=hello\n\
    RUN echo $GREETING > /one\n\
    COPY files /files\n\
    ARG VERSION=1\n\
    RUN echo $VERSION > /two && \\\n    cat /files/a >> /two\n\
    WORKDIR /work\n";

fn sample() -> Context {
    let context = Context::new(LINES);
    context.0.file("files/a", "a\n");
    context.0.file("files/b", "b\n");
    context
}

impl Context {
    fn ask(&self, what: &str, args: &[&str]) -> Ran {
        let mut all = vec!["image", what];
        all.extend(args);
        all.push(".");
        self.0.run(&all)
    }

    /// The lines of `image plan --json`: those of instructions, and the total.
    #[track_caller]
    fn plan(&self, args: &[&str]) -> (Vec<Value>, Value) {
        let mut all = vec!["--json"];
        all.extend(args);
        let mut lines = self.ask("plan", &all).good().events();
        let total = lines.pop().unwrap();
        assert_eq!(total["event"], "total");
        (lines, total)
    }

    #[track_caller]
    fn shell(&self, at: &str, before: &[&str], command: &[&str]) -> Ran {
        let mut all = vec!["image", "shell", "--at", at];
        all.extend(before);
        all.extend([".", "--"]);
        all.extend(command);
        self.0.run(&all)
    }
}

/// The instruction at a line.
#[track_caller]
fn at(lines: &[Value], line: u64) -> &Value {
    let found = lines.iter().find(|value| value["line"] == line);
    found.unwrap_or_else(|| panic!("line {line} is not among {lines:?}"))
}

#[test]
fn a_plan_says_what_is_there_and_what_is_not() {
    let context = sample();
    let (lines, total) = context.plan(&[]);
    assert_eq!(at(&lines, 5)["state"], "build");
    assert_eq!(at(&lines, 5)["reason"], "never built");
    assert_eq!(at(&lines, 5)["forecast_seconds"], Value::Null);
    // FROM and seven instructions, in their order.
    let numbers: Vec<u64> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 5, 6, 8, 10]);
    assert_eq!(
        (&total["hit"], &total["build"], &total["never_timed"]),
        (&0.into(), &6.into(), &6.into())
    );
    // Nothing was made by asking.
    context.build(&[]).good();
    let (lines, total) = context.plan(&[]);
    assert!(lines.iter().all(|line| line["state"] == "hit" && line["bytes"] == 0), "{lines:?}");
    assert_eq!(at(&lines, 8)["where"], "local");
    assert_eq!((&total["hit"], &total["build"]), (&6.into(), &0.into()));

    context.write(&LINES.replace("/files/a >>", "/files/b >>"));
    let (lines, total) = context.plan(&[]);
    assert_eq!(at(&lines, 6)["state"], "hit");
    assert_eq!(at(&lines, 8)["state"], "build");
    assert_eq!(at(&lines, 8)["reason"], "command changed");
    assert_eq!(at(&lines, 10)["timed"], 1);
    assert!(
        at(&lines, 10)["forecast_90_seconds"].as_f64()
            >= at(&lines, 10)["forecast_seconds"].as_f64()
    );
    assert_eq!(
        (&total["hit"], &total["build"], &total["never_timed"]),
        (&4.into(), &2.into(), &0.into())
    );
    // The edited one counts as what stood there before.
    assert_eq!(total["estimated"], 1);
    assert_eq!(at(&lines, 8)["timed"], 0);
    let from = at(&lines, 8)["forecast_from"].as_str().unwrap();
    assert!(from.contains("/files/a >> /two"), "{from}");
    assert!(at(&lines, 8)["forecast_seconds"].as_f64().is_some());
    assert_eq!(at(&lines, 10)["forecast_from"], Value::Null);
    let text = context.ask("plan", &[]).good().out;
    assert!(text.contains("stage") || text.contains("system: FROM scratch"), "{text}");
    assert!(text.contains("build   8-9  RUN"), "{text}");
    assert!(text.contains("never timed; like an earlier one: median"), "{text}");
    assert!(text.contains("4 to find, 2 to build"), "{text}");
}

#[test]
fn a_plan_with_a_budget_says_after_which_instruction_a_run_stops() {
    let lines = "RUN sleep 0.3; echo one > /one\nRUN sleep 1.2; echo two > /two\n\
                 RUN sleep 0.3; echo three > /three\n";
    let context = Context::new(lines);
    context.build(&[]).good();
    // All of it again, with the times that are known.
    context.0.file("rootfs/etc/passwd", "root:x:0:0:again:/:/bin/sh\n");
    let (_, total) = context.plan(&["--budget", "1h"]);
    assert_eq!(
        (&total["fits"], &total["fits_90"], &total["left"]),
        (&true.into(), &true.into(), &0.into())
    );
    let (_, total) = context.plan(&["--budget", "1s"]);
    assert_eq!(total["fits"], false);
    assert_eq!(total["left"], 2);
    assert_eq!(total["stops_after"]["line"], 4);
    // The second one alone takes longer than that, so no number of runs finishes it.
    assert_eq!(total["too_long"]["line"], 5);
    let text = context.ask("plan", &["--budget", "1s"]).good().out;
    assert!(text.contains("a run would stop after line 4 (RUN sleep 0.3"), "{text}");
    assert!(text.contains("line 5 (RUN sleep 1.2") && text.contains("checkpoint"), "{text}");
    // What the plan says is what happens.
    let ran = context.build(&["--budget", "1s"]).exits(5);
    assert_eq!(super::outcome(&ran, "three"), "skipped");
    let (lines, _) = context.plan(&[]);
    assert_eq!(at(&lines, 4)["state"], "hit");
    assert_eq!(at(&lines, 5)["state"], "build");
}

#[test]
fn an_edited_instruction_waits_for_a_run_that_has_time_for_it() {
    let lines = |more: &str| {
        format!("RUN sleep 1; echo one > /one{more}\nRUN sleep 2; echo two two two > /two{more}\n")
    };
    let context = Context::new(&lines(""));
    context.build(&[]).good();
    context.write(&lines("; true"));
    let (_, total) = context.plan(&["--budget", "3s"]);
    assert_eq!((&total["left"], &total["too_long"]), (&1.into(), &Value::Null), "{total}");
    let ran = context.build(&["--budget", "3s"]).exits(5);
    assert_eq!(super::outcome(&ran, "two two"), "skipped");
    assert_eq!(super::outcome(&ran, "one"), "built");
    context.build(&["--budget", "30s"]).good();
    // One that no run would have time for is begun: it may have been edited because of that.
    context.write(&lines("; true").replace("sleep 2", "sleep 0.1"));
    let (_, total) = context.plan(&["--budget", "1s"]);
    assert_eq!(total["left"], 0, "{total}");
    context.build(&["--budget", "1s"]).good();
}

#[test]
fn a_plan_says_what_has_to_come_and_brings_nothing() {
    let registry = docker_registry(&Options::default());
    let remote = format!("team=oci://{}/images/cache", registry.host());
    let one =
        Context::new("RUN dd if=/dev/urandom of=/big bs=1000 count=300\nRUN echo small > /small\n");
    one.build(&["--remote", &remote, "--require-push"]).good();
    let two = one.elsewhere();
    let (lines, total) = two.plan(&["--remote", &remote]);
    assert_eq!(at(&lines, 4)["state"], "hit");
    assert_eq!(at(&lines, 4)["where"], "team");
    assert_eq!(at(&lines, 4)["bytes"], 300_000);
    assert_eq!(at(&lines, 5)["bytes"], 6);
    assert!(total["bytes"].as_u64().unwrap() > 300_006, "{total}");
    let mut kept = 0;
    for entry in walkdir(&two.0.store.join("blobs")) {
        kept += std::fs::metadata(entry).unwrap().len();
    }
    assert!(kept < 300_000, "{kept} bytes came");
    // Once it is here nothing has to come.
    two.build(&["--remote", &remote]).good();
    let (lines, total) = two.plan(&["--remote", &remote]);
    assert_eq!(at(&lines, 4)["where"], "local");
    assert_eq!(total["bytes"], 0);
}

fn walkdir(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walkdir(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn stages_that_nothing_needs_now_are_marked() {
    let context = Context::new("FROM scratch\nCOPY --from=system /bin /bin\nRUN echo 1 > /one\n");
    context.build(&[]).good();
    context.write("FROM scratch\nCOPY --from=system /bin /bin\nRUN echo 2 > /one\n");
    let (lines, _) = context.plan(&[]);
    assert_eq!(at(&lines, 2)["state"], "unneeded");
    assert_eq!(at(&lines, 5)["state"], "hit");
    assert_eq!(at(&lines, 6)["state"], "build");
}

#[test]
fn why_names_the_first_instruction_that_misses_and_what_differs() {
    let context = sample();
    let first = context.ask("why", &[]).good().out;
    assert!(first.contains("system, line 2\n") && first.contains("never built before"), "{first}");
    context.build(&[]).good();
    let text = context.ask("why", &[]).good().out;
    assert!(text.contains("nothing would be built"), "{text}");

    let why = |part: &str| {
        let ran = context.ask("why", &["--json"]).good();
        let mut lines = ran.events();
        let line = lines.remove(0);
        assert!(lines.is_empty(), "{lines:?}");
        assert!(line["instruction"].as_str().unwrap().contains(part), "{line}");
        line
    };
    let input =
        |line: &Value, number: usize| line["changes"][number]["input"].as_str().unwrap().to_owned();
    // A file of the context, by its name.
    context.0.file("files/b", "other\n");
    context.0.file("files/c", "new\n");
    let line = why("COPY files");
    assert_eq!((&line["line"], &line["follow"]), (&6.into(), &2.into()));
    assert_eq!(input(&line, 0), "files");
    assert_eq!(input(&line, 1), "files > file files/b");
    assert_eq!(input(&line, 2), "files > file files/c");
    let text = context.ask("why", &[]).good().out;
    assert!(text.contains("changed files/b") && text.contains("added files/c"), "{text}");
    context.0.file("files/b", "b\n");
    std::fs::remove_file(context.0.root.join("files/c")).unwrap();

    // The text of a command, part by part.
    context.write(&LINES.replace("cat /files/a", "cat /files/b"));
    let line = why("cat /files/b");
    assert_eq!(line["changes"].as_array().unwrap().len(), 1, "{line}");
    let text = context.ask("why", &[]).good().out;
    assert!(text.contains("- cat /files/a") && text.contains("+ cat /files/b"), "{text}");
    assert!(!text.contains("- echo"), "{text}");

    // One that is new is compared with what is most like it, never with other kinds of instructions.
    context.write(&LINES.replace("COPY files", "RUN echo new > /one\nCOPY files"));
    let line = why("RUN echo new");
    assert_eq!(line["earlier"]["instruction"], "system: RUN echo $GREETING > /one");
    context.write(&format!("{LINES}RUN echo new > /new\n"));
    let line = why("RUN echo new");
    let changes = line["changes"].as_array().unwrap();
    assert!(changes.iter().all(|c| !c["input"].as_str().unwrap().contains("kind")), "{line}");

    // An argument and a variable.
    context.write(LINES);
    let ran = context.ask("why", &["--build-arg", "VERSION=2"]).good().out;
    assert!(ran.contains("line 8-9") && ran.contains("environment VERSION: 1 → 2"), "{ran}");
    context.write(&LINES.replace("GREETING=hello", "GREETING=bye"));
    let line = why("RUN echo $GREETING");
    assert_eq!(input(&line, 0), "environment GREETING");
    assert_eq!(line["line"], 5);
}

#[test]
fn why_names_what_lies_behind_another_stage_and_a_base() {
    let copies = "FROM scratch\nCOPY --from=system /one /two\n";
    let context = Context::new(&format!("RUN echo 1 > /one\n{copies}"));
    context.build(&[]).good();
    context.write(&format!("RUN echo 2 > /one\n{copies}"));
    let lines = context.ask("why", &["--json"]).good().events();
    // What misses first; then what is made from it, which leads to the same.
    assert_eq!(lines[0]["line"], 4);
    assert_eq!(lines[0]["changes"][0]["now"], "echo 2 > /one");
    assert_eq!(lines[1]["line"], 6);
    let last = lines[1]["changes"].as_array().unwrap().last().unwrap();
    assert!(last["input"].as_str().unwrap().ends_with("> command"), "{last}");
    assert_eq!(last["now"], "echo 2 > /one");

    // Another base, under the same name.
    let registry = docker_registry(&Options::default());
    let reference = format!("{}/base:1", registry.host());
    let base = Context::new("RUN echo base > /base\n");
    base.build(&["--push", &reference]).good();
    context.0.file("Dockerfile", format!("FROM {reference}\nRUN cat /base > /copy\n"));
    context.build(&[]).good();
    base.write("RUN echo another > /base\n");
    base.build(&["--push", &reference]).good();
    let text = context.ask("why", &[]).good().out;
    assert!(text.contains("layer 3 of the base"), "{text}");
    assert!(text.contains("content of the layer"), "{text}");
    let (lines, _) = context.plan(&[]);
    assert_eq!(at(&lines, 1)["state"], "fetch");
    assert!(at(&lines, 1)["bytes"].as_u64().unwrap() > 0, "{lines:?}");
}

#[test]
fn a_shell_sees_the_state_after_and_before_an_instruction() {
    let context = sample();
    // Any line of the instruction; its own folder and variables.
    let ran =
        context.shell("9", &[], &["/bin/sh", "-c", "cat /two; echo $GREETING $VERSION; ls /work"]);
    assert_eq!((ran.out.as_str(), ran.code), ("1\na\nhello 1\n", 1), "{}", ran.err);
    assert!(ran.err.contains("/work"), "{}", ran.err);
    let ran = context.shell("8", &["--before"], &["cat", "/two"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    // What comes after a line is not done: nobody needs it.
    let (lines, _) = context.plan(&[]);
    assert_eq!(at(&lines, 8)["state"], "hit");
    assert_eq!(at(&lines, 10)["state"], "build");
    // After files were copied, a folder made, a stage begun.
    let ran = context.shell("6", &[], &["/bin/sh", "-c", "cat /files/b; echo $GREETING-$VERSION"]);
    assert_eq!(ran.good().out, "b\nhello-\n");
    let ran = context.shell("10", &[], &["/bin/sh", "-c", "echo $PWD > there; cat there"]);
    assert_eq!(ran.good().out, "/work\n");
    let ran = context.shell("1", &[], &["/bin/sh", "-c", "true"]);
    assert_ne!(ran.code, 0, "scratch has no shell");
    // Nothing that is done there is kept, and the code is that of the command.
    assert_eq!(context.shell("10", &[], &["/bin/sh", "-c", "ls there; exit 7"]).code, 7);
}

#[test]
fn a_shell_is_opened_where_an_instruction_failed() {
    let context = Context::new(
        "RUN --mount=type=cache,target=/cache echo kept > /cache/file; echo half > /half; exit 3\n\
         RUN echo after > /after\n",
    );
    let ran = context.shell("4", &[], &["cat", "/half", "/cache/file"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "half\nkept\n"), "{}", ran.err);
    assert!(ran.err.contains("exited with 3"), "{}", ran.err);
    // What fails before the line is no state of it; where it is, is said.
    let ran = context.shell("5", &[], &["cat", "/half"]).exits(1);
    assert!(ran.err.contains("--at 4"), "{}", ran.err);
    assert!(!ran.out.contains("half"));
    // Before it, nothing of it is there, and it is not carried out.
    let ran = context.shell("4", &["--before"], &["ls", "/half"]);
    assert!(ran.code != 0 && !ran.err.contains("exited with 3"), "{}", ran.err);
}

#[test]
fn lines_that_only_set_something_have_a_state_too() {
    let context = Context::new(
        "RUN echo one > /one\nENV A=1 \\\n    B=2\nARG C=3\nWORKDIR /work\nUSER 7\nCMD [\"x\"]\n\
         USER 0\nRUN echo two > /two; exit 1\n",
    );
    let shown = |line: &str, before: &[&str]| {
        let script = "echo ${A-no}${B-no}${C-no} $(id -u) $PWD; ls / | grep -E 'one|two'";
        context.shell(line, before, &["/bin/sh", "-c", script]).good().out
    };
    assert_eq!(shown("6", &[]), "12no 0 /\none\n");
    assert_eq!(shown("5", &["--before"]), "nonono 0 /\none\n");
    assert_eq!(shown("7", &[]), "123 0 /\none\n");
    assert_eq!(shown("9", &[]), "123 7 /work\none\n");
    assert_eq!(shown("9", &["--before"]), "123 0 /work\none\n");
    // The last one stands above what fails, which is not run for it.
    assert_eq!(shown("11", &[]), "123 0 /work\none\n");
}

#[test]
fn a_line_without_an_instruction_is_refused_with_those_near_it() {
    let context =
        Context::new("# nothing\nRUN echo one\n\nENV A=1\nFROM system AS other\nRUN echo two\n");
    let ran = context.shell("8", &["--target", "system"], &["true"]).exits(2);
    assert!(ran.err.contains("near it is line 7 (ENV A=1)"), "{}", ran.err);
    assert!(!ran.err.contains("echo two"), "{}", ran.err);
    let ran = context.shell("6", &[], &["true"]).exits(2);
    assert!(ran.err.contains("line 5 (RUN echo one) and line 7 (ENV A=1)"), "{}", ran.err);
    context.shell("99", &[], &["true"]).exits(2);
    let ran = context.shell("8", &["--before"], &["true"]).exits(2);
    assert!(ran.err.contains("nothing before"), "{}", ran.err);
}
