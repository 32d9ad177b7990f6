//! Layers as a command sees them.

use std::fs;
use std::path::Path;

use ashlar_execute::{Kept, Root};
use ashlar_object::{Digest, File, Meta, Node, Tree};
use ashlar_store::{Capture, Store as _};

use crate::fixture::{Fixture, request};

#[test]
fn whiteouts_and_opaque_folders_hide_what_is_below() {
    let fixture = Fixture::new();
    let below = fixture.tree(Capture::Root, |folder| {
        for name in ["gone", "emptied/old", "merged/old"] {
            let file = folder.join("opt").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    });
    let above = fixture.tree(Capture::Layer, |folder| {
        for name in ["emptied/new", "merged/new"] {
            let file = folder.join("opt").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        whiteout(&folder.join("opt/gone"));
        opaque(&folder.join("opt/emptied"));
    });
    let root = Root::Layers(vec![fixture.busybox(), below, above]);
    let asked = request(root, "cd /opt; find . -type f | sort");
    assert_eq!(fixture.output(&asked), "./emptied/new\n./merged/new\n./merged/old\n");
}

#[test]
fn files_of_a_layer_have_all_their_names() {
    let fixture = Fixture::new();
    let image = fixture.tree(Capture::ImageLayer, |folder| {
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        fs::write(folder.join("usr/bin/gzip"), "packs").unwrap();
        fs::write(folder.join("usr/bin/equal"), "packs").unwrap();
        fs::hard_link(folder.join("usr/bin/gzip"), folder.join("gunzip")).unwrap();
    });
    assert_eq!(image.tree.links().len(), 1);
    let root = Root::Layers(vec![fixture.busybox(), image]);
    let names = "stat -c %h /gunzip /usr/bin/gzip; test /gunzip -ef /usr/bin/gzip; \
                 ! test /gunzip -ef /usr/bin/equal";
    assert_eq!(fixture.output(&request(root, names)), "2\n2\n");
}

#[test]
fn hundreds_of_layers_and_one_of_them_twice() {
    let fixture = Fixture::new();
    let mut layers = vec![fixture.busybox()];
    for number in 0..500 {
        let file = |content: &str| {
            let digest = fixture.store.put(&mut content.as_bytes()).unwrap();
            Node::File(File::new(digest, Meta::FILE))
        };
        let tree = Tree::default()
            .with(&format!("many/{number}").parse().unwrap(), file(""))
            .with(&"many/last".parse().unwrap(), file(&number.to_string()));
        layers.push(Kept { digest: tree.digest(), tree });
    }
    // Fewer than the kernel takes at once, and more.
    for count in [220, 500] {
        let mut layers = layers[..=count].to_vec();
        layers.push(layers[5].clone());
        let asked = request(Root::Layers(layers), "ls /many | wc -l; cat /many/last");
        assert_eq!(fixture.output(&asked), format!("{}\n4", count + 1));
    }
}

#[test]
fn the_layers_stay_as_they_are() {
    let fixture = Fixture::new();
    let busybox = fixture.busybox();
    let root = || Root::Layers(vec![busybox.clone()]);
    let harm = "echo x >>/bin/busybox || true; chmod 4777 /etc/passwd; rm -r /var; mv /usr/lib /usr/l || true";
    fixture.output(&request(root(), harm));
    let asked = request(root(), "stat -c %a /etc/passwd; ls -d /var /usr/lib; wc -c </bin/busybox");
    let size = fs::metadata("/bin/busybox").unwrap().len();
    assert_eq!(fixture.output(&asked), format!("644\n/usr/lib\n/var\n{size}\n"));
}

#[test]
fn a_root_without_layers_is_an_error_of_the_command_alone() {
    let fixture = Fixture::new();
    let (outcome, log) = fixture.run(&request(Root::Layers(Vec::new()), "true"));
    assert!(matches!(outcome, ashlar_execute::Outcome::Failed(_)), "{outcome:?}");
    assert!(log.contains("sh"), "{log}");
}

#[test]
fn a_tree_that_the_store_lacks_is_an_error() {
    let fixture = Fixture::new();
    let blob = fixture.store.put(&mut &b"never staged"[..]).unwrap();
    assert_ne!(blob, Digest::EMPTY);
    let tree = fixture.busybox().tree.with(
        &"etc/lost".parse().unwrap(),
        Node::File(File::new(Digest::of(b"this was never put"), Meta::FILE)),
    );
    let lost = Kept { digest: tree.digest(), tree };
    assert!(fixture.try_run(&request(Root::Layers(vec![lost]), "true")).is_err());
    fixture.assert_nothing_left();
}

fn whiteout(path: &Path) {
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::empty(), 0).unwrap();
}

fn opaque(path: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, "user.overlay.opaque", b"y", flags).unwrap();
}
