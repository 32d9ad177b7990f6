use super::*;

fn a_record(number: u8, outcome: RecordedOutcome, millis: u64) -> StepRecord {
    StepRecord {
        project: "firmware".into(),
        module: "net/lldpd".into(),
        step: "build".into(),
        key: StepKey([number; 32]),
        action: Some(Digest::of(&[number])),
        outcome,
        from: Some("local".into()),
        started: Time { seconds: -5, nanos: 999_999_999 },
        took: Duration::from_millis(millis),
        log: Some(Digest::EMPTY),
        inputs: None,
        message: Some("exit code 2".into()),
    }
}

#[test]
fn records_read_as_they_were_written_newest_first() {
    let journal = Journal::in_memory().unwrap();
    let records = [
        a_record(1, RecordedOutcome::Built, 100),
        a_record(2, RecordedOutcome::Failed, 200),
        a_record(2, RecordedOutcome::TimedOut, 300),
        a_record(3, RecordedOutcome::Cutoff, 0),
    ];
    journal.record_all(&records).unwrap();
    journal.record(&a_record(4, RecordedOutcome::Hit, 50)).unwrap();
    let history = journal.history("firmware", "net/lldpd", "build", 10).unwrap();
    assert!(history.iter().eq(records.iter().rev()));
    assert_eq!(journal.history("firmware", "net/lldpd", "build", 2).unwrap(), history[..2]);
    let last = journal.last("firmware", "net/lldpd", "build").unwrap();
    assert_eq!(last.as_ref(), records.last());
    assert_eq!(journal.last("other", "net/lldpd", "build").unwrap(), None);
}

#[test]
fn keys_are_found_in_every_project() {
    let journal = Journal::in_memory().unwrap();
    let built = a_record(1, RecordedOutcome::Built, 100);
    let failed =
        StepRecord { project: "other".into(), ..a_record(1, RecordedOutcome::Failed, 100) };
    let key = built.key;
    journal.record(&failed).unwrap();
    assert_eq!(journal.by_key(&key).unwrap(), None);
    assert_eq!(journal.failures(&key).unwrap(), 1);
    journal.record_all(&[built.clone(), failed.clone(), failed]).unwrap();
    assert_eq!(journal.by_key(&key).unwrap(), Some(built));
    // Since it was last built.
    assert_eq!(journal.failures(&key).unwrap(), 2);
    assert_eq!(journal.failures(&StepKey([9; 32])).unwrap(), 0);
}

#[test]
fn durations_are_medians_of_the_last_builds() {
    let journal = Journal::in_memory().unwrap();
    for millis in [9000, 9000, 9000, 10, 500, 20, 400, 30] {
        journal.record(&a_record(1, RecordedOutcome::Built, millis)).unwrap();
        journal.record(&a_record(1, RecordedOutcome::Failed, 1)).unwrap();
    }
    let durations = journal.durations(&[("net/lldpd", "build"), ("none", "build")]).unwrap();
    let expected = ("net/lldpd".to_owned(), "build".to_owned());
    assert_eq!(durations, [(expected, Duration::from_millis(30))].into());
}

#[test]
fn hits_and_misses_are_counted() {
    let journal = Journal::in_memory().unwrap();
    assert_eq!(journal.totals().unwrap(), Totals::default());
    journal.note_hits(1000, Duration::from_secs(60)).unwrap();
    journal
        .record_all(&[
            a_record(1, RecordedOutcome::Hit, 500),
            a_record(1, RecordedOutcome::Built, 250),
            a_record(1, RecordedOutcome::Failed, 250),
        ])
        .unwrap();
    let expected = Totals {
        hits: 1001,
        misses: 2,
        saved: Duration::from_millis(60_500),
        spent: Duration::from_millis(500),
    };
    assert_eq!(journal.totals().unwrap(), expected);
    // However much there is, the sum stays a number.
    for _ in 0..3 {
        journal.note_hits(u64::MAX, Duration::MAX).unwrap();
    }
    assert!(journal.totals().unwrap().hits > 1 << 60);
}

#[test]
fn small_things_are_remembered_under_names() {
    let journal = Journal::in_memory().unwrap();
    assert_eq!(journal.recall("plan").unwrap(), None);
    journal.remember("plan", b"1").unwrap();
    journal.remember("plan", b"\0\xff").unwrap();
    journal.remember("other", b"").unwrap();
    assert_eq!(journal.recall("plan").unwrap().as_deref(), Some(&b"\0\xff"[..]));
    assert_eq!(journal.recall("other").unwrap().as_deref(), Some(&b""[..]));
}

#[test]
fn percentiles_are_of_the_last_twenty_builds() {
    let journal = Journal::in_memory().unwrap();
    let steps = [("net/lldpd", "build")];
    assert!(journal.timings(&steps).unwrap().is_empty());
    // Forgotten, the slow ones, and what is mostly so.
    for millis in [9000; 3].into_iter().chain([800, 900]).chain([100; 18]) {
        journal.record(&a_record(1, RecordedOutcome::Built, millis)).unwrap();
    }
    let timing = |journal: &Journal| *journal.timings(&steps).unwrap().values().next().unwrap();
    let (median, ninety) = (Duration::from_millis(100), Duration::from_millis(100));
    assert_eq!(timing(&journal), Timing { median, ninety, builds: 20 });
    journal.record(&a_record(1, RecordedOutcome::Built, 700)).unwrap();
    journal.record(&a_record(1, RecordedOutcome::Built, 600)).unwrap();
    journal.record(&a_record(1, RecordedOutcome::Built, 500)).unwrap();
    // Three of twenty are slower than the ninety hundredths: the eighteenth is the first of them.
    let median = Duration::from_millis(500);
    let ninety = Duration::from_millis(500);
    assert_eq!(timing(&journal), Timing { median, ninety, builds: 20 });
    // The median of the last five is never more than what most do not exceed.
    for _ in 0..3 {
        journal.record(&a_record(1, RecordedOutcome::Built, 5000)).unwrap();
    }
    let timing = timing(&journal);
    assert_eq!(timing.median, Duration::from_millis(5000));
    assert!(timing.ninety >= timing.median);
}

#[test]
fn the_history_of_steps_that_begin_alike() {
    let journal = Journal::in_memory().unwrap();
    let record = |number: u8, step: &str| StepRecord {
        step: step.into(),
        ..a_record(number, RecordedOutcome::Built, 1)
    };
    let names = ["a: RUN 1", "a%: RUN 1", "b: RUN 1", "a: RUN 2", "a"];
    for (number, name) in names.iter().enumerate() {
        journal.record(&record(u8::try_from(number).unwrap(), name)).unwrap();
    }
    let of = |beginning: &str| {
        let found = journal.history_of("firmware", "net/lldpd", beginning, 10).unwrap();
        found.into_iter().map(|record| record.step).collect::<Vec<_>>()
    };
    assert_eq!(of("a: "), ["a: RUN 2", "a: RUN 1"]);
    assert_eq!(of("a%: "), ["a%: RUN 1"]);
    assert!(of("c").is_empty());
    assert!(journal.history_of("other", "net/lldpd", "a: ", 10).unwrap().is_empty());
}
