//! What people read when they ask: plan, why, show, log, list, graph. Whole outputs.

use snapbox::str;

use super::sample;
use crate::snapshot;

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
      inputs key format: 3
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
             dependency order: one two
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
      inputs key format: 3
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
             dependency order: one two
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
