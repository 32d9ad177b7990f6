use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;

fn refused(path: impl AsRef<Path>) -> String {
    Destination::open(path.as_ref(), &Watch::NOBODY).unwrap_err().to_string()
}

#[test]
fn the_root_is_refused_under_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/", &link).unwrap();
    let up = format!("{}{}", folder.path().display(), "/..".repeat(20));
    for path in ["/", "//", "/usr/..", "/./", "/proc/self/root", &up, link.to_str().unwrap()] {
        assert_eq!(refused(path), format!("{path} is the root of this machine's files"));
    }
    let below = link.join("no").join("..");
    let why = format!("{} goes up from a folder that is not there", below.display());
    assert_eq!(refused(&below), why);
    assert!(!Path::new("/no").exists());
}

#[test]
fn what_cannot_be_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    assert_eq!(refused(at("file")), format!("{} is no folder", at("file").display()));
    let through = "goes through something that is no folder";
    assert_eq!(refused(at("file/x")), format!("{} {through}", at("file/x").display()));
    for path in [at("dangling"), at("dangling/x")] {
        let expected = format!("{} is, or goes through, a link to nowhere", path.display());
        assert_eq!(refused(&path), expected);
    }
    assert_eq!(refused(""), " an empty path is no folder");
}

#[test]
fn folders_are_made_and_go_again_when_nothing_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let wanted = folder.path().join("link/a/b");
    let destination = Destination::open(&wanted, &Watch::NOBODY).unwrap();
    let real = fs::canonicalize(folder.path()).unwrap().join("real");
    assert_eq!(destination.path, real.join("a/b"));
    assert!(destination.is_new() && destination.locked);
    destination.give_up();
    assert!(!real.join("a").exists() && real.exists());
    let destination = Destination::open(&wanted, &Watch::NOBODY).unwrap();
    fs::write(real.join("a/kept"), "").unwrap();
    destination.give_up();
    assert!(real.join("a/kept").exists() && !real.join("a/b").exists());
}

#[test]
fn files_that_are_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::open(folder.path(), &Watch::NOBODY).unwrap();
    destination.check(Existing::Refuse, None).unwrap();
    // Only the folder that is our own is none of somebody's files.
    let own = OsStr::new(".ashlar-use-12345678");
    fs::create_dir(folder.path().join(own)).unwrap();
    destination.check(Existing::Refuse, Some(own)).unwrap();
    destination.check(Existing::Refuse, None).unwrap_err();
    fs::remove_dir(folder.path().join(own)).unwrap();
    fs::write(folder.path().join("one"), "").unwrap();
    fs::write(folder.path().join("two"), "").unwrap();
    let error = destination.check(Existing::Refuse, None).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{} is not empty: it has one and 1 more", destination.path.display())
    );
    destination.check(Existing::Merge, None).unwrap();
    destination.check(Existing::Replace, None).unwrap();
}

#[test]
fn a_second_one_waits_says_so_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let place = fs::canonicalize(folder.path()).unwrap();
    let first = Destination::open(&place, &Watch::NOBODY).unwrap();
    let go_on = AtomicBool::new(true);
    let (said, hears) = mpsc::channel();
    let said = std::sync::Mutex::new(said);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let watch = Watch {
                go_on: &|| go_on.load(Ordering::Relaxed),
                moved: &|_| {},
                warn: &|text| said.lock().unwrap().send(text).unwrap(),
            };
            Destination::open(&place, &watch).map(Destination::keep)
        });
        let expected = format!("waiting for another ashlar that uses {}", place.display());
        assert_eq!(hears.recv().unwrap(), expected);
        go_on.store(false, Ordering::Relaxed);
        let error = second.join().unwrap().unwrap_err();
        assert!(matches!(error, DestinationError::Stopped(_)), "{error}");
    });
    // Who waits for a folder that is then replaced gets the new one.
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Destination::open(&place, &Watch::NOBODY).unwrap());
        std::thread::sleep(Duration::from_millis(60));
        let new = place.with_extension("new");
        fs::create_dir(&new).unwrap();
        fs::write(new.join("file"), "").unwrap();
        fs::rename(&new, &place).unwrap();
        drop(first);
        let second = second.join().unwrap();
        assert_eq!(second.names(None).unwrap(), ["file"]);
    });
}
