//! Many at once, and some that are killed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::tree::{ALL_FOUND, Made, Tree};
use crate::support::Ran;

#[test]
fn eight_checkouts_make_at_once_and_each_has_everything() {
    let tree = Tree::new();
    let reference = tree.beside("reference");
    reference.make(&["platform=vs", "CACHE=no"]);
    let whole = reference.debs("vs");
    let checkouts: Vec<Tree> = (0..8).map(|n| tree.beside(&format!("n{n}"))).collect();
    let children: Vec<_> = checkouts
        .iter()
        .map(|checkout| {
            let mut command = checkout.make_command(&["platform=vs", "--jobs=3"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut built = 0;
    for (child, checkout) in children.into_iter().zip(&checkouts) {
        let made = Made::of(Ran::of(&child.wait_with_output().unwrap()).good());
        assert!(checkout.debs("vs") == whole, "{}", made.outcomes);
        built += made.outcomes.matches(":built").count();
    }
    // Who comes second waits and finds: each package is built once.
    assert_eq!(built, 3);
    tree.all_is_well();
}

#[test]
fn eight_in_one_checkout_do_not_hurt_one_another() {
    let tree = Tree::new();
    let reference = tree.beside("reference");
    reference.make(&["platform=vs", "CACHE=no"]);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = tree.make_command(&["platform=vs"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        Ran::of(&child.wait_with_output().unwrap()).good();
    }
    assert!(tree.debs("vs") == reference.debs("vs"));
    tree.all_is_well();
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_half() {
    let tree = Tree::new();
    tree.vs(&[]);
    let plain = tree.debs("vs");
    tree.vs(&["LED_PROFILE=bright"]);
    let bright = tree.debs("vs");
    let mut killed = 0;
    // From before anything is looked up until after everything is in its place.
    for round in 0..40_u32 {
        let profile = if round % 2 == 0 { "LED_PROFILE=dim" } else { "LED_PROFILE=bright" };
        let mut command = tree.make_command(&["platform=vs", profile, "--jobs=3"]);
        // All of them: make in a group of its own.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let group = rustix::process::Pid::from_child(&child);
        let until = Instant::now() + Duration::from_millis(u64::from(round) * 3);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        if child.try_wait().unwrap().is_none() {
            // It may have ended by itself in between.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            killed += 1;
        }
        child.wait().unwrap();
        whole(&tree.debs("vs"), [&plain, &bright]);
        // Whatever was going on, the next one ends well and finds everything.
        if round % 8 == 7 {
            assert_eq!(tree.vs(&[profile]), ALL_FOUND);
            let wanted = if round % 2 == 0 { &plain } else { &bright };
            assert!(&tree.debs("vs") == wanted);
        }
    }
    assert!(killed >= 5, "only {killed} were killed");
    tree.all_is_well();
}

/// Each file is there whole, as it was before or as it is after; none is missing.
#[track_caller]
fn whole(found: &BTreeMap<String, Vec<u8>>, each: [&BTreeMap<String, Vec<u8>>; 2]) {
    assert_eq!(found.keys().collect::<Vec<_>>(), each[0].keys().collect::<Vec<_>>());
    for (name, bytes) in found {
        assert!(each.iter().any(|all| &all[name] == bytes), "{name} is half");
    }
}
