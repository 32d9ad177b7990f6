//! What people read of a build, where it is no terminal. Whole outputs.

use snapbox::str;

use super::sample;
use crate::snapshot;

#[test]
fn a_build_tells_its_steps_and_says_at_once_when_there_are_none() {
    let project = sample();
    let ran = project.run(&["build", "-j1"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
4 modules to build
building lib
built lib in [TIME]
building two
built two in [TIME]
building one
built one in [TIME]
building app
built app in [TIME]
4 modules: 4 built in [TIME]

"#]],
    );
    assert_eq!(ran.out, "");
    let ran = project.run(&["build"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
1 module: 1 hit in [TIME]: nothing had to be done

"#]],
    );
    let ran = project.run(&["build", "-v", "all"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
hit app  [SHORT]
1 module to build
building beside
beside: ==> step 1
built beside in [TIME]
2 modules: 1 built, 1 hit in [TIME]

"#]],
    );
    project.file("src/lib/lib.txt", "# a comment\nlibrary\n");
    let ran = project.run(&["build", "-j1", "-v", "--color", "always", "one"]).good();
    snapshot::eq(
        &project,
        &ran.err.replace('\x1b', "^"),
        str![[r#"
2 modules to build, about [TIME]
^[2mbuilding^[0m lib
^[2mlib:^[0m ==> step 1
^[32mbuilt^[0m lib in [TIME]
^[2mbuilding^[0m one
^[32mcut off^[0m one: what it needs came out equal
^[32m2 modules: 1 built, 1 cut off in [TIME]^[0m

"#]],
    );
    let ran = project.run(&["build", "--rebuild", "one"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
1 module to build, about [TIME]
building one
built one in [TIME]
2 modules: 1 built, 1 hit in [TIME]

"#]],
    );
}

#[test]
fn a_failure_shows_the_end_of_its_log_and_what_to_do() {
    let project = sample();
    project.build(&["lib"]);
    let ran = project.run(&["build", "bad"]).exits(1);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
1 module to build
building bad
failed bad after [TIME]: its command exited with 7
  | line 5
  | line 6
  | line 7
  | line 8
  | line 9
  | line 10
  | line 11
  | line 12
  | line 13
  | line 14
  | line 15
  | line 16
  | line 17
  | line 18
  | line 19
  | line 20
  | line 21
  | line 22
  | ==> step 2
  | oops
  the whole log: ashlar log bad
  a shell in its sandbox: ashlar shell bad
2 modules: 1 hit, 1 failed in [TIME]

"#]],
    );
    let log = project.run(&["log", "bad"]).good();
    snapshot::eq(
        &project,
        &log.out,
        str![[r#"
==> step 1
line 1
line 2
line 3
line 4
line 5
line 6
line 7
line 8
line 9
line 10
line 11
line 12
line 13
line 14
line 15
line 16
line 17
line 18
line 19
line 20
line 21
line 22
==> step 2
oops

"#]],
    );
    // With --keep-going what follows does not scroll the failure away: it is said again.
    project.module(
        "later",
        "[build]\nkind = \"script\"\nsteps = ['sleep 0.5; echo x > $DESTDIR/x']\n",
    );
    let ran = project.run(&["build", "-j2", "-k", "bad", "later"]).exits(1);
    let end = ran.err.split_inclusive('\n').skip_while(|line| !line.contains("ashlar shell"));
    let end = end.filter(|line| !line.starts_with("building"));
    snapshot::eq(
        &project,
        &end.collect::<String>(),
        str![[r#"
  a shell in its sandbox: ashlar shell bad
built later in [TIME]
3 modules: 1 built, 1 hit, 1 failed in [TIME]
failed bad: its command exited with 7

"#]],
    );
    let ran = project.run(&["plan", "bad"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
hit    lib (local)
build  bad: never built; failed 2 times with these very inputs (never timed)
1 to find, 1 to build; 1 step was never timed

"#]],
    );
    let ran = project.run(&["why", "bad"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
bad would be built
it failed 2 times with these very inputs
it was never built before

"#]],
    );
    let ran = project.run(&["log", "--history", "bad"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
[WHEN]  failed      [TIME]  [SHORT]: its command exited with 7
[WHEN]  failed      [TIME]  [SHORT]: its command exited with 7

"#]],
    );
}

#[test]
fn without_keep_going_nothing_more_is_begun() {
    let project = sample();
    project.module("after", "depends = [\"bad\"]\n[build]\nkind = \"group\"\n");
    project.module("needs", "depends = [\"bad\"]\n[build]\nkind = \"script\"\nsteps = ['true']\n");
    let ran = project.run(&["build", "-j1", "-k", "needs", "beside"]).exits(1);
    assert!(ran.err.contains("3 modules") || ran.err.contains("4 modules"), "{}", ran.err);
    ran.says("1 failed").says("1 not tried").says("built beside");
    project.run(&["build", "needs"]).exits(1).says("1 not tried");
}
