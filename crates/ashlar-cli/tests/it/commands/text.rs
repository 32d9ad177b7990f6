//! What people read, where it is no terminal: whole outputs.

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
failed bad: its command exited with 7

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
    let ran = project.run(&["build", "-k", "bad", "all"]).exits(1);
    snapshot::eq(
        &project,
        ran.err.lines().rev().take(2).collect::<Vec<_>>().join("\n").as_str(),
        str![[r#"
failed bad: its command exited with 7
6 modules: 4 built, 1 hit, 1 failed in [TIME]
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

#[test]
fn a_plan_tells_what_and_why_and_how_long() {
    let project = sample();
    let ran = project.run(&["plan"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
build  lib: never built (never timed)
build  one: never built (never timed)
build  two: never built (never timed)
build  app: never built (never timed)
0 to find, 4 to build; 4 steps were never timed

"#]],
    );
    project.build(&["app"]);
    let ran = project.run(&["plan", "all"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
hit    app (local)
build  beside: never built (never timed)
1 to find, 1 to build; 1 step was never timed

"#]],
    );
    project.file("src/lib/lib.txt", "other\n");
    let ran = project.run(&["plan", "-j2", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
build  lib: source src/lib changed (changed lib.txt) ([TIME])
build  one: dependency lib changed ← source src/lib changed (changed lib.txt) ([TIME])
build  two: dependency lib changed ← source src/lib changed (changed lib.txt) ([TIME])
build  app: dependency one changed ← dependency lib changed ← source src/lib changed (changed lib.txt) and 1 more ([TIME])
0 to find, 4 to build, in about [TIME] with 2 jobs (the longest chain takes [TIME])

"#]],
    );
    assert_eq!(project.outcomes(&["beside"]), "beside:built", "a plan builds nothing");
}

#[test]
fn why_names_the_root_cause() {
    let project = sample();
    let ran = project.run(&["why", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app would be built
it was never built before

"#]],
    );
    project.build(&["app"]);
    let ran = project.run(&["why", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app would not be built: its result is there (built [WHEN], [TIME])
no build with another key is known

"#]],
    );
    project.file("src/lib/lib.txt", "other\n");
    project.edit("modules/app.toml", "kind = \"script\"", "kind = \"script\"\ntimeout = \"1m\"");
    project.edit("modules/one.toml", "mkdir", ":; mkdir");
    let ran = project.run(&["why", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app would be built
reason: what differs from the nearest earlier key [SHORT] ([WHEN], [TIME])
  dependency one: [SHORT] → [SHORT]
    script step 1
      - mkdir -p $DESTDIR/usr/share; cat /usr/lib/lib.txt > $DESTDIR/usr/share/one
      + :; mkdir -p $DESTDIR/usr/share; cat /usr/lib/lib.txt > $DESTDIR/usr/share/one
    dependency lib: [SHORT] → [SHORT]
      source src/lib: [SHORT] → [SHORT]
        changed lib.txt
  dependency two: [SHORT] → [SHORT]
    dependency lib: [SHORT] → [SHORT]

"#]],
    );
    project.build(&["app"]);
    let ran = project.run(&["why", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app would not be built: its result is there (built [WHEN], [TIME])
it was built then: what differs from the nearest earlier key [SHORT] ([WHEN], [TIME])
  dependency one: [SHORT] → [SHORT]
    script step 1
      - mkdir -p $DESTDIR/usr/share; cat /usr/lib/lib.txt > $DESTDIR/usr/share/one
      + :; mkdir -p $DESTDIR/usr/share; cat /usr/lib/lib.txt > $DESTDIR/usr/share/one
    dependency lib: [SHORT] → [SHORT]
      source src/lib: [SHORT] → [SHORT]
        changed lib.txt
  dependency two: [SHORT] → [SHORT]
    dependency lib: [SHORT] → [SHORT]

"#]],
    );
}

#[test]
fn show_tells_everything_of_a_module() {
    let project = sample();
    let ran = project.run(&["show", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app
        file modules/app.toml
        kind script
        base busybox
     depends one two
    step key [KEY]
       state not built as it is now
      inputs key format: 1
             project salt: nothing
             module salt: nothing
             architecture: x86_64
             kind: script
             script ashlar: [SHORT]
             script step 1: mkdir -p $DESTDIR/bin; cat app.txt /usr/share/one /usr/share/two /usr/lib/lib.txt > $DESTDIR/bin/app
             base busybox: [SHORT]
             source src/app: [SHORT]
             dependency one: [SHORT]
             dependency two: [SHORT]
             outputs expect: bin/app

"#]],
    );
    project.build(&["app"]);
    let ran = project.run(&["show", "--files", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
app
        file modules/app.toml
        kind script
        base busybox
     depends one two
    step key [KEY]
       state built
      action [DIGEST]
     outputs [DIGEST]
       built [WHEN] in [TIME]
       holds 2 entries, 36 bytes
      inputs key format: 1
             project salt: nothing
             module salt: nothing
             architecture: x86_64
             kind: script
             script ashlar: [SHORT]
             script step 1: mkdir -p $DESTDIR/bin; cat app.txt /usr/share/one /usr/share/two /usr/lib/lib.txt > $DESTDIR/bin/app
             base busybox: [SHORT]
             source src/app: [SHORT]
             dependency one: [SHORT]
             dependency two: [SHORT]
             outputs expect: bin/app
     history [WHEN] built in [TIME]
0644         36 bin/app

"#]],
    );
    let ran = project.run(&["show", "all"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
all: Everything
        file modules/all.toml
        kind group
     depends app beside

"#]],
    );
}

#[test]
fn logs_of_hits_and_history() {
    let project = sample();
    project.build(&["app"]);
    project.edit("src/app/app.txt", "application", "changed");
    project.build(&["app"]);
    project.build(&["app"]);
    let ran = project.run(&["log", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
==> step 1

"#]],
    );
    let ran = project.run(&["log", "--history", "app"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
[WHEN]  built       [TIME]  [SHORT]
[WHEN]  built       [TIME]  [SHORT]

"#]],
    );
    // Another checkout finds the log of what it did not build.
    let mut other = sample();
    other.store.clone_from(&project.store);
    assert_eq!(other.run(&["log", "lib"]).good().out, "==> step 1\n");
}

#[test]
fn list_and_graph() {
    let project = sample();
    let ran = project.run(&["list"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
all     group      Everything
app     script
bad     script     Fails
beside  script
lib     script
one     script
random  script     Never the same
two     script

"#]],
    );
    let ran = project.run(&["list", "--color", "always"]).good();
    assert!(ran.out.starts_with("\x1b[1mall\x1b[0m"), "{}", ran.out);
    project.build(&["one"]);
    let ran = project.run(&["graph", "all"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
digraph ashlar {
  rankdir=LR;
  node [shape=box, fontname=sans];
  "lib" [label="lib", style=filled, fillcolor=palegreen];
  "one" [label="one", style=filled, fillcolor=palegreen];
  "one" -> "lib";
  "two" [label="two", style=filled, fillcolor=lightyellow];
  "two" -> "lib";
  "app" [label="app", style=filled, fillcolor=lightyellow];
  "app" -> "one";
  "app" -> "two";
  "beside" [label="beside", style=filled, fillcolor=lightyellow];
  "all" [label="all", shape=folder];
  "all" -> "app";
  "all" -> "beside";
}

"#]],
    );
}
