//! What `create` leaves, and what it refuses.

use super::*;
use crate::artifact::inspect;

fn layers(reference: &Reference) -> Vec<usize> {
    let found = inspect(reference, &Access::default(), &Watch::NOBODY).unwrap();
    found.parts.iter().map(|part| part.layers.len()).collect()
}

#[test]
fn made_anew_nothing_is_built_upon() {
    let ground = Ground::new();
    ground.sample("one");
    let mut wanted = ground.create(&[("SOURCE", "one")]);
    made(&wanted);
    ground.write("one/new", "new");
    let (revision, _) = made(&wanted);
    assert_eq!(layers(&revision[0]), [2]);
    wanted.anew = true;
    let (whole, _) = made(&wanted);
    assert_eq!(layers(&whole[0]), [1]);
    assert_ne!(whole, revision);
    for (reference, to) in [(&whole[0], "whole"), (&revision[0], "revision")] {
        ground.use_(reference, to, &Restore::default()).unwrap();
        ground.same("one", to);
    }
    // The next one builds upon the clean one.
    wanted.anew = false;
    ground.write("one/newer", "newer");
    assert_eq!(layers(&made(&wanted).0[0]), [2]);
}

#[test]
fn of_parts_made_anew_nothing_is_built_upon() {
    let ground = Ground::new();
    prefetch(&ground);
    let parts = [
        ("common", "prefetch"),
        ("amd64", "prefetch/output/deps/rpm/x86_64"),
        ("arm64", "prefetch/output/deps/rpm/aarch64"),
    ];
    let mut wanted = composite(&ground, &parts);
    wanted.anew = true;
    let (first, _) = made(&wanted);
    let clean = layers(&first[0]);
    wanted.anew = false;
    ground.write("prefetch/output/deps/rpm/x86_64/new", "new");
    let revised = layers(&made(&wanted).0[0]);
    wanted.anew = true;
    let again = layers(&made(&wanted).0[0]);
    assert!(again == clean && revised != clean, "{revised:?} {clean:?}");
}

#[test]
fn names_of_folders_in_which_files_wait_are_left_out_above_and_refused_below() {
    let ground = Ground::new();
    ground.write("one/a", "a");
    ground.write("one/.ashlar-use-1/b", "b");
    let wanted = ground.create(&[("ONE", "one")]);
    let (made, _) = made(&wanted);
    ground.use_(&made[0], "out", &Restore::default()).unwrap();
    assert_eq!(ground.names("out"), ["a"]);

    ground.write("one/deep/.ashlar-use-1/b", "b");
    let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err();
    assert!(error.to_string().contains("deep/.ashlar-use-1"), "{error}");
}
