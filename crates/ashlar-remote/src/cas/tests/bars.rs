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
