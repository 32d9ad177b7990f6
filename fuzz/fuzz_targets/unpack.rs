//! Whatever the bytes of an archive are, nothing is written outside of the destination, and
//! nothing inside is more than a file, a folder or a link.

#![no_main]

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let into = folder.path().join("a/b/into");
    fs::create_dir_all(&into).expect("a folder");
    // Damaged and refused archives are errors; anything else is for the checks below to find.
    let _ = ashlar_source::unpack_bytes(bytes, &into);
    for (parent, only) in [
        (folder.path(), "a"),
        (&folder.path().join("a"), "b"),
        (&folder.path().join("a/b"), "into"),
    ] {
        let names = fs::read_dir(parent)
            .expect("its names")
            .map(|entry| entry.expect("an entry").file_name());
        assert_eq!(names.collect::<Vec<_>>(), [only], "something is beside the destination");
    }
    walk(&into);
});

fn walk(folder: &Path) {
    for entry in fs::read_dir(folder).expect("its names") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("its kind");
        assert!(!kind.is_fifo() && !kind.is_socket(), "{}", entry.path().display());
        assert!(!kind.is_block_device() && !kind.is_char_device(), "{}", entry.path().display());
        if kind.is_dir() {
            walk(&entry.path());
        }
    }
}
