//! What of a composite artifact is there, and what is not.

use super::*;

/// Takes some parts, and says what of them came and what was said.
fn taken(ground: &Ground, reference: &Reference, parts: &[&str]) -> (Vec<String>, Vec<String>) {
    let part = |name: &&str| match *name {
        "source" => Part::Source,
        arch => Part::arch(arch).unwrap(),
    };
    let selection = Selection::Parts(parts.iter().map(part).collect());
    let how = Restore { selection, existing: Existing::Replace, ..Restore::default() };
    let heard = ground.use_(reference, "taken", &how).unwrap();
    (ground.names("taken"), heard.said())
}

#[test]
fn parts_that_were_not_given_are_not_there() {
    let ground = Ground::new();
    for name in ["common", "amd64", "arm64", "source"] {
        ground.write(&format!("{name}/{name}.rpm"), name);
    }
    let make = |parts: &[&str]| {
        let parts: Vec<(&str, &str)> = parts.iter().map(|part| (*part, *part)).collect();
        made(&composite(&ground, &parts)).0.remove(0)
    };
    let files = |names: &[&str]| names.iter().map(|name| format!("{name}.rpm")).collect::<Vec<_>>();

    let no_common = make(&["amd64", "arm64", "source"]);
    assert_eq!(taken(&ground, &no_common, &["arm64"]), (files(&["arm64"]), vec![]));
    assert_eq!(taken(&ground, &no_common, &["source"]), (files(&["source"]), vec![]));

    let no_source = make(&["common", "amd64", "arm64"]);
    assert_eq!(taken(&ground, &no_source, &["amd64"]), (files(&["amd64", "common"]), vec![]));
    let said = vec![format!("{no_source} has no part for source: it has common, amd64, arm64")];
    assert_eq!(taken(&ground, &no_source, &["source"]), (files(&["common"]), said.clone()));
    // Alone with an architecture it lies where that would lie without it.
    assert_eq!(taken(&ground, &no_source, &["amd64", "source"]).0, files(&["amd64", "common"]));

    let neither = make(&["amd64"]);
    assert_eq!(taken(&ground, &neither, &["amd64"]), (files(&["amd64"]), vec![]));
    let (names, said) = taken(&ground, &neither, &["source"]);
    assert_eq!((names.len(), said.len()), (0, 1), "{said:?}");
    assert!(ground.at("taken").is_dir());

    // An architecture is needed by whoever asks for it.
    let sources_only = make(&["common", "source"]);
    for (reference, there) in [
        (&no_common, "amd64, arm64, source"),
        (&no_source, "common, amd64, arm64"),
        (&neither, "amd64"),
        (&sources_only, "common, source"),
    ] {
        for more in [&["s390x"][..], &["s390x", "source"]] {
            let part = |name: &&str| match *name {
                "source" => Part::Source,
                arch => Part::arch(arch).unwrap(),
            };
            let selection = Selection::Parts(more.iter().map(part).collect());
            let how = Restore { selection, ..Restore::default() };
            let error = ground.use_(reference, "no", &how).err().unwrap();
            assert_eq!(error, format!("{reference} has no part for s390x: it has {there}"));
            assert!(!ground.at("no").exists());
        }
    }
    // What is common only has no parts to choose from.
    let common_only = make(&["common"]);
    assert_eq!(taken(&ground, &common_only, &["s390x"]), (files(&["common"]), vec![]));
}

/// At other paths they are other entries of the archive, and each part's layers have their own: see
/// ARCHITECTURE.md.
#[test]
fn equal_files_at_other_paths_move_once_to_whoever_takes_several_parts() {
    let ground = Ground::new();
    for arch in ["x86_64", "aarch64"] {
        ground.write(&format!("p/rpm/{arch}/noarch.rpm"), noise(1, 400_000));
    }
    ground.write("p/rpm/x86_64/own.rpm", noise(2, 100_000));
    ground.write("p/rpm/aarch64/own.rpm", noise(3, 100_000));
    let parts = [("common", "p"), ("amd64", "p/rpm/x86_64"), ("arm64", "p/rpm/aarch64")];
    let (references, heard) = made(&composite(&ground, &parts));
    assert!((1_000_000..1_030_000).contains(&heard.bytes()), "{}", heard.bytes());
    let heard = ground.use_(&references[0], "one", &arch("arm64")).unwrap();
    assert!((500_000..530_000).contains(&heard.bytes()), "{}", heard.bytes());
    let all = Restore { selection: Selection::All, ..Restore::default() };
    let heard = ground.use_(&references[0], "all", &all).unwrap();
    assert!((600_000..630_000).contains(&heard.bytes()), "{}", heard.bytes());
    ground.same("p", "all");
}

#[test]
fn a_part_or_a_folder_that_is_given_twice_is_refused_or_one() {
    let ground = Ground::new();
    ground.write("a/one", "1");
    ground.write("b/two", "2");
    symlink("a", ground.at("link")).unwrap();
    // One architecture by two of its names: both folders are its own.
    let (two, _) = made(&composite(&ground, &[("amd64", "a"), ("x86_64", "b")]));
    ground.use_(&two[0], "out", &arch("amd64")).unwrap();
    assert_eq!(ground.names("out"), ["one", "two"]);
    // One folder, by whatever path, for one part or two.
    for (one, other) in [("amd64", "amd64"), ("amd64", "x86_64"), ("amd64", "arm64")] {
        for path in ["a", "link", "b/../a"] {
            let wanted = composite(&ground, &[(one, "a"), (other, path)]);
            let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err();
            assert_eq!(error.to_string(), format!("{} is given twice", ground.at("a").display()));
        }
    }
    let wanted = composite(&ground, &[("common", "a"), ("common", "b")]);
    let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err();
    assert!(error.to_string().starts_with("there are two common parts"), "{error}");
    // Different files at one path of one architecture.
    ground.write("b/one", "other");
    let wanted = composite(&ground, &[("amd64", "a"), ("x86_64", "b")]);
    let error = create(&wanted, &Access::default(), &Watch::NOBODY).unwrap_err();
    assert_eq!(error.to_string(), "amd64 and amd64 both have `one`, and it is not the same");
}
