//! Results to send, and remotes to send them to.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ashlar_object::{
    ActionResult, Digest, Dir, File, Meta, Name, Node, StepKey, Symlink, Time, Tree,
};
use ashlar_store::{Found, Publication, Remote, Store, put};

use crate::{Definition, Layout, open};

/// What a project says of a remote when it says nothing else.
pub fn definition(url: &str) -> Definition {
    Definition::new("team", url, Duration::from_secs(10))
}

/// The remote at an address.
pub fn remote(url: &str) -> Box<dyn Remote> {
    open(&definition(url)).unwrap()
}

/// A step key that nobody else has.
pub fn key(label: &str) -> StepKey {
    StepKey(Digest::of(label.as_bytes()).hash)
}

/// A result with these files, a second name of the first, and an empty file, a link and a folder
/// besides, kept in a store.
pub fn result(store: &dyn Store, label: &str, files: &[&[u8]]) -> Publication {
    let name = |text: &str| Name::new(text.as_bytes()).unwrap();
    let (mut inner, mut outer) = (BTreeMap::new(), BTreeMap::new());
    for (index, content) in files.iter().enumerate() {
        let digest = put(store, content).unwrap();
        let meta = if index % 2 == 0 { Meta::FILE } else { Meta::EXECUTABLE };
        let link = (index == 0).then_some(NonZeroU32::MIN);
        let file = Node::File(File { digest, meta, link });
        if index == 0 {
            outer.insert(name("also"), file.clone());
        }
        inner.insert(name(&format!("file-{index}")), file);
    }
    outer.insert(name("empty"), Node::File(File::new(Digest::EMPTY, Meta::FILE)));
    let link = Symlink {
        target: b"usr/file-0".as_slice().into(),
        meta: Meta::new(0o777, Default::default()),
    };
    outer.insert(name("link"), Node::Symlink(link));
    outer.insert(name("usr"), Node::Dir(Arc::new(Dir::new(inner, Meta::EXECUTABLE, false))));
    let tree = Tree::from(Dir::new(outer, Meta::EXECUTABLE, false));
    let result = ActionResult {
        outputs: put(store, &tree.encode()).unwrap(),
        root: tree.root_digest(),
        log: put(store, format!("made {label}\n").as_bytes()).unwrap(),
        started: Time { seconds: 1_700_000_000, nanos: 250_000_000 },
        took: Duration::from_millis(1_500),
    };
    let action = Digest::of(format!("action {label}").as_bytes());
    store.put_result(&action, &result).unwrap();
    Publication {
        keys: vec![key(label)],
        action,
        result,
        lineage: label.to_owned(),
        earlier: Vec::new(),
        provenance: Some(format!(r#"{{"buildType":"{label}"}}"#).into_bytes()),
    }
}

/// What a lookup gives for it.
pub fn found(publication: &Publication) -> Found {
    Found { action: publication.action, result: publication.result.clone() }
}

/// Bytes that do not compress, always the same.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The remote at an address with the layout of bazel-remote and ccache.
pub fn bazel(url: &str) -> Box<dyn Remote> {
    open(&Definition { layout: Layout::Bazel, ..definition(url) }).unwrap()
}

/// All causes of an error, in one line.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
