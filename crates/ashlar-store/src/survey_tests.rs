use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use ashlar_object::{Digest, Node};

use super::*;

fn sample(at: &Path, backwards: bool) {
    let mut files = vec![("a/one", "1"), ("a/two", "2"), ("b/one", "1"), ("run", "#!"), ("e", "")];
    if backwards {
        files.reverse();
    }
    for (path, text) in files {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::set_permissions(at.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("a/one", at.join("link")).unwrap();
}

fn text(survey: &Survey, content: &str) -> io::Result<String> {
    let mut text = String::new();
    let reader = survey.open(&Digest::of(content.as_bytes())).map_err(io::Error::other)?;
    reader.ok_or_else(|| io::Error::other("missing"))?.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn equal_files_are_equal_trees_whatever_order_times_and_owners() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    sample(one.path(), false);
    sample(two.path(), true);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(77);
    let file = fs::File::options().write(true).open(two.path().join("a/two")).unwrap();
    file.set_modified(long_ago).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(two.path().join("a/one"), Some(1234), Some(1234)).unwrap();
    }
    fs::set_permissions(two.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let (one, two) = (survey(one.path(), &[]).unwrap(), survey(two.path(), &[]).unwrap());
    assert_eq!(one.tree().digest(), two.tree().digest());
    let Some(Node::File(run)) = one.tree().get(&"run".parse().unwrap()) else { panic!("run") };
    assert_eq!(run.meta.mode, 0o4755);
    assert_eq!(one.path(&Digest::of(b"1")), Some(Path::new("a/one")));
    assert_eq!(text(&one, "1").unwrap(), "1");
    assert_eq!(text(&one, "").unwrap(), "");
    assert!(one.open(&Digest::of(b"nowhere")).unwrap().is_none());
}

#[test]
fn what_is_left_out_is_not_even_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path(), false);
    // A FIFO would be refused.
    let fifo = folder.path().join("b/fifo");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = survey(folder.path(), &[]).unwrap_err();
    assert_eq!(error.to_string(), format!("{} is a FIFO, which cannot be kept", fifo.display()));
    let survey = survey(folder.path(), &["b".parse().unwrap(), "a/two".parse().unwrap()]).unwrap();
    let mut paths = Vec::new();
    survey.tree().walk(|entry| paths.push(entry.path.to_string()));
    assert_eq!(paths, ["a", "a/one", "e", "link", "run"]);
    assert_eq!(survey.contents().count(), 3);
}

#[test]
fn a_file_that_changed_after_the_survey_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for now in ["other", "longer than before", "s", ""] {
        fs::write(&path, "first").unwrap();
        let survey = survey(folder.path(), &[]).unwrap();
        fs::write(&path, now).unwrap();
        let error = text(&survey, "first").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let expected = format!("{} changed while it was being read", path.display());
        assert_eq!(error.to_string(), expected, "{now:?}");
    }
}

#[test]
fn a_file_that_is_being_written_to_is_refused() {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, vec![b'x'; 64 << 20]).unwrap();
    let stop = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"one more line\n").unwrap();
            }
        });
        let result = survey(folder.path(), &[]);
        stop.store(true, Ordering::Relaxed);
        result.unwrap_err()
    });
    let expected =
        format!("{} is a file that is being written to, which cannot be kept", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = survey(Path::new("/nowhere/at/all"), &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nowhere/at/all");
}
