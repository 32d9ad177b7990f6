//! Whatever the bytes of a layer are, reading them ends with a tree that can be written and read
//! again, or with an error, and never asks for more than the bounds allow.

#![no_main]

use ashlar_object::{Digest, Tree};
use ashlar_pack::image::{Bounds, read_layer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bounds = Bounds { entries: 1000, bytes: 1 << 24, details: 1 << 16 };
    let mut kept = 0;
    let read = read_layer(&mut &bytes[..], &bounds, &mut |content| {
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        kept += all.len() as u64;
        assert!(kept <= bounds.bytes, "more content than was allowed");
        Ok(Digest::of(&all))
    });
    let Ok(read) = read else { return };
    assert_eq!(read.blob, Digest::of(bytes));
    assert!(read.tree.len() <= 1000, "more entries than were allowed");
    assert_eq!(Tree::decode(&read.tree.encode()).expect("a tree"), read.tree);
    assert_eq!(read.tree.with_canonical_links().digest(), read.tree.digest());
});
