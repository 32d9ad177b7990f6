//! What concerns one package is no reason to build another.

use super::tree::{ALL_BUILT, ALL_FOUND, Tree};

#[test]
fn a_flag_that_concerns_one_package_misses_only_that_one() {
    let tree = Tree::new();
    tree.vs(&[]);
    assert_eq!(tree.vs(&["LED_PROFILE=bright"]), "ledd:built libportname:hit portctl:hit");
    // In another file than those all packages share.
    tree.edit("rules/config", "LED_PROFILE ?= dim", "LED_PROFILE ?= bright");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
}

#[test]
fn a_package_may_leave_out_what_all_share() {
    let tree = Tree::new();
    tree.edit("rules/ledd.mk", "$(eval", "$(LEDD)_COMMON = no\n$(eval");
    tree.vs(&[]);
    tree.edit("rules/functions", "# What changes every package,", "# All that changes each,");
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:built");
}

#[test]
fn a_switch_leaves_out_what_all_share() {
    let mut tree = Tree::new();
    tree.set("ASHLAR_NO_COMMON", "1");
    assert_eq!(tree.vs(&[]), ALL_BUILT);
    tree.edit("rules/functions", "# What changes", "# All that changes");
    assert_eq!(tree.vs(&[]), ALL_FOUND);
    // With them it is another key.
    tree.env.remove("ASHLAR_NO_COMMON");
    assert_eq!(tree.vs(&[]), ALL_BUILT);
}

#[test]
fn a_comment_in_a_library_does_not_reach_its_users() {
    let tree = Tree::new();
    tree.edit("src/libportname/portname.c", "#include <stdio.h>", "#include <stdio.h> /* one */");
    tree.vs(&[]);
    let first = tree.debs("vs");
    tree.edit("src/libportname/portname.c", "/* one */", "/* two */");
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:hit");
    assert!(tree.debs("vs") == first);
    // A declaration in its header does.
    tree.edit("src/libportname/portname.h", "#endif", "int port_count(void);\n\n#endif");
    assert_eq!(tree.vs(&[]), "ledd:hit libportname:built portctl:built");
}

#[test]
fn why_names_what_changed() {
    let tree = Tree::new();
    tree.vs(&[]);
    let why = |args: &[&str]| {
        let mut all = vec!["platform=vs", "why-ledd"];
        all.extend(args);
        tree.make(&all).ran.out
    };
    let out = why(&[]);
    assert!(out.contains("would not be run"), "{out}");
    // Found, and yet there is something to say: what was different when it was made.
    let made = tree.make(&["platform=vs", "LED_PROFILE=bright", "RUN_OPTIONS="]);
    made.ran.says("vs/ledd: env LED_PROFILE: dim → bright");
    let out = why(&["LED_PROFILE=bright"]);
    assert!(out.contains("the last time"), "{out}");
    assert!(out.contains("env LED_PROFILE: dim → bright"), "{out}");
    // Not made yet.
    tree.edit("src/ledd/ledd.h", "in percent", "per cent");
    let out = why(&["BLDENV=trixie"]);
    assert!(out.contains("would be run"), "{out}");
    assert!(out.contains("env BLDENV: bookworm → trixie"), "{out}");
    assert!(out.contains("src/ledd/ledd.h"), "{out}");
    let log = tree.ashlar(&["log", "--run", "vs/ledd"]).good();
    assert!((log.out.clone() + &log.err).contains("Applying patch blink.patch"), "{}", log.out);
}

#[test]
fn figures_say_what_was_found_and_saved() {
    let tree = Tree::new();
    tree.vs(&[]);
    tree.vs(&[]);
    let stat = tree.ashlar(&["stat", "--json"]).good();
    for event in stat.events() {
        assert_eq!((&event["hits"], &event["misses"]), (&1.into(), &1.into()), "{event}");
        assert!(event["seconds_saved"].as_f64().unwrap() > 0.0, "{event}");
    }
    assert_eq!(stat.events().len(), 3);
}
