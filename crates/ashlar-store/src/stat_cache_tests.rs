use std::fs;
use std::time::Duration;

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn cache(&self) -> StatCache {
        StatCache::load(self.folder.path().join("cache"))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn digest(&self, cache: &StatCache) -> Digest {
        cache.digest_file(&self.file(), &fs::symlink_metadata(self.file()).unwrap()).unwrap()
    }

    fn is_known(&self, cache: &StatCache) -> bool {
        let meta = fs::symlink_metadata(self.file()).unwrap();
        cache.find(&self.file(), &Stamp::from(&meta)).is_some()
    }
}

fn let_the_clock_move_on() {
    std::thread::sleep(Duration::from_millis(40));
}

#[test]
fn what_was_read_is_not_read_again() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let_the_clock_move_on();
    let cache = fixture.cache();
    assert_eq!(fixture.digest(&cache), Digest::of(b"1"));
    assert!(fixture.is_known(&cache));
    cache.save().unwrap();
    assert!(fixture.is_known(&fixture.cache()));
}

#[test]
fn changes_at_the_same_moment_are_seen() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    for number in 0..2000 {
        let content = format!("{number:04}");
        fs::write(fixture.file(), &content).unwrap();
        assert_eq!(fixture.digest(&cache), Digest::of(content.as_bytes()));
    }
}

#[test]
fn a_change_that_hides_its_time_is_seen() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let meta = fs::metadata(fixture.file()).unwrap();
    let_the_clock_move_on();
    let cache = fixture.cache();
    fixture.digest(&cache);
    assert!(fixture.is_known(&cache));
    fs::write(fixture.file(), "2").unwrap();
    File::open(fixture.file()).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    assert_eq!(fixture.digest(&cache), Digest::of(b"2"));
}

#[test]
fn a_young_entry_is_kept_and_not_trusted() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let meta = fs::symlink_metadata(fixture.file()).unwrap();
    let mut stamp = Stamp::from(&meta);
    let cache = StatCache::in_memory();
    let digest = Digest::of(b"1");
    let latest = stamp.ctime;
    for (begun, trusted) in [(latest, false), (latest + TICK, false), (latest + TICK + 1, true)] {
        cache.note(&fixture.file(), &stamp, &digest, begun);
        assert_eq!(cache.find(&fixture.file(), &stamp).is_some(), trusted, "{begun}");
    }
    // On a file system that counts in seconds.
    stamp.mtime -= stamp.mtime % 1_000_000_000;
    stamp.ctime = stamp.mtime;
    cache.note(&fixture.file(), &stamp, &digest, stamp.ctime + 1_500_000_000);
    assert!(cache.find(&fixture.file(), &stamp).is_none());
}

#[test]
fn a_damaged_cache_is_an_empty_one() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let_the_clock_move_on();
    let cache = fixture.cache();
    fixture.digest(&cache);
    cache.save().unwrap();
    let path = fixture.folder.path().join("cache");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(!fixture.is_known(&fixture.cache()), "{at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(!fixture.is_known(&fixture.cache()), "{at}");
    }
    fs::write(&path, &good).unwrap();
    assert!(fixture.is_known(&fixture.cache()));
}

#[test]
fn saving_writes_only_changes_and_forgets_what_is_not_used() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let_the_clock_move_on();
    let path = fixture.folder.path().join("cache");
    fixture.cache().save().unwrap();
    assert!(!path.exists());
    let cache = fixture.cache();
    let meta = fs::symlink_metadata(fixture.file()).unwrap();
    let long_ago = StatCache::now() - UNUSED_FOR - 1;
    for name in ["a", "b"] {
        cache.note(Path::new(name), &Stamp::from(&meta), &Digest::EMPTY, long_ago);
    }
    cache.save().unwrap();
    let cache = fixture.cache();
    assert_eq!(cache.entries().len(), 2);
    assert!(cache.find(Path::new("a"), &Stamp::from(&meta)).is_none());
    let before = fs::metadata(&path).unwrap().ino();
    cache.save().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    fixture.digest(&cache);
    cache.save().unwrap();
    // `a` was asked for, `b` was not.
    assert_eq!(fixture.cache().entries().len(), 2);
}

#[test]
fn sixty_thousand_entries_load_quickly() {
    let fixture = Fixture::new();
    fs::write(fixture.file(), "1").unwrap();
    let stamp = Stamp::from(&fs::symlink_metadata(fixture.file()).unwrap());
    let path = |number: u32| PathBuf::from(format!("/project/source/file-{number}.c"));
    let cache = fixture.cache();
    let later = StatCache::now() + 10 * COARSE_TICK;
    for number in 0..60_000 {
        cache.note(&path(number), &stamp, &Digest::of(&number.to_le_bytes()), later);
    }
    cache.save().unwrap();
    let begun = std::time::Instant::now();
    let cache = fixture.cache();
    let took = begun.elapsed();
    eprintln!("loaded in {took:?}");
    for number in [0, 777, 59_999] {
        let found = cache.find(&path(number), &stamp).unwrap();
        assert_eq!(found.hash, Digest::of(&number.to_le_bytes()).hash);
    }
    assert!(cache.find(&path(60_000), &stamp).is_none());
    // Far from the bar of 20 ms on a quiet machine, because this one may be anything.
    assert!(took < Duration::from_millis(500), "{took:?}");
}
