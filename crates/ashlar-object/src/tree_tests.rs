use super::*;

fn file(content: &str, meta: Meta) -> Node {
    Node::File(File::new(Digest::of(content.as_bytes()), meta))
}

fn sample() -> Tree {
    let link = |target: &[u8]| {
        Node::Symlink(Symlink { target: target.into(), meta: Meta { mode: 0o777, extra: None } })
    };
    let odd = Meta::new(
        0o4755,
        Extra {
            uid: 42,
            gid: 7,
            mtime: Some(Time { seconds: -1, nanos: 5 }),
            xattrs: [("user.x".to_owned(), vec![0, 255])].into(),
        },
    );
    Tree::default()
        .with(&"bin/tool".parse().unwrap(), file("tool", Meta::EXECUTABLE))
        .with(&"bin/odd".parse().unwrap(), file("odd", odd))
        .with(&"lib/link".parse().unwrap(), link(b"../bin/tool"))
        .with(&RelPath::parse(b"raw\xff/\xfe").unwrap(), link(b"\xfd"))
        .with(&"ashlar-raw:6162".parse().unwrap(), file("x", Meta::FILE))
        .with(&"deleted".parse().unwrap(), Node::Whiteout)
        .with(
            &"hidden".parse().unwrap(),
            Node::Dir(Arc::new(Dir::new(BTreeMap::new(), Meta::EXECUTABLE, true))),
        )
        .with(&"empty".parse().unwrap(), Node::Dir(Arc::default()))
}

#[test]
fn reads_what_it_writes() {
    let tree = sample();
    let read = Tree::decode(&tree.encode()).unwrap();
    assert_eq!(read, tree);
    assert_eq!(read.encode(), tree.encode());
    assert_eq!(read.root_digest(), tree.root_digest());
}

#[test]
fn a_fifo_is_itself_and_no_file() {
    let extra = Extra { uid: 3, gid: 4, ..Extra::default() };
    for meta in [Meta::FILE, Meta::EXECUTABLE, Meta::new(0o620, extra)] {
        let tree = Tree::default().with(&"fifo".parse().unwrap(), Node::Fifo(meta.clone()));
        assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
        let file = Node::File(File::new(Digest::EMPTY, meta));
        assert_ne!(tree.digest(), Tree::default().with(&"fifo".parse().unwrap(), file).digest());
        assert_eq!((tree.blobs(), tree.content_size()), (Vec::new(), 0));
    }
    // A folder is none, whatever a blob says.
    let properties = properties(&Meta::EXECUTABLE, 0o755, Some(Mark::Fifo));
    let root = wire::Directory { node_properties: properties, ..Default::default() };
    let tree = wire::Tree { root: root.encode_to_vec(), children: Vec::new() };
    assert!(matches!(Tree::decode(&tree.encode_to_vec()), Err(TreeError::Property(..))));
}

#[test]
fn the_empty_tree_is_the_empty_blob() {
    assert_eq!(Tree::default().encode(), b"");
    assert_eq!(Tree::decode(b"").unwrap(), Tree::default());
}

#[test]
fn golden_digest() {
    // Changes only together with the format version: trees in stores would no longer be found.
    assert_eq!(sample().digest().short(), GOLDEN);
}

#[test]
fn every_property_changes_the_digest() {
    let with = |node: Node| Tree::default().with(&"f".parse().unwrap(), node).digest();
    let extra = |e: Extra| with(file("1", Meta::new(0o644, e)));
    let all = [
        with(file("1", Meta::FILE)),
        with(file("2", Meta::FILE)),
        with(file("1", Meta::EXECUTABLE)),
        with(file("1", Meta { mode: 0o600, extra: None })),
        with(Node::Whiteout),
        with(Node::Dir(Arc::default())),
        extra(Extra { uid: 1, ..Extra::default() }),
        extra(Extra { gid: 1, ..Extra::default() }),
        extra(Extra { mtime: Some(Time { seconds: 0, nanos: 0 }), ..Extra::default() }),
        extra(Extra { xattrs: [("a".to_owned(), vec![])].into(), ..Extra::default() }),
    ];
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn hostile_blobs_are_refused() {
    let directory = |name: &str| wire::Directory {
        files: vec![wire::FileNode {
            name: name.to_owned(),
            digest: Some(Digest::EMPTY.into()),
            ..wire::FileNode::default()
        }],
        ..wire::Directory::default()
    };
    let blob = |dir: &wire::Directory| {
        wire::Tree { root: dir.encode_to_vec(), children: vec![] }.encode_to_vec()
    };
    for name in ["", ".", "..", "a/b", "/etc", "a\0"] {
        assert!(Tree::decode(&blob(&directory(name))).is_err(), "{name:?}");
    }
    let mut twice = directory("a");
    twice.symlinks.push(wire::SymlinkNode {
        name: "a".into(),
        target: "b".into(),
        node_properties: None,
    });
    assert!(matches!(Tree::decode(&blob(&twice)), Err(TreeError::Twice(_))));
    let missing = wire::Directory {
        directories: vec![wire::DirectoryNode {
            name: "d".into(),
            digest: Some(Digest::of(b"?").into()),
        }],
        ..wire::Directory::default()
    };
    assert!(matches!(Tree::decode(&blob(&missing)), Err(TreeError::NoDirectory(..))));
    assert!(Tree::decode(b"\xff\xff").is_err());
}

#[test]
fn get_and_below() {
    let tree = sample();
    assert!(matches!(tree.get(&"bin/tool".parse().unwrap()), Some(Node::File(_))));
    assert!(tree.get(&"bin/none".parse().unwrap()).is_none());
    let moved = tree.below(&"build/src".parse().unwrap());
    assert_eq!(
        moved.get(&"build/src/bin/tool".parse().unwrap()),
        tree.get(&"bin/tool".parse().unwrap())
    );
}

const GOLDEN: &str = "d7f6dfeff431";
