//! Trees and changes of trees, with everything in them that is easy to get wrong.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use ashlar_object::{Dir, Extra, File, Meta, Name, Node, Symlink, Time, Tree};
use proptest::prelude::*;

use crate::support::Pool;

/// Few names, so that changes meet what is there.
fn name() -> impl Strategy<Value = Name> {
    let names: Vec<Vec<u8>> = vec![
        b"a".to_vec(),
        b"b".to_vec(),
        b"a-".to_vec(),
        b"a.b".to_vec(),
        "ü ".into(),
        b"\xff\xfe".to_vec(),
        b"-rf".to_vec(),
        b"w.wh.".to_vec(),
        b"\n\\".to_vec(),
        vec![b'l'; 101],
        [b"\xf0".as_slice(), &[b'r'; 254]].concat(),
    ];
    prop::sample::select(names).prop_map(|name| Name::new(name).unwrap())
}

fn meta() -> impl Strategy<Value = Meta> {
    let ids = || prop::sample::select(vec![0, 1, 1000, 0o7_777_777, 0o10_000_000, u32::MAX]);
    let time = prop::option::weighted(
        0.3,
        (
            prop::sample::select(vec![
                0,
                1,
                -1,
                946_684_800,
                951_868_799,
                -62_167_219_201,
                1 << 33,
                1 << 40,
                i64::MIN,
                i64::MAX,
            ]),
            prop::sample::select(vec![0, 1, 500_000_000, 999_999_999]),
        ),
    );
    let xattr = (
        prop::sample::select(vec!["user.x", "user.a=b%", "security.capability", "trusted.ü\n"]),
        prop::collection::vec(any::<u8>(), 0..40),
    );
    let extra = (ids(), ids(), time, prop::collection::vec(xattr, 0..3)).prop_map(
        |(uid, gid, time, xattrs)| Extra {
            uid,
            gid,
            mtime: time.map(|(seconds, nanos)| Time { seconds, nanos }),
            xattrs: xattrs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        },
    );
    let modes = prop_oneof![Just(0o644), Just(0o755), 0..=0o7777_u32];
    (modes, prop::option::weighted(0.4, extra))
        .prop_map(|(mode, extra)| Meta::new(mode, extra.unwrap_or_default()))
}

/// A file's content is made of its number: see [`pool`].
const CONTENTS: u8 = 12;

fn content(number: u8) -> Vec<u8> {
    let length = [0, 1, 511, 512, 513, 1024, 4096, 70_000, 3, 5, 100, 2000][usize::from(number)];
    crate::support::noise(number.into(), length)
}

/// All contents that the trees here have.
pub fn pool() -> Pool {
    let mut pool = Pool::default();
    for number in 0..CONTENTS {
        pool.put(content(number));
    }
    pool
}

fn leaf() -> impl Strategy<Value = Node> {
    let group = prop::option::weighted(0.3, 1..3_u32);
    let file = (0..CONTENTS, meta(), group).prop_map(|(number, meta, group)| {
        let digest = ashlar_object::Digest::of(&content(number));
        Node::File(File { digest, meta, link: group.and_then(NonZeroU32::new) })
    });
    // Few contents and modes, so that several of them are one file.
    let same = (0..3_u8, 1..3_u32).prop_map(|(number, group)| {
        let digest = ashlar_object::Digest::of(&content(number));
        Node::File(File { digest, meta: Meta::FILE, link: NonZeroU32::new(group) })
    });
    let targets = vec![
        b"a".to_vec(),
        b"../../etc".to_vec(),
        b"/".to_vec(),
        b"\xffraw".to_vec(),
        vec![b't'; 300],
        [b"\xff".as_slice(), &[b't'; 300]].concat(),
    ];
    let link = (prop::sample::select(targets), meta()).prop_map(|(target, meta)| {
        let meta = Meta { mode: 0o777, ..meta };
        Node::Symlink(Symlink { target: target.into(), meta })
    });
    prop_oneof![5 => file, 2 => same, 2 => link, 1 => Just(Node::Whiteout)]
}

fn dir(entries: BTreeMap<Name, Node>, meta: Meta, opaque: bool) -> Node {
    Node::Dir(Arc::new(Dir::new(entries, meta, opaque)))
}

fn node() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(4, 30, 5, |inner| {
        (prop::collection::btree_map(name(), inner, 0..5), meta(), prop::bool::weighted(0.1))
            .prop_map(|(entries, meta, opaque)| dir(entries, meta, opaque))
    })
}

pub fn any_tree() -> impl Strategy<Value = Tree> {
    (prop::collection::btree_map(name(), node(), 0..6), meta(), prop::bool::weighted(0.05))
        .prop_map(|(entries, meta, opaque)| Tree::from(Dir::new(entries, meta, opaque)))
}

/// One change of a tree.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Puts something somewhere, over what is there.
    Put(Vec<Name>, Node),
    /// Takes away what is there, if anything is.
    Remove(Vec<Name>),
    /// Changes what the root is.
    Root(Meta),
    /// Goes on with another tree altogether.
    Replace(Tree),
}

pub fn any_edit() -> impl Strategy<Value = Edit> {
    let path = || prop::collection::vec(name(), 1..4);
    prop_oneof![
        6 => (path(), node()).prop_map(|(path, node)| Edit::Put(path, node)),
        6 => path().prop_map(Edit::Remove),
        1 => meta().prop_map(Edit::Root),
        1 => any_tree().prop_map(Edit::Replace),
    ]
}

pub fn edited(tree: &Tree, edit: &Edit) -> Tree {
    match edit {
        Edit::Put(path, node) => Tree::from(set(tree.root(), path, Some(node))),
        Edit::Remove(path) => Tree::from(set(tree.root(), path, None)),
        Edit::Root(meta) => {
            let root = tree.root();
            Tree::from(Dir::new(root.entries().clone(), meta.clone(), root.is_opaque()))
        }
        Edit::Replace(other) => other.clone(),
    }
}

fn set(dir: &Dir, path: &[Name], node: Option<&Node>) -> Dir {
    let mut entries = dir.entries().clone();
    let Some((name, rest)) = path.split_first() else { return dir.clone() };
    if rest.is_empty() {
        match node {
            Some(node) => entries.insert(name.clone(), node.clone()),
            None => entries.remove(name),
        };
    } else if let Some(Node::Dir(child)) = entries.get(name) {
        let child = set(child, rest, node);
        entries.insert(name.clone(), Node::Dir(Arc::new(child)));
    } else if node.is_some() {
        let child = set(&Dir::default(), rest, node);
        entries.insert(name.clone(), Node::Dir(Arc::new(child)));
    }
    Dir::new(entries, dir.meta().clone(), dir.is_opaque())
}
