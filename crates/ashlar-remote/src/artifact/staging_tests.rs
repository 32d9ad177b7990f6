use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use ashlar_store::Watch;

use super::super::merge::Step;
use super::*;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Every path with its mode and content.
fn all(root: &Path) -> BTreeMap<String, String> {
    fn below(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(root.join(at)).unwrap() {
            let path = at.join(entry.unwrap().file_name());
            let full = root.join(&path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let text = if meta.is_dir() {
                below(root, &path, found);
                "dir".to_owned()
            } else if meta.is_symlink() {
                fs::read_link(&full).unwrap().display().to_string()
            } else {
                fs::read_to_string(&full).unwrap()
            };
            found.insert(path.display().to_string(), format!("{:o} {text}", meta.mode() & 0o7777));
        }
    }
    let mut found = BTreeMap::new();
    below(root, Path::new(""), &mut found);
    found
}

struct Folder {
    _top: tempfile::TempDir,
    place: PathBuf,
}

fn folder(files: &[(&str, &str)]) -> Folder {
    let top = tempfile::tempdir().unwrap();
    let place = fs::canonicalize(top.path()).unwrap().join("dest");
    fs::create_dir(&place).unwrap();
    write(&place, files);
    Folder { _top: top, place }
}

impl Folder {
    fn open(&self) -> Destination {
        Destination::open(&self.place, &Watch::NOBODY).unwrap()
    }

    /// What is beside the destination.
    fn beside(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.place.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }
}

const NEW: &[(&str, &str)] = &[("a/one", "new 1"), ("a/b/two", "new 2"), ("three", "new 3")];

#[test]
fn an_empty_folder_is_filled_at_once_and_stays_somebodys() {
    let folder = folder(&[]);
    set_mode(&folder.place, 0o2775).unwrap();
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    assert!(staging.whole);
    assert_eq!(staging.path.parent(), folder.place.parent());
    write(&staging.fresh(), NEW);
    assert!(all(&folder.place).is_empty());
    staging.publish(&destination, Existing::Refuse).unwrap();
    assert_eq!(all(&folder.place).len(), 5);
    assert_eq!(fs::metadata(&folder.place).unwrap().mode() & 0o7777, 0o2775);
    assert_eq!(folder.beside(), ["dest"]);
}

#[test]
fn files_that_came_meanwhile_are_not_buried() {
    let folder = folder(&[]);
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    write(&folder.place, &[("late", "late")]);
    let error = staging.publish(&destination, Existing::Refuse).unwrap_err().to_string();
    assert_eq!(error, format!("{} is not empty: it has late", folder.place.display()));
    assert_eq!(all(&folder.place).len(), 1);
    assert_eq!(folder.beside(), ["dest"]);
}

#[test]
fn replacing_leaves_nothing_of_what_was_there() {
    for whole in [true, false] {
        let folder = folder(&[("a/old", "old"), ("old", "old"), ("three", "old")]);
        let destination = folder.open();
        let mut staging = Staging::make(&destination).unwrap();
        staging.whole = whole;
        write(&staging.fresh(), NEW);
        staging.publish(&destination, Existing::Replace).unwrap();
        let found: Vec<_> = all(&folder.place).into_keys().collect();
        assert_eq!(found, ["a", "a/b", "a/b/two", "a/one", "three"]);
        assert_eq!(folder.beside(), ["dest"]);
    }
}

#[test]
fn merging_keeps_what_only_the_folder_has() {
    let folder = folder(&[("a/b/kept", "kept"), ("a/one", "old"), ("kept", "kept")]);
    symlink("kept", folder.place.join("three")).unwrap();
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    set_mode(&staging.fresh().join("a/b"), 0o500).unwrap();
    staging.publish(&destination, Existing::Merge).unwrap();
    let found = all(&folder.place);
    assert_eq!(found["a/one"], "644 new 1");
    // The link was replaced, and what it led to was not written to.
    assert_eq!((&*found["three"], &*found["kept"]), ("644 new 3", "644 kept"));
    assert_eq!((&*found["a/b/kept"], &*found["a/b/two"]), ("644 kept", "644 new 2"));
    assert_eq!(found["a/b"], "500 dir");
    assert_eq!(folder.beside(), ["dest"]);
}

#[test]
fn files_and_folders_of_one_name_are_not_merged() {
    let folder = folder(&[("a", "a file"), ("three/x", "x")]);
    let before = all(&folder.place);
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    let error = staging.publish(&destination, Existing::Merge).unwrap_err().to_string();
    let expected = "cannot be merged with what is there: a is a file there and a folder here";
    assert_eq!(error, format!("{} {expected} and 1 more", folder.place.display()));
    assert_eq!(all(&folder.place), before);
    // Through a link to a folder nothing is written either.
    fs::remove_file(folder.place.join("a")).unwrap();
    fs::remove_dir_all(folder.place.join("three")).unwrap();
    symlink("/tmp", folder.place.join("a")).unwrap();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    let error = staging.publish(&destination, Existing::Merge).unwrap_err().to_string();
    assert!(error.ends_with("a is a link there and a folder here"), "{error}");
}

#[test]
fn whoever_is_killed_half_way_leaves_nothing_behind() {
    let old = &[("a/b/kept", "kept"), ("a/one", "old"), ("kept", "kept"), ("three", "old")];
    for existing in [Existing::Merge, Existing::Replace] {
        for done in 0.. {
            let folder = folder(old);
            let before = all(&folder.place);
            let destination = folder.open();
            let staging = Staging::make(&destination).unwrap();
            write(&staging.fresh(), NEW);
            set_mode(&staging.fresh().join("a/b"), 0o700).unwrap();
            let steps = match existing {
                Existing::Merge => merge::merging(&staging.fresh(), &folder.place).unwrap(),
                _ => merge::replacing(&staging.fresh(), destination.names(None).unwrap()).unwrap(),
            };
            fs::create_dir(staging.path.join("old")).unwrap();
            plan(&staging, &steps);
            assert_eq!(merge::decode(&merge::encode(&steps)).unwrap(), steps);
            if done > steps.len() {
                assert!(steps.len() > 3);
                break;
            }
            for (index, step) in steps.iter().enumerate().take(done) {
                done_one(&staging, &destination, index, step).unwrap();
            }
            // Killed: nothing is removed, and the lock is free.
            std::mem::forget(staging);
            drop(destination);
            let destination = folder.open();
            assert!(recover(&destination).unwrap().found);
            assert_eq!(all(&folder.place), before, "after {done} steps");
            assert_eq!(folder.beside(), ["dest"]);
            assert_eq!(recover(&destination).unwrap(), Recovered::default());
        }
    }
}

#[test]
fn a_step_that_fails_takes_the_others_back() {
    let folder = folder(&[("a/one", "old"), ("z/x", "x")]);
    let before = all(&folder.place);
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    write(&staging.fresh(), &[("z/y", "y")]);
    // In the way of what the third step takes away.
    let steps = merge::merging(&staging.fresh(), &folder.place).unwrap();
    let last = steps.len() - 1;
    assert!(
        matches!(&steps[1], Step::Swap { path, .. } if path.to_string() == "a/one"),
        "{steps:?}"
    );
    fs::create_dir(staging.path.join("old")).unwrap();
    fs::remove_file(steps[last].path().under(&staging.fresh())).unwrap();
    for (index, step) in steps.iter().enumerate() {
        match done_one(&staging, &destination, index, step) {
            Ok(()) => assert!(index < last),
            Err(error) => {
                assert_eq!(index, last);
                let expected = format!("cannot put files at {}/z/y", folder.place.display());
                assert_eq!(error.to_string(), expected);
            }
        }
    }
    fs::write(staging.fresh().join("z/y"), "y").unwrap();
    let dir = leftover::open(&staging.path).unwrap();
    let ground =
        Ground { staging: dir.as_fd(), place: destination.dir.as_fd(), shown: &folder.place };
    let undone = undo(ground, &steps);
    assert!(undone.stuck.is_empty() && undone.left.is_empty(), "{undone:?}");
    assert_eq!(all(&folder.place), before);
}

/// One that was killed after so many steps.
fn killed(folder: &Folder, existing: Existing, done: usize) -> PathBuf {
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    let steps = match existing {
        Existing::Merge => merge::merging(&staging.fresh(), &folder.place).unwrap(),
        _ => merge::replacing(&staging.fresh(), destination.names(None).unwrap()).unwrap(),
    };
    fs::create_dir(staging.path.join("old")).unwrap();
    plan(&staging, &steps);
    for (index, step) in steps.iter().enumerate().take(done) {
        done_one(&staging, &destination, index, step).unwrap();
    }
    let path = staging.path.clone();
    std::mem::forget(staging);
    path
}

#[test]
fn what_was_taken_away_is_not_lost_when_it_cannot_go_back() {
    let folder = folder(&[("config", "the only copy")]);
    let kept = killed(&folder, Existing::Replace, 1);
    write(&folder.place, &[("config", "recreated")]);
    let destination = folder.open();
    for _ in 0..2 {
        let error = recover(&destination).unwrap_err().to_string();
        assert!(error.contains(&kept.display().to_string()), "{error}");
        assert!(error.starts_with("config cannot go back"), "{error}");
        assert_eq!(fs::read_to_string(kept.join("old/0")).unwrap(), "the only copy");
        assert_eq!(fs::read_to_string(folder.place.join("config")).unwrap(), "recreated");
    }
    fs::remove_file(folder.place.join("config")).unwrap();
    recover(&destination).unwrap();
    assert_eq!(fs::read_to_string(folder.place.join("config")).unwrap(), "the only copy");
    assert_eq!(folder.beside(), ["dest"]);
}

#[test]
fn what_somebody_has_changed_since_stays() {
    for edited in ["three", "a/b/two"] {
        let folder = folder(&[]);
        killed(&folder, Existing::Replace, 2);
        fs::write(folder.place.join(edited), "edited by somebody").unwrap();
        let recovered = recover(&folder.open()).unwrap();
        assert_eq!(recovered.left.len(), 1, "{edited}");
        let text = fs::read_to_string(folder.place.join(edited)).unwrap();
        assert_eq!(text, "edited by somebody");
        assert_eq!(folder.beside(), ["dest"]);
    }
}

/// A plan that would write outside, in a folder with the name of one that waits.
fn forge(at: &Path, outside: &Path, mode: u32) {
    fs::create_dir(at).unwrap();
    fs::create_dir(at.join("old")).unwrap();
    fs::write(at.join("old/0"), "evil").unwrap();
    let steps = [format!("r {}", outside.join("evil").display()), "r ../evil".to_owned()];
    fs::write(at.join("plan"), steps.join("\0")).unwrap();
    set_mode(&at.join("plan"), 0o600).unwrap();
    set_mode(at, mode).unwrap();
}

#[test]
fn plans_of_others_are_not_obeyed() {
    for mode in [0o700, 0o755] {
        for within in [true, false] {
            let folder = folder(&[]);
            let outside = tempfile::tempdir().unwrap();
            let at = match within {
                true => folder.place.join(".ashlar-use-12345678"),
                false => folder.place.with_file_name(".dest.ashlar-use-12345678"),
            };
            forge(&at, outside.path(), mode);
            let before = all(folder.place.parent().unwrap());
            let error = recover(&folder.open()).unwrap_err();
            assert!(matches!(&error, DestinationError::Leftover { path, .. } if *path == at));
            assert_eq!(all(folder.place.parent().unwrap()), before);
            // Also one with a true mark has to make sense.
            set_mode(&at, 0o700).unwrap();
            leftover::mark(&at).unwrap();
            recover(&folder.open()).unwrap_err();
            assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
            assert!(!folder.place.with_file_name("evil").exists());
            assert!(at.join("old/0").exists());
        }
    }
    // A link instead of a folder.
    let folder = folder(&[]);
    let outside = tempfile::tempdir().unwrap();
    forge(&outside.path().join("x"), outside.path(), 0o700);
    symlink(outside.path().join("x"), folder.place.with_file_name(".dest.ashlar-use-1")).unwrap();
    recover(&folder.open()).unwrap_err();
    assert!(outside.path().join("x/plan").exists());
}

#[test]
fn no_step_goes_through_a_link() {
    let folder = folder(&[("a/one", "old")]);
    let outside = tempfile::tempdir().unwrap();
    let destination = folder.open();
    let staging = Staging::make(&destination).unwrap();
    write(&staging.fresh(), NEW);
    let steps = merge::merging(&staging.fresh(), &folder.place).unwrap();
    fs::create_dir(staging.path.join("old")).unwrap();
    fs::remove_dir_all(folder.place.join("a")).unwrap();
    symlink(outside.path(), folder.place.join("a")).unwrap();
    let put = steps.iter().position(|step| step.path().to_string() == "a/b").unwrap();
    done_one(&staging, &destination, put, &steps[put]).unwrap_err();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
}

fn plan(staging: &Staging, steps: &[Step]) {
    fs::write(staging.path.join("plan"), merge::encode(steps)).unwrap();
    set_mode(&staging.path.join("plan"), 0o600).unwrap();
}

fn done_one(
    staging: &Staging,
    destination: &Destination,
    index: usize,
    step: &Step,
) -> Result<(), DestinationError> {
    let dir = leftover::open(&staging.path).unwrap();
    let ground =
        Ground { staging: dir.as_fd(), place: destination.dir.as_fd(), shown: &destination.path };
    act(ground, index, step)
}
