//! What holds for all trees.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_object::{Digest, Dir, Extra, File, Meta, Name, Node, RelPath, Symlink, Tree};
use ashlar_store::MemoryStore;
use proptest::prelude::*;

use super::world::instruction;
use crate::image::copy::copy;
use crate::image::paths::{Bounds, at, follow};
use crate::image::select::select;

fn meta() -> impl Strategy<Value = Meta> {
    (prop_oneof![4 => Just(0o755), 1 => Just(0o644), 1 => Just(0o1777)], 0..2_u32)
        .prop_map(|(mode, uid)| Meta::new(mode, Extra { uid, ..Extra::default() }))
}

fn leaf() -> impl Strategy<Value = Node> {
    let file = (0..3_u8, meta(), 0..3_u32).prop_map(|(content, meta, link)| {
        let link = NonZeroU32::new(link);
        Node::File(File { link, ..File::new(Digest::of(&[content]), meta) })
    });
    const TARGETS: [&str; 7] = ["a", "b/c", "/a", "../b", "/", "c/../..", "nowhere"];
    let link = prop::sample::select(&TARGETS[..]).prop_map(|target| {
        let meta = Meta { mode: 0o777, extra: None };
        Node::Symlink(Symlink { target: target.as_bytes().into(), meta })
    });
    prop_oneof![3 => file, 1 => link]
}

fn tree() -> impl Strategy<Value = Tree> {
    let folder = |entries: BTreeMap<String, Node>, meta| {
        let entries =
            entries.into_iter().map(|(name, node)| (Name::new(name.into_bytes()).unwrap(), node));
        Dir::new(entries.collect(), meta, false)
    };
    let node = leaf().prop_recursive(3, 20, 4, move |inner| {
        (prop::collection::btree_map("[abc]", inner, 0..4), meta())
            .prop_map(move |(entries, meta)| Node::Dir(Arc::new(folder(entries, meta))))
    });
    (prop::collection::btree_map("[abc]", node, 0..4), meta())
        .prop_map(move |(entries, meta)| Tree::from(folder(entries, meta)).with_canonical_links())
}

/// What everything in `from` at `folder` of `below` comes to, entry by entry.
fn expected(below: &Tree, from: &Tree, folder: &RelPath) -> Tree {
    let mut now = below.clone();
    let mut made = RelPath::root();
    for name in folder.names() {
        made.push(name.clone());
        if now.get(&made).is_none() {
            now.put(&made, Node::Dir(Arc::default()));
        }
    }
    from.walk(|entry| {
        let path = entry.path.names().iter().fold(folder.clone(), |path, name| path.join(name));
        let node = match entry.node {
            Node::Dir(dir) => {
                let there = match now.get(&path) {
                    Some(Node::Dir(there)) => there.entries().clone(),
                    _ => BTreeMap::new(),
                };
                Node::Dir(Arc::new(Dir::new(there, dir.meta().clone(), false)))
            }
            // Numbers that nothing below has.
            Node::File(file) => Node::File(File {
                link: file.link.and_then(|link| link.checked_add(1000)),
                ..file.clone()
            }),
            other => other.clone(),
        };
        now.put(&path, node);
    });
    now.with_canonical_links()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_layer_over_the_root_is_the_root_with_the_files(
        below in tree(),
        from in tree(),
        names in prop::collection::vec("[abc]", 0..3),
    ) {
        let mut instruction = instruction(&format!("COPY . /{}/", names.join("/")));
        instruction.from = ashlar_dockerfile::From::Stage(0);
        let store = MemoryStore::new();
        let layer = copy(&instruction, &from, &BTreeMap::new(), &below, &store);
        let path: RelPath = names.join("/").parse().unwrap();
        let folder = follow(&below, &path, true, Bounds::Root)
            .ok()
            .filter(|way| !matches!(at(&below, &way.path), Some(Node::File(_))));
        prop_assert_eq!(layer.is_ok(), folder.is_some());
        let (Ok(layer), Some(folder)) = (layer, folder) else { return Ok(()) };
        let after = below.overlaid(&layer);
        prop_assert_eq!(&after, &expected(&below, &from, &folder.path));
        // Nothing is in it that was there, unless it is a name of a file with several.
        layer.walk(|entry| match (entry.node, below.get(entry.path)) {
            (Node::File(file), Some(Node::File(there))) => {
                assert!(file != there || file.link.is_some(), "{}", entry.path);
            }
            (Node::Symlink(link), Some(Node::Symlink(there))) => assert_ne!(link, there),
            _ => {}
        });
        let selected = select(&instruction, &from).unwrap();
        let of_selected = copy(&instruction, &selected, &BTreeMap::new(), &below, &store).unwrap();
        prop_assert_eq!(&of_selected, &layer);
        let decoded = Tree::decode(&layer.encode()).unwrap();
        prop_assert_eq!(decoded, layer);
    }

    #[test]
    fn what_is_copied_again_changes_nothing(below in tree(), from in tree()) {
        let mut instruction = instruction("COPY . /d/");
        instruction.from = ashlar_dockerfile::From::Stage(0);
        let store = MemoryStore::new();
        let make = |below: &Tree| {
            copy(&instruction, &from, &BTreeMap::new(), below, &store).unwrap()
        };
        let after = below.overlaid(&make(&below));
        let again = make(&after);
        prop_assert!(again.is_empty(), "{:?}", again);
        prop_assert_eq!(after.overlaid(&again), after);
    }
}
