//! Damage: it is found, it is a miss, and it heals.

use super::*;

/// Pretends that the machine was started anew since the index was last written.
fn restart(fixture: &Fixture) {
    fixture
        .store
        .index
        .write("change", |connection| {
            connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'boot'", [])
        })
        .unwrap();
}

#[test]
fn damage_is_a_miss_and_heals() {
    let spoil: [Change; 4] = [
        ("truncated", |path| {
            fs::File::options().write(true).open(path).unwrap().set_len(1).unwrap();
        }),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("edited", |path| fs::write(path, "EDITED").unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        for part in ["file", "tree", "log"] {
            let fixture = Fixture::new();
            let (action, result, tree) = fixture.result("before");
            let digest = match part {
                "file" => Digest::of(b"before"),
                "tree" => result.outputs,
                _ => result.log,
            };
            spoil(&fixture.blob(&digest));
            assert_eq!(fixture.store.result(&action).unwrap(), None, "{what} {part}");
            assert_eq!(fixture.store.missing(&[digest]).unwrap(), [digest], "{what} {part}");
            assert_eq!(read(&fixture.store, &digest).unwrap(), None, "{what} {part}");
            let quarantined = fixture.store.stat().unwrap().quarantined;
            assert_eq!(quarantined, u64::from(what != "deleted"), "{what} {part}");
            // Built again, all is well.
            let (again, ..) = fixture.result("before");
            assert_eq!(again, action);
            assert_eq!(fixture.store.result(&action).unwrap(), Some(result.clone()));
            let staged = fixture.again().stage(&result.outputs, &tree).unwrap();
            assert_eq!(fs::read(staged.path().join("bin/tool")).unwrap(), b"before");
        }
    }
}

#[test]
fn rot_is_found_by_whoever_reads() {
    let fixture = Fixture::new();
    let (action, result, tree) = fixture.result("before");
    let digest = Digest::of(b"before");
    let staged = fixture.store.path().join("trees").join(result.outputs.hex());
    rot(&fixture.blob(&digest));
    // A look at the stat data does not show it.
    assert!(fixture.store.result(&action).unwrap().is_some());
    let mut reader = Store::open(&fixture.store, &digest).unwrap().unwrap();
    let mut bytes = Vec::new();
    let error = reader.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(fixture.store.result(&action).unwrap(), None);
    // The staged tree had the same inode.
    assert!(!staged.exists());
    assert!(matches!(
        fixture.store.stage(&result.outputs, &tree),
        Err(StoreError::Missing(missing)) if missing == digest
    ));
    assert!(fixture.store.take_warnings().iter().any(|w| w.contains("damaged")));
}

#[test]
fn what_only_looks_damaged_is_put_right() {
    let fixture = Fixture::new();
    let digest = put(&fixture.store, b"stone").unwrap();
    let path = fixture.blob(&digest);
    fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fixture.store.missing(&[digest]).unwrap(), []);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.mtime(), meta.mode() & 0o7777), (MOMENT, 0o644));
    assert_eq!(fixture.store.stat().unwrap().quarantined, 0);
}

#[test]
fn a_changed_staged_tree_is_made_anew() {
    let changes: [Change; 4] = [
        ("file edited", |tree| fs::write(tree.join("odd"), "ODD").unwrap()),
        ("file added", |tree| fs::write(tree.join("bin/more"), "").unwrap()),
        ("file removed", |tree| fs::remove_file(tree.join("bin/tool")).unwrap()),
        ("mode changed", |tree| {
            fs::set_permissions(tree.join("odd"), fs::Permissions::from_mode(0o666)).unwrap();
        }),
    ];
    for (what, change) in changes {
        let fixture = Fixture::new();
        let folder = fixture.folder(&[("bin/tool", "t", 0o755), ("odd", "odd", 0o600)]);
        let (digest, tree) = fixture.store.keep_folder(&folder, Capture::Outputs).unwrap();
        change(&fixture.store.path().join("trees").join(digest.hex()));
        let other = fixture.again();
        let staged = other.stage(&digest, &tree).unwrap();
        assert_eq!(fs::read(staged.path().join("odd")).unwrap(), b"odd", "{what}");
        assert_eq!(fs::read_dir(staged.path().join("bin")).unwrap().count(), 1, "{what}");
        assert_eq!(fs::metadata(staged.path().join("odd")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(other.take_warnings().len(), 1, "{what}");
    }
}

#[test]
fn a_damaged_index_is_begun_anew() {
    let spoil: [fn(&Path); 3] = [
        |path| fs::write(path, "this is no database, whatever its name says").unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[100..].fill(0xa5);
            fs::write(path, bytes).unwrap();
        },
        |path| fs::File::options().write(true).open(path).unwrap().set_len(5000).unwrap(),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let fixture = Fixture::new();
        let (action, result, _) = fixture.result("1");
        let Fixture { folder, store } = fixture;
        drop(store);
        let index = folder.path().join("store/index.sqlite");
        // What is still in the log beside it would make good for the damage.
        let connection = rusqlite::Connection::open(&index).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(connection);
        spoil(&index);
        let store = LocalStore::open(&folder.path().join("store"), ROOT).unwrap();
        let fixture = Fixture { folder, store };
        assert_eq!(fixture.store.result(&action).unwrap(), None, "{number}");
        let warnings = fixture.store.take_warnings();
        assert!(warnings.iter().any(|w| w.contains("index")), "{number}: {warnings:?}");
        // The blobs are still there, and the result is found again once it is put.
        assert_eq!(fixture.store.missing(&[Digest::of(b"1")]).unwrap(), []);
        fixture.store.put_result(&action, &result).unwrap();
        assert_eq!(fixture.store.result(&action).unwrap(), Some(result));
    }
}

#[test]
fn what_a_power_cut_may_have_taken_is_compared_first() {
    let fixture = Fixture::new();
    let (action, result, _) = fixture.result("before");
    let (sound, kept, _) = fixture.result("sound");
    rot(&fixture.blob(&Digest::of(b"before")));
    restart(&fixture);
    let fixture = fixture.reopen();
    assert_eq!(fixture.store.result(&action).unwrap(), None);
    assert_eq!(fixture.store.result(&sound).unwrap(), Some(kept));
    assert_eq!(fixture.store.stat().unwrap().quarantined, 1);
    // And before it is counted on for something new.
    assert_eq!(fixture.result("before").1.outputs, result.outputs);
    assert!(fixture.store.result(&action).unwrap().is_some());
}

#[test]
fn what_was_synced_is_trusted_after_a_power_cut() {
    let fixture = Fixture::new();
    let (action, ..) = fixture.result("before");
    rot(&fixture.blob(&Digest::of(b"before")));
    // The clock of a file system moves in steps.
    std::thread::sleep(Duration::from_millis(20));
    fixture.store.sync().unwrap();
    restart(&fixture);
    let fixture = fixture.reopen();
    assert!(fixture.store.result(&action).unwrap().is_some());
    // Verifying finds it nevertheless.
    let report = fixture.store.verify(true, &no_progress).unwrap();
    assert_eq!(report.damaged, [Digest::of(b"before")]);
    assert_eq!(report.incomplete, [action]);
    assert_eq!(fixture.store.result(&action).unwrap(), None);
    assert!(fixture.store.verify(false, &no_progress).unwrap().is_clean());
}

#[test]
fn verifying_without_repair_changes_nothing() {
    let fixture = Fixture::new();
    let (action, result, _) = fixture.result("before");
    fs::write(fixture.store.path().join("trees").join(result.outputs.hex()).join("more"), "")
        .unwrap();
    rot(&fixture.blob(&result.log));
    let report = fixture.store.verify(false, &no_progress).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged_trees, [result.outputs.hex()]);
    assert_eq!(report.incomplete, [action]);
    assert_eq!(fixture.store.stat().unwrap().quarantined, 0);
    assert_eq!(fixture.store.verify(false, &no_progress).unwrap(), report);
    fixture.store.verify(true, &no_progress).unwrap();
    assert!(fixture.store.verify(false, &no_progress).unwrap().is_clean());
}
