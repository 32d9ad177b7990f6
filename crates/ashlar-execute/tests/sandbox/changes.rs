//! What is kept of a root that a command changed.

use std::fs;

use ashlar_execute::{Keep, Request, Root};
use ashlar_object::{Node, Tree};
use ashlar_store::Capture;

use crate::fixture::{Fixture, paths, request};

fn changing(fixture: &Fixture, script: &str) -> Request {
    let base = fixture.tree(Capture::Root, |folder| {
        fs::create_dir_all(folder.join("usr/share/doc")).unwrap();
        fs::create_dir_all(folder.join("usr/share/old")).unwrap();
        fs::write(folder.join("usr/share/doc/one"), "1").unwrap();
        fs::write(folder.join("usr/share/doc/two"), "2").unwrap();
        fs::write(folder.join("usr/share/old/file"), "o").unwrap();
    });
    let mut asked = request(Root::Layers(vec![fixture.busybox(), base]), script);
    asked.keep = Keep::Changes;
    asked.many_ids = true;
    asked
}

fn node<'a>(tree: &'a Tree, path: &str) -> &'a Node {
    tree.get(&path.parse().unwrap()).unwrap_or_else(|| panic!("{path} in {:?}", paths(tree)))
}

#[test]
fn as_a_package_manager_changes_it() {
    let fixture = Fixture::new();
    let asked = changing(
        &fixture,
        "cd /usr/share
         rm doc/one
         echo 2 >doc/two.dpkg-new; mv doc/two.dpkg-new doc/two
         rm -r old; mkdir old; echo n >old/new
         mkdir -p /var/lib/dpkg; echo status >/var/lib/dpkg/status
         echo user:x:100:100::/:/bin/sh >>/etc/passwd
         mkdir /var/lib/user; chown 100:101 /var/lib/user; chmod 2750 /var/lib/user
         rmdir /usr/lib; ln -s share /usr/lib",
    );
    let tree = fixture.kept(&asked);
    assert_eq!(
        paths(&tree),
        [
            "etc",
            "etc/passwd",
            "usr",
            "usr/lib",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/one",
            "usr/share/doc/two",
            "usr/share/old",
            "usr/share/old/new",
            "var",
            "var/lib",
            "var/lib/dpkg",
            "var/lib/dpkg/status",
            "var/lib/user",
        ]
    );
    assert_eq!(node(&tree, "usr/share/doc/one"), &Node::Whiteout);
    assert!(matches!(node(&tree, "usr/share/old"), Node::Dir(dir) if dir.is_opaque()));
    assert!(matches!(node(&tree, "usr/lib"), Node::Symlink(_)));
    let Node::Dir(user) = node(&tree, "var/lib/user") else { panic!() };
    assert_eq!((user.meta().owner(), user.meta().mode), ((100, 101), 0o2750));

    // The next step sees it.
    let (digest, kept) = (tree.digest(), tree);
    let Root::Layers(mut layers) = asked.root else { panic!() };
    layers.push(ashlar_execute::Kept { digest, tree: kept });
    let seen = fixture.output(&request(
        Root::Layers(layers),
        "cd /usr/lib; ls doc old; stat -c %u:%g /var/lib/user; ls /build",
    ));
    assert_eq!(seen, "doc:\ntwo\n\nold:\nnew\n100:101\nbin\ndest\nhome\nsrc\n");
}

#[test]
fn what_is_not_a_change_is_not_kept() {
    let fixture = Fixture::new();
    let asked = changing(
        &fixture,
        "echo x >/build/left; echo x >$HOME/left; echo x >/build/src/left; echo x >/tmp/left
         echo x >/run/left; chmod 700 /tmp
         touch /usr/share/doc/temporary; rm /usr/share/doc/temporary
         mkdir /usr/share/new; rmdir /usr/share/new
         touch /usr /etc",
    );
    let tree = fixture.kept(&asked);
    assert_eq!(paths(&tree), Vec::<String>::new());
    // Once more with other times: the same bytes.
    assert_eq!(fixture.kept(&asked).digest(), tree.digest());
}

#[test]
fn a_folder_whose_mode_changed_is_kept() {
    let fixture = Fixture::new();
    let tree = fixture.kept(&changing(&fixture, "chmod 711 /usr/share/doc; chown 0:5 /etc"));
    assert_eq!(paths(&tree), ["etc", "usr", "usr/share", "usr/share/doc"]);
}

#[test]
fn an_emptied_folder_hides_what_was_in_it() {
    let fixture = Fixture::new();
    let tree = fixture.kept(&changing(&fixture, "rm -r /usr/share/doc; mkdir /usr/share/doc"));
    assert_eq!(paths(&tree), ["usr", "usr/share", "usr/share/doc"]);
    assert!(matches!(node(&tree, "usr/share/doc"), Node::Dir(dir) if dir.is_opaque()));
}

#[test]
fn sockets_in_outputs_are_named() {
    let fixture = Fixture::new();
    let (outcome, _) =
        fixture.run(&fixture.request("mkdir /build/dest/a; mkfifo /build/dest/a/pipe"));
    let ashlar_execute::Outcome::Unkeepable(text) = outcome else { panic!("{outcome:?}") };
    assert!(text.starts_with("a/pipe is "), "{text}");
}
