//! Flavours, checkouts and people that share a store.

use super::tree::{ALL_BUILT, ALL_FOUND, Tree};
use crate::never_lost::mounts::Mount;
use crate::support::ASHLAR;

/// Twice, for both flavours.
fn both(all: &str) -> String {
    all.split(' ').flat_map(|one| [one, one]).collect::<Vec<_>>().join(" ")
}

#[test]
fn deleting_everything_and_making_again_restores_all() {
    let tree = Tree::new();
    assert_eq!(tree.make(&[]).outcomes, both(ALL_BUILT));
    let all = ["vs", "generic"].map(|flavour| tree.debs(flavour));
    tree.clean();
    let made = tree.make(&["--jobs=4"]);
    assert_eq!(made.outcomes, both(ALL_FOUND));
    assert!(["vs", "generic"].map(|flavour| tree.debs(flavour)) == all);
    // What the commands printed is shown again: with --json on standard error.
    assert!(made.ran.err.contains("Applying patch blink.patch"), "{}", made.ran.err);
    // Plain make makes the same.
    tree.clean();
    assert_eq!(tree.make(&["CACHE=no"]).outcomes, "");
    assert!(["vs", "generic"].map(|flavour| tree.debs(flavour)) == all);
    tree.all_is_well();
}

#[test]
fn flavours_side_by_side_do_not_take_turns() {
    let tree = Tree::new();
    tree.make(&["platform=vs"]);
    tree.make(&["platform=generic"]);
    for _ in 0..2 {
        for flavour in ["vs", "generic"] {
            let made = tree.make(&[&format!("platform={flavour}")]);
            assert_eq!(made.outcomes, ALL_FOUND, "{flavour}");
        }
    }
    assert_eq!(
        (tree.ledd("vs"), tree.ledd("generic")),
        ("vs: 40 %\n".into(), "generic: 40 %\n".into())
    );
    assert_eq!(tree.portctl("generic"), "platform generic\nEthernet1\n");
}

#[test]
fn a_second_checkout_finds_what_the_first_one_made() {
    let tree = Tree::new();
    tree.vs(&[]);
    let second = tree.beside("elsewhere");
    assert_eq!(second.vs(&[]), ALL_FOUND);
    assert!(second.debs("vs") == tree.debs("vs"));
    // Both at once, each with a change of its own.
    second.edit("src/ledd/ledd.c", "LED_BRIGHT 40", "LED_BRIGHT 41");
    assert_eq!(second.vs(&[]), "ledd:built libportname:hit portctl:hit");
    assert_eq!((second.ledd("vs"), tree.ledd("vs")), ("vs: 41 %\n".into(), "vs: 40 %\n".into()));
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn a_store_that_cannot_be_written_gives_what_it_has() {
    let tree = Tree::new();
    tree.vs(&[]);
    let second = tree.beside("elsewhere");
    let Some(_read_only) = Mount::read_only(&tree.store) else { return };
    assert_eq!(second.vs(&[]), ALL_FOUND);
    assert!(second.debs("vs") == tree.debs("vs"));
    // What is not in it is built, and is there, but not kept.
    second.edit("src/ledd/ledd.c", "LED_BRIGHT 40", "LED_BRIGHT 41");
    assert_eq!(second.vs(&[]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(second.ledd("vs"), "vs: 41 %\n");
    assert_eq!(second.vs(&[]), "ledd:built libportname:hit portctl:hit");
}

#[test]
fn a_pull_request_reads_and_leaves_nothing() {
    let mut tree = Tree::new();
    tree.vs(&[]);
    tree.set("ASHLAR_CACHE", "read");
    tree.edit("src/ledd/ledd.c", "LED_BRIGHT 40", "LED_BRIGHT 41");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(tree.ledd("vs"), "vs: 41 %\n");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    tree.env.remove("ASHLAR_CACHE");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:hit");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn an_official_build_finds_nothing_and_leaves_everything() {
    let mut tree = Tree::new();
    tree.vs(&[]);
    tree.set("ASHLAR_CACHE", "write");
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    tree.set("ASHLAR_CACHE", "off");
    assert_eq!(tree.vs(&[]), "");
    // One package is read, all others are written.
    tree.set("ASHLAR_CACHE", "write,vs/libportname=read");
    assert_eq!(tree.vs(&[]), "ledd:built libportname:hit portctl:built");
    tree.env.remove("ASHLAR_CACHE");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn two_stores_share_a_remote_and_uncommitted_work_stays_at_home() {
    let tree = Tree::new();
    let far = tree.root.parent().unwrap().join("far");
    let remote = |write: &str| {
        let url = format!("url = \"dir:{}\"", far.display());
        format!(
            "[project]\nname = \"example\"\n[[remote]]\nname = \"team\"\nwrite = {write}\n{url}\n"
        )
    };
    tree.file("ashlar.toml", remote("\"clean\""));
    tree.commit_all();
    assert_eq!(tree.vs(&[]), ALL_BUILT);

    let mut second = tree.beside("elsewhere");
    second.store = tree.root.parent().unwrap().join("second-store");
    second.file("ashlar.toml", remote("false"));
    let made = second.make(&["platform=vs"]);
    assert_eq!(made.outcomes, ALL_FOUND);
    assert!(made.ran.out.contains("\"from\":\"team\""), "{}", made.ran.out);
    assert!(second.debs("vs") == tree.debs("vs"));

    // What is not committed stays here; so does what was made with it.
    tree.edit("src/libportname/portname.c", "\"eth%u\"", "\"port%u\"");
    tree.edit("src/libportname/patches/ethernet-names.patch", "\"eth%u\"", "\"port%u\"");
    tree.edit(
        "src/libportname/patches/names-start-at-one.patch",
        "+    int length = snprintf(name, size, \"Ethernet%u\"",
        "+    int length = snprintf(name, size, \"Port%u\"",
    );
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:built");
    for path in [
        "src/libportname/portname.c",
        "src/libportname/patches/ethernet-names.patch",
        "src/libportname/patches/names-start-at-one.patch",
    ] {
        std::fs::copy(tree.root.join(path), second.root.join(path)).unwrap();
    }
    assert_eq!(second.vs(&[]), "ledd:hit libportname:built portctl:built");
}

#[test]
fn the_readme_runs_in_one_command() {
    // As somebody types it: the program is in the PATH, nothing else is said.
    let tree = Tree::new();
    let folder = std::path::Path::new(ASHLAR).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(folder.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    for _ in 0..2 {
        let mut command = tree.command("make", &[]);
        command.env("PATH", path.as_ref().unwrap());
        crate::support::Ran::of(&command.output().unwrap()).good();
        assert_eq!(tree.portctl("generic"), "platform generic\nEthernet1\n");
        tree.clean();
    }
}
