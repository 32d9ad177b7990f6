//! What is kept of an image's root that a command changed.

use ashlar_execute::{Kept, Request};
use ashlar_object::{Node, Tree};

use super::{base, content, on};
use crate::fixture::{Fixture, paths};

fn changed(fixture: &Fixture, script: &str) -> Tree {
    fixture.kept(&on(base(fixture), script))
}

fn node<'a>(tree: &'a Tree, path: &str) -> &'a Node {
    tree.get(&path.parse().unwrap()).unwrap_or_else(|| panic!("{path} in {:?}", paths(tree)))
}

fn is_opaque(tree: &Tree, path: &str) -> bool {
    matches!(node(tree, path), Node::Dir(dir) if dir.is_opaque())
}

/// The script again on what was kept.
fn seen_after(fixture: &Fixture, tree: Tree, script: &str) -> String {
    let mut layers = base(fixture);
    layers.push(Kept { digest: tree.digest(), tree });
    fixture.output(&on(layers, script))
}

#[test]
fn deleted_files_and_folders() {
    let fixture = Fixture::new();
    let tree = changed(&fixture, "rm /data/one; rm -r /data/old; touch /data/n; rm /data/n");
    assert_eq!(paths(&tree), ["data", "data/old", "data/one"]);
    assert_eq!(node(&tree, "data/one"), &Node::Whiteout);
    assert_eq!(node(&tree, "data/old"), &Node::Whiteout);
    assert_eq!(seen_after(&fixture, tree, "ls /data"), "deep\ntwo\n");
}

#[test]
fn a_folder_made_again_hides_what_was_in_it() {
    let fixture = Fixture::new();
    let tree = changed(&fixture, "rm -r /data/old; mkdir /data/old; echo n >/data/old/n");
    assert_eq!(paths(&tree), ["data", "data/old", "data/old/n"]);
    assert!(is_opaque(&tree, "data/old"));
    assert_eq!(seen_after(&fixture, tree, "ls /data/old"), "n\n");
}

#[test]
fn files_and_folders_in_place_of_one_another() {
    let fixture = Fixture::new();
    let tree = changed(
        &fixture,
        "cd /data; rm one; mkdir one; echo x >one/x; rm -r old; echo f >old
         rm two; ln -s deep two",
    );
    assert_eq!(paths(&tree), ["data", "data/old", "data/one", "data/one/x", "data/two"]);
    assert!(matches!(node(&tree, "data/old"), Node::File(_)));
    assert!(!is_opaque(&tree, "data/one"), "nothing was below it");
    let seen = seen_after(&fixture, tree, "cd /data; cat old; ls one two");
    assert_eq!(seen, "f\none:\nx\n\ntwo:\ner\n");
}

#[test]
fn a_folder_that_moved() {
    let fixture = Fixture::new();
    let tree = changed(&fixture, "mv /data/deep /data/moved; mv /data/old /data/moved/old");
    assert_eq!(
        paths(&tree),
        [
            "data",
            "data/deep",
            "data/moved",
            "data/moved/er",
            "data/moved/er/y",
            "data/moved/old",
            "data/moved/old/x",
            "data/old"
        ]
    );
    assert_eq!(node(&tree, "data/deep"), &Node::Whiteout);
    assert_eq!(content(&fixture, &tree, "data/moved/er/y"), "data/deep/er/y");
    let seen = seen_after(&fixture, tree, "cd /data; find . -type f | sort");
    assert_eq!(seen, "./moved/er/y\n./moved/old/x\n./one\n./two\n");
}

#[test]
fn what_was_only_touched_or_written_anew_is_no_change() {
    let fixture = Fixture::new();
    let tree = changed(
        &fixture,
        "cd /data; touch one . old deep/er/y; cp two t; cat t >two; rm t; chmod 600 one
         chmod 644 one; mkdir n; rmdir n; touch -h /bin/ls; chown 0:0 /bin/ls",
    );
    assert_eq!(paths(&tree), Vec::<String>::new());
}

#[test]
fn other_bytes_of_the_same_length_and_other_targets_are_changes() {
    let fixture = Fixture::new();
    let tree = changed(&fixture, "printf DATA/one >/data/one; ln -sfn busyboy /bin/ls");
    assert_eq!(paths(&tree), ["bin", "bin/ls", "data", "data/one"]);
    assert_eq!(content(&fixture, &tree, "data/one"), "DATA/one");
}

#[test]
fn other_modes_and_owners_are_changes() {
    let fixture = Fixture::new();
    let tree =
        changed(&fixture, "chmod 600 /data/one; chown -R 5:6 /data/deep; chown -h 7 /bin/ls");
    assert_eq!(
        paths(&tree),
        ["bin", "bin/ls", "data", "data/deep", "data/deep/er", "data/deep/er/y", "data/one"]
    );
    let Node::File(one) = node(&tree, "data/one") else { panic!() };
    assert_eq!(one.meta.mode, 0o600);
    assert_eq!(content(&fixture, &tree, "data/one"), "data/one");
    let Node::File(y) = node(&tree, "data/deep/er/y") else { panic!() };
    let Node::Dir(er) = node(&tree, "data/deep/er") else { panic!() };
    assert_eq!((y.meta.owner(), er.meta().owner()), ((5, 6), (5, 6)));
    let seen = seen_after(&fixture, tree, "stat -c %a:%u:%g /data/one /data/deep /data/deep/er/y");
    assert_eq!(seen, "600:0:0\n755:5:6\n644:5:6\n");
}

#[test]
fn special_modes_are_kept() {
    let fixture = Fixture::new();
    let tree = changed(
        &fixture,
        "cp /bin/busybox /data/su; chown 3:4 /data/su; chmod 6755 /data/su
         mkdir -m 3770 /data/shared; chmod 700 /; chown 0:9 /",
    );
    let seen = seen_after(&fixture, tree.clone(), "stat -c %a:%u:%g /data/su /data/shared /");
    assert_eq!(seen, "6755:3:4\n3770:0:0\n700:0:9\n");
    // The root keeps what it was given, as long as nobody says otherwise.
    let mut layers = base(&fixture);
    layers.push(Kept { digest: tree.digest(), tree });
    let next = fixture.kept(&on(layers, "true"));
    assert_eq!((next.root().meta().mode, next.root().meta().owner()), (0o700, (0, 9)));
}

#[test]
fn hard_links_are_kept_and_equal_files_are_not_linked() {
    let fixture = Fixture::new();
    let tree = changed(
        &fixture,
        "cd /data; echo n >n; ln n m; ln one uno; echo n >equal; ln two a; rm a; ln -s one soft",
    );
    assert_eq!(
        paths(&tree),
        ["data", "data/equal", "data/m", "data/n", "data/one", "data/soft", "data/uno"]
    );
    let links: Vec<Vec<String>> =
        tree.links().iter().map(|all| all.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(links, [["data/m", "data/n"], ["data/one", "data/uno"]]);
    let same = "cd /data; for other in m equal one; do test n -ef $other && echo n and $other; done
         test one -ef uno && echo one and uno";
    assert_eq!(seen_after(&fixture, tree, same), "n and m\none and uno\n");
}

#[test]
fn a_fifo_is_there_afterwards() {
    let fixture = Fixture::new();
    let tree = fixture.kept(&on(base(&fixture), "mkfifo -m 620 /data/pipe"));
    assert!(matches!(tree.get(&"data/pipe".parse().unwrap()), Some(Node::Fifo(_))));
    let through = "cd /data; test -p pipe && stat -c %a pipe; echo through >pipe & cat pipe; wait";
    assert_eq!(seen_after(&fixture, tree, through), "620\nthrough\n");
}

#[test]
fn the_same_twice_is_the_same_bytes() {
    let fixture = Fixture::new();
    let asked: Request = on(
        base(&fixture),
        "date +%N >/dev/null; echo x >/data/new; ln /data/new /data/newer; nc -l -p 80 >/data/port & \
         until [ -e /data/port ]; do :; done; kill $!",
    );
    assert_eq!(fixture.kept(&asked).digest(), fixture.kept(&asked).digest());
}
