use super::*;

const NOTHING: Limits = Limits { max_size: Some(0), max_age: None };

/// Makes all results look as if they had been used this long ago.
fn age(store: &LocalStore, seconds: i64) {
    store
        .index
        .write("change", |connection| {
            connection.execute("UPDATE results SET last_used = last_used - ?1", [seconds])
        })
        .unwrap();
}

#[test]
fn what_nothing_refers_to_goes() {
    let fixture = Fixture::new();
    let (action, result, tree) = fixture.result("kept");
    let loose = put(&fixture.store, b"loose").unwrap();
    let fixture = fixture.reopen();
    let before = fixture.store.stat().unwrap();
    let report = fixture.store.collect(Limits::default()).unwrap();
    assert_eq!((report.results, report.blobs, report.trees), (0, 1, 0));
    assert_eq!(report.freed + report.left, before.bytes);
    assert_eq!(fixture.store.stat().unwrap().bytes, report.left);
    assert_eq!(fixture.store.missing(&[loose]).unwrap(), [loose]);
    assert_eq!(fixture.store.result(&action).unwrap(), Some(result.clone()));
    fixture.store.stage(&result.outputs, &tree).unwrap();
}

#[test]
fn results_go_least_recently_used_first() {
    let fixture = Fixture::new();
    let big = |name: &str| format!("{name}{}", "x".repeat(100_000));
    let (old, ..) = fixture.result(&big("old"));
    age(&fixture.store, 100);
    let (new, ..) = fixture.result(&big("new"));
    age(&fixture.store, 3600);
    let key = StepKey([3; 32]);
    fixture.store.put_step(&key, &old).unwrap();
    let fixture = fixture.reopen();
    let used = fixture.store.stat().unwrap().bytes;
    let limits = Limits { max_size: Some(used - 50_000), max_age: None };
    let report = fixture.store.collect(limits).unwrap();
    assert_eq!((report.results, report.trees), (1, 1));
    assert!(report.left <= used - 50_000, "{report:?}");
    assert_eq!(fixture.store.result(&old).unwrap(), None);
    assert!(fixture.store.result(&new).unwrap().is_some());
    let stat = fixture.store.stat().unwrap();
    assert_eq!((stat.results, stat.steps, stat.trees), (1, 0, 1));
    assert_eq!(stat.bytes, report.left);
}

#[test]
fn results_go_by_age_and_a_hit_makes_them_young() {
    let fixture = Fixture::new();
    let (used, ..) = fixture.result("used");
    let (unused, ..) = fixture.result("unused");
    age(&fixture.store, 40 * 24 * 3600);
    let fixture = fixture.reopen();
    assert!(fixture.store.result(&used).unwrap().is_some());
    let fixture = fixture.reopen();
    let limits = Limits { max_size: None, max_age: Some(Duration::from_secs(30 * 24 * 3600)) };
    assert_eq!(fixture.store.collect(limits).unwrap().results, 1);
    assert!(fixture.store.result(&used).unwrap().is_some());
    assert_eq!(fixture.store.result(&unused).unwrap(), None);
}

#[test]
fn pins_hold_blobs_and_trees() {
    let fixture = Fixture::new();
    let source = put(&fixture.store, b"source").unwrap();
    let folder = fixture.folder(&[("a", "in a tree", 0o644)]);
    let (tree, _) = fixture.store.import_folder(&folder, Capture::Outputs).unwrap();
    fixture.store.pin("project", &[Pin::Blob(source), Pin::Tree(tree)]).unwrap();
    let all = [source, tree, Digest::of(b"in a tree")];
    let fixture = fixture.reopen();
    fixture.store.collect(NOTHING).unwrap();
    assert_eq!(fixture.store.missing(&all).unwrap(), []);
    let fixture = fixture.reopen();
    fixture.store.pin("project", &[Pin::Blob(source)]).unwrap();
    let fixture = fixture.reopen();
    fixture.store.collect(NOTHING).unwrap();
    assert_eq!(fixture.store.missing(&all).unwrap(), &all[1..]);
}

#[test]
fn what_a_live_process_found_or_put_stays() {
    let fixture = Fixture::new();
    let (action, result, tree) = fixture.result("found");
    age(&fixture.store, 3600);
    let fixture = fixture.reopen();
    // Others are alive: one has found a result, one has put a blob, one has staged a tree.
    let finder = fixture.again();
    let putter = fixture.again();
    assert!(finder.result(&action).unwrap().is_some());
    finder.finish_background();
    let blob = put(&putter, b"put").unwrap();
    let collector = fixture.again();
    collector.collect(NOTHING).unwrap();
    assert_eq!(finder.result(&action).unwrap(), Some(result.clone()));
    assert_eq!(putter.missing(&[blob]).unwrap(), []);

    drop((finder, putter));
    drop(fixture.store);
    age(&collector, 3600);
    let collector = LocalStore::open(&fixture.folder.path().join("store"), ROOT).unwrap();
    let staged = collector.stage(&result.outputs, &tree).unwrap();
    let path = staged.path().to_path_buf();
    collector.collect(NOTHING).unwrap();
    assert!(path.join("bin/tool").exists());
}

#[test]
fn a_process_that_died_protects_nothing() {
    let fixture = Fixture::new();
    put(&fixture.store, b"put").unwrap();
    let dead = fixture.store.path().join("locks/lease-1.dead");
    fs::write(&dead, "").unwrap();
    let fixture = fixture.reopen();
    assert!(!dead.exists());
    fs::write(&dead, "").unwrap();
    assert_eq!(fixture.store.collect(NOTHING).unwrap().blobs, 1);
    assert!(!dead.exists());
}

#[test]
fn notes_go_with_the_results_they_are_about_and_not_before_these_are_kept() {
    let fixture = Fixture::new();
    let (kept, ..) = fixture.result("kept");
    let (gone, ..) = fixture.result("gone");
    let coming = Digest::of(b"about to be kept");
    let all = [("of kept", kept), ("of gone", gone), ("of coming", coming)];
    for (name, action) in &all {
        fixture.store.journal().note(name, action, name.as_bytes()).unwrap();
    }
    let noted = |store: &LocalStore| -> Vec<&str> {
        let journal = store.journal();
        let there = |name: &str| journal.noted(name).unwrap().as_deref() == Some(name.as_bytes());
        all.map(|(name, _)| name).into_iter().filter(|name| there(name)).collect()
    };
    fixture
        .store
        .index
        .write("change", |connection| {
            connection.execute("DELETE FROM results WHERE action = ?1", [&keys::to_bytes(&gone)])
        })
        .unwrap();
    // Whoever noted something may be about to keep the result.
    fixture.again().collect(Limits::default()).unwrap();
    assert_eq!(noted(&fixture.store), ["of kept", "of gone", "of coming"]);
    let fixture = fixture.reopen();
    fixture.store.collect(Limits::default()).unwrap();
    assert_eq!(noted(&fixture.store), ["of kept"]);
    fixture.store.collect(NOTHING).unwrap();
    assert_eq!(noted(&fixture.store), [""; 0]);
}

#[test]
fn logs_of_the_journal_stay() {
    let fixture = Fixture::new();
    let log = put(&fixture.store, b"why it failed").unwrap();
    let record = crate::StepRecord {
        project: "p".into(),
        module: "m".into(),
        step: "s".into(),
        key: StepKey([0; 32]),
        action: None,
        outcome: crate::RecordedOutcome::Failed,
        from: None,
        started: Time { seconds: 0, nanos: 0 },
        took: Duration::ZERO,
        log: Some(log),
        inputs: None,
        message: None,
    };
    fixture.store.journal().record(&record).unwrap();
    let fixture = fixture.reopen();
    fixture.store.collect(NOTHING).unwrap();
    assert_eq!(fixture.store.missing(&[log]).unwrap(), []);
}
