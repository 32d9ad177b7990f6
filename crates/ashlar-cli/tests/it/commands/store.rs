//! `ashlar store`: figures, checks, collection.

use snapbox::str;

use super::sample;
use crate::snapshot;

#[test]
fn figures() {
    let project = sample();
    project.build(&["app"]);
    project.build(&["app"]);
    let stat = project.run(&["store", "stat", "--json"]).good().events().pop().unwrap();
    assert_eq!(stat["results"], 4);
    assert_eq!((stat["hits"].as_u64(), stat["misses"].as_u64()), (Some(1), Some(4)));
    assert!(stat["seconds_saved"].as_f64().unwrap() > 0.0, "{stat}");
    let ran = project.run(&["store", "stat"]).good();
    snapshot::eq(
        &project,
        &ran.out,
        str![[r#"
[ROOT]/store
  size         [..] MiB
  results      4
  blobs        [..]
  staged trees [..]
  quarantined  0
  hits         1 (20 %)
  misses       4
  time saved   [TIME]

"#]],
    );
}

#[test]
fn damage_is_found_named_and_repaired() {
    let project = sample();
    project.build(&["app"]);
    let ran = project.run(&["store", "verify"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
checked [..] blobs, [..] MiB: all is well

"#]],
    );
    let blob = project
        .blobs()
        .into_iter()
        .find(|path| std::fs::read(path).unwrap().starts_with(b"application\nlibrary"))
        .unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[3] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();
    let ran = project.run(&["store", "verify"]).exits(4);
    snapshot::eq(
        &project,
        &format!("{}{}", ran.out, ran.err),
        str![[r#"
damaged    blob [KEY]
incomplete result of action [KEY]
checked [..] blobs, [..] MiB: 2 damaged; `ashlar store verify --repair` puts them aside

"#]],
    );
    let ran = project.run(&["store", "verify", "--json"]).exits(4);
    let report = ran.events().pop().unwrap();
    assert_eq!(report["damaged"].as_array().unwrap().len(), 1, "{report}");
    let ran = project.run(&["store", "verify", "--repair"]).good();
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
checked [..] blobs, [..] MiB: 2 put aside; the next build makes them again

"#]],
    );
    project.run(&["store", "verify"]).good();
    assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit");
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let project = sample();
    let ran = project.run(&["store", "gc"]).exits(2);
    snapshot::eq(
        &project,
        &ran.err,
        str![[r#"
error: nothing says what may be removed
  help: ashlar store gc --max-size 10G --max-age 30d

"#]],
    );
    project.build(&["app"]);
    project.run(&["store", "gc", "--max-size", "10G", "--max-age", "30d"]).good();
    assert_eq!(project.outcomes(&["app"]), "app:hit");
    let ran = project.run(&["store", "gc", "--json", "--max-size", "0"]).good();
    let report = ran.events().pop().unwrap();
    assert_eq!(report["results"], 4, "{report}");
    assert!(report["freed"].as_u64().unwrap() > 0, "{report}");
    let plan = project.run(&["plan", "-j2", "lib"]).good();
    snapshot::eq(
        &project,
        &plan.out,
        str![[r#"
build  lib: its result is gone ([TIME])
0 to find, 1 to build, in about [TIME] with 2 jobs (the longest chain takes [TIME])

"#]],
    );
    assert_eq!(project.outcomes(&["app"]), "app:built lib:built one:built two:built");
    for wrong in [["--max-size", "10X"], ["--max-age", "-1"], ["--max-size", "99999999999T"]] {
        project.run(&["store", "gc", wrong[0], wrong[1]]).exits(2);
    }
}
