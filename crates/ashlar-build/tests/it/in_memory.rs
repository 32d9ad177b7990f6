//! What is looked up, what is run and in which order.

use ashlar_build::{Options, StepOutcome};

use crate::world::{World, one_at_a_time, sorted};

#[test]
fn a_hit_prunes_all_that_only_led_to_it() {
    let world = World::new(&[("a", ": one"), ("b", "a: two"), ("c", "b: three"), ("d", ": four")]);
    let first = world.build(&["c", "d"], &one_at_a_time());
    assert_eq!((first.summary.modules, first.summary.built), (4, 4));
    let second = world.build(&["c", "d"], &one_at_a_time());
    assert_eq!((second.summary.modules, second.summary.hit), (2, 2));
    assert_eq!(second.ran, Vec::<String>::new());
}

#[test]
fn what_comes_out_equal_cuts_off_what_follows() {
    let world = World::new(&[("a", ": one"), ("b", "a: two"), ("c", "b: three")]);
    world.build(&["c"], &one_at_a_time());
    world.module("a", ": one # a comment");
    let seen = world.build(&["c"], &one_at_a_time());
    assert_eq!(seen.ran, ["a"]);
    let expected =
        [("a", StepOutcome::Built), ("b", StepOutcome::Cutoff), ("c", StepOutcome::Cutoff)];
    assert_eq!(sorted(&seen), expected.map(|(m, o)| (m.to_owned(), o)).into());
    world.module("a", ": other");
    assert_eq!(world.build(&["c"], &one_at_a_time()).ran, ["a", "b", "c"]);
}

#[test]
fn a_failure_is_remembered_and_never_a_hit() {
    let world = World::new(&[("a", ": fail"), ("b", "a: two"), ("c", ": three")]);
    let options = Options { keep_going: true, ..one_at_a_time() };
    let seen = world.build(&["b", "c"], &options);
    assert_eq!((seen.summary.failed, seen.summary.skipped, seen.summary.built), (1, 1, 1));
    let again = world.build(&["b", "c"], &options);
    assert_eq!((again.summary.failed, again.summary.hit), (1, 1));
    let key = again.summary.failures[0].key;
    assert_eq!(world.journal.failures(&key).unwrap(), 2);
    // Without --keep-going nothing is begun after the failure.
    let world = World::new(&[("a", ": fail"), ("b", "a: two"), ("c", "b: three")]);
    let seen = world.build(&["c"], &one_at_a_time());
    assert_eq!(seen.ran, ["a"]);
    assert_eq!((seen.summary.failed, seen.summary.skipped), (1, 2));
}

#[test]
fn the_longest_chain_goes_first() {
    let world = World::new(&[
        ("short", ": 1"),
        ("x", ": 2"),
        ("y", "x: 3"),
        ("z", "y: 4"),
        ("all", "short z: 5"),
    ]);
    let seen = world.build(&["all"], &one_at_a_time());
    assert_eq!(seen.ran[..2], ["x", "y"]);
}

#[test]
fn rebuilding_a_target_finds_what_it_needs() {
    let world = World::new(&[("a", ": one"), ("b", "a: two")]);
    world.build(&["b"], &one_at_a_time());
    let options = Options { rebuild: true, ..one_at_a_time() };
    let seen = world.build(&["b"], &options);
    assert_eq!(seen.ran, ["b"]);
    assert_eq!((seen.summary.built, seen.summary.hit), (1, 1));
}
