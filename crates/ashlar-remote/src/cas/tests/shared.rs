//! What every server must do, with the real ones.

use std::sync::Mutex;

use ashlar_store::{LocalStore, MemoryStore, Moved, OpenOptions, Remote, Store, Watch, read};
use ashlar_testbed::nginx::Options;

use super::given::{bazel, found, key, noise, remote, result};

/// Pushes, looks up, pulls into empty stores, and does it all again.
pub fn round_trip(far: &dyn Remote) {
    let from = MemoryStore::new();
    let big = noise(6 << 20, 1);
    let publications = [
        result(&from, "small", &[b"one", b"two"]),
        result(&from, "shared", &[b"one", &noise(200_000, 2)]),
        result(&from, "big", &[&big, b"four"]),
    ];
    let keys = [key("nobody"), key("small"), key("shared"), key("big")];
    assert_eq!(far.steps(&keys).unwrap(), [None, None, None, None]);
    assert_eq!(far.results(&[publications[0].action]).unwrap(), [None]);

    let total = Mutex::new(Moved::default());
    let add = |moved: Moved| *total.lock().unwrap() += moved;
    let watch = Watch { moved: &add, ..Watch::NOBODY };
    let pushed = far.push(&from, &publications, &watch);
    let pushed: Vec<_> = pushed.into_iter().map(Result::unwrap).collect();
    assert!(pushed[2].bytes > 5 << 20, "{pushed:?}");
    let mut sum = Moved::default();
    pushed.iter().for_each(|moved| sum += *moved);
    assert_eq!(*total.lock().unwrap(), sum);

    let again = far.push(&from, &publications, &Watch::NOBODY);
    assert!(again.iter().all(|moved| moved.as_ref().unwrap().blobs == 0), "{again:?}");

    let steps = far.steps(&keys).unwrap();
    assert_eq!(steps[0], None);
    let wanted: Vec<_> = steps.into_iter().flatten().collect();
    assert_eq!(wanted, publications.iter().map(found).collect::<Vec<_>>());
    let results = far.results(&[publications[2].action, publications[1].action]).unwrap();
    let results: Vec<_> = results.into_iter().flatten().collect();
    assert_eq!(results, [publications[2].result.clone(), publications[1].result.clone()]);
    for (found, publication) in wanted.iter().zip(&publications) {
        assert_eq!(far.provenance(found).unwrap(), publication.provenance);
    }

    let folder = tempfile::tempdir().unwrap();
    let disk = LocalStore::open(&folder.path().join("store"), OpenOptions::default()).unwrap();
    let memory = MemoryStore::new();
    for into in [&disk as &dyn Store, &memory] {
        *total.lock().unwrap() = Moved::default();
        let pulled = far.pull(into, &wanted, &watch).unwrap();
        let mut sum = Moved::default();
        pulled.iter().for_each(|moved| sum += moved.unwrap());
        assert!(sum.bytes > 6 << 20, "{sum:?}");
        assert_eq!(*total.lock().unwrap(), sum);
        for (found, key) in wanted.iter().zip(&keys[1..]) {
            into.put_result(&found.action, &found.result).unwrap();
            into.put_step(key, &found.action).unwrap();
            let tree = read(into, &found.result.outputs).unwrap();
            assert_eq!(tree, read(&from, &found.result.outputs).unwrap());
        }
        let kept = into.steps(&keys).unwrap().into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(kept, wanted);
        let again = far.pull(into, &wanted, &Watch::NOBODY).unwrap();
        for moved in again {
            let moved = moved.unwrap();
            assert_eq!((moved.bytes, moved.blobs), (0, 0));
            assert!(moved.already > 0);
        }
    }
    assert_eq!(read(&disk, &ashlar_object::Digest::of(&big)).unwrap().unwrap(), big);
}

#[test]
fn casd_keeps_results() {
    let casd = ashlar_testbed::casd();
    let far = remote(&format!("reapi://{}", casd.host()));
    let abilities = far.test().unwrap();
    assert!(abilities.read);
    assert_eq!(abilities.write, Ok(()));
    round_trip(&*far);
}

#[test]
fn casd_keeps_results_in_an_instance_with_slashes() {
    let casd = ashlar_testbed::casd_with_instance("team/linux");
    let far = remote(&format!("reapi://{}/team/linux", casd.host()));
    round_trip(&*far);
    // Another instance is another cache.
    assert!(remote(&format!("reapi://{}/nobody", casd.host())).steps(&[key("small")]).is_err());
}

#[test]
fn buildgrid_keeps_results() {
    let server = ashlar_testbed::buildgrid("");
    let far = remote(&format!("reapi://{}", server.host()));
    assert_eq!(far.test().unwrap().write, Ok(()));
    round_trip(&*far);
}

#[test]
fn buildgrid_keeps_results_in_an_instance_with_slashes() {
    let server = ashlar_testbed::buildgrid("team/linux");
    round_trip(&*remote(&format!("reapi://{}/team/linux", server.host())));
}

#[test]
fn nginx_keeps_results() {
    let server = ashlar_testbed::nginx_dav(&Options::default());
    let far = bazel(&format!("http://{}/cache", server.address()));
    assert_eq!(far.test().unwrap().write, Ok(()));
    round_trip(&*far);
}
