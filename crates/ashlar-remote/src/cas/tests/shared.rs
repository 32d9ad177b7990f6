//! What every server must do, with the real ones.

use ashlar_store::{LocalStore, MemoryStore, OpenOptions, Remote, Store, Watch};

use super::given::{definition, found, key, noise, remote, result};

/// Pushes, looks up, and pulls into an empty store.
fn round_trip(far: &dyn Remote) {
    let from = MemoryStore::new();
    let big = noise(6 << 20, 1);
    let publications = [
        result(&from, "small", &[b"one", b"two"]),
        result(&from, "shared", &[b"one", b"three"]),
        result(&from, "big", &[&big, b"four"]),
    ];
    let keys = [key("nobody"), key("small"), key("shared"), key("big")];
    assert_eq!(far.steps(&keys).unwrap(), [None, None, None, None]);

    let pushed = far.push(&from, &publications, &Watch::NOBODY);
    let moved: Vec<_> = pushed.into_iter().map(Result::unwrap).collect();
    assert!(moved[2].bytes >= 6 << 20, "{moved:?}");
    eprintln!("{:?}", far.results(&[publications[0].action]));
    let found_steps = far.steps(&keys).unwrap();
    assert_eq!(found_steps[0], None);
    for (step, publication) in found_steps[1..].iter().zip(&publications) {
        assert_eq!(step.as_ref(), Some(&found(publication)));
    }
}

#[test]
fn casd_keeps_results() {
    let casd = ashlar_testbed::casd();
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        round_trip(&*remote(&format!("reapi://{}", casd.host())))
    }));
    println!("{}", casd.server.log());
    r.unwrap();
    println!("{}", std::fs::read_to_string(casd.server.folder().join("log")).unwrap_or_default());
}
