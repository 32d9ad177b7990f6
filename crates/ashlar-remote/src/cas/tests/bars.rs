//! How long a thousand small modules take. Not run by default: it measures the machine as well.

use std::time::Instant;

use ashlar_store::{LocalStore, OpenOptions, Store, Watch};

use super::given::{found, noise, remote, result};

#[test]
#[ignore = "measures; run with --release --ignored --nocapture"]
fn a_thousand_modules_through_casd() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |name: &str| LocalStore::open(&folder.path().join(name), OpenOptions::default()).unwrap();
    let from = open("from");
    let publications: Vec<_> = (0..1000_u64)
        .map(|index| {
            let files: Vec<_> = (0..=index % 3)
                .map(|part| noise(2000 + 100 * part as usize, 7 * index + part))
                .collect();
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            result(&from, &format!("module-{index}"), &files)
        })
        .collect();
    let casd = ashlar_testbed::casd();
    let url = format!("reapi://{}", casd.host());

    let far = remote(&url);
    let begin = Instant::now();
    let pushed = far.push(&from, &publications, &Watch::NOBODY);
    let push = begin.elapsed();
    assert!(pushed.iter().all(Result::is_ok), "{pushed:?}");
    let begin = Instant::now();
    let again = far.push(&from, &publications, &Watch::NOBODY);
    let idle = begin.elapsed();
    assert!(again.iter().all(Result::is_ok), "{again:?}");

    let far = remote(&url);
    let into = open("into");
    let keys: Vec<_> = publications.iter().flat_map(|p| p.keys.clone()).collect();
    let begin = Instant::now();
    let steps = far.steps(&keys).unwrap();
    let lookup = begin.elapsed();
    let wanted: Vec<_> = steps.into_iter().map(Option::unwrap).collect();
    assert!(wanted.iter().zip(&publications).all(|(w, p)| *w == found(p)));
    let begin = Instant::now();
    let pulled = far.pull(&into, &wanted, &Watch::NOBODY).unwrap();
    let pull = begin.elapsed();
    assert!(pulled.iter().all(Option::is_some));
    let begin = Instant::now();
    for (found, key) in wanted.iter().zip(&keys) {
        into.put_result(&found.action, &found.result).unwrap();
        into.put_step(key, &found.action).unwrap();
    }
    let keep = begin.elapsed();
    println!("push {push:?}, again {idle:?}; lookup {lookup:?}, pull {pull:?}, keep {keep:?}");
}

/// The most memory that this process has had so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "moves 2 GiB; run alone, with --ignored --nocapture"]
fn memory_is_bounded_for_a_blob_of_a_gibibyte() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |name: &str| LocalStore::open(&folder.path().join(name), OpenOptions::default()).unwrap();
    let from = open("from");
    let mut bytes = std::io::Read::take(std::io::repeat(7), 1 << 30);
    let digest = from.put(&mut bytes).unwrap();
    let files: Vec<_> = (0..64).map(|seed| noise(1 << 20, seed)).collect();
    let small: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let mut publication = result(&from, "large", &small);
    // The log may be of any size as well as a file.
    publication.result.log = digest;
    drop(files);
    let casd = ashlar_testbed::casd();
    let far = remote(&format!("reapi://{}", casd.host()));
    let wanted = [found(&publication)];
    far.steps(&publication.keys).unwrap();

    // Forgets the peak so far, which was of what is sent here.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let begin = Instant::now();
    far.push(&from, &[publication], &Watch::NOBODY).remove(0).unwrap();
    let (push, pushed) = (begin.elapsed(), peak());
    let begin = Instant::now();
    far.pull(&open("into"), &wanted, &Watch::NOBODY).unwrap()[0].unwrap();
    let (pull, pulled) = (begin.elapsed(), peak());
    println!("before {before} KiB; push {push:?} {pushed} KiB; pull {pull:?} {pulled} KiB");
    assert!(pulled - before < 64 << 10, "{before} KiB before, {pulled} KiB after");
}
