//! What may be vouched for: a result from a remote that anybody writes to never gets to one that
//! is signed, neither itself nor through what was built on it.

use ashlar_build::Keys;
use ashlar_recipe::Write;
use ashlar_store::MemoryRemote;

use crate::world::{Beside, World, one_at_a_time};

const MODULES: &[(&str, &str)] =
    &[("a", ": one"), ("b", "a: two"), ("c", "b: three"), ("d", ": four")];

fn key(name: &str) -> Keys {
    [name.to_owned()].into()
}

/// A remote with the results of all modules, left there by somebody else.
fn filled(name: &str) -> MemoryRemote {
    let remote = MemoryRemote::new(name);
    let remotes = vec![(&remote, false, Write::Yes)];
    let beside = Beside { remotes, ..Beside::default() };
    World::new(MODULES).build_beside(&["c", "d"], &one_at_a_time(), &beside);
    remote.take_asked();
    remote
}

fn pushed(remote: &MemoryRemote) -> Vec<String> {
    let mut all: Vec<String> =
        remote.take_asked().pushed.into_iter().map(|publication| publication.lineage).collect();
    all.sort();
    all
}

#[test]
fn what_anybody_left_is_not_vouched_for_nor_what_was_built_on_it() {
    let cache = filled("cache");
    for (signs, keys) in [(vec!["release"], vec![]), (vec![], vec![("release", key("ci"))])] {
        let release = MemoryRemote::new("release");
        let remotes = vec![(&release, true, Write::Yes), (&cache, true, Write::No)];
        let beside =
            Beside { remotes, signs, keys: keys.into_iter().collect(), ..Beside::default() };
        let world = World::new(MODULES);
        world.module("c", "b: other");
        world.module("d", ": also other");
        let seen = world.build_beside(&["c", "d"], &one_at_a_time(), &beside);
        assert_eq!(seen.ran.len(), 2);
        assert_eq!(seen.from["b"], "cache");
        assert_eq!(pushed(&release), ["fake/d/build"]);
        assert_eq!(seen.summary.remotes[0].untrusted, 3, "a, b, and c on top of them");
        // Nor later, when nobody remembers the run.
        let transfer = world.push(&["c", "d"], &beside);
        assert_eq!(pushed(&release), ["fake/d/build"]);
        assert_eq!((transfer.remotes[0].untrusted, transfer.remotes[0].failed), (3, 0));
        // Another remote, for which nobody vouches, gets all.
        let other = MemoryRemote::new("other");
        let remotes = vec![(&other, false, Write::Yes)];
        world.push(&["c", "d"], &Beside { remotes, ..Beside::default() });
        assert_eq!(pushed(&other).len(), 4);
    }
}

#[test]
fn what_was_signed_by_the_same_keys_is_handed_on() {
    let cache = filled("cache");
    for (of_cache, sent) in [(key("ci"), 1), (key("other"), 0)] {
        let release = MemoryRemote::new("release");
        let beside = Beside {
            remotes: vec![(&release, true, Write::Yes), (&cache, true, Write::No)],
            keys: [("release", key("ci")), ("cache", of_cache)].into(),
            ..Beside::default()
        };
        World::new(MODULES).build_beside(&["b"], &one_at_a_time(), &beside);
        assert_eq!(pushed(&release).len(), sent);
    }
}

#[test]
fn a_store_that_was_filled_without_signatures_does_not_satisfy_who_requires_them() {
    let cache = filled("cache");
    let world = World::new(MODULES);
    let anything = Beside { remotes: vec![(&cache, true, Write::No)], ..Beside::default() };
    assert!(world.build_beside(&["c"], &one_at_a_time(), &anything).ran.is_empty());
    let release = MemoryRemote::new("release");
    let strict = Beside {
        remotes: vec![(&release, true, Write::Yes)],
        keys: [("release", key("ci"))].into(),
        accepted: vec![key("ci")],
        ..Beside::default()
    };
    assert_eq!(world.build_beside(&["c"], &one_at_a_time(), &strict).ran, ["a", "b", "c"]);
    assert_eq!(pushed(&release).len(), 3, "all of it was built here");
    assert_eq!(world.build_beside(&["c"], &one_at_a_time(), &strict).from["c"], "local");
}
