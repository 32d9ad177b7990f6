//! Steps that do not come to a good end.

use snapbox::str;

use super::{says, with};

#[test]
fn two_dependencies_with_one_path() {
    let project = with(
        "depends = [\"one\", \"d1\", \"d2\"]\n[build]\nkind = \"script\"\nsteps = ['cat /etc/conf']\n",
    );
    for name in ["d1", "d2"] {
        project.module(
            name,
            &format!("[build]\nkind = \"script\"\nsteps = ['mkdir -p $DESTDIR/etc; echo {name} > $DESTDIR/etc/conf; echo same > $DESTDIR/etc/same']\n"),
        );
    }
    project.build(&["one", "d1", "d2"]);
    says(
        &project,
        2,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its dependencies d1 and d2 have different files at `etc/conf`
  help: allow it with `overlap = ["etc/conf"]` under [outputs] of x
5 modules: 4 hits, 1 failed in [TIME]

"#]],
    );
    project.module(
        "x",
        &format!("{}[outputs]\noverlap = [\"etc/*\"]\n", project.read("modules/x.toml")),
    );
    project.build(&["x"]);
    let log = project.run(&["log", "x"]).good().out;
    assert!(log.contains("\nd2\n"), "the later one is seen: {log}");
}

#[test]
fn commands_that_fail() {
    let script = |text: &str| with(&format!("[build]\nkind = \"script\"\n{text}\n"));
    let project = script("steps = ['echo before', 'false', 'echo after']");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its command exited with 1
  | ==> step 1
  | before
  | ==> step 2
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = script("steps = ['echo $UNSET_VARIABLE']");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its command exited with 2
  | ==> step 1
  | /bin/sh: UNSET_VARIABLE: parameter not set
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = script("steps = ['kill -9 $$']");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its command was ended by signal 9
  | ==> step 1
  | Killed
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = script("timeout = \"1s\"\nsteps = ['echo before; sleep 60']");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: it took longer than [TIME] and was killed (`timeout` of the module)
  | ==> step 1
  | before
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = script("steps = ['if (((']");
    project.run(&["build", "x"]).exits(1).says("syntax error");
}

#[test]
fn outputs_that_are_not_as_expected() {
    let project = with(
        "[build]\nkind = \"script\"\nsteps = ['echo > $DESTDIR/there']\n[outputs]\nexpect = [\"usr/bin/*\", \"there\", \"lib/{a,b}\"]\n",
    );
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its command succeeded, but nothing in the outputs matches `usr/bin/*`, `lib/{a,b}`
  | ==> step 1
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = with("[build]\nkind = \"script\"\nsteps = ['busybox mkfifo $DESTDIR/fifo']\n");
    says(
        &project,
        1,
        str![[r#"
1 module to build
building x
failed x after [TIME]: its outputs cannot be kept: fifo is a FIFO
  | ==> step 1
  the whole log: ashlar log x
  a shell in its sandbox: ashlar shell x
1 module: 1 failed in [TIME]

"#]],
    );
    let project = with("[build]\nkind = \"script\"\nsteps = ['rm -r $DESTDIR; echo > $DESTDIR']\n");
    let ran = project.run(&["build", "x"]).exits(1);
    assert!(ran.err.contains("failed x"), "{}", ran.err);
}

#[test]
fn output_without_end_is_bounded_and_binary_output_is_no_problem() {
    let project = with(
        "[build]\nkind = \"script\"\nsteps = ['printf \"\\\\377\\\\000\\\\033[2J\\\\n\"; exit 3']\n",
    );
    let ran = project.run(&["build", "x"]).exits(1);
    assert!(ran.err.contains("its command exited with 3"), "{}", ran.err);
    assert!(
        !project.run(&["build", "--color", "never", "x"]).exits(1).err.contains('\x1b'),
        "raw escapes reach the terminal"
    );
    let project = with(
        "[build]\nkind = \"script\"\nsteps = ['dd if=/dev/zero bs=1000000 count=5 2>/dev/null; exit 3']\n",
    );
    let ran = project.run(&["build", "x"]).exits(1);
    assert!(ran.err.len() < 100_000, "{} bytes", ran.err.len());
}
