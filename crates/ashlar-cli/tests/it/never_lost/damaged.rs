//! Damage of everything a store keeps: it is noticed, told, and healed by the next build.

use std::path::{Path, PathBuf};

use ashlar_object::Digest;

use super::random::Random;
use super::traces::no_workspace_left;
use crate::support::Project;

const APP: &str = "application\nlibrary\nlibrary\nlibrary\n";

/// The sample, built.
fn built() -> Project {
    let project = Project::sample();
    project.build(&["app"]);
    assert_eq!(project.output("app", "bin/app"), APP);
    project
}

/// Where the content is kept.
fn blob(project: &Project, content: &str) -> PathBuf {
    let hex = Digest::of(content.as_bytes()).hex();
    let is_it = |path: &&PathBuf| path.file_name().unwrap().to_str() == Some(&hex);
    project.blobs().iter().find(is_it).expect("the content is in the store").clone()
}

/// Changes one byte in the middle.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Changes one byte in the middle, and lets nothing but the content show it.
fn flip_unseen(path: &Path) {
    let before = std::fs::metadata(path).unwrap().modified().unwrap();
    flip(path);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

/// A folder in place of what was there.
fn replace_with_folder(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

/// A link in place of what was there.
fn replace_with_link(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: &[Damage] = &[
    ("flipped", flip),
    ("truncated", |path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("emptied", |path| std::fs::write(path, "").unwrap()),
    ("longer", |path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes.push(b'x');
        std::fs::write(path, bytes).unwrap();
    }),
    ("deleted", |path| std::fs::remove_file(path).unwrap()),
    ("a folder", replace_with_folder),
    ("a link", replace_with_link),
];

#[test]
fn every_kind_of_damage_of_every_kind_of_blob_heals() {
    let project = built();
    for (number, blob) in project.blobs().iter().enumerate() {
        // Each blob another kind; each kind meets many blobs.
        let (what, damage) = DAMAGES[number % DAMAGES.len()];
        if std::fs::metadata(blob).is_ok_and(|facts| facts.len() < 2) {
            continue;
        }
        let what = format!("{}: {what}", blob.display());
        damage(blob);
        // `app` is built for another input, so that what it stands on is needed.
        project.file("src/app/app.txt", format!("application\n{number}\n"));
        project.build(&["app"]);
        let expected = format!("application\n{number}\nlibrary\nlibrary\nlibrary\n");
        assert_eq!(project.output("app", "bin/app"), expected, "{what}");
    }
    // What is not needed any more may stay damaged until somebody looks.
    project.run(&["store", "verify", "--repair"]).good();
    project.run(&["store", "verify"]).good().says("all is well");
    project.file("src/app/app.txt", "application\n");
    project.build(&["app"]);
    assert_eq!(project.output("app", "bin/app"), APP);
    no_workspace_left(&project);
}

#[test]
fn each_kind_of_damage_of_a_result_makes_it_a_miss() {
    for (what, damage) in DAMAGES {
        let project = built();
        damage(&blob(&project, APP));
        let ran = project.run(&["build", "--json", "app"]).good();
        let modules = ran.modules();
        assert!(modules.contains(&("app".to_owned(), "built".to_owned())), "{what}: {modules:?}");
        assert_eq!(modules.len(), 4, "{what}: only app is built, from what it needs: {modules:?}");
        if *what != "deleted" {
            let aside = std::fs::read_dir(project.store.join("quarantine")).unwrap().count();
            assert!(aside >= 1, "{what}: it was not put aside");
        }
        assert_eq!(project.output("app", "bin/app"), APP, "{what}");
        assert_eq!(project.outcomes(&["app"]), "app:hit", "{what}");
    }
}

#[test]
fn damage_that_no_time_shows_is_found_by_verify() {
    let project = built();
    flip_unseen(&blob(&project, APP));
    let hex = Digest::of(APP.as_bytes()).hex();
    for _ in 0..2 {
        // Without `--repair` nothing is changed.
        let ran = project.run(&["store", "verify"]).exits(4);
        assert!(ran.out.contains(&hex), "{}", ran.out);
        ran.says("`ashlar store verify --repair` puts them aside");
    }
    project.run(&["store", "verify", "--repair"]).good();
    project.run(&["store", "verify"]).good().says("all is well");
    assert_eq!(project.outcomes(&["app"]), "app:built lib:hit one:hit two:hit");
    assert_eq!(project.output("app", "bin/app"), APP);
}

#[test]
fn damage_that_no_time_shows_is_never_checked_out() {
    let project = built();
    flip_unseen(&blob(&project, APP));
    let dest = project.root.join("dest");
    let args = ["checkout", "app", dest.to_str().unwrap()];
    project.run(&args).exits(4).says("is not in the store").says("`ashlar build` makes it again");
    assert!(!dest.exists(), "a checkout is whole or not there");
    project.build(&["app"]);
    project.run(&args).good();
    assert_eq!(std::fs::read_to_string(dest.join("bin/app")).unwrap(), APP);
}

#[test]
fn a_staged_tree_that_was_touched_is_made_anew() {
    type Touch = fn(&Path);
    let touches: &[(&str, Touch)] = &[
        ("a changed file", |tree| flip(&file_in(tree))),
        ("a removed file", |tree| std::fs::remove_file(file_in(tree)).unwrap()),
        ("one more file", |tree| std::fs::write(tree.join("more"), "more\n").unwrap()),
        ("a file in place of one", |tree| {
            let path = file_in(tree);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(path, "another\n").unwrap();
        }),
        ("another mode", |tree| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(file_in(tree), mode).unwrap();
        }),
        ("no folder", |tree| std::fs::remove_dir_all(tree).unwrap()),
        ("an empty folder", |tree| {
            std::fs::remove_dir_all(tree).unwrap();
            std::fs::create_dir(tree).unwrap();
        }),
        ("a file in place of the folder", |tree| {
            std::fs::remove_dir_all(tree).unwrap();
            std::fs::write(tree, "").unwrap();
        }),
    ];
    let project = built();
    for (number, (what, touch)) in touches.iter().enumerate() {
        let trees: Vec<_> = std::fs::read_dir(project.store.join("trees"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(trees.len() > 3);
        for tree in &trees {
            touch(tree);
        }
        project.file("src/app/app.txt", format!("application\n{number}\n"));
        project.build(&["app"]);
        let expected = format!("application\n{number}\nlibrary\nlibrary\nlibrary\n");
        assert_eq!(project.output("app", "bin/app"), expected, "{what}");
    }
    project.run(&["store", "verify", "--repair"]).good();
    project.run(&["store", "verify"]).good().says("all is well");
    no_workspace_left(&project);
}

/// Some file of a tree; a new one where there is none.
fn file_in(tree: &Path) -> PathBuf {
    let mut todo = vec![tree.to_path_buf()];
    while let Some(folder) = todo.pop() {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            let facts = std::fs::symlink_metadata(&path).unwrap();
            // Not the shell, without which nothing at all would run.
            if facts.is_dir() {
                todo.push(path);
            } else if facts.is_file() && facts.len() < 100_000 {
                return path;
            }
        }
    }
    let path = tree.join("new");
    std::fs::write(&path, "new\n").unwrap();
    path
}

#[test]
fn a_damaged_index_is_begun_anew() {
    type Ruin = fn(&Path, &mut Random);
    let ruins: &[(&str, bool, Ruin)] = &[
        ("nothing in it", false, |path, _| std::fs::write(path, "").unwrap()),
        ("gone", false, |path, _| std::fs::remove_file(path).unwrap()),
        ("garbage", true, |path, random| {
            let garbage: Vec<u8> = (0..40_000).map(|_| random.within(0..256) as u8).collect();
            std::fs::write(path, garbage).unwrap();
        }),
        ("text", true, |path, _| std::fs::write(path, "no database\n").unwrap()),
        ("cut in half", true, |path, _| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("cut after a page", true, |path, _| {
            std::fs::File::options().write(true).open(path).unwrap().set_len(4096).unwrap();
        }),
        ("its head gone", true, |path, _| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[..100].fill(0);
            std::fs::write(path, bytes).unwrap();
        }),
        ("all but its first page garbage", true, |path, random| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[4096..].fill_with(|| random.within(0..256) as u8);
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    let mut random = Random::new();
    for (what, told, ruin) in ruins {
        let project = built();
        ruin(&project.store.join("index.sqlite"), &mut random);
        let ran = project.run(&["build", "--json", "app"]).good();
        if *told {
            let said = ran.err.contains("the index of the store was damaged");
            assert!(said && ran.err.contains("begun anew"), "{what}: {}", ran.err);
        }
        let modules = ran.modules();
        assert_eq!(modules.len(), 4, "{what}");
        assert!(modules.iter().all(|(_, outcome)| outcome == "built"), "{what}: {modules:?}");
        assert_eq!(project.output("app", "bin/app"), APP, "{what}");
        let ran = project.run(&["build", "--json", "app"]).good();
        assert_eq!(ran.modules(), [("app".to_owned(), "hit".to_owned())], "{what}");
        assert_eq!(ran.err, "", "{what}");
        project.run(&["store", "verify"]).good().says("all is well");
    }
}

#[test]
fn pages_of_the_index_that_were_overwritten_lead_to_nothing_wrong() {
    let mut random = Random::new();
    for _ in 0..6 {
        let project = built();
        let path = project.store.join("index.sqlite");
        let mut bytes = std::fs::read(&path).unwrap();
        let pages = bytes.len() as u64 / 4096;
        let page = random.within(1..pages) as usize * 4096;
        bytes[page..page + 4096].fill_with(|| random.within(0..256) as u8);
        std::fs::write(&path, bytes).unwrap();

        project.file("src/app/app.txt", "application\nanew\n");
        let expected = "application\nanew\nlibrary\nlibrary\nlibrary\n";
        let dest = project.root.join("dest");
        let checkout = ["checkout", "--force", "app", dest.to_str().unwrap()];
        // Whoever meets the damage says so, and may end there; the next build goes on. What comes
        // out is right.
        let mut said = String::new();
        for round in 0.. {
            let built = project.run(&["build", "app"]);
            let out = project.run(&checkout);
            said = format!("{said}{}{}", built.err, out.err);
            assert!([0, 4].contains(&built.code), "{said}");
            assert!([0, 1, 4].contains(&out.code), "{said}");
            assert!(!said.contains("panicked"), "{said}");
            if out.code == 0 {
                let found = std::fs::read_to_string(dest.join("bin/app")).unwrap();
                assert_eq!(found, expected, "page {}: {said}", page / 4096);
            }
            if built.code == 0 && out.code == 0 {
                break;
            }
            assert!(said.contains("the index of the store"), "{said}");
            assert!(round < 3, "it does not heal: {said}");
        }
        assert_eq!(project.outcomes(&["app"]), "app:hit");
    }
}
