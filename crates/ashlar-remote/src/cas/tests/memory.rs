//! How much memory a large blob takes.

use std::process::Command;

use ashlar_store::{LocalStore, OpenOptions, Store, Watch};

use super::given::{found, noise, remote, result};

/// That this is the process that the test started for itself, where no other test takes memory.
const ALONE: &str = "ASHLAR_TEST_ALONE";

/// The most memory that this process has had so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_a_blob() {
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "cas::tests::memory::memory_does_not_grow_with_a_blob"]);
        let output = alone.env(ALONE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open =
        |name: &str| LocalStore::open(&folder.path().join(name), OpenOptions::default()).unwrap();
    let from = open("from");
    let digest = from.put(&mut std::io::Read::take(std::io::repeat(7), 128 << 20)).unwrap();
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
    far.push(&from, &[publication], &Watch::NOBODY).remove(0).unwrap();
    far.pull(&open("into"), &wanted, &Watch::NOBODY).unwrap()[0].unwrap();
    let after = peak();
    assert!(after - before < 64 << 10, "{before} KiB before, {after} KiB after");
}
